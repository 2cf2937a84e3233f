"""Partitions: made ahead, dropped by age, and never with work that waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.schema import drop_partitions, make_partitions
from bankfeed.errors import Unavailable
from tests.conftest import Urls
from tests.db.made import claim_events, make_incoming, receive, wait_until_blocked
from tests.db.rows import list_names
from tests.seed import make_sources

OUTBOX = ("attempts", "deliveries", "events")
PARENTS = (*OUTBOX, "audit_log", "inbox")
WEEK = timedelta(weeks=1)


def monday(weeks: int) -> datetime:
    """Return when a week begins, so many weeks from this one."""
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=now.weekday()) + weeks * WEEK


def name_of(parent: str, weeks: int) -> str:
    return f"{parent}_{monday(weeks):%Gw%V}"


async def list_partitions(conn: asyncpg.Connection) -> set[str]:
    return set(await list_names(conn, "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"))


async def make(database: Database, weeks_ahead: int) -> int:
    async with database.queue() as conn:
        return await make_partitions(conn, weeks_ahead=weeks_ahead)


async def drop(database: Database, *, inbox_days: int = 14, outbox_days: int = 14, audit_days: int = 730) -> list[str]:
    async with database.queue() as conn:
        return await drop_partitions(conn, inbox_days=inbox_days, outbox_days=outbox_days, audit_days=audit_days)


async def make_week(owner: asyncpg.Connection, weeks: int) -> None:
    """Make the partitions of one week, as they were made in time."""
    for parent in PARENTS:
        await owner.execute(
            f"CREATE TABLE {name_of(parent, weeks)} PARTITION OF {parent}"
            f" FOR VALUES FROM ('{monday(weeks)}') TO ('{monday(weeks + 1)}')"
        )


@pytest.fixture(autouse=True)
async def weeks(owner: asyncpg.Connection) -> None:
    """All the weeks that loading the schema makes; the tests' template has two."""
    await owner.fetchval("SELECT make_partitions(8)")


async def test_weeks_are_made_ahead(database: Database, superuser: asyncpg.Connection) -> None:
    """Each parent has its default, this week and the eight after it; what is there is not made again."""
    nine = {name_of(parent, weeks) for parent in PARENTS for weeks in range(9)}
    assert nine | {f"{parent}_default" for parent in PARENTS} == await list_partitions(superuser)
    assert [0, 10, 0] == [await make(database, weeks) for weeks in (8, 10, 10)]
    assert await list_partitions(superuser) >= {name_of(parent, 10) for parent in PARENTS}


async def test_weeks_begin_on_monday_utc(superuser: asyncpg.Connection) -> None:
    """Bounds are Mondays at midnight UTC, 168 hours apart, in whatever zone the session is, with no gap."""
    await superuser.execute("SET timezone TO 'America/New_York'")
    bounds = await list_names(
        superuser,
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relkind = 'r' AND relname ~ '^inbox_[0-9]' ORDER BY relname",
    )
    moments = [[datetime.fromisoformat(text) for text in bound.split("'")[1::2]] for bound in bounds]
    assert [[monday(weeks), monday(weeks + 1)] for weeks in range(9)] == moments


async def test_several_that_make_at_once(database: Database) -> None:
    """Replicas that keep house at the same moment make each partition once."""
    assert [0, 0, 20] == sorted(await asyncio.gather(*(make(database, 12) for _ in range(3))))


