"""Connections: one login at one institution, the unit of refresh. Who may work on it is a lease with a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.db.institution_health import BREAKER_FAILURES
from bankfeed.errors import LeaseLost, NotFound
from bankfeed.health import ConnectionState, read_code
from bankfeed.history import find_line
from bankfeed.model import ClientId, ConnectionId, CustomerId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A connection that this worker may refresh: it covers `claimed`, and `failures` tries of it failed before.

    `institution_failures` is how many refreshes in a row failed at its institution; `institution_id` and the `time_zone` are
    None where they are unknown.
    """

    customer_id: CustomerId
    connection_id: ConnectionId
    connector: str
    token: UUID
    claimed: int
    failures: int
    claimed_at: datetime
    institution_id: int | None = None
    institution_failures: int = 0
    time_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTarget:
    """What a refresh needs to know of its connection.

    `customer_ref` is None where the client is not enrolled. `started_at` is Postgres' clock at the reading. `code_repeats` is
    how many refreshes in a row ended with this `status_code`. `institution_status` is the aggregator's word of the
    institution, None where that is unknown.
    """

    client_id: ClientId
    source_id: SourceId
    login_ref: str
    customer_ref: str | None
    state: str
    status_code: int | None
    is_repair_hinted: bool
    institution_id: int | None
    time_zone: str | None
    started_at: datetime
    code_repeats: int = 0
    institution_status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A connection of a client that broke just now or, where not `is_broken`, was repaired, after `repaired_after_s`."""

    client_id: ClientId
    is_broken: bool
    repaired_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The code that came instead of a login's accounts, and what it says to people."""

    status_code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRefresh:
    """A bank refresh that has ended, and how long after somebody asked for it."""

    id: int
    connection_id: ConnectionId
    kind: str
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLine:
    """A connection as an operator looks at it. Ages are seconds; None where it has not happened yet."""

    customer_id: CustomerId
    id: ConnectionId
    client: str
    institution: str | None
    state: str
    status_code: int | None
    accounts: int
    transactions: int
    age_s: float | None
    waiting: int


async def upsert_connection(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    *,
    source_id: SourceId,
    login_ref: str,
    added_at: datetime | None = None,
) -> ConnectionId:
    """Add a connection for a login of the aggregator, or open the closed one again. Safe to repeat.

    One that a person deleted is opened only where it, or an account of it, was added after that: at `added_at`. Raises
    NotFound otherwise, and where the client is deleted. Its history says that it was added, each time that it is opened.
    """
    connection_id: ConnectionId | None = await conn.fetchval(
        """
        WITH client AS (
            SELECT customer_id, id FROM clients WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL FOR SHARE
        ), old AS (
            SELECT c.state FROM client JOIN connections c ON c.customer_id = client.customer_id
             AND c.source_id = $3 AND c.aggregator_login_id = $4
            FOR NO KEY UPDATE OF c
        ), opened AS (
            INSERT INTO connections AS c (customer_id, client_id, source_id, aggregator_login_id)
            SELECT client.customer_id, client.id, $3, $4 FROM client LEFT JOIN old ON true
            ON CONFLICT (customer_id, source_id, aggregator_login_id) DO UPDATE
                SET state = CASE c.state WHEN 'closed' THEN 'active' ELSE c.state END, deleted_at = NULL
                WHERE c.deleted_at IS NULL OR c.deleted_at < $5
            RETURNING id, xmax = 0 AS is_new
        ), line AS (
            INSERT INTO connection_history (customer_id, connection_id, kind)
            SELECT $1, opened.id, 'added' FROM opened LEFT JOIN old ON true WHERE opened.is_new OR old.state = 'closed'
        )
        SELECT id FROM opened
        """,
        customer_id,
        client_id,
        source_id,
        login_ref,
        added_at,
    )
    if connection_id is None:
        raise NotFound(f"login {login_ref} was deleted")
    return connection_id


