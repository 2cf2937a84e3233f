"""The history of a connection: each line is written with what it tells of, once."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bankfeed.db.connection import (
    Lease,
    Refusal,
    close_connection_without_accounts,
    mark_handled,
    update_health,
    upsert_connection,
)
from bankfeed.db.connection_history import count_repairs, list_history
from bankfeed.db.deletion import mark_connections_deleted, reopen_connections, restore_connections
from bankfeed.model import ClientId, ConnectionId
from tests.db.made import OVER_S, Ground, wait_until_blocked

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def read(ground: Ground, *, after: str = "added") -> str:
    """Write the lines, the oldest first: kind and, where there is one, code; those that came after some."""
    async with ground.app() as conn:
        lines = await list_history(conn, ground.tenant.customer_id, ground.connection_id, before_id=None, limit=99)
    words = [f"{line.kind}{'' if line.status_code is None else line.status_code}" for line in reversed(lines)]
    written = " ".join(words)
    assert written.startswith(after)
    return written.removeprefix(after).strip()


async def stand(ground: Ground, lease: Lease, *stands: str) -> None:
    """Bring the connection into one standing after the other, each STATE or STATE:CODE."""
    for each in stands:
        state, _, code = each.partition(":")
        async with ground.app() as conn:
            await update_health(conn, lease, state=state, status_code=int(code) if code else None, as_of=None)


async def finish(ground: Ground, now: datetime, *, refusal: Refusal | None = None) -> None:
    """Refresh once more, ended at a time."""
    lease = await ground.lease()
    async with ground.app() as conn:
        await mark_handled(conn, lease, next_update_at=now + DAY, refusal=refusal, now=now)
    async with ground.app() as conn:
        await conn.execute(
            "UPDATE connections SET due_at = now() WHERE customer_id = $1 AND id = $2",
            ground.tenant.customer_id,
            ground.connection_id,
        )


async def open_again(ground: Ground, *, added_at: datetime | None = None) -> ConnectionId:
    async with ground.app() as conn:
        return await upsert_connection(
            conn,
            ground.tenant.customer_id,
            ground.tenant.client_id,
            source_id=ground.sources.finicity,
            login_ref="login-1",
            added_at=added_at,
        )


# ------------------------------------------------------------------------------------------------ broken, reconnected

NEEDS = "needs_person"


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        ([f"{NEEDS}:103", "active:0"], "broken103 reconnected0"),
        ([f"{NEEDS}:185", "active:0"], "needs_mfa185 reconnected0"),
        ([f"{NEEDS}:103", f"{NEEDS}:185", "active:0"], "broken103 needs_mfa185 reconnected0"),
        ([f"{NEEDS}:185", f"{NEEDS}:103"], "needs_mfa185 broken103"),
        ([f"{NEEDS}:103", f"{NEEDS}:103", "waiting:101", f"{NEEDS}:103"], "broken103"),
        ([f"{NEEDS}:103", "waiting:101", f"{NEEDS}:185", "active:0"], "broken103 needs_mfa185 reconnected0"),
        ([f"{NEEDS}:103", "active:0", f"{NEEDS}:103"], "broken103 reconnected0 broken103"),
        ([f"{NEEDS}:103", "waiting:101", "active:0"], "broken103 reconnected0"),
        (["unsupported:920", "active:0"], "broken920 reconnected0"),
        (["unsupported"], "broken"),
        (["active:0", "waiting:101", "active:0"], ""),
    ],
)
async def test_breaks_and_repairs_are_lines(ground: Ground, stands: list[str], expected: str) -> None:
    """A break with its reason, another reason by itself, and the repair; what is waited out is none of them."""
    await stand(ground, await ground.lease(), *stands)
    assert expected == await read(ground)


async def test_a_lost_lease_writes_nothing(ground: Ground) -> None:
    """Who does not hold the connection says nothing of it."""
    lost = await ground.lease(OVER_S)
    await ground.lease()
    await stand(ground, lost, f"{NEEDS}:103")
    assert "" == await read(ground)


async def test_a_change_that_rolls_back_leaves_no_line(ground: Ground) -> None:
    """A line is of the same transaction as the change."""
    lease = await ground.lease()
    async with ground.app() as conn:
        undone = conn.transaction()
        await undone.start()
        await update_health(conn, lease, state=NEEDS, status_code=103, as_of=None)
        await undone.rollback()
    assert "" == await read(ground)


async def test_the_time_to_repair_is_from_break_to_repair(ground: Ground, superuser: asyncpg.Connection) -> None:
    """In seconds, per repair and on average; other codes in between do not begin it anew."""
    async with ground.app() as conn:
        before = await count_repairs(conn, ground.tenant.customer_id, ground.connection_id)
    assert (0, None) == (before.repairs, before.mean_time_to_repair_s)
    lease = await ground.lease()
    for seconds in (100, 300):
        await stand(ground, lease, f"{NEEDS}:103")
        await superuser.execute(f"UPDATE connections SET broken_since = now() - interval '{seconds} s'")  # noqa: S608
        await stand(ground, lease, f"{NEEDS}:185", "active:0")
    async with ground.app() as conn:
        lines = await list_history(conn, ground.tenant.customer_id, ground.connection_id, before_id=None, limit=99)
        repairs = await count_repairs(conn, ground.tenant.customer_id, ground.connection_id)
    times = [line.time_to_repair_s for line in lines]
    assert [pytest.approx(300, abs=5), None, None, pytest.approx(100, abs=5), None, None, None] == times
    assert 2 == repairs.repairs
    assert pytest.approx(200, abs=5) == repairs.mean_time_to_repair_s


# ------------------------------------------------------------------------------------------------ refreshed


async def test_the_first_refresh_of_a_utc_day_is_a_line(ground: Ground) -> None:
    """The first ever, then one a day, whatever the hour and the session's time zone."""
    for now in (NOON, NOON + HOUR, NOON + 11 * HOUR, NOON + 12 * HOUR, NOON + 13 * HOUR, NOON + 3 * DAY):
        await finish(ground, now)
    async with ground.app() as conn:
        lines = await list_history(conn, ground.tenant.customer_id, ground.connection_id, before_id=None, limit=3)
    assert [NOON + 3 * DAY, NOON + 12 * HOUR, NOON] == [line.at for line in lines]


