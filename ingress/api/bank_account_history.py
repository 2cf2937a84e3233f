"""The history of a bank account: when it was linked, broke, was repaired and updated, and how long a repair took."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db import connection_history
from bankfeed.db.connection_history import HistoryLine
from bankfeed.errors import NotFound
from bankfeed.history import HistoryKind, describe_line
from bankfeed.model import ConnectionId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class HistoryRow(Wire):
    """One thing that happened to a bank account."""

    kind: HistoryKind
    at: datetime
    code: Annotated[int | None, Meta(description="The aggregation status code of that moment; see GET /error-codes.")]
    message: Annotated[str, Meta(description="What happened, for people; of a break, why.")]
    time_to_repair_s: Annotated[
        float | None, Meta(description="Of a repair, for how many seconds it had been broken; else null.")
    ]


class HistoryPage(Wire):
    """Some lines, the newest first."""

    history: list[HistoryRow]
    next_cursor: str | None


class HistoryParams(Body):
    """Whose history, and which page."""

    bank_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The bank account's id.")]
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


async def list_bank_account_history(call: Call, params: HistoryParams) -> HistoryPage:
    """List what happened to a bank account, also to one that was deleted. Raises NotFound."""
    connection_id = ConnectionId(params.bank_account_id)
    if not await connection_history.has_history(call.conn, call.customer_id, connection_id):
        raise NotFound(f"there is no bank account {connection_id}")
    found = await connection_history.list_history(
        call.conn,
        call.customer_id,
        connection_id,
        before_id=None if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return HistoryPage(
        history=[_show(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


def _show(line: HistoryLine) -> HistoryRow:
    return HistoryRow(
        kind=line.kind,
        at=line.at,
        code=line.status_code,
        message=describe_line(line.kind, line.status_code),
        time_to_repair_s=line.time_to_repair_s,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/bank-accounts/{bankAccountId}/history",
        handle=list_bank_account_history,
        summary="What happened to a bank account",
        text="The newest first: added, broken (why), needs_mfa (the bank asks something), reconnected (after how long), refreshed "
        "(the first of a UTC day, and each that somebody asked for), deleted. One that was deleted keeps its history until its "
        "client is deleted.",
        tag="Bank accounts",
        scope=Scope.ACCOUNTS_READ,
        params=HistoryParams,
        answer=HistoryPage,
    ),
)