async def test_rows_go_to_their_week(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """What arrives now is in this week's partition, none in the default."""
    sources = await make_sources(owner)
    await receive(database, make_incoming(sources.finicity, "e1"))
    assert [name_of("inbox", 0)] == await list_names(superuser, "SELECT tableoid::regclass::text FROM inbox")


async def test_a_week_that_was_missed_stays_in_the_default(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Rows that came before their partition was made keep their place, go on working, and stop no other week."""
    sources = await make_sources(owner)
    await superuser.execute(
        "INSERT INTO inbox (source_id, name, event_type, body, received_at) VALUES ($1, 'x', 'mfaUpdated', '', $2)",
        sources.finicity,
        monday(9) + WEEK / 2,
    )
    assert 5 * 2 - 1 == await make(database, 10)
    assert name_of("inbox", 9) not in await list_partitions(superuser)
    assert ["inbox_default"] == await list_names(superuser, "SELECT tableoid::regclass::text FROM inbox")
    assert 1 == len((await claim_events(database))[1])


async def test_old_weeks_are_dropped(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """A week goes when all of it is older than the days asked for; the inbox and the outbox have their own."""
    for weeks in (-3, -4, -8):
        await make_week(owner, weeks)
    assert [name_of("inbox", weeks) for weeks in (-8, -4)] == await drop(database, inbox_days=21, outbox_days=400)
    assert sorted(name_of(parent, -8) for parent in OUTBOX) == await drop(database, inbox_days=400, outbox_days=30)
    assert await list_partitions(superuser) >= {name_of(parent, -3) for parent in PARENTS}


async def test_nothing_younger_than_two_weeks_is_dropped(database: Database, owner: asyncpg.Connection) -> None:
    """A setting cannot drop what deliveries and repeats still need: fewer than 14 days are 14."""
    for weeks in (-1, -2):
        await make_week(owner, weeks)
    assert [] == await drop(database, inbox_days=0, outbox_days=-7, audit_days=-7)


async def test_the_audit_log_has_its_own_days(database: Database, owner: asyncpg.Connection) -> None:
    """A week of it goes when all of it is older than its own setting, and never before 30 days, whoever asks."""
    for weeks in (-4, -6, -20):
        await make_week(owner, weeks)
    keep = {"inbox_days": 400, "outbox_days": 400}
    assert [] == await drop(database, audit_days=200, **keep)
    assert [name_of("audit_log", -20)] == await drop(database, audit_days=100, **keep)
    assert [name_of("audit_log", -6)] == await drop(database, audit_days=0, **keep)


async def test_a_week_with_work_that_waits_stays(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """An inbox week with an event that waits stays, and an outbox week with a delivery that waits; the rest go."""
    sources = await make_sources(owner)
    for weeks in (-8, -9):
        await make_week(owner, weeks)
    await superuser.execute(
        "INSERT INTO inbox (source_id, name, event_type, body, received_at) VALUES ($1, 'x', 'mfaUpdated', '', $2)",
        sources.finicity,
        monday(-8) + WEEK / 2,
    )
    await superuser.execute(
        "INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at) VALUES (1, 1, 1, 1, $1)",
        monday(-9),
    )
    gone = [name_of(parent, -8) for parent in OUTBOX] + [name_of("inbox", -9)]
    assert sorted(gone) == await drop(database)
    token, [event] = await claim_events(database)
    assert token
    assert event.received_at == monday(-8) + WEEK / 2
    await superuser.execute(
        "UPDATE inbox SET state = 'done', finished_at = now(), lease_token = NULL, lease_until = NULL"
    )
    await superuser.execute("DELETE FROM delivery_queue")
    assert sorted([*(name_of(parent, -9) for parent in OUTBOX), name_of("inbox", -8)]) == await drop(database)


async def test_what_a_replay_queues_meanwhile_stays(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection, urls: Urls
) -> None:
    """A week that is read by who queues some of it is looked at once more, when that is committed."""
    await make_week(owner, -8)
    replaying = await asyncpg.connect(urls.superuser)
    async with replaying.transaction():
        await replaying.execute("SELECT FROM events")
        dropping = asyncio.create_task(drop(database))
        await wait_until_blocked(superuser)
        await replaying.execute(
            "INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at) VALUES (1, 1, 1, 1, $1)",
            monday(-8),
        )
    assert name_of("events", -8) not in await dropping
    assert name_of("events", -8) in await list_partitions(superuser)
    await replaying.close()


async def insert_strays(conn: asyncpg.Connection, source_id: int, at: datetime) -> None:
    """Put a row into each parent, at a time for which nobody made a partition; the inbox has one done and one that waits."""
    await conn.execute(
        "INSERT INTO inbox (source_id, name, event_type, body, received_at, state, finished_at)"
        " SELECT $1, 'x', 'mfaUpdated', '', $2::timestamptz, s, CASE s WHEN 'done' THEN $2::timestamptz END"
        " FROM unnest(ARRAY['done', 'waiting']::inbox_state[]) s",
        source_id,
        at,
    )
    await conn.execute(
        "INSERT INTO events (customer_id, created_at, event_id, event_type, client_id, connection_id, body)"
        " VALUES (1, $1, gen_random_uuid(), 'mfaUpdated', 1, 1, '')",
        at,
    )
    await conn.execute("SET session_replication_role TO replica")  # no endpoint is needed
    await conn.execute(
        "INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id) VALUES (1, $1, 1, 1)", at
    )
    await conn.execute("RESET session_replication_role")
    await conn.execute(
        "INSERT INTO attempts (customer_id, delivery_id, attempt_no, started_at, delivery_created_at, duration_ms, status)"
        " SELECT 1, coalesce(max(delivery_id), 0) + 1, 1, $1, $1, 1, 200 FROM attempts",
        at,
    )
    await conn.execute("INSERT INTO audit_log (customer_id, actor, action, at) VALUES (1, 'system', 'x', $1)", at)


async def test_what_landed_in_the_default_ages_too(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Rows of a week that was missed leave when they are old enough, but not an event that waits, in or out."""
    sources = await make_sources(owner)
    old, waited_for, young = (monday(0) - timedelta(days=days) for days in (300, 200, 60))
    for at in (old, waited_for, young):
        await insert_strays(superuser, sources.finicity, at)
    await superuser.execute(
        "INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at) VALUES (1, 2, 1, 2, $1)",
        waited_for,
    )
    assert [
        "1 of attempts_default",
        "1 of deliveries_default",
        "1 of events_default",
        "2 of inbox_default",
    ] == await drop(database, inbox_days=100, outbox_days=100, audit_days=730)
    assert [waited_for, young] == [
        row["created_at"] for row in await superuser.fetch("SELECT created_at FROM events_default ORDER BY 1")
    ]
    assert ["done", "waiting", "waiting", "waiting"] == await list_names(
        superuser, "SELECT state::text FROM inbox_default ORDER BY 1"
    )
    await superuser.execute("DELETE FROM delivery_queue")
    assert [
        "1 of attempts_default",
        "2 of audit_log_default",
        "1 of deliveries_default",
        "1 of events_default",
    ] == await drop(database, inbox_days=100, outbox_days=100, audit_days=100)


async def test_the_default_is_emptied_some_at_a_time(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Ten thousand rows a call, the oldest first, of all parents together."""
    sources = await make_sources(owner)
    await superuser.execute(
        "INSERT INTO inbox (source_id, name, event_type, body, received_at, state, finished_at)"
        " SELECT $1, 'x', 'mfaUpdated', '', $2::timestamptz + n * interval '1 second', 'done', now()"
        " FROM generate_series(1, 10001) n",
        sources.finicity,
        monday(-50),
    )
    await insert_strays(superuser, sources.finicity, monday(-50))
    outbox = [f"1 of {parent}_default" for parent in OUTBOX]
    assert [*outbox, "9997 of inbox_default"] == await drop(database)
    left = await superuser.fetchval("SELECT min(received_at) FROM inbox WHERE state = 'done'")
    assert monday(-50) + timedelta(seconds=9_997) == left
    assert ["5 of inbox_default"] == await drop(database)
    assert [] == await drop(database)


async def test_the_default_is_never_dropped(database: Database, superuser: asyncpg.Connection) -> None:
    """Nor is anything else that is no weekly partition of ours."""
    await superuser.execute(
        "CREATE TABLE inbox_archive PARTITION OF inbox FOR VALUES FROM ('2001-01-01') TO ('2001-01-08')"
    )
    assert [] == await drop(database)
    assert await list_partitions(superuser) >= {"inbox_archive", "inbox_default"}


@pytest.mark.parametrize("work", [drop, lambda database: make(database, 12)], ids=["drop", "make"])
async def test_housekeeping_does_not_stand_in_the_way(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection, work: object
) -> None:
    """Behind a long reader (a dump) it gives up after a second: the lock it waits for would stop every writer."""
    await make_week(owner, -8)
    async with superuser.transaction():
        await superuser.execute("SELECT FROM inbox")
        with pytest.raises(Unavailable):
            await asyncio.wait_for(work(database), 10)  # type: ignore[operator]
    await work(database)  # type: ignore[operator]
