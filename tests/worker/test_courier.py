"""The delivery lane as it runs: fair to all, on time without being woken, and what endpoints may ask for."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import asyncpg
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bankfeed.db import Database
from bankfeed.db.delivery import Attempt, Outcome
from bankfeed.jobs import Waker
from bankfeed.model import BodyFormat, ConnectionId, EndpointId, EventType
from bankfeed.settings import Settings
from bankfeed.signing import verify_standard
from tests.db.made import Ground, make_ground
from tests.db.outbox import claim, emit
from tests.seed import ENDPOINT_SECRET, make_endpoint
from tests.worker.dispatch import take_deliveries
from tests.worker.receivers import Receivers, open_receivers
from worker.context import Context
from worker.courier import Courier
from worker.post import Post
from worker.records import FAILED_FOR_LONG, IS_GONE, disable, find_doomed, write_outcomes

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """A tenant, subscribers, and what delivers to them."""

    ground: Ground
    context: Context
    post: Post
    receivers: Receivers
    superuser: asyncpg.Connection

    async def subscribe(self, name: str, **settings: object) -> EndpointId:
        """Make an endpoint of a receiver."""
        url = f"{self.receivers.url}{name}"
        return await make_endpoint(self.ground.database, self.ground.tenant, url=url, **settings)

    async def deliver(self, now: datetime | None = None) -> bool:
        """Deliver what is due, once."""
        return await take_deliveries(self.context, self.post, now=now)

    async def first_at(self) -> datetime:
        """Emit an event; return the moment it is due."""
        await emit(self.ground)
        at: datetime = await self.superuser.fetchval("SELECT max(due_at) FROM delivery_queue")
        return at

    async def due_in(self, first_at: datetime) -> timedelta:
        """Return when the delivery is due, from the first attempt on."""
        due_at: datetime = await self.superuser.fetchval("SELECT due_at FROM delivery_queue")
        return due_at - first_at

    async def standing(self, endpoint_id: EndpointId) -> tuple[str, str]:
        """Return an endpoint's state, and why."""
        row = await self.superuser.fetchrow(
            "SELECT state::text, state_reason FROM endpoints WHERE id = $1", endpoint_id
        )
        return tuple(row)


@pytest.fixture
async def yard(
    database: Database, settings: Settings, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> AsyncIterator[Yard]:
    settings = replace(settings, outbound_allow=(ip_network("127.0.0.0/8"),), attempt_s=2)
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    ground = await make_ground(database, owner)
    async with Post(settings) as post, open_receivers() as receivers:
        yield Yard(ground=ground, context=context, post=post, receivers=receivers, superuser=superuser)


# ------------------------------------------------------------------------------------------------ the lane


async def test_a_dead_endpoint_delays_nobody(yard: Yard) -> None:
    """One of thirty never answers and has far more waiting than there are slots: the others get theirs meanwhile."""
    yard.receivers.answers["dead"] = None
    await yard.subscribe("dead")
    await emit(yard.ground, count=60)
    good = [f"good-{n}" for n in range(29)]
    for name in good:
        await yard.subscribe(name)
    await emit(yard.ground, count=2)
    context = replace(yard.context, settings=replace(yard.context.settings, delivery_slots=20, attempt_s=60))
    courier = Courier(context, yard.post)
    courier.start()
    await yard.receivers.until(lambda: all(yard.receivers.count(name) == 2 for name in good), within_s=10)
    assert 1 <= yard.receivers.count("dead") <= 10  # its slots
    await courier.close(grace_s=0)


async def test_a_retry_comes_at_its_time_without_being_woken(yard: Yard) -> None:
    """The courier sleeps until the next due time; no wake-up and no sweep tells it."""
    await yard.subscribe("one")
    await emit(yard.ground)
    due_at = await yard.superuser.fetchval(
        "UPDATE delivery_queue SET due_at = now() + interval '0.7 s' RETURNING due_at"
    )
    courier = Courier(yard.context, yard.post)
    courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("one") == 1)
    came_at = int(yard.receivers.got["one"][0].headers["webhook-timestamp"])
    assert int(due_at.timestamp()) <= came_at <= due_at.timestamp() + 2
    await courier.close(grace_s=5)
    assert 1 == await yard.superuser.fetchval("SELECT count(*) FROM attempts")


