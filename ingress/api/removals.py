"""What is, or was, to be deleted at the aggregator, for people to look at."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.removal import RemovalKind, RemovalLine, RemovalState, list_removals
from bankfeed.model import ClientId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class RemovalWire(Wire):
    """Something that is deleted at the aggregator. `dueAt` is the next try, null once it has ended."""

    id: int
    client_id: int
    kind: RemovalKind
    state: RemovalState
    tries: int
    reason: Annotated[str, Meta(description='Why the last try failed; "" where none did.')]
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class RemovalsAnswer(Wire):
    """A page of removals, the latest first."""

    removals: list[RemovalWire]
    next_cursor: str | None


class RemovalsWanted(Body):
    """Which removals."""

    client_id: (
        Annotated[ClientId, Meta(ge=1, le=2**63 - 1, description="Only this client's, deleted or not.")] | None
    ) = None
    state: Annotated[RemovalState, Meta(description="Only those in this state.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


async def list_aggregator_removals(call: Call, params: RemovalsWanted) -> RemovalsAnswer:
    """List what is, or was, to be deleted at the aggregator."""
    found = await list_removals(
        call.conn,
        call.customer_id,
        client_id=params.client_id,
        state=params.state,
        before_id=read_cursor(params.cursor, int) if params.cursor else None,
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return RemovalsAnswer(
        removals=[_show(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > len(page) else None,
    )


def _show(found: RemovalLine) -> RemovalWire:
    has_ended = found.finished_at is not None
    return RemovalWire(**{**asdict(found), "due_at": None if has_ended else found.due_at})


ROUTES: Final = (
    Route(
        method="GET",
        path="/removals",
        handle=list_aggregator_removals,
        summary="List what is deleted at the aggregator",
        text=(
            "Accounts, logins and customers that were deleted here, the latest first. Each is tried until the aggregator "
            "answers that it is gone; after 30 tries, some five days, it is given up with the reason, and stays listed."
        ),
        tag="Clients",
        scope=Scope.ACCOUNTS_READ,
        params=RemovalsWanted,
        answer=RemovalsAnswer,
    ),
)
