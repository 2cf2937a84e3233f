"""Deliveries: one event for one endpoint. What waits lives in delivery_queue, claimed by lease; what ended, in deliveries."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, DeliveryId, EndpointId

ENDPOINT_DELETED = "the endpoint was deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this worker may attempt. `attempts` were made before; `first_attempt_at` is committed already.

    `is_by_hand`: a person asked for this attempt, which is beside the schedule's; `extra_attempts` of those were made.
    `claimed_at` is Postgres' clock too: the moment to ask the schedule about, whatever this process's clock says.
    """

    customer_id: CustomerId
    delivery_id: DeliveryId
    endpoint_id: EndpointId
    outbox_id: int
    created_at: datetime
    attempts: int
    first_attempt_at: datetime
    claimed_at: datetime
    extra_attempts: int = 0
    is_by_hand: bool = False

    @property
    def is_first(self) -> bool:
        """Tell whether the schedule begins with this claim: no earlier one may have come to its call."""
        return self.first_attempt_at == self.claimed_at

    @property
    def attempt_no(self) -> int:
        """Number the attempt that this claim is for, the extra ones counted."""
        return self.attempts + self.extra_attempts + 1

    @property
    def slots_used(self) -> int:
        """Count the schedule's attempts once this one was made."""
        return self.attempts if self.is_by_hand else self.attempts + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What an attempt sends, and where to. `previous_secret` signs too while a rotated one overlaps, else None."""

    delivery_id: DeliveryId
    event_id: UUID
    event_type: str
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    secret: str = field(repr=False)
    is_endpoint_active: bool
    previous_secret: str | None = field(default=None, repr=False)
    is_endpoint_deleted: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """List the secrets that sign, the current one first."""
        return (self.secret,) if self.previous_secret is None else (self.secret, self.previous_secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one HTTP try ended: with a status, or with an error. `answer` is the first part of the body."""

    started_at: datetime
    duration_ms: int
    status: int | None
    error: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """How much waits. `oldest_due_age_s` is 0 where nothing is due."""

    due: int
    later: int
    oldest_due_age_s: float


async def claim_deliveries(
    conn: Connection, *, token: UUID, lease_s: float, limit: int, now: datetime | None = None
) -> tuple[ClaimedDelivery, ...]:
    """Claim due deliveries, the longest due first, as the queue role.

    The first claim commits `first_attempt_at`, before any HTTP call: the schedule counts from it. A claim moves the due
    time to the lease's end, where an abandoned one is due again. `now` None is Postgres' clock.
    """
    rows = await conn.fetch(
        """
        WITH due AS (
            SELECT customer_id, delivery_id FROM delivery_queue WHERE due_at <= coalesce($4, now())
            ORDER BY due_at, customer_id, delivery_id LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE delivery_queue q SET lease_token = $1, lease_until = coalesce($4, now()) + make_interval(secs => $2),
            due_at = coalesce($4, now()) + make_interval(secs => $2),
            first_attempt_at = coalesce(q.first_attempt_at, $4, now())
        FROM due WHERE q.customer_id = due.customer_id AND q.delivery_id = due.delivery_id
        RETURNING q.customer_id, q.delivery_id, q.endpoint_id, q.outbox_id, q.created_at, q.attempts, q.first_attempt_at,
                  coalesce($4, now()) AS claimed_at, q.extra_attempts, q.is_by_hand
        """,
        token,
        lease_s,
        limit,
        now,
    )
    return tuple(ClaimedDelivery(**row) for row in rows)


async def list_parcels(
    conn: Connection, customer_id: CustomerId, claimed: Sequence[ClaimedDelivery]
) -> tuple[Parcel, ...]:
    """Read what to send for one customer's claimed deliveries, in one statement."""
    rows = await conn.fetch(
        """
        SELECT u.delivery_id, e.event_id, e.event_type, e.body, p.url, p.secret, p.state = 'active' AS is_endpoint_active,
               CASE WHEN p.previous_secret_until > now() THEN p.previous_secret END AS previous_secret,
               p.deleted_at IS NOT NULL AS is_endpoint_deleted
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[])
             AS u (delivery_id, endpoint_id, outbox_id, created_at)
        JOIN events e ON e.customer_id = $1 AND e.id = u.outbox_id AND e.created_at = u.created_at
        JOIN endpoints p ON p.customer_id = $1 AND p.id = u.endpoint_id
        ORDER BY u.delivery_id
        """,
        customer_id,
        [delivery.delivery_id for delivery in claimed],
        [delivery.endpoint_id for delivery in claimed],
        [delivery.outbox_id for delivery in claimed],
        [delivery.created_at for delivery in claimed],
    )
    return tuple(Parcel(**row) for row in rows)


async def mark_delivered(
    conn: Connection, delivery: ClaimedDelivery, attempt: Attempt, *, token: UUID, now: datetime | None = None
) -> bool:
    """Record the attempt that succeeded; the delivery is final. False where the lease went to another worker."""
    return await _finish(conn, delivery, token, "delivered", now, attempt, "")


async def mark_failed(
    conn: Connection,
    delivery: ClaimedDelivery,
    attempt: Attempt | None,
    *,
    token: UUID,
    reason: str = "",
    now: datetime | None = None,
) -> bool:
    """Record the last attempt, or that there will be none and for what `reason`; the delivery is final.

    A delivery that was never attempted ends without `first_attempt_at`. False where the lease went to another worker.
    """
    return await _finish(conn, delivery, token, "failed", now, attempt, reason)


