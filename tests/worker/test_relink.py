"""An account that left and is linked again, under a new login and a new id, is the same account (rule 11)."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.model import AccountId, EventType, TransactionId
from tests.finbank import Link
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench

ACTOR = "user:1"


async def link(bench: Bench) -> Link:
    """Link a checking account and load it."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    return link


async def leave(bench: Bench, link: Link) -> None:
    """Let the account leave: the bank deletes it, and says so."""
    account_id = link.accounts["checking"]
    await bench.finbank.control("DELETE", f"accounts/{account_id}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, account_id)
    await bench.work()
    assert "closed" == await bench.one(
        "SELECT state::text FROM accounts WHERE adopted_into IS NULL ORDER BY id LIMIT 1"
    )


async def book(bench: Bench, account_ref: int) -> TransactionId:
    """Book the account's oldest posted row."""
    rows = [row for row in await bench.rows(account_ref) if row["state"] == "active"]
    row_id = TransactionId(min(rows, key=lambda row: (row["transacted_on"], row["id"]))["id"])
    await acts.link(bench.database, bench.tenant.customer_id, row_id, "L1", actor=ACTOR)
    return row_id


async def find_accounts(bench: Bench) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await bench.superuser.fetch(
        "SELECT id, state::text, aggregator_id, connection_id, adopted_into, name FROM accounts ORDER BY id"
    )
    return found


async def test_a_relinked_account_goes_on(bench: Bench, subscriber: Subscriber) -> None:
    """The same account row with its name, rows and acts, now under the new login: nothing doubles, and it is news."""
    first = await link(bench)
    await bench.superuser.execute("UPDATE accounts SET name = 'A person chose this'")
    before = await bench.visible(first.accounts["checking"])
    booked = await book(bench, first.accounts["checking"])
    await leave(bench, first)
    second = await link(bench)
    assert first.accounts != second.accounts
    assert first.login_id != second.login_id
    [account] = await find_accounts(bench)
    assert ("open", str(second.accounts["checking"]), "A person chose this") == (
        account["state"],
        account["aggregator_id"],
        account["name"],
    )
    assert before == await bench.visible(second.accounts["checking"])
    assert (booked, "active") == tuple(
        await bench.superuser.fetchrow(
            "SELECT t.id, t.state::text FROM transactions t JOIN ledger_entries e ON e.transaction_id = t.id"
        )
    )
    told = [event["eventType"] for event in subscriber.events if event["payload"]["accounts"] == [account["id"]]]
    assert ["accountAdded", "bankAccountDeleted", "accountAdded"] == [
        name for name in told if name != EventType.TRANSACTIONS_REFRESHED
    ]
    await bench.finbank.pass_nights(2)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, second.accounts["checking"])
    await bench.work()
    assert "applied" == await bench.one("SELECT outcome::text FROM pulls ORDER BY id DESC LIMIT 1")


async def test_a_first_pull_that_failed_is_no_obstacle(bench: Bench) -> None:
    """An account whose first pull failed turns out to be an earlier one with the next, and makes room for it."""
    first = await link(bench)
    before = await bench.visible(first.accounts["checking"])
    await leave(bench, first)
    second = await bench.link("checking")
    await bench.finbank.control("POST", "faults", failTimes=9, failStatus=503, failCode=325, failPath="transactions")
    await bench.receive(EventType.ACCOUNT_ADDED, second.accounts["checking"])
    await bench.work()
    assert ["closed", "open"] == [account["state"] for account in await find_accounts(bench)]
    await bench.finbank.control("POST", "faults", failTimes=0)
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.work()
    older, younger = await find_accounts(bench)
    assert ("open", str(second.accounts["checking"])) == (older["state"], older["aggregator_id"])
    assert ("closed", older["id"]) == (younger["state"], younger["adopted_into"])
    assert before == await bench.visible_of(older["id"])


async def test_another_number_is_another_account(bench: Bench) -> None:
    """Without the same number it is an account of its own, and nobody is asked."""
    first = await link(bench)
    await bench.superuser.execute("UPDATE accounts SET number_display = '9999'")
    await leave(bench, first)
    await link(bench)
    assert ["closed", "open"] == [account["state"] for account in await find_accounts(bench)]
    assert () == await acts.list_doubts(bench.database, bench.tenant.customer_id)


