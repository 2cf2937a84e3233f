"""Deliveries: fanned out with their event, claimed by lease, and never recorded by who lost it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from bankfeed.db import delivery
from bankfeed.db.delivery import Attempt, ClaimedDelivery, claim_deliveries, get_outbox_state, list_parcels
from bankfeed.db.endpoint import insert_endpoint
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.errors import RefusedData
from bankfeed.model import EndpointId, EventType
from tests.db.made import LEASE_S, OVER_S, Ground
from tests.seed import ENDPOINT_SECRET, make_endpoint, make_tenant

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
BODY = b'{"eventType": "transactionsRefreshed", "n": 0.10}'
OK = Attempt(started_at=NOW, duration_ms=12, status=200)
REFUSED = Attempt(started_at=NOW, duration_ms=12, status=500, answer="no")
LOST = Attempt(started_at=NOW, duration_ms=12, status=None, error="no answer in time")


@pytest.fixture
async def endpoint_id(ground: Ground) -> EndpointId:
    """An endpoint that wants everything."""
    return await make_endpoint(ground.database, ground.tenant, url="https://firm.example/hook")


async def emit(ground: Ground, *types: EventType, count: int = 1) -> int:
    """Commit events; return how many deliveries wait."""
    wanted = types or (EventType.TRANSACTIONS_REFRESHED,) * count
    events = [
        OutboundEvent(
            event_id=uuid4(),
            event_type=event_type,
            client_id=ground.tenant.client_id,
            connection_id=ground.connection_id,
            body=BODY,
            created_at=datetime.now(UTC),
        )
        for event_type in wanted
    ]
    async with ground.app() as conn:
        return await insert_events(conn, ground.tenant.customer_id, events)


async def claim(
    ground: Ground, *, lease_s: float = LEASE_S, limit: int = 10, now: datetime | None = None
) -> tuple[UUID, Sequence[ClaimedDelivery]]:
    token = uuid4()
    async with ground.database.queue() as conn:
        return token, await claim_deliveries(conn, token=token, lease_s=lease_s, limit=limit, now=now)


async def rows(superuser: asyncpg.Connection, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await superuser.fetch(sql)]


# ------------------------------------------------------------------------------------------------ fan-out


async def test_each_active_endpoint_that_wants_an_event_gets_one(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Not one that is disabled, not one that wants other events, not another customer's."""
    stranger = await make_tenant(ground.database, ground.sources)
    await make_endpoint(ground.database, stranger, url="https://other.example/hook")
    async with ground.app() as conn:
        picky = await insert_endpoint(
            conn,
            ground.tenant.customer_id,
            url="https://firm.example/picky",
            secret=ENDPOINT_SECRET,
            event_types=[EventType.MFA_UPDATED],
            description="",
        )
    assert 1 == await emit(ground)
    assert 3 == await emit(ground, EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED)
    sent = "SELECT endpoint_id, count(*) FROM delivery_queue GROUP BY 1 ORDER BY 1"
    assert [(endpoint_id, 3), (picky, 1)] == await rows(superuser, sent)
    await superuser.execute("UPDATE endpoints SET state = 'disabled'")
    assert 0 == await emit(ground)
    assert 4 == await superuser.fetchval("SELECT count(*) FROM events")


async def test_a_parcel_is_what_was_committed(ground: Ground, endpoint_id: EndpointId) -> None:
    """The same bytes on every try, with the endpoint's address, secret and state of now."""
    await emit(ground)
    _, claimed = await claim(ground)
    async with ground.app() as conn:
        [parcel] = await list_parcels(conn, ground.tenant.customer_id, claimed)
    assert (BODY, "transactionsRefreshed", "https://firm.example/hook", ENDPOINT_SECRET, True) == (
        parcel.body,
        parcel.event_type,
        parcel.url,
        parcel.secret,
        parcel.is_endpoint_active,
    )


async def test_a_parcel_of_another_customer_is_not_read(ground: Ground, endpoint_id: EndpointId) -> None:
    """What the queue role claimed for one customer cannot be read as another."""
    await emit(ground)
    _, claimed = await claim(ground)
    stranger = await make_tenant(ground.database, ground.sources)
    async with ground.database.tenant(stranger.customer_id) as conn:
        assert () == await list_parcels(conn, stranger.customer_id, claimed)
        assert () == await list_parcels(conn, ground.tenant.customer_id, claimed)