async def test_a_night_that_brings_nothing_is_no_line(ground: Ground) -> None:
    """A refresh that leaves it broken, or has a refusal instead of the accounts, says nothing that the break did not."""
    await stand(ground, await ground.lease(OVER_S), f"{NEEDS}:103")
    await finish(ground, NOON)
    await stand(ground, await ground.lease(OVER_S), "active:0")
    await finish(ground, NOON + DAY, refusal=Refusal(900, "not now"))
    assert "broken103 reconnected0" == await read(ground)
    await finish(ground, NOON + 2 * DAY)
    assert "broken103 reconnected0 refreshed0" == await read(ground)


@pytest.mark.parametrize(("refusal", "expected"), [(None, "refreshed refreshed"), (Refusal(900, "no"), "refreshed")])
async def test_each_refresh_that_a_person_asked_for_is_a_line(
    ground: Ground, superuser: asyncpg.Connection, refusal: Refusal | None, expected: str
) -> None:
    """Also the second of a day; not one that failed."""
    await finish(ground, NOON)
    await superuser.execute(
        """
        INSERT INTO bank_refreshes (customer_id, client_id, connection_id, kind, requested_by, state, refresh_no)
        SELECT customer_id, client_id, id, 'current', 'user:1', 'running', 2 FROM connections
        """
    )
    await finish(ground, NOON + HOUR, refusal=refusal)
    await finish(ground, NOON + 2 * HOUR)
    assert expected == await read(ground)


# ------------------------------------------------------------------------------------------------ added, deleted


async def test_it_is_added_each_time_that_it_is_opened(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Once where it is new, once more where a closed one opens; naming it again says nothing."""
    await open_again(ground)
    assert "" == await read(ground)
    lease = await ground.lease()
    await superuser.execute("UPDATE connections SET requested = 2, claimed = 2, handled = 1")
    async with ground.app() as conn:
        assert await close_connection_without_accounts(conn, lease)
        assert not await close_connection_without_accounts(conn, lease)
    for _ in range(2):
        await open_again(ground)
    assert "deleted added" == await read(ground)


async def test_two_that_open_it_at_once_write_one_line(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The second waits for the first, and finds it open."""
    await superuser.execute("UPDATE connections SET state = 'closed'")
    async with ground.app() as conn:
        await upsert_connection(
            conn,
            ground.tenant.customer_id,
            ground.tenant.client_id,
            source_id=ground.sources.finicity,
            login_ref="login-1",
        )
        second = asyncio.create_task(open_again(ground))
        await wait_until_blocked(superuser)
    assert ground.connection_id == await second
    assert "added" == await read(ground)


async def test_a_deletion_is_a_line_once(ground: Ground) -> None:
    """A person's; a second one, or one of what was closed already, adds none, and adding it again is told."""
    customer_id, client_id = ground.tenant.customer_id, ClientId(ground.tenant.client_id)
    for _ in range(2):
        async with ground.app() as conn:
            await mark_connections_deleted(conn, customer_id, [ground.connection_id])
    assert "deleted" == await read(ground)
    await open_again(ground, added_at=datetime.now(UTC) + HOUR)
    async with ground.app() as conn:
        await mark_connections_deleted(conn, customer_id, [ground.connection_id])
        deleted_at = await conn.fetchval("SELECT now()")
    async with ground.app() as conn:
        await restore_connections(conn, customer_id, client_id, deleted_at=deleted_at)
        await reopen_connections(conn, customer_id, client_id, [ground.sources.finicity])
    assert "deleted added deleted added" == await read(ground)


async def test_pages_go_on_by_key(ground: Ground) -> None:
    """From below an id on, the newest first."""
    await stand(ground, await ground.lease(), f"{NEEDS}:103", "active:0")
    async with ground.app() as conn:
        first = await list_history(conn, ground.tenant.customer_id, ground.connection_id, before_id=None, limit=2)
        rest = await list_history(
            conn, ground.tenant.customer_id, ground.connection_id, before_id=first[-1].id, limit=2
        )
    assert ["reconnected", "broken", "added"] == [line.kind for line in (*first, *rest)]
