"""What a replay is, for whoever asks for one, over the API or on the command line. The statements are db/replay.py's."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

from bankfeed.cursor import read_cursor
from bankfeed.db.endpoint import Endpoint
from bankfeed.db.outbound import StoredEvent
from bankfeed.db.replay import Replayed, ReplayFilter
from bankfeed.errors import BadRequest
from bankfeed.model import EndpointId

REPLAYED_AT_ONCE: Final = 1_000
MAX_RATE_PER_S: Final = 1_000
AN_INSTANT: Final = timedelta(microseconds=1)

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where a replay goes on: after which event, up to when, and when the next one is due. `is_count`: it only counts."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    until: Moment
    due_at: Moment | None = None
    is_count: bool = False


def read_place(cursor: str, *, is_count: bool) -> Place:
    """Return the place that a cursor holds. Raises BadRequest naming `cursor`, also where it is of the other kind."""
    place = read_cursor(cursor, Place)
    if place.is_count != is_count:
        kinds = ("a replay", "a dry run") if is_count else ("a dry run", "a replay")
        raise BadRequest(f"expected a cursor of {kinds[1]}, got one of {kinds[0]}", field="cursor")
    return place


def check_replay(found: Endpoint, wanted: ReplayFilter, *, rate_per_s: int | None) -> None:
    """See that a replay fits its endpoint. Raises BadRequest."""
    if wanted.until <= wanted.since:
        raise BadRequest("expected until to be later than since", field="until")
    if strange := [each for each in wanted.event_types if each not in found.event_types]:
        raise BadRequest(f"expected some of {', '.join(found.event_types)}, got {strange[0]}", field="eventTypes")
    if rate_per_s is not None and found.subscription.is_ordered:
        raise BadRequest(
            "expected no rate for an endpoint that gets its events in order: its own rate counts", field="ratePerSecond"
        )


def narrow_to(event: StoredEvent, wanted: ReplayFilter) -> tuple[ReplayFilter, Place]:
    """Return what chooses one event, if the rest of the filter does, and the place right before it."""
    until = event.created_at + AN_INSTANT
    chosen = replace(wanted, since=event.created_at, until=until, event_id=event.event_id)
    return chosen, Place(event.outbox_id - 1, until)


def find_next(place: Place, replayed: Replayed) -> Place | None:
    """Return the place after what one call did from `place` on, None where there is no more."""
    if replayed.after is None:
        return None
    return Place(replayed.after, place.until, replayed.next_due_at, place.is_count)


def describe_replay(endpoint_id: EndpointId, wanted: ReplayFilter, *, count: int, is_count: bool) -> str:
    """Write a replay for the audit log: which endpoint, which events, and how many were queued, or only counted."""
    parts = {
        "endpointId": endpoint_id,
        "eventId": wanted.event_id,
        "clientId": wanted.client_id,
        "bankAccountId": wanted.connection_id,
        "since": _write_time(wanted.since),
        "until": _write_time(wanted.until),
        "eventTypes": ",".join(wanted.event_types) or None,
        "deliveries": "failed" if wanted.is_failed_only else None,
        "counted" if is_count else "queued": count,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items() if value is not None)


def _write_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
