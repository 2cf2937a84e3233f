"""Doubts, and a person's answers to them."""

from datetime import datetime

from bankfeed.acts.begun import Begun, lock
from bankfeed.db import Connection, Tenants, account, change, client, doubt, plan_for_bulk, relink, transaction
from bankfeed.db.doubt import OpenDoubt
from bankfeed.errors import ActRefused
from bankfeed.model import AccountId, ActId, CustomerId, DoubtId, EventType, TransactionId
from bankfeed.reconcile import Changes, Verdict, acts, adoption
from bankfeed.reconcile.changes import ActKind


async def list_doubts(database: Tenants, customer_id: CustomerId) -> tuple[OpenDoubt, ...]:
    """List what waits for a person's answer, the oldest first."""
    async with database.tenant(customer_id) as conn:
        return await doubt.list_open_doubts(conn, customer_id)


async def decide(
    database: Tenants,
    customer_id: CustomerId,
    doubt_id: DoubtId,
    choice_id: TransactionId,
    *,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Answer a doubt about a row: its acts belong to one of the candidates, or stay on it. Raises NotFound."""
    async with database.tenant(customer_id) as conn:
        first = await doubt.get_open_doubt(conn, customer_id, doubt_id)
        begun = await lock(conn, customer_id, first.account_id, actor=actor, at=at)
        asked = await doubt.get_open_doubt(conn, customer_id, doubt_id)  # somebody may have answered before the lock
        row_id = asked.transaction_id
        if row_id is None or choice_id not in (row_id, *asked.candidates):
            raise ActRefused(f"expected a candidate of doubt {doubt_id}, got row {choice_id}")
        row, choice = await begun.get_standing(row_id), await begun.get_standing(choice_id)
        return await _answer(begun, asked, acts.decide(row, choice), "kept" if choice.id == row.id else "moved")


async def keep_apart(
    database: Tenants, customer_id: CustomerId, doubt_id: DoubtId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Answer a doubt about an account: it is another one than the earlier. Raises NotFound."""
    async with database.tenant(customer_id) as conn:
        begun, asked, _ = await _lock_both(conn, customer_id, doubt_id, actor=actor, at=at)
        return await _answer(begun, asked, Changes(verdict=Verdict.APPLIED), "separate")


async def adopt(
    database: Tenants, customer_id: CustomerId, doubt_id: DoubtId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Answer a doubt about an account: it is the earlier one, which opens again and takes its rows. That is final.

    The earlier account goes on with the newer one's login; the newer one is closed. Raises NotFound; ActRefused where
    the earlier one was opened again, or is a part of another one.
    """
    async with database.tenant(customer_id) as conn:
        begun, asked, younger = await _lock_both(conn, customer_id, doubt_id, actor=actor, at=at)
        older = begun.account.id
        newer = await account.lock_acted_on(conn, customer_id, younger)
        if begun.account.state != "closed" or begun.account.adopted_into or newer.adopted_into:
            raise ActRefused(f"expected an earlier account that is closed, got {older} of doubt {doubt_id}")
        olds = await transaction.list_ids(conn, customer_id, older)
        news = await transaction.list_ids(conn, customer_id, younger)
        await _move(begun, younger, news)
        changes = adoption.adopt(
            await transaction.list_rows(conn, customer_id, older, olds),
            await transaction.list_rows(conn, customer_id, older, news),
            now=begun.at,
        )
        act_id = await _answer(begun, asked, changes, "adopted")
        await doubt.mark_accounts_moot(conn, customer_id, older, gone=younger, at=begun.at)
        await begun.tell(EventType.ACCOUNT_ADDED, older)
        await begun.tell(EventType.TRANSACTIONS_REFRESHED, older, changes)
        await begun.tell(EventType.BANK_ACCOUNT_DELETED, younger)
        return act_id


async def _lock_both(
    conn: Connection, customer_id: CustomerId, doubt_id: DoubtId, *, actor: str, at: datetime | None
) -> tuple[Begun, OpenDoubt, AccountId]:
    """Lock the accounts of a doubt about two; the act is on the earlier one, deleted or not. Raises NotFound, ActRefused."""
    first = await doubt.get_open_doubt(conn, customer_id, doubt_id)
    if first.earlier_account_id is None:
        raise ActRefused(f"expected a doubt about an account, got doubt {doubt_id} about a transaction")
    await account.lock_accounts(conn, customer_id, (first.account_id, first.earlier_account_id))
    asked = await doubt.get_open_doubt(conn, customer_id, doubt_id)  # somebody may have answered before the lock
    await plan_for_bulk(conn)
    earlier = await relink.lock_earlier(conn, customer_id, first.earlier_account_id)
    begun = Begun(conn=conn, customer_id=customer_id, account=earlier, actor=actor, at=at or earlier.locked_at)
    return begun, asked, first.account_id


async def _answer(begun: Begun, asked: OpenDoubt, changes: Changes, decision: str) -> ActId:
    act_id = await begun.record(ActKind.DECIDE, changes, doubt=asked.id)
    await doubt.mark_decided(begun.conn, begun.customer_id, asked.id, act_id=act_id, at=begun.at, decision=decision)
    return act_id


async def _move(begun: Begun, younger: AccountId, news: tuple[TransactionId, ...]) -> None:
    """Give the account of an act all that a younger one has: rows, pulls, acts, doubts and its place at the aggregator."""
    conn, customer_id, older = begun.conn, begun.customer_id, begun.account.id
    if news:
        first = await client.take_change_numbers(conn, customer_id, begun.account.client_id, count=len(news))
        await relink.move_rows(conn, customer_id, news, into=older, first_change_no=first)
    await relink.move_aliases(conn, customer_id, younger, into=older)
    await relink.move_pulls(conn, customer_id, younger, into=older)
    await relink.move_acts(conn, customer_id, younger, into=older)
    await relink.move_doubts(conn, customer_id, younger, into=older)
    await relink.mark_adopted(conn, customer_id, younger, into=older)
    await relink.take_over(conn, customer_id, older, younger=younger)
    await change.touch_rows(conn, customer_id, begun.account.client_id, [older])  # it is open again
