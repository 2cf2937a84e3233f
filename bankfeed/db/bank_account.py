"""Connections as people look at them, and what people change of them. Those that were deleted are nowhere here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class BankAccount:
    """A connection with its client and institution.

    `own_name` is a person's, "" where nobody gave one. `is_updating` is whether a refresh waits or runs; `open_accounts`
    counts what the login has now.
    """

    id: ConnectionId
    client_id: ClientId
    username: str
    is_client_locked: bool
    institution_id: int | None
    institution: str | None
    state: str
    status_code: int | None
    code_repeats: int
    status_since: datetime
    own_name: str
    memo: str
    last_refresh_at: datetime | None
    next_update_at: datetime | None
    is_updating: bool
    open_accounts: int
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCounts:
    """How many accounts a connection has; a hidden one is open or closed too."""

    open: int
    closed: int
    hidden: int


async def find_client(
    conn: Connection, customer_id: CustomerId, *, client_id: ClientId | None, username: str | None
) -> ClientId | None:
    """Return the client of that id, that username, or both; None where there is none."""
    found: ClientId | None = await conn.fetchval(
        """
        SELECT id FROM clients
        WHERE customer_id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR id = $2)
          AND ($3::text IS NULL OR username = $3)
        ORDER BY id LIMIT 1
        """,
        customer_id,
        client_id,
        username,
    )
    return found


async def list_bank_accounts(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None,
    state: str | None,
    after_id: int,
    limit: int,
) -> tuple[BankAccount, ...]:
    """List connections by id; of one client and of one state where given."""
    rows = await conn.fetch(
        """
        SELECT c.id, c.client_id, cl.username, cl.locked_at IS NOT NULL AS is_client_locked, c.institution_id,
               i.name AS institution, c.state::text, c.status_code,
               greatest(c.code_repeats, c.failures) AS code_repeats, c.status_since, c.name AS own_name, c.memo,
               c.last_refresh_at, c.handled < c.requested AS is_updating,
               CASE WHEN c.handled < c.requested THEN greatest(c.due_at, h.blocked_until) ELSE c.next_update_at END AS next_update_at,
               (SELECT count(*) FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open'
                  AND a.adopted_into IS NULL AND a.deleted_at IS NULL) AS open_accounts,
               c.created_at, c.version
        FROM connections c
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
        LEFT JOIN institutions i ON i.id = c.institution_id
        LEFT JOIN institution_health h ON h.institution_id = c.institution_id
        WHERE c.customer_id = $1 AND c.deleted_at IS NULL AND c.id > $4
          AND ($2::bigint IS NULL OR c.client_id = $2) AND ($3::text IS NULL OR c.state::text = $3)
        ORDER BY c.id LIMIT $5
        """,
        customer_id,
        client_id,
        state,
        after_id,
        limit,
    )
    return tuple(BankAccount(**row) for row in rows)


async def find_bank_account(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> BankAccount | None:
    """Return one connection; None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT c.id, c.client_id, cl.username, cl.locked_at IS NOT NULL AS is_client_locked, c.institution_id,
               i.name AS institution, c.state::text, c.status_code,
               greatest(c.code_repeats, c.failures) AS code_repeats, c.status_since, c.name AS own_name, c.memo,
               c.last_refresh_at, c.handled < c.requested AS is_updating,
               CASE WHEN c.handled < c.requested THEN greatest(c.due_at, h.blocked_until) ELSE c.next_update_at END AS next_update_at,
               (SELECT count(*) FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open'
                  AND a.adopted_into IS NULL AND a.deleted_at IS NULL) AS open_accounts,
               c.created_at, c.version
        FROM connections c
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
        LEFT JOIN institutions i ON i.id = c.institution_id
        LEFT JOIN institution_health h ON h.institution_id = c.institution_id
        WHERE c.customer_id = $1 AND c.deleted_at IS NULL AND c.id = $2
        """,
        customer_id,
        connection_id,
    )
    return BankAccount(**row) if row else None


async def count_accounts(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> AccountCounts:
    """Count a connection's accounts."""
    row = await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'closed') AS closed,
               count(*) FILTER (WHERE is_hidden) AS hidden
        FROM accounts WHERE customer_id = $1 AND connection_id = $2 AND adopted_into IS NULL AND deleted_at IS NULL
        """,
        customer_id,
        connection_id,
    )
    return AccountCounts(**row)


async def count_transactions(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> Mapping[str, int]:
    """Count the transactions of a connection's shown accounts by state; a state without any is left out.

    Rows that a person deleted or merged away are not counted.
    """
    rows = await conn.fetch(
        """
        SELECT t.state::text, count(*) AS rows FROM accounts a
        JOIN transactions t ON t.customer_id = $1 AND t.account_id = a.id
        WHERE a.customer_id = $1 AND a.connection_id = $2 AND a.adopted_into IS NULL AND a.deleted_at IS NULL
          AND NOT a.is_hidden AND t.deleted_at IS NULL AND t.merged_into IS NULL
        GROUP BY t.state ORDER BY t.state
        """,
        customer_id,
        connection_id,
    )
    return {row["state"]: row["rows"] for row in rows}


async def update_bank_account(
    conn: Connection,
    customer_id: CustomerId,
    connection_id: ConnectionId,
    *,
    name: str | None,
    memo: str | None,
    version: int | None,
) -> bool:
    """Change what is given of a connection, if it is of that version (None: of any); False where it is not."""
    updated = await conn.fetchval(
        """
        UPDATE connections SET name = coalesce($3, name), memo = coalesce($4, memo), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($5, version) RETURNING true
        """,
        customer_id,
        connection_id,
        name,
        memo,
        version,
    )
    return bool(updated)
