"""Transactions of a client as they are in view: a page, all of them as a stream, and one with its explanation."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bankfeed import acts
from bankfeed.db.client import find_client_by_username
from bankfeed.db.movement import (
    SHOWN_STATES,
    STREAMED_ROWS,
    Holding,
    Wanted,
    get_holdings,
    get_movement,
    has_connection,
    list_steps,
    open_newest,
    open_oldest,
)
from bankfeed.errors import BadRequest, NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, ShadowVerdict, TransactionId, TransactionState
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Stream, Wire

TAG: Final = "Transactions"
MAX_ID: Final = 2**63 - 1
AMOUNT: Final = r"^[+-]?[0-9]{1,18}(\.[0-9]{1,6})?$"
_encoder: Final = msgspec.json.Encoder()


class Transaction(Wire, kw_only=False):
    """One movement on a sub-account. Made of the columns of bankfeed/db/movement.py as they come: in this order."""

    id: int
    bank_account_id: int
    sub_account_id: int
    status: Annotated[
        TransactionState,
        Meta(
            description="pending, active or shadow: no longer reported by the bank. removed only where asked for by id."
        ),
    ]
    amount: Annotated[Decimal, Meta(description="Positive into the account, negative out of it, cards and loans too.")]
    currency: str
    transacted_on: date
    posted_on: date | None
    description: str
    memo: str
    check_number: Annotated[str, Meta(description='"" where there is none.')]
    kind: Annotated[str, Meta(description='The bank\'s word for it, like "atm"; "" where it gives none.')]
    is_reconciled: Annotated[bool, Meta(description="A person locked what is shown, whatever the bank says since.")]
    split_into: Annotated[list[Decimal], Meta(description="The parts it is booked in; empty where it is booked whole.")]
    shadow_verdict: Annotated[
        ShadowVerdict | None,
        Meta(
            description="What a person said of its removal: confirmed, or rejected: it did happen, and stays in view."
        ),
    ]
    aggregator_id: Annotated[str | None, Meta(description="The aggregator's id of now; it may change at each refresh.")]
    changed_at: datetime
    change_no: Annotated[int, Meta(description="Of its latest change; numbers of a client only grow.")]
    ledger_entries: Annotated[Sequence[str], Meta(description="References of the entries booked from it, in order.")]


class TransactionDetail(Transaction):
    """One movement, in view or not."""

    is_in_view: Annotated[bool, Meta(description="Whether lists show it now.")]
    is_erased: Annotated[bool, Meta(description="Its values were erased; the day and the ids stay.")]
    removed_at: datetime | None
    deleted_at: Annotated[datetime | None, Meta(description="When a person took it out of view.")]
    merged_into: Annotated[int | None, Meta(description="The transaction that it was joined to.")]


class TransactionStep(Wire, kw_only=False):
    """One thing that happened to a transaction, by a pull of the feed or an act of a person."""

    change_no: int
    at: datetime
    kind: Annotated[str, Meta(description="What became of it: added, updated, posted, shadowed, returned, removed ...")]
    rule: Annotated[str, Meta(description="The rule, or the act, that made it so.")]
    pull_id: int | None
    act_id: int | None
    actor: Annotated[str | None, Meta(description="Who acted: user:<id>, key:<id> or system; null where a pull did.")]


class TransactionPage(Wire):
    """Some transactions, in the order asked for."""

    transactions: list[Transaction]
    next_cursor: str | None


class TransactionAnswer(Wire):
    """One transaction, its life in words, a line a step, and the steps."""

    transaction: TransactionDetail
    explanation: list[str]
    changes: list[TransactionStep]


class ClientParams(Body):
    """Whose: by id or by username."""

    client_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The client's id; this or username.")] | None = None
    username: Annotated[str, Meta(max_length=200, description="The client's username; this or clientId.")] | None = None


class RangeParams(ClientParams):
    """Whose, on which accounts, of which days."""

    bank_account_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="Only under this bank account.")] | None = None
    sub_account_id: (
        Annotated[
            list[Annotated[int, Meta(ge=1, le=MAX_ID)]],
            Meta(max_length=1_000, description="Only on these sub-accounts."),
        ]
        | None
    ) = None
    from_on: Annotated[date, Meta(description="From this day on.")] | None = msgspec.field(name="from", default=None)
    to_on: Annotated[date, Meta(description="Up to this day.")] | None = msgspec.field(name="to", default=None)
    include_closed: Annotated[bool, Meta(description="Also on sub-accounts that are closed.")] = False
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class TransactionListParams(RangeParams):
    """Which transactions, in which order."""

    status: (
        Annotated[
            list[Literal["pending", "active", "shadow"]],
            Meta(max_length=3, description="Only of these; all by default."),
        ]
        | None
    ) = None
    text: Annotated[str, Meta(max_length=200, description="Found in description or memo, whatever its case.")] = ""
    min_amount: Annotated[str, Meta(pattern=AMOUNT, description="Of this amount or more.")] | None = None
    max_amount: Annotated[str, Meta(pattern=AMOUNT, description="Of this amount or less.")] | None = None
    check_number: Annotated[str, Meta(max_length=100, description="Of this check.")] | None = None
    order: Annotated[Literal["newest", "oldest"], Meta(description="Newest days first, or oldest.")] = "newest"
    stream: Annotated[
        bool,
        Meta(description="All that fit, as JSON lines (application/x-ndjson), a transaction a line, without limit."),
    ] = False


class TransactionParams(Body):
    """Which transaction."""

    transaction_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The transaction's id.")]


async def list_transactions(call: Call, params: TransactionListParams) -> TransactionPage | Stream:
    """List a client's transactions in view, by day; a page, or all as a stream."""
    limit = None if params.stream else params.limit + 1
    cursor = await _open(call, params, limit=limit)
    if limit is None:
        return Stream(_stream(cursor))
    rows = [row async for row in cursor]
    shown = rows[: params.limit]
    following = write_cursor((shown[-1]["transacted_on"], shown[-1]["id"])) if len(rows) > params.limit else None
    return TransactionPage(transactions=[Transaction(*row) for row in shown], next_cursor=following)