async def _finish(
    conn: Connection,
    delivery: ClaimedDelivery,
    token: UUID,
    state: str,
    now: datetime | None,
    attempt: Attempt | None,
    reason: str,
) -> bool:
    gone = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM delivery_queue WHERE customer_id = $1 AND delivery_id = $2 AND lease_token = $3
            RETURNING first_attempt_at, created_at
        )
        UPDATE deliveries d SET state = $4, first_attempt_at = nullif(gone.first_attempt_at, $6),
            finished_at = coalesce($5, now()), reason = $7
        FROM gone WHERE d.customer_id = $1 AND d.id = $2 AND d.created_at = gone.created_at AND d.state = 'waiting'
        RETURNING true
        """,
        delivery.customer_id,
        delivery.delivery_id,
        token,
        state,
        now,
        delivery.claimed_at if attempt is None else None,
        reason,
    )
    if gone and attempt is not None:
        await _insert_attempt(conn, delivery, attempt)
    return bool(gone)


async def mark_waiting(
    conn: Connection, delivery: ClaimedDelivery, attempt: Attempt, *, token: UUID, due_at: datetime
) -> bool:
    """Record an attempt that failed and when the next one is due; False where the lease went to another worker."""
    kept = await conn.fetchval(
        """
        UPDATE delivery_queue SET lease_token = NULL, lease_until = NULL, due_at = $4, attempts = $5,
            extra_attempts = $6, is_by_hand = false
        WHERE customer_id = $1 AND delivery_id = $2 AND lease_token = $3 RETURNING true
        """,
        delivery.customer_id,
        delivery.delivery_id,
        token,
        due_at,
        delivery.slots_used,
        delivery.extra_attempts + delivery.is_by_hand,
    )
    if kept:
        await _insert_attempt(conn, delivery, attempt)
    return bool(kept)


async def give_back(
    conn: Connection, delivery: ClaimedDelivery, *, token: UUID, due_at: datetime | None = None
) -> None:
    """Give a delivery back without an attempt, as the queue role; due at `due_at`, None is at once. Safe to repeat.

    A schedule that would have begun with this claim has not begun: `first_attempt_at` is taken back.
    """
    await conn.execute(
        """
        UPDATE delivery_queue SET lease_token = NULL, lease_until = NULL, due_at = coalesce($4, now()),
            first_attempt_at = nullif(first_attempt_at, $5)
        WHERE customer_id = $1 AND delivery_id = $2 AND lease_token = $3
        """,
        delivery.customer_id,
        delivery.delivery_id,
        token,
        due_at,
        delivery.claimed_at,
    )


async def end_deliveries(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, limit: int, reason: str
) -> int:
    """Fail deliveries of an endpoint that wait and are not being attempted, the oldest first; return how many.

    Where more than `limit` wait, one of those left is made due at once: whoever claims it goes on.
    """
    ended: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM delivery_queue WHERE customer_id = $1 AND delivery_id IN (
                SELECT delivery_id FROM delivery_queue
                WHERE customer_id = $1 AND endpoint_id = $2 AND (lease_until IS NULL OR lease_until < now())
                ORDER BY outbox_id, delivery_id LIMIT $3 FOR UPDATE SKIP LOCKED)
            RETURNING delivery_id, created_at, first_attempt_at
        ), ended AS (
            UPDATE deliveries d SET state = 'failed', first_attempt_at = gone.first_attempt_at, finished_at = now(),
                reason = $4
            FROM gone WHERE d.customer_id = $1 AND d.id = gone.delivery_id AND d.created_at = gone.created_at
            RETURNING 1
        )
        SELECT count(*) FROM ended
        """,
        customer_id,
        endpoint_id,
        limit,
        reason,
    )
    if ended == limit:
        await _hurry_one(conn, customer_id, endpoint_id)
    return ended


async def _hurry_one(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> None:
    await conn.execute(
        """
        UPDATE delivery_queue SET due_at = now() WHERE customer_id = $1 AND delivery_id IN (
            SELECT delivery_id FROM delivery_queue
            WHERE customer_id = $1 AND endpoint_id = $2 AND (lease_until IS NULL OR lease_until < now())
            ORDER BY outbox_id, delivery_id LIMIT 1 FOR UPDATE SKIP LOCKED)
        """,
        customer_id,
        endpoint_id,
    )


async def _insert_attempt(conn: Connection, delivery: ClaimedDelivery, attempt: Attempt) -> None:
    await conn.execute(
        """
        INSERT INTO attempts (customer_id, delivery_id, attempt_no, started_at, delivery_created_at, duration_ms, status,
                              error, answer)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        delivery.customer_id,
        delivery.delivery_id,
        delivery.attempt_no,
        attempt.started_at,
        delivery.created_at,
        attempt.duration_ms,
        attempt.status,
        attempt.error,
        attempt.answer,
    )


async def get_outbox_state(conn: Connection) -> OutboxState:
    """Count what waits, as the queue role."""
    row = await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE due_at <= now()) AS due, count(*) FILTER (WHERE due_at > now()) AS later,
               coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float8
                   AS oldest_due_age_s
        FROM delivery_queue
        """
    )
    return OutboxState(**row)
