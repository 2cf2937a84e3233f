"""Events: the outbox, written with the change that causes them, and fanned out to deliveries in the same statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundEvent:
    """An event as subscribers get it: `body` is what is signed and sent, the same bytes on every try."""

    event_id: UUID
    event_type: EventType
    client_id: ClientId
    connection_id: ConnectionId
    body: bytes
    created_at: datetime


async def insert_events(conn: Connection, customer_id: CustomerId, events: Sequence[OutboundEvent]) -> int:
    """Commit events with a delivery for each active endpoint that wants them; return how many deliveries wait."""
    count: int = await conn.fetchval(
        """
        WITH event AS (
            INSERT INTO events (customer_id, created_at, event_id, event_type, client_id, connection_id, body)
            SELECT $1, u.created_at, u.event_id, u.event_type, u.client_id, u.connection_id, u.body
            FROM unnest($2::timestamptz[], $3::uuid[], $4::event_type[], $5::bigint[], $6::bigint[], $7::bytea[])
                 WITH ORDINALITY AS u (created_at, event_id, event_type, client_id, connection_id, body, n)
            ORDER BY u.n
            RETURNING id, created_at, event_type
        ), delivery AS (
            INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
            SELECT $1, event.created_at, p.id, event.id
            FROM event JOIN endpoints p ON p.customer_id = $1 AND p.state = 'active' AND event.event_type = ANY (p.event_types)
            ORDER BY event.id, p.id
            RETURNING id, created_at, endpoint_id, outbox_id
        ), queued AS (
            INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at)
            SELECT $1, id, endpoint_id, outbox_id, created_at FROM delivery RETURNING 1
        )
        SELECT count(*) FROM queued
        """,
        customer_id,
        [event.created_at for event in events],
        [event.event_id for event in events],
        [event.event_type for event in events],
        [event.client_id for event in events],
        [event.connection_id for event in events],
        [event.body for event in events],
    )
    return count
