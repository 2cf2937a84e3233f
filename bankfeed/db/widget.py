"""Widget sessions: one opening of the widget each, as far as it has come.

A page changes a session only as it was shown (its version), and a call to the aggregator holds it by a token until the call
ends or its time is over. What is written is guarded by either, so two tabs and two replicas cannot both go on.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId, EndpointId


class WidgetKind(StrEnum):
    """What the widget was opened for: to link a bank, one that was chosen already, or to repair a bank account."""

    ADD = "add"
    ADD_LITE = "add_lite"
    FIX = "fix"


class WidgetStep(StrEnum):
    """Which page a session is at."""

    INSTITUTION = "institution"
    KNOWN = "known"
    PREPARE = "prepare"
    CREDENTIALS = "credentials"
    CONSENT = "consent"
    CHALLENGE = "challenge"
    ACCOUNTS = "accounts"
    TROUBLE = "trouble"
    CHECK = "check"
    SUPPORT = "support"
    DONE = "done"
    LEFT = "left"


class Outcome(StrEnum):
    """How a session ended."""

    LINKED = "linked"
    UPDATED = "updated"
    """A login that was linked already has new credentials."""
    REPAIRED = "repaired"
    REPORTED = "reported"
    """A support case was opened."""
    LEFT = "left"
    EXPIRED = "expired"
    HANDED_OVER = "handed_over"
    """To the aggregator's own widget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to be made. `requested_by` is user:<id> or key:<id>; `life_s` how long its address opens."""

    client_id: ClientId
    kind: WidgetKind
    step: WidgetStep
    requested_by: str
    life_s: int
    institution_id: int | None = None
    connection_id: ConnectionId | None = None
    redirect_uri: str = ""
    has_webhook: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WidgetSession:
    """A session. `visit` is sealed, "" where there is none or its time is over. `status_code` and `message` are what came last."""

    id: UUID
    customer_id: CustomerId
    client_id: ClientId
    kind: WidgetKind
    step: WidgetStep
    institution_id: int | None
    connection_id: ConnectionId | None
    status_code: int | None
    message: str
    visit: str = field(repr=False)
    is_working: bool
    is_cut_off: bool
    tries: int
    redirect_uri: str
    created_at: datetime
    expires_at: datetime
    is_expired: bool
    opened_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    version: int
    now: datetime

    @property
    def can_leave(self) -> bool:
        """Tell whether it can be left: not while accounts are being linked, which is not taken back any more."""
        return self.ended_at is None and not (self.is_working and self.step is WidgetStep.ACCOUNTS)

    @property
    def is_over(self) -> bool:
        """Tell whether its time is over and nobody has ended it yet; a call under way is waited for."""
        return self.ended_at is None and self.is_expired and not self.is_working


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a session goes: the page, what it keeps for it (sealed, for `visit_s`), and what it has learned."""

    step: WidgetStep
    visit: str = field(default="", repr=False)
    visit_s: int = 600
    status_code: int | None = None
    message: str = ""
    institution_id: int | None = None
    connection_id: ConnectionId | None = None
    outcome: Outcome | None = None


async def insert_session(conn: Connection, customer_id: CustomerId, new: NewSession) -> tuple[UUID, datetime, datetime]:
    """Make a session that nobody has opened yet; return its id, when it was made, and when its address opens no more."""
    row = await conn.fetchrow(
        """
        INSERT INTO widget_sessions (customer_id, client_id, kind, step, institution_id, connection_id, redirect_uri, requested_by,
            has_webhook, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $10, date_trunc('milliseconds', now()),
                date_trunc('milliseconds', now()) + make_interval(secs => $9))
        RETURNING id, created_at, expires_at
        """,
        customer_id,
        new.client_id,
        new.kind,
        new.step,
        new.institution_id,
        new.connection_id,
        new.redirect_uri,
        new.requested_by,
        new.life_s,
        new.has_webhook,
    )
    return row["id"], row["created_at"], row["expires_at"]


async def find_session(conn: Connection, customer_id: CustomerId, session_id: UUID) -> WidgetSession | None:
    """Return a session, None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT id, customer_id, client_id, kind::text, step::text, institution_id, connection_id, status_code, message,
               CASE WHEN visit_until > now() THEN visit ELSE '' END AS visit,
               coalesce(work_until > now(), false) AS is_working, coalesce(work_until <= now(), false) AS is_cut_off, tries,
               redirect_uri, created_at, expires_at, expires_at <= now() AS is_expired, opened_at, ended_at,
               nullif(outcome, '') AS outcome, version, now() AS now
        FROM widget_sessions WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        session_id,
    )
    if row is None:
        return None
    values = dict(row)
    outcome = values.pop("outcome")
    kind, step = WidgetKind(values.pop("kind")), WidgetStep(values.pop("step"))
    return WidgetSession(kind=kind, step=step, outcome=Outcome(outcome) if outcome else None, **values)


