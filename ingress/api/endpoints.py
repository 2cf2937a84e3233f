"""Webhook endpoints: where a customer's events are delivered to. Who delivers is the worker."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from bankfeed.addresses import MAX_URL_CHARS
from bankfeed.db import delivery, endpoint, outbound
from bankfeed.db.endpoint import Endpoint
from bankfeed.errors import BadRequest, NotFound
from bankfeed.jobs import Wake
from bankfeed.model import EndpointId, EventType
from bankfeed.outbox import make_test_event
from bankfeed.signing import SECRET_BYTES, new_secret
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire, conflict, version_conflict
from ingress.api.targets import check_url

TAG: Final = "Webhooks"
MAX_ENDPOINTS: Final = 50
MAX_OVERLAP_HOURS: Final = 168
ENDED_AT_ONCE: Final = 1_000

EndpointIdField = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The endpoint's id.")]
Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="https, on the public internet or where the operator allows; no user, password or fragment.",
    ),
]
EventTypes = Annotated[list[EventType], Meta(min_length=1, max_length=16, description="Which events it gets.")]
Description = Annotated[str, Meta(max_length=500, description="What it is for.")]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")]


class EndpointState(StrEnum):
    """Whether events are delivered to an endpoint."""

    ACTIVE = "active"
    DISABLED = "disabled"


class EndpointRow(Wire):
    """A subscriber's URL. Its secret is shown once, when it is made."""

    id: int
    url: str
    event_types: list[EventType]
    description: str
    state: EndpointState
    previous_secret_until: Annotated[
        datetime | None, Meta(description="Until when the secret before signs too; null: one secret signs.")
    ]
    created_at: datetime
    version: int


class EndpointAnswer(Wire):
    """One endpoint."""

    webhook_endpoint: EndpointRow


class EndpointSecretAnswer(Wire):
    """One endpoint, and its new secret."""

    webhook_endpoint: EndpointRow
    secret: Annotated[str, Meta(description="What signs its deliveries (Standard Webhooks). Shown here only.")]


class EndpointPage(Wire):
    """Some endpoints, the oldest first."""

    webhook_endpoints: list[EndpointRow]
    next_cursor: str | None


class DeletedEndpointAnswer(Wire):
    """What became of what waited for a deleted endpoint."""

    ended_deliveries: Annotated[
        int, Meta(description=f"Waiting deliveries that failed at once; past {ENDED_AT_ONCE:,} the others follow.")
    ]


class TestDelivery(Wire):
    """A delivery that was made to try an endpoint out."""

    id: int
    event_id: UUID
    event_type: EventType


class TestAnswer(Wire):
    """A test under way."""

    delivery: TestDelivery


class EndpointParams(Body):
    """Which endpoint."""

    endpoint_id: EndpointIdField


class EndpointListParams(Body):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class NewEndpoint(Body):
    """What is added."""

    url: Url
    event_types: EventTypes
    description: Description = ""