async def request_refreshes(
    conn: Connection, connections: Sequence[tuple[CustomerId, ConnectionId]]
) -> tuple[int, int]:
    """Ask for one more refresh for each time that a connection is named, as the queue role.

    Return how many were asked for and how many of them coalesced: a connection that already has work (waiting, running,
    or backing off) keeps its due time, and the request is served by the refresh that comes next.
    """
    row = await conn.fetchrow(
        """
        WITH named AS (
            SELECT customer_id, id, count(*) AS times FROM unnest($1::bigint[], $2::bigint[]) AS u (customer_id, id)
            GROUP BY customer_id, id
        ), wanted AS (
            SELECT c.customer_id, c.id, named.times, (c.claimed < c.requested)::int AS waiting
            FROM connections c JOIN named ON named.customer_id = c.customer_id AND named.id = c.id
            WHERE c.state <> 'closed'
            ORDER BY c.customer_id, c.id FOR UPDATE OF c
        ), asked AS (
            UPDATE connections c
            SET requested = requested + wanted.times,
                due_at = CASE WHEN handled < requested THEN due_at ELSE now() END
            FROM wanted WHERE c.customer_id = wanted.customer_id AND c.id = wanted.id
            RETURNING wanted.times, wanted.times - 1 + wanted.waiting AS coalesced
        )
        SELECT coalesce(sum(times), 0)::bigint AS asked, coalesce(sum(coalesced), 0)::bigint AS coalesced FROM asked
        """,
        [customer_id for customer_id, _ in connections],
        [connection_id for _, connection_id in connections],
    )
    return row["asked"], row["coalesced"]


async def hint_repaired(conn: Connection, connections: Sequence[tuple[CustomerId, ConnectionId]]) -> None:
    """Note that an event says somebody repaired these logins, as the queue role; a successful pull will tell.

    The caller has locked them (request_refreshes): a refresh that began before the hint does not see it, and must not
    forget it, so its time is the clock's under the lock and not the beginning of the transaction. Somebody waits for
    the answer, so a back-off ends.
    """
    await conn.execute(
        """
        UPDATE connections SET repair_hinted_at = clock_timestamp(),
            due_at = CASE WHEN lease_token IS NULL THEN now() ELSE due_at END
        WHERE (customer_id, id) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
        """,
        [customer_id for customer_id, _ in connections],
        [connection_id for _, connection_id in connections],
    )


async def request_due_updates(conn: Connection, *, update_hours: int, limit: int, now: datetime | None = None) -> int:
    """Ask for a refresh of connections whose next update is due, as the queue role; return how many.

    The end of the refresh says when the next one is; until then it is put off by `update_hours`. `now` None is Postgres'
    clock.
    """
    count: int = await conn.fetchval(
        """
        WITH due AS (
            SELECT customer_id, id FROM connections WHERE next_update_at <= coalesce($3, now()) AND state <> 'closed'
            ORDER BY next_update_at, customer_id, id LIMIT $2 FOR UPDATE SKIP LOCKED
        ), asked AS (
            UPDATE connections c SET requested = CASE WHEN handled < requested THEN requested ELSE requested + 1 END,
                due_at = CASE WHEN handled < requested THEN due_at ELSE coalesce($3, now()) END,
                next_update_at = coalesce($3, now()) + make_interval(hours => $1)
            FROM due WHERE c.customer_id = due.customer_id AND c.id = due.id RETURNING 1
        )
        SELECT count(*) FROM asked
        """,
        update_hours,
        limit,
        now,
    )
    return count


async def claim_connection(
    conn: Connection, *, token: UUID, lease_s: float, institution_slots: int = 8, now: datetime | None = None
) -> Lease | None:
    """Claim the connection that is due the longest of those that need not wait, as the queue role; None where none is.

    `requested` is copied to `claimed`: what is asked from here on causes one more refresh. A claim moves the due time to
    the lease's end, where an abandoned one is due again. What is due waits while its client is locked, while
    `institution_slots` refreshes run at its institution, and while the breaker there says so. `now` None is Postgres' clock.
    """
    row = await conn.fetchrow(
        "SELECT * FROM claim_connection($1, $2, $3, $4, $5)",
        token,
        lease_s,
        institution_slots,
        BREAKER_FAILURES,
        now,
    )
    return Lease(**row) if row else None


