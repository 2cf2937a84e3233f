"""Widget sessions: one opening of the widget each, as far as it has come.

A page changes a session only as it was shown (its version), and a call to the aggregator holds it by a token until the call
ends or its time is over. What is written is guarded by either, so two tabs and two replicas cannot both go on.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId, EndpointId, SourceId


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A client's open connection, as the widget needs it. `accounts` are (last digits, type) of those that are open.

    `is_fresh`: its first update is not done, so there may be more of them.
    """

    connection_id: ConnectionId
    client_id: ClientId
    source_id: SourceId
    connector: str
    login_ref: str
    customer_ref: str | None
    institution_id: int | None
    state: str
    status_code: int | None
    code_repeats: int
    name: str
    accounts: tuple[tuple[str, str], ...]
    is_fresh: bool


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


async def end_work(conn: Connection, customer_id: CustomerId, session_id: UUID, place: Place, *, token: UUID) -> bool:
    """Let a session go on where a call has led; False where it is held by another one now, or has ended."""
    ended = await conn.fetchval(
        """
        UPDATE widget_sessions SET work_token = NULL, work_until = NULL, step = $4, visit = $5,
            visit_until = CASE WHEN $5 <> '' THEN least(now() + make_interval(secs => $6), expires_at) END,
            status_code = $7, message = $8, institution_id = coalesce($9, institution_id),
            connection_id = coalesce($10, connection_id), version = version + 1, seen_at = now(),
            ended_at = CASE WHEN $11 <> '' THEN now() END, outcome = $11
        WHERE customer_id = $1 AND id = $2 AND work_token = $3 AND ended_at IS NULL
        RETURNING true
        """,
        customer_id,
        session_id,
        token,
        place.step,
        place.visit,
        place.visit_s,
        place.status_code,
        place.message,
        place.institution_id,
        place.connection_id,
        place.outcome or "",
    )
    return bool(ended)


async def move(conn: Connection, session: WidgetSession, place: Place) -> bool:
    """Let a session go on from how it was shown, without a call; False where it moved on meanwhile. A call under way loses it."""
    moved = await conn.fetchval(
        """
        UPDATE widget_sessions SET work_token = NULL, work_until = NULL, step = $4, visit = $5,
            visit_until = CASE WHEN $5 <> '' THEN least(now() + make_interval(secs => $6), expires_at) END,
            status_code = $7, message = $8, institution_id = coalesce($9, institution_id),
            connection_id = coalesce($10, connection_id), version = version + 1, seen_at = now(),
            ended_at = CASE WHEN $11 <> '' THEN now() END, outcome = $11
        WHERE customer_id = $1 AND id = $2 AND version = $3 AND ended_at IS NULL
        RETURNING true
        """,
        session.customer_id,
        session.id,
        session.version,
        place.step,
        place.visit,
        place.visit_s,
        place.status_code,
        place.message,
        place.institution_id,
        place.connection_id,
        place.outcome or "",
    )
    return bool(moved)


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


async def list_logins(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None = None,
    institution_id: int | None = None,
    connection_id: ConnectionId | None = None,
    and_unknown: bool = False,
) -> tuple[Login, ...]:
    """List the open connections of a client at an institution, or one by its id.

    `and_unknown`: also the client's whose institution is not known yet, because their first update is not done.
    """
    rows = await conn.fetch(
        """
        SELECT c.id AS connection_id, c.client_id, c.source_id, i.connector, c.aggregator_login_id AS login_ref,
               e.aggregator_customer_id AS customer_ref, c.institution_id, c.state::text, c.status_code, c.code_repeats,
               coalesce(nullif(c.name, ''), i.name, '') AS name, c.handled = 0 AS is_fresh,
               ARRAY(SELECT a.number_display || '/' || a.type FROM accounts a
                     WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open' ORDER BY a.id) AS accounts
        FROM connections c
        JOIN clients cl ON cl.customer_id = c.customer_id AND cl.id = c.client_id AND cl.deleted_at IS NULL
        LEFT JOIN institutions i ON i.id = c.institution_id
        LEFT JOIN enrolments e ON e.customer_id = c.customer_id AND e.source_id = c.source_id AND e.client_id = c.client_id
        WHERE c.customer_id = $1 AND c.state <> 'closed'
          AND (c.id = $4 OR (c.client_id = $2 AND (c.institution_id = $3 OR ($5 AND c.institution_id IS NULL))))
        ORDER BY c.id
        """,
        customer_id,
        client_id,
        institution_id,
        connection_id,
        and_unknown,
    )
    return tuple(_read_login(dict(row)) for row in rows)


def _read_login(row: dict[str, object]) -> Login:
    accounts = row.pop("accounts")
    assert isinstance(accounts, list)
    keys = tuple((number, kind) for number, _, kind in (each.rpartition("/") for each in accounts))
    return Login(accounts=keys, **row)  # type: ignore[arg-type]


async def list_login_refs(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, source_id: SourceId | None
) -> set[str]:
    """List the aggregator's ids of every login that a client has or had."""
    rows = await conn.fetch(
        """
        SELECT aggregator_login_id FROM connections WHERE customer_id = $1 AND client_id = $2 AND source_id = $3
        """,
        customer_id,
        client_id,
        source_id,
    )
    return {row["aggregator_login_id"] for row in rows}


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


async def ask_refresh(
    conn: Connection,
    customer_id: CustomerId,
    connection_id: ConnectionId,
    *,
    institution_id: int | None = None,
    is_repair: bool = False,
) -> None:
    """Ask for one more refresh of a connection that somebody waits for; note its institution where that is not known yet.

    `is_repair`: a person mended it just now, and a successful pull will tell (see connection.hint_repaired).
    """
    await conn.execute(
        """
        UPDATE connections SET requested = requested + 1, due_at = CASE WHEN lease_token IS NULL THEN now() ELSE due_at END,
            institution_id = coalesce(institution_id, $3),
            repair_hinted_at = CASE WHEN $4 THEN clock_timestamp() ELSE repair_hinted_at END
        WHERE customer_id = $1 AND id = $2 AND state <> 'closed'
        """,
        customer_id,
        connection_id,
        institution_id,
        is_repair,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How far the first update of a connection is."""

    is_updated: bool
    accounts: int
    transactions: int


async def get_arrived(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> Arrived:
    """Return what has come in of a connection, for who waits for it."""
    row = await conn.fetchrow(
        """
        SELECT coalesce(bool_or(c.handled >= c.requested), true) AS is_updated, count(DISTINCT a.id)::int AS accounts,
               count(t.id)::int AS transactions
        FROM connections c
        LEFT JOIN accounts a ON a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open' AND NOT a.is_hidden
        LEFT JOIN transactions t ON t.customer_id = $1 AND t.account_id = a.id AND t.state <> 'removed'
        WHERE c.customer_id = $1 AND c.id = $2
        """,
        customer_id,
        connection_id,
    )
    return Arrived(**row)


async def get_clock(conn: Connection) -> datetime:
    """Return Postgres' clock."""
    now: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return now
