"""Doubts: what a person is asked because the engine does not guess."""

from collections.abc import Sequence

import msgspec

from bankfeed.db.database import Connection
from bankfeed.model import AccountId, CustomerId, PullId
from bankfeed.reconcile import Doubt


async def insert_doubts(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, pull_id: PullId, doubts: Sequence[Doubt]
) -> None:
    """Keep questions about known rows, in one statement. Candidates keep their values, as JSON with exact amounts."""
    await conn.execute(
        """
        INSERT INTO doubts (customer_id, account_id, pull_id, transaction_id, rule, reason, candidates)
        SELECT $1, $2, $3, u.transaction_id, u.rule, u.reason, convert_from(u.candidates, 'UTF8')::jsonb
        FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bytea[]) AS u (transaction_id, rule, reason, candidates)
        """,
        customer_id,
        account_id,
        pull_id,
        [doubt.transaction.id for doubt in doubts],
        [doubt.rule for doubt in doubts],
        [doubt.reason for doubt in doubts],
        [
            msgspec.json.encode([{"id": row.id, "state": row.state, "values": row.values} for row in doubt.candidates])
            for doubt in doubts
        ],
    )
