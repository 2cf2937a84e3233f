"""The bank refresh lane: at a person's click the aggregator asks the bank; then an ordinary refresh fetches what it said.

Nothing but a click makes one (`bank_refreshes` holds people's wishes only), and what the bank has answered is not asked again
by itself: a refusal ends it. No transaction is open while the aggregator is asked.

A worker may die at any moment: the lease ends, and the next one begins the try again. Asking twice is harmless. While the first
ask runs, the aggregator answers that it does; after it, the bank is asked once more, and what that brings is fetched by id,
like any other refresh. Once it is known to have been asked, the accounts are looked at instead of asking again.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from bankfeed import metrics
from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import bank_refresh, institution_health
from bankfeed.db.bank_refresh import ClaimedRefresh, Errand
from bankfeed.db.connection import EndedRefresh
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, LeaseLost, NoSuchAccount, StillAsking, Unavailable
from bankfeed.health import read_code
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.standing import read_standing
from worker.backoff import delay_s
from worker.context import Context

MOST_TRIES: Final = 12  # some ten minutes: a person waits
LONGEST_WAIT_S: Final = 60
FETCH_LIMIT_S: Final = 900  # for the refresh that fetches what the bank said; it goes on after that, unwatched
ASK_MARGIN_S: Final = 30  # beside the ask itself: a new token
LEASE_MARGIN_S: Final = 60  # beside the ask itself: all that is read before and written after

GONE: Final = "The bank account is no longer linked."
LOCKED: Final = "The client was locked before the bank was asked."
NO_ANSWER: Final = "The bank could not be asked now; try again later."
TOO_LONG: Final = "The bank has not answered in time; what it says will come with a later update."
NOT_FETCHED: Final = "The bank was asked, but its answer could not be fetched yet; it will come with a later update."


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the bank said.

    `code` is the aggregation code of whatever most needs somebody; `loaded` are the accounts whose history is there now.
    """

    code: int | None
    is_refused: bool
    loaded: tuple[str, ...] = ()


async def take_bank_refresh(context: Context) -> bool:
    """Claim the bank refresh that is due the longest and try it; False where none was due."""
    lease_s = context.settings.bank_refresh_s + LEASE_MARGIN_S
    async with context.database.queue_statement() as conn:
        claimed = await bank_refresh.claim_bank_refresh(conn, token=uuid4(), lease_s=lease_s)
    if claimed is None:
        return False
    try:
        await _run(context, claimed)
    except LeaseLost as error:
        get_logger().warning("bank_refresh.lost", bank_refresh_id=claimed.id, reason=str(error))
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, claimed))
        raise
    return True


def note_ended(ended: Sequence[EndedRefresh], outcome: str, *, reason: str = "") -> None:
    """Count bank refreshes that have ended, after their commit, and write a line for each."""
    for each in ended:
        metrics.BANK_REFRESHES.labels(each.kind, outcome).inc()
        metrics.BANK_REFRESH_SECONDS.labels(each.kind).observe(each.took_s)
        get_logger().info(
            "bank_refresh.ended",
            bank_refresh_id=each.id,
            connection_id=each.connection_id,
            kind=each.kind,
            outcome=outcome,
            reason=reason,
            took_s=round(each.took_s, 3),
        )


async def _give_back(context: Context, claimed: ClaimedRefresh) -> None:
    async with context.database.queue() as conn:
        await bank_refresh.give_back_bank_refresh(conn, claimed)


async def _run(context: Context, claimed: ClaimedRefresh) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        errand = await bank_refresh.mark_running(conn, claimed)
    if errand is None:
        return
    if errand.refresh_no is not None:
        await _end_fetch(context, claimed, errand)
    elif errand.is_gone or errand.customer_ref is None:
        await _fail(context, claimed, GONE)
    elif errand.is_locked and errand.asked_at is None:
        await _fail(context, claimed, LOCKED)
    else:
        await _try(context, claimed, errand, errand.customer_ref)


async def _end_fetch(context: Context, claimed: ClaimedRefresh, errand: Errand) -> None:
    """End one whose answer was to be fetched long ago."""
    state, message = ("done", "") if errand.has_arrived else ("failed", NOT_FETCHED)
    async with context.database.tenant(claimed.customer_id) as conn:
        ended = await bank_refresh.mark_ended(conn, claimed, state=state, message=message)
    note_ended([ended] if ended else [], state, reason=message)


async def _try(context: Context, claimed: ClaimedRefresh, errand: Errand, customer_ref: str) -> None:
    """Ask, or look where it was asked before, and record what came of it."""
    asking = _Asking(context, claimed, errand, customer_ref, context.connectors[claimed.connector])
    try:
        said = await asking.run()
    except StillAsking as error:
        await _wait(context, claimed, errand, TOO_LONG, reason=str(error), is_asked=True)
    except NoSuchAccount as error:
        await _fail(context, claimed, GONE, reason=str(error), is_fetched=True)
    except AggregatorError as error:
        if _is_answer(error):
            await _hand_over(context, claimed, Said(code=error.code, is_refused=True))
        elif error.is_retryable:
            is_asked = isinstance(error, BadAggregatorAnswer)  # it did answer
            await _wait(context, claimed, errand, NO_ANSWER, reason=str(error), is_asked=is_asked)
        else:
            await _fail(context, claimed, NO_ANSWER, reason=str(error))
    except (LeaseLost, Unavailable):
        raise
    except Exception as error:
        with suppress(Unavailable):  # its lease brings it back
            await _wait(context, claimed, errand, NO_ANSWER, reason=f"a bug: {type(error).__name__}", is_asked=False)
        raise
    else:
        await _hand_over(context, claimed, said)


