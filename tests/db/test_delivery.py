"""Deliveries: claimed by lease, recorded together, and never by who lost the lease."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from bankfeed.db import delivery
from bankfeed.db.delivery import Attempt, ClaimedDelivery, Outcome, get_outbox_state, record_outcomes
from bankfeed.errors import RefusedData
from bankfeed.model import EndpointId
from tests.db.made import OVER_S, Ground
from tests.db.outbox import BODY, claim, emit, rows
from tests.seed import ENDPOINT_SECRET, make_endpoint, make_sealer

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
OK = Attempt(started_at=NOW, duration_ms=12, status=200)
REFUSED = Attempt(started_at=NOW, duration_ms=12, status=500, answer="no")
LOST = Attempt(started_at=NOW, duration_ms=12, status=None, error="no answer in time")


@pytest.fixture
async def endpoint_id(ground: Ground) -> EndpointId:
    """An endpoint that wants everything."""
    return await make_endpoint(ground.database, ground.tenant, url="https://firm.example/hook")


async def record(
    ground: Ground,
    claimed: ClaimedDelivery,
    token: UUID,
    state: str,
    attempt: Attempt | None = None,
    *,
    due_at: datetime | None = None,
    reason: str = "",
    now: datetime | None = None,
) -> None:
    outcome = Outcome(claimed=claimed, token=token, state=state, attempt=attempt, due_at=due_at, reason=reason)
    async with ground.database.queue() as conn:
        await record_outcomes(conn, [outcome], now=now)


# ------------------------------------------------------------------------------------------------ claims


async def test_a_claim_says_what_to_send(ground: Ground, endpoint_id: EndpointId) -> None:
    """The very bytes that were committed, the endpoint's address of now, and its secret as it lies there: sealed."""
    await emit(ground)
    _, [claimed] = await claim(ground)
    assert (BODY, "transactionsRefreshed", "https://firm.example/hook") == (
        claimed.body,
        claimed.event_type,
        claimed.url,
    )
    assert ENDPOINT_SECRET == make_sealer().open(claimed.secret, of=f"endpoint of customer {ground.tenant.customer_id}")
    assert claimed.previous_secret is None
    assert ENDPOINT_SECRET not in repr(claimed)
    assert claimed.secret not in repr(claimed)


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


