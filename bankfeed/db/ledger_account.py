"""Ledger accounts: a client's chart of accounts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bankfeed.db.database import Connection
from bankfeed.errors import ActRefused
from bankfeed.ledger.chart import ChartRow, LedgerKind
from bankfeed.ledger.lines import LedgerAccountId
from bankfeed.model import ClientId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAccount:
    """A ledger account. An archived one is booked to no more, and keeps what was."""

    id: LedgerAccountId
    client_id: ClientId
    code: str
    name: str
    kind: LedgerKind
    archived_at: datetime | None
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to, in rows."""

    added: int
    updated: int


async def insert_ledger_account(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, row: ChartRow
) -> LedgerAccount | None:
    """Add a ledger account; None where the client has one of that code."""
    found = await conn.fetchrow(
        """
        INSERT INTO ledger_accounts (customer_id, client_id, code, name, kind) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (customer_id, client_id, code) DO NOTHING
        RETURNING id, client_id, code, name, kind, archived_at, created_at, version
        """,
        customer_id,
        client_id,
        row.code,
        row.name,
        row.kind,
    )
    return None if found is None else _read(found)


async def upsert_chart(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, rows: Sequence[ChartRow]
) -> Imported:
    """Add the ledger accounts of a chart, and bring those that are there up to date. Safe to repeat; archived ones stay so."""
    found = await conn.fetch(
        """
        INSERT INTO ledger_accounts AS a (customer_id, client_id, code, name, kind)
        SELECT $1, $2, u.code, u.name, u.kind
        FROM unnest($3::text[], $4::text[], $5::ledger_kind[]) AS u (code, name, kind) ORDER BY u.code
        ON CONFLICT (customer_id, client_id, code) DO UPDATE
            SET name = excluded.name, kind = excluded.kind, version = a.version + 1
            WHERE (a.name, a.kind) IS DISTINCT FROM (excluded.name, excluded.kind)
        RETURNING version = 1 AS is_new
        """,
        customer_id,
        client_id,
        [row.code for row in rows],
        [row.name for row in rows],
        [row.kind for row in rows],
    )
    added = sum(row["is_new"] for row in found)
    return Imported(added=added, updated=len(found) - added)


async def list_ledger_accounts(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    *,
    is_archived: bool | None,
    after: tuple[str, int] | None,
    limit: int,
) -> tuple[LedgerAccount, ...]:
    """List a client's ledger accounts by code; all, or only those (not) archived. `after` is the last one's code and id."""
    code, last_id = after or (None, None)
    rows = await conn.fetch(
        """
        SELECT id, client_id, code, name, kind, archived_at, created_at, version FROM ledger_accounts
        WHERE customer_id = $1 AND client_id = $2 AND ($3::boolean IS NULL OR (archived_at IS NOT NULL) = $3)
          AND ($4::text IS NULL OR (code, id) > ($4, $5::bigint))
        ORDER BY code, id LIMIT $6
        """,
        customer_id,
        client_id,
        is_archived,
        code,
        last_id,
        limit,
    )
    return tuple(_read(row) for row in rows)


async def list_known(
    conn: Connection, customer_id: CustomerId, ids: Sequence[LedgerAccountId]
) -> dict[LedgerAccountId, LedgerAccount]:
    """Return ledger accounts by their ids; one that there is not is left out."""
    rows = await conn.fetch(
        """
        SELECT id, client_id, code, name, kind, archived_at, created_at, version FROM ledger_accounts
        WHERE customer_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id
        """,
        customer_id,
        list(ids),
    )
    return {row["id"]: _read(row) for row in rows}


async def find_ledger_account(
    conn: Connection, customer_id: CustomerId, ledger_account_id: LedgerAccountId
) -> LedgerAccount | None:
    """Return a ledger account of a client that is there, None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT a.id, a.client_id, a.code, a.name, a.kind, a.archived_at, a.created_at, a.version
        FROM ledger_accounts a JOIN clients c ON c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL
        WHERE a.customer_id = $1 AND a.id = $2
        """,
        customer_id,
        ledger_account_id,
    )
    return None if row is None else _read(row)


async def update_ledger_account(
    conn: Connection,
    customer_id: CustomerId,
    ledger_account_id: LedgerAccountId,
    *,
    version: int | None,
    code: str | None = None,
    name: str | None = None,
    kind: LedgerKind | None = None,
) -> LedgerAccount | None:
    """Change what is given, where the version is still that one (None: whatever it is); None where it is not.

    Raises ActRefused where the client has another one of that code.
    """
    try:
        async with conn.transaction():  # so that a refusal leaves the caller's transaction as it was
            row = await conn.fetchrow(
                """
                UPDATE ledger_accounts SET code = coalesce($4, code), name = coalesce($5, name), kind = coalesce($6, kind),
                    version = version + 1
                WHERE customer_id = $1 AND id = $2 AND version = coalesce($3, version)
                RETURNING id, client_id, code, name, kind, archived_at, created_at, version
                """,
                customer_id,
                ledger_account_id,
                version,
                code,
                name,
                kind,
            )
    except asyncpg.UniqueViolationError as error:
        raise ActRefused(f"expected a code that the client has not, got {code!r}, which another account has") from error
    return None if row is None else _read(row)


async def mark_archived(
    conn: Connection, customer_id: CustomerId, ledger_account_id: LedgerAccountId
) -> LedgerAccount | None:
    """Archive a ledger account, None where there is none. Safe to repeat."""
    row = await conn.fetchrow(
        """
        UPDATE ledger_accounts SET archived_at = coalesce(archived_at, now()),
            version = version + (archived_at IS NULL)::int
        WHERE customer_id = $1 AND id = $2
        RETURNING id, client_id, code, name, kind, archived_at, created_at, version
        """,
        customer_id,
        ledger_account_id,
    )
    return None if row is None else _read(row)


async def clear_archived(
    conn: Connection, customer_id: CustomerId, ledger_account_id: LedgerAccountId
) -> LedgerAccount | None:
    """Bring a ledger account back, None where there is none. Safe to repeat."""
    row = await conn.fetchrow(
        """
        UPDATE ledger_accounts SET archived_at = NULL, version = version + (archived_at IS NOT NULL)::int
        WHERE customer_id = $1 AND id = $2
        RETURNING id, client_id, code, name, kind, archived_at, created_at, version
        """,
        customer_id,
        ledger_account_id,
    )
    return None if row is None else _read(row)


async def find_account_booking_to(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, ledger_account_id: LedgerAccountId
) -> int | None:
    """Return an account whose bank side a ledger account is, None where there is none."""
    account_id: int | None = await conn.fetchval(
        """
        SELECT min(id) FROM accounts
        WHERE customer_id = $1 AND client_id = $2 AND ledger_account_id = $3 AND deleted_at IS NULL AND adopted_into IS NULL
        """,
        customer_id,
        client_id,
        ledger_account_id,
    )
    return account_id


def _read(row: Any) -> LedgerAccount:
    values = dict(row)
    return LedgerAccount(**values | {"kind": LedgerKind(values["kind"])})
