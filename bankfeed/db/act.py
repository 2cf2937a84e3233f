"""Acts: what people did, in their order, undone or not. Which rows they changed is in the history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ActId, CustomerId
from bankfeed.reconcile.changes import ActKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An act as it is kept. `undone_by` is the act that took it back, None while it stands; a final one always does."""

    id: ActId
    account_id: AccountId
    kind: ActKind
    undone_by: ActId | None
    is_final: bool


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
               EXISTS (SELECT FROM doubts WHERE customer_id = $1 AND decided_by = $2 AND decision = 'adopted') AS is_final
        FROM acts WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        act_id,
    )
    if row is None:
        raise NotFound(f"there is no act {act_id}")
    return Act(**dict(row) | {"kind": ActKind(row["kind"])})


async def mark_act_undone(conn: Connection, customer_id: CustomerId, act_id: ActId, *, undone_by: ActId) -> None:
    """Note which act took this one back."""
    await conn.execute(
        "UPDATE acts SET undone_by = $3 WHERE customer_id = $1 AND id = $2 AND undone_by IS NULL",
        customer_id,
        act_id,
        undone_by,
    )
