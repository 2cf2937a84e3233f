"""The inbox: what is committed once, who holds it, and what became of it."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.arrival import delete_received, insert_inbox
from bankfeed.db.client import upsert_enrolment
from bankfeed.db.inbox import (
    Resolved,
    claim_inbox,
    count_broken_try,
    get_inbox_state,
    list_named_connections,
    mark_done,
    mark_needs_listing,
    mark_set_aside,
    mark_waiting,
    renew_event,
)
from bankfeed.errors import RefusedData
from bankfeed.model import EventType
from tests.db.made import OVER_S, Ground, claim_events, make_connection, make_incoming, receive, wait_until_blocked
from tests.seed import Sources, make_sources, make_tenant


@pytest.fixture
async def sources(owner: asyncpg.Connection) -> Sources:
    """The platform's doors."""
    return await make_sources(owner)


# ------------------------------------------------------------------------------------------------ arrivals


async def test_the_same_event_is_stored_once(
    database: Database, sources: Sources, superuser: asyncpg.Connection
) -> None:
    """The same id and body again is a repeat; the same id with another body is another event, and told apart."""
    event = make_incoming(sources.finicity, "e1")
    changed = make_incoming(sources.finicity, "e1", body=b'{"other": 1}')
    assert ["accepted"] == await receive(database, event)
    assert ["repeated"] == await receive(database, event)
    assert ["changed"] == await receive(database, changed)
    assert ["repeated", "repeated"] == await receive(database, event, changed)
    assert 2 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_ids_are_the_senders_own(database: Database, sources: Sources) -> None:
    """The same id through two doors is two events; without an id every event is new."""
    assert ["accepted", "accepted"] == await receive(
        database, make_incoming(sources.finicity, "e1"), make_incoming(sources.ledgersync, "e1")
    )
    unnamed = make_incoming(sources.finicity)
    assert ["accepted", "accepted"] == await receive(database, unnamed, unnamed)


async def test_a_batch_answers_in_its_order(database: Database, sources: Sources) -> None:
    """Each event of a batch is told its own fate."""
    await receive(database, make_incoming(sources.finicity, "b"))
    answers = await receive(database, *(make_incoming(sources.finicity, event_id) for event_id in "abc"))
    assert ["accepted", "repeated", "accepted"] == answers


async def test_an_unknown_type_is_kept_and_done(
    database: Database, sources: Sources, superuser: asyncpg.Connection
) -> None:
    """An event of no known type is stored with its reason and never claimed."""
    await receive(database, make_incoming(sources.finicity, "e1", name="surprise", event_type=None))
    row = await superuser.fetchrow("SELECT name, state::text, reason, finished_at IS NOT NULL AS ended FROM inbox")
    assert ("surprise", "done", "unknown event type", True) == tuple(row)
    assert (await claim_events(database))[1] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "a\x00b"},
        {"name": "\ud800"},
        {"customer_ref": "\x00"},
        {"account_refs": ("1", "\x00")},
        {"body": b"x" * 262_145},
        {"event_id": "".join(uuid4().hex for _ in range(300))},  # longer than an index holds, and not compressible
    ],
    ids=["NUL", "surrogate", "NUL in a ref", "NUL in a list", "long body", "long id"],
)
async def test_what_cannot_be_stored_is_refused(
    database: Database, sources: Sources, superuser: asyncpg.Connection, changes: dict[str, Any]
) -> None:
    """A hostile value is RefusedData and takes its batch with it; the same events without it are no repeats after."""
    good = make_incoming(sources.finicity, "good")
    bad = make_incoming(sources.finicity, **{"event_id": "bad", **changes})
    with pytest.raises(RefusedData):
        await receive(database, good, bad)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM received")
    assert ["accepted"] == await receive(database, good)