async def test_more_than_there_are_slots_is_worked_off(yard: Yard) -> None:
    """Each once, by two workers at the same time."""
    await yard.subscribe("one", slots=3)
    await emit(yard.ground, count=60)
    settings = replace(yard.context.settings, delivery_slots=4)
    couriers = [Courier(replace(yard.context, settings=settings), yard.post) for _ in range(2)]
    for courier in couriers:
        courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("one") >= 60)
    for courier in couriers:
        await courier.close(grace_s=5)
    assert 60 == len({got.headers["webhook-id"] for got in yard.receivers.got["one"]})
    assert 60 == yard.receivers.count("one")
    assert 60 == await yard.superuser.fetchval("SELECT count(*) FROM deliveries WHERE state = 'delivered'")


async def test_a_backlog_of_one_endpoint_flows(yard: Yard) -> None:
    """Its slots are filled again as its attempts end, not when somebody looks the next time."""
    await yard.subscribe("one", slots=2)
    await emit(yard.ground, count=80)
    courier = Courier(yard.context, yard.post)
    courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("one") == 80, within_s=8)  # 40 looks of 0.25 s are 10 s
    await courier.close(grace_s=5)


async def test_a_few_free_slots_are_used(yard: Yard) -> None:
    """While most of them hang, what is due goes out by those that are left."""
    yard.receivers.answers["dead"] = None
    await yard.subscribe("dead", slots=16)
    await emit(yard.ground, count=16)
    settings = replace(yard.context.settings, delivery_slots=20, attempt_s=60)
    courier = Courier(replace(yard.context, settings=settings), yard.post)
    courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("dead") >= 12)
    await yard.subscribe("good", slots=20)
    await yard.superuser.execute("UPDATE endpoints SET event_types = '{mfaUpdated}' WHERE url LIKE '%dead'")
    await emit(yard.ground, count=8)
    courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("good") == 8, within_s=8)
    await courier.close(grace_s=0)


async def test_an_ordered_endpoint_gets_a_bank_account_in_order(yard: Yard) -> None:
    """While one of a bank account fails the next ones of it wait, and those of others do not."""
    await yard.subscribe("ordered", is_ordered=True)
    await emit(yard.ground, count=3)
    await emit(yard.ground, connection_id=ConnectionId(77))
    placed = dict(await yard.superuser.fetch("SELECT event_id::text, id FROM events"))
    yard.receivers.answers["ordered"] = (500, {})
    now = await yard.superuser.fetchval("SELECT now()")
    await yard.deliver(now)
    assert [1, 4] == sorted(placed[got.headers["webhook-id"]] for got in yard.receivers.got["ordered"])
    yard.receivers.answers.clear()
    yard.receivers.got.clear()
    later = now + timedelta(minutes=1)
    while await yard.deliver(later):
        later += SECOND
    mine = [placed[got.headers["webhook-id"]] for got in yard.receivers.got["ordered"]]
    assert [1, 2, 3] == [n for n in mine if n != 4]


