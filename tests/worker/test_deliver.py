"""Deliveries: the documented schedule to the second, every attempt kept, and what is no attempt."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from bankfeed.model import EventType
from bankfeed.schedule import RETRIES, retry_due_at
from tests.seed import make_endpoint
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench
from worker.deliver import take_deliveries
from worker.inbox import take_inbox
from worker.post import Post
from worker.refresh import take_refresh


@pytest.fixture
async def first_at(bench: Bench, subscriber: Subscriber) -> datetime:
    """One delivery that waits; the moment at which it is due first."""
    link = await bench.link("savings")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["savings"])
    while await take_inbox(bench.context) or await take_refresh(bench.context):
        pass
    await bench.superuser.execute("DELETE FROM delivery_queue WHERE delivery_id > (SELECT min(id) FROM deliveries)")
    due_at: datetime = await bench.one("SELECT due_at FROM delivery_queue")
    return due_at


async def due_at(bench: Bench) -> datetime | None:
    at: datetime | None = await bench.one("SELECT due_at FROM delivery_queue")
    return at


async def test_fifteen_attempts_on_the_documented_schedule(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """A subscriber that always fails is tried at once and 14 times more, at 30 s x 2^(n-1) after the first, then no more."""
    subscriber.statuses = [500, 404, 410, 301, 429] * 3
    assert await take_deliveries(bench.context, bench.post, now=first_at)
    for n in range(1, RETRIES + 1):
        expected = retry_due_at(first_at, n)
        assert expected == await due_at(bench)
        assert not await take_deliveries(bench.context, bench.post, now=expected - timedelta(milliseconds=1))
        assert await take_deliveries(bench.context, bench.post, now=expected)
    row = await bench.superuser.fetchrow("SELECT state::text, first_attempt_at FROM deliveries ORDER BY id LIMIT 1")
    assert ("failed", first_at) == tuple(row)
    assert await due_at(bench) is None
    attempts = await bench.superuser.fetch("SELECT attempt_no, status FROM attempts ORDER BY attempt_no")
    assert [(n + 1, status) for n, status in enumerate([500, 404, 410, 301, 429] * 3)] == [
        tuple(row) for row in attempts
    ]
    assert 1 == len({request["webhook-id"] for request in subscriber.requests})


async def test_success_ends_the_schedule(bench: Bench, subscriber: Subscriber, first_at: datetime) -> None:
    """Any 2xx delivers; the event arrives with the same id on every try, and no try follows."""
    subscriber.statuses = [503, 204]
    await take_deliveries(bench.context, bench.post, now=first_at)
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(seconds=30))
    assert "delivered" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")
    assert not await take_deliveries(bench.context, bench.post, now=first_at + timedelta(days=3))
    assert 2 == len(subscriber.requests)


async def test_a_worker_that_was_away_tries_once_and_goes_on_ahead(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """Slots that passed while nobody was there are used up; the last one is tried within the three days."""
    subscriber.statuses = [500, 500, 500]
    await take_deliveries(bench.context, bench.post, now=first_at)
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(hours=5))
    assert first_at + timedelta(hours=8, minutes=32) == await due_at(bench)
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(days=2, hours=23))
    assert "failed" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")
    assert 3 == len(subscriber.requests)


async def test_after_three_days_it_fails_without_an_attempt(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """A delivery found waiting after the three days is failed, and not sent."""
    subscriber.statuses = [500]
    await take_deliveries(bench.context, bench.post, now=first_at)
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(days=3, seconds=1))
    assert "failed" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")
    assert 1 == len(subscriber.requests)


async def test_an_abandoned_claim_is_due_again_and_counts_from_the_first(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """A worker killed between claim and record leaves first_attempt_at committed; after its lease another one tries."""
    await bench.superuser.execute(
        "UPDATE delivery_queue SET first_attempt_at = $1, lease_token = gen_random_uuid(), lease_until = $2, due_at = $2",
        first_at,
        first_at + timedelta(seconds=60),
    )
    subscriber.statuses = [500]
    assert not await take_deliveries(bench.context, bench.post, now=first_at + timedelta(seconds=59))
    assert await take_deliveries(bench.context, bench.post, now=first_at + timedelta(seconds=60))
    assert first_at + timedelta(seconds=120) == await due_at(bench)


async def test_an_endpoint_that_nobody_serves_is_an_error_with_its_reason(bench: Bench, first_at: datetime) -> None:
    """A refused connection is a failed attempt, and the attempt says so."""
    await bench.superuser.execute("UPDATE endpoints SET url = 'http://127.0.0.1:9/'")
    await take_deliveries(bench.context, bench.post, now=first_at)
    assert first_at + timedelta(seconds=30) == await due_at(bench)
    assert "ClientConnectorError" in await bench.one("SELECT error FROM attempts")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/", "https://localhost:9/", "http://[::1]:9/"]
)
async def test_private_addresses_are_refused_at_the_socket(bench: Bench, first_at: datetime, url: str) -> None:
    """Without the operator's leave no delivery goes to an address that only the worker reaches."""
    await bench.superuser.execute("UPDATE endpoints SET url = $1", url)
    async with Post(replace(bench.context.settings, outbound_allow=())) as guarded:
        await take_deliveries(bench.context, guarded, now=first_at)
    assert "deliveries may not go to" in await bench.one("SELECT error FROM attempts")


async def test_a_disabled_endpoint_gets_no_attempt(bench: Bench, subscriber: Subscriber, first_at: datetime) -> None:
    """A slot that comes while the endpoint is disabled passes without an attempt; the schedule goes on."""
    await bench.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    await take_deliveries(bench.context, bench.post, now=first_at)
    assert first_at + timedelta(seconds=30) == await due_at(bench)
    assert [] == subscriber.requests
    await bench.superuser.execute("UPDATE endpoints SET state = 'active'")
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(seconds=30))
    assert 1 == len(subscriber.requests)


async def test_each_endpoint_has_its_own_delivery(bench: Bench, subscriber: Subscriber) -> None:
    """An event goes to every endpoint that wants it; one that fails does not hold the other."""
    await make_endpoint(bench.database, bench.tenant, url="http://127.0.0.1:9/")
    link = await bench.link("savings")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["savings"])
    await bench.work()
    states = await bench.superuser.fetch("SELECT state::text, count(*) FROM deliveries GROUP BY state")
    assert {"waiting": 2, "delivered": 2} == {row["state"]: row["count"] for row in states}
