"""Hand-over (b): for each account one transaction with its rows, change numbers, outbound events and the pull's record.

Lock order: connection (which proves the lease), account, the client's change counter. Known rows are read after the lock,
and the plan is made and applied under it, so that two pulls at once end as one after the other.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from bankfeed import metrics
from bankfeed.aggregators import ListedAccount
from bankfeed.db import Connection, account, client, connection, doubt, event, ledger, pull, transaction
from bankfeed.db.account import Locked
from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.db.event import OutboundEvent
from bankfeed.db.transaction import Written
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import AccountId, EventType, Pull
from bankfeed.reconcile import ChangeKind, Changes, Past, Verdict, reconcile
from bankfeed.reconcile.suspicion import CONFIRMED_AFTER
from worker.context import Context
from worker.outbox import make_event
from worker.standing import Standing

LARGE_PLAN_ROWS = 1_000  # above this a plan is made in a thread, so that leases and probes go on

_OUTCOMES = {
    Verdict.APPLIED: "applied",
    Verdict.HELD: "held",
    Verdict.REPEATED: "ignored",
    Verdict.STALE: "ignored",
    Verdict.FAILED: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How a refresh ends.

    `gone` are accounts that the aggregator says it does not have; `unconfirmed` those that an event called deleted and
    the aggregator did not. `retry_s` is when to try again where an account failed, None where none did.
    """

    standing: Standing
    is_all_applied: bool
    gone: tuple[AccountId, ...] = ()
    unconfirmed: tuple[AccountId, ...] = ()
    retry_s: int | None = None


async def commit_pull(
    context: Context,
    lease: Lease,
    target: RefreshTarget,
    listed: ListedAccount,
    reported: Pull,
    *,
    finish: Finish | None,
) -> Changes:
    """Reconcile one account's pull and commit all that follows from it; return the plan.

    With `finish` the end of the refresh is committed too, unless the pull failed. Raises LeaseLost where another worker
    holds the connection now; then nothing is written.
    """
    async with context.database.tenant(lease.customer_id) as conn:
        now = await connection.lock_leased(conn, lease)
        if finish is not None:
            await account.lock_accounts(conn, lease.customer_id, (*finish.gone, *finish.unconfirmed))
        locked = await account.lock_account(
            conn,
            lease,
            target,
            account_ref=listed.account_ref,
            name=listed.name,
            number_display=listed.number_display,
            type=listed.type,
            currency=listed.currency,
        )
        changes = await _plan(conn, lease, locked, reported, now=now)
        await _write(conn, lease, target, locked, reported, changes)
        events = _events(lease, target, locked, changes, at=now)
        if finish is not None and changes.verdict in (Verdict.APPLIED, Verdict.HELD):
            end = replace(finish, is_all_applied=finish.is_all_applied and changes.verdict is Verdict.APPLIED)
            events += await _write_finish(conn, context, lease, target, end, at=now)
        waiting = await event.insert_events(conn, lease.customer_id, events) if events else 0
    _count(lease, locked, reported, changes)
    if waiting:
        context.waker.wake(Wake.DELIVER)
    return changes


async def commit_finish(context: Context, lease: Lease, target: RefreshTarget, finish: Finish) -> None:
    """Commit the end of a refresh that had no account to pull, or one that failed. Raises LeaseLost."""
    async with context.database.tenant(lease.customer_id) as conn:
        now = await connection.lock_leased(conn, lease)
        await account.lock_accounts(conn, lease.customer_id, (*finish.gone, *finish.unconfirmed))
        events = await _write_finish(conn, context, lease, target, finish, at=now)
        waiting = await event.insert_events(conn, lease.customer_id, events) if events else 0
    if waiting:
        context.waker.wake(Wake.DELIVER)


async def _plan(conn: Connection, lease: Lease, locked: Locked, reported: Pull, *, now: datetime) -> Changes:
    known = await transaction.list_known(conn, lease.customer_id, locked.id, pull=reported)
    held = await pull.list_held_pulls(
        conn, lease.customer_id, locked.id, after=locked.last_pulled_at, until=reported.at - CONFIRMED_AFTER
    )
    past = Past(last_at=locked.last_pulled_at, held=held)
    if len(known) + len(reported.rows) > LARGE_PLAN_ROWS:
        return await asyncio.to_thread(reconcile, known, reported, now=now, past=past)
    return reconcile(known, reported, now=now, past=past)


