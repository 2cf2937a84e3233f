"""Doubts: where the engine would have to guess, and a person's answers."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from bankfeed import acts
from bankfeed.db import act, client, doubt
from bankfeed.db.doubt import AskedAccount, Candidate, OpenDoubt
from bankfeed.jobs import Wake
from bankfeed.model import AccountId, ActId, ClientId, DoubtId, Known, TransactionId, TransactionState
from bankfeed.reconcile.explain import say
from ingress.api.acts import ActedAnswer, ActIdField, Id, answer_act
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire

TAG: Final = "Doubts"


class DoubtCandidate(Wire):
    """A transaction to choose from, as it is now."""

    id: int
    status: TransactionState
    amount: Annotated[Decimal, Meta(description="Positive into the account.")]
    transacted_on: date
    posted_on: date | None
    description: str
    memo: str
    check_number: str
    is_deleted: bool
    merged_into: int | None


class DoubtBefore(Wire):
    """A transaction as it was when the doubt arose."""

    status: TransactionState
    amount: Decimal
    transacted_on: date
    description: str
    ledger_entries: list[str]
    is_reconciled: bool


class DoubtAccount(Wire):
    """A sub-account that a doubt is about, as it is now."""

    id: int
    name: str
    number: str
    type: str
    currency: str
    state: str
    closed_at: datetime | None
    balance: Decimal | None


class DoubtRow(Wire):
    """A question that nobody answered yet: about a transaction, or whether a sub-account is an earlier one."""

    id: int
    client_id: int
    sub_account: DoubtAccount
    raised_at: datetime
    rule: str
    words: Annotated[str, Meta(description="The rule in a sentence.")]
    reason: str
    transaction: Annotated[DoubtCandidate | None, Meta(description="What a person worked with, as it is now.")]
    before: Annotated[DoubtBefore | None, Meta(description="The same when the doubt arose; null where unchanged.")]
    candidates: Annotated[
        list[DoubtCandidate],
        Meta(description="What the person's acts may belong to: decide names one, or transaction."),
    ]
    earlier_sub_account: Annotated[
        DoubtAccount | None, Meta(description="What the sub-account may be: adopt says yes, keep-apart no.")
    ]


class DoubtPage(Wire):
    """Some open doubts, the oldest first."""

    doubts: list[DoubtRow]
    next_cursor: str | None


class AnsweredAnswer(Wire):
    """The act that answered a doubt about a sub-account, and the earlier sub-account, which the act is on."""

    act_id: ActIdField
    sub_account_id: int


class DoubtListParams(Body):
    """Whose doubts, and which page."""

    client_id: Annotated[Id, Meta(description="Of one client.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class DoubtParams(Body):
    """Which doubt."""

    doubt_id: Annotated[Id, Meta(description="The doubt's id.")]


class ChoiceBody(Body):
    """Which transaction a person's acts belong to."""

    choice: Annotated[Id, Meta(description="A candidate's id, or that of the transaction itself.")]


