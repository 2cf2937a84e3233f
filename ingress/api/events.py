"""Events: what happened, as subscribers were told, and telling an endpoint again."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import orjson
from msgspec import Meta

from bankfeed.db import client, endpoint, outbound
from bankfeed.db.outbound import StoredEvent
from bankfeed.errors import BadRequest
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, EndpointId, EventType
from bankfeed.outbox import NOBODY
from ingress.api.call import Call
from ingress.api.deliveries import Time
from ingress.api.endpoints import TAG, EndpointParams
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire, conflict

REPLAYED_AT_ONCE: Final = 1_000
MAX_COUNTED: Final = 100_000


class EventRow(Wire):
    """An event, as it was signed and sent."""

    event_id: Annotated[UUID, Meta(description="The webhook-id of its deliveries.")]
    event_type: EventType
    client_id: Annotated[int | None, Meta(description="Whom it is about; null for a test of an endpoint.")]
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


class ReplayRow(Wire):
    """What a replay queued, or would queue."""

    count: Annotated[
        int,
        Meta(
            description=f"Events queued by this call, at most {REPLAYED_AT_ONCE:,}; in a dry run those that all calls "
            f"would queue, counted up to {MAX_COUNTED:,}."
        ),
    ]
    dry_run: bool
    until: Annotated[datetime, Meta(description="Up to when: the call's own time where none was given.")]


class ReplayAnswer(Wire):
    """A replay, and how to go on with it."""

    replay: ReplayRow
    resume_cursor: Annotated[
        str | None, Meta(description="Ask the same again with this as cursor; null: there is no more.")
    ]


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


class ReplayBody(Body):
    """Which events are told again."""

    since: Annotated[Time, Meta(description="From then on.")]
    until: Annotated[Time, Meta(description="Before then; up to now if none is given.")] | None = None
    event_types: (
        Annotated[
            list[EventType],
            Meta(min_length=1, max_length=16, description="Of these types; of those that the endpoint gets."),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Meta(description="Count only.")] = False
    cursor: Annotated[str, Meta(max_length=200, description="resumeCursor of the call before.")] | None = None


class ReplayKey(msgspec.Struct, array_like=True):
    """Where a replay goes on: after which place, and up to when."""

    after: int
    until: Time


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


async def replay_events(call: Call, params: EndpointParams, body: ReplayBody) -> ReplayAnswer:
    """Tell an endpoint again."""
    found = await endpoint.lock_endpoint(call.conn, call.customer_id, EndpointId(params.endpoint_id))
    if not found.is_active:
        raise conflict("expected an active webhook endpoint, got one that is disabled: enable it first")
    types = body.event_types or list(found.event_types)
    if strange := [each for each in types if each not in found.event_types]:
        raise BadRequest(f"expected some of {', '.join(found.event_types)}, got {strange[0]}", field="eventTypes")
    key = _read_key(body)
    if body.dry_run:
        count = await outbound.count_replayable(
            call.conn,
            call.customer_id,
            found.id,
            since=body.since,
            until=key.until,
            event_types=types,
            after=key.after,
            most=MAX_COUNTED,
        )
        return ReplayAnswer(replay=ReplayRow(count=count, dry_run=True, until=key.until), resume_cursor=None)
    return await _replay(call, found.id, body, key, types)


async def _replay(
    call: Call, endpoint_id: EndpointId, body: ReplayBody, key: ReplayKey, types: list[EventType]
) -> ReplayAnswer:
    replayed = await outbound.replay_events(
        call.conn,
        call.customer_id,
        endpoint_id,
        since=body.since,
        until=key.until,
        event_types=types,
        after=key.after,
        limit=REPLAYED_AT_ONCE,
    )
    call.wake(Wake.DELIVER)
    last = replayed.last_outbox_id
    is_full = last is not None and replayed.count == REPLAYED_AT_ONCE
    return ReplayAnswer(
        replay=ReplayRow(count=replayed.count, dry_run=False, until=key.until),
        resume_cursor=write_cursor(ReplayKey(after=last, until=key.until)) if is_full and last is not None else None,
    )


def _read_key(body: ReplayBody) -> ReplayKey:
    """Return where a replay begins, or goes on; its end stays what it was at first. Raises BadRequest."""
    if body.cursor is not None:
        return read_cursor(body.cursor, ReplayKey)
    until = body.until or datetime.now(UTC)
    if until <= body.since:
        raise BadRequest("expected until to be later than since", field="until")
    return ReplayKey(after=0, until=until)


def _make_row(found: StoredEvent) -> EventRow:
    is_test = found.client_id == NOBODY
    return EventRow(
        event_id=found.event_id,
        event_type=found.event_type,
        client_id=None if is_test else found.client_id,
        bank_account_id=None if is_test else found.connection_id,
        is_test=is_test,
        created_at=found.created_at,
        body=orjson.loads(found.body),
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
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/replay",
        handle=replay_events,
        summary="Deliver the events of a time to a webhook endpoint again",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=ReplayBody,
        answer=ReplayAnswer,
        text="The oldest first, as new deliveries with the event's own id, so that a subscriber can tell what it has seen; "
        "one that waits for the endpoint already is not doubled, and tests are left out. Also events from before the "
        f"endpoint was there. A call queues at most {REPLAYED_AT_ONCE:,}; with resumeCursor the next one goes on.",
    ),
)
