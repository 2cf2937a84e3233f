"""Accounts: one per aggregator's id, whatever connection it is under; their rows survive closing and moving."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from bankfeed.db.account import (
    Locked,
    clear_balance,
    clear_delete_hints,
    hint_deleted,
    list_account_states,
    list_open_ids,
    lock_account,
    mark_closed,
    update_balance,
    update_pulled,
)
from bankfeed.db.connection import Lease, RefreshTarget, claim_connection, get_refresh_target, request_refreshes
from bankfeed.db.deletion import reopen_accounts
from bankfeed.errors import RefusedData
from bankfeed.model import AccountId, TransactionId
from bankfeed.reconcile.balance import Balance, BalanceCheck
from tests.conftest import Urls
from tests.db.made import Ground, make_connection, wait_until_blocked

AT = datetime(2026, 3, 31, 6, 0, tzinfo=UTC)


@pytest.fixture
async def lease(ground: Ground) -> Lease:
    """A lease on the connection."""
    return await ground.lease()


@pytest.fixture
async def target(ground: Ground, lease: Lease) -> RefreshTarget:
    """What the refresh knows of it."""
    async with ground.app() as conn:
        return await get_refresh_target(conn, lease)


async def lock(ground: Ground, lease: Lease, target: RefreshTarget, **changes: str) -> Locked:
    values = {
        "account_ref": "5001",
        "name": "Checking",
        "number_display": "1234",
        "type": "checking",
        "currency": "USD",
    }
    async with ground.app() as conn:
        return await lock_account(conn, lease, target, **(values | changes))


async def pulled(ground: Ground, account_id: AccountId, *, from_on: date) -> None:
    async with ground.app() as conn:
        await update_pulled(
            conn,
            ground.tenant.customer_id,
            account_id,
            pulled_at=AT,
            attempted_at=None,
            history_from_on=from_on,
        )


async def stand(ground: Ground, account_id: AccountId, check: BalanceCheck, *suspects: int) -> None:
    async with ground.app() as conn:
        ids = [TransactionId(suspect) for suspect in suspects]
        await update_balance(conn, ground.tenant.customer_id, account_id, check=check, suspects=ids)


async def hint(ground: Ground) -> None:
    async with ground.database.queue() as conn:
        await request_refreshes(conn, [(ground.tenant.customer_id, ground.connection_id)])
        await hint_deleted(
            conn, source_id=ground.sources.finicity, customer_id=None, account_refs=["5001"], connections=[]
        )


async def test_an_account_is_new_once(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """The first time it is added; later it is the same row, with its number and type of now and the name it has here."""
    first = await lock(ground, lease, target)
    assert (True, None) == (first.is_new, first.last_pulled_at)
    await superuser.execute("UPDATE accounts SET name = 'A person chose this', last_pulled_at = $1", AT)
    again = await lock(ground, lease, target, name="Renamed by the bank", number_display="9999")
    assert replace(first, is_new=False, last_pulled_at=AT) == again
    row = await superuser.fetchrow("SELECT name, number_display FROM accounts")
    assert ("A person chose this", "9999") == tuple(row)


async def test_a_closed_account_opens_again_with_its_history(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """Closing erases nothing; listed again it is open, and news."""
    first = await lock(ground, lease, target)
    await pulled(ground, first.id, from_on=date(2026, 1, 1))
    stated = Balance(amount=Decimal("1.00"), on=date(2026, 1, 31))
    await stand(ground, first.id, BalanceCheck(after=stated, is_checked=True))
    customer_id = ground.tenant.customer_id
    async with ground.app() as conn:
        assert (first.id,) == await mark_closed(conn, customer_id, [first.id])
        assert () == await mark_closed(conn, customer_id, [first.id])
        assert () == await list_open_ids(conn, customer_id, ground.connection_id)
    assert replace(first, is_new=True, last_pulled_at=AT, balance=stated) == await lock(ground, lease, target)
    async with ground.app() as conn:
        assert (first.id,) == await list_open_ids(conn, customer_id, ground.connection_id)
    assert await superuser.fetchval("SELECT closed_at IS NULL FROM accounts")


@pytest.mark.parametrize("what", ["close", "hint", "add again"])
async def test_several_accounts_are_locked_by_id(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection, urls: Urls, what: str
) -> None:
    """Who waits for the first one holds none of the others yet, in whatever order disk and index have them."""
    first = await lock(ground, lease, target, account_ref="5002")
    second = await lock(ground, lease, target, account_ref="5001")
    await superuser.execute("UPDATE accounts SET deleted_at = '2026-01-01', state = 'closed', closed_at = '2026-01-01'")
    if what != "add again":
        await superuser.execute("UPDATE accounts SET deleted_at = NULL, state = 'open', closed_at = NULL")
    await superuser.execute("UPDATE accounts SET name = 'moved on disk' WHERE id = $1", first.id)
    customer_id, refs = ground.tenant.customer_id, ["5001", "5002"]
    as_on_disk = "SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off"

    async def change() -> None:
        if what == "hint":
            async with ground.database.queue() as conn:
                await conn.execute(as_on_disk)
                await hint_deleted(
                    conn, source_id=ground.sources.finicity, customer_id=None, account_refs=refs, connections=[]
                )
            return
        async with ground.app() as conn:
            await conn.execute(as_on_disk)
            if what == "close":
                await mark_closed(conn, customer_id, [second.id, first.id])
            else:
                await reopen_accounts(
                    conn, customer_id, source_id=ground.sources.finicity, account_refs=refs, at=datetime.now(UTC)
                )

    holder = await asyncpg.connect(urls.superuser)
    async with holder.transaction():
        await holder.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", first.id)
        changing = asyncio.create_task(change())
        await wait_until_blocked(superuser)
        await holder.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE NOWAIT", second.id)
    await changing
    await holder.close()


async def test_an_account_moves_with_its_login(ground: Ground, lease: Lease, target: RefreshTarget) -> None:
    """An account listed under another login of the same client is the same account there."""
    first = await lock(ground, lease, target)
    await make_connection(ground.database, ground.sources, ground.tenant, login_ref="migrated")
    async with ground.app() as conn:
        other = await conn.fetchval("SELECT id FROM connections WHERE aggregator_login_id = 'migrated'")
    async with ground.database.queue() as conn:
        await request_refreshes(conn, [(ground.tenant.customer_id, other)])
        moved = await claim_connection(conn, token=lease.token, lease_s=60)
    assert moved is not None
    assert first.id == (await lock(ground, moved, target)).id
    async with ground.app() as conn:
        assert (first.id,) == await list_open_ids(conn, ground.tenant.customer_id, other)
        assert () == await list_open_ids(conn, ground.tenant.customer_id, ground.connection_id)


async def test_a_second_writer_of_an_account_waits(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """The row is locked until commit, and who waited reads what was committed."""
    first = await lock(ground, lease, target)
    async with ground.app() as conn:
        await conn.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", first.id)
        second = asyncio.create_task(lock(ground, lease, target))
        await wait_until_blocked(superuser)
        await conn.execute("UPDATE accounts SET last_pulled_at = $1", AT)
    assert replace(first, is_new=False, last_pulled_at=AT) == await second


async def test_a_pull_moves_what_it_knows(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """History only grows backwards."""
    account_id = (await lock(ground, lease, target)).id
    await pulled(ground, account_id, from_on=date(2026, 2, 1))
    await pulled(ground, account_id, from_on=date(2026, 3, 1))
    row = await superuser.fetchrow("SELECT history_from_on, last_pulled_at FROM accounts")
    assert (date(2026, 2, 1), AT) == tuple(row)


async def test_a_balance_stands_until_the_next_check(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """What stands is read under the next lock; a pull that checks nothing leaves the suspects of an earlier one."""
    first = await lock(ground, lease, target)
    assert first.balance is None
    stated = Balance(amount=Decimal("-20.00"), on=date(2026, 3, 1), gap=Decimal("1.10"))
    await stand(ground, first.id, BalanceCheck(after=stated, is_checked=True, reason="a coffee"), 7, 8)
    moved = replace(stated, moved=Decimal("-3.30"))
    await stand(ground, first.id, BalanceCheck(after=moved, is_checked=False))
    assert moved == (await lock(ground, lease, target)).balance
    row = await superuser.fetchrow("SELECT balance_reason, balance_suspects FROM accounts")
    assert ("a coffee", [7, 8]) == tuple(row)
    async with ground.app() as conn:
        await clear_balance(conn, ground.tenant.customer_id, first.id)
    assert (await lock(ground, lease, target)).balance is None


async def test_a_balance_is_a_number(ground: Ground, lease: Lease, target: RefreshTarget) -> None:
    """Postgres holds the last line."""
    account_id = (await lock(ground, lease, target)).id
    endless = Balance(amount=Decimal("Infinity"), on=date(2026, 3, 1))
    with pytest.raises(RefusedData, match="account_balance_is_a_number"):
        await stand(ground, account_id, BalanceCheck(after=endless, is_checked=True))


async def test_states_tell_what_the_next_pull_needs(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """Closed accounts are listed too, with hints, history and the day of the oldest row that is pending."""
    account_id = (await lock(ground, lease, target)).id
    await superuser.execute(
        "INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,"
        " check_number, kind, raw_amount, first_pulled_at, first_pull_id, first_rule, first_change_no,"
        " change_no, removed_at)"
        " SELECT customer_id, client_id, id, stands::transaction_state, 1, on_day::date, '', '', '', '', '', now(), 1, '', 1, 1,"
        " removed_at FROM accounts, (VALUES ('pending', '2026-03-09', NULL), ('pending', '2026-03-12', NULL),"
        " ('removed', '2026-03-01', now())) AS t (stands, on_day, removed_at)"
    )
    await hint(ground)
    async with ground.app() as conn:
        [state] = await list_account_states(conn, ground.tenant.customer_id, ground.connection_id)
    assert (account_id, "5001", True, True) == (state.id, state.account_ref, state.is_open, state.is_delete_hinted)
    assert (None, None, date(2026, 3, 9)) == (state.history_from_on, state.last_pulled_at, state.oldest_pending_on)


# ------------------------------------------------------------------------------------------------ hints of a deletion


async def hints(superuser: asyncpg.Connection) -> int:
    count: int = await superuser.fetchval("SELECT count(delete_hinted_at) FROM accounts")
    return count


async def test_a_hint_is_for_the_accounts_named(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """Only open accounts, of that source, with that id, and of the source's customer where it has one."""
    await lock(ground, lease, target)
    await lock(ground, lease, target, account_ref="5002")
    for source_id, customer_id, ref in (
        (ground.sources.ledgersync, None, "5001"),
        (ground.sources.finicity, 10**6, "5001"),
        (ground.sources.finicity, None, "5"),
    ):
        async with ground.database.queue() as conn:
            await hint_deleted(conn, source_id=source_id, customer_id=customer_id, account_refs=[ref], connections=[])  # type: ignore[arg-type]
        assert 0 == await hints(superuser)
    await hint(ground)
    assert 1 == await hints(superuser)


async def test_what_is_listed_after_the_hint_is_not_deleted(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """A refresh that began after the hint and lists the account forgets it; one that began before does not."""
    await lock(ground, lease, target)
    await hint(ground)
    await lock(ground, lease, target)
    assert 1 == await hints(superuser)
    async with ground.app() as conn:
        later = await get_refresh_target(conn, lease)
    await lock(ground, lease, later)
    assert 0 == await hints(superuser)


async def test_a_hint_not_confirmed_is_forgotten(
    ground: Ground, lease: Lease, target: RefreshTarget, superuser: asyncpg.Connection
) -> None:
    """Up to the moment that was asked about; a later hint asks again."""
    account_id = (await lock(ground, lease, target)).id
    await hint(ground)
    hinted_at = await superuser.fetchval("SELECT delete_hinted_at FROM accounts")
    for until, left in ((hinted_at - timedelta(microseconds=1), 1), (hinted_at, 0)):
        async with ground.app() as conn:
            await clear_delete_hints(conn, ground.tenant.customer_id, [account_id], until=until)
        assert left == await hints(superuser)
