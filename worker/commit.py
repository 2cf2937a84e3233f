"""Hand-over (b): for each account one transaction with its rows, change numbers, outbound events and the pull's record.

Lock order: connection (which proves the lease), account, the client's change counter. Known rows are read after the lock,
and the plan is made and applied under it, so that two pulls at once end as one after the other.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bankfeed import metrics
from bankfeed.aggregators import ListedAccount
from bankfeed.bodies import count_changes
from bankfeed.db import Connection, account, connection, doubt, pull, relink, transaction
from bankfeed.db.account import Locked
from bankfeed.db.connection import EndedRefresh, Lease, RefreshTarget, Refusal, Turn
from bankfeed.db.history import Cause
from bankfeed.db.plan import write_changes
from bankfeed.failpoints import Failpoint, reach
from bankfeed.health import read_code
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import AccountId, ClientId, EventType, Pull, PullId
from bankfeed.outbox import News, tell
from bankfeed.reconcile import ChangeKind, Changes, Past, Verdict, reconcile
from bankfeed.reconcile.suspicion import CONFIRMED_AFTER
from bankfeed.standing import Standing, standing_of
from worker.bank_refresh import note_ended
from worker.context import Context
from worker.kin import Kin, ask_about, find_kin, return_to
from worker.nightly import plan_next_update

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

    `has_accounts` is whether the aggregator listed any, be it one that cannot be pulled now. `gone` are accounts that it
    says it does not have; `unconfirmed` those that an event called deleted and the aggregator did not. `retry_s` is when
    to try again where an account failed, None where none did. `is_refused`: the standing's code came instead of the accounts.
    """

    standing: Standing
    is_all_applied: bool
    has_accounts: bool
    gone: tuple[AccountId, ...] = ()
    unconfirmed: tuple[AccountId, ...] = ()
    retry_s: int | None = None
    is_refused: bool = False


async def commit_pull(
    context: Context,
    lease: Lease,
    target: RefreshTarget,
    listed: ListedAccount,
    reported: Pull,
    *,
    finish: Finish | None,
    beside: Sequence[ListedAccount] = (),
    now: datetime | None = None,
) -> Changes:
    """Reconcile one account's pull and commit all that follows from it; return the plan.

    `beside` is all that the login lists. With `finish` the end of the refresh is committed too, unless the pull failed. `now` is Postgres' clock where None.
    Raises LeaseLost where another worker holds the connection now; then nothing is written.
    """
    ended: tuple[EndedRefresh, ...] = ()
    turn: Turn | None = None
    async with context.database.tenant_in_bulk(lease.customer_id) as conn:
        clock = await connection.lock_leased(conn, lease)
        now = now or clock
        ends = (*finish.gone, *finish.unconfirmed) if finish is not None else ()
        kin = await find_kin(conn, lease, target, listed, reported, beside=beside, also_locked=ends)
        if kin.same is not None:
            await return_to(conn, lease, target, listed, kin.same)
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
        if locked.is_new:  # what an earlier account has in common with it is no question any more
            await doubt.mark_accounts_moot(conn, lease.customer_id, locked.id, at=now)
            await relink.inherit_hiding(conn, lease.customer_id, locked.id)
        changes = await _plan(conn, lease, locked, reported, kin, now=now)
        await _write(conn, lease, target, locked, reported, changes, kin)
        news = _find_news(locked, changes)
        if finish is not None and changes.verdict in (Verdict.APPLIED, Verdict.HELD):
            end = replace(finish, is_all_applied=finish.is_all_applied and changes.verdict is Verdict.APPLIED)
            turn, stood = await _write_standing(conn, lease, target, end)
            news += stood
            ended = await _write_end(conn, context, lease, end)  # an account is open: it has just been pulled
        waiting = await _tell(conn, lease, target.client_id, news, at=now)
        reach(Failpoint.BEFORE_PULL)
    reach(Failpoint.AFTER_PULL)
    _count(lease, locked, reported, changes)
    _note_repair(turn)
    note_ended(ended, "done")
    if waiting:
        context.waker.wake(Wake.DELIVER)
    return changes


