"""Ledger entries, as far as they follow the movements that they were made from."""

from collections.abc import Sequence

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, TransactionId


async def move_entries(
    conn: Connection, customer_id: CustomerId, moves: Sequence[tuple[TransactionId, TransactionId]]
) -> None:
    """Move entries from rows that were joined away (first of each pair) to the rows that survive (second)."""
    await conn.execute(
        """
        UPDATE ledger_entries e SET transaction_id = u.to_id
        FROM unnest($2::bigint[], $3::bigint[]) AS u (from_id, to_id)
        WHERE e.customer_id = $1 AND e.transaction_id = u.from_id
        """,
        customer_id,
        [from_id for from_id, _ in moves],
        [to_id for _, to_id in moves],
    )
