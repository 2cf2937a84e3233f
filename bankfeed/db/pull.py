"""Pulls: each listing of an account, and what came of it."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bankfeed.db.database import Connection
from bankfeed.model import AccountId, CustomerId, Pull, PullId

_MOST_HELD = 5


async def insert_pull(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    pull: Pull,
    outcome: str,
    reason: str,
    counts: Mapping[str, int],
) -> PullId | None:
    """Record a pull; return its id, None where the same pull (account and `at`) was recorded before.

    A held pull keeps its rows. `counts` maps added, updated, posted, shadowed, returned and removed to rows.
    """
    pull_id: PullId | None = await conn.fetchval(
        """
        INSERT INTO pulls (customer_id, account_id, at, kind, from_on, to_on, outcome, reason, attempted_at,
            reported_rows, added_rows, updated_rows, posted_rows, shadowed_rows, returned_rows, removed_rows, balance,
            balance_on, held)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        ON CONFLICT (customer_id, account_id, at) DO NOTHING RETURNING id
        """,
        customer_id,
        account_id,
        pull.at,
        pull.kind,
        pull.from_on,
        pull.to_on,
        outcome,
        reason,
        pull.attempted_at,
        len(pull.rows),
        counts.get("added", 0),
        counts.get("updated", 0),
        counts.get("posted", 0),
        counts.get("shadowed", 0),
        counts.get("returned", 0),
        counts.get("removed", 0),
        pull.balance,
        pull.balance_on,
        msgspec.json.encode(pull) if outcome == "held" else None,
    )
    return pull_id


async def list_held_pulls(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, after: datetime | None, until: datetime
) -> tuple[Pull, ...]:
    """List the latest pulls held since the last one applied (`after`) up to `until`: those another may agree with."""
    rows = await conn.fetch(
        """
        SELECT held FROM pulls
        WHERE customer_id = $1 AND account_id = $2 AND outcome = 'held' AND ($3::timestamptz IS NULL OR at > $3)
          AND at <= $4
        ORDER BY at DESC LIMIT $5
        """,
        customer_id,
        account_id,
        after,
        until,
        _MOST_HELD,
    )
    return tuple(msgspec.json.decode(row["held"], type=Pull) for row in rows)


async def is_held_already(conn: Connection, customer_id: CustomerId, account_id: AccountId, *, pull: Pull) -> bool:
    """Tell whether a pull of the same attempt at the bank, as long and of the same window's start, is held."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM pulls
            WHERE customer_id = $1 AND account_id = $2 AND outcome = 'held' AND attempted_at = $3 AND reported_rows = $4
              AND from_on <= $5
        )
        """,
        customer_id,
        account_id,
        pull.attempted_at,
        len(pull.rows),
        pull.from_on,
    )
    return found
