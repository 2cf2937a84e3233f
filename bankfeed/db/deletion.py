"""Closing what a person deletes, under the locks that a refresh takes: connections by id, then their accounts by id.

Rows and acts stay: an account that is linked again goes on with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedConnection:
    """A connection under its lock. `customer_ref` is None where the aggregator does not know the client."""

    id: ConnectionId
    client_id: ClientId
    source_id: SourceId
    login_ref: str
    customer_ref: str | None
    locked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedAccount:
    """An account that is not deleted yet, under its lock."""

    id: AccountId
    connection_id: ConnectionId
    account_ref: str
    is_open: bool


async def get_home(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> ConnectionId:
    """Return the connection that an account is under. Raises NotFound."""
    connection_id: ConnectionId | None = await conn.fetchval(
        """
        SELECT connection_id FROM accounts
        WHERE customer_id = $1 AND id = $2 AND adopted_into IS NULL AND deleted_at IS NULL
        """,
        customer_id,
        account_id,
    )
    if connection_id is None:
        raise NotFound(f"there is no sub-account {account_id}")
    return connection_id


async def lock_connections(
    conn: Connection,
    customer_id: CustomerId,
    *,
    connection_id: ConnectionId | None = None,
    client_id: ClientId | None = None,
) -> tuple[DoomedConnection, ...]:
    """Lock one connection, or all of a client, by id, until commit; those that are deleted already are left out."""
    rows = await conn.fetch(
        """
        SELECT c.id, c.client_id, c.source_id, c.aggregator_login_id AS login_ref,
               e.aggregator_customer_id AS customer_ref, clock_timestamp() AS locked_at
        FROM connections c
        LEFT JOIN enrolments e
          ON e.customer_id = c.customer_id AND e.source_id = c.source_id AND e.client_id = c.client_id
        WHERE c.customer_id = $1 AND (c.id = $2 OR c.client_id = $3) AND c.deleted_at IS NULL
        ORDER BY c.id FOR UPDATE OF c
        """,
        customer_id,
        connection_id,
        client_id,
    )
    return tuple(DoomedConnection(**row) for row in rows)


async def lock_accounts(
    conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]
) -> tuple[DoomedAccount, ...]:
    """Lock the accounts of connections, by id, until commit; those that are deleted already are left out."""
    rows = await conn.fetch(
        """
        SELECT id, connection_id, aggregator_id AS account_ref, state = 'open' AS is_open FROM accounts
        WHERE customer_id = $1 AND connection_id = ANY ($2::bigint[]) AND adopted_into IS NULL AND deleted_at IS NULL
        ORDER BY id FOR UPDATE
        """,
        customer_id,
        list(connection_ids),
    )
    return tuple(DoomedAccount(**row) for row in rows)


async def mark_accounts_deleted(conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId]) -> None:
    """Close and delete accounts; the caller tells of their rows where they were open (see bankfeed/db/change.py)."""
    await conn.execute(
        """
        UPDATE accounts SET state = 'closed', closed_at = coalesce(closed_at, now()), delete_hinted_at = NULL,
            deleted_at = now(), version = version + 1
        WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL
        """,
        customer_id,
        list(account_ids),
    )


async def mark_connections_deleted(
    conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]
) -> None:
    """Close and delete connections: nothing waits for them any more, and a refresh under way has lost its lease."""
    await conn.execute(
        """
        WITH old AS (
            SELECT id, state FROM connections WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL
            ORDER BY id FOR UPDATE
        ), deleted AS (
            UPDATE connections c SET state = 'closed', status_since = now(), broken_since = NULL, deleted_at = now(),
                handled = c.requested, claimed = c.requested, lease_token = NULL, lease_until = NULL, next_update_at = NULL,
                version = c.version + 1
            FROM old WHERE c.customer_id = $1 AND c.id = old.id
            RETURNING c.id, old.state AS was
        )
        INSERT INTO connection_history (customer_id, connection_id, kind)
        SELECT $1, id, 'deleted' FROM deleted WHERE was <> 'closed' ORDER BY id
        """,
        customer_id,
        list(connection_ids),
    )


async def fail_bank_refreshes(
    conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]
) -> None:
    """End the bank refreshes that wait or run for connections that are deleted."""
    await conn.execute(
        """
        UPDATE bank_refreshes SET state = 'failed', finished_at = now(), message = 'The bank account is no longer linked.',
            lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND connection_id = ANY ($2::bigint[]) AND finished_at IS NULL
        """,
        customer_id,
        list(connection_ids),
    )


async def reopen_accounts(
    conn: Connection, customer_id: CustomerId, *, source_id: SourceId, account_refs: Sequence[str], at: datetime
) -> None:
    """Let accounts that were added again at a time after their deletion be accounts again; the next refresh opens them."""
    await conn.execute(
        """
        WITH locked AS (
            SELECT id FROM accounts
            WHERE customer_id = $1 AND source_id = $2 AND aggregator_id = ANY ($3::text[]) AND adopted_into IS NULL
              AND deleted_at < $4
            ORDER BY id FOR UPDATE
        )
        UPDATE accounts a SET deleted_at = NULL, version = version + 1
        FROM locked WHERE a.customer_id = $1 AND a.id = locked.id
        """,
        customer_id,
        source_id,
        list(account_refs),
        at,
    )


async def list_deleted_refs(
    conn: Connection, customer_id: CustomerId, *, source_id: SourceId, login_ref: str
) -> tuple[str, ...]:
    """List the aggregator's ids of a login's deleted accounts."""
    rows = await conn.fetch(
        """
        SELECT a.aggregator_id FROM connections c
        JOIN accounts a ON a.customer_id = $1 AND a.connection_id = c.id
        WHERE c.customer_id = $1 AND c.source_id = $2 AND c.aggregator_login_id = $3
          AND a.adopted_into IS NULL AND a.deleted_at IS NOT NULL ORDER BY a.id
        """,
        customer_id,
        source_id,
        login_ref,
    )
    return tuple(row["aggregator_id"] for row in rows)


async def restore_connections(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, deleted_at: datetime
) -> None:
    """Bring back, closed, the connections that were deleted together with their client. Their accounts come after them."""
    await conn.execute(
        """
        WITH locked AS (
            SELECT id FROM connections WHERE customer_id = $1 AND client_id = $2 AND deleted_at = $3 ORDER BY id FOR UPDATE
        )
        UPDATE connections c SET deleted_at = NULL, version = version + 1
        FROM locked WHERE c.customer_id = $1 AND c.id = locked.id
        """,
        customer_id,
        client_id,
        deleted_at,
    )


async def restore_accounts(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, deleted_at: datetime
) -> tuple[AccountId, ...]:
    """Bring back, closed, the accounts that were deleted together with their client; return them."""
    rows = await conn.fetch(
        """
        WITH locked AS (
            SELECT id FROM accounts WHERE customer_id = $1 AND client_id = $2 AND deleted_at = $3 ORDER BY id FOR UPDATE
        )
        UPDATE accounts a SET deleted_at = NULL, version = version + 1
        FROM locked WHERE a.customer_id = $1 AND a.id = locked.id RETURNING a.id
        """,
        customer_id,
        client_id,
        deleted_at,
    )
    return tuple(sorted(row["id"] for row in rows))


async def reopen_connections(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, source_ids: Sequence[SourceId]
) -> None:
    """Ask for a refresh of a restored client's logins at sources that still have it; it opens what they still list."""
    await conn.execute(
        """
        WITH locked AS (
            SELECT id FROM connections
            WHERE customer_id = $1 AND client_id = $2 AND source_id = ANY ($3::bigint[]) AND deleted_at IS NULL
              AND state = 'closed'
            ORDER BY id FOR UPDATE
        ), opened AS (
            UPDATE connections c SET state = 'active', status_since = now(), requested = requested + 1, due_at = now()
            FROM locked WHERE c.customer_id = $1 AND c.id = locked.id RETURNING c.id
        )
        INSERT INTO connection_history (customer_id, connection_id, kind) SELECT $1, id, 'added' FROM opened ORDER BY id
        """,
        customer_id,
        client_id,
        list(source_ids),
    )
