"""What people did with transactions: the list, and taking an act back."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed import acts
from bankfeed.db import account, act, client
from bankfeed.db.act import StoredAct
from bankfeed.model import AccountId, ActId, ClientId, TransactionId
from bankfeed.reconcile.changes import ActKind
from bankfeed.reconcile.explain import say
from ingress.api.acts import TAG, ActIdField, Id, get_account_id
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class UndoneActAnswer(Wire):
    """The act that took another one back, and the transactions that it changed."""

    act_id: ActIdField
    transaction_ids: Annotated[list[int], Meta(description="The transactions that changed.")]


class ActRow(Wire):
    """What somebody did."""

    id: int
    kind: ActKind
    words: Annotated[str, Meta(description="The kind in a sentence.")]
    at: datetime
    actor: Annotated[str, Meta(description="user:<id>, key:<id> or system.")]
    client_id: int
    sub_account_id: int
    transaction_ids: Annotated[
        list[int], Meta(description=f"The transactions that it changed; at most {act.MOST_TRANSACTIONS:,} of them.")
    ]
    entry: Annotated[str | None, Meta(description="The ledger entry that was linked or taken off.")]
    doubt_id: Annotated[int | None, Meta(description="The doubt that it answered.")]
    pull_id: Annotated[int | None, Meta(description="The pull that it took back.")]
    undid: Annotated[int | None, Meta(description="The act that it took back.")]
    undone_by: Annotated[int | None, Meta(description="The act that took it back; null while it stands.")]


class ActPage(Wire):
    """Some acts, the newest first."""

    acts: list[ActRow]
    next_cursor: str | None


class ActParams(Body):
    """Which act."""

    act_id: Annotated[Id, Meta(description="The act's id.")]


class ActListParams(Body):
    """Whose acts, and which page."""

    client_id: Annotated[Id, Meta(description="Of one client.")] | None = None
    sub_account_id: Annotated[Id, Meta(description="Of one sub-account.")] | None = None
    transaction_id: Annotated[Id, Meta(description="Those that changed one transaction.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


async def list_acts(call: Call, params: ActListParams) -> ActPage:
    """List what was done."""
    if params.client_id is not None:
        await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    if params.sub_account_id is not None:
        await account.require_account(call.conn, call.customer_id, AccountId(params.sub_account_id))
    if params.transaction_id is not None:
        await get_account_id(call, TransactionId(params.transaction_id))
    found = await act.list_acts(
        call.conn,
        call.customer_id,
        client_id=None if params.client_id is None else ClientId(params.client_id),
        account_id=None if params.sub_account_id is None else AccountId(params.sub_account_id),
        transaction_id=None if params.transaction_id is None else TransactionId(params.transaction_id),
        before=None if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return ActPage(
        acts=[_make_act(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def undo_act(call: Call, params: ActParams) -> UndoneActAnswer:
    """Take an act back."""
    act_id = await acts.undo_act(call.database, call.customer_id, ActId(params.act_id), actor=call.actor)
    changed = await act.list_acted_ids(call.conn, call.customer_id, act_id)
    return UndoneActAnswer(act_id=act_id, transaction_ids=list(changed))


def _make_act(stored: StoredAct) -> ActRow:
    """Put an act on the wire, with the transactions that it was about, changed or not."""
    about = stored.detail
    named = {TransactionId(int(about[name])) for name in ("row", "keep", "drop") if name in about}
    return ActRow(
        id=stored.id,
        kind=stored.kind,
        words=say(stored.kind),
        at=stored.at,
        actor=stored.actor,
        client_id=stored.client_id,
        sub_account_id=stored.account_id,
        transaction_ids=sorted({*stored.transaction_ids, *named}),
        entry=str(about["entry"]) if "entry" in about else None,
        doubt_id=int(about["doubt"]) if "doubt" in about else None,
        pull_id=int(about["pull"]) if "pull" in about else None,
        undid=int(about["act"]) if "act" in about else None,
        undone_by=stored.undone_by,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/acts",
        handle=list_acts,
        summary="List what people did with transactions",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=ActListParams,
        answer=ActPage,
        text="The newest first; of all clients, or of one, of a sub-account, of a transaction.",
    ),
    Route(
        method="POST",
        path="/acts/{actId}/undo",
        handle=undo_act,
        summary="Take an act back",
        tag=TAG,
        scope=Scope.TRANSACTIONS_WRITE,
        params=ActParams,
        answer=UndoneActAnswer,
        text="The last act on each of its transactions, once; a doubt that it answered is open again. Adopting a "
        "sub-account and accepting a balance gap are final; a journal entry is taken back by POST /entries/{entryId}/undo.",
    ),
)