async def test_the_longest_due_goes_first(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Whatever its number; and what is claimed is not claimed again."""
    await emit(ground, count=5)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() - delivery_id * interval '1 min'")
    _, first = await claim(ground, limit=3)
    _, second = await claim(ground)
    assert [3, 2] == [len(first), len(second)]
    assert min(each.delivery_id for each in first) > max(each.delivery_id for each in second)


async def test_an_abandoned_delivery_is_due_again_with_the_same_event(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """After its lease another worker sends the same event; what the first one says then is not recorded."""
    await emit(ground)
    old, [first] = await claim(ground, lease_s=OVER_S)
    new, [second] = await claim(ground)
    assert (first.delivery_id, first.event_id) == (second.delivery_id, second.event_id)
    for state, attempt in (("delivered", OK), ("failed", REFUSED), ("failed", None), ("later", REFUSED)):
        await record(ground, first, old, state, attempt, due_at=NOW)
    await record(ground, first, old, "given_back")
    assert [(new, 0)] == await rows(superuser, "SELECT lease_token, attempts FROM delivery_queue")
    assert 0 == await superuser.fetchval("SELECT count(*) FROM attempts")
    assert 0 == await superuser.fetchval("SELECT failures FROM endpoint_health")
    for _ in range(2):
        await record(ground, second, new, "delivered", OK)
    assert [("delivered",)] == await rows(superuser, "SELECT state::text FROM deliveries")
    assert 1 == await superuser.fetchval("SELECT count(*) FROM attempts")


# ------------------------------------------------------------------------------------------------ what became of it


async def test_a_delivered_event_leaves_the_queue(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """The delivery is final with its times, its attempt is kept, and nothing waits."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    await record(ground, claimed, token, "delivered", OK, now=NOW)
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
        await record(ground, claimed, token, "later", attempt, due_at=NOW)
    token, [claimed] = await claim(ground)
    assert 2 == claimed.attempts
    await record(ground, claimed, token, "failed", REFUSED)
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
    await record(ground, claimed, token, "later", REFUSED, due_at=due_at)
    assert [0, 0, 1] == [
        len((await claim(ground, now=now))[1]) for now in (None, due_at - timedelta(microseconds=1), due_at)
    ]


async def test_a_failure_without_an_attempt_makes_none_up(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """One that was never attempted has no first attempt; one that was keeps it. The endpoint is not to blame."""
    await emit(ground, count=2)
    await superuser.execute(
        "UPDATE delivery_queue SET first_attempt_at = $1 WHERE delivery_id = (SELECT min(id) FROM deliveries)", NOW
    )
    token, claimed = await claim(ground)
    for each in claimed:
        await record(ground, each, token, "failed", reason="the schedule is over")
    final = "SELECT state::text, first_attempt_at, reason FROM deliveries ORDER BY id"
    assert [("failed", NOW, "the schedule is over"), ("failed", None, "the schedule is over")] == await rows(
        superuser, final
    )
    assert 0 == await superuser.fetchval("SELECT count(*) FROM attempts")
    assert 0 == await superuser.fetchval("SELECT failures FROM endpoint_health")


async def test_giving_back_is_no_attempt(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """What is given back is due at once, and its schedule has not begun."""
    await emit(ground)
    token, [claimed] = await claim(ground)
    await record(ground, claimed, token, "given_back")
    kept = "SELECT attempts, first_attempt_at, lease_token, due_at <= now() FROM delivery_queue"
    assert [(0, None, None, True)] == await rows(superuser, kept)
    assert 1 == len((await claim(ground))[1])


async def test_giving_back_keeps_a_schedule_that_began(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """An earlier claim may have been killed after its call, so the schedule still counts from it."""
    await emit(ground)
    _, [killed] = await claim(ground, lease_s=OVER_S)
    token, [claimed] = await claim(ground)
    await record(ground, claimed, token, "given_back")
    assert [(killed.first_attempt_at,)] == await rows(superuser, "SELECT first_attempt_at FROM delivery_queue")


async def test_a_batch_is_recorded_or_not(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Where one attempt cannot be stored, every delivery of the batch stays as it was."""
    await emit(ground, count=2)
    token, claimed = await claim(ground)
    poison = Attempt(started_at=NOW, duration_ms=1, status=200, answer="a\x00b")
    outcomes = [
        Outcome(claimed=each, token=token, state="delivered", attempt=attempt)
        for each, attempt in zip(claimed, (OK, poison), strict=True)
    ]
    with pytest.raises(RefusedData):
        async with ground.database.queue() as conn:
            await record_outcomes(conn, outcomes)
    assert [("waiting",)] * 2 == await rows(superuser, "SELECT state::text FROM deliveries")
    assert [(0, token)] * 2 == await rows(superuser, "SELECT attempts, lease_token FROM delivery_queue")


async def test_the_outbox_is_counted(ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection) -> None:
    """What is due, what is due later, and how old the oldest is."""
    await emit(ground, count=3)
    await claim(ground, limit=1)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() - interval '90 s' WHERE lease_token IS NULL")
    async with ground.database.queue() as conn:
        state = await get_outbox_state(conn)
    assert (2, 1) == (state.due, state.later)
    assert 90 <= state.oldest_due_age_s < 120


async def test_the_next_due_time_is_known(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """In seconds from now, not more than 0 for what is due; what waits for another to end has no time."""

    async def find() -> float | None:
        async with ground.database.queue() as conn:
            return await delivery.find_next_due_s(conn)

    assert await find() is None
    await emit(ground, count=2)
    assert (await find() or 0) <= 0
    await superuser.execute(
        "UPDATE delivery_queue SET due_at = CASE delivery_id % 2 WHEN 1 THEN 'infinity' ELSE now() + interval '40 s' END"
    )
    assert 30 < (await find() or 0) <= 40


async def test_workers_at_once_deliver_each_event_once(
    ground: Ground, endpoint_id: EndpointId, superuser: asyncpg.Connection
) -> None:
    """Many that claim and record at once leave each delivery final, with one attempt."""
    await emit(ground, count=40)

    async def work() -> None:
        while await superuser_count() > 0:
            token, claimed = await claim(ground, limit=3)
            for each in claimed:
                await record(ground, each, token, "delivered", OK)

    async def superuser_count() -> int:
        async with ground.database.queue() as conn:
            waiting: int = await conn.fetchval("SELECT count(*) FROM delivery_queue")
        return waiting

    await asyncio.gather(*(work() for _ in range(4)))
    assert [("delivered", 40)] == await rows(superuser, "SELECT state::text, count(*) FROM deliveries GROUP BY 1")
    assert 40 == await superuser.fetchval("SELECT count(*) FROM attempts")
