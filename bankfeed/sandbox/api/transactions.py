"""Transactions: one account's list of a window of dates, in pages, as of its login's last successful aggregation."""

from aiohttp import web

from bankfeed.sandbox.api.exchange import BANK, FAULTS, answer, needed_integer, page_bounds, path_id
from bankfeed.sandbox.lives import Status
from bankfeed.sandbox.refusals import Refusal, invalid_parameter
from bankfeed.sandbox.wire import epoch
from bankfeed.sandbox.world import Row


async def list_transactions(request: web.Request) -> web.Response:
    """List the rows whose transaction date lies in the window; without includePending, pending rows are left out."""
    bank = request.app[BANK]
    account = bank.account(path_id(request, "customer"), path_id(request, "account"))
    start, limit = page_bounds(request)
    sort = request.query.get("sort", "desc")
    if sort not in {"asc", "desc"}:
        raise invalid_parameter("sort")
    rows = _wanted(request, bank.rows(account))
    if sort == "asc":
        rows = rows[::-1]
    page = rows[start - 1 : start - 1 + limit]
    shown_rows = request.app[FAULTS].cut(account.id, start=start, rows=len(page))
    has_more = start - 1 + len(page) < len(rows) or shown_rows is not None
    page = page[:shown_rows]
    return answer(
        {
            "found": len(rows),
            "displaying": len(page),
            "moreAvailable": "true" if has_more else "false",
            "fromDate": request.query["fromDate"],
            "toDate": request.query["toDate"],
            "sort": sort,
            "transactions": [bank.transaction_json(account, row) for row in page],
        }
    )


def _wanted(request: web.Request, rows: tuple[Row, ...]) -> list[Row]:
    from_s, to_s = needed_integer(request, "fromDate"), needed_integer(request, "toDate")
    if from_s > to_s:
        raise Refusal(400, 41002, "Invalid date range: fromDate is after toDate")
    has_pending = request.query.get("includePending", "false").lower() == "true"
    return [
        row
        for row in rows
        if from_s <= epoch(row.sighting.dated_at) <= to_s and (has_pending or row.sighting.status is not Status.PENDING)
    ]


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    path = r"/aggregation/v4/customers/{customer:\d+}/accounts/{account:\d+}/transactions"
    return [web.get(path, list_transactions)]
