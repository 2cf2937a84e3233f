"""Webhook endpoints over the API: made, changed, rotated, tried out and deleted; with a worker and a server behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from bankfeed.db.event import insert_events
from bankfeed.model import ConnectionId, EventType
from bankfeed.outbox import News, make_event
from tests.ingress.api.conftest import Person
from tests.ingress.api.sink import LOOPBACK, Sink, deliver, open_sink

EVERY = [each.value for each in EventType]
URL = "https://firm.example/hook"


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The operator allows this machine."""
    return {"outbound_allow": LOOPBACK}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A subscriber."""
    async with open_sink() as made:
        yield made


async def add(api: Person, url: str = URL, types: list[str] = EVERY) -> tuple[int, str]:
    """Add an endpoint; return its id and its secret."""
    said = await api.post("/webhook-endpoints", {"url": url, "eventTypes": types})
    assert 201 == said.status, said.body
    return said.body["webhookEndpoint"]["id"], said.body["secret"]


async def emit(api: Person, superuser: asyncpg.Connection, *types: EventType) -> list[str]:
    """Commit events about the customer's client, one after the other; return their ids."""
    ids = []
    for event_type in types:
        at = await superuser.fetchval("SELECT clock_timestamp()")
        event = make_event(News(event_type=event_type), client_id=api.client_id, connection_id=ConnectionId(1), at=at)
        async with api.database.tenant(api.customer_id) as conn:
            await insert_events(conn, api.customer_id, [event])
        ids.append(str(event.event_id))
    return ids


# ------------------------------------------------------------------------------------------------ one endpoint


async def test_an_endpoint_is_made_with_a_secret_shown_once(api: Person, superuser: asyncpg.Connection) -> None:
    """The answer alone has it: no list, and no repeat of the request."""
    body = {"url": URL, "eventTypes": ["mfaUpdated", "accountAdded", "mfaUpdated"], "description": "books"}
    said = await api.post("/webhook-endpoints", body, headers={"Idempotency-Key": "once"})
    assert said.body["secret"].startswith("whsec_")
    made = said.body["webhookEndpoint"]
    assert (URL, ["mfaUpdated", "accountAdded"], "books", "active", 1) == tuple(
        made[name] for name in ("url", "eventTypes", "description", "state", "version")
    )
    one = await api.get(f"/webhook-endpoints/{made['id']}")
    assert (made, '"1"') == (one.body["webhookEndpoint"], one.headers["ETag"])
    assert [made] == (await api.get("/webhook-endpoints")).body["webhookEndpoints"]
    again = await api.post("/webhook-endpoints", body, headers={"Idempotency-Key": "once"})
    assert 409 == again.status
    assert 1 == await superuser.fetchval("SELECT count(*) FROM endpoints")
    for table in ("endpoints", "idempotency_keys", "audit_log"):
        kept = await superuser.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")  # noqa: S608 - above
        assert kept
        assert "whsec_" not in kept
        assert said.body["secret"].removeprefix("whsec_") not in kept


async def test_endpoints_are_bounded(api: Person, superuser: asyncpg.Connection) -> None:
    """Fifty a customer, also where two are added at once; a deleted one makes room."""
    await superuser.execute(
        """
        WITH made AS (
            INSERT INTO endpoints (customer_id, url, event_types, secret, signing_key, public_key)
            SELECT $1, 'https://firm.example/', '{mfaUpdated}', 'sealed:k:A', 'sealed:k:A', 'whpk_A'
            FROM generate_series(1, 49) RETURNING customer_id, id
        )
        INSERT INTO endpoint_health (customer_id, endpoint_id) SELECT customer_id, id FROM made
        """,
        api.customer_id,
    )
    body = {"url": URL, "eventTypes": EVERY}
    said = await asyncio.gather(*(api.post("/webhook-endpoints", body) for _ in range(4)))
    assert [201, 409, 409, 409] == sorted(each.status for each in said)
    first = await api.get("/webhook-endpoints", limit=30)
    second = await api.get("/webhook-endpoints", limit=30, cursor=first.body["nextCursor"])
    ids = [row["id"] for page in (first, second) for row in page.body["webhookEndpoints"]]
    assert (50, sorted(ids), None) == (len(set(ids)), ids, second.body["nextCursor"])
    await api.delete(f"/webhook-endpoints/{ids[0]}")
    assert 201 == (await api.post("/webhook-endpoints", body)).status


async def test_what_is_given_is_changed(api: Person) -> None:
    """The rest stays; who read an older version is told, and changes nothing."""
    endpoint_id, _ = await add(api)
    path = f"/webhook-endpoints/{endpoint_id}"
    said = await api.patch(path, {"description": "books", "version": 1})
    assert (200, "books", URL, 2) == (
        said.status,
        *(said.body["webhookEndpoint"][name] for name in ("description", "url", "version")),
    )
    late = await api.patch(path, {"url": "https://late.example/"}, headers={"If-Match": '"1"'})
    assert (409, "version_conflict") == (late.status, late.body["code"])
    said = await api.patch(path, {"url": "https://new.example/", "eventTypes": ["mfaUpdated"]})
    assert ("https://new.example/", ["mfaUpdated"], "books", 3) == tuple(
        said.body["webhookEndpoint"][name] for name in ("url", "eventTypes", "description", "version")
    )


