"""Events over the API: as they were sent."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db.event import insert_events
from bankfeed.model import EndpointId, EventType
from bankfeed.outbox import make_disabled_event
from tests.ingress.api.conftest import Person
from tests.ingress.api.sink import LOOPBACK, Sink, deliver, open_sink
from tests.ingress.api.test_endpoints import add, emit

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


async def test_what_is_about_nobody_is_told_apart(api: Person, superuser: asyncpg.Connection) -> None:
    """A test is one, the news of a disabled endpoint is none; neither is about a client."""
    endpoint_id, _ = await add(api)
    await api.post(f"/webhook-endpoints/{endpoint_id}/test", {})
    at = await superuser.fetchval("SELECT clock_timestamp()")
    async with api.database.tenant(api.customer_id) as conn:
        await insert_events(conn, api.customer_id, [make_disabled_event(EndpointId(endpoint_id), reason="x", at=at)])
    found = (await api.get("/events")).body["events"]
    assert [("endpointDisabled", False, None), ("accountAdded", True, None)] == [
        (row["eventType"], row["isTest"], row["clientId"]) for row in found
    ]
    found = (await api.get("/deliveries")).body["deliveries"]
    assert [False, True] == [row["isTest"] for row in found]