@pytest.mark.parametrize(("ends", "answer"), [("commit", "repeated"), ("rollback", "accepted")])
async def test_two_that_bring_the_same_event_at_once(
    database: Database, sources: Sources, superuser: asyncpg.Connection, ends: str, answer: str
) -> None:
    """The second waits for the first: a repeat where that commits, new where it does not."""
    event = make_incoming(sources.finicity, "e1")
    with suppress(ZeroDivisionError):
        async with database.queue() as conn:
            await insert_inbox(conn, [event])
            second = asyncio.create_task(receive(database, event))
            await wait_until_blocked(superuser)
            if ends == "rollback":
                raise ZeroDivisionError
    assert [answer] == await second
    assert 1 == await superuser.fetchval("SELECT count(*) FROM inbox")


# ------------------------------------------------------------------------------------------------ claims


async def test_a_claim_tells_what_came(database: Database, sources: Sources) -> None:
    """Refs come back as they went in, and the event speaks the ids of the source that its door is bound to."""
    event = make_incoming(
        sources.ledgersync, "e1", customer_ref="77", account_refs=("1", "2"), login_refs=(), body=b"\x00\xff"
    )
    await receive(database, event)
    _, [claimed] = await claim_events(database)
    assert (("1", "2"), (), "77") == (claimed.account_refs, claimed.login_refs, claimed.customer_ref)
    assert (sources.ledgersync, sources.finicity) == (claimed.source_id, claimed.feed_source_id)
    assert (EventType.TRANSACTIONS_REFRESHED, "finicity", None) == (
        claimed.event_type,
        claimed.connector,
        claimed.source_customer_id,
    )
    assert 0 < claimed.age_s < 60


async def test_the_oldest_are_claimed_first(database: Database, sources: Sources) -> None:
    """A claim takes at most its limit, in the order of arrival, and nothing twice."""
    await receive(database, *(make_incoming(sources.finicity, f"e{n}", account_refs=(str(n),)) for n in range(5)))
    taken = [[event.account_refs[0] for event in (await claim_events(database, limit=2))[1]] for _ in range(4)]
    assert [["0", "1"], ["2", "3"], ["4"], []] == taken


async def test_claims_skip_what_others_hold(database: Database, sources: Sources) -> None:
    """A claim that is not committed yet is no reason to wait."""
    await receive(database, *(make_incoming(sources.finicity, f"e{n}") for n in range(3)))
    async with database.queue() as conn:
        first = await claim_inbox(conn, token=uuid4(), lease_s=60, limit=2)
        _, second = await claim_events(database)
    assert [2, 1] == [len(first), len(second)]
    assert not {event.id for event in first} & {event.id for event in second}


async def test_an_abandoned_event_is_due_again(database: Database, sources: Sources) -> None:
    """When a lease has ended the event is claimed anew, and what its first holder says no longer counts."""
    await receive(database, make_incoming(sources.finicity, "e1"))
    old, [event] = await claim_events(database, lease_s=OVER_S)
    new, [again] = await claim_events(database)
    assert event.id == again.id
    async with database.queue() as conn:
        assert not await mark_done(conn, event, token=old, customer_id=None)
        assert not await mark_set_aside(conn, event, token=old, customer_id=None, reason="late")
        assert not await mark_waiting(conn, event, token=old, delay_s=0, reason="late")
        assert not await mark_needs_listing(conn, event, token=old)
        assert not await renew_event(conn, event, token=old, lease_s=60)
        assert 0 == await count_broken_try(conn, event, token=old)
        assert await mark_done(conn, again, token=new, customer_id=None)
        assert not await mark_done(conn, again, token=new, customer_id=None)


async def test_what_may_have_ended_a_worker_is_claimed_alone(database: Database, sources: Sources) -> None:
    """Events of an abandoned claim are counted and claimed one at a time; what nobody held goes on in batches."""
    await receive(database, *(make_incoming(sources.finicity, f"e{n}") for n in range(3)))
    await claim_events(database, lease_s=OVER_S)
    await receive(database, *(make_incoming(sources.finicity, f"later {n}") for n in range(2)))
    taken = []
    while events := (await claim_events(database))[1]:
        taken.append([event.ends for event in events])
    assert [[0, 0], [1], [1], [1]] == sorted(taken)


