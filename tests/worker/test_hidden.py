"""A hidden account stays hidden, whatever the feed does with it."""

from collections.abc import Awaitable, Callable

import pytest

from bankfeed import acts, removal
from bankfeed.model import ConnectionId, EventType, TransactionId
from tests.finbank import Link
from tests.worker.conftest import Bench
from worker.removal import take_removal

Happening = Callable[[Bench, Link], Awaitable[None]]


async def refresh(bench: Bench, link: Link) -> None:
    """Let nights pass and bring their rows in."""
    await bench.finbank.pass_nights(2)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, link.accounts["checking"])
    await bench.work()


async def delete_and_add_again(bench: Bench, _: Link) -> None:
    """Let a person delete the bank account, here and at the bank, and link it anew."""
    connection_id = ConnectionId(await bench.one("SELECT id FROM connections"))
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await removal.delete_bank_account(conn, bench.tenant.customer_id, connection_id)
    while await take_removal(bench.context):
        pass
    again = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, again.accounts["checking"])
    await bench.work()


async def leave_and_return(bench: Bench, link: Link) -> None:
    """Let the bank take the account away, and the holder link it anew."""
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['checking']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["checking"])
    await bench.work()
    again = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, again.accounts["checking"])
    await bench.work()


async def count_posted(bench: Bench) -> int:
    count: int = await bench.one("SELECT count(*) FROM transactions WHERE state = 'active'")
    return count


@pytest.mark.parametrize("happen", [refresh, delete_and_add_again, leave_and_return])
async def test_a_hidden_account_stays_hidden(bench: Bench, happen: Happening) -> None:
    """Through refreshes, deleting and linking anew: one account, still hidden, its reconciled row still reconciled."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    account_id = await bench.one("UPDATE accounts SET is_hidden = true RETURNING id")
    row_id = TransactionId(
        await bench.one("SELECT id FROM transactions WHERE state = 'active' ORDER BY transacted_on, id LIMIT 1")
    )
    await acts.mark_reconciled(bench.database, bench.tenant.customer_id, row_id, actor="user:1")
    before = await count_posted(bench)
    await happen(bench, link)
    found = await bench.superuser.fetch("SELECT id, state::text, is_hidden FROM accounts")
    assert [(account_id, "open", True)] == [tuple(row) for row in found]
    assert await bench.one("SELECT reconciled_at IS NOT NULL FROM transactions WHERE id = $1", row_id)
    assert await count_posted(bench) < 2 * before


async def test_a_hidden_account_without_rows_stays_hidden(bench: Bench) -> None:
    """Deleted and added again it is a new one, since no row tells that it is the old one: hidden and named as that was."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    await bench.superuser.execute("UPDATE accounts SET is_hidden = true, own_name = 'Till'; DELETE FROM transactions")
    await delete_and_add_again(bench, link)
    found = await bench.superuser.fetch("SELECT state::text, is_hidden, own_name FROM accounts ORDER BY id")
    assert [("closed", True, "Till"), ("open", True, "Till")] == [tuple(row) for row in found]
