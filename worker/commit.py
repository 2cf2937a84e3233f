"""Hand-over (b): for each account one transaction with its rows, change numbers, outbound events and the pull's record.

Lock order: connection (which proves the lease), account, the client's change counter. Known rows are read after the lock,
and the plan is made and applied under it, so that two pulls at once end as one after the other.
"""

import asyncio
from dataclasses import dataclass
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
from worker.context import Context
from worker.outbox import make_event

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
    """How a connection stands at the end of a refresh.

    `gone` are accounts that the aggregator says it does not have; `unconfirmed` those that an event called deleted and the
    aggregator did not.
    """

    state: str
    status_code: int | None
    gone: tuple[AccountId, ...] = ()
    unconfirmed: tuple[AccountId, ...] = ()


async def commit_pull(
    context: Context,
    lease: Lease,
    target: RefreshTarget,
    listed: ListedAccount,
    reported: Pull,
    *,
    finish: Finish | None,
) -> None:
    """Reconcile one account's pull and commit all that follows from it; with `finish` also the end of the refresh.

    Raises LeaseLost where another worker holds the connection now; then nothing is written.
    """
    async with context.database.tenant(lease.customer_id) as conn:
        now = await connection.lock_leased(conn, lease)
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
        if finish is not None:
            events += await _write_finish(conn, context, lease, target, finish, at=now)
        waiting = await event.insert_events(conn, lease.customer_id, events) if events else 0
    _count(lease, locked, reported, changes)
    if waiting:
        context.waker.wake(Wake.DELIVER)


async def commit_finish(context: Context, lease: Lease, target: RefreshTarget, finish: Finish) -> None:
    """Commit the end of a refresh that had no account to pull. Raises LeaseLost."""
    async with context.database.tenant(lease.customer_id) as conn:
        now = await connection.lock_leased(conn, lease)
        events = await _write_finish(conn, context, lease, target, finish, at=now)
        waiting = await event.insert_events(conn, lease.customer_id, events) if events else 0
    if waiting:
        context.waker.wake(Wake.DELIVER)


async def _plan(conn: Connection, lease: Lease, locked: Locked, reported: Pull, *, now: datetime) -> Changes:
    known = await transaction.list_known(conn, lease.customer_id, locked.id, pull=reported)
    held = await pull.list_held_pulls(conn, lease.customer_id, locked.id, after=locked.last_pulled_at)
    past = Past(last_at=locked.last_pulled_at, held=held)
    if len(known) + len(reported.rows) > LARGE_PLAN_ROWS:
        return await asyncio.to_thread(reconcile, known, reported, now=now, past=past)
    return reconcile(known, reported, now=now, past=past)


async def _write(
    conn: Connection, lease: Lease, target: RefreshTarget, locked: Locked, reported: Pull, changes: Changes
) -> None:
    pull_id = await pull.insert_pull(
        conn,
        lease.customer_id,
        locked.id,
        pull=reported,
        outcome=_OUTCOMES[changes.verdict],
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
    is_repaired = finish.state == "active" and (target.state == "needs_person" or target.is_repair_hinted)
    if is_repaired:
        open_ids = await account.list_open_ids(conn, lease.customer_id, lease.connection_id)
        events.append(make_event(EventType.MFA_UPDATED, open_ids, lease=lease, target=target, at=at))
    await connection.update_health(
        conn, lease, state=finish.state, status_code=finish.status_code, as_of=target.started_at
    )
    await connection.mark_handled(conn, lease, update_hours=context.settings.update_hours)
    await connection.close_connection_without_accounts(conn, lease)
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
