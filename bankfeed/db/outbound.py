"""What people see of events and deliveries, and what they ask of them: try again, send again. The lane is in delivery.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.db.event import OutboundEvent
from bankfeed.errors import NotFound
from bankfeed.model import ClientId, ConnectionId, CustomerId, DeliveryId, EndpointId, EventType

MOST_EXTRA_ATTEMPTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was committed. `outbox_id` is its place among all; `client_id` 0 is a test."""

    outbox_id: int
    event_id: UUID
    event_type: EventType
    client_id: ClientId
    connection_id: ConnectionId
    created_at: datetime
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDelivery:
    """A delivery as it stands. `next_attempt_at` is None once it is final; `reason` is "" where the last attempt says it."""

    id: DeliveryId
    endpoint_id: EndpointId
    endpoint_state: str
    event_id: UUID
    event_type: EventType
    client_id: ClientId
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many events one call queued again, and the last of them, None where it was none."""

    count: int
    last_outbox_id: int | None


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
    """List deliveries, the newest first, of ids below `before`; those of deleted clients' events are left out."""
    rows = await conn.fetch(
        """
        SELECT d.id, d.endpoint_id, p.state AS endpoint_state, e.event_id, e.event_type, e.client_id, d.state, d.reason,
               d.created_at, coalesce(q.first_attempt_at, d.first_attempt_at) AS first_attempt_at,
               q.due_at AS next_attempt_at, d.finished_at,
               (SELECT count(*) FROM attempts a WHERE a.customer_id = $1 AND a.delivery_id = d.id
                AND a.delivery_created_at = d.created_at) AS attempts
        FROM deliveries d
        JOIN events e ON e.customer_id = $1 AND e.id = d.outbox_id AND e.created_at = d.created_at
        JOIN endpoints p ON p.customer_id = $1 AND p.id = d.endpoint_id
        LEFT JOIN delivery_queue q ON q.customer_id = $1 AND q.delivery_id = d.id
        WHERE d.customer_id = $1 AND ($2::bigint IS NULL OR d.id = $2) AND ($3::bigint IS NULL OR d.endpoint_id = $3)
          AND ($4::delivery_state IS NULL OR d.state = $4) AND ($5::event_type IS NULL OR e.event_type = $5)
          AND ($6::timestamptz IS NULL OR d.created_at >= $6) AND ($7::timestamptz IS NULL OR d.created_at < $7)
          AND ($8::bigint IS NULL OR d.id < $8)
          AND NOT EXISTS (SELECT FROM clients c
                          WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL)
        ORDER BY d.id DESC LIMIT $9
        """,
        customer_id,
        wanted.delivery_id,
        wanted.endpoint_id,
        wanted.state,
        wanted.event_type,
        wanted.since,
        wanted.until,
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

    False where it does not wait, is being attempted, or had its extra attempts.
    """
    hurried = await conn.fetchval(
        """
        UPDATE delivery_queue SET due_at = now(), is_by_hand = first_attempt_at IS NOT NULL
        WHERE customer_id = $1 AND delivery_id = $2 AND (lease_until IS NULL OR lease_until < now())
          AND extra_attempts < $3
        RETURNING true
        """,
        customer_id,
        delivery_id,
        MOST_EXTRA_ATTEMPTS,
    )
    return bool(hurried)


async def requeue_delivery(conn: Connection, customer_id: CustomerId, delivery_id: DeliveryId) -> bool:
    """Let a failed delivery wait again, due at once, for one extra attempt; one never attempted begins its schedule.

    False where it has not failed, or had its extra attempts.
    """
    requeued = await conn.fetchval(
        """
        WITH made AS (
            SELECT count(*)::int AS n FROM attempts WHERE customer_id = $1 AND delivery_id = $2
        ), again AS (
            UPDATE deliveries SET state = 'waiting', finished_at = NULL, reason = ''
            WHERE customer_id = $1 AND id = $2 AND state = 'failed' AND (SELECT n FROM made) < 15 + $3::int
            RETURNING id, endpoint_id, outbox_id, created_at, first_attempt_at
        )
        INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, first_attempt_at,
            attempts, extra_attempts, is_by_hand)
        SELECT $1, again.id, again.endpoint_id, again.outbox_id, again.created_at, again.first_attempt_at,
               least(made.n, 15), greatest(made.n - 15, 0), again.first_attempt_at IS NOT NULL
        FROM again, made
        RETURNING true
        """,
        customer_id,
        delivery_id,
        MOST_EXTRA_ATTEMPTS,
    )
    return bool(requeued)


async def count_replayable(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    *,
    since: datetime,
    until: datetime,
    event_types: Sequence[EventType],
    after: int,
    most: int,
) -> int:
    """Count the events that `replay_events` would queue again, call after call; counting stops at `most`."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM (
            SELECT FROM events e
            WHERE e.customer_id = $1 AND e.created_at >= $3 AND e.created_at < $4 AND e.event_type = ANY ($5::event_type[])
              AND e.id > $6 AND e.client_id <> 0
              AND NOT EXISTS (SELECT FROM clients c
                              WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL)
              AND NOT EXISTS (SELECT FROM delivery_queue q
                              WHERE q.customer_id = $1 AND q.endpoint_id = $2 AND q.outbox_id = e.id)
            ORDER BY e.id LIMIT $7
        ) counted
        """,
        customer_id,
        endpoint_id,
        since,
        until,
        list(event_types),
        after,
        most,
    )
    return count


async def replay_events(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    *,
    since: datetime,
    until: datetime,
    event_types: Sequence[EventType],
    after: int,
    limit: int,
) -> Replayed:
    """Queue events of a time for one endpoint again, the oldest first, as new deliveries with the event's own id.

    Those that come after the place `after`, at most `limit`; not tests, not what waits for that endpoint already. The
    caller holds the endpoint's row, so that two replays never double one.
    """
    row = await conn.fetchrow(
        """
        WITH event AS (
            SELECT e.id, e.created_at FROM events e
            WHERE e.customer_id = $1 AND e.created_at >= $3 AND e.created_at < $4 AND e.event_type = ANY ($5::event_type[])
              AND e.id > $6 AND e.client_id <> 0
              AND NOT EXISTS (SELECT FROM clients c
                              WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL)
              AND NOT EXISTS (SELECT FROM delivery_queue q
                              WHERE q.customer_id = $1 AND q.endpoint_id = $2 AND q.outbox_id = e.id)
            ORDER BY e.id LIMIT $7
        ), delivery AS (
            INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
            SELECT $1, created_at, $2, id FROM event ORDER BY id
            RETURNING id, created_at, outbox_id
        ), queued AS (
            INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at)
            SELECT $1, id, $2, outbox_id, created_at FROM delivery RETURNING outbox_id
        )
        SELECT count(*) AS count, max(outbox_id) AS last_outbox_id FROM queued
        """,
        customer_id,
        endpoint_id,
        since,
        until,
        list(event_types),
        after,
        limit,
    )
    return Replayed(**row)


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
        INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at)
        SELECT $1, id, $2, outbox_id, created_at FROM delivery RETURNING delivery_id
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
