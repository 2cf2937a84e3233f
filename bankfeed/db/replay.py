"""Replay: events that were, queued for one endpoint again. Both statements choose alike: what one counts the other queues.

An event is chosen where the endpoint would get it if it came now: its types and its bounds count, its state does not. Left
out are tests, events of deleted clients, and what waits for the endpoint already.

Both look things up event by event, by their keys. A planner without statistics, as in a new week, would go through all
that waits for the endpoint, or ever went to it, once for each: OFFSET 0 keeps it from joining, and FILTER from another index.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId, EndpointId, EventType

USUAL_RATE_PER_S: Final = 50
MOST_LOOKED_AT: Final = 10_000
MOST_COUNTED_AMONG: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFilter:
    """Which events: those from `since` on and before `until`, None and () where it does not matter.

    `is_failed_only`: only those whose latest delivery to the endpoint failed, or that were never delivered to it.
    """

    since: datetime
    until: datetime
    event_types: tuple[EventType, ...] = ()
    client_id: ClientId | None = None
    connection_id: ConnectionId | None = None
    event_id: UUID | None = None
    is_failed_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many events one call chose. `after` is where the next one goes on, None where there is no more.

    `next_due_at` is when the next event would be due, None where the call only counted.
    """

    count: int
    after: int | None
    next_due_at: datetime | None = None


async def count_replayable(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, wanted: ReplayFilter, *, after: int
) -> Replayed:
    """Count the events that would be queued, among the next 100,000 of that time after the place `after`."""
    row = await conn.fetchrow(
        """
        WITH page AS MATERIALIZED (
            SELECT e.id, e.created_at, e.event_id, e.event_type, e.client_id, e.connection_id, e.accounts,
                   e.client_id = 0 AND convert_from(e.body, 'UTF8')::jsonb @> '{"test": true}' AS is_test
            FROM events e
            WHERE e.customer_id = $1 AND e.created_at >= $3 AND e.created_at < $4 AND e.id > $5
            ORDER BY e.id LIMIT $11
        ), event AS (
            SELECT e.id FROM page e JOIN endpoints p ON p.customer_id = $1 AND p.id = $2
            WHERE NOT e.is_test AND e.event_type = ANY (p.event_types)
              AND ($6::text[] = '{}' OR e.event_type::text = ANY ($6)) AND ($7::bigint IS NULL OR e.client_id = $7)
              AND ($8::bigint IS NULL OR e.connection_id = $8) AND ($9::uuid IS NULL OR e.event_id = $9)
              AND (e.client_id = 0 OR (
                  coalesce(e.client_id = ANY (p.client_ids), true) AND coalesce(e.accounts && p.account_ids, true)
                  AND (p.institution_ids IS NULL OR EXISTS (
                      SELECT FROM connections c WHERE c.customer_id = $1 AND c.id = e.connection_id
                      AND c.institution_id = ANY (p.institution_ids)))))
              AND NOT EXISTS (SELECT FROM clients c
                              WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL OFFSET 0)
              AND NOT EXISTS (SELECT FROM delivery_queue q
                              WHERE q.customer_id = $1 AND q.endpoint_id = $2 AND q.outbox_id = e.id OFFSET 0)
              AND (NOT $10::bool OR coalesce((
                  SELECT (array_agg(d.state ORDER BY d.id DESC) FILTER (WHERE d.endpoint_id = $2))[1] = 'failed'
                  FROM deliveries d
                  WHERE d.customer_id = $1 AND d.outbox_id = e.id AND d.created_at = e.created_at), true))
        )
        SELECT (SELECT count(*) FROM event) AS count,
               (SELECT CASE WHEN count(*) = $11 THEN max(id) END FROM page) AS after
        """,
        customer_id,
        endpoint_id,
        wanted.since,
        wanted.until,
        after,
        [str(each) for each in wanted.event_types],
        wanted.client_id,
        wanted.connection_id,
        wanted.event_id,
        wanted.is_failed_only,
        MOST_COUNTED_AMONG,
    )
    return Replayed(**row)