class Alike:
    """The bank's connector, to which all accounts have one type and number."""

    def __init__(self, connector: Aggregator) -> None:
        self.connector = connector

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connector, name)

    async def list_login_accounts(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        listed = await self.connector.list_login_accounts(customer_ref, login_ref)
        return tuple(replace(each, type="checking", number_display="1111") for each in listed)


async def test_accounts_of_one_number_are_told_apart_by_their_rows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that are listed together neither is the earlier one where no rows say so: a person is asked of both."""
    for name, connector in bench.context.connectors.items():
        monkeypatch.setitem(bench.context.connectors, name, Alike(connector))
    await leave(bench, await link(bench))
    await bench.superuser.execute("UPDATE transactions SET transacted_on = '2020-01-01'")
    second = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, second.accounts["checking"])
    await bench.work()
    assert ["closed", "open", "open"] == [account["state"] for account in await find_accounts(bench)]
    assert 2 == len(await acts.list_doubts(bench.database, bench.tenant.customer_id))


async def unsure(bench: Bench) -> tuple[AccountId, AccountId]:
    """Link an account again whose number nobody knew; return the older and the younger one."""
    first = await link(bench)
    await book(bench, first.accounts["checking"])
    await leave(bench, first)
    await bench.superuser.execute("UPDATE accounts SET number_display = ''")
    await link(bench)
    older, younger = await find_accounts(bench)
    [doubt] = await acts.list_doubts(bench.database, bench.tenant.customer_id)
    assert (younger["id"], older["id"]) == (doubt.account_id, doubt.earlier_account_id)
    return older["id"], younger["id"]


async def test_a_person_says_that_it_is_the_same(bench: Bench, subscriber: Subscriber) -> None:
    """The older account takes the login and the rows of the younger; nothing doubles, and the entry is where it was."""
    older, younger = await unsure(bench)
    before = await bench.visible_of(younger)
    [doubt] = await acts.list_doubts(bench.database, bench.tenant.customer_id)
    await acts.adopt(bench.database, bench.tenant.customer_id, doubt.id, actor=ACTOR)
    await bench.work()
    assert before == await bench.visible_of(older)
    assert [] == await bench.visible_of(younger)
    assert 1 == await bench.one(
        "SELECT count(*) FROM transactions t JOIN ledger_entries e ON e.transaction_id = t.id"
        " WHERE t.account_id = $1 AND t.state = 'active'",
        older,
    )
    assert [("open", None), ("closed", older)] == [(a["state"], a["adopted_into"]) for a in await find_accounts(bench)]
    assert () == await acts.list_doubts(bench.database, bench.tenant.customer_id)
    rows = await bench.one("SELECT count(*) FROM transactions")
    await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    await bench.work()
    assert rows == await bench.one("SELECT count(*) FROM transactions")
    assert "applied" == await bench.one("SELECT outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    deleted = [e["payload"]["accounts"] for e in subscriber.events if e["eventType"] == EventType.BANK_ACCOUNT_DELETED]
    assert [[older], [younger]] == deleted


async def test_a_person_says_that_it_is_another(bench: Bench) -> None:
    """Both stay as they are, and the question is not asked again; taken back, it is open again."""
    await unsure(bench)
    customer_id = bench.tenant.customer_id
    before = await find_accounts(bench)
    asked = await acts.list_doubts(bench.database, customer_id)
    act_id = await acts.keep_apart(bench.database, customer_id, asked[0].id, actor=ACTOR)
    await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    await bench.work()
    assert before == await find_accounts(bench)
    assert () == await acts.list_doubts(bench.database, customer_id)
    await acts.undo_act(bench.database, customer_id, act_id, actor=ACTOR)
    assert asked == await acts.list_doubts(bench.database, customer_id)


@pytest.fixture(autouse=True)
async def calm(bench: Bench) -> None:
    """Begin without what an earlier test asked of the bank."""
    await bench.finbank.control("POST", "faults", failTimes=0)
