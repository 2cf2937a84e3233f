"""Pulls of a sub-account: what came of each, taking one back, and accepting what the balance check found."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from bankfeed import acts
from bankfeed.db import account, act, pull
from bankfeed.db.pull import StoredPull
from bankfeed.jobs import Wake
from bankfeed.model import AccountId, FeedKind, PullId
from ingress.api.acts import AMOUNT, ActIdField, Id
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire

TAG: Final = "Pulls"


class PullCounts(Wire):
    """How many transactions a pull listed, and what it changed."""

    reported: int
    added: int
    updated: int
    posted: int
    shadowed: int
    returned: int
    removed: int


class PullRow(Wire):
    """One listing of a sub-account's transactions, and what came of it."""

    id: int
    sub_account_id: int
    at: datetime
    kind: Annotated[FeedKind, Meta(description="full: the whole window; delta: what is new or changed.")]
    from_on: date
    to_on: date
    outcome: Annotated[str, Meta(description="applied, held (suspicious, not applied), failed or ignored.")]
    reason: Annotated[str, Meta(description="Why it was not applied.")]
    attempted_at: Annotated[datetime | None, Meta(description="When the aggregator last asked the bank.")]
    counts: PullCounts
    balance: Decimal | None
    balance_on: date | None
    balance_gap: Annotated[
        Decimal | None, Meta(description="What the transactions leave unexplained; null where nothing was checked.")
    ]
    undone_at: datetime | None


class PullPage(Wire):
    """Some pulls, the newest first."""

    pulls: list[PullRow]
    next_cursor: str | None


class UndonePull(Wire):
    """A pull that was taken back."""

    id: int
    sub_account_id: int
    changed_transactions: Annotated[int, Meta(description="How many transactions that changed.")]


class UndonePullAnswer(Wire):
    """The act that took a pull back."""

    act_id: ActIdField
    pull: UndonePull


class BalanceRow(Wire):
    """How a balance stands: what the bank stated, and what the transactions do not explain."""

    amount: Decimal
    on: date
    gap: Decimal


class AcceptedGapAnswer(Wire):
    """The act that accepted a gap, and the balance after it."""

    act_id: ActIdField
    balance: BalanceRow


class PullListParams(Body):
    """Whose pulls, and which page."""

    sub_account_id: Annotated[Id, Meta(description="Of which sub-account.")]
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class PullParams(Body):
    """Which pull."""

    pull_id: Annotated[Id, Meta(description="The pull's id.")]


class GapParams(Body):
    """Which sub-account."""

    sub_account_id: Annotated[Id, Meta(description="The sub-account's id.")]


class GapBody(Body):
    """What is accepted."""

    gap: (
        Annotated[
            str,
            Meta(pattern=AMOUNT, max_length=24, description="The gap as it was seen: another one by now is refused."),
        ]
        | None
    ) = None


async def list_pulls(call: Call, params: PullListParams) -> PullPage:
    """List the pulls of a sub-account."""
    account_id = AccountId(params.sub_account_id)
    await account.require_account(call.conn, call.customer_id, account_id)
    before = None if params.cursor is None else read_cursor(params.cursor, datetime)
    found = await pull.list_pulls(call.conn, call.customer_id, account_id, before=before, limit=params.limit + 1)
    page = found[: params.limit]
    return PullPage(
        pulls=[_make_pull(each) for each in page],
        next_cursor=write_cursor(page[-1].at) if len(found) > params.limit else None,
    )


async def undo_pull(call: Call, params: PullParams) -> UndonePullAnswer:
    """Take a pull back."""
    pull_id = PullId(params.pull_id)
    act_id = await acts.undo_pull(call.database, call.customer_id, pull_id, actor=call.actor)
    call.wake(Wake.DELIVER)
    changed = await act.list_acted_ids(call.conn, call.customer_id, act_id)
    done = await act.get_act(call.conn, call.customer_id, act_id)
    return UndonePullAnswer(
        act_id=act_id,
        pull=UndonePull(id=pull_id, sub_account_id=done.account_id, changed_transactions=len(changed)),
    )


async def accept_balance_gap(call: Call, params: GapParams, body: GapBody) -> AcceptedGapAnswer:
    """Take the bank's balance as the new start."""
    account_id = AccountId(params.sub_account_id)
    act_id = await acts.accept_balance_gap(
        call.database,
        call.customer_id,
        account_id,
        gap=None if body.gap is None else Decimal(body.gap),
        actor=call.actor,
    )
    stand = await account.find_balance(call.conn, call.customer_id, account_id)
    assert stand is not None  # the act found one, and holds the account's lock
    return AcceptedGapAnswer(act_id=act_id, balance=BalanceRow(amount=stand.amount, on=stand.on, gap=stand.gap))


def _make_pull(stored: StoredPull) -> PullRow:
    return PullRow(
        id=stored.id,
        sub_account_id=stored.account_id,
        at=stored.at,
        kind=stored.kind,
        from_on=stored.from_on,
        to_on=stored.to_on,
        outcome=stored.outcome,
        reason=stored.reason,
        attempted_at=stored.attempted_at,
        counts=PullCounts(
            reported=stored.reported_rows,
            added=stored.added_rows,
            updated=stored.updated_rows,
            posted=stored.posted_rows,
            shadowed=stored.shadowed_rows,
            returned=stored.returned_rows,
            removed=stored.removed_rows,
        ),
        balance=stored.balance,
        balance_on=stored.balance_on,
        balance_gap=stored.balance_gap,
        undone_at=stored.undone_at,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/pulls",
        handle=list_pulls,
        summary="List the pulls of a sub-account",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=PullListParams,
        answer=PullPage,
        text="The newest first: when, of which days, what came of it and why, and what the balance check found.",
    ),
    Route(
        method="POST",
        path="/pulls/{pullId}/undo",
        handle=undo_pull,
        summary="Take a pull back",
        tag=TAG,
        scope=Scope.TRANSACTIONS_WRITE,
        params=PullParams,
        answer=UndonePullAnswer,
        text="One that was applied, listed the whole window and came last on each of its transactions. What people did "
        "stays. The next refresh lists all history and takes the balance anew; subscribers are told.",
    ),
    Route(
        method="POST",
        path="/sub-accounts/{subAccountId}/accept-balance-gap",
        handle=accept_balance_gap,
        summary="Take the bank's balance as it is",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=GapParams,
        body=GapBody,
        answer=AcceptedGapAnswer,
        text="What the transactions did not explain so far is not asked again; later checks begin there. This is final: no "
        "act of this kind is taken back.",
    ),
)
