"""The refresh lane: list a connection's accounts, pull what the aggregator has, reconcile each account.

One refresh at a time per connection, held by a lease. HTTP happens outside any transaction; hand-over (b) is one
transaction for each account (worker/commit.py), and with the last one the refresh is handled. An account that fails is
tried again with the whole connection, and holds up none of the others. A refresh never asks the aggregator to ask the
bank.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, timedelta
from time import monotonic
from typing import NamedTuple
from uuid import uuid4

from bankfeed import metrics
from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import account, connection
from bankfeed.db.account import AccountState
from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.errors import AggregatorError, LeaseLost, NoSuchAccount, NotFound, RefusedData, Unavailable
from bankfeed.failpoints import Failpoint, reach
from bankfeed.health import ESCALATED_AFTER, Step, read_code
from bankfeed.logs import get_logger
from bankfeed.model import AccountId, Pull
from bankfeed.reconcile import Verdict
from bankfeed.standing import Standing, is_answer, is_bank_well, is_outage, read_standing, standing_of
from worker.backoff import delay_s
from worker.commit import Finish, commit_failure, commit_finish, commit_pull
from worker.context import Context
from worker.institutions import OUT_OF_ORDER, find_refusal, learn, look_up, note_refusal
from worker.lease import kept
from worker.nightly import note_bank

BANK_CHANGES_DAYS = 15  # how far back an institution changes what it listed, as Finicity documents it
HISTORY_DAYS = 730  # what an aggregator loads of a bank's records when a person asks it to: 24 months
FARTHEST_DAYS = 36_500  # an aggregator's clock is believed this far, so that no date overflows


class _Refused(Exception):
    """This deployment must not link the login; the end of its refresh is committed."""


class _Ended(NamedTuple):
    """How a refresh ended, as the log and the metrics call it; `doubtful_id` is an institution to look up after it."""

    outcome: str
    reason: str
    doubtful_id: int | None = None


async def take_refresh(context: Context) -> bool:
    """Claim the connection that is due the longest and refresh it; False where none was due."""
    lease = await _claim(context)
    if lease is None:
        return False
    began = monotonic()
    ended = await _refresh_leased(context, lease)
    metrics.REFRESH_SECONDS.labels(ended.outcome).observe(monotonic() - began)
    get_logger().info(
        "connection.refreshed",
        connection_id=lease.connection_id,
        outcome=ended.outcome,
        reason=ended.reason,
        duration_ms=round((monotonic() - began) * 1000),
    )
    if ended.doubtful_id is not None:
        await look_up(context, ended.doubtful_id)
    return True


async def _claim(context: Context) -> Lease | None:
    """Claim a connection; where this worker is stopped meanwhile, what was claimed is due again at once."""
    claiming = asyncio.ensure_future(_claim_due(context))
    try:
        return await asyncio.shield(claiming)
    except asyncio.CancelledError:
        lease = await claiming
        if lease is not None:
            await _give_back(context, lease, delay_s=0)
        raise


async def _claim_due(context: Context) -> Lease | None:
    async with context.database.queue_statement() as conn:
        return await connection.claim_connection(
            conn,
            token=uuid4(),
            lease_s=context.settings.lease_s,
            institution_slots=context.settings.institution_slots,
        )


async def _refresh_leased(context: Context, lease: Lease) -> _Ended:
    try:
        async with kept(context, lease):
            refresh = await _refresh(context, lease)
    except LeaseLost as error:
        return _Ended("lost", str(error))
    except _Refused as error:
        return _Ended("refused", str(error))
    except AggregatorError as error:
        is_out = is_outage(error)
        await _note_failure(context, lease, error)
        await note_bank(context, lease, is_well=False if is_out else None)
        return _Ended("failed", str(error)[:500], lease.institution_id if is_out else None)
    except Unavailable:
        with suppress(Unavailable):  # where Postgres is away altogether, the lease's end brings the work back
            await _give_back(context, lease, delay_s=delay_s(1))
        raise
    except Exception:
        await _note_failure(context, lease, AggregatorError("a bug; the log has it"))
        raise
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, lease, delay_s=0))
        raise
    await note_bank(context, refresh.lease, is_well=refresh.is_bank_well)
    doubtful_id = refresh.lease.institution_id if refresh.is_bank_doubtful() else None
    reasons = (*refresh.failures, *refresh.refusals)
    return _Ended("failed", reasons[0][:500], doubtful_id) if reasons else _Ended("done", "", doubtful_id)


async def _note_failure(context: Context, lease: Lease, error: AggregatorError) -> None:
    """Keep the work due, after a delay, and the aggregation code where one came: it says how the connection stands."""
    await commit_failure(context, lease, error.code or None, delay_s=delay_s(lease.failures + 1))


async def _give_back(context: Context, lease: Lease, *, delay_s: float) -> None:
    async with context.database.queue() as conn:
        await connection.give_back(conn, lease, delay_s=delay_s)


async def _refresh(context: Context, lease: Lease) -> "_Refresh":
    """Refresh one connection under its lease; return what came of it."""
    async with context.database.tenant(lease.customer_id) as conn:
        target = await connection.get_refresh_target(conn, lease)
        states = await account.list_account_states(conn, lease.customer_id, lease.connection_id)
    if target.customer_ref is None:
        raise AggregatorError("the client is not enrolled at the aggregator", is_retryable=False)
    aggregator = context.connectors[lease.connector]
    refresh = _Refresh(
        context=context,
        lease=lease,
        target=target,
        customer_ref=target.customer_ref,
        states=states,
        aggregator=aggregator,
    )
    await refresh.run()
    reach(Failpoint.AFTER_FINISH)
    return refresh


@dataclass(slots=True, kw_only=True)
class _Refresh:
    """One refresh under one lease, and what came of it so far.

    `failures` are worth asking again soon; `refusals` will be the same then, as if the account had been listed with its code.
    `codes` are what came instead of transactions, by the account's ref. `code` is how the login stands, as far as anything
    told. `is_bank_well` None: nothing of it says so.
    """

    context: Context
    lease: Lease
    target: RefreshTarget
    customer_ref: str
    states: tuple[AccountState, ...]
    aggregator: Aggregator
    failures: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    code: int | None = None
    is_all_applied: bool = True
    is_finished: bool = False
    is_bank_well: bool | None = None

    async def run(self) -> None:
        """Refresh. Raises AggregatorError where asking again soon may help, LeaseLost and Unavailable."""
        try:
            await self._take_listed()
        except AggregatorError as error:
            if not is_answer(error):
                raise
            await self._take_answer(error)

    async def _take_answer(self, error: AggregatorError) -> None:
        """Take a code that came inside an error as if every account had it: all is kept, and the next cycle tries again."""
        self.refusals.append(str(error))
        self.code = error.code
        standing = standing_of(error.code)  # that there are no accounts it does not say
        finish = Finish(standing=standing, is_all_applied=False, has_accounts=True, is_refused=True)
        await commit_finish(self.context, self.lease, self.target, finish)
        self._escalate(error.code)

    async def _take_listed(self) -> None:
        listed = self._without_deleted(await self._list())
        self.is_bank_well = is_bank_well(listed)
        gone = await self._ask_about_hinted(listed)
        time_zone = await self._find_time_zone(listed, gone)
        pullable = [each for each in listed if not each.status_code]
        for each in pullable:
            is_last = each is pullable[-1] and not self.failures
            await self._take(each, time_zone, beside=listed, finish=self._finish(listed, gone) if is_last else None)
        if not self.is_finished:
            await commit_finish(self.context, self.lease, self.target, self._finish(listed, gone))
        self.code = self._read_standing(listed).status_code
        if not self.failures:
            self._escalate(self.code)

    def is_bank_doubtful(self) -> bool:
        """Tell whether the institution may stand otherwise than its row says.

        It failed, or moved to a sign-in of its own, or came through although it is noted as out of order.
        """
        if self.is_bank_well is False or read_code(self.code).step is Step.CONSENT:
            return True
        return bool(self.is_bank_well) and self.target.institution_status in OUT_OF_ORDER

    def _escalate(self, code: int | None) -> None:
        """Tell whoever reads the log of a code that nobody explains, when it has come so often that it will not pass by itself."""
        repeats = 1 + (self.target.code_repeats if code == self.target.status_code else 0)
        if read_code(code).is_unexplained and repeats == ESCALATED_AFTER:
            get_logger().warning(
                "connection.unexplained", connection_id=self.lease.connection_id, code=code, refreshes=repeats
            )

    async def _list(self) -> tuple[ListedAccount, ...]:
        """List the login's accounts. Where the aggregator knows no such customer, what an event called deleted is gone."""
        try:
            return await self.aggregator.list_login_accounts(self.customer_ref, self.target.login_ref)
        except NoSuchAccount:
            if not any(state.is_delete_hinted for state in self.states):
                raise
            return ()

    def _without_deleted(self, listed: Sequence[ListedAccount]) -> tuple[ListedAccount, ...]:
        """Leave out what a person deleted: that the aggregator lists it still does not bring it back."""
        deleted = {state.account_ref for state in self.states if state.is_deleted}
        return tuple(each for each in listed if each.account_ref not in deleted)

    async def _take(
        self, listed: ListedAccount, time_zone: str | None, *, beside: Sequence[ListedAccount], finish: Finish | None
    ) -> None:
        """Pull and commit one account. What is wrong with it is noted, and the next one has its turn."""
        try:
            pull = await self._pull(listed, time_zone)
            changes = await commit_pull(
                self.context, self.lease, self.target, listed, pull, beside=beside, finish=finish
            )
        except (AggregatorError, RefusedData) as error:
            self.failures.append(str(error))
            if isinstance(error, AggregatorError) and is_outage(error):
                self.is_bank_well = False
        except (LeaseLost, Unavailable):
            raise
        except NotFound:
            get_logger().info("account.deleted_meanwhile", connection_id=self.lease.connection_id)
        except Exception as error:  # noqa: BLE001 - a bug that one account's data finds must not hold up its siblings
            get_logger().exception("account.broken", connection_id=self.lease.connection_id)
            self.failures.append(f"a bug; the log has it: {type(error).__name__}")
        else:
            if changes.verdict in (Verdict.APPLIED, Verdict.HELD):
                self.is_all_applied &= changes.verdict is Verdict.APPLIED
                self.is_finished = finish is not None
            else:
                self._note_not_taken(listed, changes.reason, pull.failed_by)

    def _note_not_taken(self, listed: ListedAccount, reason: str, error: AggregatorError | None) -> None:
        """Note why an account's transactions did not come. Only an outage says something of the bank."""
        if error is not None and error.code:
            self.codes[listed.account_ref] = error.code
        if error is not None and is_answer(error):
            self.refusals.append(reason)
            return
        self.failures.append(reason)
        if error is not None and is_outage(error):
            self.is_bank_well = False

    def _read_standing(self, listed: Sequence[ListedAccount]) -> Standing:
        """Say how the login stands; a code that came instead of transactions is as good as one in the list."""
        return read_standing(
            [replace(each, status_code=self.codes.get(each.account_ref, each.status_code)) for each in listed]
        )

    def _finish(self, listed: Sequence[ListedAccount], gone: Sequence[AccountId]) -> Finish:
        standing = self._read_standing(listed)
        pullable = {each.account_ref for each in listed if not each.status_code}
        hinted = [state.id for state in self.states if state.is_delete_hinted and state.id not in gone]
        return Finish(
            standing=standing,
            is_all_applied=self.is_all_applied and not self.failures,
            has_accounts=bool(listed),
            gone=tuple(gone),
            unconfirmed=tuple(hinted),
            retry_s=delay_s(self.lease.failures + 1) if self.failures else None,
            is_refused=bool(pullable) and pullable <= self.codes.keys(),
        )

    async def _ask_about_hinted(self, listed: Sequence[ListedAccount]) -> tuple[AccountId, ...]:
        """Ask the aggregator about accounts that an event calls deleted; only its "no such account" closes one."""
        refs = {each.account_ref for each in listed}
        gone = []
        for state in self.states:
            if state.is_delete_hinted and state.is_open and state.account_ref not in refs:
                found = await self.aggregator.find_account(self.customer_ref, state.account_ref)
                gone += [] if found else [state.id]
        return tuple(gone)

    async def _find_time_zone(self, listed: Sequence[ListedAccount], gone: Sequence[AccountId]) -> str | None:
        """Learn which institution the login is at, once; return its time zone. Raises _Refused.

        Days depend on the zone, so an institution that cannot be asked fails the refresh, which is tried again. One that
        this deployment must not link ends the refresh, and nothing of what was listed is stored.
        """
        if self.target.institution_id is not None or not listed:
            return self.target.time_zone
        ref = listed[0].institution_ref
        found = await learn(self.context, self.lease.connector, ref)
        if reason := find_refusal(found, ref=ref, environment=self.context.settings.environment):
            note_refusal(reason)
            end = replace(self._finish(listed, gone), standing=Standing("unsupported", None), is_all_applied=False)
            await commit_finish(self.context, self.lease, self.target, end)
            raise _Refused(reason)
        if found is None:
            return None
        async with self.context.database.tenant(self.lease.customer_id) as conn:
            await connection.lock_leased(conn, self.lease)
            await connection.update_institution(conn, self.lease, found.id)
        self.lease = replace(self.lease, institution_id=found.id, time_zone=found.time_zone)
        self.target = replace(self.target, institution_status=found.status)
        return found.time_zone

    async def _pull(self, listed: ListedAccount, time_zone: str | None) -> Pull:
        """List an account's window, as a pull later than all before it, even where Postgres' clock went back.

        The window ends a day after the later of our clock and the aggregator's, so that neither one's error cuts off
        the newest rows.
        """
        started_at = self.target.started_at
        state = next((each for each in self.states if each.account_ref == listed.account_ref), None)
        last_at = state.last_pulled_at if state is not None else None
        farthest = started_at + timedelta(days=FARTHEST_DAYS)
        as_of = min(max(started_at, listed.attempted_at or started_at), farthest).astimezone(UTC).date()
        return await self.aggregator.pull(
            self.customer_ref,
            listed,
            at=started_at if last_at is None else max(started_at, last_at + timedelta(microseconds=1)),
            from_on=_window_start(state, as_of, self.context),
            to_on=as_of + timedelta(days=1),
            time_zone=time_zone,
        )


def _window_start(state: AccountState | None, as_of: date, context: Context) -> date:
    """Return the first day to list: all history at first; later the days that banks still change.

    Where a person had the bank's history loaded, all of it is listed until a pull of that is applied. Else it reaches back
    to before the last pull, by our clock and by the aggregator's, however long ago that was, and to the oldest pending row in
    view, which only a list of its day can conclude on.
    """
    if state is None or state.history_from_on is None:
        is_loaded = state is not None and state.is_history_loaded
        return as_of - timedelta(days=HISTORY_DAYS if is_loaded else context.settings.history_days)
    starts = [as_of - timedelta(days=context.settings.refresh_days)]
    for at in (state.last_pulled_at, state.last_attempted_at):
        starts += [] if at is None else [at.astimezone(UTC).date() - timedelta(days=BANK_CHANGES_DAYS)]
    starts += [] if state.oldest_pending_on is None else [state.oldest_pending_on]
    return min(starts)
