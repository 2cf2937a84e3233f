"""Events: what happened, as subscribers were told."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from msgspec import Meta

from bankfeed.db import client, outbound
from bankfeed.db.outbound import StoredEvent
from bankfeed.model import ClientId, EventType
from bankfeed.outbox import NOBODY
from ingress.api.call import Call
from ingress.api.deliveries import Time
from ingress.api.endpoints import TAG
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class EventRow(Wire):
    """An event, as it was signed and sent."""

    event_id: Annotated[UUID, Meta(description="The webhook-id of its deliveries.")]
    event_type: EventType
    client_id: Annotated[
        int | None, Meta(description="Whom it is about; null for a test, and for a disabled endpoint.")
    ]
    bank_account_id: int | None
    is_test: bool
    created_at: datetime
    body: Annotated[dict[str, Any], Meta(description="The body that subscribers get.")]


class EventPage(Wire):
    """Some events, the newest first."""

    events: list[EventRow]
    next_cursor: str | None


class EventAnswer(Wire):
    """One event."""

    event: EventRow


class EventListParams(Body):
    """Which events, and which page."""

    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="About one client.")] | None = None
    event_type: Annotated[EventType, Meta(description="Of one type.")] | None = None
    since: Annotated[Time, Meta(description="From then on.")] | None = None
    until: Annotated[Time, Meta(description="Before then.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class EventParams(Body):
    """Which event."""

    event_id: Annotated[UUID, Meta(description="The event's id, as subscribers see it.")]


async def list_events(call: Call, params: EventListParams) -> EventPage:
    """List events."""
    client_id = None if params.client_id is None else ClientId(params.client_id)
    if client_id is not None:
        await client.get_client(call.conn, call.customer_id, client_id)
    found = await outbound.list_events(
        call.conn,
        call.customer_id,
        client_id=client_id,
        event_type=params.event_type,
        since=params.since,
        until=params.until,
        before=None if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return EventPage(
        events=[_make_row(each) for each in page],
        next_cursor=write_cursor(page[-1].outbox_id) if len(found) > params.limit else None,
    )


async def get_event(call: Call, params: EventParams) -> EventAnswer:
    """Answer one event."""
    return EventAnswer(event=_make_row(await outbound.get_event(call.conn, call.customer_id, params.event_id)))


def _make_row(found: StoredEvent) -> EventRow:
    is_about_nobody = found.client_id == NOBODY
    body = orjson.loads(found.body)
    return EventRow(
        event_id=found.event_id,
        event_type=found.event_type,
        client_id=None if is_about_nobody else found.client_id,
        bank_account_id=None if is_about_nobody else found.connection_id,
        is_test=body.get("test") is True,
        created_at=found.created_at,
        body=body,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/events",
        handle=list_events,
        summary="List events",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=EventListParams,
        answer=EventPage,
        text="The newest first, whether or not an endpoint wanted them.",
    ),
    Route(
        method="GET",
        path="/events/{eventId}",
        handle=get_event,
        summary="One event",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=EventParams,
        answer=EventAnswer,
    ),
)
