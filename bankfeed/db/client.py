"""Clients of a customer, their change counter, and who they are at the aggregator."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bankfeed.db.database import Connection
from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import ClientId, CustomerId, SourceId


class UsernameTaken(ActRefused):
    """Another client of the customer has that username."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A client as the aggregator's customer."""

    customer_id: CustomerId
    client_id: ClientId
    customer_ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that is not deleted. `preferences` is a JSON object, as text."""

    id: ClientId
    username: str
    name: str
    email: str
    phone: str
    preferences: bytes
    locked_at: datetime | None
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChange:
    """What changes of a client; None stays as it is."""

    username: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    preferences: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCounts:
    """How many open logins and accounts a client has, and how many of the logins do not work now."""

    bank_accounts: int = 0
    sub_accounts: int = 0
    bank_accounts_with_errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedClient:
    """A client that was deleted just now, and when all that is its own is erased."""

    id: ClientId
    deleted_at: datetime
    erase_at: datetime


async def insert_client(
    conn: Connection,
    customer_id: CustomerId,
    *,
    username: str,
    name: str,
    email: str = "",
    phone: str = "",
    preferences: bytes = b"{}",
) -> ClientId:
    """Add a client with its change counter. Raises UsernameTaken."""
    client_id: ClientId | None = await conn.fetchval(
        """
        WITH client AS (
            INSERT INTO clients (customer_id, username, name, email, phone, preferences)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (customer_id, username) WHERE deleted_at IS NULL DO NOTHING
            RETURNING customer_id, id
        )
        INSERT INTO change_counters (customer_id, client_id) SELECT customer_id, id FROM client RETURNING client_id
        """,
        customer_id,
        username,
        name,
        email,
        phone,
        preferences,
    )
    if client_id is None:
        raise _taken()
    return client_id


def _taken() -> UsernameTaken:
    return UsernameTaken("expected a username that no other client has")


async def find_client_by_username(conn: Connection, customer_id: CustomerId, username: str) -> ClientId | None:
    """Return the client with that username, None where there is none."""
    client_id: ClientId | None = await conn.fetchval(
        "SELECT id FROM clients WHERE customer_id = $1 AND username = $2 AND deleted_at IS NULL", customer_id, username
    )
    return client_id


async def get_client(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> Client:
    """Return a client. Raises NotFound, for one that is deleted too."""
    row = await conn.fetchrow(
        """
        SELECT id, username, name, email, phone, preferences, locked_at, created_at, version FROM clients
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        """,
        customer_id,
        client_id,
    )
    return _read(row, client_id)


async def list_clients(
    conn: Connection,
    customer_id: CustomerId,
    *,
    text: str | None,
    username: str | None,
    after_id: int,
    limit: int,
) -> tuple[Client, ...]:
    """List clients by id, those after one; whose name, username or e-mail holds a text, in any case; None is any."""
    rows = await conn.fetch(
        """
        SELECT id, username, name, email, phone, preferences, locked_at, created_at, version FROM clients
        WHERE customer_id = $1 AND deleted_at IS NULL AND id > $4 AND ($2::text IS NULL OR username = $2)
          AND ($3::text IS NULL OR position(lower($3) IN lower(name)) > 0 OR position(lower($3) IN lower(username)) > 0
               OR position(lower($3) IN lower(email)) > 0)
        ORDER BY id LIMIT $5
        """,
        customer_id,
        username,
        text,
        after_id,
        limit,
    )
    return tuple(Client(**row) for row in rows)


async def count_linked(
    conn: Connection, customer_id: CustomerId, client_ids: Sequence[ClientId]
) -> dict[ClientId, ClientCounts]:
    """Count what clients have linked, all in one statement; each of them is in the answer."""
    rows = await conn.fetch(
        """
        SELECT u.id, coalesce(c.bank_accounts, 0) AS bank_accounts, coalesce(a.sub_accounts, 0) AS sub_accounts,
               coalesce(c.bank_accounts_with_errors, 0) AS bank_accounts_with_errors
        FROM unnest($2::bigint[]) AS u (id)
        LEFT JOIN (
            SELECT client_id, count(*) AS bank_accounts, count(*) FILTER (WHERE state <> 'active') AS bank_accounts_with_errors
            FROM connections WHERE customer_id = $1 AND client_id = ANY ($2::bigint[]) AND state <> 'closed'
            GROUP BY client_id
        ) c ON c.client_id = u.id
        LEFT JOIN (
            SELECT client_id, count(*) AS sub_accounts FROM accounts
            WHERE customer_id = $1 AND client_id = ANY ($2::bigint[]) AND state = 'open' GROUP BY client_id
        ) a ON a.client_id = u.id
        """,
        customer_id,
        list(client_ids),
    )
    return {
        row["id"]: ClientCounts(
            bank_accounts=row["bank_accounts"],
            sub_accounts=row["sub_accounts"],
            bank_accounts_with_errors=row["bank_accounts_with_errors"],
        )
        for row in rows
    }


async def update_client(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    change: ClientChange,
    *,
    version: int | None = None,
) -> Client | None:
    """Change a client and return it, or None where it is not of that version (None is any), or not there.

    Raises UsernameTaken; then the transaction can only be rolled back.
    """
    try:
        row = await conn.fetchrow(
            """
            UPDATE clients SET username = coalesce($3, username), name = coalesce($4, name), email = coalesce($5, email),
                phone = coalesce($6, phone), preferences = coalesce($7, preferences), version = version + 1
            WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($8, version)
            RETURNING id, username, name, email, phone, preferences, locked_at, created_at, version
            """,
            customer_id,
            client_id,
            change.username,
            change.name,
            change.email,
            change.phone,
            change.preferences,
            version,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken() from error
    return None if row is None else Client(**row)


async def mark_locked(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> Client:
    """Lock a client; from the commit on no refresh of its logins begins. Safe to repeat. Raises NotFound."""
    row = await conn.fetchrow(
        """
        UPDATE clients SET locked_at = coalesce(locked_at, now()), version = version + (locked_at IS NULL)::int
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        RETURNING id, username, name, email, phone, preferences, locked_at, created_at, version
        """,
        customer_id,
        client_id,
    )
    return _read(row, client_id)


async def mark_unlocked(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> Client:
    """Unlock a client; what was asked for meanwhile is due. Safe to repeat. Raises NotFound."""
    row = await conn.fetchrow(
        """
        UPDATE clients SET locked_at = NULL, version = version + (locked_at IS NOT NULL)::int
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        RETURNING id, username, name, email, phone, preferences, locked_at, created_at, version
        """,
        customer_id,
        client_id,
    )
    return _read(row, client_id)


def _read(row: Any, client_id: ClientId) -> Client:
    if row is None:
        raise NotFound(f"there is no client {client_id}")
    return Client(**row)


async def mark_deleted(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, erase_days: int
) -> DeletedClient:
    """Take a client out of every list, to be erased after so many days. Raises NotFound."""
    row = await conn.fetchrow(
        """
        UPDATE clients SET deleted_at = now(), erase_at = now() + make_interval(days => $3), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING id, deleted_at, erase_at
        """,
        customer_id,
        client_id,
        erase_days,
    )
    if row is None:
        raise NotFound(f"there is no client {client_id}")
    return DeletedClient(**row)


async def mark_restored(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> datetime:
    """Bring a deleted client back whose time has not come; return when it had been deleted. Raises NotFound, UsernameTaken.

    The clock is read after the lock: one whose erasing has begun does not come back.
    """
    try:
        deleted_at: datetime | None = await conn.fetchval(
            """
            WITH gone AS (
                SELECT customer_id, id, deleted_at FROM clients
                WHERE customer_id = $1 AND id = $2 AND erase_at > clock_timestamp() AND erased_at IS NULL FOR UPDATE
            )
            UPDATE clients c SET deleted_at = NULL, erase_at = NULL, version = version + 1
            FROM gone WHERE c.customer_id = gone.customer_id AND c.id = gone.id RETURNING gone.deleted_at
            """,
            customer_id,
            client_id,
        )
    except asyncpg.UniqueViolationError as error:
        raise _taken() from error
    if deleted_at is None:
        raise NotFound(f"there is no deleted client {client_id} that can be restored")
    return deleted_at


async def take_change_numbers(conn: Connection, customer_id: CustomerId, client_id: ClientId, *, count: int) -> int:
    """Take `count` change numbers, locking the counter until commit; return the first of them.

    The lock makes numbers commit in order: who has seen number n has seen all below it. It comes last in the lock order
    (connection, accounts by id, counter) and is held shortest. The transaction keeps where its numbers of the client begin
    (see change.get_counter_before).
    """
    last: int = await conn.fetchval(
        """
        UPDATE change_counters SET last_change_no = last_change_no + $3
        WHERE customer_id = $1 AND client_id = $2
        RETURNING last_change_no, CASE WHEN coalesce(current_setting('app.counter_before', true), '') LIKE client_id || ':%'
            THEN '' ELSE set_config('app.counter_before', client_id || ':' || (last_change_no - $3), true) END
        """,
        customer_id,
        client_id,
        count,
    )
    return last - count + 1


async def upsert_enrolment(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, source_id: SourceId, customer_ref: str
) -> bool:
    """Note which customer of the aggregator this client is. Safe to repeat. False where the client was deleted.

    Who deletes it at this moment waits, and then finds it enrolled; see bankfeed/removal.py.
    """
    is_noted: bool = await conn.fetchval(
        """
        WITH client AS (
            SELECT customer_id, id FROM clients WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL FOR SHARE
        ), noted AS (
            INSERT INTO enrolments (customer_id, client_id, source_id, aggregator_customer_id)
            SELECT customer_id, id, $3, $4 FROM client
            ON CONFLICT (customer_id, source_id, client_id) DO UPDATE
                SET aggregator_customer_id = excluded.aggregator_customer_id
                WHERE enrolments.aggregator_customer_id <> excluded.aggregator_customer_id
        )
        SELECT EXISTS (SELECT FROM client)
        """,
        customer_id,
        client_id,
        source_id,
        customer_ref,
    )
    return is_noted


async def list_customer_refs(
    conn: Connection, customer_id: CustomerId, client_id: ClientId
) -> tuple[tuple[SourceId, str], ...]:
    """List who a client is at each source."""
    rows = await conn.fetch(
        """
        SELECT source_id, aggregator_customer_id FROM enrolments
        WHERE customer_id = $1 AND client_id = $2 ORDER BY source_id
        """,
        customer_id,
        client_id,
    )
    return tuple((row["source_id"], row["aggregator_customer_id"]) for row in rows)


async def list_enrolments(
    conn: Connection,
    source_id: SourceId,
    *,
    customer_id: CustomerId | None,
    customer_ref: str | None,
    limit: int,
) -> tuple[Enrolment, ...]:
    """List a source's clients, newest first, as the queue role; of one customer, or one customer there, if given.

    Deleted ones are left out.
    """
    rows = await conn.fetch(
        """
        SELECT customer_id, client_id, aggregator_customer_id AS customer_ref FROM enrolments e
        WHERE source_id = $1 AND ($2::bigint IS NULL OR customer_id = $2)
          AND ($3::text IS NULL OR aggregator_customer_id = $3)
          AND NOT EXISTS (SELECT FROM clients c
                          WHERE c.customer_id = e.customer_id AND c.id = e.client_id AND c.erase_at IS NOT NULL)
        ORDER BY created_at DESC, customer_id, client_id LIMIT $4
        """,
        source_id,
        customer_id,
        customer_ref,
        limit,
    )
    return tuple(Enrolment(**row) for row in rows)
