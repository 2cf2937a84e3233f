"""Webhook endpoints: where a customer's events are delivered to. Who delivers is the worker."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from bankfeed.db import delivery, endpoint, outbound
from bankfeed.endpoints import NewEndpoint, add_endpoint, rotate, seal_headers
from bankfeed.errors import BadRequest, NotFound
from bankfeed.jobs import Wake
from bankfeed.model import EndpointId, EventType
from bankfeed.outbox import make_test_event
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire, conflict, version_conflict
from ingress.api.subscriptions import (
    Backlog,
    Disabling,
    Enabling,
    EndpointChange,
    EndpointRow,
    EndpointState,
    NewEndpointBody,
    SecretText,
    Version,
    read_headers,
    read_secret,
    read_wishes,
    show_endpoint,
)

__all__ = ["ROUTES", "TAG", "EndpointIdField", "EndpointParams", "EndpointState"]

TAG: Final = "Webhooks"
MAX_ENDPOINTS: Final = 50
MAX_OVERLAP_HOURS: Final = 168
ENDED_AT_ONCE: Final = 1_000
MISFIT: Final = 400

EndpointIdField = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The endpoint's id.")]


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


class EnabledAnswer(Wire):
    """One endpoint, and what became of what waited for it."""

    webhook_endpoint: EndpointRow
    discarded_deliveries: Annotated[int, Meta(description="Waiting deliveries that failed unsent.")]
    left_deliveries: Annotated[
        int,
        Meta(
            description=f"How many wait that are to be discarded too, counted up to {delivery.MOST_COUNTED:,}; until there "
            "are none the endpoint stays disabled: ask again."
        ),
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


class Rotation(Body):
    """How a secret is replaced."""

    overlap_hours: Annotated[
        int, Meta(ge=0, le=MAX_OVERLAP_HOURS, description="Hours that the secret before signs too; 0: not at all.")
    ]
    secret: SecretText | None = None
    version: Version | None = None


class TestBody(Body):
    """What is sent."""

    event_type: (
        Annotated[EventType, Meta(description="One that the endpoint gets; the first of them if none is given.")] | None
    ) = None


async def add_webhook_endpoint(call: Call, _: NoParams, body: NewEndpointBody) -> EndpointSecretAnswer:
    """Add an endpoint."""
    given = await read_wishes(call, body)
    new = NewEndpoint(**given, secret=read_secret(body.secret), headers=read_headers(body.headers) or {})
    await endpoint.lock_endpoints(call.conn, call.customer_id)
    if await endpoint.count_endpoints(call.conn, call.customer_id) >= MAX_ENDPOINTS:
        raise conflict(f"expected at most {MAX_ENDPOINTS} webhook endpoints: delete one first")
    added = await add_endpoint(call.conn, call.settings.sealer(), call.customer_id, new)
    call.target = f"endpointId={added.id}"
    found = await endpoint.get_endpoint(call.conn, call.customer_id, added.id)
    return EndpointSecretAnswer(webhook_endpoint=show_endpoint(found), secret=added.secret)


async def list_webhook_endpoints(call: Call, params: EndpointListParams) -> EndpointPage:
    """List the endpoints."""
    after = 0 if params.cursor is None else read_cursor(params.cursor, int)
    found = await endpoint.list_endpoints(call.conn, call.customer_id, after=after, limit=params.limit + 1)
    page = found[: params.limit]
    return EndpointPage(
        webhook_endpoints=[show_endpoint(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def get_webhook_endpoint(call: Call, params: EndpointParams) -> EndpointAnswer:
    """Answer one endpoint."""
    return await _answer(call, EndpointId(params.endpoint_id))


async def update_webhook_endpoint(call: Call, params: EndpointParams, body: EndpointChange) -> EndpointAnswer:
    """Change an endpoint."""
    endpoint_id = EndpointId(params.endpoint_id)
    given, headers = await read_wishes(call, body), read_headers(body.headers)
    found = await endpoint.lock_endpoint(call.conn, call.customer_id, endpoint_id)
    if body.version not in (None, found.version):
        raise version_conflict(found.version)
    wanted = replace(found.subscription, **given)
    await endpoint.update_subscription(call.conn, call.customer_id, endpoint_id, wanted)
    if headers is not None:
        sealed = seal_headers(call.settings.sealer(), call.customer_id, headers)
        await endpoint.update_headers(call.conn, call.customer_id, endpoint_id, sealed)
    return await _answer(call, endpoint_id)


async def rotate_endpoint_secret(call: Call, params: EndpointParams, body: Rotation) -> EndpointSecretAnswer:
    """Replace an endpoint's secret."""
    endpoint_id = EndpointId(params.endpoint_id)
    secret = await rotate(
        call.conn,
        call.settings.sealer(),
        call.customer_id,
        endpoint_id,
        secret=read_secret(body.secret),
        overlap_hours=body.overlap_hours,
        version=body.version,
    )
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    if secret is None:
        raise version_conflict(found.version)
    return EndpointSecretAnswer(webhook_endpoint=show_endpoint(found), secret=secret)


