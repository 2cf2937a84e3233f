"""Replay over the API: events told again under their own id, chosen by a filter, at a pace, and never twice at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.client import Bankfeed
from bankfeed.db.event import insert_events
from bankfeed.model import ClientId, ConnectionId, EndpointId, EventType
from bankfeed.outbox import News, make_disabled_event, make_event
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.sink import LOOPBACK, Sink, deliver, open_sink
from tests.ingress.api.test_endpoints import EVERY, add, emit

LONG_AGO = "2026-01-01T00:00:00Z"
KINDS = (EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED, EventType.TRANSACTIONS_REFRESHED)


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The operator allows this machine."""
    return {"outbound_allow": LOOPBACK}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A subscriber."""
    async with open_sink() as made:
        yield made


async def replay(api: Person, endpoint_id: int, **body: Any) -> Said:
    """Ask for a replay of everything, or of what is said."""
    times = {} if "eventId" in body else {"since": LONG_AGO}
    return await api.post(f"/webhook-endpoints/{endpoint_id}/replay", times | body)


async def count(api: Person, endpoint_id: int, **body: Any) -> int:
    """Count what a replay would queue."""
    said = await replay(api, endpoint_id, dryRun=True, **body)
    assert 200 == said.status, said.body
    found: int = said.body["replay"]["count"]
    return found


async def deliver_soon(api: Person) -> None:
    """Deliver what is due within the next minutes."""
    await deliver(api, now=datetime.now(UTC) + timedelta(minutes=5))


async def read_pace(superuser: asyncpg.Connection) -> list[float]:
    """Return the seconds from each waiting delivery to the next one."""
    dues = [row["due_at"] for row in await superuser.fetch("SELECT due_at FROM delivery_queue ORDER BY outbox_id")]
    return [round((later - earlier).total_seconds(), 3) for earlier, later in pairwise(dues)]


async def test_events_are_replayed_under_their_own_id(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Counted first, then delivered again, oldest first, with the same body; one that waits is not doubled."""
    endpoint_id, secret = await add(api, sink.url)
    ids = await emit(api, superuser, *KINDS)
    waiting = await replay(api, endpoint_id)
    assert (200, 0, None) == (waiting.status, waiting.body["replay"]["count"], waiting.body["resumeCursor"])
    await deliver(api)
    counted = await replay(api, endpoint_id, dryRun=True)
    assert (3, True, None, None) == (
        *(counted.body["replay"][name] for name in ("count", "dryRun", "dueBy")),
        counted.body["resumeCursor"],
    )
    assert 3 == await superuser.fetchval("SELECT count(*) FROM deliveries")
    for expected in (3, 0):
        assert expected == (await replay(api, endpoint_id)).body["replay"]["count"]
    await deliver_soon(api)
    assert sorted(ids * 2) == sorted(got.event_id for got in sink.got)
    assert 3 == len({got.raw for got in sink.got})
    assert all(got.is_signed_with(secret) for got in sink.got)
    assert 6 == len((await api.get("/deliveries", state="delivered")).body["deliveries"])


