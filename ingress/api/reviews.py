"""Review items: where the books and the bank differ, and a person's answers."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.acts import reviews as answers
from bankfeed.acts.reviews import Answered
from bankfeed.db import client, review
from bankfeed.db.review import ReviewItem
from bankfeed.ledger.follow import ReviewKind
from bankfeed.ledger.lines import Posting
from bankfeed.model import ClientId
from ingress.api.call import Call
from ingress.api.entries import EntryLine, EntryRow, Id, show_entry
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire

TAG: Final = "Reviews"


class OfferedEntry(Wire):
    """An entry that accepting would make."""

    entered_on: date
    lines: list[EntryLine]


class ReviewRow(Wire):
    """A question about an entry. Differs: amount or day changed; vanished: the transaction is gone; returned: it is back."""

    id: int
    client_id: int
    entry_id: int
    transaction_id: int
    kind: ReviewKind
    reason: str
    raised_at: datetime
    closed_at: datetime | None
    closed_by: Annotated[
        str | None, Meta(description="Who closed it: a person, a key, or system where it became moot.")
    ]
    correcting_entry_id: int | None
    offer: Annotated[
        list[OfferedEntry], Meta(description="What accepting books now; nothing where the entry is not posted.")
    ]


class ReviewPage(Wire):
    """Some open review items, the oldest first."""

    reviews: list[ReviewRow]
    next_cursor: str | None


class ReviewAnswer(Wire):
    """A review item that was closed, and the correcting entries."""

    review: ReviewRow
    corrections: Annotated[list[EntryRow], Meta(description="One a day: a day that moved takes two.")]


class ReviewListParams(Body):
    """Whose review items, and which page."""

    client_id: Annotated[Id, Meta(description="Of one client.")] | None = None
    kind: ReviewKind | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class ReviewParams(Body):
    """Which review item."""

    review_id: Annotated[Id, Meta(description="The review item's id.")]


async def list_reviews(call: Call, params: ReviewListParams) -> ReviewPage:
    """List what waits for a person."""
    client_id = None if params.client_id is None else ClientId(params.client_id)
    if client_id is not None:
        await client.get_client(call.conn, call.customer_id, client_id)
    found = await review.list_open_items(
        call.conn,
        call.customer_id,
        client_id,
        kind=params.kind,
        after=None if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    offers = await answers.list_offers(call.conn, call.customer_id, page)
    return ReviewPage(
        reviews=[_show(item, offers.get(item.id, ())) for item in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def accept_review(call: Call, params: ReviewParams) -> ReviewAnswer:
    """Let the books say what the bank does."""
    return _answer(await answers.accept_review(call.database, call.customer_id, params.review_id, actor=call.actor))


async def dismiss_review(call: Call, params: ReviewParams) -> ReviewAnswer:
    """Leave the books as they are."""
    return _answer(await answers.dismiss_review(call.database, call.customer_id, params.review_id, actor=call.actor))


def _answer(answered: Answered) -> ReviewAnswer:
    return ReviewAnswer(
        review=_show(answered.item, ()), corrections=[show_entry(each) for each in answered.corrections]
    )


def _show(item: ReviewItem, offer: Sequence[Posting]) -> ReviewRow:
    return ReviewRow(
        id=item.id,
        client_id=item.client_id,
        entry_id=item.entry_id,
        transaction_id=item.transaction_id,
        kind=item.kind,
        reason=item.reason,
        raised_at=item.raised_at,
        closed_at=item.closed_at,
        closed_by=item.closed_by,
        correcting_entry_id=item.correcting_entry_id,
        offer=[_offer(posting) for posting in offer],
    )


def _offer(posting: Posting) -> OfferedEntry:
    lines = [
        EntryLine(ledger_account_id=line.ledger_account_id, amount=line.amount, currency=line.currency)
        for line in posting.lines
    ]
    return OfferedEntry(entered_on=posting.on, lines=lines)


ROUTES: Final = (
    Route(
        method="GET",
        path="/reviews",
        handle=list_reviews,
        summary="List where the books and the bank differ",
        text="Open ones, the oldest first, each with the entries that accepting it would make.",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=ReviewListParams,
        answer=ReviewPage,
    ),
    Route(
        method="POST",
        path="/reviews/{reviewId}/accept",
        handle=accept_review,
        summary="Let the books say what the bank does",
        text="Makes the correcting entry of a posted one. A draft whose parts were resized goes on; one whose transaction is gone "
        "stays void, and one whose transaction is back is a draft again.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=ReviewParams,
        answer=ReviewAnswer,
        errors={"act_refused": 409},
    ),
    Route(
        method="POST",
        path="/reviews/{reviewId}/dismiss",
        handle=dismiss_review,
        summary="Leave the books as they are",
        text="It is asked again only when the transaction changes again.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=ReviewParams,
        answer=ReviewAnswer,
        errors={"act_refused": 409},
    ),
)
