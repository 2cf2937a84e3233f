"""Events: the outbox, written with the change that causes them, and fanned out to deliveries in the same statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundEvent:
    """An event as subscribers get it: `body` is what is signed and sent, the same bytes on every try. Client 0 is nobody."""

    event_id: UUID
    event_type: EventType
    client_id: ClientId
    connection_id: ConnectionId
    accounts: tuple[AccountId, ...]
    body: bytes
    created_at: datetime


async def insert_events(conn: Connection, customer_id: CustomerId, events: Sequence[OutboundEvent]) -> int:
    """Commit events with a delivery for each active endpoint that wants them, and of whom; return how many deliveries wait."""
    count: int = await conn.fetchval(
        """
        WITH event AS (
            INSERT INTO events (customer_id, created_at, event_id, event_type, client_id, connection_id, accounts, body)
            SELECT $1, u.created_at, u.event_id, u.event_type, u.client_id, u.connection_id,
                   string_to_array(u.accounts, ' ')::bigint[], u.body
            FROM unnest($2::timestamptz[], $3::uuid[], $4::event_type[], $5::bigint[], $6::bigint[], $7::text[], $8::bytea[])
                 WITH ORDINALITY AS u (created_at, event_id, event_type, client_id, connection_id, accounts, body, n)
            ORDER BY u.n
            RETURNING id, created_at, event_type, client_id, connection_id, accounts
        ), delivery AS (
            INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
            SELECT $1, event.created_at, p.id, event.id
            FROM event JOIN endpoints p ON p.customer_id = $1 AND p.state = 'active' AND event.event_type = ANY (p.event_types)
            WHERE event.client_id = 0 OR (
                coalesce(event.client_id = ANY (p.client_ids), true) AND coalesce(event.accounts && p.account_ids, true)
                AND (p.institution_ids IS NULL OR EXISTS (
                    SELECT FROM connections c WHERE c.customer_id = $1 AND c.id = event.connection_id
                    AND c.institution_id = ANY (p.institution_ids))))
            ORDER BY event.id, p.id
            RETURNING id, created_at, endpoint_id, outbox_id
        ), queued AS (
            INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, order_key)
            SELECT $1, d.id, d.endpoint_id, d.outbox_id, d.created_at,
                   CASE WHEN p.is_ordered THEN nullif(event.connection_id, 0) END
            FROM delivery d JOIN endpoints p ON p.customer_id = $1 AND p.id = d.endpoint_id
            JOIN event ON event.id = d.outbox_id
            ORDER BY d.outbox_id, d.id
            RETURNING 1
        )
        SELECT count(*) FROM queued
        """,
        customer_id,
        [event.created_at for event in events],
        [event.event_id for event in events],
        [event.event_type for event in events],
        [event.client_id for event in events],
        [event.connection_id for event in events],
        [" ".join(map(str, event.accounts)) for event in events],
        [event.body for event in events],
    )
    return count
