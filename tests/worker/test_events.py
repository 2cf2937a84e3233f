"""What a refresh tells subscribers: how many rows, where to read on from, and that a connection broke or was repaired."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.cursor import Position, read_cursor
from bankfeed.db.change import list_changes
from bankfeed.db.endpoint import list_endpoints
from bankfeed.errors import AggregatorError
from bankfeed.model import DOCUMENTED_EVENTS, EventType
from tests.finbank import Link
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench

BROKEN, REPAIRED = "connectionBroken", "connectionRepaired"
NIGHTS = 6


async def list_payloads(bench: Bench, *event_types: str) -> list[dict[str, Any]]:
    """List the payloads of events of some types, the oldest first."""
    found = await bench.superuser.fetch(
        "SELECT body FROM events WHERE event_type = ANY ($1::text[]::event_type[]) ORDER BY id", list(event_types)
    )
    return [orjson.loads(row["body"])["payload"] for row in found]


async def follow(bench: Bench, payload: dict[str, Any]) -> list[Any]:
    """Read the feed of changes from an event's cursor."""
    at = read_cursor(payload["changesCursor"], Position)
    assert (at.client_id, at.since) == (payload["clientId"], at.after)
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        return [
            *await list_changes(
                conn, bench.tenant.customer_id, at.client_id, after=at.after, since=at.since, limit=9_999
            )
        ]


def told(subscriber: Subscriber) -> list[str]:
    """Name what came of a connection's health, in order."""
    return [event["eventType"] for event in subscriber.events if event["eventType"] in (BROKEN, REPAIRED)]


# ------------------------------------------------------------------------------------------------ counts and cursors


def compare(before: dict[int, asyncpg.Record], after: dict[int, asyncpg.Record]) -> Counter[str]:
    """Count how an account's rows differ, by looking at them."""
    counts: Counter[str] = Counter()
    for row_id, row in after.items():
        was, state = before.get(row_id), row["state"]
        if was is None:
            counts["added"] += 1
        elif was["state"] != state:
            counts["updated" if was["state"] in ("shadow", "removed") else NAMES[state]] += 1
        elif state in ("pending", "active") and any(was[name] != row[name] for name in SHOWN):
            counts["updated"] += 1
    return counts


NAMES = {"active": "posted", "shadow": "shadowed", "removed": "removed"}
SHOWN = ("amount", "transacted_on", "posted_on", "description", "memo", "check_number", "kind")


async def test_counts_are_what_the_pull_did(bench: Bench) -> None:
    """Each night's counts are the difference of the rows, none is told where there is none, and the cursor answers those rows."""
    link = await bench.link("checking")
    ref = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, ref)
    await bench.work()
    seen: Counter[str] = Counter()
    told_before = 1
    for _ in range(NIGHTS):
        before = {row["id"]: row for row in await bench.rows(ref)}
        await bench.finbank.pass_nights()
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, ref)
        await bench.work()
        after = {row["id"]: row for row in await bench.rows(ref)}
        payloads = await list_payloads(bench, "transactionsRefreshed")
        counts = Counter(payloads[-1]["transactions"]) if len(payloads) > told_before else Counter()
        told_before = len(payloads)
        assert compare(before, after) == +counts
        if counts:
            changed = {row_id for row_id, row in after.items() if row != before.get(row_id)}
            assert changed == {row["id"] for row in await follow(bench, payloads[-1])}
        seen += counts
    assert {"added", "posted", "shadowed", "removed"} <= {*seen}


async def test_each_account_of_a_login_has_its_own_cursor(bench: Bench) -> None:
    """The transactions of a refresh follow each other: an event's cursor leads to its own account's rows first."""
    link = await bench.link()
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    payloads = await list_payloads(bench, "transactionsRefreshed")
    assert 3 == len({payload["changesCursor"] for payload in payloads})
    for payload in payloads:
        rows, count = await follow(bench, payload), payload["transactions"]["added"]
        assert (
            0
            < count
            == await bench.one("SELECT count(*) FROM transactions WHERE account_id = $1", *payload["accounts"])
        )
        assert payload["accounts"] * count == [row["sub_account_id"] for row in rows[:count]]
        assert all(row["is_added"] for row in rows[:count])
    assert sorted(each["changesCursor"] for each in await list_payloads(bench, "accountAdded")) == sorted(
        payload["changesCursor"] for payload in payloads
    )


