"""Deliveries: one event for one endpoint. What waits lives in delivery_queue, claimed by lease; what ended, in deliveries.

A lane is an endpoint with something that is due. Claims and records are two functions of the schema, because they go over
many customers at once: the queue role gets what it has a lease for, and can end nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, DeliveryId, EndpointId

ENDPOINT_DELETED: Final = "the endpoint was deleted"
ENDPOINT_ENABLED: Final = "discarded when the endpoint was enabled again"
BREAKER_FAILURES: Final = 10
"""Failures in a row from which on an endpoint gets one attempt at a time, with pauses between."""
HEAD_ROWS: Final = 500
MOST_LANES: Final = 1_000
MOST_COUNTED: Final = 100_000
NOBODY: Final = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this worker may attempt, and what to send where. The secrets and the headers are sealed.

    `attempts` were made before; `first_attempt_at` is committed already. `is_by_hand`: a person asked for this attempt,
    which is beside the schedule's; `extra_attempts` of those were made. `claimed_at` is Postgres' clock too: the moment to
    ask the schedule about, whatever this process's clock says. `retry_schedule` None is the documented one.
    """

    customer_id: CustomerId
    delivery_id: DeliveryId
    endpoint_id: EndpointId
    outbox_id: int
    created_at: datetime
    attempts: int
    extra_attempts: int
    is_by_hand: bool
    first_attempt_at: datetime
    claimed_at: datetime
    event_id: UUID
    event_type: str
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    secret: str = field(repr=False)
    signing_key: str = field(repr=False)
    previous_secret: str | None = field(repr=False)
    previous_signing_key: str | None = field(repr=False)
    headers: str = field(repr=False)
    body_format: str
    jitter_percent: int
    retry_schedule: Sequence[int] | None
    is_disabled_by_gone: bool

    @property
    def attempt_no(self) -> int:
        """Number the attempt that this claim is for, the extra ones counted."""
        return self.attempts + self.extra_attempts + 1

    @property
    def slots_used(self) -> int:
        """Count the schedule's attempts once this one was made."""
        return self.attempts if self.is_by_hand else self.attempts + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one HTTP try ended: with a status, or with an error. `answer` is the first part of the body.

    `pause_s` is how long the receiver asked to be left alone (Retry-After), None where it did not.
    """

    started_at: datetime
    duration_ms: int
    status: int | None
    error: str = ""
    answer: str = ""
    pause_s: float | None = None

    @property
    def is_success(self) -> bool:
        """Tell whether the receiver took it: 2xx, and nothing else."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a claimed delivery. `attempt` None: there was none.

    `state` is delivered, failed, later (due at `due_at`) or given_back (as if it had not been claimed, due at once where
    `due_at` is None). From `urgent_at` on nothing holds it back. `pause_until`: until when its endpoint gets nothing.
    """

    claimed: ClaimedDelivery
    token: UUID
    state: str
    attempt: Attempt | None = None
    due_at: datetime | None = None
    urgent_at: datetime | None = None
    pause_until: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an endpoint takes its deliveries: failures in a row, and since when; none and None where the last one came well."""

    customer_id: CustomerId
    endpoint_id: EndpointId
    failures: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """How much waits, each counted up to 100,000. `oldest_due_age_s` is 0 where nothing is due."""

    due: int
    later: int
    oldest_due_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """How many endpoints are paused (they asked for it), have an open breaker, or are being tried again."""

    throttled: int
    open: int
    half_open: int


async def claim_deliveries(
    conn: Connection,
    *,
    token: UUID,
    lease_s: float,
    limit: int,
    most_of_one: int | None = None,
    after: tuple[int, int] = NOBODY,
    now: datetime | None = None,
) -> tuple[ClaimedDelivery, ...]:
    """Claim due deliveries, a round of each endpoint before a second of any, in one statement, as the queue role.

    `after` is the (customer, endpoint) whose turn was last. A customer gets `most_of_one` of them, None is no less than
    others, and one where it has nothing under way. The first claim commits `first_attempt_at`, before any HTTP call:
    the schedule counts from it. A claim moves the due time to the lease's end, where an abandoned one is due again. Fewer
    than `limit` come where slots, breakers, pauses and rates leave no more. `now` None is Postgres' clock.
    """
    rows = await conn.fetch(
        "SELECT * FROM claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        token,
        lease_s,
        limit,
        limit if most_of_one is None else most_of_one,
        *after,
        HEAD_ROWS,
        MOST_LANES,
        BREAKER_FAILURES,
        now,
    )
    return tuple(ClaimedDelivery(**row) for row in rows)


