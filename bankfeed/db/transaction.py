"""Transactions as the reconcile engine knows and leaves them: read by window, ids and tombstones; written in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import msgspec

from bankfeed.db.database import Connection
from bankfeed.model import AccountId, ClientId, CustomerId, Known, Pull, PullId, TransactionState, Values

_NEAR_DAYS = 14  # a posting is looked for within -3..+14 days of its pending row
_TOMBSTONE_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One row as it is to be stored, and the rule that made it so."""

    known: Known
    rule: str
    change_no: int


async def list_known(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, pull: Pull
) -> tuple[Known, ...]:
    """Read what a pull may concern: the window and its margins, its ids, pendings and tombstones. Never the whole account.

    LATERAL with OFFSET 0 probes an index for each id. Left to itself the planner compares each row with each id where a
    table is fuller than its statistics say, as after a first load: 100,000 rows then took longer than a statement may.
    """
    ids = sorted(
        {row.aggregator_id for row in pull.rows if row.aggregator_id}
        | {row.pending_id for row in pull.rows if row.pending_id}
        | set(pull.removed_ids)
    )
    rows = await conn.fetch(
        """
        WITH wanted AS (
            SELECT id FROM transactions
            WHERE customer_id = $1 AND account_id = $2 AND transacted_on BETWEEN $3 AND $4
            UNION
            SELECT named.id FROM unnest($5::text[]) AS u (aggregator_id), LATERAL (
                SELECT id FROM transactions
                WHERE customer_id = $1 AND account_id = $2 AND aggregator_id = u.aggregator_id OFFSET 0) named
            UNION
            SELECT named.transaction_id FROM unnest($5::text[]) AS u (aggregator_id), LATERAL (
                SELECT transaction_id FROM transaction_aliases
                WHERE customer_id = $1 AND account_id = $2 AND aggregator_id = u.aggregator_id OFFSET 0) named
            UNION
            SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 AND state = 'pending'
            UNION
            SELECT id FROM transactions
            WHERE customer_id = $1 AND account_id = $2 AND state = 'removed' AND removed_at > $6
        )
        SELECT t.id, t.state, t.amount, t.transacted_on, t.posted_on, t.description, t.memo, t.check_number, t.kind,
               t.bank_values, t.aggregator_id, t.raw_amount, t.raw_transacted_at, t.first_pulled_at, t.removed_at,
               t.merged_into, t.has_joined, t.reconciled_at IS NOT NULL AS is_reconciled, t.deleted_at,
               EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                       AND e.state <> 'void') AS has_entry,
               ARRAY(SELECT a.aggregator_id FROM transaction_aliases a
                     WHERE a.customer_id = $1 AND a.transaction_id = t.id ORDER BY a.alias_no) AS aliases
        FROM wanted, LATERAL (SELECT * FROM transactions WHERE customer_id = $1 AND id = wanted.id OFFSET 0) t
        ORDER BY t.id
        """,
        customer_id,
        account_id,
        _days_before(pull.from_on, _NEAR_DAYS),
        _days_after(pull.to_on, _NEAR_DAYS),
        ids,
        pull.at - timedelta(days=_TOMBSTONE_DAYS),
    )
    return tuple(_read_known(row) for row in rows)


