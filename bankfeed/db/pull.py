"""Pulls: each listing of an account, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import msgspec

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, CustomerId, FeedKind, Pull, PullId, TransactionId

_MOST_HELD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenPull:
    """A pull as it is kept. `undone_at` is None while it stands."""

    id: PullId
    account_id: AccountId
    kind: FeedKind
    outcome: str
    undone_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPull:
    """A pull as people see it: when, of which days, and what came of it. `balance_gap` is None where nothing was checked."""

    id: PullId
    account_id: AccountId
    at: datetime
    kind: FeedKind
    from_on: date
    to_on: date
    outcome: str
    reason: str
    attempted_at: datetime | None
    reported_rows: int
    added_rows: int
    updated_rows: int
    posted_rows: int
    shadowed_rows: int
    returned_rows: int
    removed_rows: int
    balance: Decimal | None
    balance_on: date | None
    balance_gap: Decimal | None
    undone_at: datetime | None


async def insert_pull(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    pull: Pull,
    outcome: str,
    reason: str,
    counts: Mapping[str, int],
    balance_gap: Decimal | None = None,
) -> PullId | None:
    """Record a pull; return its id, None where the same pull (account and `at`) was recorded before.

    A held pull keeps its rows. `counts` maps added, updated, posted, shadowed, returned and removed to rows.
    `balance_gap` is what the balance check left unexplained, None where nothing was checked.
    """
    pull_id: PullId | None = await conn.fetchval(
        """
        INSERT INTO pulls (customer_id, account_id, at, kind, from_on, to_on, outcome, reason, attempted_at,
            reported_rows, added_rows, updated_rows, posted_rows, shadowed_rows, returned_rows, removed_rows, balance,
            balance_on, held, balance_gap)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
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
        balance_gap,
    )
    return pull_id


async def list_held_pulls(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    after: datetime | None,
    until: datetime,
    at: datetime,
) -> tuple[Pull, ...]:
    """List the latest pulls held since the last one applied (`after`) up to `until`: those that one of `at` may agree with.

    One held of that very moment is among them: it is the same pull again.
    """
    rows = await conn.fetch(
        """
        SELECT held FROM pulls
        WHERE customer_id = $1 AND account_id = $2 AND held IS NOT NULL AND ($3::timestamptz IS NULL OR at > $3)
          AND (at <= $4 OR at = $5)
        ORDER BY at DESC LIMIT $6
        """,
        customer_id,
        account_id,
        after,
        until,
        at,
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


async def forget_held_rows(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, after: datetime | None
) -> None:
    """Let go of the rows of the pulls held since the last one applied (`after`): another one is applied now."""
    await conn.execute(
        """
        UPDATE pulls SET held = NULL
        WHERE customer_id = $1 AND account_id = $2 AND outcome = 'held' AND ($3::timestamptz IS NULL OR at > $3)
        """,
        customer_id,
        account_id,
        after,
    )


async def get_pull(conn: Connection, customer_id: CustomerId, pull_id: PullId) -> TakenPull:
    """Return one pull. Raises NotFound."""
    row = await conn.fetchrow(
        "SELECT id, account_id, kind, outcome, undone_at FROM pulls WHERE customer_id = $1 AND id = $2",
        customer_id,
        pull_id,
    )
    if row is None:
        raise NotFound(f"there is no pull {pull_id}")
    return TakenPull(**dict(row) | {"kind": FeedKind(row["kind"])})


async def list_pulls(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, before: datetime | None = None, limit: int
) -> tuple[StoredPull, ...]:
    """List the pulls of an account, the newest first, from before `before`."""
    rows = await conn.fetch(
        """
        SELECT id, account_id, at, kind, from_on, to_on, outcome, reason, attempted_at, reported_rows, added_rows,
               updated_rows, posted_rows, shadowed_rows, returned_rows, removed_rows, balance, balance_on, balance_gap,
               undone_at
        FROM pulls WHERE customer_id = $1 AND account_id = $2 AND ($3::timestamptz IS NULL OR at < $3)
        ORDER BY at DESC LIMIT $4
        """,
        customer_id,
        account_id,
        before,
        limit,
    )
    return tuple(StoredPull(**dict(row) | {"kind": FeedKind(row["kind"])}) for row in rows)


async def mark_pull_undone(conn: Connection, customer_id: CustomerId, pull_id: PullId, *, at: datetime) -> None:
    """Note that a person took back what a pull changed."""
    await conn.execute("UPDATE pulls SET undone_at = $3 WHERE customer_id = $1 AND id = $2", customer_id, pull_id, at)


async def list_pulled_ids(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, pull_id: PullId
) -> tuple[TransactionId, ...]:
    """List the rows that a pull added or changed. Rare, so it reads through the account rather than keep an index."""
    rows = await conn.fetch(
        """
        SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 AND first_pull_id = $3
        UNION
        SELECT c.transaction_id FROM transactions t
        JOIN transaction_changes c ON c.customer_id = $1 AND c.transaction_id = t.id AND c.pull_id = $3
        WHERE t.customer_id = $1 AND t.account_id = $2
        ORDER BY id
        """,
        customer_id,
        account_id,
        pull_id,
    )
    return tuple(row["id"] for row in rows)
