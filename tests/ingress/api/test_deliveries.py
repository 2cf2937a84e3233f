"""Deliveries over the API: what came of each attempt, and trying again beside the schedule."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from bankfeed.db.delivery import end_overdue_deliveries
from bankfeed.model import EventType
from bankfeed.schedule import RETRIES, retry_due_at
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.sink import LOOPBACK, Sink, deliver, open_sink
from tests.ingress.api.test_endpoints import add, emit


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """The operator allows this machine."""
    return {"outbound_allow": LOOPBACK}


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A subscriber."""
    async with open_sink() as made:
        yield made


async def make_delivery(api: Person, sink: Sink, superuser: asyncpg.Connection) -> int:
    """Make an endpoint and one delivery to it that waits; return its id."""
    await add(api, sink.url)
    await emit(api, superuser, EventType.MFA_UPDATED)
    delivery_id: int = await superuser.fetchval("SELECT max(id) FROM deliveries")
    return delivery_id


async def fail_all(
    api: Person, sink: Sink, superuser: asyncpg.Connection, *, since: int = 1, until: int = RETRIES
) -> None:
    """Let the slots of a delivery that was attempted come, one after the other, and fail."""
    first_at: datetime = await superuser.fetchval("SELECT first_attempt_at FROM delivery_queue")
    for n in range(since, until + 1):
        sink.statuses.append(500)
        await deliver(api, now=retry_due_at(first_at, n))


def times(said: Said) -> tuple[datetime, datetime]:
    """Return when a delivery was attempted first, and when it is next."""
    row = said.body["delivery"]
    return datetime.fromisoformat(row["firstAttemptAt"]), datetime.fromisoformat(row["nextAttemptAt"])


async def standing(api: Person, delivery_id: int) -> tuple[str, int]:
    """Return the state of a delivery, and how many attempts were made."""
    row = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    return row["state"], row["attempts"]