async def list_doubts(call: Call, params: DoubtListParams) -> DoubtPage:
    """List what waits for an answer."""
    if params.client_id is not None:
        await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    found = await doubt.list_doubts(
        call.conn,
        call.customer_id,
        client_id=None if params.client_id is None else ClientId(params.client_id),
        after=0 if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return DoubtPage(
        doubts=await _make_doubts(call, page),
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def decide_doubt(call: Call, params: DoubtParams, body: ChoiceBody) -> ActedAnswer:
    """Say which transaction a person's acts belong to."""
    choice = TransactionId(body.choice)
    act_id = await acts.decide(call.database, call.customer_id, DoubtId(params.doubt_id), choice, actor=call.actor)
    return await answer_act(call, choice, act_id)


async def adopt_sub_account(call: Call, params: DoubtParams) -> AnsweredAnswer:
    """Say that a sub-account is the earlier one."""
    act_id = await acts.adopt(call.database, call.customer_id, DoubtId(params.doubt_id), actor=call.actor)
    call.wake(Wake.DELIVER)
    return await _answer(call, act_id)


async def keep_sub_account_apart(call: Call, params: DoubtParams) -> AnsweredAnswer:
    """Say that a sub-account is another one than the earlier."""
    act_id = await acts.keep_apart(call.database, call.customer_id, DoubtId(params.doubt_id), actor=call.actor)
    return await _answer(call, act_id)


async def _answer(call: Call, act_id: ActId) -> AnsweredAnswer:
    done = await act.get_act(call.conn, call.customer_id, act_id)
    return AnsweredAnswer(act_id=act_id, sub_account_id=done.account_id)


async def _make_doubts(call: Call, page: Sequence[OpenDoubt]) -> list[DoubtRow]:
    """Put doubts on the wire with what they are about, in two statements however many they are."""
    row_ids = {row_id for each in page for row_id in (each.transaction_id, *each.candidates) if row_id is not None}
    account_ids = {each.account_id for each in page} | {
        each.earlier_account_id for each in page if each.earlier_account_id is not None
    }
    rows = await doubt.list_candidates(call.conn, call.customer_id, sorted(row_ids))
    accounts = await doubt.list_asked_accounts(call.conn, call.customer_id, sorted(account_ids))
    return [_make_doubt(each, rows, accounts) for each in page]


def _make_doubt(
    asked: OpenDoubt, rows: Mapping[TransactionId, Candidate], accounts: Mapping[AccountId, AskedAccount]
) -> DoubtRow:
    home = accounts[asked.account_id]
    return DoubtRow(
        id=asked.id,
        client_id=home.client_id,
        sub_account=_make_account(home),
        raised_at=asked.raised_at,
        rule=asked.rule,
        words=say(asked.rule),
        reason=asked.reason,
        transaction=None if asked.transaction_id is None else _make_candidate(rows[asked.transaction_id]),
        before=None if asked.before is None else _make_before(asked.before),
        candidates=[_make_candidate(rows[each]) for each in asked.candidates if each in rows],
        earlier_sub_account=(
            None if asked.earlier_account_id is None else _make_account(accounts[asked.earlier_account_id])
        ),
    )


def _make_candidate(row: Candidate) -> DoubtCandidate:
    return DoubtCandidate(
        id=row.id,
        status=row.state,
        amount=row.amount,
        transacted_on=row.transacted_on,
        posted_on=row.posted_on,
        description=row.description,
        memo=row.memo,
        check_number=row.check_number,
        is_deleted=row.is_deleted,
        merged_into=row.merged_into,
    )


def _make_before(before: Known) -> DoubtBefore:
    return DoubtBefore(
        status=before.state,
        amount=before.values.amount,
        transacted_on=before.values.transacted_on,
        description=before.values.description,
        ledger_entries=list(before.entries),
        is_reconciled=before.is_reconciled,
    )


def _make_account(found: AskedAccount) -> DoubtAccount:
    return DoubtAccount(
        id=found.id,
        name=found.name,
        number=found.number_display,
        type=found.type,
        currency=found.currency,
        state=found.state,
        closed_at=found.closed_at,
        balance=found.balance,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/doubts",
        handle=list_doubts,
        summary="List what waits for a person's answer",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=DoubtListParams,
        answer=DoubtPage,
        text="The oldest first, with what there is to choose from. Where two candidates tie nothing is guessed.",
    ),
    Route(
        method="POST",
        path="/doubts/{doubtId}/decide",
        handle=decide_doubt,
        summary="Say which transaction a person's acts belong to",
        tag=TAG,
        scope=Scope.TRANSACTIONS_WRITE,
        params=DoubtParams,
        body=ChoiceBody,
        answer=ActedAnswer,
        text="Entries, the reconciled mark, a deletion and a split go to the choice, or stay where they are.",
    ),
    Route(
        method="POST",
        path="/doubts/{doubtId}/adopt",
        handle=adopt_sub_account,
        summary="Say that a sub-account is the earlier one",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=DoubtParams,
        answer=AnsweredAnswer,
        text="The earlier one opens again and takes the transactions; the newer one is closed. That is final.",
    ),
    Route(
        method="POST",
        path="/doubts/{doubtId}/keep-apart",
        handle=keep_sub_account_apart,
        summary="Say that a sub-account is another one than the earlier",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=DoubtParams,
        answer=AnsweredAnswer,
    ),
)
