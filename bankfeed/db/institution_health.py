"""How institutions take refreshes: failures in a row, and the breaker that they trip. The same for everybody.

Only what failed because of the institution, or of the aggregator's way to it, is noted here, never what a person has to
mend. A row begins with an institution's first failure.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bankfeed.db.database import Connection
from bankfeed.model import ConnectionId, CustomerId

BREAKER_FAILURES: Final = 5
"""Failures in a row from which on an institution gets one refresh at a time, with pauses between."""
FIRST_PAUSE_S: Final = 60
LONGEST_PAUSE_S: Final = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerCounts:
    """How many institutions have an open breaker, and how many are being tried again."""

    open: int
    half_open: int


async def note_failure(
    conn: Connection, institution_id: int, *, claimed_at: datetime, now: datetime | None = None
) -> int | None:
    """Count a refresh, claimed at `claimed_at`, that failed at an institution, as the queue role; return how many in a row.

    The pause is a minute, doubled with each failure after it, at most half an hour. What was claimed before the pause says
    nothing new: it changes nothing, and None is returned. `now` None is Postgres' clock.
    """
    failures: int | None = await conn.fetchval(
        """
        INSERT INTO institution_health AS h (institution_id, failures, failing_since) VALUES ($1, 1, coalesce($6, now()))
        ON CONFLICT (institution_id) DO UPDATE SET failures = h.failures + 1,
            failing_since = coalesce(h.failing_since, excluded.failing_since),
            blocked_until = CASE WHEN h.failures + 1 < $3 THEN h.blocked_until ELSE coalesce($6, now())
                + make_interval(secs => least($4 * power(2, least(h.failures + 1 - $3, 20)), $5)) END
            WHERE h.blocked_until <= $2
        RETURNING failures
        """,
        institution_id,
        claimed_at,
        BREAKER_FAILURES,
        float(FIRST_PAUSE_S),
        float(LONGEST_PAUSE_S),
        now,
    )
    return failures


async def note_success(conn: Connection, institution_id: int) -> bool:
    """Note that a refresh came well, as the queue role: the failures are forgotten. True where the breaker is closed by that."""
    return await _close(conn, institution_id)


async def note_answer(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> bool:
    """Note that a connection's bank has just answered, as the queue role; as good as a refresh that came well."""
    institution_id: int | None = await conn.fetchval(
        "SELECT institution_id FROM connections WHERE customer_id = $1 AND id = $2", customer_id, connection_id
    )
    return institution_id is not None and await _close(conn, institution_id)


async def _close(conn: Connection, institution_id: int) -> bool:
    """Forget an institution's failures, as the queue role; True where there were enough to trip its breaker."""
    failures: int | None = await conn.fetchval(
        """
        WITH failing AS (
            SELECT institution_id, failures FROM institution_health WHERE institution_id = $1 AND failures > 0 FOR UPDATE
        )
        UPDATE institution_health h SET failures = 0, failing_since = NULL, blocked_until = '-infinity'
        FROM failing WHERE h.institution_id = failing.institution_id RETURNING failing.failures
        """,
        institution_id,
    )
    return failures is not None and failures >= BREAKER_FAILURES


async def count_breakers(conn: Connection) -> BreakerCounts:
    """Count the institutions whose breaker is not closed, as the queue role."""
    row = await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE blocked_until > now()) AS open, count(*) FILTER (WHERE blocked_until <= now()) AS half_open
        FROM institution_health WHERE failures >= $1
        """,
        BREAKER_FAILURES,
    )
    return BreakerCounts(**row)
