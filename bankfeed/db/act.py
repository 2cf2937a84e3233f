"""Acts: what people did, in their order, undone or not. Which rows they changed is in the history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ActId, ClientId, CustomerId, TransactionId
from bankfeed.reconcile.changes import ActKind

MOST_TRANSACTIONS = 1_000
"""Rows of one act that a list names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An act as it is kept. `undone_by` is the act that took it back, None while it stands; a final one always does."""

    id: ActId
    account_id: AccountId
    kind: ActKind
    undone_by: ActId | None
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAct:
    """An act as people see it. `detail` holds ids and references; `transaction_ids` are rows that it changed, some of many."""

    id: ActId
    account_id: AccountId
    client_id: ClientId
    kind: ActKind
    at: datetime
    actor: str
    detail: Mapping[str, int | str]
    transaction_ids: tuple[TransactionId, ...]
    undone_by: ActId | None


async def insert_act(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    kind: ActKind,
    at: datetime,
    actor: str,
    detail: Mapping[str, int | str],
) -> ActId:
    """Record an act. `detail` holds ids and references only, so that nothing outlives values that are erased."""
    act_id: ActId = await conn.fetchval(
        """
        INSERT INTO acts (customer_id, account_id, kind, at, actor, detail) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
        """,
        customer_id,
        account_id,
        kind,
        at,
        actor,
        msgspec.json.encode(detail),
    )
    return act_id


async def get_act(conn: Connection, customer_id: CustomerId, act_id: ActId) -> Act:
    """Return one act. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT id, account_id, kind, undone_by,
               kind = 'accept_gap' OR EXISTS (
                   SELECT FROM doubts WHERE customer_id = $1 AND decided_by = $2 AND decision = 'adopted') AS is_final
        FROM acts WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        act_id,
    )
    if row is None:
        raise NotFound(f"there is no act {act_id}")
    return Act(**dict(row) | {"kind": ActKind(row["kind"])})


async def list_acts(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None = None,
    account_id: AccountId | None = None,
    transaction_id: TransactionId | None = None,
    before: int | None = None,
    limit: int,
) -> tuple[StoredAct, ...]:
    """List acts, the newest first, of ids below `before`: all, or a client's, an account's, those that changed a row."""
    rows = await conn.fetch(
        """
        SELECT a.id, a.account_id, h.client_id, a.kind, a.at, a.actor, a.detail, a.undone_by,
               ARRAY(SELECT c.transaction_id FROM transaction_changes c WHERE c.customer_id = $1 AND c.act_id = a.id
                     ORDER BY c.transaction_id LIMIT $7) AS transaction_ids
        FROM acts a
        JOIN accounts h ON h.customer_id = $1 AND h.id = a.account_id AND h.deleted_at IS NULL
        JOIN clients l ON l.customer_id = $1 AND l.id = h.client_id AND l.deleted_at IS NULL
        WHERE a.customer_id = $1 AND ($2::bigint IS NULL OR h.client_id = $2)
          AND ($3::bigint IS NULL OR a.account_id = $3)
          AND ($4::bigint IS NULL OR a.id IN (
              SELECT act_id FROM transaction_changes
              WHERE customer_id = $1 AND transaction_id = $4 AND act_id IS NOT NULL))
          AND ($5::bigint IS NULL OR a.id < $5)
        ORDER BY a.id DESC LIMIT $6
        """,
        customer_id,
        client_id,
        account_id,
        transaction_id,
        before,
        limit,
        MOST_TRANSACTIONS,
    )
    return tuple(_read_act(row) for row in rows)


async def list_acted_ids(conn: Connection, customer_id: CustomerId, act_id: ActId) -> tuple[TransactionId, ...]:
    """List the rows that an act changed."""
    rows = await conn.fetch(
        """
        SELECT transaction_id FROM transaction_changes
        WHERE customer_id = $1 AND act_id = $2 ORDER BY transaction_id, change_no
        """,
        customer_id,
        act_id,
    )
    return tuple(row["transaction_id"] for row in rows)


def _read_act(row: Any) -> StoredAct:
    return StoredAct(
        **dict(row)
        | {
            "kind": ActKind(row["kind"]),
            "detail": msgspec.json.decode(row["detail"], type=dict[str, int | str]),
            "transaction_ids": tuple(row["transaction_ids"]),
        }
    )


async def mark_act_undone(conn: Connection, customer_id: CustomerId, act_id: ActId, *, undone_by: ActId) -> None:
    """Note which act took this one back."""
    await conn.execute(
        "UPDATE acts SET undone_by = $3 WHERE customer_id = $1 AND id = $2 AND undone_by IS NULL",
        customer_id,
        act_id,
        undone_by,
    )
