"""Replay: telling an endpoint again what was, by time, by filter or one event."""

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from bankfeed.db import client, endpoint, outbound, replay
from bankfeed.db.replay import MOST_COUNTED_AMONG, USUAL_RATE_PER_S, Replayed, ReplayFilter
from bankfeed.errors import BadRequest
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, ConnectionId, EndpointId, EventType
from bankfeed.replaying import (
    MAX_RATE_PER_S,
    REPLAYED_AT_ONCE,
    Place,
    check_replay,
    describe_replay,
    find_next,
    narrow_to,
    read_place,
)
from ingress.api.call import Call
from ingress.api.deliveries import Time
from ingress.api.endpoints import TAG, EndpointParams
from ingress.api.pages import write_cursor
from ingress.api.route import Body, Route, Scope, Wire, conflict


class ReplayOf(StrEnum):
    """Which of the events that the endpoint gets."""

    ALL = "all"
    FAILED = "failed"


class ReplayRow(Wire):
    """What a call of a replay queued, or would queue."""

    count: Annotated[
        int,
        Meta(
            description=f"Events queued by this call, at most {REPLAYED_AT_ONCE:,}; in a dry run those that would be, among "
            f"the {MOST_COUNTED_AMONG:,} events that a call looks at."
        ),
    ]
    dry_run: bool
    until: Annotated[datetime, Meta(description="Up to when: the call's own time where none was given.")]
    due_by: Annotated[datetime | None, Meta(description="By when all that this call queued is due; null in a dry run.")]


class ReplayAnswer(Wire):
    """A replay, and how to go on with it."""

    replay: ReplayRow
    resume_cursor: Annotated[
        str | None,
        Meta(description="Ask the same again with this as cursor; null: there is no more. A dry run's counts on."),
    ]


class ReplayBody(Body):
    """Which events are told again."""

    since: Annotated[Time, Meta(description="From then on; left out where eventId names one event.")] | None = None
    until: Annotated[Time, Meta(description="Before then; up to now if none is given.")] | None = None
    event_types: (
        Annotated[
            list[EventType],
            Meta(min_length=1, max_length=16, description="Of these types; of those that the endpoint gets."),
        ]
        | None
    ) = None
    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="About one client.")] | None = None
    bank_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="About one bank account.")] | None = None
    event_id: Annotated[UUID, Meta(description="This event alone.")] | None = None
    deliveries: Annotated[
        ReplayOf,
        Meta(
            description="failed: only events whose latest delivery to the endpoint failed, or that were never delivered to it."
        ),
    ] = ReplayOf.ALL
    rate_per_second: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_RATE_PER_S,
                description="How many are due in a second; half of the endpoint's own rate if none is given, "
                f"{USUAL_RATE_PER_S} where it has none. Not for an endpoint that gets its events in order.",
            ),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Meta(description="Count only.")] = False
    cursor: Annotated[str, Meta(max_length=300, description="resumeCursor of the call before.")] | None = None


async def replay_events(call: Call, params: EndpointParams, body: ReplayBody) -> ReplayAnswer:
    """Tell an endpoint again."""
    endpoint_id = EndpointId(params.endpoint_id)
    found = await endpoint.lock_endpoint(call.conn, call.customer_id, endpoint_id)
    if not found.is_active:
        raise conflict("expected an active webhook endpoint, got one that is disabled: enable it first")
    wanted, place = await _read(call, body)
    check_replay(found, wanted, rate_per_s=body.rate_per_second)
    replayed = await _count_or_queue(call, endpoint_id, body, wanted, place)
    call.target = describe_replay(endpoint_id, wanted, count=replayed.count, is_count=body.dry_run)
    following = find_next(place, replayed)
    return ReplayAnswer(
        replay=ReplayRow(count=replayed.count, dry_run=body.dry_run, until=place.until, due_by=replayed.next_due_at),
        resume_cursor=None if following is None else write_cursor(following),
    )


async def _count_or_queue(
    call: Call, endpoint_id: EndpointId, body: ReplayBody, wanted: ReplayFilter, place: Place
) -> Replayed:
    if body.dry_run:
        return await replay.count_replayable(call.conn, call.customer_id, endpoint_id, wanted, after=place.after)
    replayed = await replay.replay_events(
        call.conn,
        call.customer_id,
        endpoint_id,
        wanted,
        after=place.after,
        limit=REPLAYED_AT_ONCE,
        due_at=place.due_at,
        rate_per_s=body.rate_per_second,
    )
    call.wake(Wake.DELIVER)
    return replayed


async def _read(call: Call, body: ReplayBody) -> tuple[ReplayFilter, Place]:
    """Return which events are meant, and where to begin or go on; the end stays what it was at first. Raises BadRequest."""
    client_id = None if body.client_id is None else ClientId(body.client_id)
    if client_id is not None:
        await client.get_client(call.conn, call.customer_id, client_id)
    now = datetime.now(UTC)
    wanted = ReplayFilter(
        since=body.since or now,
        until=body.until or now,
        event_types=tuple(dict.fromkeys(body.event_types or ())),
        client_id=client_id,
        connection_id=None if body.bank_account_id is None else ConnectionId(body.bank_account_id),
        is_failed_only=body.deliveries is ReplayOf.FAILED,
    )
    if body.event_id is not None:
        if body.since or body.until or body.cursor:
            raise BadRequest("expected eventId without since, until and cursor", field="eventId")
        return narrow_to(await outbound.get_event(call.conn, call.customer_id, body.event_id), wanted)
    if body.since is None:
        raise BadRequest("expected since, or eventId", field="since")
    if body.cursor is None:
        return wanted, Place(0, wanted.until, is_count=body.dry_run)
    place = read_place(body.cursor, is_count=body.dry_run)
    return replace(wanted, until=place.until), place


ROUTES: Final = (
    Route(
        method="POST",
        path="/webhook-endpoints/{endpointId}/replay",
        handle=replay_events,
        summary="Deliver events to a webhook endpoint again",
        tag=TAG,
        scope=Scope.WEBHOOKS_WRITE,
        params=EndpointParams,
        body=ReplayBody,
        answer=ReplayAnswer,
        text="The oldest first, as new deliveries with the event's own id, so that a subscriber can tell what it has seen. "
        "Only what the endpoint gets: its types and its bounds count; also events from before it was there. One that "
        "waits for it already is not doubled, and tests are left out. What happens meanwhile is not kept waiting: the "
        f"replayed ones are due one after the other, by a rate. A call queues at most {REPLAYED_AT_ONCE:,}; with "
        "resumeCursor the next one goes on.",
    ),
)
