"""Bank refreshes: a person's wish that the aggregator asks the bank, and what became of it. Claimed by lease.

Each waits, runs, and ends done or failed. Lock order: the connection, its accounts by id, the bank refresh. Done is what the
end of a refresh makes it (connection.mark_handled), in one commit with what that brought.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankfeed.db.connection import EndedRefresh
from bankfeed.db.database import Connection
from bankfeed.model import ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class BankRefresh:
    """A bank refresh as people look at it.

    `status_code` is the aggregator's, None where none came. `asked_at` is when the aggregator is known to have been asked,
    `refresh_no` the number of the connection's refresh that fetches what the bank said; None before.
    """

    id: int
    connection_id: ConnectionId
    kind: str
    state: str
    status_code: int | None
    message: str
    requested_at: datetime
    asked_at: datetime | None
    refresh_no: int | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRefresh:
    """A bank refresh that this worker may work on until its lease ends."""

    customer_id: CustomerId
    id: int
    connection_id: ConnectionId
    connector: str
    kind: str
    token: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What is needed to ask. `tries` counts this one.

    `customer_ref` is None where the client is not enrolled; `account_refs` are the open accounts. `is_locked` is whether the
    client is, `has_arrived` whether the refresh of the number `refresh_no` is handled.
    """

    login_ref: str
    customer_ref: str | None
    account_refs: tuple[str, ...]
    is_gone: bool
    is_locked: bool
    tries: int
    asked_at: datetime | None
    refresh_no: int | None
    has_arrived: bool


async def insert_bank_refresh(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId, *, kind: str, requested_by: str
) -> BankRefresh:
    """Ask for a bank refresh; one of this kind that has not ended is returned instead, whoever asked for it.

    Safe with others who ask at the same moment. The connection exists.
    """
    row = await conn.fetchrow(
        """
        INSERT INTO bank_refreshes AS b (customer_id, client_id, connection_id, kind, requested_by)
        SELECT c.customer_id, c.client_id, c.id, $3::text::bank_refresh_kind, $4
        FROM connections c WHERE c.customer_id = $1 AND c.id = $2
        ON CONFLICT (customer_id, connection_id, kind) WHERE finished_at IS NULL DO UPDATE SET kind = excluded.kind
        RETURNING b.id, b.connection_id, b.kind::text, b.state::text, b.status_code, b.message, b.requested_at, b.asked_at,
                  b.refresh_no, b.finished_at
        """,
        customer_id,
        connection_id,
        kind,
        requested_by,
    )
    return BankRefresh(**row)


async def find_bank_refresh(conn: Connection, customer_id: CustomerId, refresh_id: int) -> BankRefresh | None:
    """Return one bank refresh; None where there is none, or its client was deleted."""
    row = await conn.fetchrow(
        """
        SELECT b.id, b.connection_id, b.kind::text, b.state::text, b.status_code, b.message, b.requested_at, b.asked_at,
               b.refresh_no, b.finished_at
        FROM bank_refreshes b
        JOIN clients cl ON cl.customer_id = b.customer_id AND cl.id = b.client_id AND cl.deleted_at IS NULL
        WHERE b.customer_id = $1 AND b.id = $2
        """,
        customer_id,
        refresh_id,
    )
    return BankRefresh(**row) if row else None


