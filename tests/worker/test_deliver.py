"""Deliveries: the documented schedule to the second, every attempt kept, and what is no attempt."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

from bankfeed.db.delivery import end_overdue_deliveries
from bankfeed.model import EventType
from bankfeed.schedule import RETRIES, retry_due_at
from tests.db.made import wait_until_blocked
from tests.seed import make_endpoint
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench
from tests.worker.dispatch import take_deliveries
from worker.courier import Courier
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


@dataclass(slots=True)
class Slow:
    """A subscriber that answers 200 once `until` returns; without it, never."""

    url: str = ""
    request: str = ""
    has_request: asyncio.Event = field(default_factory=asyncio.Event)
    until: Callable[[], Awaitable[None]] | None = None

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.has_request.set()
        if self.until:
            await self.until()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()  # until the worker hangs up
        writer.close()


@pytest.fixture
async def slow(bench: Bench) -> AsyncIterator[Slow]:
    """A slow server instead of the subscriber's."""
    made = Slow()
    async with await asyncio.start_server(made.take, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        await bench.superuser.execute("UPDATE endpoints SET url = $1", made.url)
        yield made


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
    assert "no connection to 127.0.0.1:9: Connection refused" == await bench.one("SELECT error FROM attempts")


async def test_a_secret_that_no_key_opens_is_no_attempt(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """The operator lost a key: nothing is sent unsigned, the subscriber is not blamed, and the key brings it on its way."""
    sealed = await bench.one("SELECT secret FROM endpoints")
    await bench.superuser.execute("UPDATE endpoints SET secret = 'sealed:lost:' || repeat('A', 40)")
    await take_deliveries(bench.context, bench.post, now=first_at)
    assert first_at + timedelta(minutes=1) == await bench.one("SELECT blocked_until FROM endpoint_health")
    assert (None, 0, 0) == tuple(
        await bench.superuser.fetchrow(
            "SELECT first_attempt_at, (SELECT count(*) FROM attempts), (SELECT failures FROM endpoint_health) FROM delivery_queue"
        )
    )
    assert [] == subscriber.requests
    await bench.superuser.execute("UPDATE endpoints SET secret = $1", sealed)
    await take_deliveries(bench.context, bench.post, now=first_at + timedelta(minutes=1))
    assert 1 == len(subscriber.requests)


async def test_a_previous_secret_that_no_key_opens_is_left_out(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """The current one signs alone."""
    await bench.superuser.execute(
        """
        UPDATE endpoints SET previous_secret = 'sealed:lost:AAAA', previous_signing_key = 'sealed:lost:AAAA',
            previous_public_key = 'whpk_AAAA', previous_secret_until = now() + interval '1 hour'
        """
    )
    await take_deliveries(bench.context, bench.post, now=first_at)
    assert 1 == len(subscriber.requests)


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
    """What comes due meanwhile waits without an attempt; the schedule begins with the first one."""
    await bench.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    assert not await take_deliveries(bench.context, bench.post, now=first_at)
    assert await bench.one("SELECT first_attempt_at FROM delivery_queue") is None
    assert [] == subscriber.requests
    await bench.superuser.execute("UPDATE endpoints SET state = 'active'")
    subscriber.statuses = [500]
    enabled_at = first_at + timedelta(hours=1)
    await take_deliveries(bench.context, bench.post, now=enabled_at)
    assert 1 == len(subscriber.requests)
    assert enabled_at + timedelta(seconds=30) == await due_at(bench)


async def test_an_endpoint_disabled_after_an_attempt_lets_slots_pass(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """Slots that passed meanwhile are used up by the one attempt that is made when it is enabled."""
    subscriber.statuses = [500, 500]
    await take_deliveries(bench.context, bench.post, now=first_at)
    await bench.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    assert not await take_deliveries(bench.context, bench.post, now=first_at + timedelta(minutes=5))
    await bench.superuser.execute("UPDATE endpoints SET state = 'active'")
    assert await take_deliveries(bench.context, bench.post, now=first_at + timedelta(minutes=5))
    assert first_at + timedelta(minutes=8) == await due_at(bench)
    assert 2 == len(subscriber.requests)


async def end_overdue(bench: Bench, now: datetime) -> int:
    async with bench.database.queue() as conn:
        return await end_overdue_deliveries(conn, limit=100, now=now)


async def last_words(bench: Bench) -> tuple[str, datetime | None, str]:
    row = await bench.superuser.fetchrow(
        "SELECT state::text, first_attempt_at, reason FROM deliveries ORDER BY id LIMIT 1"
    )
    return tuple(row)


async def test_a_schedule_that_is_over_ends_while_its_endpoint_is_disabled(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """Three days after the first attempt there is nothing to wait for."""
    subscriber.statuses = [500]
    await take_deliveries(bench.context, bench.post, now=first_at)
    await bench.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    assert 0 == await end_overdue(bench, first_at + timedelta(days=3))
    assert 1 == await end_overdue(bench, first_at + timedelta(days=3, seconds=1))
    assert ("failed", first_at, "the schedule is over") == await last_words(bench)


async def test_what_waits_three_days_for_a_disabled_endpoint_has_failed(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """It was never attempted, and says why."""
    await bench.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    queued_at = await bench.one("SELECT queued_at FROM delivery_queue")
    assert 0 == await end_overdue(bench, queued_at + timedelta(days=3))
    assert 1 == await end_overdue(bench, queued_at + timedelta(days=3, seconds=1))
    assert ("failed", None, "the endpoint was disabled") == await last_words(bench)
    assert [] == subscriber.requests


async def test_what_lost_its_event_has_failed(bench: Bench, subscriber: Subscriber, first_at: datetime) -> None:
    """Retention came first: there is nothing to send."""
    long_ago = first_at - timedelta(days=90)
    await bench.superuser.execute("UPDATE delivery_queue SET created_at = $1", long_ago)
    assert 1 == await end_overdue(bench, first_at)
    assert 0 == await bench.one("SELECT count(*) FROM delivery_queue")


async def test_what_waited_for_a_worker_is_attempted_however_old(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """The three days count from the first attempt: an event that met no worker for a week is delivered all the same."""
    assert await take_deliveries(bench.context, bench.post, now=first_at + timedelta(days=7))
    assert "delivered" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_workers_own_clock_has_no_say(
    bench: Bench, subscriber: Subscriber, first_at: datetime, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Slots are counted by Postgres' clock, so a worker whose clock is wrong neither hurries nor skips one."""

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=hours)

    monkeypatch.setattr("worker.deliver.datetime", Skewed)
    monkeypatch.setattr("worker.post.datetime", Skewed)
    subscriber.statuses = [500, 500]
    ahead = "SELECT due_at - first_attempt_at FROM delivery_queue"
    await take_deliveries(bench.context, bench.post)
    assert timedelta(seconds=30) == await bench.one(ahead)
    await bench.superuser.execute(
        "UPDATE delivery_queue SET first_attempt_at = now() - interval '30 s', due_at = now()"
    )
    await take_deliveries(bench.context, bench.post)
    assert timedelta(seconds=60) == await bench.one(ahead)


@pytest.mark.parametrize(("made", "sent"), [(14, 1), (15, 0)])
async def test_the_fifteenth_attempt_is_the_last(
    bench: Bench, subscriber: Subscriber, first_at: datetime, made: int, sent: int
) -> None:
    """Whatever the time says, no delivery waits after fifteen attempts, and there is no sixteenth."""
    subscriber.statuses = [500, 500]
    await bench.superuser.execute("UPDATE delivery_queue SET attempts = $1, first_attempt_at = $2", made, first_at)
    assert await take_deliveries(bench.context, bench.post, now=first_at + timedelta(minutes=10))
    assert "failed" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")
    assert sent == len(subscriber.requests)
    assert await due_at(bench) is None


async def test_a_claim_outlasts_its_attempt(bench: Bench, first_at: datetime, slow: Slow) -> None:
    """However short other leases are, no second worker sends what one is still sending."""
    settings = replace(bench.context.settings, lease_s=3, attempt_s=20)
    taking = asyncio.create_task(take_deliveries(replace(bench.context, settings=settings), bench.post))
    await slow.has_request.wait()
    assert timedelta(seconds=30) == await bench.one("SELECT lease_until - first_attempt_at FROM delivery_queue")
    assert not await take_deliveries(bench.context, bench.post)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)


async def test_no_more_is_claimed_than_is_sent_at_once(bench: Bench, subscriber: Subscriber) -> None:
    """With one slot one delivery is claimed, so that none uses up its attempt's time waiting for another's."""
    link = await bench.link("savings")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["savings"])
    while await take_inbox(bench.context) or await take_refresh(bench.context):
        pass
    settings = replace(bench.context.settings, delivery_slots=1)
    assert await take_deliveries(replace(bench.context, settings=settings), bench.post)
    assert 1 == len(subscriber.requests)
    assert 1 == await bench.one("SELECT count(*) FROM delivery_queue")


async def test_a_shutdown_before_the_attempt_gives_back(
    bench: Bench, subscriber: Subscriber, first_at: datetime
) -> None:
    """A worker that is stopped while it claims gives back what it gets."""
    courier = Courier(bench.context, bench.post)
    async with bench.superuser.transaction():
        await bench.superuser.execute("LOCK TABLE endpoints")
        courier.start()
        await wait_until_blocked(bench.superuser)
        closing = asyncio.create_task(courier.close(grace_s=0))
    await closing
    assert (None, True) == tuple(
        await bench.superuser.fetchrow("SELECT lease_token, due_at <= now() FROM delivery_queue")
    )
    assert [] == subscriber.requests


async def test_a_shutdown_in_the_middle_is_no_attempt(
    bench: Bench, subscriber: Subscriber, first_at: datetime, slow: Slow
) -> None:
    """What a stopping worker was sending is given back at once, and sent again under the same event id."""
    courier = Courier(bench.context, bench.post)
    courier.start()
    await slow.has_request.wait()
    await courier.close(grace_s=0)
    row = await bench.superuser.fetchrow(
        "SELECT attempts, lease_token, first_attempt_at, due_at <= now() AS is_due FROM delivery_queue"
    )
    assert (0, None, None, True) == tuple(row)
    assert 0 == await bench.one("SELECT count(*) FROM attempts")
    await bench.superuser.execute("UPDATE endpoints SET url = $1", subscriber.url)
    assert await take_deliveries(bench.context, bench.post)
    assert "delivered" == await bench.one("SELECT state::text FROM deliveries ORDER BY id LIMIT 1")
    [message_id] = re.findall(r"(?i)^webhook-id: (\S+)", slow.request, re.MULTILINE)
    assert [message_id] == [request["webhook-id"] for request in subscriber.requests]


async def test_each_endpoint_has_its_own_delivery(bench: Bench, subscriber: Subscriber) -> None:
    """An event goes to every endpoint that wants it; one that fails does not hold the other."""
    await make_endpoint(bench.database, bench.tenant, url="http://127.0.0.1:9/")
    link = await bench.link("savings")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["savings"])
    await bench.work()
    states = await bench.superuser.fetch("SELECT state::text, count(*) FROM deliveries GROUP BY state")
    assert {"waiting": 2, "delivered": 2} == {row["state"]: row["count"] for row in states}