async def find_next_due_s(conn: Connection) -> float | None:
    """Return in how many seconds the next delivery is due, as the queue role; None where none waits for its time.

    Right after a claim 0 or less is one that was held back: by slots, breaker, pause, rate, or a disabled endpoint.
    """
    seconds: float | None = await conn.fetchval(
        """
        SELECT extract(epoch FROM due_at - now())::float8 FROM delivery_queue WHERE due_at < 'infinity'
        ORDER BY due_at LIMIT 1
        """
    )
    return seconds


async def record_outcomes(
    conn: Connection, outcomes: Sequence[Outcome], *, now: datetime | None = None
) -> tuple[Health, ...]:
    """Record attempts and what became of their deliveries, in one statement, as the queue role.

    What another worker has the lease of now is left alone. Returns the endpoints whose health moved. `now` None is
    Postgres' clock.
    """
    attempts = [outcome.attempt for outcome in outcomes]
    rows = await conn.fetch(
        """
        SELECT * FROM record_attempts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        """,
        [outcome.claimed.customer_id for outcome in outcomes],
        [outcome.claimed.delivery_id for outcome in outcomes],
        [outcome.token for outcome in outcomes],
        [outcome.state for outcome in outcomes],
        [outcome.due_at for outcome in outcomes],
        [outcome.urgent_at for outcome in outcomes],
        [outcome.claimed.attempts if outcome.attempt is None else outcome.claimed.slots_used for outcome in outcomes],
        [
            outcome.claimed.extra_attempts + (outcome.claimed.is_by_hand and outcome.attempt is not None)
            for outcome in outcomes
        ],
        [outcome.claimed.claimed_at for outcome in outcomes],
        [None if outcome.attempt is None else outcome.claimed.attempt_no for outcome in outcomes],
        [attempt and attempt.started_at for attempt in attempts],
        [attempt and attempt.duration_ms for attempt in attempts],
        [attempt and attempt.status for attempt in attempts],
        [attempt and attempt.error for attempt in attempts],
        [attempt and attempt.answer for attempt in attempts],
        [outcome.reason for outcome in outcomes],
        [outcome.pause_until for outcome in outcomes],
        BREAKER_FAILURES,
        now,
    )
    return tuple(Health(**row) for row in rows)


async def end_overdue_deliveries(conn: Connection, *, limit: int, now: datetime | None = None) -> int:
    """Fail some of what will not be attempted any more, as the queue role; return how many, fewer than `limit` at the end.

    That is what is over by its schedule, waits for a deleted endpoint, or has waited three days for a disabled one.
    """
    count: int = await conn.fetchval("SELECT end_overdue_deliveries($1, $2)", limit, now)
    return count


async def end_deliveries(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, limit: int, reason: str
) -> int:
    """Fail deliveries of an endpoint that wait and are not being attempted, the oldest first; return how many."""
    ended: int = await conn.fetchval(
        """
        WITH doomed AS MATERIALIZED (
            SELECT delivery_id FROM delivery_queue
            WHERE customer_id = $1 AND endpoint_id = $2 AND (lease_until IS NULL OR lease_until < now())
            ORDER BY outbox_id, delivery_id LIMIT $3 FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM delivery_queue q USING doomed WHERE q.customer_id = $1 AND q.delivery_id = doomed.delivery_id
            RETURNING q.delivery_id, q.created_at, q.first_attempt_at
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
    return ended


async def get_outbox_state(conn: Connection) -> OutboxState:
    """Count what waits, as the queue role, in time that does not grow with it."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM (SELECT FROM delivery_queue WHERE due_at <= now() ORDER BY due_at LIMIT $1) due) AS due,
               (SELECT count(*) FROM (SELECT FROM delivery_queue WHERE due_at > now() ORDER BY due_at LIMIT $1) later) AS later,
               coalesce((SELECT extract(epoch FROM now() - due_at)::float8 FROM delivery_queue WHERE due_at <= now()
                         ORDER BY due_at LIMIT 1), 0) AS oldest_due_age_s
        """,
        MOST_COUNTED,
    )
    return OutboxState(**row)


async def get_breaker_state(conn: Connection) -> BreakerState:
    """Count the endpoints that are not simply delivered to, as the queue role."""
    row = await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE failures < $1 AND blocked_until > now()) AS throttled,
               count(*) FILTER (WHERE failures >= $1 AND blocked_until > now()) AS open,
               count(*) FILTER (WHERE failures >= $1 AND blocked_until <= now()) AS half_open
        FROM endpoint_health
        """,
        BREAKER_FAILURES,
    )
    return BreakerState(**row)
