"""Taking back an act, a match or a pull. What the feed says and what people did are taken back apart."""

from datetime import datetime

from bankfeed.acts.begun import Begun, begin, lock
from bankfeed.acts.books import require_none_unbooked
from bankfeed.db import Tenants, account, act, doubt, history, pull
from bankfeed.db.history import Cause
from bankfeed.errors import ActRefused
from bankfeed.model import ActId, CustomerId, EventType, FeedKind, PullId, TransactionId
from bankfeed.reconcile import undo
from bankfeed.reconcile.changes import ActKind
from bankfeed.reconcile.undo import Lived


async def undo_act(
    database: Tenants, customer_id: CustomerId, act_id: ActId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Take back an act, the last one on each of its rows; a doubt that it answered is open again.

    Raises NotFound; ActRefused where another act came later, and where it booked an entry with lines: that is undone itself.
    """
    async with database.tenant(customer_id) as conn:
        found = await act.get_act(conn, customer_id, act_id)
        begun = await lock(conn, customer_id, found.account_id, actor=actor, at=at)
        found = await act.get_act(conn, customer_id, act_id)  # somebody may have taken it back before the lock
        if found.undone_by is not None or found.is_final:
            raise ActRefused(f"expected an act that can be taken back, got act {act_id}")
        ids = await history.list_changed_ids(conn, customer_id, Cause(at=begun.at, act_id=act_id))
        lives = await history.list_lived(conn, customer_id, begun.account.id, ids)
        changes = undo.undo_act(lives, act_id)
        await require_none_unbooked(begun, changes)
        undone_by = await begun.record(ActKind.UNDO_ACT, changes, act=act_id)
        await act.mark_act_undone(conn, customer_id, act_id, undone_by=undone_by)
        await doubt.mark_open_again(conn, customer_id, act_id=act_id)
        return undone_by


async def undo_match(
    database: Tenants, customer_id: CustomerId, row_id: TransactionId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Part a row from the reported one that it was last matched with, and tell subscribers. Raises NotFound."""
    async with begin(database, customer_id, row_id, actor=actor, at=at) as begun:
        lived = await begun.get_lived(row_id)
        changes = undo.undo_match(lived, now=begun.at, left=await _find_left(begun, lived))
        act_id = await begun.record(ActKind.UNDO_MATCH, changes, row=row_id)
        await begun.tell(EventType.TRANSACTIONS_REFRESHED, begun.account.id, changes)
        return act_id


async def undo_pull(
    database: Tenants, customer_id: CustomerId, pull_id: PullId, *, actor: str, at: datetime | None = None
) -> ActId:
    """Take back all that a pull changed, and tell subscribers. The next refresh lists all history, and takes the balance anew.

    Raises NotFound, and ActRefused where the pull was not applied, was undone, did not come last on each of its rows, or
    was a delta: what a delta brought is never listed again.
    """
    async with database.tenant(customer_id) as conn:
        taken = await pull.get_pull(conn, customer_id, pull_id)
        begun = await lock(conn, customer_id, taken.account_id, actor=actor, at=at)
        taken = await pull.get_pull(conn, customer_id, pull_id)  # somebody may have undone it before the lock
        if taken.outcome != "applied" or taken.undone_at is not None:
            raise ActRefused(f"expected a pull that was applied and not undone, got pull {pull_id}")
        if taken.kind is FeedKind.DELTA:
            raise ActRefused(f"expected a full list, which the bank gives again, got the delta {pull_id}")
        ids = await pull.list_pulled_ids(conn, customer_id, begun.account.id, pull_id)
        lives = await history.list_lived(conn, customer_id, begun.account.id, ids)
        changes = undo.undo_pull(lives, pull_id, now=begun.at)
        act_id = await begun.record(ActKind.UNDO_PULL, changes, pull=pull_id)
        await pull.mark_pull_undone(conn, customer_id, pull_id, at=begun.at)
        await account.clear_balance(conn, customer_id, begun.account.id)
        await account.clear_history(conn, customer_id, begun.account.id)
        await begun.tell(EventType.TRANSACTIONS_REFRESHED, begun.account.id, changes)
        return act_id


async def _find_left(begun: Begun, lived: Lived) -> Lived | None:
    """Find the row that was joined into this one by what the feed last did to it."""
    last = undo.find_feed_step(lived.steps)
    if last is None or lived.row.id is None:
        return None
    left = await history.list_joined_ids(begun.conn, begun.customer_id, last, into=lived.row.id)
    return await begun.get_lived(left[0]) if left else None
