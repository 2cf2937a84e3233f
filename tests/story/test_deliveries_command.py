"""`bankfeed deliveries`: what came of each attempt is seen, and some are tried again."""

from typing import Any

import asyncpg
import msgspec
import pytest

from bankfeed.db import Database
from bankfeed.model import EventType
from tests.conftest import Urls
from tests.story.outgoing import Firm, make_firm
from tests.story.test_cli import run


@pytest.fixture
async def firm(database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection) -> Firm:
    """A customer with one endpoint."""
    return await make_firm(database, owner, superuser)


def list_ids(urls: Urls, *words: str) -> list[int]:
    """List deliveries by their ids, as a program does."""
    listed: dict[str, Any] = msgspec.json.decode(run("deliveries", "--json", *words, environ=urls.environ()).stdout)
    return [each["delivery"]["id"] for each in listed["deliveries"]]


async def test_deliveries_are_listed(
    urls: Urls, firm: Firm, database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The newest first, of all customers or one; by endpoint, state, type, client, event and time; so many at most."""
    event_id, _ = await firm.emit(EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED)
    first, second = await firm.fail_all()
    other = await make_firm(database, owner, superuser)
    await other.emit(EventType.MFA_UPDATED)
    third = await superuser.fetchval("SELECT max(id) FROM deliveries")
    assert [third, second, first] == list_ids(urls)
    assert [second, first] == list_ids(urls, "--customer", str(firm.tenant.customer_id))
    assert [third] == list_ids(urls, "--endpoint", str(other.endpoint_id))
    assert [second, first] == list_ids(urls, "--state", "failed", "--since", "1h")
    assert [second] == list_ids(urls, "--type", "accountAdded")
    assert [third] == list_ids(urls, "--client", str(other.tenant.client_id))
    assert [first] == list_ids(urls, "--event", event_id)
    assert [] == list_ids(urls, "--until", "1h")
    shown = run("deliveries", "--limit", "2", environ=urls.environ()).stdout.splitlines()
    assert ["ID", "CUSTOMER", "ENDPOINT", "EVENT", "STATE", "ATTEMPTS", "AGE", "NEXT", "REASON"] == shown[0].split()
    assert ["waiting", "0"] == shown[1].split()[4:6]
    assert shown[2].endswith("the schedule is over")
    assert "only the latest 2 are shown" == shown[3]
    nothing = run("deliveries", "--state", "delivered", environ=urls.environ())
    assert "there are no such deliveries\n" == nothing.stdout


async def test_a_delivery_is_shown_with_its_attempts(urls: Urls, firm: Firm) -> None:
    """What a subscriber answered is on one line, and moves no cursor."""
    [event_id] = await firm.emit(EventType.MFA_UPDATED)
    [delivery_id] = await firm.fail_all()
    shown = run("deliveries", "show", str(delivery_id), environ=urls.environ()).stdout.splitlines()
    customer = firm.tenant.customer_id
    assert f"delivery {delivery_id} of customer {customer} to endpoint {firm.endpoint_id} (active)" == shown[0]
    assert shown[1].startswith(f"event {event_id} mfaUpdated of ")
    assert "failed: the schedule is over" == shown[2]
    assert ["1", "12", "ms", "502", "bad?[2J", "gateway"] == [*shown[4].split()[:1], *shown[4].split()[3:]]
    told = msgspec.json.decode(run("deliveries", "show", str(delivery_id), "--json", environ=urls.environ()).stdout)
    assert (customer, "failed", 502) == (
        told["customer_id"],
        told["delivery"]["state"],
        told["attempts"][0]["status"],
    )
    await firm.emit(EventType.MFA_UPDATED)
    waiting = run("deliveries", "show", str(delivery_id + 1), environ=urls.environ()).stdout.splitlines()
    assert ["waiting", "next attempt now", "no attempt yet"] == waiting[2:]


async def test_deliveries_are_tried_again(urls: Urls, firm: Firm) -> None:
    """Each has a line in the audit log; one that cannot be is named with what stands in the way, and ends it with 1."""
    await firm.emit(*[EventType.MFA_UPDATED] * 3)
    one, two, three = await firm.fail_all()
    await firm.superuser.execute("UPDATE deliveries SET state = 'delivered', reason = '' WHERE id = $1", two)
    done = run("deliveries", "retry", *map(str, (one, two, three, one)), environ=urls.environ())
    assert (1, "2 deliveries are due now\n") == (done.returncode, done.stdout)
    assert f"delivery {two}: expected a delivery that waits or failed, got one that was delivered" in done.stderr
    assert [(one, True), (three, True)] == [
        tuple(row)
        for row in await firm.superuser.fetch(
            "SELECT delivery_id, is_by_hand AND urgent_at <= now() FROM delivery_queue ORDER BY 1"
        )
    ]
    assert [("delivery.retried", f"deliveryId={each}") for each in (one, three)] == await firm.audited()
    again = run("deliveries", "retry", str(one), environ=urls.environ())
    assert (0, "1 delivery is due now\n") == (again.returncode, again.stdout)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--since", "yesterday"), 2, "expected a time like 2026-11-01, 2026-11-01T06:00Z, 3d or 12h, got 'yesterday'"),
        (("--event", "12"), 2, "expected an event's id, a UUID, got '12'"),
        (("--state", "lost"), 2, "'lost'"),
        (("--endpoint", "999"), 1, "bankfeed: there is no webhook endpoint 999\n"),
        (("show", "999"), 1, "bankfeed: there is no delivery 999\n"),
        (("retry", "999"), 1, "bankfeed: there is no delivery 999\n"),
        (("retry",), 2, "Missing argument"),
        (("forget",), 2, "expected one of retry, show, got 'forget'"),
    ],
)
async def test_what_cannot_be_meant_is_said(
    urls: Urls, firm: Firm, words: tuple[str, ...], status: int, said: str
) -> None:
    """In a sentence, with 2 for words that cannot be meant."""
    refused = run("deliveries", *words, environ=urls.environ())
    assert status == refused.returncode
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
