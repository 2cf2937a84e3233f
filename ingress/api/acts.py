"""What a person does with transactions: each act, and many reconciled at once. Taking back is in act_log.py."""

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from bankfeed import acts
from bankfeed.db import account
from bankfeed.db.movement import get_movement
from bankfeed.errors import BadRequest, NotFound
from bankfeed.jobs import Wake
from bankfeed.model import AccountId, ActId, TransactionId
from bankfeed.money import BadAmount, parse_amount
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Route, Scope, Wire
from ingress.api.transactions import MAX_ID, TransactionDetail

TAG: Final = "Acts"
MAX_PARTS: Final = 100
MAX_AT_ONCE: Final = 500
AMOUNT: Final = r"^-?[0-9]{1,18}(\.[0-9]{1,4})?$"

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
ActIdField = Annotated[int, Meta(description="The act's id: undo it with POST /acts/{actId}/undo.")]


class ActedAnswer(Wire):
    """An act, and the transaction after it."""

    act_id: ActIdField
    transaction: TransactionDetail


class ActedOnAllAnswer(Wire):
    """Acts on many transactions: one for each sub-account."""

    act_ids: Annotated[list[int], Meta(description="The acts, one for each sub-account.")]
    transaction_ids: Annotated[list[int], Meta(description="The transactions, each once.")]


class ActedOnParams(Body):
    """Which transaction."""

    transaction_id: Annotated[Id, Meta(description="The transaction's id.")]


class EntryBody(Body):
    """A ledger entry."""

    entry: Annotated[
        str, Meta(min_length=1, max_length=128, pattern=r"^[^\u0000-\u001f\u007f]+$", description="Its reference.")
    ]


class MergeBody(Body):
    """What a transaction is merged into."""

    into: Annotated[Id, Meta(description="The transaction that stays, of the same sub-account.")]


class SplitBody(Body):
    """The parts that a transaction is booked in."""

    amounts: Annotated[
        list[Annotated[str, Meta(pattern=AMOUNT, max_length=24)]],
        Meta(min_length=2, max_length=MAX_PARTS, description="They add up to its amount exactly; none is zero."),
    ]


class ReconcileBody(Body):
    """Which transactions are reconciled."""

    transaction_ids: Annotated[
        list[Id], Meta(min_length=1, max_length=MAX_AT_ONCE, description="Of any clients; twice counts once.")
    ]


async def link_transaction(call: Call, params: ActedOnParams, body: EntryBody) -> ActedAnswer:
    """Book a transaction to an entry."""
    if not body.entry.strip():
        raise BadRequest("expected a reference that is not blank", field="entry")
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.link(call.database, call.customer_id, row_id, body.entry, actor=call.actor)
    )


async def unlink_transaction(call: Call, params: ActedOnParams, body: EntryBody) -> ActedAnswer:
    """Take an entry off a transaction."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.unlink(call.database, call.customer_id, row_id, body.entry, actor=call.actor)
    )


async def reconcile_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Lock a transaction's values."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.mark_reconciled(call.database, call.customer_id, row_id, actor=call.actor)
    )


async def unreconcile_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Unlock a transaction's values."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.unmark_reconciled(call.database, call.customer_id, row_id, actor=call.actor)
    )


async def merge_transaction(call: Call, params: ActedOnParams, body: MergeBody) -> ActedAnswer:
    """Merge a transaction into another one."""
    row_id, keep_id = TransactionId(params.transaction_id), TransactionId(body.into)
    return await answer_act(
        call, row_id, await acts.merge(call.database, call.customer_id, keep_id, row_id, actor=call.actor)
    )


async def unmerge_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Part a transaction from the one that it was merged into."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(call, row_id, await acts.unmerge(call.database, call.customer_id, row_id, actor=call.actor))


async def split_transaction(call: Call, params: ActedOnParams, body: SplitBody) -> ActedAnswer:
    """Book a transaction in parts."""
    row_id = TransactionId(params.transaction_id)
    parts = await _read_parts(call, row_id, body.amounts)
    return await answer_act(
        call, row_id, await acts.split(call.database, call.customer_id, row_id, parts, actor=call.actor)
    )


async def unsplit_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Book a transaction whole again."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(call, row_id, await acts.unsplit(call.database, call.customer_id, row_id, actor=call.actor))


async def delete_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Take a transaction out of view."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(call, row_id, await acts.delete(call.database, call.customer_id, row_id, actor=call.actor))


async def restore_transaction(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Bring a deleted transaction back."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(call, row_id, await acts.restore(call.database, call.customer_id, row_id, actor=call.actor))


async def confirm_shadow(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Say that a shadow transaction is gone."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.confirm_shadow(call.database, call.customer_id, row_id, actor=call.actor)
    )


async def reject_shadow(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Say that a shadow transaction did happen."""
    row_id = TransactionId(params.transaction_id)
    return await answer_act(
        call, row_id, await acts.reject_shadow(call.database, call.customer_id, row_id, actor=call.actor)
    )


