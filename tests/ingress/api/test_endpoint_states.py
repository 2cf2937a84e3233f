"""How a webhook endpoint stands: throttled, disabled with a reason, enabled with or without its backlog, deleted."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed.db.delivery import end_overdue_deliveries
from bankfeed.db.endpoint import disable_endpoint
from bankfeed.model import EndpointId, EventType
from tests.ingress.api.conftest import Person
from tests.ingress.api.sink import LOOPBACK, Sink, deliver, open_sink
from tests.ingress.api.test_endpoints import add, emit

DISCARDED = "discarded when the endpoint was enabled again"
DELETED = "the endpoint was deleted"


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The operator allows this machine."""
    return {"outbound_allow": LOOPBACK}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A subscriber."""
    async with open_sink() as made:
        yield made


async def show(api: Person, endpoint_id: int, *names: str) -> tuple[Any, ...]:
    """Return what is shown of an endpoint."""
    row = (await api.get(f"/webhook-endpoints/{endpoint_id}")).body["webhookEndpoint"]
    return tuple(row[name] for name in names)


async def count_failed(superuser: asyncpg.Connection, reason: str) -> int:
    """Count the deliveries that failed for a reason without an attempt."""
    sql = "SELECT count(*) FROM deliveries WHERE state = 'failed' AND reason = $1 AND first_attempt_at IS NULL"
    count: int = await superuser.fetchval(sql, reason)
    return count


async def test_one_that_is_paused_is_throttled(api: Person, superuser: asyncpg.Connection) -> None:
    """Until then, and with its failures; a pause that is over is none, and disabled is more than throttled."""
    endpoint_id, _ = await add(api)
    until = datetime(2036, 1, 2, tzinfo=UTC)
    await superuser.execute("UPDATE endpoint_health SET failures = 3, failing_since = now(), blocked_until = $1", until)
    names = ("state", "throttledUntil", "failuresInARow")
    assert ("throttled", "2036-01-02T00:00:00Z", 3) == await show(api, endpoint_id, *names)
    assert (None,) != await show(api, endpoint_id, "failingSince")
    await superuser.execute("UPDATE endpoint_health SET blocked_until = now() - interval '1 second'")
    assert ("active", None, 3) == await show(api, endpoint_id, *names)
    await superuser.execute("UPDATE endpoint_health SET blocked_until = $1", until)
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    assert ("disabled", None, 3) == await show(api, endpoint_id, *names)


async def test_it_is_disabled_for_a_reason(api: Person) -> None:
    """The reason and since when are shown; who disables it again changes neither, and enabled it has none."""
    endpoint_id, _ = await add(api)
    path = f"/webhook-endpoints/{endpoint_id}"
    said = await api.post(f"{path}/disable", {"reason": "we move"})
    row = said.body["webhookEndpoint"]
    assert ("disabled", "we move", 2) == (row["state"], row["stateReason"], row["version"])
    assert row == (await api.post(f"{path}/disable", {"reason": "again"})).body["webhookEndpoint"]
    assert row["createdAt"] < row["stateSince"]
    enabled = (await api.post(f"{path}/enable")).body["webhookEndpoint"]
    assert ("active", "", 3) == (enabled["state"], enabled["stateReason"], enabled["version"])
    assert row["stateSince"] < enabled["stateSince"]
    assert enabled == (await api.post(f"{path}/enable", {})).body["webhookEndpoint"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("disable", {"reason": "x" * 201}, "reason"),
        ("disable", {"reason": None}, "reason"),
        ("enable", {"backlog": "forget"}, "backlog"),
        ("enable", {"reason": "x"}, "reason"),
    ],
)
async def test_a_word_that_does_not_fit_is_refused(api: Person, path: str, body: Any, field: str) -> None:
    """400 with the field, and it stays as it was."""
    endpoint_id, _ = await add(api)
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/{path}", body)
    assert (400, field) == (said.status, said.body["field"])
    assert ("active", 1) == await show(api, endpoint_id, "state", "version")


async def test_one_that_was_disabled_begins_anew(api: Person, superuser: asyncpg.Connection) -> None:
    """Without failures and without a pause, whoever disabled it."""
    endpoint_id, _ = await add(api)
    await superuser.execute(
        "UPDATE endpoint_health SET failures = 40, failing_since = now(), blocked_until = 'infinity'"
    )
    async with api.database.tenant(api.customer_id) as conn:
        assert await disable_endpoint(conn, api.customer_id, EndpointId(endpoint_id), reason="five days of failures")
        assert not await disable_endpoint(conn, api.customer_id, EndpointId(endpoint_id), reason="again")
    assert ("disabled", "five days of failures") == await show(api, endpoint_id, "state", "stateReason")
    await api.post(f"/webhook-endpoints/{endpoint_id}/enable")
    names = ("state", "throttledUntil", "failuresInARow", "failingSince")
    assert ("active", None, 0, None) == await show(api, endpoint_id, *names)


async def test_a_disabled_endpoint_waits(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Nothing is delivered, and new events make no delivery; enabled, what waited comes."""
    endpoint_id, _ = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}"
    [waiting] = await emit(api, superuser, EventType.MFA_UPDATED)
    await api.post(f"{path}/disable")
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert [] == sink.got
    said = await api.post(f"{path}/enable", {"backlog": "deliver"})
    assert ("active", 0, 0) == (
        said.body["webhookEndpoint"]["state"],
        said.body["discardedDeliveries"],
        said.body["leftDeliveries"],
    )
    await deliver(api)
    assert [waiting] == [got.event_id for got in sink.got]