async def test_a_replay_goes_on_where_it_was(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded at each call; what is delivered meanwhile is not told a third time, and its end stays what it was."""
    monkeypatch.setattr("ingress.api.replays.REPLAYED_AT_ONCE", 2)
    ids = await emit(api, superuser, *[EventType.MFA_UPDATED] * 5)
    endpoint_id, _ = await add(api, sink.url)
    body: dict[str, Any] = {}
    counts, ends = [], set()
    while True:
        said = (await replay(api, endpoint_id, **body)).body
        counts.append(said["replay"]["count"])
        ends.add(said["replay"]["until"])
        await deliver_soon(api)
        await emit(api, superuser, EventType.ACCOUNT_ADDED)
        if said["resumeCursor"] is None:
            break
        body["cursor"] = said["resumeCursor"]
    assert ([2, 2, 1], 1) == (counts, len(ends))
    assert ids == [got.event_id for got in sink.got if got.body["eventType"] == "mfaUpdated"]


async def test_the_client_replays_to_the_end(
    api: Person, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch by batch, with the same filter; what waits then is seen by its state."""
    monkeypatch.setattr("ingress.api.replays.REPLAYED_AT_ONCE", 1)
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    async with Bankfeed(f"http://127.0.0.1:{api.ingress.settings.port}", api.token) as feeds:
        types = ["mfaUpdated", "accountAdded"]
        assert 2 == await feeds.replay(endpoint_id, since=LONG_AGO, eventTypes=types)
        waiting = [each.event_type async for each in feeds.deliveries(state="waiting", endpointId=endpoint_id)]
    assert types == waiting[::-1]


async def test_a_call_looks_at_so_many_events(
    api: Person, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where few of many are wanted, a call that found none says where to go on; a dry run likewise, with a cursor of its own."""
    monkeypatch.setattr("bankfeed.db.replay.MOST_LOOKED_AT", 2)
    monkeypatch.setattr("bankfeed.db.replay.MOST_COUNTED_AMONG", 2)
    await emit(api, superuser, *[EventType.MFA_UPDATED] * 3, EventType.ACCOUNT_ADDED)
    endpoint_id, _ = await add(api)
    cursors = []
    for is_dry in (True, False):
        said = await replay(api, endpoint_id, eventTypes=["accountAdded"], dryRun=is_dry)
        assert 0 == said.body["replay"]["count"]
        cursors.append(said.body["resumeCursor"])
        said = await replay(api, endpoint_id, eventTypes=["accountAdded"], dryRun=is_dry, cursor=cursors[-1])
        assert 1 == said.body["replay"]["count"]
    for is_dry, cursor in zip((False, True), cursors, strict=True):
        said = await replay(api, endpoint_id, dryRun=is_dry, cursor=cursor)
        assert (422, "cursor") == (said.status, said.body["field"])


async def test_two_replays_at_once_double_nothing(api: Person, superuser: asyncpg.Connection) -> None:
    """One comes after the other, and finds that all waits."""
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    said = await asyncio.gather(*(replay(api, endpoint_id) for _ in range(4)))
    assert [0, 0, 0, 3] == sorted(each.body["replay"]["count"] for each in said)


# ------------------------------------------------------------------------------------------------ which


async def test_a_replay_is_of_a_time_and_of_types(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Those that the endpoint gets, or some of them; not tests, not of a deleted client."""
    ids = await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api, sink.url, EVERY[:3])
    await api.post(f"/webhook-endpoints/{endpoint_id}/test", {})
    await deliver(api)
    times = [row["created_at"] for row in await superuser.fetch("SELECT created_at FROM events ORDER BY id LIMIT 3")]
    assert len(ids) == await count(api, endpoint_id)
    assert 1 == await count(api, endpoint_id, eventTypes=["accountAdded"])
    assert 2 == await count(api, endpoint_id, since=times[1].isoformat())
    assert 1 == await count(api, endpoint_id, until=times[1].isoformat())
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert 0 == await count(api, endpoint_id)


async def test_a_replay_is_of_a_client_or_a_bank_account(api: Person, superuser: asyncpg.Connection) -> None:
    """Each alone or both; a client that there is not is said."""
    second = (await api.post("/clients", {"username": "second", "name": "Second"})).body["client"]["id"]
    for client_id, connection_id in ((api.client_id, 1), (api.client_id, 2), (second, 3)):
        await emit_about(api, client_id, connection_id)
    endpoint_id, _ = await add(api)
    assert [3, 2, 1, 1, 0] == [
        await count(api, endpoint_id, **body)
        for body in (
            {},
            {"clientId": api.client_id},
            {"clientId": second},
            {"bankAccountId": 2},
            {"clientId": second, "bankAccountId": 2},
        )
    ]
    assert 404 == (await replay(api, endpoint_id, clientId=2**62)).status
    await replay(api, endpoint_id, bankAccountId=2)
    assert [2] == [row["connection_id"] for row in await read_queued(superuser)]


async def test_one_event_is_replayed(api: Person, other: Person, superuser: asyncpg.Connection) -> None:
    """By its id, without a time; where the rest of the filter does not fit it, it is not."""
    _, second, _ = await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    assert 0 == await count(api, endpoint_id, eventId=second, eventTypes=["mfaUpdated"])
    said = await replay(api, endpoint_id, eventId=second)
    assert (200, 1, None) == (said.status, said.body["replay"]["count"], said.body["resumeCursor"])
    assert [second] == [str(row["event_id"]) for row in await read_queued(superuser)]
    assert 404 == (await replay(api, endpoint_id, eventId=str(uuid4()))).status
    theirs, _ = await add(other)
    assert 404 == (await replay(other, theirs, eventId=second)).status
    for more in ({"since": LONG_AGO}, {"until": LONG_AGO}, {"cursor": "x"}):
        said = await replay(api, endpoint_id, eventId=second, **more)
        assert (422, "eventId") == (said.status, said.body["field"])


async def test_only_what_failed_or_never_came_is_replayed(
    api: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """What counts is the latest delivery to that endpoint: one that failed and was delivered later is not told again."""
    await emit(api, superuser, EventType.MFA_UPDATED)
    endpoint_id, _ = await add(api, sink.url)
    elsewhere, _ = await add(api)
    ids = await emit(api, superuser, *KINDS)
    await superuser.execute("DELETE FROM delivery_queue WHERE endpoint_id = $1", elsewhere)
    await superuser.execute(
        "UPDATE deliveries SET state = 'delivered', finished_at = now() WHERE endpoint_id = $1", elsewhere
    )
    await superuser.execute("UPDATE endpoints SET retry_schedule = '{}'")
    sink.statuses = [200, 500, 500]
    await deliver(api)
    assert (4, 3) == (await count(api, endpoint_id), await count(api, endpoint_id, deliveries="failed"))
    failed = (await api.get("/deliveries", state="failed")).body["deliveries"]
    assert {"mfaUpdated", "accountAdded", "transactionsRefreshed"} >= {row["eventType"] for row in failed}
    again = await replay(api, endpoint_id, eventId=failed[0]["eventId"])
    assert 1 == again.body["replay"]["count"]
    await deliver_soon(api)
    assert 2 == await count(api, endpoint_id, deliveries="failed")
    assert failed[0]["eventId"] in ids


async def test_an_endpoints_bounds_hold(api: Person, superuser: asyncpg.Connection) -> None:
    """What an endpoint would not get now it does not get by a replay either; the news of another endpoint it does."""
    second = (await api.post("/clients", {"username": "second", "name": "Second"})).body["client"]["id"]
    for client_id in (api.client_id, second):
        await emit_about(api, client_id, 1)
    at = await superuser.fetchval("SELECT clock_timestamp()")
    async with api.database.tenant(api.customer_id) as conn:
        await insert_events(conn, api.customer_id, [make_disabled_event(EndpointId(9), reason="x", at=at)])
    endpoint_id, _ = await add(api)
    assert 3 == await count(api, endpoint_id)
    await superuser.execute("UPDATE endpoints SET client_ids = ARRAY[$1::bigint]", second)
    assert (2, 0) == (await count(api, endpoint_id), await count(api, endpoint_id, clientId=api.client_id))
    await superuser.execute("UPDATE endpoints SET client_ids = NULL, account_ids = '{7}'")
    assert 1 == await count(api, endpoint_id)
    await superuser.execute("UPDATE endpoints SET account_ids = NULL, institution_ids = '{7}'")
    said = await replay(api, endpoint_id)
    assert 1 == said.body["replay"]["count"]
    assert ["endpointDisabled"] == [row["event_type"] for row in await read_queued(superuser)]


# ------------------------------------------------------------------------------------------------ at what pace


async def test_a_replay_keeps_its_pace(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are due in a second, over all its calls; what happens meanwhile overtakes them."""
    monkeypatch.setattr("ingress.api.replays.REPLAYED_AT_ONCE", 2)
    await emit(api, superuser, *[EventType.MFA_UPDATED] * 5)
    endpoint_id, _ = await add(api, sink.url)
    body: dict[str, Any] = {"ratePerSecond": 4}
    dues = []
    for _ in range(3):
        said = (await replay(api, endpoint_id, **body)).body
        body["cursor"] = said["resumeCursor"]
        dues.append(said["replay"]["dueBy"])
    assert [0.25] * 4 == await read_pace(superuser)
    assert sorted(dues) == dues
    await superuser.execute("UPDATE delivery_queue SET due_at = due_at + interval '1 hour'")
    [live] = await emit(api, superuser, EventType.ACCOUNT_ADDED)
    await deliver(api)
    assert [live] == [got.event_id for got in sink.got]


@pytest.mark.parametrize(("rate_per_s", "gap_s"), [(None, 0.02), (10, 0.2), (1, 2.0)])
async def test_the_usual_pace_leaves_room_for_others(
    api: Person, superuser: asyncpg.Connection, rate_per_s: int | None, gap_s: float
) -> None:
    """Half of the endpoint's own rate; fifty in a second where it has none."""
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    await superuser.execute("UPDATE endpoints SET rate_per_s = $1", rate_per_s)
    await replay(api, endpoint_id)
    assert [gap_s] * 2 == await read_pace(superuser)


async def test_an_ordered_endpoint_is_told_in_order(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """One at a time of each bank account, the oldest first, before what happened since; no pace is asked for there."""
    ids = [await emit_about(api, api.client_id, connection_id) for connection_id in (1, 1, 2)]
    endpoint_id, _ = await add(api, sink.url)
    await superuser.execute("UPDATE endpoints SET is_ordered = true")
    said = await replay(api, endpoint_id, ratePerSecond=5)
    assert (422, "ratePerSecond") == (said.status, said.body["field"])
    await replay(api, endpoint_id)
    ids.append(await emit_about(api, api.client_id, 1))
    waiting = "SELECT order_key FROM delivery_queue WHERE due_at {} 'infinity' ORDER BY outbox_id"
    assert [[1, 2], [1, 1]] == [
        [row["order_key"] for row in await superuser.fetch(waiting.format(sign))] for sign in ("<", "=")
    ]
    await deliver(api)
    got = [each.event_id for each in sink.got]
    assert [ids[0], ids[1], ids[3]] == [event_id for event_id in got if event_id != ids[2]]
    assert sorted(ids) == sorted(got)


async def test_a_replay_never_reaches_further_than_30_days(api: Person, superuser: asyncpg.Connection) -> None:
    """Whatever a cursor says: what waits keeps its week from being dropped."""
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    forged = "WzAsIjIwMjktMDEtMDFUMDA6MDA6MDBaIiwiODAwMC0wMS0wMVQwMDowMDowMFoiXQ"  # [0, 2029, 8000]
    assert 3 == (await replay(api, endpoint_id, cursor=forged)).body["replay"]["count"]
    assert await superuser.fetchval("SELECT max(due_at) < now() + interval '30 days 1 second' FROM delivery_queue")


# ------------------------------------------------------------------------------------------------ who, and what not


async def test_a_replay_is_in_the_audit_log(api: Person, superuser: asyncpg.Connection) -> None:
    """Each call with its endpoint, its filter and how many it counted or queued."""
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    for is_dry in (True, False):
        await replay(
            api,
            endpoint_id,
            until=until,
            clientId=api.client_id,
            eventTypes=["mfaUpdated"],
            deliveries="failed",
            dryRun=is_dry,
        )
    which = f"endpointId={endpoint_id} clientId={api.client_id} since={LONG_AGO} until={until}"
    expected = [f"{which} eventTypes=mfaUpdated deliveries=failed {done}=1" for done in ("counted", "queued")]
    lines = await superuser.fetch("SELECT target, actor FROM audit_log WHERE action = 'replayEvents' ORDER BY at, id")
    assert [(each, f"user:{api.user_id}") for each in expected] == [tuple(line) for line in lines]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "2026-01-01"}, "since"),
        ({"since": LONG_AGO, "until": LONG_AGO}, "until"),
        ({"since": LONG_AGO, "eventTypes": ["bankAccountDeleted"]}, "eventTypes"),
        ({"since": LONG_AGO, "cursor": "WzEsMl0"}, "cursor"),
        ({"since": LONG_AGO, "ratePerSecond": 0}, "ratePerSecond"),
        ({"since": LONG_AGO, "ratePerSecond": 1001}, "ratePerSecond"),
        ({"since": LONG_AGO, "deliveries": "lost"}, "deliveries"),
        ({"eventId": "12"}, "eventId"),
    ],
)
async def test_what_cannot_be_replayed_is_named(api: Person, body: dict[str, Any], field: str) -> None:
    """No beginning, an end before it, a type that the endpoint does not get, a cursor of something else, a pace out of bounds."""
    endpoint_id, _ = await add(api, types=["mfaUpdated"])
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/replay", body)
    assert (422, field) == (said.status, said.body["field"])
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    assert 409 == (await replay(api, endpoint_id)).status


async def test_anothers_endpoint_is_not_told(api: Person, other: Person, reader: Person) -> None:
    """Nor by somebody who may only look."""
    endpoint_id, _ = await add(api)
    assert 404 == (await replay(other, endpoint_id)).status
    assert 403 == (await replay(reader, endpoint_id)).status


async def emit_about(api: Person, client_id: int, connection_id: int) -> str:
    """Commit one event about a client's bank account; return its id."""
    event = make_event(
        News(event_type=EventType.MFA_UPDATED),
        client_id=ClientId(client_id),
        connection_id=ConnectionId(connection_id),
        at=datetime.now(UTC),
    )
    async with api.database.tenant(api.customer_id) as conn:
        await insert_events(conn, api.customer_id, [event])
    return str(event.event_id)


async def read_queued(superuser: asyncpg.Connection) -> list[asyncpg.Record]:
    """Return the events that wait, the oldest first."""
    found: list[asyncpg.Record] = await superuser.fetch(
        "SELECT e.event_id, e.event_type::text, e.connection_id FROM delivery_queue q JOIN events e ON e.id = q.outbox_id ORDER BY e.id"
    )
    return found