async def undo_match(call: Call, params: ActedOnParams) -> ActedAnswer:
    """Part a transaction from what it was last matched with."""
    row_id = TransactionId(params.transaction_id)
    act_id = await acts.undo_match(call.database, call.customer_id, row_id, actor=call.actor)
    call.wake(Wake.DELIVER)
    return await answer_act(call, row_id, act_id)


async def reconcile_transactions(call: Call, _: NoParams, body: ReconcileBody) -> ActedOnAllAnswer:
    """Lock the values of many transactions."""
    row_ids = [TransactionId(each) for each in sorted(set(body.transaction_ids))]
    act_ids = await acts.mark_all_reconciled(call.database, call.customer_id, row_ids, actor=call.actor)
    return ActedOnAllAnswer(act_ids=list(act_ids), transaction_ids=list(row_ids))


async def answer_act(call: Call, row_id: TransactionId, act_id: ActId) -> ActedAnswer:
    """Answer an act with a transaction as it stands now."""
    row = await get_movement(call.conn, call.customer_id, row_id)
    return ActedAnswer(act_id=act_id, transaction=TransactionDetail(*row))


async def get_account_id(call: Call, row_id: TransactionId) -> AccountId:
    """Return the sub-account of a transaction. Raises NotFound."""
    homes = await account.list_accounts_of(call.conn, call.customer_id, [row_id])
    if row_id not in homes:
        raise NotFound(f"there is no transaction {row_id}")
    return homes[row_id]


async def _read_parts(call: Call, row_id: TransactionId, amounts: Sequence[str]) -> list[Decimal]:
    """Read amounts in the currency of a transaction. Raises BadRequest."""
    account_id = await get_account_id(call, row_id)
    _, currency = await account.get_heading(call.conn, call.customer_id, account_id)
    try:
        return [parse_amount(amount, currency) for amount in amounts]
    except BadAmount as error:
        raise BadRequest(str(error), field="amounts") from error


def _route(
    path: str,
    handle: Callable[..., Awaitable[ActedAnswer]],
    summary: str,
    *,
    body: type[Body] | None = None,
    text: str = "",
) -> Route:
    return Route(
        method="POST",
        path=path,
        handle=handle,
        summary=summary,
        tag=TAG,
        scope=Scope.TRANSACTIONS_WRITE,
        params=ActedOnParams,
        body=body,
        answer=ActedAnswer,
        text=text,
    )


ROUTES: Final = (
    _route(
        "/transactions/{transactionId}/link",
        link_transaction,
        "Book a transaction to a ledger entry",
        body=EntryBody,
        text="A draft is made where the client has no entry of that reference. One with lines has to be of the sub-account's "
        "ledger account and currency. The link follows the movement.",
    ),
    _route(
        "/transactions/{transactionId}/unlink",
        unlink_transaction,
        "Take a ledger entry off a transaction",
        body=EntryBody,
        text="The entry stays. One with lines is refused: POST /entries/{entryId}/undo takes it back.",
    ),
    _route(
        "/transactions/{transactionId}/reconcile",
        reconcile_transaction,
        "Lock a transaction's values",
        text="What people see stays, whatever the bank says; the bank's own values are kept beside.",
    ),
    _route(
        "/transactions/{transactionId}/unreconcile",
        unreconcile_transaction,
        "Unlock a transaction's values",
        text="It shows what the bank says now.",
    ),
    _route(
        "/transactions/{transactionId}/merge",
        merge_transaction,
        "Merge a transaction into another one of its sub-account",
        body=MergeBody,
        text="It leaves view, and its entries move.",
    ),
    _route(
        "/transactions/{transactionId}/unmerge",
        unmerge_transaction,
        "Part a transaction from the one it was merged into",
        text="The entries that moved go back.",
    ),
    _route(
        "/transactions/{transactionId}/split",
        split_transaction,
        "Book a transaction in parts",
        body=SplitBody,
        text="The bank's row stays one; an earlier split is replaced.",
    ),
    _route("/transactions/{transactionId}/unsplit", unsplit_transaction, "Book a transaction whole again"),
    _route(
        "/transactions/{transactionId}/delete",
        delete_transaction,
        "Delete a transaction",
        text="It is out of view for good, whatever the bank lists; its ids are held.",
    ),
    _route(
        "/transactions/{transactionId}/restore",
        restore_transaction,
        "Bring a deleted transaction back",
        text="In the state that the bank lists it in now.",
    ),
    _route(
        "/transactions/{transactionId}/confirm-shadow", confirm_shadow, "Say that a shadow transaction is gone indeed"
    ),
    _route(
        "/transactions/{transactionId}/reject-shadow",
        reject_shadow,
        "Say that a shadow transaction did happen",
        text="It stays in view.",
    ),
    _route(
        "/transactions/{transactionId}/undo-match",
        undo_match,
        "Part a transaction from what it was last matched with",
        text="Both stand apart then; subscribers are told.",
    ),
    Route(
        method="POST",
        path="/transactions/reconcile",
        handle=reconcile_transactions,
        summary="Lock the values of many transactions",
        tag=TAG,
        scope=Scope.TRANSACTIONS_WRITE,
        body=ReconcileBody,
        answer=ActedOnAllAnswer,
        text="All of them or none: one that is not there, or that does not fit, refuses them all. One act for each sub-account.",
    ),
)
