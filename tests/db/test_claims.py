"""Who is claimed for: every endpoint gets its turn, none more than its slots, rate and health allow."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from bankfeed.db import delivery
from bankfeed.db.delivery import (
    BREAKER_FAILURES,
    Attempt,
    ClaimedDelivery,
    Outcome,
    claim_deliveries,
    record_outcomes,
)
from bankfeed.model import EndpointId
from tests.db.made import Ground
from tests.db.outbox import claim, emit
from tests.seed import make_endpoint, make_tenant

SECOND = timedelta(seconds=1)


@pytest.fixture
async def now(superuser: asyncpg.Connection) -> datetime:
    """A moment at which all that the test emits is due."""
    at: datetime = await superuser.fetchval("SELECT now() + interval '1 hour'")
    return at


async def make(ground: Ground, name: str, **settings: object) -> EndpointId:
    return await make_endpoint(ground.database, ground.tenant, url=f"https://{name}.example/hook", **settings)


async def end(
    ground: Ground,
    token: UUID,
    claimed: Sequence[ClaimedDelivery],
    *,
    status: int,
    now: datetime,
    pause_until: datetime | None = None,
) -> None:
    """Record an answer of each, due again at once."""
    attempt = Attempt(started_at=now, duration_ms=1, status=status)
    outcomes = [
        Outcome(
            claimed=each,
            token=token,
            state="delivered" if attempt.is_success else "later",
            attempt=attempt,
            due_at=now,
            pause_until=pause_until,
        )
        for each in claimed
    ]
    async with ground.database.queue() as conn:
        await record_outcomes(conn, outcomes, now=now)


async def take(ground: Ground, *, now: datetime, limit: int = 100, status: int = 500) -> int:
    """Claim, and answer each; return how many."""
    token, claimed = await claim(ground, limit=limit, now=now)
    if claimed:
        await end(ground, token, claimed, status=status, now=now)
    return len(claimed)


def by_endpoint(claimed: Sequence[ClaimedDelivery]) -> Counter[EndpointId]:
    return Counter(each.endpoint_id for each in claimed)


async def test_a_backlog_hides_nobody(
    ground: Ground, superuser: asyncpg.Connection, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much one endpoint has that has been due for longer, the others are found: from endpoint to endpoint."""
    monkeypatch.setattr(delivery, "HEAD_ROWS", 20)
    crowd = await make(ground, "crowd")
    await emit(ground, count=50)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() - interval '1 day'")
    await superuser.execute("UPDATE endpoints SET event_types = '{mfaUpdated}'")
    others = [await make(ground, f"other-{n}") for n in range(3)]
    await emit(ground)
    stranger = await make_tenant(ground.database, ground.sources)
    await make_endpoint(ground.database, stranger, url="https://stranger.example/")
    _, claimed = await claim(ground, limit=8, now=now)
    assert {crowd, *others} == by_endpoint(claimed).keys()
    assert 1 == by_endpoint(claimed)[others[0]]


async def test_turns_go_round(ground: Ground, now: datetime) -> None:
    """A claim begins with the endpoint behind the one whose turn was last, and wraps."""
    first, second, third = [await make(ground, f"e{n}") for n in range(3)]
    await emit(ground)
    _, claimed = await claim(ground, limit=2, after=(ground.tenant.customer_id, second), now=now)
    assert {third, first} == by_endpoint(claimed).keys()


