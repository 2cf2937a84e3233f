"""Review items: where the books and the bank differ, for a person to decide."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.ledger.follow import EntryId, Followed, Question, ReviewKind
from bankfeed.model import ClientId, CustomerId, TransactionId

SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """A question about an entry. `closed_by` is who answered it, "system" where it became moot; None while it is open."""

    id: int
    client_id: ClientId
    entry_id: EntryId
    transaction_id: TransactionId
    kind: ReviewKind
    reason: str
    raised_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    correcting_entry_id: EntryId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about an entry, and whether a person closed the latest of its items."""

    open: frozenset[ReviewKind]
    is_decided: bool


async def list_asked(conn: Connection, customer_id: CustomerId, entry_ids: Sequence[EntryId]) -> dict[EntryId, Asked]:
    """Return what is and was asked about these entries; one about which nothing ever was is left out."""
    rows = await conn.fetch(
        """
        SELECT entry_id, kind, closed_by FROM review_items
        WHERE customer_id = $1 AND entry_id = ANY ($2::bigint[]) ORDER BY entry_id, id
        """,
        customer_id,
        list(entry_ids),
    )
    items: dict[EntryId, list[Any]] = defaultdict(list)
    for row in rows:
        items[row["entry_id"]].append(row)
    return {
        entry_id: Asked(
            open=frozenset(ReviewKind(row["kind"]) for row in own if row["closed_by"] is None),
            is_decided=own[-1]["closed_by"] not in (None, SYSTEM),
        )
        for entry_id, own in items.items()
    }


async def upsert_questions(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    asked: Sequence[tuple[EntryId, TransactionId, Question]],
) -> None:
    """Open review items; one that is open already says what it is about now."""
    await conn.execute(
        """
        INSERT INTO review_items (customer_id, client_id, entry_id, transaction_id, kind, reason)
        SELECT $1, $2, u.entry_id, u.transaction_id, u.kind, u.reason
        FROM unnest($3::bigint[], $4::bigint[], $5::review_kind[], $6::text[])
            AS u (entry_id, transaction_id, kind, reason)
        ON CONFLICT (customer_id, entry_id, kind) WHERE closed_at IS NULL
            DO UPDATE SET reason = excluded.reason, transaction_id = excluded.transaction_id
        """,
        customer_id,
        client_id,
        [entry_id for entry_id, _, _ in asked],
        [transaction_id for _, transaction_id, _ in asked],
        [question.kind for _, _, question in asked],
        [question.reason for _, _, question in asked],
    )


async def mark_moot(conn: Connection, customer_id: CustomerId, followed: Sequence[Followed]) -> None:
    """Close the items that nobody need answer any more."""
    pairs = [(each.id, kind) for each in followed for kind in each.closes]
    await conn.execute(
        """
        UPDATE review_items r SET closed_at = now(), closed_by = 'system'
        FROM unnest($2::bigint[], $3::review_kind[]) AS u (entry_id, kind)
        WHERE r.customer_id = $1 AND r.entry_id = ANY ($2::bigint[]) AND r.entry_id = u.entry_id AND r.kind = u.kind
          AND r.closed_at IS NULL
        """,
        customer_id,
        [entry_id for entry_id, _ in pairs],
        [kind for _, kind in pairs],
    )


async def mark_unlinked_moot(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, references: Sequence[str]
) -> None:
    """Close what is asked about entries that were taken off their transactions."""
    await conn.execute(
        """
        UPDATE review_items r SET closed_at = now(), closed_by = 'system'
        WHERE r.customer_id = $1 AND r.client_id = $2 AND r.closed_at IS NULL AND r.entry_id IN (
            SELECT e.id FROM ledger_entries e
            WHERE e.customer_id = $1 AND e.client_id = $2 AND e.reference = ANY ($3::text[]) AND e.transaction_id IS NULL)
        """,
        customer_id,
        client_id,
        list(references),
    )


async def get_item(conn: Connection, customer_id: CustomerId, item_id: int) -> ReviewItem:
    """Return a review item of a client that is there. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT r.id, r.client_id, r.entry_id, r.transaction_id, r.kind, r.reason, r.raised_at, r.closed_at, r.closed_by,
               r.correcting_entry_id
        FROM review_items r JOIN clients c ON c.customer_id = $1 AND c.id = r.client_id AND c.deleted_at IS NULL
        WHERE r.customer_id = $1 AND r.id = $2
        """,
        customer_id,
        item_id,
    )
    if row is None:
        raise NotFound(f"there is no review item {item_id}")
    return _read(row)


async def list_open_items(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId | None,
    *,
    kind: ReviewKind | None,
    after: int | None,
    limit: int,
) -> tuple[ReviewItem, ...]:
    """List what waits for a person, the oldest first; of one client, or of all. `after` is the last one's id."""
    rows = await conn.fetch(
        """
        SELECT r.id, r.client_id, r.entry_id, r.transaction_id, r.kind, r.reason, r.raised_at, r.closed_at, r.closed_by,
               r.correcting_entry_id
        FROM review_items r
        WHERE r.customer_id = $1 AND ($2::bigint IS NULL OR r.client_id = $2) AND r.closed_at IS NULL
          AND ($3::review_kind IS NULL OR r.kind = $3) AND ($4::bigint IS NULL OR r.id > $4)
          AND EXISTS (SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = r.client_id AND c.deleted_at IS NULL)
        ORDER BY r.id LIMIT $5
        """,
        customer_id,
        client_id,
        kind,
        after,
        limit,
    )
    return tuple(_read(row) for row in rows)


async def mark_closed(
    conn: Connection, customer_id: CustomerId, item_id: int, *, by: str, correcting_entry_id: EntryId | None
) -> bool:
    """Close an item; False where it was closed before. `by` is who did."""
    closed: bool | None = await conn.fetchval(
        """
        UPDATE review_items SET closed_at = now(), closed_by = $3, correcting_entry_id = $4
        WHERE customer_id = $1 AND id = $2 AND closed_at IS NULL RETURNING true
        """,
        customer_id,
        item_id,
        by,
        correcting_entry_id,
    )
    return bool(closed)


def _read(row: Any) -> ReviewItem:
    return ReviewItem(**dict(row) | {"kind": ReviewKind(row["kind"])})
