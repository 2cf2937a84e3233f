"""Deliveries: one event for one endpoint each, what came of every attempt, and trying again."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from bankfeed.db import client, endpoint, outbound
from bankfeed.db.outbound import MOST_EXTRA_ATTEMPTS, DeliveryFilter, StoredAttempt, StoredDelivery
from bankfeed.errors import NotFound
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, DeliveryId, EndpointId, EventType
from bankfeed.outbox import NOBODY
from bankfeed.retrying import retry
from ingress.api.call import Call
from ingress.api.endpoints import TAG, EndpointIdField
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire, conflict

Time = Annotated[datetime, Meta(tz=True)]


class DeliveryState(StrEnum):
    """How a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryRow(Wire):
    """One event for one endpoint."""

    id: int
    endpoint_id: int
    event_id: Annotated[UUID, Meta(description="The webhook-id: the same on every try, and when it is replayed.")]
    event_type: EventType
    client_id: Annotated[
        int | None, Meta(description="Whom the event is about; null for a test, and for a disabled endpoint.")
    ]
    is_test: bool
    state: DeliveryState
    reason: Annotated[str, Meta(description="Why it failed, where its last attempt does not say it.")]
    attempts: Annotated[int, Meta(description="How many attempts were made.")]
    created_at: Annotated[datetime, Meta(description="When the event was.")]
    first_attempt_at: datetime | None
    next_attempt_at: Annotated[
        datetime | None,
        Meta(
            description="When it is tried next; null once it is final, and while it waits for an earlier one of its bank "
            "account, where the endpoint gets its events in order."
        ),
    ]
    finished_at: datetime | None


class AttemptRow(Wire):
    """One HTTP try."""

    attempt_no: int
    started_at: datetime
    duration_ms: int
    http_status: Annotated[int | None, Meta(description="What was answered; null where no answer came.")]
    error: Annotated[str, Meta(description="Why no answer came.")]
    answer: Annotated[str, Meta(description="The first 1,000 characters of the answer.")]


class DeliveryPage(Wire):
    """Some deliveries, the newest first."""

    deliveries: list[DeliveryRow]
    next_cursor: str | None


class DeliveryAnswer(Wire):
    """One delivery and its attempts, the first one first."""

    delivery: DeliveryRow
    attempts: list[AttemptRow]


class DeliveryListParams(Body):
    """Which deliveries, and which page."""

    endpoint_id: EndpointIdField | None = None
    state: Annotated[DeliveryState, Meta(description="How they stand.")] | None = None
    event_type: Annotated[EventType, Meta(description="Of events of this type.")] | None = None
    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Of events about one client.")] | None = None
    event_id: Annotated[UUID, Meta(description="Of one event.")] | None = None
    since: Annotated[Time, Meta(description="Of events from then on.")] | None = None
    until: Annotated[Time, Meta(description="Of events before then.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class DeliveryParams(Body):
    """Which delivery."""

    delivery_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The delivery's id.")]


async def list_deliveries(call: Call, params: DeliveryListParams) -> DeliveryPage:
    """List deliveries."""
    endpoint_id = None if params.endpoint_id is None else EndpointId(params.endpoint_id)
    if endpoint_id is not None and not await endpoint.is_known(call.conn, call.customer_id, endpoint_id):
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    client_id = None if params.client_id is None else ClientId(params.client_id)
    if client_id is not None:
        await client.get_client(call.conn, call.customer_id, client_id)
    wanted = DeliveryFilter(
        endpoint_id=endpoint_id,
        state=params.state,
        event_type=params.event_type,
        client_id=client_id,
        event_id=params.event_id,
        since=params.since,
        until=params.until,
    )
    before = None if params.cursor is None else read_cursor(params.cursor, int)
    found = await outbound.list_deliveries(call.conn, call.customer_id, wanted, before=before, limit=params.limit + 1)
    page = found[: params.limit]
    return DeliveryPage(
        deliveries=[_make_row(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def get_delivery(call: Call, params: DeliveryParams) -> DeliveryAnswer:
    """Answer one delivery."""
    return await _answer(call, DeliveryId(params.delivery_id))


async def retry_delivery(call: Call, params: DeliveryParams) -> DeliveryAnswer:
    """Try a delivery at once."""
    delivery_id = DeliveryId(params.delivery_id)
    fault = await retry(call.conn, call.customer_id, delivery_id)
    if fault is not None:
        raise conflict(fault)
    call.wake(Wake.DELIVER)
    return await _answer(call, delivery_id)


async def _answer(call: Call, delivery_id: DeliveryId) -> DeliveryAnswer:
    found = await outbound.get_delivery(call.conn, call.customer_id, delivery_id)
    attempts = await outbound.list_attempts(call.conn, call.customer_id, found)
    return DeliveryAnswer(delivery=_make_row(found), attempts=[_make_attempt(each) for each in attempts])


def _make_row(found: StoredDelivery) -> DeliveryRow:
    return DeliveryRow(
        id=found.id,
        endpoint_id=found.endpoint_id,
        event_id=found.event_id,
        event_type=found.event_type,
        client_id=None if found.client_id == NOBODY else found.client_id,
        is_test=found.is_test,
        state=DeliveryState(found.state),
        reason=found.reason,
        attempts=found.attempts,
        created_at=found.created_at,
        first_attempt_at=found.first_attempt_at,
        next_attempt_at=found.next_attempt_at,
        finished_at=found.finished_at,
    )


def _make_attempt(attempt: StoredAttempt) -> AttemptRow:
    return AttemptRow(
        attempt_no=attempt.attempt_no,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        http_status=attempt.status,
        error=attempt.error,
        answer=attempt.answer,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/deliveries",
        handle=list_deliveries,
        summary="List deliveries",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=DeliveryListParams,
        answer=DeliveryPage,
        text="The newest first; those of a deleted endpoint too.",
    ),
    Route(
        method="GET",
        path="/deliveries/{deliveryId}",
        handle=get_delivery,
        summary="One delivery with its attempts",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=DeliveryParams,
        answer=DeliveryAnswer,
    ),
    Route(
        method="POST",
        path="/deliveries/{deliveryId}/retry",
        handle=retry_delivery,
        summary="Try a delivery at once",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=DeliveryParams,
        answer=DeliveryAnswer,
        status=202,
        text="One extra attempt, beside those of the schedule, which goes on as it would have: where a waiting one "
        "fails it is due at the next slot, and one that had failed has failed again. One that was never attempted begins "
        f"its schedule with it. At most {MOST_EXTRA_ATTEMPTS} beyond what the schedule has. Where the endpoint gets its "
        "events in order, one that had failed waits for what is due of its bank account already.",
    ),
)