class EndpointChange(Body):
    """What is to change; what is not given stays."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    event_types: EventTypes | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType = msgspec.UNSET
    version: Version | None = None


class Rotation(Body):
    """How a secret is replaced."""

    overlap_hours: Annotated[
        int, Meta(ge=0, le=MAX_OVERLAP_HOURS, description="Hours that the secret before signs too; 0: not at all.")
    ]
    version: Version | None = None


class TestBody(Body):
    """What is sent."""

    event_type: (
        Annotated[EventType, Meta(description="One that the endpoint gets; the first of them if none is given.")] | None
    ) = None


async def add_webhook_endpoint(call: Call, _: NoParams, body: NewEndpoint) -> EndpointSecretAnswer:
    """Add an endpoint."""
    await check_url(body.url, call.settings.outbound_allow)
    await endpoint.lock_endpoints(call.conn, call.customer_id)
    if await endpoint.count_endpoints(call.conn, call.customer_id) >= MAX_ENDPOINTS:
        raise conflict(f"expected at most {MAX_ENDPOINTS} webhook endpoints: delete one first")
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    endpoint_id = await endpoint.insert_endpoint(
        call.conn,
        call.customer_id,
        url=body.url,
        secret=secret,
        event_types=list(dict.fromkeys(body.event_types)),
        description=body.description,
    )
    call.target = f"endpointId={endpoint_id}"
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    return EndpointSecretAnswer(webhook_endpoint=_make_row(found), secret=secret)


async def list_webhook_endpoints(call: Call, params: EndpointListParams) -> EndpointPage:
    """List the endpoints."""
    after = 0 if params.cursor is None else read_cursor(params.cursor, int)
    found = await endpoint.list_endpoints(call.conn, call.customer_id, after=after, limit=params.limit + 1)
    page = found[: params.limit]
    return EndpointPage(
        webhook_endpoints=[_make_row(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def get_webhook_endpoint(call: Call, params: EndpointParams) -> EndpointAnswer:
    """Answer one endpoint."""
    return await _answer(call, EndpointId(params.endpoint_id))


async def update_webhook_endpoint(call: Call, params: EndpointParams, body: EndpointChange) -> EndpointAnswer:
    """Change an endpoint."""
    endpoint_id = EndpointId(params.endpoint_id)
    url = None if body.url is msgspec.UNSET else body.url
    types = None if body.event_types is msgspec.UNSET else list(dict.fromkeys(body.event_types))
    if url is not None:
        await check_url(url, call.settings.outbound_allow)
    is_updated = await endpoint.update_subscription(
        call.conn,
        call.customer_id,
        endpoint_id,
        version=body.version,
        url=url,
        event_types=types,
        description=None if body.description is msgspec.UNSET else body.description,
    )
    if not is_updated:
        raise version_conflict((await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)).version)
    return await _answer(call, endpoint_id)


async def rotate_endpoint_secret(call: Call, params: EndpointParams, body: Rotation) -> EndpointSecretAnswer:
    """Replace an endpoint's secret."""
    endpoint_id = EndpointId(params.endpoint_id)
    secret = new_secret(secrets.token_bytes(SECRET_BYTES))
    is_rotated = await endpoint.rotate_secret(
        call.conn,
        call.customer_id,
        endpoint_id,
        secret=secret,
        overlap_hours=body.overlap_hours,
        version=body.version,
    )
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    if not is_rotated:
        raise version_conflict(found.version)
    return EndpointSecretAnswer(webhook_endpoint=_make_row(found), secret=secret)


async def disable_webhook_endpoint(call: Call, params: EndpointParams) -> EndpointAnswer:
    """Deliver nothing to an endpoint for now."""
    endpoint_id = EndpointId(params.endpoint_id)
    await endpoint.mark_state(call.conn, call.customer_id, endpoint_id, state=EndpointState.DISABLED)
    return await _answer(call, endpoint_id)


async def enable_webhook_endpoint(call: Call, params: EndpointParams) -> EndpointAnswer:
    """Deliver to an endpoint again."""
    endpoint_id = EndpointId(params.endpoint_id)
    await endpoint.mark_state(call.conn, call.customer_id, endpoint_id, state=EndpointState.ACTIVE)
    call.wake(Wake.DELIVER)
    return await _answer(call, endpoint_id)


async def delete_webhook_endpoint(call: Call, params: EndpointParams) -> DeletedEndpointAnswer:
    """Delete an endpoint, and end what waits for it."""
    endpoint_id = EndpointId(params.endpoint_id)
    if not await endpoint.mark_deleted(call.conn, call.customer_id, endpoint_id):
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    ended = await delivery.end_deliveries(
        call.conn, call.customer_id, endpoint_id, limit=ENDED_AT_ONCE, reason=delivery.ENDPOINT_DELETED
    )
    call.wake(Wake.DELIVER)  # what is left over is ended by who claims it
    return DeletedEndpointAnswer(ended_deliveries=ended)