# ------------------------------------------------------------------------------------------------ what is recorded together

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON attempts FOR EACH ROW WHEN (NEW.status = 418) EXECUTE FUNCTION refuse();
"""


async def test_an_attempt_that_cannot_be_stored_stops_no_other(yard: Yard) -> None:
    """A batch that Postgres refuses is recorded one by one, so that only the one at fault is left to its lease."""
    await yard.superuser.execute(REFUSE.format(code="22000"))
    for name in ("good-1", "odd", "good-2"):
        await yard.subscribe(name)
    yard.receivers.answers["odd"] = (418, {})
    await emit(yard.ground)
    courier = Courier(yard.context, yard.post)
    courier.start()
    await yard.receivers.until(lambda: sum(map(yard.receivers.count, yard.receivers.got)) == 3)
    await courier.close(grace_s=10)
    assert 2 == await yard.superuser.fetchval("SELECT count(*) FROM deliveries WHERE state = 'delivered'")
    assert 1 == await yard.superuser.fetchval("SELECT count(*) FROM delivery_queue WHERE lease_token IS NOT NULL")


async def test_what_postgres_did_not_take_is_left_to_its_lease(yard: Yard) -> None:
    """Where Postgres goes away under a record the delivery is sent again, under the same id, and counted once."""
    await yard.superuser.execute(REFUSE.format(code="57P01"))
    await yard.subscribe("one")
    yard.receivers.answers["one"] = (418, {})
    first_at = await yard.first_at()
    courier = Courier(yard.context, yard.post)
    courier.start()
    await yard.receivers.until(lambda: yard.receivers.count("one") == 1)
    await courier.close(grace_s=10)
    assert (0, 0) == tuple(
        await yard.superuser.fetchrow("SELECT attempts, (SELECT count(*) FROM attempts) FROM delivery_queue")
    )
    yard.receivers.answers.clear()
    assert await yard.deliver(first_at + timedelta(hours=1))
    assert 1 == len({got.headers["webhook-id"] for got in yard.receivers.got["one"]})
    assert 1 == await yard.superuser.fetchval("SELECT count(*) FROM attempts")


# ------------------------------------------------------------------------------------------------ what an endpoint may ask


async def test_both_signatures_and_own_headers_are_sent(yard: Yard) -> None:
    """v1 with the secret and v1a with the endpoint's own key; the receiver checks whichever it knows."""
    await yard.subscribe("one", headers={"X-Api-Key": "for the firm alone"})
    await yard.first_at()
    await yard.deliver()
    [got] = yard.receivers.got["one"]
    public_key = await yard.superuser.fetchval("SELECT public_key FROM endpoints")
    for key in (ENDPOINT_SECRET, public_key):
        assert got.headers["webhook-id"] == verify_standard([key], got.headers, body=got.body, now=datetime.now(UTC))
    v1a = got.headers["webhook-signature"].split(" ")[1].removeprefix("v1a,")
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    raw = base64.b64decode(public_key.removeprefix("whpk_"))
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(v1a), signed)
    assert "for the firm alone" == got.headers["X-Api-Key"]


async def test_the_ledgersync_form_is_the_same_on_every_try(yard: Yard) -> None:
    """Made from what was committed, so that a repeat has the same bytes."""
    await yard.subscribe("one", body_format=BodyFormat.LEDGERSYNC)
    stored = orjson.dumps(
        {
            "eventType": "mfaUpdated",
            "eventId": "0b5c1c9e-6f0e-4d57-9f3c-1f1f2a1d9d10",
            "timestamp": "2026-03-02T06:00:00.123Z",
            "payload": {"accounts": [1, 2], "bankAccountId": 3, "clientId": 4},
        }
    )
    first_at = await yard.first_at()
    await yard.superuser.execute("UPDATE events SET body = $1", stored)
    yard.receivers.answers["one"] = (500, {})
    await yard.deliver(first_at)
    await yard.deliver(first_at + 30 * SECOND)
    bodies = {got.body for got in yard.receivers.got["one"]}
    assert 1 == len(bodies)
    said = orjson.loads(bodies.pop())
    assert {"accounts": "[1, 2]"} == said["payload"]
    assert "2026-03-02 06:00:00.123" == said["timestamp"]


@pytest.mark.parametrize(
    ("status", "retry_after", "due_s"),
    [
        (503, "10", 30),  # never earlier than the schedule
        (503, "45", 45),
        (429, "soon", 30),
        (429, "", 30),
        (500, "999999999", 3 * 86_400 - 60),  # never past the three days
    ],
)
async def test_a_receiver_may_ask_for_time(yard: Yard, status: int, retry_after: str, due_s: int) -> None:
    """Retry-After puts the next attempt off, within the schedule's bounds."""
    await yard.subscribe("one")
    yard.receivers.answers["one"] = (status, {"Retry-After": retry_after})
    first_at = await yard.first_at()
    await yard.deliver(first_at)
    assert due_s == pytest.approx((await yard.due_in(first_at)).total_seconds(), abs=3)


async def test_a_throttled_endpoint_is_left_alone(yard: Yard) -> None:
    """After a 429 nothing else goes there either, until what it asked for is over."""
    await yard.subscribe("one", slots=1)
    first_at = await yard.first_at()
    await emit(yard.ground)
    yard.receivers.answers["one"] = (429, {"Retry-After": "20"})
    later = first_at + SECOND
    assert await yard.deliver(later)
    assert not await yard.deliver(later + 19 * SECOND)
    assert await yard.deliver(later + 25 * SECOND)