async def test_a_delivery_shows_its_attempts(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """Status, duration and the first 1,000 characters of the answer, under the id that the subscriber saw."""
    delivery_id = await make_delivery(api, sink, superuser)
    before = (await api.get(f"/deliveries/{delivery_id}")).body
    assert ("waiting", 0, None, []) == (
        *(before["delivery"][name] for name in ("state", "attempts", "firstAttemptAt")),
        before["attempts"],
    )
    sink.statuses = [503]
    await deliver(api)
    await superuser.execute("UPDATE delivery_queue SET due_at = now()")
    await deliver(api)
    said = (await api.get(f"/deliveries/{delivery_id}")).body
    assert ("delivered", 2, "mfaUpdated", api.client_id, None) == tuple(
        said["delivery"][name] for name in ("state", "attempts", "eventType", "clientId", "nextAttemptAt")
    )
    assert {said["delivery"]["eventId"]} == {got.event_id for got in sink.got}
    assert [(1, 503, "", 1000), (2, 200, "", 1000)] == [
        (row["attemptNo"], row["httpStatus"], row["error"], len(row["answer"])) for row in said["attempts"]
    ]


async def test_deliveries_are_listed_by_what_is_asked(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """By endpoint, state, type, client, event and time, the newest first, in pages."""
    one, _ = await add(api, sink.url)
    two, _ = await add(api, "http://127.0.0.1:9/", ["mfaUpdated"])
    asked_for, _ = await emit(api, superuser, EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED)
    await deliver(api)

    async def ask(**query: Any) -> list[tuple[int, str, str]]:
        found = (await api.get("/deliveries", **query)).body["deliveries"]
        return [(row["endpointId"], row["eventType"], row["state"]) for row in found]

    refused, added, first = (
        (two, "mfaUpdated", "waiting"),
        (one, "accountAdded", "delivered"),
        (one, "mfaUpdated", "delivered"),
    )
    assert [added, refused, first] == await ask()
    assert [added, first] == await ask(endpointId=one)
    assert [refused] == await ask(state="waiting")
    assert [added] == await ask(eventType="accountAdded")
    assert [refused, first] == await ask(eventId=asked_for)
    assert [added, refused, first] == await ask(clientId=api.client_id)
    another = await api.post("/clients", {"username": "another", "name": "Another"})
    assert [] == await ask(clientId=another.body["client"]["id"])
    assert 404 == (await api.get("/deliveries", clientId=2**62)).status
    later = await superuser.fetchval("SELECT max(created_at) FROM deliveries")
    assert [added] == await ask(since=later.isoformat())
    assert [refused, first] == await ask(until=later.isoformat())
    page = await api.get("/deliveries", limit=2)
    rest = await api.get("/deliveries", limit=2, cursor=page.body["nextCursor"])
    assert ([first[0]], None) == ([row["endpointId"] for row in rest.body["deliveries"]], rest.body["nextCursor"])
    for query in (
        {"eventId": "x"},
        {"state": "lost"},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"cursor": "x"},
    ):
        assert 422 == (await api.get("/deliveries", **query)).status, query


async def test_anothers_deliveries_are_not_there(
    api: Person, other: Person, reader: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """Neither to see nor to try again, nor those of a deleted client."""
    delivery_id = await make_delivery(api, sink, superuser)
    endpoint_id = await superuser.fetchval("SELECT id FROM endpoints")
    assert 404 == (await other.get(f"/deliveries/{delivery_id}")).status
    assert 404 == (await other.post(f"/deliveries/{delivery_id}/retry")).status
    assert 404 == (await other.get("/deliveries", endpointId=endpoint_id)).status
    assert [] == (await other.get("/deliveries")).body["deliveries"]
    assert 403 == (await reader.post(f"/deliveries/{delivery_id}/retry")).status
    assert 200 == (await reader.get(f"/deliveries/{delivery_id}")).status
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert 404 == (await api.get(f"/deliveries/{delivery_id}")).status
    assert [] == (await api.get("/deliveries")).body["deliveries"]


# ------------------------------------------------------------------------------------------------ again


async def test_an_extra_attempt_leaves_the_schedule_as_it_is(
    api: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """A waiting delivery is tried at once; where that fails the next slot is what it was, and all fifteen are there."""
    delivery_id = await make_delivery(api, sink, superuser)
    sink.statuses = [500, 500]
    await deliver(api)
    said = await api.post(f"/deliveries/{delivery_id}/retry")
    assert (202, "waiting") == (said.status, said.body["delivery"]["state"])
    await deliver(api)
    first_at, next_at = times(await api.get(f"/deliveries/{delivery_id}"))
    assert timedelta(seconds=30) == next_at - first_at
    await fail_all(api, sink, superuser, until=RETRIES - 1)
    assert "waiting" == (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]["state"]
    await fail_all(api, sink, superuser, since=RETRIES)
    ended = (await api.get(f"/deliveries/{delivery_id}")).body
    assert ("failed", list(range(1, 17))) == (
        ended["delivery"]["state"],
        [row["attemptNo"] for row in ended["attempts"]],
    )


async def test_a_failed_delivery_gets_one_extra_attempt(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """It fails again, or is delivered, under the same event id; no schedule begins anew."""
    delivery_id = await make_delivery(api, sink, superuser)
    sink.statuses = [500]
    await deliver(api)
    await fail_all(api, sink, superuser)
    assert "failed" == (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]["state"]
    sink.statuses = [500]
    said = await api.post(f"/deliveries/{delivery_id}/retry")
    assert (202, "waiting", None) == (
        said.status,
        said.body["delivery"]["state"],
        said.body["delivery"]["finishedAt"],
    )
    await deliver(api)
    again = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    assert ("failed", 16, None) == tuple(again[name] for name in ("state", "attempts", "nextAttemptAt"))
    await api.post(f"/deliveries/{delivery_id}/retry")
    await deliver(api)
    ended = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    assert ("delivered", 17) == (ended["state"], ended["attempts"])
    assert 1 == len({got.event_id for got in sink.got})
    assert 0 == await superuser.fetchval("SELECT count(*) FROM delivery_queue")


async def test_a_failed_delivery_is_tried_also_after_its_three_days(
    api: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """A person's wish is not bound to the schedule's end."""
    delivery_id = await make_delivery(api, sink, superuser)
    sink.statuses = [500]
    await deliver(api)
    await superuser.execute("UPDATE delivery_queue SET first_attempt_at = now() - interval '9 days', due_at = now()")
    await deliver(api)
    gone = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    assert ("failed", "the schedule is over", 1) == tuple(gone[name] for name in ("state", "reason", "attempts"))
    await api.post(f"/deliveries/{delivery_id}/retry")
    await deliver(api)
    ended = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    assert ("delivered", "", 2) == tuple(ended[name] for name in ("state", "reason", "attempts"))


async def test_one_never_attempted_begins_its_schedule(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """What failed while its endpoint was disabled has its fifteen attempts before it."""
    delivery_id = await make_delivery(api, sink, superuser)
    endpoint_id = await superuser.fetchval("SELECT id FROM endpoints")
    await api.post(f"/webhook-endpoints/{endpoint_id}/disable")
    later = await superuser.fetchval("SELECT queued_at + interval '73 hours' FROM delivery_queue")
    async with api.database.queue() as conn:
        assert 1 == await end_overdue_deliveries(conn, limit=10, now=later)
    failed = (await api.get(f"/deliveries/{delivery_id}")).body["delivery"]
    assert ("failed", "the endpoint was disabled", None) == tuple(
        failed[name] for name in ("state", "reason", "firstAttemptAt")
    )
    assert 409 == (await api.post(f"/deliveries/{delivery_id}/retry")).status
    await api.post(f"/webhook-endpoints/{endpoint_id}/enable")
    sink.statuses = [500]
    assert 202 == (await api.post(f"/deliveries/{delivery_id}/retry")).status
    await deliver(api)
    assert (1, 0, False) == tuple(
        await superuser.fetchrow("SELECT attempts, extra_attempts, is_by_hand FROM delivery_queue")
    )


async def test_what_cannot_be_tried_again_is_refused(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """What is being attempted, what had its extra attempts, and what was delivered."""
    delivery_id = await make_delivery(api, sink, superuser)
    path = f"/deliveries/{delivery_id}/retry"
    await superuser.execute(
        "UPDATE delivery_queue SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 hour'"
    )
    assert 409 == (await api.post(path)).status
    await superuser.execute("UPDATE delivery_queue SET lease_token = NULL, lease_until = NULL, extra_attempts = 100")
    assert 409 == (await api.post(path)).status
    await deliver(api)
    said = await api.post(path)
    assert (409, "conflict") == (said.status, said.body["code"])


async def test_an_extra_attempt_that_was_killed_is_made_again(
    api: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """A worker that dies in the middle leaves the wish in the queue."""
    delivery_id = await make_delivery(api, sink, superuser)
    sink.statuses = [500, 500]
    await deliver(api)
    await api.post(f"/deliveries/{delivery_id}/retry")
    await superuser.execute(
        "UPDATE delivery_queue SET lease_token = gen_random_uuid(), lease_until = now(), due_at = now()"
    )
    await deliver(api)
    assert (1, 1, False) == tuple(
        await superuser.fetchrow("SELECT attempts, extra_attempts, is_by_hand FROM delivery_queue")
    )


async def test_a_short_schedule_has_its_extra_attempts_too(
    api: Person, sink: Sink, superuser: asyncpg.Connection
) -> None:
    """Where an endpoint tries twice, the third attempt is an extra one, and a hundred of them are the most."""
    delivery_id = await make_delivery(api, sink, superuser)
    await superuser.execute("UPDATE endpoints SET retry_schedule = ARRAY[60]")
    sink.statuses = [500, 500, 500]
    await deliver(api)
    first_at = await superuser.fetchval("SELECT first_attempt_at FROM delivery_queue")
    await deliver(api, now=first_at + timedelta(seconds=60))
    path = f"/deliveries/{delivery_id}"
    assert ("failed", 2) == await standing(api, delivery_id)
    for extra in (0, 1):
        assert 202 == (await api.post(f"{path}/retry")).status
        waiting = await superuser.fetchrow("SELECT attempts, extra_attempts, is_by_hand FROM delivery_queue")
        assert (2, extra, True) == tuple(waiting)
        await deliver(api)
    assert ("delivered", 4) == await standing(api, delivery_id)
    await superuser.execute("UPDATE deliveries SET state = 'failed'")
    await superuser.execute(
        "INSERT INTO attempts (customer_id, delivery_id, attempt_no, started_at, delivery_created_at, duration_ms, status)"
        " SELECT customer_id, id, n, now(), created_at, 1, 500 FROM deliveries, generate_series(5, 102) n"
    )
    assert 409 == (await api.post(f"{path}/retry")).status
    await superuser.execute("DELETE FROM attempts WHERE attempt_no = 102")
    assert 202 == (await api.post(f"{path}/retry")).status


async def test_order_is_kept_when_one_is_tried_again(api: Person, sink: Sink, superuser: asyncpg.Connection) -> None:
    """A failed one waits for what is due of its bank account already; one that waits so cannot be hurried past it."""
    failed = await make_delivery(api, sink, superuser)
    await superuser.execute("UPDATE endpoints SET is_ordered = true, retry_schedule = '{}'")
    sink.statuses = [500]
    await deliver(api)
    await emit(api, superuser, EventType.ACCOUNT_ADDED)
    said = await api.post(f"/deliveries/{failed}/retry")
    assert (202, "waiting", None) == (
        said.status,
        said.body["delivery"]["state"],
        said.body["delivery"]["nextAttemptAt"],
    )
    assert 409 == (await api.post(f"/deliveries/{failed}/retry")).status
    await deliver(api)
    assert ["mfaUpdated", "accountAdded", "mfaUpdated"] == [got.body["eventType"] for got in sink.got]
    assert "delivered" == (await api.get(f"/deliveries/{failed}")).body["delivery"]["state"]
