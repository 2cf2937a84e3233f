"""The balance is checked at every pull that brings one of a later day, and a gap is told with what would explain it."""

from decimal import Decimal

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.model import EventType, PullId
from tests.worker.conftest import Bench


@pytest.fixture
async def account_id(bench: Bench) -> int:
    """A checking account, loaded."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    return link.accounts["checking"]


async def refresh(bench: Bench, account_id: int, *, nights: int) -> asyncpg.Record:
    """Let nights pass and refresh; return how the balance stands."""
    await bench.finbank.pass_nights(nights)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    return await stand(bench)


async def stand(bench: Bench) -> asyncpg.Record:
    row: asyncpg.Record = await bench.superuser.fetchrow(
        """
        SELECT balance, balance_on, balance_gap, balance_reason, balance_suspects,
               (SELECT balance_gap FROM pulls ORDER BY id DESC LIMIT 1) AS pulled_gap
        FROM accounts
        """
    )
    return row


async def test_a_good_feed_has_no_gap(bench: Bench, account_id: int) -> None:
    """The first balance is taken as it is; after each night the rows move as the bank's balance does."""
    first = await stand(bench)
    assert first["balance"] is not None
    assert first["pulled_gap"] is None
    for _ in range(3):
        later = await refresh(bench, account_id, nights=2)
        assert first["balance_on"] < later["balance_on"]
        assert (0, 0, []) == (later["balance_gap"], later["pulled_gap"], later["balance_suspects"])


async def test_a_gap_is_told_with_its_suspect(bench: Bench, account_id: int) -> None:
    """Where a row is one too many, the account says by how much, and which row it may be, until a check finds it gone."""
    row = await bench.superuser.fetchrow(
        "SELECT id, amount FROM transactions WHERE state = 'active' ORDER BY transacted_on DESC, id DESC LIMIT 1"
    )
    await bench.superuser.execute("UPDATE accounts SET balance = balance + $1", row["amount"])
    found = await refresh(bench, account_id, nights=1)
    assert (-row["amount"], -row["amount"]) == (found["balance_gap"], found["pulled_gap"])
    assert row["id"] in found["balance_suspects"]
    assert "" != found["balance_reason"]
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)  # of the same day: nothing new is known
    await bench.work()
    assert found["balance_suspects"] == (await stand(bench))["balance_suspects"]
    await bench.superuser.execute("UPDATE accounts SET balance = balance - $1", row["amount"])
    settled = await refresh(bench, account_id, nights=1)
    assert (0, "", []) == (settled["balance_gap"], settled["balance_reason"], settled["balance_suspects"])


async def test_an_undone_pull_takes_the_balance_with_it(bench: Bench, account_id: int) -> None:
    """What the rows stood for is not known any more: the next pull that brings a balance begins anew."""
    await refresh(bench, account_id, nights=1)
    pull_id = PullId(await bench.one("SELECT max(id) FROM pulls"))
    await acts.undo_pull(bench.database, bench.tenant.customer_id, pull_id, actor="user:1")
    assert (None, Decimal(0)) == tuple(await bench.superuser.fetchrow("SELECT balance, balance_gap FROM accounts"))
    again = await refresh(bench, account_id, nights=1)
    assert again["balance"] is not None
    assert again["pulled_gap"] is None
    assert 0 == (await refresh(bench, account_id, nights=1))["pulled_gap"]