async def mark_opened(conn: Connection, customer_id: CustomerId, session_id: UUID) -> bool:
    """Open a session, once; False where it was opened before, or its time is over."""
    opened = await conn.fetchval(
        """
        UPDATE widget_sessions SET opened_at = now(), seen_at = now()
        WHERE customer_id = $1 AND id = $2 AND opened_at IS NULL AND ended_at IS NULL AND expires_at > now() RETURNING true
        """,
        customer_id,
        session_id,
    )
    return bool(opened)


async def mark_seen(conn: Connection, customer_id: CustomerId, session_id: UUID) -> None:
    """Note that somebody looks at a session: one that nobody looks at for long is ended."""
    await conn.execute(
        """
        UPDATE widget_sessions SET seen_at = now()
        WHERE customer_id = $1 AND id = $2 AND seen_at < now() - interval '30 seconds' AND ended_at IS NULL
        """,
        customer_id,
        session_id,
    )


async def lock_linking(conn: Connection, session: WidgetSession) -> None:
    """Let nobody else begin to link accounts of this client at this institution until commit."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('bankfeed widget ' || ($1::bigint)::text, $2))",
        session.institution_id,
        session.client_id,
    )


async def begin_work(
    conn: Connection,
    session: WidgetSession,
    *,
    token: UUID,
    limit_s: float,
    is_try: bool = False,
    is_alone: bool = False,
) -> bool:
    """Hold a session for a call to the aggregator; False where it moved on meanwhile, or a call is under way.

    `is_try` counts one of the tries that a session has to give credentials or answers. `is_alone`: nor where another session
    of the client links accounts at that institution now, of which this one's may be some; the caller has lock_linking.
    """
    begun = await conn.fetchval(
        """
        UPDATE widget_sessions SET work_token = $4, work_until = now() + make_interval(secs => $5), version = version + 1,
            seen_at = now(), tries = tries + $6::int
        WHERE customer_id = $1 AND id = $2 AND version = $3 AND ended_at IS NULL AND expires_at > now()
          AND coalesce(work_until <= now(), true)
          AND NOT ($7 AND EXISTS (
              SELECT FROM widget_sessions o
              WHERE o.customer_id = $1 AND o.client_id = $8 AND o.institution_id = $9 AND o.id <> $2
                AND o.step = 'accounts' AND o.work_until > now()))
        RETURNING true
        """,
        session.customer_id,
        session.id,
        session.version,
        token,
        limit_s,
        int(is_try),
        is_alone,
        session.client_id,
        session.institution_id,
    )
    return bool(begun)


async def end_work(conn: Connection, session: WidgetSession, place: Place, *, token: UUID) -> bool:
    """Let a session go on where a call has led; False where it is held by another one now, or has ended."""
    return await _put(conn, session, place, token=token)


async def move(conn: Connection, session: WidgetSession, place: Place) -> bool:
    """Let a session go on from how it was shown, without a call; False where it moved on meanwhile. A call under way loses it."""
    return await _put(conn, session, place, version=session.version)


async def _put(
    conn: Connection, session: WidgetSession, place: Place, *, token: UUID | None = None, version: int | None = None
) -> bool:
    """Put a session at a place, where the token that holds it, or its version, is the one given."""
    is_put = await conn.fetchval(
        """
        UPDATE widget_sessions SET work_token = NULL, work_until = NULL, step = $3, visit = $4,
            visit_until = CASE WHEN $4 <> '' THEN least(now() + make_interval(secs => $5), expires_at) END,
            status_code = $6, message = $7, institution_id = coalesce($8, institution_id),
            connection_id = coalesce($9, connection_id), version = version + 1, seen_at = now(),
            ended_at = CASE WHEN $10 <> '' THEN now() END, outcome = $10
        WHERE customer_id = $1 AND id = $2 AND ended_at IS NULL AND (work_token = $11 OR version = $12)
        RETURNING true
        """,
        session.customer_id,
        session.id,
        place.step,
        place.visit,
        place.visit_s,
        place.status_code,
        place.message,
        place.institution_id,
        place.connection_id,
        place.outcome or "",
        token,
        version,
    )
    return bool(is_put)


async def list_left(conn: Connection, *, idle_s: int, limit: int) -> tuple[tuple[CustomerId, UUID], ...]:
    """List sessions whose time is over, or that nobody has looked at for long, as the queue role."""
    rows = await conn.fetch(
        """
        SELECT customer_id, id FROM widget_sessions
        WHERE ended_at IS NULL AND (expires_at <= now() OR seen_at < now() - make_interval(secs => $1))
        ORDER BY expires_at LIMIT $2
        """,
        idle_s,
        limit,
    )
    return tuple((row["customer_id"], row["id"]) for row in rows)


async def list_ended_webhooks(conn: Connection, *, days: int, limit: int) -> tuple[tuple[CustomerId, UUID], ...]:
    """List sessions that ended so many days ago and still have an endpoint, as the queue role."""
    rows = await conn.fetch(
        """
        SELECT customer_id, id FROM widget_sessions
        WHERE has_webhook AND ended_at < now() - make_interval(days => $1) ORDER BY ended_at LIMIT $2
        """,
        days,
        limit,
    )
    return tuple((row["customer_id"], row["id"]) for row in rows)


async def list_stale_visits(conn: Connection, *, limit: int) -> tuple[tuple[CustomerId, UUID], ...]:
    """List sessions that still hold what the time to go on with is over for, as the queue role."""
    rows = await conn.fetch(
        """
        SELECT customer_id, id FROM widget_sessions WHERE ended_at IS NULL AND visit_until <= now()
        ORDER BY expires_at LIMIT $1
        """,
        limit,
    )
    return tuple((row["customer_id"], row["id"]) for row in rows)


async def forget_visit(conn: Connection, customer_id: CustomerId, session_id: UUID) -> None:
    """Erase what a session holds whose time to go on is over. Safe to repeat."""
    await conn.execute(
        """
        UPDATE widget_sessions SET visit = '', visit_until = NULL
        WHERE customer_id = $1 AND id = $2 AND visit_until <= now()
        """,
        customer_id,
        session_id,
    )


async def bind_endpoint(conn: Connection, customer_id: CustomerId, session_id: UUID, endpoint_id: EndpointId) -> None:
    """Let an endpoint be a session's own: it is listed nowhere, and goes some days after the session."""
    await conn.execute(
        "UPDATE endpoints SET widget_session_id = $2 WHERE customer_id = $1 AND id = $3",
        customer_id,
        session_id,
        endpoint_id,
    )