async def commit_finish(context: Context, lease: Lease, target: RefreshTarget, finish: Finish) -> None:
    """Commit the end of a refresh that had no account to pull, or one that failed. Raises LeaseLost."""
    async with context.database.tenant(lease.customer_id) as conn:
        now = await connection.lock_leased(conn, lease)
        await account.lock_accounts(conn, lease.customer_id, (*finish.gone, *finish.unconfirmed))
        turn, news = await _write_standing(conn, lease, target, finish)
        if finish.retry_s is None and not finish.has_accounts:
            await connection.close_connection_without_accounts(conn, lease)
        ended = await _write_end(conn, context, lease, finish)
        waiting = await _tell(conn, lease, target.client_id, news, at=now)
    _note_repair(turn)
    note_ended(ended, "failed" if finish.is_refused else "done")
    if waiting:
        context.waker.wake(Wake.DELIVER)


async def commit_failure(context: Context, lease: Lease, status_code: int | None, *, delay_s: float) -> None:
    """Commit that a refresh failed as a whole: the work stays due, after a delay. Nothing where the lease is lost.

    `status_code` is an aggregation code, which says how the connection stands, None where nothing does.
    """
    waiting = 0
    async with context.database.tenant(lease.customer_id) as conn:
        if status_code is not None:
            standing = standing_of(status_code)
            turn = await connection.update_health(
                conn, lease, state=standing.state, status_code=status_code, as_of=lease.claimed_at
            )
            if turn is not None:
                news = await _find_turn(conn, lease, turn, standing)
                waiting = await _tell(conn, lease, turn.client_id, news, at=await connection.lock_leased(conn, lease))
        await connection.mark_failed(conn, lease, delay_s=delay_s)
    if waiting:
        context.waker.wake(Wake.DELIVER)


async def _plan(conn: Connection, lease: Lease, locked: Locked, reported: Pull, kin: Kin, *, now: datetime) -> Changes:
    known = await transaction.list_known(conn, lease.customer_id, locked.id, pull=reported)
    held = await pull.list_held_pulls(
        conn,
        lease.customer_id,
        locked.id,
        after=locked.last_pulled_at,
        until=reported.at - CONFIRMED_AFTER,
        at=reported.at,
    )
    earliest_on = await transaction.find_earliest_on(conn, lease.customer_id, locked.id)
    past = Past(
        last_at=locked.last_pulled_at,
        held=held,
        balance=locked.balance,
        is_relinked=kin.same is not None,
        earliest_on=earliest_on,
    )
    if len(known) + len(reported.rows) > LARGE_PLAN_ROWS:
        return await asyncio.to_thread(reconcile, known, reported, now=now, past=past, policy=locked.policy)
    return reconcile(known, reported, now=now, past=past, policy=locked.policy)


async def _write(
    conn: Connection,
    lease: Lease,
    target: RefreshTarget,
    locked: Locked,
    reported: Pull,
    changes: Changes,
    kin: Kin,
) -> None:
    pull_id = await _insert_pull(conn, lease, locked, reported, changes)
    if changes.verdict is not Verdict.APPLIED or pull_id is None:
        return
    cause = Cause(at=reported.at, pull_id=pull_id)
    await write_changes(conn, lease.customer_id, target.client_id, locked.id, changes, cause=cause)
    await ask_about(conn, lease, locked.id, kin.unsure, pull_id=pull_id, at=reported.at)
    await pull.forget_held_rows(conn, lease.customer_id, locked.id, after=locked.last_pulled_at)
    await account.update_pulled(
        conn,
        lease.customer_id,
        locked.id,
        pulled_at=reported.at,
        attempted_at=reported.attempted_at,
        history_from_on=reported.from_on,
    )