async def insert_transactions(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    account_id: AccountId,
    *,
    pull_id: PullId,
    written: Sequence[Written],
) -> None:
    """Store new rows in one statement."""
    await conn.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, last_pull_id, state, amount, transacted_on, posted_on,
            description, memo, check_number, kind, aggregator_id, raw_amount, raw_transacted_at, first_pulled_at, last_rule,
            activated_at, removed_at, has_joined, change_no)
        SELECT $1, $2, $3, $4, u.state, u.amount, u.transacted_on, u.posted_on, u.description, u.memo, u.check_number, u.kind,
               u.aggregator_id, u.raw_amount, u.raw_transacted_at, u.first_pulled_at, u.rule,
               CASE WHEN u.state IN ('active', 'shadow') THEN u.first_pulled_at END, u.removed_at, u.has_joined, u.change_no
        FROM unnest($5::transaction_state[], $6::numeric[], $7::date[], $8::date[], $9::text[], $10::text[], $11::text[],
                    $12::text[], $13::text[], $14::text[], $15::bigint[], $16::timestamptz[], $17::text[],
                    $18::timestamptz[], $19::boolean[], $20::bigint[])
             AS u (state, amount, transacted_on, posted_on, description, memo, check_number, kind, aggregator_id, raw_amount,
                   raw_transacted_at, first_pulled_at, rule, removed_at, has_joined, change_no)
        """,
        customer_id,
        client_id,
        account_id,
        pull_id,
        *_columns(written),
    )


async def update_transactions(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, pull_id: PullId, written: Sequence[Written]
) -> None:
    """Bring known rows to their next state in one statement, and note the ids that they had before in another."""
    await _insert_aliases(conn, customer_id, account_id, written)
    await conn.execute(
        """
        UPDATE transactions t
        SET last_pull_id = $3, state = u.state, amount = u.amount, transacted_on = u.transacted_on,
            posted_on = u.posted_on, description = u.description, memo = u.memo, check_number = u.check_number,
            kind = u.kind, aggregator_id = u.aggregator_id, raw_amount = u.raw_amount,
            raw_transacted_at = u.raw_transacted_at, first_pulled_at = u.first_pulled_at, last_rule = u.rule,
            activated_at = CASE WHEN u.state = 'active' THEN coalesce(t.activated_at, now()) ELSE t.activated_at END,
            removed_at = u.removed_at, has_joined = u.has_joined, change_no = u.change_no, changed_at = now(),
            merged_into = u.merged_into, bank_values = convert_from(u.bank_values, 'UTF8')::jsonb
        FROM unnest($4::transaction_state[], $5::numeric[], $6::date[], $7::date[], $8::text[], $9::text[], $10::text[],
                    $11::text[], $12::text[], $13::text[], $14::bigint[], $15::timestamptz[], $16::text[],
                    $17::timestamptz[], $18::boolean[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bytea[])
             AS u (state, amount, transacted_on, posted_on, description, memo, check_number, kind, aggregator_id, raw_amount,
                   raw_transacted_at, first_pulled_at, rule, removed_at, has_joined, change_no, id, merged_into, bank_values)
        WHERE t.customer_id = $1 AND t.account_id = $2 AND t.id = u.id
        """,
        customer_id,
        account_id,
        pull_id,
        *_columns(written),
        [row.known.id for row in written],
        [row.known.merged_into for row in written],
        [_bank_values(row.known) for row in written],
    )


async def _insert_aliases(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, written: Sequence[Written]
) -> None:
    earlier = [
        (row.known.id, alias_no, alias)
        for row in written
        for alias_no, alias in enumerate(row.known.aggregator_ids[:-1])
    ]
    if not earlier:
        return
    await conn.execute(
        """
        INSERT INTO transaction_aliases (customer_id, account_id, transaction_id, alias_no, aggregator_id)
        SELECT $1, $2, u.transaction_id, u.alias_no, u.aggregator_id
        FROM unnest($3::bigint[], $4::int[], $5::text[]) AS u (transaction_id, alias_no, aggregator_id)
        ON CONFLICT (customer_id, account_id, aggregator_id, transaction_id) DO UPDATE SET alias_no = excluded.alias_no
            WHERE transaction_aliases.alias_no <> excluded.alias_no
        """,
        customer_id,
        account_id,
        [transaction_id for transaction_id, _, _ in earlier],
        [alias_no for _, alias_no, _ in earlier],
        [alias for _, _, alias in earlier],
    )


def _columns(written: Sequence[Written]) -> tuple[list[Any], ...]:
    """Turn rows into the arrays that both statements begin with."""
    known = [row.known for row in written]
    return (
        [row.state for row in known],
        [row.values.amount for row in known],
        [row.values.transacted_on for row in known],
        [row.values.posted_on for row in known],
        [row.values.description for row in known],
        [row.values.memo for row in known],
        [row.values.check_number for row in known],
        [row.values.kind for row in known],
        [row.aggregator_ids[-1] if row.aggregator_ids else None for row in known],
        [row.raw_amount for row in known],
        [row.raw_transacted_at for row in known],
        [row.first_pulled_at for row in known],
        [row.rule for row in written],
        [row.removed_at for row in known],
        [row.has_joined for row in known],
        [row.change_no for row in written],
    )


def _bank_values(known: Known) -> bytes | None:
    return None if known.bank_values == known.values else msgspec.json.encode(known.bank_values)


def _read_known(row: Any) -> Known:
    values = Values(
        amount=row["amount"],
        transacted_on=row["transacted_on"],
        posted_on=row["posted_on"],
        description=row["description"],
        memo=row["memo"],
        check_number=row["check_number"],
        kind=row["kind"],
    )
    current = (row["aggregator_id"],) if row["aggregator_id"] is not None else ()
    return Known(
        id=row["id"],
        state=TransactionState(row["state"]),
        values=values,
        bank_values=values if row["bank_values"] is None else msgspec.json.decode(row["bank_values"], type=Values),
        aggregator_ids=(*(alias for alias in row["aliases"] if alias not in current), *current),
        first_pulled_at=row["first_pulled_at"],
        raw_amount=row["raw_amount"],
        raw_transacted_at=row["raw_transacted_at"],
        removed_at=row["removed_at"],
        merged_into=row["merged_into"],
        has_joined=row["has_joined"],
        has_entry=row["has_entry"],
        is_reconciled=row["is_reconciled"],
        deleted_at=row["deleted_at"],
    )


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days=days) if (day - date.min).days > days else date.min


def _days_after(day: date, days: int) -> date:
    return day + timedelta(days=days) if (date.max - day).days > days else date.max
