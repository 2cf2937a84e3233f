"""Webhook endpoints over the API: made, changed, rotated, tried out and deleted; with a worker and a server behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from bankfeed.db.event import insert_events
from bankfeed.model import ConnectionId, EventType
from bankfeed.outbox import make_event
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
        event = make_event(event_type, (), client_id=api.client_id, connection_id=ConnectionId(1), at=at)
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
    kept = await superuser.fetchval("SELECT string_agg(t::text, ' ') FROM (SELECT answer FROM idempotency_keys) t")
    assert "whsec_" not in (kept or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://firm.example/hook",
        "ftp://firm.example/hook",
        "https://user:s3cret@firm.example/hook",
        "https://user@firm.example/hook",
        "https://firm.example\\@127.0.0.1/hook",
        "https://firm.example/hook#part",
        "https://firm.example:0/hook",
        "https://firm.example:99999/hook",
        "https:///hook",
        "https://firm..example/hook",
        "https://bücher.example/hook",
        "https://firm.example/ hook",
        "https://10.0.0.1/hook",
        "https://169.254.169.254/latest",
        "https://[::ffff:10.0.0.1]/hook",
        "https://[fe80::1%25eth0]/hook",
        "https://2130706433/hook",
        "https://0x7f.1/hook",
        "http://10.0.0.1/hook",
        "http://8.8.8.8/hook",
        "https://firm.example/" + "x" * 2048,
        "",
    ],
)
async def test_a_url_that_deliveries_may_not_go_to_is_refused(api: Person, url: str) -> None:
    """Plain http, a private address in any clothes, a user, a fragment, no host: 422 that repeats nothing of it."""
    for said in (
        await api.post("/webhook-endpoints", {"url": url, "eventTypes": EVERY}),
        await api.patch("/webhook-endpoints/1", {"url": url}),
    ):
        assert (422, "url") == (said.status, said.body["field"])
        assert "s3cret" not in said.body["message"]


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://firm.example:8443/hook?token=x",
        "https://93.184.215.14/hook",
        "https://[2606:2800:220:1::1]/hook",
        "http://127.0.0.1:9/hook",
        "http://localhost:9/hook",
        "https://localhost/hook",
        "https://hooks.firm.example./",
    ],
)
async def test_a_url_may_be_public_or_where_the_operator_allows(api: Person, url: str) -> None:
    """A name is looked up when it is delivered to; plain http goes where the operator allows."""
    endpoint_id, _ = await add(api, url)
    assert url == (await api.get(f"/webhook-endpoints/{endpoint_id}")).body["webhookEndpoint"]["url"]


@pytest.mark.parametrize("types", [[], ["transactionsLost"], None, "mfaUpdated", ["mfaUpdated"] * 17])
async def test_event_types_are_of_a_closed_list(api: Person, types: Any) -> None:
    """At least one of the four."""
    assert 422 == (await api.post("/webhook-endpoints", {"url": URL, "eventTypes": types})).status


async def test_endpoints_are_bounded(api: Person, superuser: asyncpg.Connection) -> None:
    """Fifty a customer, also where two are added at once; a deleted one makes room."""
    await superuser.execute(
        """
        INSERT INTO endpoints (customer_id, url, event_types, secret)
        SELECT $1, 'https://firm.example/', '{mfaUpdated}', 'whsec_' || repeat('A', 43) || '='
        FROM generate_series(1, 49)
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


@pytest.mark.parametrize("hours", [-1, 169, "1.5", None])
async def test_an_overlap_is_bounded(api: Person, hours: Any) -> None:
    """Up to a week."""
    endpoint_id, _ = await add(api)
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/rotate-secret", {"overlapHours": hours})
    assert (422, "overlapHours") == (said.status, said.body["field"])