async def test_a_schedule_of_its_own(yard: Yard) -> None:
    """Two retries, at its own times, and then it has failed."""
    await yard.subscribe("one", retry_schedule=(5, 600))
    yard.receivers.answers["one"] = (500, {})
    first_at = await yard.first_at()
    await yard.deliver(first_at)
    assert 5 * SECOND == await yard.due_in(first_at)
    await yard.deliver(first_at + 5 * SECOND)
    assert 600 * SECOND == await yard.due_in(first_at)
    await yard.deliver(first_at + 600 * SECOND)
    assert "failed" == await yard.superuser.fetchval("SELECT state::text FROM deliveries")
    assert 3 == yard.receivers.count("one")


async def test_no_retries_is_a_schedule(yard: Yard) -> None:
    """One attempt, and that is it."""
    await yard.subscribe("one", retry_schedule=())
    yard.receivers.answers["one"] = (500, {})
    await yard.deliver(await yard.first_at())
    assert "failed" == await yard.superuser.fetchval("SELECT state::text FROM deliveries")


async def test_a_jitter_only_comes_later(yard: Yard) -> None:
    """By up to the part that was asked for, of the way from the slot before."""
    await yard.subscribe("one", jitter_percent=50)
    yard.receivers.answers["one"] = (500, {})
    first_at = await yard.first_at()
    await yard.deliver(first_at)
    assert 30 * SECOND < await yard.due_in(first_at) <= 45 * SECOND


# ------------------------------------------------------------------------------------------------ disabled by itself


@pytest.mark.parametrize(("asks", "state"), [(True, ("disabled", IS_GONE)), (False, ("active", ""))])
async def test_gone_disables_who_asked_for_it(yard: Yard, asks: bool, state: tuple[str, str]) -> None:  # noqa: FBT001 - pytest's
    """A 410 is a failure like any other, unless the endpoint says that it means it; those who want to hear of it do."""
    gone = await yard.subscribe("gone", is_disabled_by_gone=asks, event_types=(EventType.TRANSACTIONS_REFRESHED,))
    await yard.subscribe("other", event_types=(EventType.ENDPOINT_DISABLED,))
    yard.receivers.answers["gone"] = (410, {})
    await yard.deliver(await yard.first_at())
    assert state == await yard.standing(gone)
    await yard.deliver()
    told = [orjson.loads(got.body) for got in yard.receivers.got.get("other", [])]
    assert [("endpointDisabled", gone, IS_GONE)] * asks == [
        (said["eventType"], said["payload"]["webhookEndpointId"], said["payload"]["reason"]) for said in told
    ]


async def test_gone_is_said_of_an_address(yard: Yard) -> None:
    """Who has changed the URL meanwhile is not disabled for what the old one said."""
    gone = await yard.subscribe("gone", is_disabled_by_gone=True)
    await yard.first_at()
    await yard.superuser.execute("UPDATE endpoints SET url = url || '-no-more'")
    token, [claimed] = await claim(yard.ground)
    attempt = Attempt(started_at=claimed.claimed_at, duration_ms=1, status=410)
    old = replace(claimed, url=f"{yard.receivers.url}gone")
    outcome = Outcome(claimed=old, token=token, state="failed", attempt=attempt)
    for each in find_doomed(await write_outcomes(yard.context, [outcome]), [outcome]):
        await disable(yard.context, each)
    assert ("active", "") == await yard.standing(gone)


@pytest.mark.parametrize(
    ("failures", "days", "is_disabled"), [(14, 5, True), (13, 5, False), (14, 4.99, False), (200, 30, True)]
)
async def test_five_days_of_failures_only_disable(yard: Yard, failures: int, days: float, is_disabled: bool) -> None:  # noqa: FBT001 - pytest's
    """Not before five days, and not for a few attempts in five days; what waits is kept."""
    endpoint_id = await yard.subscribe("dead")
    yard.receivers.answers["dead"] = (500, {})
    first_at = await yard.first_at()
    await yard.superuser.execute(
        "UPDATE endpoint_health SET failures = $1, failing_since = $2", failures, first_at - timedelta(days=days)
    )
    await yard.deliver(first_at)
    assert (("disabled", FAILED_FOR_LONG) if is_disabled else ("active", "")) == await yard.standing(endpoint_id)
    assert 1 == await yard.superuser.fetchval("SELECT count(*) FROM delivery_queue")