async def renew_lease(conn: Connection, lease: Lease, *, lease_s: float) -> bool:
    """Make a lease last `lease_s` from now, as the queue role; False where it is lost."""
    renewed = await conn.fetchval(
        """
        UPDATE connections SET lease_until = now() + make_interval(secs => $4), due_at = now() + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND lease_until > now() RETURNING true
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
        lease_s,
    )
    return bool(renewed)


async def give_back(conn: Connection, lease: Lease, *, delay_s: float = 0) -> None:
    """Give a lease back unfinished, as the queue role: due after a delay, no failure. Safe to repeat."""
    await conn.execute(
        """
        UPDATE connections SET lease_token = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
        delay_s,
    )


async def get_refresh_target(conn: Connection, lease: Lease) -> RefreshTarget:
    """Read what a refresh needs. Raises LeaseLost where another worker holds the connection now.

    The lock makes the reading wait for hints on their way: what is hinted before `started_at` is seen.
    """
    row = await conn.fetchrow(
        """
        SELECT c.client_id, c.source_id, c.aggregator_login_id AS login_ref,
               e.aggregator_customer_id AS customer_ref, c.state, c.status_code,
               c.repair_hinted_at IS NOT NULL AS is_repair_hinted, c.institution_id, i.time_zone,
               clock_timestamp() AS started_at, c.code_repeats, i.status AS institution_status
        FROM connections c
        LEFT JOIN enrolments e
          ON e.customer_id = c.customer_id AND e.source_id = c.source_id AND e.client_id = c.client_id
        LEFT JOIN institutions i ON i.id = c.institution_id
        WHERE c.customer_id = $1 AND c.id = $2 AND c.lease_token = $3 FOR SHARE OF c
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
    )
    if row is None:
        raise LeaseLost(f"connection {lease.connection_id} is held by another worker")
    return RefreshTarget(**row)


async def lock_leased(conn: Connection, lease: Lease) -> datetime:
    """Lock a connection that we still hold, first in the lock order; return Postgres' clock. Raises LeaseLost."""
    now: datetime | None = await conn.fetchval(
        """
        SELECT clock_timestamp() FROM connections WHERE customer_id = $1 AND id = $2 AND lease_token = $3 FOR UPDATE
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
    )
    if now is None:
        raise LeaseLost(f"connection {lease.connection_id} is held by another worker")
    return now


async def mark_handled(
    conn: Connection,
    lease: Lease,
    *,
    next_update_at: datetime,
    refusal: Refusal | None = None,
    now: datetime | None = None,
) -> tuple[EndedRefresh, ...]:
    """Finish a refresh: `claimed` is copied to `handled`, and what was asked meanwhile is due at once.

    Bank refreshes whose number is handled with it are done, or have failed with `refusal`, which is no update; return these.
    Where nothing is asked, the next one is asked by the schedule at `next_update_at`. Its history has each refresh that a
    person asked for, and the first of a UTC day that left it active. `now` None is Postgres' clock.
    """
    rows = await conn.fetch(
        """
        WITH old AS (
            SELECT id, last_refresh_at FROM connections WHERE customer_id = $1 AND id = $2 AND lease_token = $3 FOR UPDATE
        ), handled AS (
            UPDATE connections c SET handled = c.claimed, failures = 0, lease_token = NULL, lease_until = NULL,
                due_at = coalesce($5, now()), next_update_at = $4,
                last_refresh_at = CASE WHEN $6::int IS NULL THEN coalesce($5, now()) ELSE c.last_refresh_at END,
                code_repeats = CASE WHEN c.status_code <> 0 THEN c.code_repeats + 1 ELSE 0 END
            FROM old WHERE c.customer_id = $1 AND c.id = old.id
            RETURNING c.id, c.handled, c.state, c.status_code, c.last_refresh_at AS at, old.last_refresh_at AS before_at
        ), ended AS (
            UPDATE bank_refreshes b SET finished_at = now(), lease_token = NULL, lease_until = NULL,
                state = CASE WHEN $6::int IS NULL THEN 'done' ELSE 'failed' END::bank_refresh_state,
                status_code = coalesce($6, b.status_code), message = coalesce($7, b.message)
            FROM handled h
            WHERE b.customer_id = $1 AND b.connection_id = $2 AND b.finished_at IS NULL AND b.refresh_no <= h.handled
            RETURNING b.id, b.connection_id, b.kind::text, extract(epoch FROM now() - b.requested_at)::float8 AS took_s
        ), line AS (
            INSERT INTO connection_history (customer_id, connection_id, at, kind, status_code)
            SELECT $1, h.id, h.at, 'refreshed', h.status_code FROM handled h
            WHERE $6::int IS NULL AND (EXISTS (SELECT FROM ended) OR (h.state = 'active' AND (h.before_at IS NULL
                OR (h.before_at AT TIME ZONE 'UTC')::date < (h.at AT TIME ZONE 'UTC')::date)))
        )
        SELECT id, connection_id, kind, took_s FROM ended ORDER BY id
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
        next_update_at,
        now,
        None if refusal is None else refusal.status_code,
        None if refusal is None else refusal.message,
    )
    return tuple(EndedRefresh(**row) for row in rows)


async def mark_failed(conn: Connection, lease: Lease, *, delay_s: float, now: datetime | None = None) -> None:
    """Note that a refresh failed: the work stays due, after a delay. Nothing where the lease is lost."""
    await conn.execute(
        """
        UPDATE connections SET failures = failures + 1, lease_token = NULL, lease_until = NULL,
            due_at = coalesce($5, now()) + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3
        """,
        lease.customer_id,
        lease.connection_id,
        lease.token,
        delay_s,
        now,
    )


async def update_health(
    conn: Connection, lease: Lease, *, state: str, status_code: int | None, as_of: datetime | None
) -> Turn | None:
    """Write what the aggregation codes said of a connection; return whether it broke or was repaired by that.

    `status_since` moves only when that changes, and the code's repeats begin anew with another code. A connection is broken from when it needs a person, or is unsupported, until
    it is active again, whatever is waited out in between. An active connection is a repaired one: a hint given until `as_of`
    is forgotten; None forgets none. Nothing where the lease is lost.

    Its history has the break with its code, another code that breaks it meanwhile, and the repair.
    """
    line = find_line(ConnectionState(state), read_code(status_code))
    row = await conn.fetchrow(
        """
        WITH old AS (
            SELECT customer_id, id, broken_since FROM connections
            WHERE customer_id = $1 AND id = $2 AND lease_token = $6 FOR UPDATE
        ), last AS (
            SELECT kind, status_code FROM connection_history
            WHERE customer_id = $1 AND connection_id = $2 AND kind IN ('broken', 'needs_mfa') ORDER BY id DESC LIMIT 1
        ), stands AS (
            UPDATE connections c SET state = $3, status_code = $4,
                status_since = CASE WHEN (c.state, c.status_code) IS DISTINCT FROM ($3, $4) THEN now() ELSE c.status_since END,
                code_repeats = CASE WHEN c.status_code IS DISTINCT FROM $4 THEN 0 ELSE c.code_repeats END,
                repair_hinted_at = CASE WHEN $3 = 'active' AND repair_hinted_at <= $5 THEN NULL ELSE repair_hinted_at END,
                broken_since = CASE WHEN $3 IN ('needs_person', 'unsupported') THEN coalesce(c.broken_since, now())
                               WHEN $3 <> 'active' THEN c.broken_since END
            FROM old WHERE c.customer_id = $1 AND c.id = old.id
            RETURNING c.client_id, c.broken_since, old.broken_since AS was_broken_since
        ), line AS (
            INSERT INTO connection_history (customer_id, connection_id, kind, status_code, broken_since)
            SELECT $1, $2, $7::text::history_kind, $4, CASE WHEN $7 = 'reconnected' THEN s.was_broken_since END
            FROM stands s LEFT JOIN last ON true
            WHERE CASE WHEN $7 = 'reconnected' THEN s.was_broken_since IS NOT NULL
                  ELSE $7 IS NOT NULL AND (s.was_broken_since IS NULL
                       OR (last.kind::text, last.status_code) IS DISTINCT FROM ($7, $4::int)) END
        )
        SELECT client_id, (was_broken_since IS NULL) <> (broken_since IS NULL) AS has_turned,
               broken_since IS NOT NULL AS is_broken,
               CASE WHEN broken_since IS NULL THEN extract(epoch FROM now() - was_broken_since)::float8 END AS repaired_after_s
        FROM stands
        """,
        lease.customer_id,
        lease.connection_id,
        state,
        status_code,
        as_of,
        lease.token,
        line,
    )
    if row is None or not row["has_turned"]:
        return None
    return Turn(client_id=row["client_id"], is_broken=row["is_broken"], repaired_after_s=row["repaired_after_s"])


async def update_institution(conn: Connection, lease: Lease, institution_id: int) -> None:
    """Note which institution a connection is at."""
    await conn.execute(
        "UPDATE connections SET institution_id = $3 WHERE customer_id = $1 AND id = $2",
        lease.customer_id,
        lease.connection_id,
        institution_id,
    )


async def close_connection_without_accounts(conn: Connection, lease: Lease) -> bool:
    """Close a connection without an open account; True where it was closed just now.

    One that never had an account is given a second refresh: an aggregator may announce a login before it lists it.
    """
    closed = await conn.fetchval(
        """
        WITH closed AS (
            UPDATE connections c SET state = 'closed', status_since = now(), broken_since = NULL
            WHERE c.customer_id = $1 AND c.id = $2 AND c.state <> 'closed'
              AND (c.handled > 0 OR EXISTS (SELECT FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = $2))
              AND NOT EXISTS (SELECT FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = $2 AND a.state = 'open')
            RETURNING c.id
        )
        INSERT INTO connection_history (customer_id, connection_id, kind) SELECT $1, id, 'deleted' FROM closed
        RETURNING true
        """,
        lease.customer_id,
        lease.connection_id,
    )
    return bool(closed)


async def list_connection_lines(conn: Connection, customer_id: CustomerId, *, limit: int) -> tuple[ConnectionLine, ...]:
    """List a customer's connections with counts and ages, those that need somebody first."""
    rows = await conn.fetch(
        """
        SELECT c.customer_id, c.id, cl.username AS client, i.name AS institution, c.state, c.status_code,
               (SELECT count(*) FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open')
                   AS accounts,
               (SELECT count(*) FROM accounts a JOIN transactions t ON t.customer_id = $1 AND t.account_id = a.id
                WHERE a.customer_id = $1 AND a.connection_id = c.id AND t.state <> 'removed') AS transactions,
               extract(epoch FROM now() - c.last_refresh_at)::float8 AS age_s,
               (c.requested - c.handled)::int AS waiting
        FROM connections c
        JOIN clients cl ON cl.customer_id = c.customer_id AND cl.id = c.client_id
        LEFT JOIN institutions i ON i.id = c.institution_id
        WHERE c.customer_id = $1
        ORDER BY c.state = 'active', c.id LIMIT $2
        """,
        customer_id,
        limit,
    )
    return tuple(ConnectionLine(**row) for row in rows)


async def find_oldest_due_s(conn: Connection) -> float:
    """Return for how many seconds the connection that is due the longest has been due, as the queue role; 0 where none is."""
    seconds: float | None = await conn.fetchval(
        """
        SELECT extract(epoch FROM now() - due_at)::float8 FROM connections WHERE handled < requested AND due_at <= now()
        ORDER BY due_at, customer_id, id LIMIT 1
        """
    )
    return seconds or 0.0


async def count_due_connections(conn: Connection) -> int:
    """Count connections that wait for a refresh, as the queue role, from the partial index."""
    count: int = await conn.fetchval("SELECT count(*) FROM connections WHERE handled < requested")
    return count