async def test_anothers_endpoint_is_not_there(api: Person, other: Person, reader: Person) -> None:
    """404 for every operation; a reader sees it and changes nothing."""
    endpoint_id, _ = await add(api)
    path = f"/webhook-endpoints/{endpoint_id}"
    operations: list[tuple[str, str, Any]] = [
        ("PATCH", path, {"description": "x"}),
        ("POST", f"{path}/rotate-secret", {"overlapHours": 1}),
        ("POST", f"{path}/disable", None),
        ("POST", f"{path}/enable", None),
        ("POST", f"{path}/test", {}),
        ("POST", f"{path}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("DELETE", path, None),
    ]
    for method, where, body in operations:
        assert 404 == (await other.ask(method, where, body)).status, where
        assert 403 == (await reader.ask(method, where, body)).status, where
    assert 404 == (await other.get(path)).status
    assert [] == (await other.get("/webhook-endpoints")).body["webhookEndpoints"]
    assert "active" == (await reader.get(path)).body["webhookEndpoint"]["state"]


# ------------------------------------------------------------------------------------------------ with a worker


async def test_a_rotated_secret_overlaps(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """While they overlap both sign, then the new one alone; without overlap the old one ends at once."""
    endpoint_id, old = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}"
    said = await api.post(f"{path}/rotate-secret", {"overlapHours": 24})
    new = said.body["secret"]
    assert (200, 2) == (said.status, said.body["webhookEndpoint"]["version"])
    assert said.body["webhookEndpoint"]["previousSecretUntil"] is not None
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert (True, True) == (sink.got[0].is_signed_with(new), sink.got[0].is_signed_with(old))
    await superuser.execute("UPDATE endpoints SET previous_secret_until = now() - interval '1 second'")
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert (True, False) == (sink.got[1].is_signed_with(new), sink.got[1].is_signed_with(old))
    assert (await api.get(path)).body["webhookEndpoint"]["previousSecretUntil"] is None
    newest = (await api.post(f"{path}/rotate-secret", {"overlapHours": 0})).body["secret"]
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert (True, False) == (sink.got[2].is_signed_with(newest), sink.got[2].is_signed_with(new))


async def test_headers_that_were_asked_for_are_sent(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """With every attempt, beside those of the delivery; others from the next attempt on once they are changed."""
    asked = {"url": sink.url, "headers": {"Authorization": "Bearer s3cret", "X-Books": "miller"}}
    row = (await api.post("/webhook-endpoints", asked)).body["webhookEndpoint"]
    for headers in ({}, {"headers": {"X-Books": "smith"}}):
        await api.patch(f"/webhook-endpoints/{row['id']}", headers)
        await emit(api, superuser, EventType.MFA_UPDATED)
        await deliver(api)
    assert [("Bearer s3cret", "miller"), (None, "smith")] == [
        (got.headers.get("authorization"), got.headers["x-books"]) for got in sink.got
    ]
    assert ["application/json"] * 2 == [got.headers["content-type"] for got in sink.got]


@pytest.mark.parametrize("hours", [-1, 169, "1.5", None])
async def test_an_overlap_is_bounded(api: Person, hours: Any) -> None:
    """Up to a week."""
    endpoint_id, _ = await add(api)
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/rotate-secret", {"overlapHours": hours})
    assert (400, "overlapHours") == (said.status, said.body["field"])


async def test_an_endpoint_is_tried_out(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """A real event for it alone, signed, of a type that it gets, and marked as a test."""
    endpoint_id, secret = await add(api, sink.url, ["mfaUpdated", "accountAdded"])
    await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}/test"
    said = await api.post(path, {})
    await api.post(path, {"eventType": "accountAdded"})
    refused = await api.post(path, {"eventType": "transactionsRefreshed"})
    assert (202, 400, "eventType") == (said.status, refused.status, refused.body["field"])
    await deliver(api)
    assert ["mfaUpdated", "accountAdded"] == [got.body["eventType"] for got in sink.got]
    [got, _] = sink.got
    assert got.is_signed_with(secret)
    assert said.body["delivery"]["eventId"] == got.event_id == got.body["eventId"]
    assert got.body["test"] is True
    assert {"accounts": [], "bankAccountId": 0, "clientId": 0}.items() <= got.body["payload"].items()
    came = await api.get(f"/deliveries/{said.body['delivery']['id']}")
    assert ("delivered", True, None) == tuple(came.body["delivery"][name] for name in ("state", "isTest", "clientId"))
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    assert 409 == (await api.post(path, {})).status
