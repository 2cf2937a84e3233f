"""What people see of events and deliveries, and trying one again. The lane is in delivery.py, sending again in replay.py."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.db.event import OutboundEvent
from bankfeed.errors import NotFound
from bankfeed.model import ClientId, ConnectionId, CustomerId, DeliveryId, EndpointId, EventType
from bankfeed.schedule import RETRIES

MOST_EXTRA_ATTEMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was committed. `outbox_id` is its place among all; `client_id` 0 is nobody."""

    outbox_id: int
    event_id: UUID
    event_type: EventType
    client_id: ClientId
    connection_id: ConnectionId
    created_at: datetime
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery as it stands. `reason` is "" where the last attempt says it.

    `next_attempt_at` is None once it is final, and while it waits for the one before it at an ordered endpoint.
    """

    id: DeliveryId
    endpoint_id: EndpointId
    endpoint_state: str
    event_id: UUID
    event_type: EventType
    client_id: ClientId
    is_test: bool
    state: str
    reason: str
    created_at: datetime
    first_attempt_at: datetime | None
    next_attempt_at: datetime | None
    finished_at: datetime | None
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries are wanted, None where it does not matter; `since` and `until` bound when the event was."""

    delivery_id: DeliveryId | None = None
    endpoint_id: EndpointId | None = None
    state: str | None = None
    event_type: EventType | None = None
    client_id: ClientId | None = None
    event_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAttempt:
    """One HTTP try as it was recorded."""

    attempt_no: int
    started_at: datetime
    duration_ms: int
    status: int | None
    error: str
    answer: str


async def list_events(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None = None,
    event_type: EventType | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> tuple[StoredEvent, ...]:
    """List events, the newest first, from before the place `before`; those of deleted clients are left out."""
    rows = await conn.fetch(
        """
        SELECT e.id AS outbox_id, e.event_id, e.event_type, e.client_id, e.connection_id, e.created_at, e.body
        FROM events e
        WHERE e.customer_id = $1 AND ($2::bigint IS NULL OR e.client_id = $2)
          AND ($3::event_type IS NULL OR e.event_type = $3) AND ($4::timestamptz IS NULL OR e.created_at >= $4)
          AND ($5::timestamptz IS NULL OR e.created_at < $5) AND ($6::bigint IS NULL OR e.id < $6)
          AND NOT EXISTS (SELECT FROM clients c
                          WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL)
        ORDER BY e.id DESC LIMIT $7
        """,
        customer_id,
        client_id,
        event_type,
        since,
        until,
        before,
        limit,
    )
    return tuple(_read_event(row) for row in rows)


async def get_event(conn: Connection, customer_id: CustomerId, event_id: UUID) -> StoredEvent:
    """Return one event by the id that subscribers see. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT e.id AS outbox_id, e.event_id, e.event_type, e.client_id, e.connection_id, e.created_at, e.body
        FROM events e
        WHERE e.customer_id = $1 AND e.event_id = $2
          AND NOT EXISTS (SELECT FROM clients c
                          WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL)
        ORDER BY e.id LIMIT 1
        """,
        customer_id,
        event_id,
    )
    if row is None:
        raise NotFound(f"there is no event {event_id}")
    return _read_event(row)


def _read_event(row: object) -> StoredEvent:
    found = dict(row)  # type: ignore[call-overload]
    return StoredEvent(**found | {"event_type": EventType(found["event_type"])})


async def list_deliveries(
    conn: Connection, customer_id: CustomerId, wanted: DeliveryFilter, *, before: int | None = None, limit: int
) -> tuple[StoredDelivery, ...]:
    """List deliveries, the newest first, of ids below `before`; those of deleted clients' events are left out.

    OFFSET 0 keeps the planner from joining all events to all deliveries and sorting them: it goes from the newest on, and
    looks up each one's event.
    """
    rows = await conn.fetch(
        """
        SELECT d.id, d.endpoint_id, p.state AS endpoint_state, e.event_id, e.event_type, e.client_id,
               e.client_id = 0 AND convert_from(e.body, 'UTF8')::jsonb @> '{"test": true}' AS is_test, d.state, d.reason,
               d.created_at, coalesce(q.first_attempt_at, d.first_attempt_at) AS first_attempt_at,
               nullif(q.due_at, 'infinity') AS next_attempt_at, d.finished_at,
               (SELECT count(*) FROM attempts a WHERE a.customer_id = $1 AND a.delivery_id = d.id
                AND a.delivery_created_at = d.created_at) AS attempts
        FROM deliveries d
        CROSS JOIN LATERAL (
            SELECT event_id, event_type, client_id, body FROM events
            WHERE customer_id = $1 AND id = d.outbox_id AND created_at = d.created_at OFFSET 0) e
        JOIN endpoints p ON p.customer_id = $1 AND p.id = d.endpoint_id
        LEFT JOIN delivery_queue q ON q.customer_id = $1 AND q.delivery_id = d.id
        WHERE d.customer_id = $1 AND ($2::bigint IS NULL OR d.id = $2) AND ($3::bigint IS NULL OR d.endpoint_id = $3)
          AND ($4::delivery_state IS NULL OR d.state = $4) AND ($5::event_type IS NULL OR e.event_type = $5)
          AND ($6::timestamptz IS NULL OR d.created_at >= $6) AND ($7::timestamptz IS NULL OR d.created_at < $7)
          AND ($8::bigint IS NULL OR e.client_id = $8)
          AND ($9::uuid IS NULL OR d.outbox_id IN (SELECT id FROM events WHERE customer_id = $1 AND event_id = $9))
          AND ($10::bigint IS NULL OR d.id < $10)
          AND NOT EXISTS (SELECT FROM clients c
                          WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL OFFSET 0)
        ORDER BY d.id DESC LIMIT $11
        """,
        customer_id,
        wanted.delivery_id,
        wanted.endpoint_id,
        wanted.state,
        wanted.event_type,
        wanted.since,
        wanted.until,
        wanted.client_id,
        wanted.event_id,
        before,
        limit,
    )
    return tuple(StoredDelivery(**dict(row) | {"event_type": EventType(row["event_type"])}) for row in rows)