async def test_a_closed_accounts_rows_are_behind_its_cursor(bench: Bench) -> None:
    """An account that the aggregator no longer has counts no rows; the feed tells of each as out of view."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    rows = {row["id"] for row in await bench.rows(link.accounts["savings"]) if row["state"] != "removed"}
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['savings']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["savings"])
    await bench.work()
    [payload] = await list_payloads(bench, "bankAccountDeleted")
    assert {0} == {*payload["transactions"].values()}
    changed = await follow(bench, payload)
    assert (rows, {False}) == ({row["id"] for row in changed}, {row["is_shown"] for row in changed})


# ------------------------------------------------------------------------------------------------ broken and repaired


async def load(bench: Bench, *kinds: str) -> Link:
    link = await bench.link(*kinds)
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    return link


async def refresh(bench: Bench, link: Link) -> None:
    await bench.finbank.pass_nights()
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, *link.accounts.values())
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.work()


async def test_a_connection_is_told_of_once_when_it_breaks_and_once_when_it_works(
    bench: Bench, subscriber: Subscriber
) -> None:
    """Neither another reason nor what is waited out in between is told again, until a pull has come."""
    link = await load(bench, "checking", "savings")
    assert [] == told(subscriber)
    for code in (103, 103, 185, 101, 103, 920):
        await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=code)
        await refresh(bench, link)
        assert [BROKEN] == told(subscriber)
    await bench.finbank.control("POST", f"logins/{link.login_id}/fix")
    await refresh(bench, link)
    await refresh(bench, link)
    assert [BROKEN, REPAIRED] == told(subscriber)
    broken, repaired = await list_payloads(bench, BROKEN, REPAIRED)
    ids = await bench.one("SELECT array_agg(id ORDER BY id) FROM accounts")
    assert ids == broken["accounts"] == repaired["accounts"]
    assert (103, "The bank refused the user name or password; enter them again.") == (
        broken["statusCode"],
        broken["message"],
    )
    assert broken["action"].startswith("Check that they work at the bank's own site")
    assert (0, "All Data Received") == (repaired["statusCode"], repaired["message"])


async def test_what_is_waited_out_is_told_to_nobody(bench: Bench, subscriber: Subscriber) -> None:
    """A bank that is away is neither broken nor repaired; where it comes to need a person it is."""
    link = await load(bench, "checking")
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=102)
    await refresh(bench, link)
    assert "waiting" == await bench.one("SELECT state::text FROM connections")
    await bench.finbank.control("POST", f"logins/{link.login_id}/fix")
    await refresh(bench, link)
    assert [] == told(subscriber)
    for code in (102, 103):
        await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=code)
        await refresh(bench, link)
    assert [BROKEN] == told(subscriber)


async def test_who_does_not_ask_hears_of_the_documented_events_alone(bench: Bench, subscriber: Subscriber) -> None:
    """The three of our own come to those that name them."""
    await bench.superuser.execute(
        "UPDATE endpoints SET event_types = $1::text[]::event_type[]", [each.value for each in DOCUMENTED_EVENTS]
    )
    link = await load(bench, "checking")
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=103)
    await refresh(bench, link)
    assert [] == told(subscriber)
    assert 1 == len(await list_payloads(bench, BROKEN))
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        [endpoint] = await list_endpoints(conn, bench.tenant.customer_id, limit=10)
    assert DOCUMENTED_EVENTS == endpoint.event_types


class Refusing(Finicity):
    """The real connector, whose aggregator refuses to list with an aggregation code."""

    code: int | None = 103

    async def list_login_accounts(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:  # noqa: ARG002 - as the real one
        raise AggregatorError("refused", code=self.code)


@pytest.fixture
async def refusing(bench: Bench) -> AsyncIterator[Refusing]:
    connector = Refusing(bench.finbank.config())
    yield connector
    await connector.close()


@pytest.mark.parametrize(
    ("code", "expected", "failures"),
    [(103, [BROKEN], 0), (102, [], 2), (44_000, [], 0), (10_105, [], 0), (None, [], 2)],
)
async def test_a_refresh_that_fails_as_a_whole_tells_too(
    bench: Bench, subscriber: Subscriber, refusing: Refusing, code: int | None, expected: list[str], failures: int
) -> None:
    """An aggregation code for the account holder, in answer to the listing itself, is a broken connection: told once.

    Only what may soon be over is a failure that is tried again at once.
    """
    link = await load(bench, "checking")
    refusing.code = code
    object.__setattr__(bench.context, "connectors", {"finicity": refusing})
    await refresh(bench, link)
    await refresh(bench, link)
    assert expected == told(subscriber)
    assert failures == await bench.one("SELECT failures FROM connections")