# ------------------------------------------------------------------------------------------------ claims


async def test_the_claim_commits_when_the_schedule_began(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """first_attempt_at is committed before the call, by the first claim; later ones keep it. Each claim has its time."""
    await emit(ground)
    start = await superuser.fetchval("SELECT now() + interval '1 hour'")
    _, [first] = await claim(ground, now=start, lease_s=OVER_S)
    assert (start, start, 0) == (first.first_attempt_at, first.claimed_at, first.attempts)
    assert [(start,)] == await rows(superuser, "SELECT first_attempt_at FROM delivery_queue")
    later = start + timedelta(minutes=7)
    _, [again] = await claim(ground, now=later)
    assert (start, later, 0) == (again.first_attempt_at, again.claimed_at, again.attempts)


async def test_without_a_time_the_clock_is_postgres(ground: Ground, endpoint_id: EndpointId) -> None:
    """The product passes no time."""
    await emit(ground)
    before = datetime.now(UTC)
    _, [first] = await claim(ground)
    assert first.first_attempt_at == first.claimed_at
    assert abs(first.claimed_at - before) < timedelta(seconds=30)


async def test_claims_skip_what_others_hold(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Two that claim at once share what is due; the longest due goes first."""
    await emit(ground, count=5)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() - delivery_id * interval '1 min'")
    async with ground.database.queue() as conn:
        first = await claim_deliveries(conn, token=uuid4(), lease_s=60, limit=3)
        _, second = await claim(ground)
    assert [3, 2] == [len(first), len(second)]
    assert not {each.delivery_id for each in first} & {each.delivery_id for each in second}
    assert min(each.delivery_id for each in first) > max(each.delivery_id for each in second)


async def test_an_abandoned_delivery_is_due_again_with_the_same_event(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """After its lease another worker sends the same event; what the first one says then is not recorded."""
    await emit(ground)
    old, [first] = await claim(ground, lease_s=OVER_S)
    new, [second] = await claim(ground)
    assert (first.delivery_id, first.outbox_id) == (second.delivery_id, second.outbox_id)
    async with ground.app() as conn:
        assert not await delivery.mark_delivered(conn, first, OK, token=old)
        assert not await delivery.mark_failed(conn, first, REFUSED, token=old)
        assert not await delivery.mark_failed(conn, first, None, token=old)
        assert not await delivery.mark_waiting(conn, first, REFUSED, token=old, due_at=NOW)
        await delivery.give_back(conn, first, token=old)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM attempts")
    async with ground.app() as conn:
        assert await delivery.mark_delivered(conn, second, OK, token=new)
    async with ground.app() as conn:
        assert not await delivery.mark_delivered(conn, second, OK, token=new)
    assert [("delivered",)] == await rows(superuser, "SELECT state::text FROM deliveries")
    assert 1 == await superuser.fetchval("SELECT count(*) FROM attempts")


# ------------------------------------------------------------------------------------------------ what became of it


async def test_a_delivered_event_leaves_the_queue(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """The delivery is final with its times, its attempt is kept, and nothing waits."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    async with ground.app() as conn:
        assert await delivery.mark_delivered(conn, claimed, OK, token=token, now=NOW)
    final = "SELECT state::text, first_attempt_at, finished_at FROM deliveries"
    assert [("delivered", claimed.first_attempt_at, NOW)] == await rows(superuser, final)
    kept = "SELECT attempt_no, started_at, duration_ms, status, error, answer FROM attempts"
    assert [(1, NOW, 12, 200, "", "")] == await rows(superuser, kept)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM delivery_queue")


async def test_attempts_are_numbered(ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection) -> None:
    """Each failed attempt is kept with its number, and the next is due when it was said; the last one ends it."""
    await emit(ground)
    for attempt in (REFUSED, LOST):
        token, [claimed] = await claim(ground)
        async with ground.app() as conn:
            assert await delivery.mark_waiting(conn, claimed, attempt, token=token, due_at=NOW)
    token, [claimed] = await claim(ground)
    assert 2 == claimed.attempts
    async with ground.app() as conn:
        assert await delivery.mark_failed(conn, claimed, REFUSED, token=token)
    kept = "SELECT attempt_no, status, error, answer FROM attempts ORDER BY attempt_no"
    assert [(1, 500, "", "no"), (2, None, "no answer in time", ""), (3, 500, "", "no")] == await rows(superuser, kept)
    assert [("failed",)] == await rows(superuser, "SELECT state::text FROM deliveries")


async def test_what_is_due_later_is_not_claimed(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """A slot is not used before its time; its second is its time."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    due_at = await superuser.fetchval("SELECT now() + interval '30 s'")
    async with ground.app() as conn:
        await delivery.mark_waiting(conn, claimed, REFUSED, token=token, due_at=due_at)
    assert [0, 0, 1] == [
        len((await claim(ground, now=now))[1]) for now in (None, due_at - timedelta(microseconds=1), due_at)
    ]


async def test_three_days_may_end_without_an_attempt(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """A delivery that is over is failed, and no attempt is made up for it; one that never had any has no first one."""
    await emit(ground, count=2)
    await superuser.execute(
        "UPDATE delivery_queue SET first_attempt_at = $1 WHERE delivery_id = (SELECT min(id) FROM deliveries)", NOW
    )
    token, claimed = await claim(ground)
    for each in claimed:
        async with ground.app() as conn:
            assert await delivery.mark_failed(conn, each, None, token=token)
    final = "SELECT state::text, first_attempt_at FROM deliveries ORDER BY id"
    assert [("failed", NOW), ("failed", None)] == await rows(superuser, final)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM attempts")


async def test_giving_back_is_no_attempt(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """What is given back is due at once or when it is said, and its schedule has not begun."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    assert claimed.is_first
    async with ground.database.queue() as conn:
        await delivery.give_back(conn, claimed, token=token)
    assert [(0, None, None)] == await rows(
        superuser, "SELECT attempts, first_attempt_at, lease_token FROM delivery_queue"
    )
    token, [again] = await claim(ground)
    assert (0, True) == (again.attempts, again.is_first)
    async with ground.database.queue() as conn:
        await delivery.give_back(conn, again, token=token, due_at=again.claimed_at + timedelta(hours=1))
    assert () == tuple((await claim(ground))[1])


async def test_giving_back_keeps_a_schedule_that_began(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """An earlier claim may have been killed after its call, so the schedule still counts from it."""
    await emit(ground)
    _, [killed] = await claim(ground, lease_s=OVER_S)
    token, [claimed] = await claim(ground)
    assert not claimed.is_first
    async with ground.database.queue() as conn:
        await delivery.give_back(conn, claimed, token=token)
    assert [(killed.first_attempt_at,)] == await rows(superuser, "SELECT first_attempt_at FROM delivery_queue")


async def test_an_attempt_and_the_next_state_are_one(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Where the attempt cannot be stored, the delivery stays as it was."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    poison = Attempt(started_at=NOW, duration_ms=1, status=200, answer="a\x00b")
    with pytest.raises(RefusedData):
        async with ground.app() as conn:
            await delivery.mark_delivered(conn, claimed, poison, token=token)
    assert [("waiting",)] == await rows(superuser, "SELECT state::text FROM deliveries")
    assert [(0, token)] == await rows(superuser, "SELECT attempts, lease_token FROM delivery_queue")


async def test_the_outbox_is_counted(ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection) -> None:
    """What is due, what is due later, and how old the oldest is."""
    await emit(ground, count=3)
    await claim(ground, limit=1)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() - interval '90 s' WHERE lease_token IS NULL")
    async with ground.database.queue() as conn:
        state = await get_outbox_state(conn)
    assert (2, 1) == (state.due, state.later)
    assert 90 <= state.oldest_due_age_s < 120


async def test_workers_at_once_deliver_each_event_once(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Many that claim and record at once leave each delivery final, with one attempt."""
    await emit(ground, count=40)

    async def work() -> None:
        while (taken := await claim(ground, limit=3))[1]:
            token, claimed = taken
            for each in claimed:
                async with ground.app() as conn:
                    assert await delivery.mark_delivered(conn, each, OK, token=token)

    await asyncio.gather(*(work() for _ in range(4)))
    assert [("delivered", 40)] == await rows(superuser, "SELECT state::text, count(*) FROM deliveries GROUP BY 1")
    assert 40 == await superuser.fetchval("SELECT count(*) FROM attempts")
