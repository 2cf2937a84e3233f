"""Transactions as the reconcile engine knows and leaves them: read by window, ids and tombstones; written in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import msgspec

from bankfeed.db.database import Connection
from bankfeed.db.ledger import group_by_row, list_entries
from bankfeed.model import (
    AccountId,
    ClientId,
    CustomerId,
    Known,
    Pull,
    PullId,
    ShadowVerdict,
    TransactionId,
    TransactionState,
    Values,
)
from bankfeed.reconcile import Change, Rule
from bankfeed.reconcile.changes import ActKind

_NEAR_DAYS = 14  # a posting is looked for within -3..+14 days of its pending row
_TOMBSTONE_DAYS = 30
_BATCH_ROWS = 5_000
_STATES = {state.value: state for state in TransactionState}
_FREE_RULES = (ActKind.UNDO_MATCH, ActKind.UNDO_PULL, Rule.RELINKED)  # they may bring any state back


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One change of a plan, and the number that it is stored under."""

    change: Change
    change_no: int

    @property
    def known(self) -> Known:
        """Return the row as it is to be stored."""
        return self.change.after


async def list_known(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, pull: Pull
) -> tuple[Known, ...]:
    """Read what a pull may concern: its days and margins, ids, pendings and tombstones. Never the whole account.

    In a transaction that plans for bulk; ids go by ANY, and what is beside the rows is read apart, never joined.
    """
    concerned = await _list_concerned(conn, customer_id, account_id, pull)
    return await list_rows(conn, customer_id, account_id, concerned)


async def _list_concerned(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, pull: Pull
) -> list[TransactionId]:
    """List the ids of the rows that a pull may concern."""
    ids = sorted(
        {row.aggregator_id for row in pull.rows if row.aggregator_id}
        | {row.pending_id for row in pull.rows if row.pending_id}
        | set(pull.removed_ids)
    )
    rows = await conn.fetch(
        """
        SELECT id FROM transactions
        WHERE customer_id = $1 AND account_id = $2 AND transacted_on BETWEEN $3 AND $4
        UNION
        SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 AND transacted_on = ANY ($7::date[])
        UNION
        SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 AND aggregator_id = ANY ($5::text[])
        UNION
        SELECT transaction_id FROM transaction_aliases
        WHERE customer_id = $1 AND account_id = $2 AND aggregator_id = ANY ($5::text[])
        UNION
        SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 AND state = 'pending'
        UNION
        SELECT id FROM transactions
        WHERE customer_id = $1 AND account_id = $2 AND state = 'removed' AND removed_at > $6
        UNION
        SELECT id FROM transactions
        WHERE customer_id = $1 AND account_id = $2 AND merged_into IS NOT NULL AND NOT (state = 'removed' AND has_joined)
        """,
        customer_id,
        account_id,
        _days_before(pull.from_on, _NEAR_DAYS),
        _days_after(pull.to_on, _NEAR_DAYS),
        ids,
        pull.at - timedelta(days=_TOMBSTONE_DAYS),
        _list_days_outside(pull),
    )
    return [row["id"] for row in rows]


def _list_days_outside(pull: Pull) -> list[date]:
    """List the days near what a pull lists outside its window: some days, so that one old row fetches no long history."""
    listed = {row.values.transacted_on for row in pull.rows}
    outside = [on for on in listed if not pull.from_on <= on <= pull.to_on]
    ordinals = {on.toordinal() + days for on in outside for days in range(-_NEAR_DAYS, _NEAR_DAYS + 1)}
    return [date.fromordinal(each) for each in sorted(ordinals) if 1 <= each <= date.max.toordinal()]


