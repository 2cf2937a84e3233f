"""Outbound events as values: the documented body, made once, so that every try sends the same bytes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from bankfeed.db.event import OutboundEvent
from bankfeed.model import AccountId, ClientId, ConnectionId, EventType

NOBODY = 0
"""Whose a test event is, as its clientId and bankAccountId: no id of ours."""


def make_event(
    event_type: EventType,
    accounts: Sequence[AccountId],
    *,
    client_id: ClientId,
    connection_id: ConnectionId,
    at: datetime,
) -> OutboundEvent:
    """Make an event about accounts of one connection.

    The body is the LedgerSync document's as strict JSON: eventType, eventId (UUID), timestamp (RFC 3339, UTC,
    milliseconds) and payload with our account ids; bankAccountId is our connection.
    """
    event_id = uuid4()
    body = _make_body(event_type, event_id, accounts, client_id=client_id, connection_id=connection_id, at=at)
    return OutboundEvent(
        event_id=event_id,
        event_type=event_type,
        client_id=client_id,
        connection_id=connection_id,
        body=orjson.dumps(body),
        created_at=at,
    )


def make_test_event(event_type: EventType, *, at: datetime) -> OutboundEvent:
    """Make an event about no account, of nobody, for one endpoint to be tried out; its body says `"test": true`."""
    event_id = uuid4()
    client_id, connection_id = ClientId(NOBODY), ConnectionId(NOBODY)
    body = _make_body(event_type, event_id, (), client_id=client_id, connection_id=connection_id, at=at)
    return OutboundEvent(
        event_id=event_id,
        event_type=event_type,
        client_id=client_id,
        connection_id=connection_id,
        body=orjson.dumps({**body, "test": True}),
        created_at=at,
    )


def _make_body(
    event_type: EventType,
    event_id: UUID,
    accounts: Sequence[AccountId],
    *,
    client_id: ClientId,
    connection_id: ConnectionId,
    at: datetime,
) -> dict[str, Any]:
    return {
        "eventType": event_type,
        "eventId": str(event_id),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "payload": {
            "accounts": list(accounts),
            "bankAccountId": connection_id,
            "clientId": client_id,
        },
    }
