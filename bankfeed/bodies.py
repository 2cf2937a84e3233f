"""The bodies of outbound events: as Bankfeed documents them, and as the LedgerSync document prints them. Pure.

The documented body is made and stored once; the other one is made from it for each try, and is the same bytes each time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from bankfeed.model import BodyFormat, EventType
from bankfeed.reconcile.changes import Change, ChangeKind, Changes


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCounts:
    """How many transactions a change was about, as subscribers are told: a row counts once.

    `posted` were pending. `updated` holds what came back into view, `removed` what went from view for good: pending rows
    that are gone, and rows that were joined to others.
    """

    added: int = 0
    updated: int = 0
    posted: int = 0
    shadowed: int = 0
    removed: int = 0


_COUNTED: Final[Mapping[ChangeKind, str]] = {
    ChangeKind.ADDED: "added",
    ChangeKind.UPDATED: "updated",
    ChangeKind.POSTED: "posted",
    ChangeKind.SHADOWED: "shadowed",
    ChangeKind.RETURNED: "updated",
    ChangeKind.REMOVED: "removed",
    ChangeKind.MERGED: "removed",
}
"""What each kind counts as; what is not here changed nothing that anybody sees."""


def count_changes(changes: Changes) -> TransactionCounts:
    """Count what a plan changed, each row at what it means to those who see it."""
    counts: dict[str, int] = {}
    for change in changes.rows:
        if (word := _COUNTED.get(change.kind)) and not _is_out_of_view(change):
            counts[word] = counts.get(word, 0) + 1
    return TransactionCounts(**counts)


def _is_out_of_view(change: Change) -> bool:
    """Tell whether a row was merged that nobody saw any more."""
    return change.kind is ChangeKind.MERGED and change.before is not None and not change.before.is_visible


def write_standard(
    event_type: EventType, event_id: str, payload: Mapping[str, object], *, at: datetime, is_test: bool = False
) -> bytes:
    """Write the documented body as strict JSON; `at` is aware, and written in UTC to the millisecond (RFC 3339).

    >>> write_standard(EventType.MFA_UPDATED, "e1", {"accounts": [7]}, at=datetime(2026, 3, 2, 6, tzinfo=UTC))
    b'{"eventType":"mfaUpdated","eventId":"e1","timestamp":"2026-03-02T06:00:00.000Z","payload":{"accounts":[7]}}'
    """
    body: dict[str, object] = {
        "eventType": event_type,
        "eventId": event_id,
        "timestamp": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "payload": payload,
    }
    return msgspec.json.encode({**body, "test": True} if is_test else body)


class _Payload(msgspec.Struct):
    accounts: tuple[int, ...] = ()


class _Stored(msgspec.Struct, rename="camel"):
    event_type: str
    event_id: str
    timestamp: datetime
    payload: _Payload
    test: bool = False


_stored: Final = msgspec.json.Decoder(_Stored)


def write_body(stored: bytes, body_format: BodyFormat) -> bytes:
    """Write a stored body in the form that an endpoint asks for; the documented one is the very same bytes.

    The LedgerSync document's payload is the accounts alone, in a text, and its time has no zone; UTC is meant. Of what it
    prints, the blank after the eventId and the comma after the accounts are left out.

    >>> stored = write_standard(EventType.MFA_UPDATED, "e1", {"accounts": [7, 8]}, at=datetime(2026, 3, 2, 6, tzinfo=UTC))
    >>> write_body(stored, BodyFormat.LEDGERSYNC)
    b'{"eventType":"mfaUpdated","eventId":"e1","timestamp":"2026-03-02 06:00:00.000","payload":{"accounts":"[7, 8]"}}'
    """
    if body_format is BodyFormat.STANDARD:
        return stored
    event = _stored.decode(stored)
    body: dict[str, object] = {
        "eventType": event.event_type,
        "eventId": event.event_id,
        "timestamp": event.timestamp.astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec="milliseconds"),
        "payload": {"accounts": str(list(event.payload.accounts))},
    }
    return msgspec.json.encode({**body, "test": True} if event.test else body)