async def find_earliest_on(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> date | None:
    """Return the day of an account's first row, None where it has none."""
    return await conn.fetchval(  # type: ignore[no-any-return]
        "SELECT min(transacted_on) FROM transactions WHERE customer_id = $1 AND account_id = $2",
        customer_id,
        account_id,
    )


async def list_rows(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, ids: Sequence[TransactionId]
) -> tuple[Known, ...]:
    """Read rows of an account by their ids, in order of id; an id of another account is none of its.

    In batches, and with one object for equal texts and days: of 100,000 rows the driver's alone would take a third of
    the memory.
    """
    ids = sorted(set(ids))
    aliases = await _list_aliases(conn, customer_id, ids)
    entries = await list_entries(conn, customer_id, ids)
    shared: dict[Any, Any] = {}
    found: list[Known] = []
    for first in range(0, len(ids), _BATCH_ROWS):
        rows = await _fetch_rows(conn, customer_id, account_id, ids[first : first + _BATCH_ROWS])
        found += [_read_known(row, aliases.get(row["id"], ()), entries.get(row["id"], ()), shared) for row in rows]
    return tuple(found)


async def _fetch_rows(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, ids: Sequence[TransactionId]
) -> Sequence[Any]:
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT id, state, amount, transacted_on, posted_on, description, memo, check_number, kind, bank_values,
               aggregator_id, raw_amount, raw_transacted_at, first_pulled_at, removed_at, merged_into, has_joined,
               fingerprint, reconciled_at IS NOT NULL AS is_reconciled, deleted_at, split_into, shadow_verdict
        FROM transactions WHERE customer_id = $1 AND account_id = $2 AND id = ANY ($3::bigint[]) ORDER BY id
        """,
        customer_id,
        account_id,
        list(ids),
    )
    return rows


async def _list_aliases(
    conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]
) -> dict[TransactionId, tuple[str, ...]]:
    """List the ids that rows had before, oldest first."""
    rows = await conn.fetch(
        """
        SELECT transaction_id, aggregator_id FROM transaction_aliases
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[]) ORDER BY transaction_id, alias_no, aggregator_id
        """,
        customer_id,
        list(ids),
    )
    return group_by_row(rows)


async def list_ids(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> tuple[TransactionId, ...]:
    """List the ids of all rows of an account, whatever became of them."""
    rows = await conn.fetch(
        "SELECT id FROM transactions WHERE customer_id = $1 AND account_id = $2 ORDER BY id", customer_id, account_id
    )
    return tuple(row["id"] for row in rows)


async def list_numbered_ids(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, change_nos: Sequence[int]
) -> dict[int, TransactionId]:
    """Return which rows of a client were last changed under these numbers."""
    rows = await conn.fetch(
        """
        SELECT change_no, id FROM transactions
        WHERE customer_id = $1 AND client_id = $2 AND change_no = ANY ($3::bigint[]) ORDER BY id
        """,
        customer_id,
        client_id,
        list(change_nos),
    )
    return {row["change_no"]: row["id"] for row in rows}


async def insert_transactions(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    account_id: AccountId,
    *,
    pull_id: PullId | None,
    written: Sequence[Written],
) -> None:
    """Store new rows in one statement. `pull_id` is None where an act adds them."""
    await conn.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, first_pull_id, state, amount, transacted_on, posted_on,
            description, memo, check_number, kind, aggregator_id, raw_amount, raw_transacted_at, first_pulled_at, first_rule,
            activated_at, removed_at, has_joined, first_change_no, change_no)
        SELECT $1, $2, $3, $4, u.state, u.amount, u.transacted_on, u.posted_on, u.description, u.memo, u.check_number, u.kind,
               u.aggregator_id, u.raw_amount, u.raw_transacted_at, u.first_pulled_at, u.rule,
               CASE WHEN u.state IN ('active', 'shadow') THEN u.first_pulled_at END, u.removed_at, u.has_joined, u.change_no,
               u.change_no
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
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, written: Sequence[Written]
) -> None:
    """Bring known rows to their next state in one statement, and note the ids that they had before in two others.

    activated_at defends that pending never becomes shadow and nothing posted becomes pending: it is set once a row is
    active, and only goes again with a removal or with what a person undoes, or joins of two accounts.
    """
    await _insert_aliases(conn, customer_id, account_id, written)
    await _delete_aliases(conn, customer_id, written)
    await conn.execute(
        """
        UPDATE transactions t
        SET state = u.state, amount = u.amount, transacted_on = u.transacted_on,
            posted_on = u.posted_on, description = u.description, memo = u.memo, check_number = u.check_number,
            kind = u.kind, aggregator_id = u.aggregator_id, raw_amount = u.raw_amount,
            raw_transacted_at = u.raw_transacted_at, first_pulled_at = u.first_pulled_at,
            activated_at = CASE
                WHEN u.state = 'removed' OR (u.state = 'pending' AND u.is_free) THEN NULL
                WHEN u.state = 'active' OR (u.state = 'shadow' AND u.is_free) THEN coalesce(t.activated_at, now())
                ELSE t.activated_at END,
            removed_at = u.removed_at, has_joined = u.has_joined, change_no = u.change_no, changed_at = now(),
            merged_into = u.merged_into, bank_values = convert_from(u.bank_values, 'UTF8')::jsonb,
            fingerprint = u.fingerprint, deleted_at = u.deleted_at, split_into = u.split_into::numeric[],
            reconciled_at = CASE WHEN u.is_reconciled THEN coalesce(t.reconciled_at, now()) END,
            shadow_verdict = u.shadow_verdict
        FROM unnest($3::transaction_state[], $4::numeric[], $5::date[], $6::date[], $7::text[], $8::text[], $9::text[],
                    $10::text[], $11::text[], $12::text[], $13::bigint[], $14::timestamptz[], $15::text[],
                    $16::timestamptz[], $17::boolean[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bytea[],
                    $22::text[], $23::boolean[], $24::timestamptz[], $25::text[], $26::shadow_verdict[], $27::boolean[])
             AS u (state, amount, transacted_on, posted_on, description, memo, check_number, kind, aggregator_id, raw_amount,
                   raw_transacted_at, first_pulled_at, rule, removed_at, has_joined, change_no, id, merged_into, bank_values,
                   fingerprint, is_reconciled, deleted_at, split_into, shadow_verdict, is_free)
        WHERE t.customer_id = $1 AND t.account_id = $2 AND t.id = u.id AND t.id = ANY ($19::bigint[])
        """,
        customer_id,
        account_id,
        *_columns(written),
        *_changing_columns([row.known for row in written]),
        [row.change.rule in _FREE_RULES for row in written],
    )


async def _insert_aliases(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, written: Sequence[Written]
) -> None:
    earlier = [
        (row.known.id, alias_no, alias)
        for row in written
        for alias_no, alias in enumerate(row.known.aggregator_ids[:-1])
        if row.change.before is not None and row.change.before.aggregator_ids != row.known.aggregator_ids
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


async def _delete_aliases(conn: Connection, customer_id: CustomerId, written: Sequence[Written]) -> None:
    """Forget the ids that an undo takes off a row."""
    gone = [
        (row.known.id, alias)
        for row in written
        if row.change.before is not None
        for alias in row.change.before.aggregator_ids
        if alias not in row.known.aggregator_ids
    ]
    if not gone:
        return
    await conn.execute(
        """
        DELETE FROM transaction_aliases a USING unnest($2::bigint[], $3::text[]) AS u (transaction_id, aggregator_id)
        WHERE a.customer_id = $1 AND a.transaction_id = u.transaction_id AND a.aggregator_id = u.aggregator_id
        """,
        customer_id,
        [transaction_id for transaction_id, _ in gone],
        [alias for _, alias in gone],
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
        [row.change.rule for row in written],
        [row.removed_at for row in known],
        [row.has_joined for row in known],
        [row.change_no for row in written],
    )


def _changing_columns(known: Sequence[Known]) -> tuple[list[Any], ...]:
    """Turn rows into the arrays of what only a known row may have."""
    return (
        [row.id for row in known],
        [row.merged_into for row in known],
        [_bank_values(row) for row in known],
        [row.fingerprint or None for row in known],
        [row.is_reconciled for row in known],
        [row.deleted_at for row in known],
        [f"{{{','.join(map(str, row.split_into))}}}" if row.split_into else None for row in known],
        [row.shadow_verdict for row in known],
    )


def _bank_values(known: Known) -> bytes | None:
    return None if known.bank_values == known.values else msgspec.json.encode(known.bank_values)


def _read_known(row: Any, aliases: Sequence[str], entries: tuple[str, ...], shared: dict[Any, Any]) -> Known:
    transacted_on, posted_on, description = row["transacted_on"], row["posted_on"], row["description"]
    raw_amount, first_pulled_at, kind = row["raw_amount"], row["first_pulled_at"], row["kind"]
    values = Values(
        amount=row["amount"],  # never shared: equal amounts may have other zeros
        transacted_on=shared.setdefault(transacted_on, transacted_on),
        posted_on=shared.setdefault(posted_on, posted_on),
        description=shared.setdefault(description, description),
        memo=row["memo"],
        check_number=row["check_number"],
        kind=shared.setdefault(kind, kind),
    )
    bank_values, verdict, parts = row["bank_values"], row["shadow_verdict"], row["split_into"]
    return Known(
        id=row["id"],
        state=_STATES[row["state"]],
        values=values,
        bank_values=values if bank_values is None else msgspec.json.decode(bank_values, type=Values),
        aggregator_ids=_read_ids(row["aggregator_id"], aliases),
        first_pulled_at=shared.setdefault(first_pulled_at, first_pulled_at),
        raw_amount=shared.setdefault(raw_amount, raw_amount),
        raw_transacted_at=row["raw_transacted_at"],
        removed_at=row["removed_at"],
        merged_into=row["merged_into"],
        has_joined=row["has_joined"],
        fingerprint=row["fingerprint"] or "",
        entries=entries,
        is_reconciled=row["is_reconciled"],
        deleted_at=row["deleted_at"],
        split_into=() if parts is None else tuple(parts),
        shadow_verdict=None if verdict is None else ShadowVerdict(verdict),
    )


def _read_ids(current: str | None, aliases: Sequence[str]) -> tuple[str, ...]:
    """Put the current id after the earlier ones; one that came back is among those too."""
    if current is None:
        return tuple(aliases)
    return (*(alias for alias in aliases if alias != current), current) if aliases else (current,)


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days=days) if (day - date.min).days > days else date.min


def _days_after(day: date, days: int) -> date:
    return day + timedelta(days=days) if (date.max - day).days > days else date.max
