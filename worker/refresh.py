"""The refresh lane: list a connection's accounts, pull what the aggregator has, reconcile each account.

One refresh at a time per connection, held by a lease. HTTP happens outside any transaction; hand-over (b) is one
transaction for each account (worker/commit.py), and with the last one the refresh is handled. A refresh never asks the
aggregator to ask the bank.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from time import monotonic
from uuid import uuid4

from bankfeed import metrics
from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import account, connection, source
from bankfeed.db.account import AccountState
from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.errors import AggregatorError, LeaseLost, RefusedData, Unavailable
from bankfeed.health import Meaning, read_code
from bankfeed.logs import get_logger
from bankfeed.model import AccountId, Pull
from worker.backoff import delay_s
from worker.commit import Finish, commit_finish, commit_pull
from worker.context import Context
from worker.lease import kept


async def take_refresh(context: Context) -> bool:
    """Claim the connection that is due the longest and refresh it; False where none was due."""
    token = uuid4()
    async with context.database.queue() as conn:
        lease = await connection.claim_connection(conn, token=token, lease_s=context.settings.lease_s)
    if lease is None:
        return False
    began = monotonic()
    outcome, reason = await _refresh_leased(context, lease)
    metrics.REFRESH_SECONDS.labels(outcome).observe(monotonic() - began)
    get_logger().info(
        "connection.refreshed",
        connection_id=lease.connection_id,
        outcome=outcome,
        reason=reason,
        duration_ms=round((monotonic() - began) * 1000),
    )
    return True


async def _refresh_leased(context: Context, lease: Lease) -> tuple[str, str]:
    try:
        async with kept(context, lease):
            await _Refresh.begin(context, lease)
    except LeaseLost as error:
        return "lost", str(error)
    except AggregatorError as error:
        await _note_failure(context, lease, error)
        return "failed", str(error)
    except RefusedData as error:  # hostile or broken feed data: this connection waits, the others go on
        await _note_failure(context, lease, AggregatorError(str(error)))
        return "refused", str(error)[:500]
    except Unavailable:
        raise  # nothing can be written now; the lease's end brings the work back
    except Exception:
        await _note_failure(context, lease, AggregatorError("a bug; the log has it"))
        raise
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, lease))
        raise
    return "done", ""


async def _note_failure(context: Context, lease: Lease, error: AggregatorError) -> None:
    async with context.database.tenant(lease.customer_id) as conn:
        if error.code is not None:
            state = connection_state(read_code(error.code))
            await connection.update_health(conn, lease, state=state, status_code=error.code, as_of=lease.claimed_at)
        await connection.mark_failed(conn, lease, delay_s=delay_s(lease.failures + 1))


async def _give_back(context: Context, lease: Lease) -> None:
    async with context.database.queue() as conn:
        await connection.give_back(conn, lease)


def connection_state(meaning: Meaning) -> str:
    """Turn what a code means into a connection's state; closed is only what the aggregator no longer has at all."""
    return "unsupported" if meaning.state in ("closed", "unsupported") else meaning.state.value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refresh:
    """One refresh under one lease."""

    context: Context
    lease: Lease
    target: RefreshTarget
    states: tuple[AccountState, ...]
    aggregator: Aggregator

    @classmethod
    async def begin(cls, context: Context, lease: Lease) -> None:
        async with context.database.tenant(lease.customer_id) as conn:
            target = await connection.get_refresh_target(conn, lease)
            states = await account.list_account_states(conn, lease.customer_id, lease.connection_id)
        refresh = cls(
            context=context,
            lease=lease,
            target=target,
            states=states,
            aggregator=context.connectors[lease.connector],
        )
        await refresh.run()

    async def run(self) -> None:
        listed = await self.aggregator.list_login_accounts(self.target.customer_ref, self.target.login_ref)
        gone = await self._ask_about_hinted(listed)
        time_zone = await self._note_institution(listed)
        failures: list[str] = []
        pullable = [each for each in listed if not each.status_code]
        for each in pullable:
            pull = await self._pull(each, time_zone)
            finish = None
            if each is pullable[-1] and pull.error is None and not failures:
                finish = self._finish(listed, gone)
            await commit_pull(self.context, self.lease, self.target, each, pull, finish=finish)
            failures += [pull.error] if pull.error is not None else []
        if failures:
            raise AggregatorError(failures[0])
        if not pullable:
            await commit_finish(self.context, self.lease, self.target, self._finish(listed, gone))

    def _finish(self, listed: Sequence[ListedAccount], gone: Sequence[AccountId]) -> Finish:
        """Say how the connection stands after this refresh: by the first code that is an error, else by success."""
        code = next((each.status_code for each in listed if each.status_code), 0 if listed else None)
        hinted = [each.id for each in self.states if each.is_delete_hinted and each.id not in gone]
        return Finish(
            state=connection_state(read_code(code)), status_code=code, gone=tuple(gone), unconfirmed=tuple(hinted)
        )

    async def _ask_about_hinted(self, listed: Sequence[ListedAccount]) -> tuple[AccountId, ...]:
        """Ask the aggregator about accounts that an event calls deleted; only its "no such account" closes one."""
        refs = {each.account_ref for each in listed}
        gone = []
        for state in self.states:
            if state.is_delete_hinted and state.is_open and state.account_ref not in refs:
                found = await self.aggregator.find_account(self.target.customer_ref, state.account_ref)
                gone += [] if found else [state.id]
        return tuple(gone)

    async def _note_institution(self, listed: Sequence[ListedAccount]) -> str | None:
        """Learn which institution the login is at, once; return its time zone."""
        if self.target.institution_id is not None or not listed:
            return self.target.time_zone
        found = await self.aggregator.find_institution(listed[0].institution_ref)
        if found is None:
            return None
        async with self.context.database.tenant(self.lease.customer_id) as conn:
            await connection.lock_leased(conn, self.lease)
            institution_id = await source.upsert_institution(
                conn,
                connector=self.lease.connector,
                institution_ref=found.ref,
                name=found.name,
                url=found.url,
                time_zone=found.time_zone,
            )
            await connection.update_institution(conn, self.lease, institution_id)
        return found.time_zone

    async def _pull(self, listed: ListedAccount, time_zone: str | None) -> Pull:
        """List an account's window: all its history at first, later the days that banks still change.

        The window ends a day after the later of our clock and the aggregator's, so that neither one's error cuts off the
        newest rows; it reaches back to the oldest pending row in view, which only a list of its day can conclude on.
        """
        state = next((each for each in self.states if each.account_ref == listed.account_ref), None)
        as_of = max(self.target.started_at, listed.attempted_at or self.target.started_at).astimezone(UTC).date()
        from_on = _window_start(state, as_of, self.context)
        return await self.aggregator.pull(
            self.target.customer_ref,
            listed,
            at=self.target.started_at,
            from_on=from_on,
            to_on=as_of + timedelta(days=1),
            time_zone=time_zone,
        )


def _window_start(state: AccountState | None, as_of: date, context: Context) -> date:
    if state is None or state.history_from_on is None:
        return as_of - timedelta(days=context.settings.history_days)
    recent = as_of - timedelta(days=context.settings.refresh_days)
    return min(recent, state.oldest_pending_on or recent)
