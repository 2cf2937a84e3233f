"""Events over the API: as they were sent, and sent again under their own id."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.model import EventType
from tests.ingress.api.conftest import Person
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


async def test_events_are_listed_as_sent(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """The newest first, whether or not an endpoint wanted them; by client, type and time; in pages."""
    await add(api, sink.url, ["accountAdded"])
    first, second, third = await emit(api, superuser, *KINDS)
    await deliver(api)
    found = (await api.get("/events", clientId=api.client_id)).body["events"]
    assert [third, second, first] == [row["eventId"] for row in found]
    assert (sink.got[0].body, second) == (found[1]["body"], sink.got[0].event_id)
    assert (api.client_id, False) == (found[1]["clientId"], found[1]["isTest"])
    assert [first] == [row["eventId"] for row in (await api.get("/events", eventType="mfaUpdated")).body["events"]]
    at = await superuser.fetchval("SELECT max(created_at) FROM events")
    assert [third] == [row["eventId"] for row in (await api.get("/events", since=at.isoformat())).body["events"]]
    page = await api.get("/events", limit=2)
    rest = await api.get("/events", limit=2, cursor=page.body["nextCursor"])
    assert ([first], None) == ([row["eventId"] for row in rest.body["events"]], rest.body["nextCursor"])
    one = await api.get(f"/events/{second}")
    assert (200, found[1]) == (one.status, one.body["event"])


async def test_anothers_events_are_not_there(
    api: Person, other: Person, reader: Person, superuser: asyncpg.Connection
) -> None:
    """Nor one that there is not, nor those of a deleted client."""
    [event_id] = await emit(api, superuser, EventType.MFA_UPDATED)
    assert 404 == (await other.get(f"/events/{event_id}")).status
    assert 404 == (await other.get("/events", clientId=api.client_id)).status
    assert [] == (await other.get("/events")).body["events"]
    assert 404 == (await api.get(f"/events/{uuid4()}")).status
    assert 422 == (await api.get("/events/12")).status
    assert 200 == (await reader.get(f"/events/{event_id}")).status
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert 404 == (await api.get(f"/events/{event_id}")).status
    assert [] == (await api.get("/events")).body["events"]


# ------------------------------------------------------------------------------------------------ replay


async def test_events_are_replayed_under_their_own_id(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Counted first, then delivered again, oldest first, with the same body; one that waits is not doubled."""
    endpoint_id, secret = await add(api, sink.url)
    ids = await emit(api, superuser, *KINDS)
    path = f"/webhook-endpoints/{endpoint_id}/replay"
    waiting = await api.post(path, {"since": LONG_AGO})
    assert (200, 0, None) == (waiting.status, waiting.body["replay"]["count"], waiting.body["resumeCursor"])
    await deliver(api)
    counted = await api.post(path, {"since": LONG_AGO, "dryRun": True})
    assert (3, True, None) == (
        counted.body["replay"]["count"],
        counted.body["replay"]["dryRun"],
        counted.body["resumeCursor"],
    )
    assert 3 == await superuser.fetchval("SELECT count(*) FROM deliveries")
    for expected in (3, 0):
        assert expected == (await api.post(path, {"since": LONG_AGO})).body["replay"]["count"]
    await deliver(api)
    assert sorted(ids * 2) == sorted(got.event_id for got in sink.got)
    assert 3 == len({got.raw for got in sink.got})
    assert all(got.is_signed_with(secret) for got in sink.got)
    assert 6 == len((await api.get("/deliveries", state="delivered")).body["deliveries"])


async def test_a_replay_goes_on_where_it_was(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded at each call; what is delivered meanwhile is not told a third time, and its end stays what it was."""
    monkeypatch.setattr("ingress.api.events.REPLAYED_AT_ONCE", 2)
    ids = await emit(api, superuser, *[EventType.MFA_UPDATED] * 5)
    endpoint_id, _ = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}/replay"
    body: dict[str, Any] = {"since": LONG_AGO}
    counts, ends = [], set()
    while True:
        said = (await api.post(path, body)).body
        counts.append(said["replay"]["count"])
        ends.add(said["replay"]["until"])
        await deliver(api)
        await emit(api, superuser, EventType.ACCOUNT_ADDED)
        if said["resumeCursor"] is None:
            break
        body["cursor"] = said["resumeCursor"]
    assert ([2, 2, 1], 1) == (counts, len(ends))
    assert ids == [got.event_id for got in sink.got if got.body["eventType"] == "mfaUpdated"]


async def test_two_replays_at_once_double_nothing(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """One comes after the other, and finds that all waits."""
    await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}/replay"
    said = await asyncio.gather(*(api.post(path, {"since": LONG_AGO}) for _ in range(4)))
    assert [0, 0, 0, 3] == sorted(each.body["replay"]["count"] for each in said)


async def test_a_replay_is_of_a_time_and_of_types(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Those that the endpoint gets, or some of them; not tests, not of a deleted client."""
    ids = await emit(api, superuser, *KINDS)
    endpoint_id, _ = await add(api, sink.url, EVERY[:3])
    path = f"/webhook-endpoints/{endpoint_id}/replay"
    await api.post(f"/webhook-endpoints/{endpoint_id}/test", {})
    await deliver(api)
    times = [row["created_at"] for row in await superuser.fetch("SELECT created_at FROM events ORDER BY id LIMIT 3")]

    async def count(**body: Any) -> int:
        said = await api.post(path, {"since": LONG_AGO, "dryRun": True, **body})
        found: int = said.body["replay"]["count"]
        return found

    assert len(ids) == await count()
    assert 1 == await count(eventTypes=["accountAdded"])
    assert 2 == await count(since=times[1].isoformat())
    assert 1 == await count(until=times[1].isoformat())
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert 0 == await count()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "since"),
        ({"since": "2026-01-01"}, "since"),
        ({"since": LONG_AGO, "until": LONG_AGO}, "until"),
        ({"since": LONG_AGO, "eventTypes": ["bankAccountDeleted"]}, "eventTypes"),
        ({"since": LONG_AGO, "cursor": "WzEsMl0"}, "cursor"),
    ],
)
async def test_what_cannot_be_replayed_is_named(api: Person, body: dict[str, Any], field: str) -> None:
    """No beginning, an end before it, a type that the endpoint does not get, a cursor of something else."""
    endpoint_id, _ = await add(api, types=["mfaUpdated"])
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/replay", body)
    assert (422, field) == (said.status, said.body["field"])
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    assert 409 == (await api.post(f"/webhook-endpoints/{endpoint_id}/replay", {"since": LONG_AGO})).status