async def test_a_finished_event_says_whose_it_was(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Done is for good; the customer's own eyes see it from then on."""
    await receive(ground.database, make_incoming(ground.sources.finicity, "e1"))
    token, [event] = await claim_events(ground.database)
    async with ground.database.queue() as conn:
        assert await mark_done(conn, event, token=token, customer_id=ground.tenant.customer_id)
    async with ground.app() as conn:
        assert "done" == await conn.fetchval("SELECT state::text FROM inbox WHERE lease_token IS NULL")
    assert (await claim_events(ground.database))[1] == []


async def test_what_waits_is_due_after_its_delay(database: Database, sources: Sources) -> None:
    """An event that is given back keeps its reason, and is not due before its time."""
    await receive(database, make_incoming(sources.finicity, "e1"), make_incoming(sources.finicity, "e2"))
    token, [first, second] = await claim_events(database)
    async with database.queue() as conn:
        assert await mark_waiting(conn, first, token=token, delay_s=3600, reason="the aggregator is away")
        assert await mark_waiting(conn, second, token=token, delay_s=0, reason="")
    _, due = await claim_events(database)
    assert [second.id] == [event.id for event in due]


async def test_a_claim_is_no_try(database: Database, sources: Sources, superuser: asyncpg.Connection) -> None:
    """Only what broke is counted: a worker that was killed, or an aggregator that was away, uses nothing up."""
    await receive(database, make_incoming(sources.finicity, "e1"))
    await claim_events(database, lease_s=OVER_S)
    token, [event] = await claim_events(database)
    async with database.queue() as conn:
        await mark_waiting(conn, event, token=token, delay_s=0, reason="the aggregator is away")
    assert 0 == await superuser.fetchval("SELECT tries FROM inbox")
    token, [event] = await claim_events(database)
    async with database.queue() as conn:
        assert [1, 2] == [await count_broken_try(conn, event, token=token) for _ in range(2)]


async def test_what_needs_a_listing_is_claimed_apart(database: Database, sources: Sources) -> None:
    """An event given to whoever lists is due at once for them, also when it waited, and for nobody else."""
    await receive(database, make_incoming(sources.finicity, "e1"), make_incoming(sources.finicity, "e2"))
    token, [first, second] = await claim_events(database)
    async with database.queue() as conn:
        assert await mark_needs_listing(conn, first, token=token)
        assert await mark_waiting(conn, second, token=token, delay_s=0, reason="")
    token, [to_list] = await claim_events(database, needs_listing=True)
    assert first.id == to_list.id
    async with database.queue() as conn:
        await mark_waiting(conn, to_list, token=token, delay_s=0, reason="the aggregator is away")
    assert [second.id] == [event.id for event in (await claim_events(database))[1]]
    assert [first.id] == [event.id for event in (await claim_events(database, needs_listing=True))[1]]


async def test_a_renewed_event_is_not_claimed(database: Database, sources: Sources) -> None:
    """A lease that is renewed lasts from then on."""
    await receive(database, make_incoming(sources.finicity, "e1"))
    token, [event] = await claim_events(database, lease_s=OVER_S)
    async with database.queue() as conn:
        assert await renew_event(conn, event, token=token, lease_s=60)
    assert (await claim_events(database))[1] == []


async def test_what_waits_is_counted(database: Database, sources: Sources) -> None:
    """Waiting and set-aside events are counted, and the age of the oldest that waits."""
    await receive(database, *(make_incoming(sources.finicity, f"e{n}") for n in range(3)))
    token, [event, *_] = await claim_events(database)
    async with database.queue() as conn:
        await mark_set_aside(conn, event, token=token, customer_id=None, reason="unknown")
    async with database.queue() as conn:
        state = await get_inbox_state(conn)
    assert (2, 1) == (state.waiting, state.set_aside)
    assert 0 < state.oldest_age_s < 60


# ------------------------------------------------------------------------------------------------ what an event names


async def named(database: Database, **changes: object) -> set[Resolved]:
    sources = changes.pop("source")
    await receive(database, make_incoming(sources, **changes))  # type: ignore[arg-type]
    _, [event] = await claim_events(database)
    async with database.queue() as conn:
        (found,) = await list_named_connections(conn, [event])
    return set(found)


async def test_an_event_names_connections_by_any_id(ground: Ground, superuser: asyncpg.Connection) -> None:
    """By account, by login, and by the aggregator's customer where it names neither."""
    await superuser.execute(
        "INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency)"
        " SELECT customer_id, client_id, id, source_id, '5001', '', '', 'USD' FROM connections"
    )

    def found(ref: str) -> set[Resolved]:
        return {
            Resolved(
                customer_id=ground.tenant.customer_id, connection_id=ground.connection_id, ref=ref, is_closed=False
            )
        }

    source, ref = ground.sources.ledgersync, ground.tenant.customer_ref
    database = ground.database
    assert found("5001") == await named(database, source=source, account_refs=("5001", "9"))
    assert found("login-1") == await named(database, source=source, account_refs=(), login_refs=("login-1",))
    assert found(ref) == await named(database, source=source, account_refs=(), customer_ref=ref)
    assert set() == await named(database, source=source, account_refs=("9",), customer_ref=ref)


async def test_a_customers_own_source_names_that_customers_rows_only(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """Another customer's rows under the same id are not named through a source that belongs to one."""
    database, sources = ground.database, ground.sources
    other = await make_tenant(database, sources)
    theirs = await make_connection(database, sources, other)
    assert {ground.connection_id, theirs} == {
        each.connection_id
        for each in await named(database, source=sources.finicity, account_refs=(), login_refs=("login-1",))
    }
    await superuser.execute("UPDATE sources SET customer_id = $1 WHERE slug = 'ledgersync'", other.customer_id)
    found = await named(database, source=sources.ledgersync, account_refs=(), login_refs=("login-1",))
    assert {(other.customer_id, theirs)} == {(each.customer_id, each.connection_id) for each in found}


async def test_an_id_of_another_source_names_nothing(
    ground: Ground, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Ids mean something within their source only."""
    await superuser.execute("UPDATE sources SET bound_to = NULL WHERE slug = 'ledgersync'")
    source = ground.sources.ledgersync
    assert set() == await named(ground.database, source=source, account_refs=(), login_refs=("login-1",))
    async with ground.app() as conn:  # the same client, enrolled at the other source too
        await upsert_enrolment(
            conn, ground.tenant.customer_id, ground.tenant.client_id, source_id=source, customer_ref="1"
        )
    assert set() == await named(ground.database, source=source, account_refs=(), customer_ref="1")


# ------------------------------------------------------------------------------------------------ replay store


async def test_old_event_ids_are_forgotten_in_batches(
    database: Database, sources: Sources, superuser: asyncpg.Connection
) -> None:
    """Ids go after their days, so many at a time; younger ones stay, and stay known."""
    await receive(database, *(make_incoming(sources.finicity, f"e{n}") for n in range(6)))
    await superuser.execute("UPDATE received SET received_at = now() - interval '15 days' WHERE event_id < 'e5'")
    gone = []
    for _ in range(4):
        async with database.queue() as conn:
            gone.append(await delete_received(conn, days=14, limit=2))
    assert [2, 2, 1, 0] == gone
    assert ["repeated"] == await receive(database, make_incoming(sources.finicity, "e5"))
    assert ["accepted"] == await receive(database, make_incoming(sources.finicity, "e0"))


async def test_what_is_due_is_found_in_order_without_statistics(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A claim reads as many events as it takes, however many wait: it never sorts them all."""
    await superuser.execute(
        """
        INSERT INTO inbox (source_id, name, event_type, body)
        SELECT $1, 'n', 'transactionsRefreshed', '' FROM generate_series(1, 5000)
        """,
        ground.sources.ledgersync,
    )
    async with ground.database.queue() as conn:
        lines = await conn.fetch(
            """
            EXPLAIN (COSTS off) SELECT id FROM inbox
            WHERE state = 'waiting' AND needs_listing = false AND due_at <= now()
            ORDER BY due_at, id LIMIT 50 FOR UPDATE SKIP LOCKED
            """
        )
    steps = {line.strip().removeprefix("->").strip() for (line,) in lines}
    assert "Merge Append" in steps
    assert "Sort" not in steps