async def release_endpoint(conn: Connection, customer_id: CustomerId, session_id: UUID) -> EndpointId | None:
    """Note that a session has no endpoint any more; return the one it had, for the caller to delete."""
    endpoint_id: EndpointId | None = await conn.fetchval(
        """
        WITH ended AS (UPDATE widget_sessions SET has_webhook = false WHERE customer_id = $1 AND id = $2)
        SELECT id FROM endpoints WHERE customer_id = $1 AND widget_session_id = $2 AND deleted_at IS NULL
        """,
        customer_id,
        session_id,
    )
    return endpoint_id


async def delete_old_sessions(conn: Connection, *, days: int, limit: int) -> int:
    """Delete sessions that ended so many days ago, as the queue role; return how many."""
    count: int = await conn.fetchval(
        """
        WITH gone AS (
            DELETE FROM widget_sessions WHERE (customer_id, id) IN (
                SELECT customer_id, id FROM widget_sessions
                WHERE ended_at < now() - make_interval(days => $1) AND NOT has_webhook ORDER BY ended_at LIMIT $2)
            RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        days,
        limit,
    )
    return count


async def count_tries(conn: Connection, session: WidgetSession) -> int:
    """Count the tries of the last hour at this session's institution for its client, whichever session they were of.

    Banks lock a login after a few; a new address must not begin at none.
    """
    count: int = await conn.fetchval(
        """
        SELECT coalesce(sum(tries), 0)::int FROM widget_sessions
        WHERE customer_id = $1 AND client_id = $2 AND institution_id = $3 AND created_at > now() - interval '1 hour'
        """,
        session.customer_id,
        session.client_id,
        session.institution_id,
    )
    return count


async def mark_unopened(conn: Connection, customer_id: CustomerId, session_id: UUID) -> None:
    """Let a session's address open once more, because what it was to open could not be shown."""
    await conn.execute(
        """
        UPDATE widget_sessions SET opened_at = NULL, seen_at = NULL
        WHERE customer_id = $1 AND id = $2 AND ended_at IS NULL AND version = 1
        """,
        customer_id,
        session_id,
    )