async def get_delivery(conn: Connection, customer_id: CustomerId, delivery_id: DeliveryId) -> StoredDelivery:
    """Return one delivery. Raises NotFound."""
    found = await list_deliveries(conn, customer_id, DeliveryFilter(delivery_id=delivery_id), limit=1)
    if not found:
        raise NotFound(f"there is no delivery {delivery_id}")
    return found[0]


async def list_attempts(conn: Connection, customer_id: CustomerId, found: StoredDelivery) -> tuple[StoredAttempt, ...]:
    """List the attempts of a delivery, the first one first."""
    rows = await conn.fetch(
        """
        SELECT attempt_no, started_at, duration_ms, status, error, answer FROM attempts
        WHERE customer_id = $1 AND delivery_id = $2 AND delivery_created_at = $3 ORDER BY attempt_no
        """,
        customer_id,
        found.id,
        found.created_at,
    )
    return tuple(StoredAttempt(**row) for row in rows)


async def hurry_delivery(conn: Connection, customer_id: CustomerId, delivery_id: DeliveryId) -> bool:
    """Make a waiting delivery due at once: an extra attempt, or the first one where there was none yet.

    False where it does not wait, is being attempted, had its extra attempts, or waits for the one before it.
    """
    hurried = await conn.fetchval(
        """
        UPDATE delivery_queue SET due_at = now(), is_by_hand = first_attempt_at IS NOT NULL, urgent_at = now()
        WHERE customer_id = $1 AND delivery_id = $2 AND (lease_until IS NULL OR lease_until < now())
          AND extra_attempts < $3 AND due_at < 'infinity'
        RETURNING true
        """,
        customer_id,
        delivery_id,
        MOST_EXTRA_ATTEMPTS,
    )
    return bool(hurried)


async def requeue_delivery(conn: Connection, customer_id: CustomerId, delivery_id: DeliveryId) -> bool:
    """Let a failed delivery wait again, due at once, for one extra attempt; one never attempted begins its schedule.

    At an ordered endpoint it is due once what is due of the same connection is final. False where it has not failed, or had
    as many attempts as its endpoint's schedule has, and the extra ones.
    """
    requeued = await conn.fetchval(
        """
        WITH made AS (
            SELECT count(*)::int AS n FROM attempts WHERE customer_id = $1 AND delivery_id = $2
        ), asked AS (
            SELECT d.id, 1 + coalesce(cardinality(p.retry_schedule), $4) AS slots,
                   CASE WHEN p.is_ordered THEN nullif(e.connection_id, 0) END AS order_key
            FROM deliveries d
            JOIN endpoints p ON p.customer_id = $1 AND p.id = d.endpoint_id
            JOIN events e ON e.customer_id = $1 AND e.id = d.outbox_id AND e.created_at = d.created_at
            WHERE d.customer_id = $1 AND d.id = $2
        ), again AS (
            UPDATE deliveries d SET state = 'waiting', finished_at = NULL, reason = ''
            FROM asked, made WHERE d.customer_id = $1 AND d.id = $2 AND d.id = asked.id AND d.state = 'failed'
            AND made.n < asked.slots + $3::int
            RETURNING d.id, d.endpoint_id, d.outbox_id, d.created_at, d.first_attempt_at
        )
        INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, first_attempt_at,
            attempts, extra_attempts, is_by_hand, urgent_at, order_key)
        SELECT $1, again.id, again.endpoint_id, again.outbox_id, again.created_at, again.first_attempt_at,
               least(made.n, asked.slots), greatest(made.n - asked.slots, 0), again.first_attempt_at IS NOT NULL, now(),
               asked.order_key
        FROM again, asked, made
        RETURNING true
        """,
        customer_id,
        delivery_id,
        MOST_EXTRA_ATTEMPTS,
        RETRIES,
    )
    return bool(requeued)


async def insert_event_for(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, event: OutboundEvent
) -> DeliveryId:
    """Commit an event for one endpoint alone, whatever it subscribed to; return its delivery."""
    delivery_id: DeliveryId = await conn.fetchval(
        """
        WITH event AS (
            INSERT INTO events (customer_id, created_at, event_id, event_type, client_id, connection_id, body)
            VALUES ($1, $3, $4, $5, $6, $7, $8) RETURNING id, created_at
        ), delivery AS (
            INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
            SELECT $1, created_at, $2, id FROM event RETURNING id, created_at, outbox_id
        )
        INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, order_key)
        SELECT $1, d.id, $2, d.outbox_id, d.created_at, CASE WHEN p.is_ordered THEN nullif($7::bigint, 0) END
        FROM delivery d JOIN endpoints p ON p.customer_id = $1 AND p.id = $2
        RETURNING delivery_id
        """,
        customer_id,
        endpoint_id,
        event.created_at,
        event.event_id,
        event.event_type,
        event.client_id,
        event.connection_id,
        event.body,
    )
    return delivery_id