async def test_an_endpoint_is_tried_out(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """A real event for it alone, signed, of a type that it gets, and marked as a test."""
    endpoint_id, secret = await add(api, sink.url, ["mfaUpdated", "accountAdded"])
    await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}/test"
    said = await api.post(path, {})
    await api.post(path, {"eventType": "accountAdded"})
    refused = await api.post(path, {"eventType": "transactionsRefreshed"})
    assert (202, 422) == (said.status, refused.status)
    await deliver(api)
    assert ["mfaUpdated", "accountAdded"] == [got.body["eventType"] for got in sink.got]
    [got, _] = sink.got
    assert got.is_signed_with(secret)
    assert said.body["delivery"]["eventId"] == got.event_id == got.body["eventId"]
    assert (True, {"accounts": [], "bankAccountId": 0, "clientId": 0}) == (got.body["test"], got.body["payload"])
    came = await api.get(f"/deliveries/{said.body['delivery']['id']}")
    assert ("delivered", True, None) == tuple(came.body["delivery"][name] for name in ("state", "isTest", "clientId"))
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    assert 409 == (await api.post(path, {})).status


async def test_a_disabled_endpoint_waits(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Nothing is delivered, and new events make no delivery; enabled, what waited comes."""
    endpoint_id, _ = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}"
    [waiting] = await emit(api, superuser, EventType.MFA_UPDATED)
    said = await api.post(f"{path}/disable")
    again = await api.post(f"{path}/disable")
    assert ("disabled", 2, 2) == (
        said.body["webhookEndpoint"]["state"],
        said.body["webhookEndpoint"]["version"],
        again.body["webhookEndpoint"]["version"],
    )
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert [] == sink.got
    assert "active" == (await api.post(f"{path}/enable")).body["webhookEndpoint"]["state"]
    await deliver(api, now=await superuser.fetchval("SELECT now() + interval '1 minute'"))
    assert [waiting] == [got.event_id for got in sink.got]


async def test_a_deleted_endpoint_ends_what_waits(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """With the reason; it is in no list, gets nothing, and its deliveries can still be read."""
    endpoint_id, _ = await add(api, sink.url)
    kept, _ = await add(api, sink.url)
    await emit(api, superuser, EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED)
    said = await api.delete(f"/webhook-endpoints/{endpoint_id}")
    assert (200, 2) == (said.status, said.body["endedDeliveries"])
    assert 404 == (await api.get(f"/webhook-endpoints/{endpoint_id}")).status
    assert 404 == (await api.delete(f"/webhook-endpoints/{endpoint_id}")).status
    assert 404 == (await api.post(f"/webhook-endpoints/{endpoint_id}/enable")).status
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert 3 == len(sink.got)
    rows = (await api.get("/deliveries", endpointId=endpoint_id)).body["deliveries"]
    assert [("failed", "the endpoint was deleted", 0, None)] * 2 == [
        (row["state"], row["reason"], row["attempts"], row["firstAttemptAt"]) for row in rows
    ]
    assert ["delivered"] * 3 == [
        row["state"] for row in (await api.get("/deliveries", endpointId=kept)).body["deliveries"]
    ]
    assert 409 == (await api.post(f"/deliveries/{rows[0]['id']}/retry")).status


async def test_however_many_wait_they_end(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bounded batches: what the request leaves over, workers end, though it was due in a day; one under way is left."""
    monkeypatch.setattr("ingress.api.endpoints.ENDED_AT_ONCE", 2)
    monkeypatch.setattr("worker.deliver.ENDED_DELIVERIES", 2)
    endpoint_id, _ = await add(api, sink.url)
    await emit(api, superuser, *[EventType.MFA_UPDATED] * 8)
    await superuser.execute("UPDATE delivery_queue SET due_at = now() + interval '1 day'")
    await superuser.execute(
        """
        UPDATE delivery_queue SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 day'
        WHERE delivery_id = (SELECT min(delivery_id) FROM delivery_queue)
        """
    )
    assert 2 == (await api.delete(f"/webhook-endpoints/{endpoint_id}")).body["endedDeliveries"]
    await deliver(api)
    assert ([], 1) == (sink.got, await superuser.fetchval("SELECT count(*) FROM delivery_queue"))
    await superuser.execute("UPDATE delivery_queue SET due_at = now(), lease_until = now() - interval '1 second'")
    await deliver(api)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM delivery_queue")
    assert 8 == await superuser.fetchval(
        "SELECT count(*) FROM deliveries WHERE state = 'failed' AND reason = 'the endpoint was deleted'"
    )
