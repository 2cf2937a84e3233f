"""Institutions that are out of order or migrate now, with the clients who have bank accounts there."""

from datetime import date
from itertools import groupby
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.institution_notice import AffectedClient, list_affected_clients
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class AffectedClientRow(Wire):
    """A client with open bank accounts at an institution."""

    client_id: int
    username: str
    bank_account_ids: list[int]


class InstitutionNotice(Wire):
    """How an institution stands, and whom that concerns."""

    institution_id: int
    institution_name: str
    status: Annotated[
        str, Meta(description="The aggregator's word: offline, maintenance, migrating, gone or another one.")
    ]
    sign_in_again_until: Annotated[
        date | None,
        Meta(description="The day until which these bank accounts have to be signed in to again; null: no need."),
    ]
    clients: list[AffectedClientRow]


class NoticePage(Wire):
    """Some affected clients, by institution. One with more clients than a page takes goes on at the next."""

    notices: list[InstitutionNotice]
    next_cursor: str | None


class NoticeParams(Body):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many clients at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


async def list_institution_notices(call: Call, params: NoticeParams) -> NoticePage:
    """List who is affected by institutions that are out of order or migrate."""
    after = (0, 0) if params.cursor is None else read_cursor(params.cursor, tuple[int, int])
    found = await list_affected_clients(call.conn, call.customer_id, after=after, limit=params.limit + 1)
    page = found[: params.limit]
    grouped = [list(rows) for _, rows in groupby(page, key=lambda each: each.institution_id)]
    return NoticePage(
        notices=[_show(rows) for rows in grouped],
        next_cursor=write_cursor((page[-1].institution_id, page[-1].client_id)) if len(found) > params.limit else None,
    )


def _show(rows: list[AffectedClient]) -> InstitutionNotice:
    first = rows[0]
    return InstitutionNotice(
        institution_id=first.institution_id,
        institution_name=first.institution,
        status=first.status,
        sign_in_again_until=first.migrates_until,
        clients=[
            AffectedClientRow(client_id=row.client_id, username=row.username, bank_account_ids=list(row.connections))
            for row in rows
        ],
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/institutions/notices",
        handle=list_institution_notices,
        summary="List who is affected by institutions in trouble",
        text="Institutions that do not work now, or move to another way to sign in, where the firm has open bank accounts, with "
        "the clients whose they are. A change is told as `institutionNotice` too.",
        tag="Institutions",
        scope=Scope.ACCOUNTS_READ,
        params=NoticeParams,
        answer=NoticePage,
    ),
)