async def get_transaction(call: Call, params: TransactionParams) -> TransactionAnswer:
    """Return one transaction with its explanation."""
    row_id = TransactionId(params.transaction_id)
    row = await get_movement(call.conn, call.customer_id, row_id)
    return TransactionAnswer(
        transaction=TransactionDetail(*row),
        explanation=list(await acts.explain(call.database, call.customer_id, row_id)),
        changes=[TransactionStep(*step) for step in await list_steps(call.conn, call.customer_id, row_id)],
    )


async def find_client(call: Call, params: ClientParams) -> ClientId:
    """Return whose things are asked for. Raises BadRequest where that is not said once, NotFound for an unknown username."""
    if (params.client_id is None) == (params.username is None):
        raise BadRequest("expected clientId or username, one of the two", field="clientId")
    if params.client_id is not None:
        return ClientId(params.client_id)
    found = await find_client_by_username(call.conn, call.customer_id, params.username or "")
    if found is None:
        raise NotFound("there is no client with that username")
    return found


async def choose_accounts(
    call: Call, client_id: ClientId, accounts: Sequence[Holding], params: RangeParams
) -> tuple[AccountId, ...]:
    """Return which of a client's accounts are asked for and in view. Raises NotFound for one that is not the client's."""
    asked = params.sub_account_id
    if missing := set(asked or ()) - {each.id for each in accounts}:
        raise NotFound(f"there is no sub-account {min(missing)}")
    under = params.bank_account_id
    if under is not None and not await has_connection(call.conn, call.customer_id, client_id, ConnectionId(under)):
        raise NotFound(f"there is no bank account {under}")
    return tuple(
        each.id
        for each in accounts
        if (each.is_open or params.include_closed)
        and not each.is_hidden
        and (asked is None or each.id in asked)
        and (under is None or each.connection_id == under)
    )


def read_days(params: RangeParams) -> tuple[date | None, date | None]:
    """Return the first and the last day asked for. Raises BadRequest where they run backward."""
    if params.from_on is not None and params.to_on is not None and params.from_on > params.to_on:
        raise BadRequest(f"expected to to be {params.from_on} or later, got {params.to_on}", field="to")
    return params.from_on, params.to_on


async def _open(call: Call, params: TransactionListParams, *, limit: int | None) -> Any:
    client_id = await find_client(call, params)
    wanted = _read_wanted(params)
    key = None if params.cursor is None else read_cursor(params.cursor, tuple[date, TransactionId])
    holdings = await get_holdings(call.conn, call.customer_id, client_id)
    accounts = await choose_accounts(call, client_id, holdings.accounts, params)
    conn, customer_id, policy = call.conn, call.customer_id, holdings.policy
    if params.order == "newest":
        return await open_newest(conn, customer_id, accounts, wanted, policy=policy, before=key, limit=limit)
    return await open_oldest(conn, customer_id, accounts, wanted, policy=policy, after=key, limit=limit)


def _read_wanted(params: TransactionListParams) -> Wanted:
    from_on, to_on = read_days(params)
    states = tuple(TransactionState(each) for each in params.status or ())
    return Wanted(
        states=states or SHOWN_STATES,
        from_on=from_on,
        to_on=to_on,
        text=params.text,
        min_amount=None if params.min_amount is None else Decimal(params.min_amount),
        max_amount=None if params.max_amount is None else Decimal(params.max_amount),
        check_number=params.check_number,
    )


async def _stream(cursor: Any) -> AsyncIterator[bytes]:
    lines = []
    async for row in cursor:
        lines.append(Transaction(*row))
        if len(lines) == STREAMED_ROWS:
            yield _encoder.encode_lines(lines)
            lines.clear()
    yield _encoder.encode_lines(lines)


ROUTES: Final = (
    Route(
        method="GET",
        path="/transactions",
        handle=list_transactions,
        summary="List a client's transactions",
        text="Those in view, by day: on sub-accounts that are open and not hidden, neither removed, deleted nor merged into "
        "another; shadow ones as the customer's shadowPolicy says, and always where a person booked them. A page stays where "
        "it is while rows come and go. With stream=true all that fit come as JSON lines, as they were at one moment.",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=TransactionListParams,
        answer=TransactionPage,
        streams=True,
    ),
    Route(
        method="GET",
        path="/transactions/{transactionId}",
        handle=get_transaction,
        summary="Get a transaction with its explanation",
        text="In view or not: how it came, what happened to it and why, and how it stands.",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=TransactionParams,
        answer=TransactionAnswer,
    ),
)