async def _insert_pull(
    conn: Connection, lease: Lease, locked: Locked, reported: Pull, changes: Changes
) -> PullId | None:
    outcome = _OUTCOMES[changes.verdict]
    if changes.verdict is Verdict.HELD and await pull.is_held_already(
        conn, lease.customer_id, locked.id, pull=reported
    ):
        outcome = "ignored"  # the same answer of the bank again says nothing more, and is kept once
    check = changes.balance
    return await pull.insert_pull(
        conn,
        lease.customer_id,
        locked.id,
        pull=reported,
        outcome=outcome,
        reason=changes.reason or ("" if changes.verdict is Verdict.APPLIED else changes.verdict.value),
        counts={kind.value: count for kind, count in changes.counts.items()},
        balance_gap=check.after.gap if check is not None and check.is_checked else None,
    )


def _find_news(locked: Locked, changes: Changes) -> list[News]:
    types = [EventType.ACCOUNT_ADDED] if locked.is_new else []
    if any(count for kind, count in changes.counts.items() if kind is not ChangeKind.RENAMED):
        types.append(EventType.TRANSACTIONS_REFRESHED)
    counts = count_changes(changes)
    return [News(event_type=each, accounts=(locked.id,), counts=counts) for each in types]


async def _tell(conn: Connection, lease: Lease, client_id: ClientId, news: Sequence[News], *, at: datetime) -> int:
    return await tell(conn, lease.customer_id, news, client_id=client_id, connection_id=lease.connection_id, at=at)


async def _write_standing(
    conn: Connection, lease: Lease, target: RefreshTarget, finish: Finish
) -> tuple[Turn | None, list[News]]:
    """Write how the connection and its accounts stand; return whether it broke or was repaired, and what there is to tell."""
    turn, news = None, []
    closed = await account.mark_closed(conn, lease.customer_id, finish.gone) if finish.gone else ()
    if closed:
        news.append(News(event_type=EventType.BANK_ACCOUNT_DELETED, accounts=closed))
    if finish.unconfirmed:
        await account.clear_delete_hints(conn, lease.customer_id, finish.unconfirmed, until=target.started_at)
    standing = finish.standing
    if standing.state == "active" and not finish.is_all_applied:
        standing = replace(standing, state=target.state)  # only a successful pull says that all is well again
    is_repaired = standing.state == "active" and (target.state == "needs_person" or target.is_repair_hinted)
    if is_repaired and finish.is_all_applied:
        open_ids = await account.list_open_ids(conn, lease.customer_id, lease.connection_id)
        news.append(News(event_type=EventType.MFA_UPDATED, accounts=open_ids))
    if (standing.state, standing.status_code) != (target.state, target.status_code) or target.is_repair_hinted:
        turn = await connection.update_health(
            conn,
            lease,
            state=standing.state,
            status_code=standing.status_code,
            as_of=target.started_at if finish.is_all_applied else None,
        )
        news += await _find_turn(conn, lease, turn, standing) if turn is not None else []
    return turn, news


async def _find_turn(conn: Connection, lease: Lease, turn: Turn, standing: Standing) -> list[News]:
    """Return what there is to tell of a connection that broke or was repaired: it is about all its open accounts."""
    return [
        News(
            event_type=EventType.CONNECTION_BROKEN if turn.is_broken else EventType.CONNECTION_REPAIRED,
            accounts=await account.list_open_ids(conn, lease.customer_id, lease.connection_id),
            standing=standing,
        )
    ]


async def _write_end(conn: Connection, context: Context, lease: Lease, finish: Finish) -> tuple[EndedRefresh, ...]:
    """Write that the refresh is handled, or when it is tried again; return the bank refreshes that have ended with it."""
    if finish.retry_s is not None:
        await connection.mark_failed(conn, lease, delay_s=finish.retry_s)
        return ()
    code = finish.standing.status_code if finish.is_refused else None
    refusal = None if code is None else Refusal(code, read_code(code).words)
    next_update_at = plan_next_update(context, lease)
    ended = await connection.mark_handled(conn, lease, next_update_at=next_update_at, refusal=refusal)
    reach(Failpoint.BEFORE_FINISH)
    return ended


def _note_repair(turn: Turn | None) -> None:
    if turn is not None and turn.repaired_after_s is not None:
        metrics.REPAIR_SECONDS.observe(turn.repaired_after_s)


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