async def _hand_over(context: Context, claimed: ClaimedRefresh, said: Said) -> None:
    """Commit what the bank said, together with the wish for the refresh that fetches it; a refusal is fetched too.

    So the bank account shows the code that the bank refused with.
    """
    ended: EndedRefresh | None = None
    message = read_code(said.code).words if said.is_refused else ""
    async with context.database.tenant(claimed.customer_id) as conn:
        refresh_no = await bank_refresh.request_fetch(conn, claimed)
        await bank_refresh.clear_histories(conn, claimed, said.loaded)
        if said.is_refused or refresh_no is None:
            message = message or GONE
            ended = await bank_refresh.mark_ended(conn, claimed, state="failed", status_code=said.code, message=message)
        elif not await bank_refresh.mark_asked(
            conn, claimed, refresh_no=refresh_no, status_code=said.code, limit_s=FETCH_LIMIT_S
        ):
            raise LeaseLost(f"bank refresh {claimed.id} is held by another worker")
    if not said.is_refused:  # so what it said is fetched at once, also where a breaker is open
        async with context.database.queue() as conn:
            await institution_health.note_answer(conn, claimed.customer_id, claimed.connection_id)
    note_ended([ended] if ended else [], "failed", reason=message)
    context.waker.wake(Wake.REFRESH)


async def _wait(
    context: Context, claimed: ClaimedRefresh, errand: Errand, message: str, *, reason: str, is_asked: bool
) -> None:
    """Try again in a while; give up after the last try, with what to say then."""
    if errand.tries >= MOST_TRIES:
        await _fail(context, claimed, message, reason=reason, is_fetched=is_asked)
        return
    wait_s = min(delay_s(errand.tries), LONGEST_WAIT_S)
    async with context.database.tenant(claimed.customer_id) as conn:
        await bank_refresh.mark_waiting(conn, claimed, delay_s=wait_s, is_asked=is_asked)
    get_logger().info(
        "bank_refresh.waits",
        bank_refresh_id=claimed.id,
        connection_id=claimed.connection_id,
        tries=errand.tries,
        retry_s=wait_s,
        reason=reason[:500],
    )


async def _fail(
    context: Context, claimed: ClaimedRefresh, message: str, *, reason: str = "", is_fetched: bool = False
) -> None:
    """End it as failed. `is_fetched`: the connection is refreshed too, because the aggregator may know more than we do."""
    async with context.database.tenant(claimed.customer_id) as conn:
        if is_fetched:
            await bank_refresh.request_fetch(conn, claimed)
        ended = await bank_refresh.mark_ended(conn, claimed, state="failed", message=message)
    note_ended([ended] if ended else [], "failed", reason=reason[:500] or message)
    if is_fetched:
        context.waker.wake(Wake.REFRESH)


@dataclass(frozen=True, slots=True)
class _Asking:
    """One try, outside of any transaction."""

    context: Context
    claimed: ClaimedRefresh
    errand: Errand
    customer_ref: str
    aggregator: Aggregator

    async def run(self) -> Said:
        """Ask for what is wanted. Raises AggregatorError (StillAsking where it goes on) and LeaseLost."""
        if self.claimed.kind == "historic":
            return await self._load_histories()
        login_ref = self.errand.login_ref
        if self.errand.asked_at is None:
            async with _bounded(self.context):
                return _read(await self.aggregator.ask_bank_refresh(self.customer_ref, login_ref))
        async with _bounded(self.context):
            listed = await self.aggregator.list_login_accounts(self.customer_ref, login_ref)
        if any(each.is_being_asked for each in listed):
            raise StillAsking("the aggregator goes on asking the bank")
        return _read(listed)

    async def _load_histories(self) -> Said:
        """Have each account's history loaded, one after the other, because a login is asked once at a time.

        What the bank refuses for one account does not stop the others.
        """
        loaded, codes = [], []
        for account_ref in self.errand.account_refs:
            await self._renew()
            try:
                async with _bounded(self.context):
                    await self.aggregator.ask_bank_history(self.customer_ref, account_ref)
            except NoSuchAccount:
                continue  # the refresh that follows closes it
            except AggregatorError as error:
                if not _is_answer(error):
                    raise
                codes.append(error.code)
            else:
                loaded.append(account_ref)
        worst = min(codes, key=lambda code: not read_code(code).actor.is_person, default=0)
        return Said(code=worst, is_refused=bool(codes) and not loaded, loaded=tuple(loaded))

    async def _renew(self) -> None:
        lease_s = self.context.settings.bank_refresh_s + LEASE_MARGIN_S
        async with self.context.database.queue() as conn:
            if not await bank_refresh.renew_bank_refresh(conn, self.claimed, lease_s=lease_s):
                raise LeaseLost(f"bank refresh {self.claimed.id} is held by another worker")


@asynccontextmanager
async def _bounded(context: Context) -> AsyncIterator[None]:
    """Bound one ask; what has not ended in its time goes on at the aggregator."""
    limit_s = context.settings.bank_refresh_s + ASK_MARGIN_S
    try:
        async with asyncio.timeout(limit_s) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise StillAsking(f"the aggregator has not ended in {limit_s:g} s") from error


def _is_answer(error: AggregatorError) -> bool:
    """Tell whether an error is what the bank said, and no trouble on the way there: a code, listed or not, of a server error."""
    return error.code is not None and not isinstance(error, StillAsking)


def _read(listed: Sequence[ListedAccount]) -> Said:
    """Read what the accounts say after the bank was asked. It has refused where none of them came through."""
    if not listed:
        raise NoSuchAccount("the aggregator lists no account of the login", is_retryable=False)
    return Said(code=read_standing(listed).status_code, is_refused=all(each.status_code for each in listed))