async def find_loaded_history(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> BankRefresh | None:
    """Return the bank refresh that loaded the history of all of a connection's open accounts, None where one is without."""
    row = await conn.fetchrow(
        """
        SELECT b.id, b.connection_id, b.kind::text, b.state::text, b.status_code, b.message, b.requested_at, b.asked_at,
               b.refresh_no, b.finished_at
        FROM bank_refreshes b
        WHERE b.customer_id = $1 AND b.connection_id = $2 AND b.kind = 'historic' AND b.state = 'done' AND b.status_code = 0
          AND NOT EXISTS (
              SELECT FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = $2 AND a.state = 'open'
                AND a.adopted_into IS NULL AND a.created_at > b.requested_at)
        ORDER BY b.id DESC LIMIT 1
        """,
        customer_id,
        connection_id,
    )
    return BankRefresh(**row) if row else None


async def find_recent(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId, *, kind: str, done_s: int, failed_s: int
) -> BankRefresh | None:
    """Return the last bank refresh of a kind where the bank was asked and that ended so shortly ago, None without one."""
    row = await conn.fetchrow(
        """
        SELECT id, connection_id, kind::text, state::text, status_code, message, requested_at, asked_at, refresh_no,
               finished_at
        FROM bank_refreshes
        WHERE customer_id = $1 AND connection_id = $2 AND kind = $3::bank_refresh_kind
          AND (asked_at IS NOT NULL OR status_code IS NOT NULL)
          AND finished_at > now() - make_interval(secs => CASE state WHEN 'done' THEN $4::int ELSE $5::int END)
        ORDER BY id DESC LIMIT 1
        """,
        customer_id,
        connection_id,
        kind,
        done_s,
        failed_s,
    )
    return BankRefresh(**row) if row else None


async def claim_bank_refresh(
    conn: Connection, *, token: UUID, lease_s: float, now: datetime | None = None
) -> ClaimedRefresh | None:
    """Claim the bank refresh that is due the longest, as the queue role; None where none is due.

    A claim moves the due time to the lease's end, where an abandoned one is due again. `now` None is Postgres' clock.
    """
    row = await conn.fetchrow(
        """
        WITH due AS (
            SELECT customer_id, id FROM bank_refreshes WHERE finished_at IS NULL AND due_at <= coalesce($3, now())
            ORDER BY due_at, customer_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE bank_refreshes b SET lease_token = $1, lease_until = coalesce($3, now()) + make_interval(secs => $2),
            due_at = coalesce($3, now()) + make_interval(secs => $2)
        FROM due, connections c, sources s
        WHERE b.customer_id = due.customer_id AND b.id = due.id
          AND c.customer_id = b.customer_id AND c.id = b.connection_id AND s.id = c.source_id
        RETURNING b.customer_id, b.id, b.connection_id, s.connector, b.kind::text, b.lease_token AS token
        """,
        token,
        lease_s,
        now,
    )
    return ClaimedRefresh(**row) if row else None


async def renew_bank_refresh(conn: Connection, claimed: ClaimedRefresh, *, lease_s: float) -> bool:
    """Make a lease last `lease_s` from now, as the queue role; False where it is lost."""
    renewed = await conn.fetchval(
        """
        UPDATE bank_refreshes SET lease_until = now() + make_interval(secs => $4), due_at = now() + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND lease_until > now() RETURNING true
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
        lease_s,
    )
    return bool(renewed)


async def give_back_bank_refresh(conn: Connection, claimed: ClaimedRefresh) -> None:
    """Give a bank refresh back unfinished, as the queue role: due at once. Safe to repeat."""
    await conn.execute(
        """
        UPDATE bank_refreshes SET lease_token = NULL, lease_until = NULL, due_at = now()
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
    )


async def mark_running(conn: Connection, claimed: ClaimedRefresh) -> Errand | None:
    """Begin a try, and read what it needs; None where the lease is lost, or it has ended."""
    row = await conn.fetchrow(
        """
        WITH begun AS (
            UPDATE bank_refreshes SET state = 'running', tries = tries + 1
            WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND finished_at IS NULL
            RETURNING customer_id, client_id, connection_id, tries, asked_at, refresh_no
        )
        SELECT c.aggregator_login_id AS login_ref, e.aggregator_customer_id AS customer_ref,
               ARRAY(SELECT a.aggregator_id FROM accounts a
                     WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open' AND a.adopted_into IS NULL
                     ORDER BY a.id) AS account_refs,
               c.state = 'closed' OR c.deleted_at IS NOT NULL OR cl.deleted_at IS NOT NULL AS is_gone,
               cl.locked_at IS NOT NULL AS is_locked, b.tries, b.asked_at, b.refresh_no, b.refresh_no IS NOT NULL AND b.refresh_no <= c.handled AS has_arrived
        FROM begun b
        JOIN connections c ON c.customer_id = $1 AND c.id = b.connection_id
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = b.client_id
        LEFT JOIN enrolments e ON e.customer_id = $1 AND e.source_id = c.source_id AND e.client_id = c.client_id
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
    )
    return Errand(**dict(row) | {"account_refs": tuple(row["account_refs"])}) if row else None


async def mark_waiting(conn: Connection, claimed: ClaimedRefresh, *, delay_s: float, is_asked: bool) -> bool:
    """Note that a try has not ended it, and when the next one is due; False where the lease is lost."""
    kept = await conn.fetchval(
        """
        UPDATE bank_refreshes SET lease_token = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $4),
            asked_at = CASE WHEN $5 THEN coalesce(asked_at, now()) ELSE asked_at END
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND finished_at IS NULL RETURNING true
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
        delay_s,
        is_asked,
    )
    return bool(kept)