async def test_a_backlog_is_discarded(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some at a time, with the reason; while any are left it stays disabled, so that none of them is ever sent."""
    monkeypatch.setattr("ingress.api.endpoints.ENDED_AT_ONCE", 2)
    endpoint_id, _ = await add(api, sink.url)
    other, _ = await add(api, sink.url)
    path = f"/webhook-endpoints/{endpoint_id}"
    await emit(api, superuser, *[EventType.MFA_UPDATED] * 5)
    await api.post(f"{path}/disable")
    await superuser.execute(
        """
        UPDATE delivery_queue SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 day'
        WHERE delivery_id = (SELECT min(delivery_id) FROM delivery_queue WHERE endpoint_id = $1)
        """,
        endpoint_id,
    )
    told = []
    for _ in range(3):
        said = (await api.post(f"{path}/enable", {"backlog": "discard"})).body
        told.append((said["webhookEndpoint"]["state"], said["discardedDeliveries"], said["leftDeliveries"]))
    assert [("disabled", 2, 2), ("active", 2, 0), ("active", 0, 0)] == told
    assert 4 == await count_failed(superuser, DISCARDED)
    waiting = "SELECT endpoint_id, count(*) FROM delivery_queue GROUP BY 1 ORDER BY 1"
    assert [(endpoint_id, 1), (other, 5)] == [tuple(row) for row in await superuser.fetch(waiting)]
    [new] = await emit(api, superuser, EventType.ACCOUNT_ADDED)
    await deliver(api)
    assert [new] * 2 == [got.event_id for got in sink.got if got.body["eventType"] == "accountAdded"]


async def test_the_backlog_of_an_active_one_is_left(api: Person, superuser: asyncpg.Connection) -> None:
    """Who repeats a request to discard loses nothing that came since."""
    endpoint_id, _ = await add(api)
    await emit(api, superuser, EventType.MFA_UPDATED)
    said = await api.post(f"/webhook-endpoints/{endpoint_id}/enable", {"backlog": "discard"})
    assert (200, 0, 0) == (said.status, said.body["discardedDeliveries"], said.body["leftDeliveries"])
    assert 1 == await superuser.fetchval("SELECT count(*) FROM delivery_queue")


async def test_a_deleted_endpoint_ends_what_waits(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """With the reason; it is in no list, gets nothing, and its deliveries can still be read."""
    endpoint_id, _ = await add(api, sink.url)
    kept, _ = await add(api, sink.url)
    await emit(api, superuser, EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED)
    said = await api.delete(f"/webhook-endpoints/{endpoint_id}")
    assert (200, 2) == (said.status, said.body["endedDeliveries"])
    path = f"/webhook-endpoints/{endpoint_id}"
    assert [404] * 4 == [
        (await api.ask(method, where)).status
        for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/enable"), ("POST", f"{path}/disable"))
    ]
    await emit(api, superuser, EventType.MFA_UPDATED)
    await deliver(api)
    assert 3 == len(sink.got)
    rows = (await api.get("/deliveries", endpointId=endpoint_id)).body["deliveries"]
    assert [("failed", DELETED, 0, None)] * 2 == [
        (row["state"], row["reason"], row["attempts"], row["firstAttemptAt"]) for row in rows
    ]
    assert ["delivered"] * 3 == [
        row["state"] for row in (await api.get("/deliveries", endpointId=kept)).body["deliveries"]
    ]
    assert 409 == (await api.post(f"/deliveries/{rows[0]['id']}/retry")).status


async def test_however_many_wait_they_end(
    api: Person, sink: Sink, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bounded batches: what the request leaves over the sweep ends, though it was due in a day; one under way is left."""
    monkeypatch.setattr("ingress.api.endpoints.ENDED_AT_ONCE", 2)
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
    ended = []
    for is_leased in (True, True, True, True, False):
        if not is_leased:
            await superuser.execute("UPDATE delivery_queue SET lease_until = now() - interval '1 second'")
        async with api.database.queue() as conn:
            ended.append(await end_overdue_deliveries(conn, limit=2))
    assert ([2, 2, 1, 0, 1], []) == (ended, sink.got)
    assert 8 == await count_failed(superuser, DELETED)