async def replay_events(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    wanted: ReplayFilter,
    *,
    after: int,
    limit: int,
    due_at: datetime | None,
    rate_per_s: int | None,
) -> Replayed:
    """Queue events for an endpoint, the oldest first, as new deliveries with the event's own id.

    Those after the place `after`: at most `limit` of them, among the next 10,000 of that time. They are due one after the
    other, `rate_per_s` in a second, the first at `due_at` or now where that has passed, never in more than 30 days: so what
    happens meanwhile, due at once, overtakes them. `rate_per_s` None is half of the endpoint's own rate, 50 where it has none. An
    ordered endpoint's are all due at once, and come as its order lets them: one that came later than they would wait for them.

    The caller holds the endpoint's row, so that two replays never double one.
    """
    row = await conn.fetchrow(
        """
        WITH page AS MATERIALIZED (
            SELECT e.id, e.created_at, e.event_id, e.event_type, e.client_id, e.connection_id, e.accounts,
                   e.client_id = 0 AND convert_from(e.body, 'UTF8')::jsonb @> '{"test": true}' AS is_test
            FROM events e
            WHERE e.customer_id = $1 AND e.created_at >= $3 AND e.created_at < $4 AND e.id > $5
            ORDER BY e.id LIMIT $11
        ), event AS MATERIALIZED (
            SELECT e.id, e.created_at, e.connection_id FROM page e JOIN endpoints p ON p.customer_id = $1 AND p.id = $2
            WHERE NOT e.is_test AND e.event_type = ANY (p.event_types)
              AND ($6::text[] = '{}' OR e.event_type::text = ANY ($6)) AND ($7::bigint IS NULL OR e.client_id = $7)
              AND ($8::bigint IS NULL OR e.connection_id = $8) AND ($9::uuid IS NULL OR e.event_id = $9)
              AND (e.client_id = 0 OR (
                  coalesce(e.client_id = ANY (p.client_ids), true) AND coalesce(e.accounts && p.account_ids, true)
                  AND (p.institution_ids IS NULL OR EXISTS (
                      SELECT FROM connections c WHERE c.customer_id = $1 AND c.id = e.connection_id
                      AND c.institution_id = ANY (p.institution_ids)))))
              AND NOT EXISTS (SELECT FROM clients c
                              WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NOT NULL OFFSET 0)
              AND NOT EXISTS (SELECT FROM delivery_queue q
                              WHERE q.customer_id = $1 AND q.endpoint_id = $2 AND q.outbox_id = e.id OFFSET 0)
              AND (NOT $10::bool OR coalesce((
                  SELECT (array_agg(d.state ORDER BY d.id DESC) FILTER (WHERE d.endpoint_id = $2))[1] = 'failed'
                  FROM deliveries d
                  WHERE d.customer_id = $1 AND d.outbox_id = e.id AND d.created_at = e.created_at), true))
            ORDER BY e.id LIMIT $12
        ), pace AS (
            SELECT least(greatest($13::timestamptz, now()), now() + interval '30 days') AS starts_at, p.is_ordered,
                   CASE WHEN p.is_ordered THEN interval '0'
                        ELSE make_interval(secs => 1 / coalesce($14::float8, p.rate_per_s / 2.0, $15::float8)) END AS gap
            FROM endpoints p WHERE p.customer_id = $1 AND p.id = $2
        ), delivery AS (
            INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
            SELECT $1, created_at, $2, id FROM event ORDER BY id
            RETURNING id, created_at, outbox_id
        ), queued AS (
            INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, due_at, order_key)
            SELECT $1, d.id, $2, d.outbox_id, d.created_at,
                   pace.starts_at + pace.gap * (row_number() OVER (ORDER BY d.outbox_id) - 1),
                   CASE WHEN pace.is_ordered THEN nullif(event.connection_id, 0) END
            FROM delivery d JOIN event ON event.id = d.outbox_id CROSS JOIN pace
            ORDER BY d.outbox_id
            RETURNING outbox_id
        ), counted AS (
            SELECT (SELECT count(*) FROM queued) AS queued, (SELECT count(*) FROM page) AS looked_at
        )
        SELECT queued AS count,
               CASE WHEN queued = $12 THEN (SELECT max(outbox_id) FROM queued)
                    WHEN looked_at = $11 THEN (SELECT max(id) FROM page) END AS after,
               pace.starts_at + pace.gap * queued AS next_due_at
        FROM counted CROSS JOIN pace
        """,
        customer_id,
        endpoint_id,
        wanted.since,
        wanted.until,
        after,
        [str(each) for each in wanted.event_types],
        wanted.client_id,
        wanted.connection_id,
        wanted.event_id,
        wanted.is_failed_only,
        MOST_LOOKED_AT,
        limit,
        due_at,
        rate_per_s,
        USUAL_RATE_PER_S,
    )
    return Replayed(**row)