async def _write(
    conn: Connection, lease: Lease, target: RefreshTarget, locked: Locked, reported: Pull, changes: Changes
) -> None:
    outcome = _OUTCOMES[changes.verdict]
    if changes.verdict is Verdict.HELD and await pull.is_held_already(
        conn, lease.customer_id, locked.id, pull=reported
    ):
        outcome = "ignored"  # the same answer of the bank again says nothing more, and is kept once
    pull_id = await pull.insert_pull(
        conn,
        lease.customer_id,
        locked.id,
        pull=reported,
        outcome=outcome,
        reason=changes.reason or ("" if changes.verdict is Verdict.APPLIED else changes.verdict.value),
        counts={kind.value: count for kind, count in changes.counts.items()},
    )
    if changes.verdict is not Verdict.APPLIED or pull_id is None:
        return
    if changes.rows:
        first = await client.take_change_numbers(conn, lease.customer_id, target.client_id, count=len(changes.rows))
        written = [
            Written(known=row.after, rule=row.rule.value, change_no=first + n) for n, row in enumerate(changes.rows)
        ]
        new = [row for row in written if row.known.id is None]
        old = [row for row in written if row.known.id is not None]
        if old:
            await transaction.update_transactions(conn, lease.customer_id, locked.id, pull_id=pull_id, written=old)
        if new:
            await transaction.insert_transactions(
                conn, lease.customer_id, target.client_id, locked.id, pull_id=pull_id, written=new
            )
        await _follow_merges(conn, lease, changes)
    if changes.doubts:
        await doubt.insert_doubts(conn, lease.customer_id, locked.id, pull_id=pull_id, doubts=changes.doubts)
    await account.update_pulled(
        conn,
        lease.customer_id,
        locked.id,
        pulled_at=reported.at,
        attempted_at=reported.attempted_at,
        history_from_on=reported.from_on,
        balance=reported.balance,
        balance_on=reported.balance_on,
    )


async def _follow_merges(conn: Connection, lease: Lease, changes: Changes) -> None:
    """Let the ledger entries of a row that was joined to another follow their movement."""
    moves = [
        (row.after.id, row.after.merged_into)
        for row in changes.rows
        if row.kind is ChangeKind.MERGED and row.after.id is not None and row.after.merged_into is not None
    ]
    if moves:
        await ledger.move_entries(conn, lease.customer_id, moves)


def _events(
    lease: Lease, target: RefreshTarget, locked: Locked, changes: Changes, *, at: datetime
) -> list[OutboundEvent]:
    types = [EventType.ACCOUNT_ADDED] if locked.is_new else []
    if any(count for kind, count in changes.counts.items() if kind is not ChangeKind.RENAMED):
        types.append(EventType.TRANSACTIONS_REFRESHED)
    return [make_event(each, [locked.id], lease=lease, target=target, at=at) for each in types]


async def _write_finish(
    conn: Connection, context: Context, lease: Lease, target: RefreshTarget, finish: Finish, *, at: datetime
) -> list[OutboundEvent]:
    """Write how the connection stands and that the refresh is handled; return the events that follow."""
    events = []
    closed = await account.mark_closed(conn, lease.customer_id, finish.gone) if finish.gone else ()
    if closed:
        events.append(make_event(EventType.BANK_ACCOUNT_DELETED, closed, lease=lease, target=target, at=at))
    if finish.unconfirmed:
        await account.clear_delete_hints(conn, lease.customer_id, finish.unconfirmed, until=target.started_at)
    standing = finish.standing
    if standing.state == "active" and not finish.is_all_applied:
        standing = replace(standing, state=target.state)  # only a successful pull says that all is well again
    is_repaired = standing.state == "active" and (target.state == "needs_person" or target.is_repair_hinted)
    if is_repaired and finish.is_all_applied:
        open_ids = await account.list_open_ids(conn, lease.customer_id, lease.connection_id)
        events.append(make_event(EventType.MFA_UPDATED, open_ids, lease=lease, target=target, at=at))
    await connection.update_health(
        conn,
        lease,
        state=standing.state,
        status_code=standing.status_code,
        as_of=target.started_at if finish.is_all_applied else None,
    )
    if finish.retry_s is not None:
        await connection.mark_failed(conn, lease, delay_s=finish.retry_s)
        return events
    await connection.close_connection_without_accounts(conn, lease)
    await connection.mark_handled(conn, lease, update_hours=context.settings.update_hours)
    return events


def _count(lease: Lease, locked: Locked, reported: Pull, changes: Changes) -> None:
    metrics.PULLS.labels(_OUTCOMES[changes.verdict]).inc()
    counts = {kind.value: count for kind, count in changes.counts.items() if count}
    for kind, count in counts.items():
        metrics.TRANSACTIONS.labels(kind).inc(count)
    get_logger().info(
        "account.pulled",
        connection_id=lease.connection_id,
        account_id=locked.id,
        verdict=changes.verdict,
        reason=changes.reason,
        reported_rows=len(reported.rows),
        doubts=len(changes.doubts),
        **counts,
    )
