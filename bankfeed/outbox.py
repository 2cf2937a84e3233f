"""Outbound events as values: the documented body, made once, so that every try sends the same bytes."""

from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import orjson

from bankfeed.db.event import OutboundEvent
from bankfeed.model import AccountId, ClientId, ConnectionId, EventType


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
    body = {
        "eventType": event_type,
        "eventId": str(event_id),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "payload": {
            "accounts": list(accounts),
            "bankAccountId": connection_id,
            "clientId": client_id,
        },
    }
    return OutboundEvent(
        event_id=event_id,
        event_type=event_type,
        client_id=client_id,
        connection_id=connection_id,
        body=orjson.dumps(body),
        created_at=at,
    )
