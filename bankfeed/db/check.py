"""A client's checks: its transactions with a check number, as far as they are in view (see movement.py). Reads only."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.db.movement import Key, Wanted, bound_before
from bankfeed.model import AccountId, CustomerId, ShadowPolicy


async def list_checks(
    conn: Connection,
    customer_id: CustomerId,
    account_ids: Sequence[AccountId],
    wanted: Wanted,
    *,
    policy: ShadowPolicy,
    before: Key | None,
    limit: int,
) -> Sequence[Any]:
    """List checks of accounts as CHECK, newest first; those before a key, None is all. Days and number of `wanted` count."""
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT t.id, t.connection_id AS bank_account_id, t.account_id AS sub_account_id, t.name AS sub_account_name,
               t.number_display AS sub_account_number, t.check_number AS number, t.description, t.transacted_on, t.posted_on,
               t.amount, t.currency, t.state AS status, t.kind, t.memo, t.reconciled_at IS NOT NULL AS is_reconciled,
               ARRAY(SELECT e.reference FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                     AND e.state <> 'void' ORDER BY e.link_no, e.id) AS ledger_entries
        FROM (
            SELECT r.*, a.connection_id, coalesce(nullif(a.own_name, ''), a.name) AS name, a.number_display, a.currency
            FROM accounts a CROSS JOIN LATERAL (
                SELECT id, account_id, check_number, description, transacted_on, posted_on, amount, state, kind, memo,
                       reconciled_at
                FROM transactions t
                WHERE t.customer_id = $1 AND t.account_id = a.id AND t.check_number <> ''
                  AND (t.transacted_on, t.id) < ($3, $4) AND t.transacted_on >= $5
                  AND ($7::text IS NULL OR t.check_number = $7)
                  AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
                  AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                        $6 = 'show' OR ($6 = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                        OR t.shadow_verdict = 'rejected' OR t.reconciled_at IS NOT NULL OR t.split_into IS NOT NULL
                        OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                                   AND e.state <> 'void'))))
                ORDER BY t.transacted_on DESC, t.id DESC LIMIT $8
            ) r
            WHERE a.customer_id = $1 AND a.id = ANY ($2::bigint[])
            ORDER BY r.transacted_on DESC, r.id DESC LIMIT $8
        ) t
        ORDER BY t.transacted_on DESC, t.id DESC
        """,
        customer_id,
        list(account_ids),
        *bound_before(wanted, before),
        wanted.from_on or date.min,
        policy.value,
        wanted.check_number,
        limit,
    )
    return rows


async def count_checks(
    conn: Connection,
    customer_id: CustomerId,
    account_ids: Sequence[AccountId],
    wanted: Wanted,
    *,
    policy: ShadowPolicy,
) -> int:
    """Count the checks of accounts. Days and number of `wanted` count."""
    count: int = await conn.fetchval(
        """
        SELECT count(*) FROM transactions t
        WHERE t.customer_id = $1 AND t.account_id = ANY ($2::bigint[]) AND t.check_number <> ''
          AND t.transacted_on BETWEEN $3 AND $4 AND ($6::text IS NULL OR t.check_number = $6)
          AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
          AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                $5 = 'show' OR ($5 = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                OR t.shadow_verdict = 'rejected' OR t.reconciled_at IS NOT NULL OR t.split_into IS NOT NULL
                OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                           AND e.state <> 'void'))))
        """,
        customer_id,
        list(account_ids),
        wanted.from_on or date.min,
        wanted.to_on or date.max,
        policy.value,
        wanted.check_number,
    )
    return count
