"""Acts on rows: each plans with the pure function of its name, and is undone by its opposite or by undo_act."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from bankfeed.acts.begun import begin, lock
from bankfeed.acts.books import require_fitting, require_none_unbooked
from bankfeed.db import Tenants, account
from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import AccountId, ActId, CustomerId, Known, TransactionId
from bankfeed.reconcile import Changes, acts
from bankfeed.reconcile.changes import ActKind


async def link(
    database: Tenants,
    customer_id: CustomerId,
    row_id: TransactionId,
    entry: str,
    *,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Book a row to a ledger entry; a draft is made where the client has none of that reference.

    One with lines has to be of the account's own ledger account and currency.
    """
    async with begin(database, customer_id, row_id, actor=actor, at=at) as begun:
        changes = acts.link(await begun.get_row(row_id), entry)
        if changes.rows:
            await require_fitting(begun, row_id, entry)
        return await begun.record(ActKind.LINK, changes, row=row_id, entry=entry)


async def unlink(
    database: Tenants,
    customer_id: CustomerId,
    row_id: TransactionId,
    entry: str,
    *,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Take a ledger entry off a row; the entry stays. One with lines is undone instead: bankfeed/acts/reviews.py."""
    async with begin(database, customer_id, row_id, actor=actor, at=at) as begun:
        changes = acts.unlink(await begun.get_row(row_id), entry)
        await require_none_unbooked(begun, changes)
        return await begun.record(ActKind.UNLINK, changes, row=row_id, entry=entry)


async def mark_reconciled(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Lock a row's values: what people see stays, whatever the bank says."""
    return await _act(database, customer_id, row_id, ActKind.RECONCILE, acts.mark_reconciled, actor=actor, at=at)


async def unmark_reconciled(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Unlock a row: it shows what the bank says now."""
    return await _act(database, customer_id, row_id, ActKind.UNRECONCILE, acts.unmark_reconciled, actor=actor, at=at)


async def mark_all_reconciled(
    database: Tenants,
    customer_id: CustomerId,
    row_ids: Sequence[TransactionId],
    *,
    actor: str,
    at: datetime | None = None,
) -> tuple[ActId, ...]:
    """Lock the values of rows of any accounts, all of them or none: one act for each account. Raises NotFound.

    Accounts are locked by id, before any change counter; then they are written client by client, so that two who lock
    several counters never wait in a ring.
    """
    async with database.tenant(customer_id) as conn:
        homes = await account.list_accounts_of(conn, customer_id, row_ids)
        if missing := sorted({*row_ids} - homes.keys()):
            raise NotFound(f"there is no transaction {missing[0]}")
        rows_of: dict[AccountId, list[TransactionId]] = {}
        for row_id, account_id in sorted(homes.items()):
            rows_of.setdefault(account_id, []).append(row_id)
        begun = [await lock(conn, customer_id, account_id, actor=actor, at=at) for account_id in sorted(rows_of)]
        return tuple(
            [
                await each.record(
                    ActKind.RECONCILE, acts.mark_all_reconciled(await each.list_rows(rows_of[each.account.id]))
                )
                for each in sorted(begun, key=lambda each: (each.account.client_id, each.account.id))
            ]
        )


async def delete(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Take a row out of view for good, whatever the bank lists."""
    async with begin(database, customer_id, row_id, actor=actor, at=at) as begun:
        changes = acts.delete(await begun.get_row(row_id), at=begun.at)
        return await begun.record(ActKind.DELETE, changes, row=row_id)


async def restore(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Bring a deleted row back, in the state that the bank lists it in now."""
    return await _act(database, customer_id, row_id, ActKind.RESTORE, acts.restore, actor=actor, at=at)


async def split(
    database: Tenants,
    customer_id: CustomerId,
    row_id: TransactionId,
    into: Sequence[Decimal],
    *,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Book a row in parts that add up to it exactly; an earlier split is replaced."""
    return await _act(
        database, customer_id, row_id, ActKind.SPLIT, lambda row: acts.split(row, into), actor=actor, at=at
    )


async def unsplit(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Book a row whole again."""
    return await _act(database, customer_id, row_id, ActKind.UNSPLIT, acts.unsplit, actor=actor, at=at)


async def confirm_shadow(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Say that a row which the bank no longer lists is gone indeed."""
    return await _act(database, customer_id, row_id, ActKind.CONFIRM, acts.confirm_shadow, actor=actor, at=at)


async def reject_shadow(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Say that a row which the bank no longer lists did happen: it stays in view."""
    return await _act(database, customer_id, row_id, ActKind.REJECT, acts.reject_shadow, actor=actor, at=at)


async def merge(
    database: Tenants,
    customer_id: CustomerId,
    keep_id: TransactionId,
    drop_id: TransactionId,
    *,
    actor: str,
    at: datetime | None = None,
) -> ActId:
    """Say that two rows of an account are one: the second leaves view, and its entries move to the first."""
    async with begin(database, customer_id, keep_id, drop_id, actor=actor, at=at) as begun:
        changes = acts.merge(await begun.get_row(keep_id), await begun.get_row(drop_id))
        return await begun.record(ActKind.MERGE, changes, keep=keep_id, drop=drop_id)


async def unmerge(
    database: Tenants, customer_id: CustomerId, drop_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Part a row from the one that a person merged it into; the entries that moved then go back."""
    async with begin(database, customer_id, drop_id, actor=actor, at=at) as begun:
        drop = await begun.get_lived(drop_id)
        if drop.row.merged_into is None:
            raise ActRefused(f"expected a row that was merged, got {drop_id}")
        merges = [step.before for step in drop.steps if step.rule is ActKind.MERGE and step.before is not None]
        keep = await begun.get_row(drop.row.merged_into)
        changes = acts.unmerge(keep, drop.row, entries=merges[-1].entries if merges else ())
        return await begun.record(ActKind.UNMERGE, changes, drop=drop_id)


async def _act(
    database: Tenants,
    customer_id: CustomerId,
    row_id: TransactionId,
    kind: ActKind,
    plan: Callable[[Known], Changes],
    *,
    actor: str,
    at: datetime | None,
) -> ActId:
    async with begin(database, customer_id, row_id, actor=actor, at=at) as begun:
        return await begun.record(kind, plan(await begun.get_row(row_id)), row=row_id)