async def test_more_endpoints_than_one_look_takes_in(
    ground: Ground, superuser: asyncpg.Connection, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that is full begins behind the last turn too, so that claim after claim comes to everybody."""
    monkeypatch.setattr(delivery, "HEAD_ROWS", 2)
    monkeypatch.setattr(delivery, "MOST_LANES", 2)
    ids = [await make(ground, f"e{n}") for n in range(5)]
    await emit(ground, count=2)
    seen: list[EndpointId] = []
    for _ in range(5):
        after = (ground.tenant.customer_id, seen[-1]) if seen else None
        _, [each] = await claim(ground, limit=1, after=after, now=now)
        seen.append(each.endpoint_id)
    assert ids == seen


async def test_who_may_not_go_hides_nobody(
    ground: Ground, superuser: asyncpg.Connection, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disabled endpoint's backlog, and any number that wait for their time, do not count among those looked at."""
    monkeypatch.setattr(delivery, "HEAD_ROWS", 5)
    monkeypatch.setattr(delivery, "MOST_LANES", 3)
    off = await make(ground, "off")
    for n in range(6):
        await make(ground, f"later-{n}")
    last = await make(ground, "last")
    await emit(ground, count=6)
    await superuser.execute(
        "UPDATE delivery_queue SET due_at = $1 WHERE endpoint_id NOT IN ($2, $3)", now + SECOND, off, last
    )
    await superuser.execute("UPDATE endpoints SET state = 'disabled' WHERE id = $1", off)
    assert {last: 6} == by_endpoint((await claim(ground, now=now))[1])


async def test_whoever_has_nothing_under_way_finds_a_slot(ground: Ground, now: datetime) -> None:
    """Of the free slots a customer gets a part, and one where it has none: the last is never one more for who holds many."""
    await make(ground, "crowd", slots=100)
    await emit(ground, count=30)

    async def take_part(free: int) -> int:
        return len((await claim(ground, limit=free, most_of_one=free // 2, now=now))[1])

    assert [10, 5, 0] == [await take_part(free) for free in (20, 10, 1)]
    stranger = await make_tenant(ground.database, ground.sources)
    other = await make_endpoint(ground.database, stranger, url="https://stranger.example/")
    connection_id = ground.connection_id
    await emit(replace(ground, tenant=stranger), connection_id=connection_id)
    _, [claimed] = await claim(ground, limit=1, most_of_one=0, now=now)
    assert other == claimed.endpoint_id


async def test_a_round_of_each_before_a_second_of_any(ground: Ground, now: datetime) -> None:
    """Fewer slots than deliveries are shared out evenly."""
    for n in range(3):
        await make(ground, f"e{n}")
    await emit(ground, count=4)
    _, claimed = await claim(ground, limit=6, now=now)
    assert [2, 2, 2] == list(by_endpoint(claimed).values())


async def test_an_endpoint_has_its_slots_and_no_more(ground: Ground, now: datetime) -> None:
    """Whoever claims: what is being attempted counts until it is recorded or its lease is over."""
    await make(ground, "narrow", slots=2)
    await emit(ground, count=5)
    token, claimed = await claim(ground, now=now, lease_s=60)
    assert 2 == len(claimed)
    assert () == (await claim(ground, now=now))[1]
    await end(ground, token, claimed[:1], status=200, now=now)
    assert 1 == len((await claim(ground, now=now))[1])
    assert 2 == len((await claim(ground, now=now + 61 * SECOND))[1])


async def test_a_lane_that_another_worker_claims_from_is_left_to_it(ground: Ground, now: datetime) -> None:
    """Two at once never give an endpoint twice its slots, and neither waits for the other."""
    await make(ground, "one", slots=3)
    await emit(ground, count=6)
    async with ground.database.queue() as conn:
        assert 3 == len(await claim_deliveries(conn, token=uuid4(), lease_s=60, limit=10, now=now))
        assert () == (await claim(ground, now=now))[1]


@pytest.mark.parametrize("change", ["state = 'disabled'", "state = 'disabled', deleted_at = now()"])
async def test_a_disabled_endpoint_is_not_claimed_for(
    ground: Ground, superuser: asyncpg.Connection, now: datetime, change: str
) -> None:
    """Nor one that was deleted; not even what is urgent."""
    await make(ground, "off")
    await emit(ground)
    await superuser.execute(f"UPDATE endpoints SET {change}")  # noqa: S608 - a word of this test
    await superuser.execute("UPDATE delivery_queue SET urgent_at = now(), is_by_hand = true")
    assert () == (await claim(ground, now=now))[1]


async def test_a_breaker_opens_and_closes(ground: Ground, superuser: asyncpg.Connection, now: datetime) -> None:
    """After ten failures in a row: nothing for 30 s, then one at a time, each failure doubling the pause; one success ends it."""
    await make(ground, "dead")
    await emit(ground, count=40)
    assert BREAKER_FAILURES == await take(ground, now=now)
    assert 0 == await take(ground, now=now + 29 * SECOND)
    assert 1 == await take(ground, now=now + 30 * SECOND)
    assert 0 == await take(ground, now=now + 89 * SECOND)
    token, [probe] = await claim(ground, now=now + 90 * SECOND)
    assert () == (await claim(ground, now=now + 90 * SECOND))[1]
    await end(ground, token, [probe], status=200, now=now + 91 * SECOND)
    assert 10 == await take(ground, now=now + 91 * SECOND)


async def test_a_breaker_waits_ten_minutes_at_most(
    ground: Ground, superuser: asyncpg.Connection, now: datetime
) -> None:
    """However long an endpoint has failed."""
    await make(ground, "dead")
    await emit(ground)
    await superuser.execute("UPDATE endpoint_health SET failures = 1000, failing_since = now()")
    assert 1 == await take(ground, now=now)
    assert now + timedelta(minutes=10) == await superuser.fetchval("SELECT blocked_until FROM endpoint_health")


async def test_what_is_urgent_needs_a_slot_only(ground: Ground, superuser: asyncpg.Connection, now: datetime) -> None:
    """The last slot of a schedule, and what a person asks for, come although the breaker is open."""
    await make(ground, "dead", slots=2)
    await emit(ground, count=5)
    await superuser.execute(
        "UPDATE endpoint_health SET failures = 50, failing_since = now(), blocked_until = $1", now + 60 * SECOND
    )
    assert 0 == await take(ground, now=now)
    await superuser.execute("UPDATE delivery_queue SET urgent_at = $1 WHERE delivery_id % 2 = 1", now)
    urgent = await superuser.fetchval("SELECT count(*) FROM delivery_queue WHERE urgent_at IS NOT NULL")
    assert urgent >= 2
    _, claimed = await claim(ground, now=now)
    assert 2 == len(claimed)
    assert {1} == {each.delivery_id % 2 for each in claimed}


async def test_a_pause_holds_what_is_due(ground: Ground, now: datetime) -> None:
    """An endpoint that asked to be left alone is, until then, and after it gets everything again."""
    await make(ground, "busy", slots=1)
    await emit(ground, count=3)
    token, [claimed] = await claim(ground, now=now)
    await end(ground, token, [claimed], status=429, now=now, pause_until=now + 45 * SECOND)
    assert 0 == await take(ground, now=now + 44 * SECOND)
    assert 1 == await take(ground, now=now + 45 * SECOND, status=200)


async def test_a_rate_is_kept(ground: Ground, now: datetime) -> None:
    """A second's worth at once, and then as many as the time since then allows."""
    await make(ground, "slow", rate_per_s=4)
    await emit(ground, count=20)
    taken = [
        await take(ground, now=now + timedelta(milliseconds=ms), status=200) for ms in (0, 0, 200, 250, 500, 1500, 5000)
    ]
    assert [4, 0, 0, 1, 1, 4, 4] == taken


async def test_what_is_urgent_leaves_no_debt(ground: Ground, superuser: asyncpg.Connection, now: datetime) -> None:
    """It exceeds the rate; what comes after it waits seconds, not for all that was too much."""
    await make(ground, "slow", rate_per_s=1, slots=100)
    await emit(ground, count=50)
    await superuser.execute("UPDATE delivery_queue SET urgent_at = $1", now)
    await superuser.execute("UPDATE endpoint_health SET paced_at = $1", now)
    assert 50 == await take(ground, now=now, status=200)
    await emit(ground)
    assert 1 == await take(ground, now=now + 3 * SECOND, status=200)


async def test_an_older_success_ends_no_pause(ground: Ground, superuser: asyncpg.Connection, now: datetime) -> None:
    """What was under way when the endpoint asked to be left alone says nothing against it."""
    await make(ground, "busy")
    await emit(ground, count=3)
    token, claimed = await claim(ground, limit=2, now=now)
    pause_until = now + 45 * SECOND
    await end(ground, token, claimed[:1], status=429, now=now, pause_until=pause_until)
    await end(ground, token, claimed[1:], status=200, now=now)
    assert pause_until == await superuser.fetchval("SELECT blocked_until FROM endpoint_health")


async def test_failures_in_a_row_are_counted_for_each_endpoint(
    ground: Ground, superuser: asyncpg.Connection, now: datetime
) -> None:
    """A success ends the count and the time since when; another endpoint's failures are its own."""
    bad, good = await make(ground, "bad"), await make(ground, "good")
    await emit(ground, count=2)
    token, claimed = await claim(ground, now=now)
    await end(ground, token, [each for each in claimed if each.endpoint_id == bad], status=500, now=now)
    await end(ground, token, [each for each in claimed if each.endpoint_id == good], status=200, now=now)
    health = "SELECT endpoint_id, failures, failing_since FROM endpoint_health ORDER BY endpoint_id"
    assert [(bad, 2, now), (good, 0, None)] == [tuple(row) for row in await superuser.fetch(health)]
    token, claimed = await claim(ground, limit=1, now=now + SECOND)
    await end(ground, token, claimed, status=200, now=now + SECOND)
    assert (bad, 0, None) == tuple((await superuser.fetch(health))[0])
