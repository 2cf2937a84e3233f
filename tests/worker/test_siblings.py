"""Accounts of one login: what is wrong with one holds up none of the others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime

import asyncpg
import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.model import EventType, Pull
from tests.conftest import Urls
from tests.db.made import wait_until_blocked
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench
from worker.inbox import take_inbox
from worker.refresh import take_refresh


class Spoiling(Finicity):
    """The real connector, which spoils what it pulls of one account."""

    spoil_ref = ""
    how = "nul"

    async def pull(
        self,
        customer_ref: str,
        account: ListedAccount,
        *,
        at: datetime,
        from_on: date,
        to_on: date,
        time_zone: str | None = None,
    ) -> Pull:
        pull = await super().pull(customer_ref, account, at=at, from_on=from_on, to_on=to_on, time_zone=time_zone)
        if account.account_ref != self.spoil_ref:
            return pull
        if self.how == "bug":
            raise ZeroDivisionError
        if self.how == "error":
            return replace(pull, is_complete=False, error="page 2 is missing")
        rows = [replace(row, values=replace(row.values, description="a\x00b")) for row in pull.rows]
        return replace(pull, rows=tuple(rows))


@pytest.fixture
async def spoiling(bench: Bench) -> AsyncIterator[Spoiling]:
    connector = Spoiling(bench.finbank.config())
    real = bench.context.connectors["finicity"]
    object.__setattr__(bench.context, "connectors", {"finicity": connector})
    yield connector
    await connector.close()
    await real.close()


@pytest.mark.parametrize("how", ["nul", "bug", "error"])
async def test_a_spoiled_account_starves_nobody(
    bench: Bench, spoiling: Spoiling, subscriber: Subscriber, how: str
) -> None:
    """Data that Postgres refuses, a bug, or a failed listing: the others are loaded, and the login is tried again."""
    link = await bench.link("checking", "savings", "creditCard")
    spoiling.spoil_ref, spoiling.how = str(sorted(link.accounts.values())[1]), how
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    for account_id in link.accounts.values():
        assert (str(account_id) == spoiling.spoil_ref) == (await bench.visible(account_id) == [])
    assert (1, 0, 1) == tuple(await bench.superuser.fetchrow("SELECT requested, handled, failures FROM connections"))
    spoiling.spoil_ref = ""
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.work()
    assert (1, 1, 0) == tuple(await bench.superuser.fetchrow("SELECT requested, handled, failures FROM connections"))
    assert 3 == len({event["payload"]["accounts"][0] for event in subscriber.events})


async def test_a_deletion_is_closed_although_a_sibling_fails(bench: Bench, spoiling: Spoiling) -> None:
    """What the aggregator says is gone is closed, whatever happens to the other accounts."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    spoiling.spoil_ref = str(link.accounts["checking"])
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['savings']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["savings"])
    await bench.work()
    assert "closed" == await bench.one("SELECT state::text FROM accounts WHERE type = 'savings'")
    assert "open" == await bench.one("SELECT state::text FROM accounts WHERE type = 'checking'")


@pytest.mark.parametrize("how", ["", "error"])
async def test_accounts_are_locked_by_id(bench: Bench, spoiling: Spoiling, urls: Urls, how: str) -> None:
    """A refresh that closes an account and waits for the one before it, pulled or failed, does not hold the later one yet."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    first, last = await bench.superuser.fetch("SELECT id, aggregator_id FROM accounts ORDER BY id")
    spoiling.spoil_ref, spoiling.how = first["aggregator_id"] if how else "", how
    await bench.finbank.control("DELETE", f"accounts/{last['aggregator_id']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, last["aggregator_id"])
    await take_inbox(bench.context)
    act = await asyncpg.connect(urls.superuser)
    async with act.transaction():
        await act.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", first["id"])
        refreshing = asyncio.create_task(take_refresh(bench.context))
        await wait_until_blocked(bench.superuser)
        await act.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE NOWAIT", last["id"])
    assert await refreshing
    await act.close()
    assert "closed" == await bench.one("SELECT state::text FROM accounts WHERE id = $1", last["id"])


async def test_a_repair_ends_the_back_off(bench: Bench) -> None:
    """Somebody who repaired a login waits for it: mfaUpdated is worked on at once, however long the delay was."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    await bench.superuser.execute(
        "UPDATE connections SET requested = requested + 1, failures = 9, due_at = now() + interval '1 hour'"
    )
    await bench.receive(EventType.MFA_UPDATED, link.accounts["checking"])
    await take_inbox(bench.context)
    assert await take_refresh(bench.context)
    assert 0 == await bench.one("SELECT requested - handled FROM connections")


async def test_a_held_pull_is_no_repair_and_is_kept_once(bench: Bench, subscriber: Subscriber) -> None:
    """A suspicious list changes nothing, clears nothing, and the same answer of the bank again is not stored again."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    before = await bench.visible(account_id)
    await bench.superuser.execute("UPDATE connections SET state = 'needs_person'")
    await bench.superuser.execute(
        "UPDATE transactions SET aggregator_id = NULL, description = 'OTHER', amount = amount - 1"
    )
    for _ in range(3):
        await bench.superuser.execute("UPDATE connections SET due_at = now()")
        await bench.receive(EventType.MFA_UPDATED, account_id)
        await bench.work()
    outcomes = await bench.superuser.fetch("SELECT outcome::text FROM pulls ORDER BY id")
    assert ["applied", "held", "ignored", "ignored"] == [row["outcome"] for row in outcomes]
    assert len(before) == len(await bench.visible(account_id))
    assert "needs_person" == await bench.one("SELECT state::text FROM connections")
    assert "mfaUpdated" not in {event["eventType"] for event in subscriber.events}
    await make_older(bench, hours=7)
    await bench.finbank.control("POST", "aggregate")
    await bench.receive(EventType.MFA_UPDATED, account_id)
    await bench.work()
    assert "applied" == await bench.one("SELECT outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    assert "active" == await bench.one("SELECT state::text FROM connections")
    assert 1 == [event["eventType"] for event in subscriber.events].count("mfaUpdated")


async def make_older(bench: Bench, *, hours: int) -> None:
    """Move what was pulled so far back in time."""
    await bench.superuser.execute(
        """
        UPDATE pulls SET at = at - make_interval(hours => $1),
            held = jsonb_set(held, '{at}', to_jsonb((held ->> 'at')::timestamptz - make_interval(hours => $1)))
        WHERE outcome <> 'ignored'
        """,
        hours,
    )
    await bench.superuser.execute(
        "UPDATE accounts SET last_pulled_at = last_pulled_at - make_interval(hours => $1)", hours
    )