async def test_webhook_endpoint(call: Call, params: EndpointParams, body: TestBody) -> TestAnswer:
    """Send an endpoint a test event."""
    endpoint_id = EndpointId(params.endpoint_id)
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    if not found.is_active:
        raise conflict("expected an active webhook endpoint, got one that is disabled: enable it first")
    event_type = body.event_type or found.event_types[0]
    if event_type not in found.event_types:
        raise BadRequest(f"expected one of {', '.join(found.event_types)}, got {event_type}", field="eventType")
    event = make_test_event(event_type, at=datetime.now(UTC))
    delivery_id = await outbound.insert_event_for(call.conn, call.customer_id, endpoint_id, event)
    call.wake(Wake.DELIVER)
    return TestAnswer(delivery=TestDelivery(id=delivery_id, event_id=event.event_id, event_type=event_type))


async def _answer(call: Call, endpoint_id: EndpointId) -> EndpointAnswer:
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    return EndpointAnswer(webhook_endpoint=_make_row(found))


def _make_row(found: Endpoint) -> EndpointRow:
    return EndpointRow(
        id=found.id,
        url=found.url,
        event_types=list(found.event_types),
        description=found.description,
        state=EndpointState(found.state),
        previous_secret_until=found.previous_secret_until,
        created_at=found.created_at,
        version=found.version,
    )


ROUTES: Final = (
    Route(
        method="POST",
        path="/webhook-endpoints",
        handle=add_webhook_endpoint,
        summary="Add a webhook endpoint",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        body=NewEndpoint,
        answer=EndpointSecretAnswer,
        status=201,
        text=f"Its secret is shown here only. At most {MAX_ENDPOINTS} a customer. Deliveries follow no redirects, and go to "
        "no address of a private network unless the operator allows it.",
        carries_secret=True,
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/webhook-endpoints",
        handle=list_webhook_endpoints,
        summary="List the webhook endpoints",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=EndpointListParams,
        answer=EndpointPage,
    ),
    Route(
        method="GET",
        path="/webhook-endpoints/{endpointId}",
        handle=get_webhook_endpoint,
        summary="One webhook endpoint",
        tag=TAG,
        scope=Scope.WEBHOOKS_READ,
        params=EndpointParams,
        answer=EndpointAnswer,
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/webhook-endpoints/{endpointId}",
        handle=update_webhook_endpoint,
        summary="Change a webhook endpoint",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=EndpointChange,
        answer=EndpointAnswer,
        text="What waits goes to the new URL.",
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/rotate-secret",
        handle=rotate_endpoint_secret,
        summary="Replace a webhook endpoint's secret",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=Rotation,
        answer=EndpointSecretAnswer,
        text="The new one is shown here only. While they overlap both sign, the new one first; an older one yet ends at once.",
        carries_secret=True,
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/disable",
        handle=disable_webhook_endpoint,
        summary="Deliver nothing to a webhook endpoint for now",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        answer=EndpointAnswer,
        text="New events make no delivery for it; POST .../replay brings them later. The slots of what waits pass without "
        "an attempt, and after three days it has failed.",
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/enable",
        handle=enable_webhook_endpoint,
        summary="Deliver to a webhook endpoint again",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        answer=EndpointAnswer,
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/webhook-endpoints/{endpointId}",
        handle=delete_webhook_endpoint,
        summary="Delete a webhook endpoint",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        answer=DeletedEndpointAnswer,
        text="What waits for it has failed, with the reason; an attempt that is under way ends by itself.",
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/test",
        handle=test_webhook_endpoint,
        summary="Send a webhook endpoint a test event",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=TestBody,
        answer=TestAnswer,
        status=202,
        text="A real delivery to this endpoint alone, signed and tried again like any other: no accounts, clientId and "
        'bankAccountId 0, and `"test": true` beside the payload. GET /deliveries/{deliveryId} tells what came of it.',
    ),
)