async def disable_webhook_endpoint(call: Call, params: EndpointParams, body: Disabling) -> EndpointAnswer:
    """Deliver nothing to an endpoint for now."""
    endpoint_id = EndpointId(params.endpoint_id)
    await endpoint.disable_endpoint(call.conn, call.customer_id, endpoint_id, reason=body.reason)
    return await _answer(call, endpoint_id)


async def enable_webhook_endpoint(call: Call, params: EndpointParams, body: Enabling) -> EnabledAnswer:
    """Deliver to an endpoint again; what is to be discarded is so before the first delivery."""
    endpoint_id = EndpointId(params.endpoint_id)
    found = await endpoint.lock_endpoint(call.conn, call.customer_id, endpoint_id)
    discarded = left = 0
    if body.backlog is Backlog.DISCARD and not found.is_active:
        discarded, left = await _discard(call, endpoint_id)
    if not left:
        await endpoint.enable_endpoint(call.conn, call.customer_id, endpoint_id)
        call.wake(Wake.DELIVER)
    found = await endpoint.get_endpoint(call.conn, call.customer_id, endpoint_id)
    return EnabledAnswer(webhook_endpoint=show_endpoint(found), discarded_deliveries=discarded, left_deliveries=left)


async def _discard(call: Call, endpoint_id: EndpointId) -> tuple[int, int]:
    """Fail some of what waits; return how many, and how many are left."""
    discarded = await delivery.end_deliveries(
        call.conn, call.customer_id, endpoint_id, limit=ENDED_AT_ONCE, reason=delivery.ENDPOINT_ENABLED
    )
    left = await endpoint.count_backlog(call.conn, call.customer_id, endpoint_id, most=delivery.MOST_COUNTED)
    return discarded, left


async def delete_webhook_endpoint(call: Call, params: EndpointParams) -> DeletedEndpointAnswer:
    """Delete an endpoint, and end what waits for it."""
    endpoint_id = EndpointId(params.endpoint_id)
    if not await endpoint.mark_deleted(call.conn, call.customer_id, endpoint_id):
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    ended = await delivery.end_deliveries(
        call.conn, call.customer_id, endpoint_id, limit=ENDED_AT_ONCE, reason=delivery.ENDPOINT_DELETED
    )
    call.wake(Wake.DELIVER)  # an attempt of another may go now; what is left over a sweep ends
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
    return EndpointAnswer(webhook_endpoint=show_endpoint(found))


ROUTES: Final = (
    Route(
        method="POST",
        path="/webhook-endpoints",
        handle=add_webhook_endpoint,
        summary="Add a webhook endpoint",
        tag=TAG,
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        body=NewEndpointBody,
        answer=EndpointSecretAnswer,
        status=201,
        text=f"Its secret is shown here only. At most {MAX_ENDPOINTS} a customer. Deliveries follow no redirects, and go to "
        "no address of a private network, and no port but 443 and 8443, unless the operator allows it.",
        carries_secret=True,
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/webhook-endpoints",
        handle=list_webhook_endpoints,
        summary="List the webhook endpoints",
        tag=TAG,
        invalid_status=MISFIT,
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
        invalid_status=MISFIT,
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
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=EndpointChange,
        answer=EndpointAnswer,
        text="What waits goes to the new URL, with the new headers and in the new form; what was queued stays queued.",
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/rotate-secret",
        handle=rotate_endpoint_secret,
        summary="Replace a webhook endpoint's secret",
        tag=TAG,
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=Rotation,
        answer=EndpointSecretAnswer,
        text="And its key pair. The new secret is shown here only. While they overlap both sign, the new ones first; older ones "
        "yet end at once.",
        carries_secret=True,
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/disable",
        handle=disable_webhook_endpoint,
        summary="Deliver nothing to a webhook endpoint for now",
        tag=TAG,
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=Disabling,
        is_body_optional=True,
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
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=Enabling,
        is_body_optional=True,
        answer=EnabledAnswer,
        text="It begins without failures. What waits is delivered, or fails unsent: some at a time, and while any are left it "
        "stays disabled; an attempt that is under way ends by itself. Nothing changes where it is active.",
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/webhook-endpoints/{endpointId}",
        handle=delete_webhook_endpoint,
        summary="Delete a webhook endpoint",
        tag=TAG,
        invalid_status=MISFIT,
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
        invalid_status=MISFIT,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=TestBody,
        answer=TestAnswer,
        status=202,
        text="A real delivery to this endpoint alone, signed and tried again like any other: no accounts, clientId and "
        'bankAccountId 0, and `"test": true` beside the payload. GET /deliveries/{deliveryId} tells what came of it.',
    ),
)