async def mark_asked(
    conn: Connection, claimed: ClaimedRefresh, *, refresh_no: int, status_code: int | None, limit_s: float
) -> bool:
    """Note that the bank has been asked, and which refresh fetches what it said; False where the lease is lost.

    The end of that refresh marks it done. It is due again after `limit_s`, should that never come.
    """
    kept = await conn.fetchval(
        """
        UPDATE bank_refreshes SET lease_token = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $6),
            asked_at = coalesce(asked_at, now()), refresh_no = $4, status_code = $5
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND finished_at IS NULL RETURNING true
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
        refresh_no,
        status_code,
        limit_s,
    )
    return bool(kept)


async def mark_ended(
    conn: Connection,
    claimed: ClaimedRefresh,
    *,
    state: str,
    status_code: int | None = None,
    message: str = "",
) -> EndedRefresh | None:
    """End a bank refresh as done or failed; None where the lease is lost, or it had ended."""
    row = await conn.fetchrow(
        """
        UPDATE bank_refreshes SET state = $4::text::bank_refresh_state, status_code = coalesce($5, status_code), message = $6,
            finished_at = now(), lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3 AND finished_at IS NULL
        RETURNING id, connection_id, kind::text, extract(epoch FROM now() - requested_at)::float8 AS took_s
        """,
        claimed.customer_id,
        claimed.id,
        claimed.token,
        state,
        status_code,
        message,
    )
    return EndedRefresh(**row) if row else None


async def request_fetch(conn: Connection, claimed: ClaimedRefresh) -> int | None:
    """Ask for one more refresh of the connection; return its number, None where the connection is closed.

    Somebody waits for it, so a back-off ends.
    """
    refresh_no: int | None = await conn.fetchval(
        """
        UPDATE connections SET requested = requested + 1, due_at = CASE WHEN lease_token IS NULL THEN now() ELSE due_at END
        WHERE customer_id = $1 AND id = $2 AND state <> 'closed' AND deleted_at IS NULL RETURNING requested
        """,
        claimed.customer_id,
        claimed.connection_id,
    )
    return refresh_no


async def clear_histories(conn: Connection, claimed: ClaimedRefresh, account_refs: Sequence[str]) -> None:
    """Let the next pulls of these accounts ask for all history again: the aggregator has more of it now."""
    await conn.execute(
        """
        WITH locked AS (
            SELECT id FROM accounts WHERE customer_id = $1 AND connection_id = $2 AND aggregator_id = ANY ($3::text[])
            ORDER BY id FOR UPDATE
        )
        UPDATE accounts a SET history_from_on = NULL FROM locked WHERE a.customer_id = $1 AND a.id = locked.id
        """,
        claimed.customer_id,
        claimed.connection_id,
        list(account_refs),
    )
