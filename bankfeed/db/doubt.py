"""Doubts: what a person is asked because the engine does not guess.

A doubt is about a person's act on a transaction, or about whether an account is an earlier one. Candidates are kept as
ids and read as they are now, so that nothing outlives values that are erased.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from bankfeed.db.database import Connection
from bankfeed.db.history import Cause
from bankfeed.errors import NotFound
from bankfeed.model import (
    AccountId,
    ActId,
    ClientId,
    CustomerId,
    DoubtId,
    Known,
    PullId,
    TransactionId,
    TransactionState,
)
from bankfeed.reconcile.changes import ActKind, Doubt, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDoubt:
    """A question that nobody answered yet: about a transaction, or, with `earlier_account_id`, about the account.

    `before` is the transaction as it was when the doubt arose, None where it did not change then, or was erased.
    """

    id: DoubtId
    account_id: AccountId
    transaction_id: TransactionId | None
    earlier_account_id: AccountId | None
    candidates: tuple[TransactionId, ...]
    rule: Rule | ActKind
    reason: str
    raised_at: datetime
    before: Known | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A row to choose from, as it is now."""

    id: TransactionId
    account_id: AccountId
    state: TransactionState
    amount: Decimal
    transacted_on: date
    posted_on: date | None
    description: str
    memo: str
    check_number: str
    is_deleted: bool
    merged_into: TransactionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAccount:
    """An account that a doubt is about, as it is now."""

    id: AccountId
    client_id: ClientId
    name: str
    number_display: str
    type: str
    currency: str
    state: str
    closed_at: datetime | None
    balance: Decimal | None


async def insert_doubts(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    cause: Cause,
    doubts: Sequence[tuple[Doubt, Sequence[TransactionId]]],
) -> None:
    """Keep questions about known rows with the ids of their candidates; one that is open already is not asked again."""
    await conn.execute(
        """
        INSERT INTO doubts (customer_id, account_id, pull_id, act_id, raised_at, transaction_id, rule, reason, candidates)
        SELECT $1, $2, $3, $4, $5, u.transaction_id, u.rule, u.reason, u.candidates::bigint[]
        FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[])
             WITH ORDINALITY AS u (transaction_id, rule, reason, candidates, n)
        WHERE NOT EXISTS (
            SELECT FROM doubts o
            WHERE o.customer_id = $1 AND o.transaction_id = u.transaction_id AND o.rule = u.rule AND o.decided_at IS NULL
              AND o.candidates @> u.candidates::bigint[] AND o.candidates <@ u.candidates::bigint[])
        ORDER BY u.n
        ON CONFLICT DO NOTHING
        """,
        customer_id,
        account_id,
        cause.pull_id,
        cause.act_id,
        cause.at,
        [doubt.transaction.id for doubt, _ in doubts],
        [doubt.rule for doubt, _ in doubts],
        [doubt.reason for doubt, _ in doubts],
        [f"{{{','.join(map(str, candidates))}}}" for _, candidates in doubts],
    )


async def insert_account_doubt(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    earlier_id: AccountId,
    pull_id: PullId,
    at: datetime,
    reason: str,
) -> None:
    """Ask whether an account is an earlier one; a question that is open already is not asked again."""
    await conn.execute(
        """
        INSERT INTO doubts (customer_id, account_id, earlier_account_id, pull_id, raised_at, rule, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
        """,
        customer_id,
        account_id,
        earlier_id,
        pull_id,
        at,
        Rule.RELINKED,
        reason,
    )


async def list_open_doubts(conn: Connection, customer_id: CustomerId) -> tuple[OpenDoubt, ...]:
    """List what waits for a person's answer, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT d.id, d.account_id, d.transaction_id, d.earlier_account_id, d.candidates, d.rule, d.reason, d.raised_at,
               d.pull_id, c.before
        FROM doubts d LEFT JOIN LATERAL (
            SELECT before FROM transaction_changes
            WHERE customer_id = $1 AND transaction_id = d.transaction_id AND (pull_id = d.pull_id OR act_id = d.act_id)
            ORDER BY change_no DESC LIMIT 1) c ON true
        WHERE d.customer_id = $1 AND d.decided_at IS NULL ORDER BY d.id
        """,
        customer_id,
    )
    return tuple(_read_doubt(row) for row in rows)


async def list_doubts(
    conn: Connection, customer_id: CustomerId, *, client_id: ClientId | None = None, after: int = 0, limit: int
) -> tuple[OpenDoubt, ...]:
    """List what waits for a person's answer, of all clients or of one, the oldest first, of ids above `after`."""
    rows = await conn.fetch(
        """
        SELECT d.id, d.account_id, d.transaction_id, d.earlier_account_id, d.candidates, d.rule, d.reason, d.raised_at,
               d.pull_id, c.before
        FROM doubts d
        JOIN accounts h ON h.customer_id = $1 AND h.id = d.account_id AND h.deleted_at IS NULL
        JOIN clients l ON l.customer_id = $1 AND l.id = h.client_id AND l.deleted_at IS NULL
        LEFT JOIN LATERAL (
            SELECT before FROM transaction_changes
            WHERE customer_id = $1 AND transaction_id = d.transaction_id AND (pull_id = d.pull_id OR act_id = d.act_id)
            ORDER BY change_no DESC LIMIT 1) c ON true
        WHERE d.customer_id = $1 AND d.decided_at IS NULL AND d.id > $3 AND ($2::bigint IS NULL OR h.client_id = $2)
        ORDER BY d.id LIMIT $4
        """,
        customer_id,
        client_id,
        after,
        limit,
    )
    return tuple(_read_doubt(row) for row in rows)


async def list_candidates(
    conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]
) -> dict[TransactionId, Candidate]:
    """Read the rows that doubts are about, and those to choose from, as they are now."""
    rows = await conn.fetch(
        """
        SELECT id, account_id, state, amount, transacted_on, posted_on, description, memo, check_number,
               deleted_at IS NOT NULL AS is_deleted, merged_into
        FROM transactions WHERE customer_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id
        """,
        customer_id,
        list(ids),
    )
    return {row["id"]: Candidate(**dict(row) | {"state": TransactionState(row["state"])}) for row in rows}


async def list_asked_accounts(
    conn: Connection, customer_id: CustomerId, ids: Sequence[AccountId]
) -> dict[AccountId, AskedAccount]:
    """Read the accounts that doubts are about."""
    rows = await conn.fetch(
        """
        SELECT id, client_id, coalesce(nullif(own_name, ''), name) AS name, number_display, type, currency, state,
               closed_at, balance
        FROM accounts WHERE customer_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id
        """,
        customer_id,
        list(ids),
    )
    return {row["id"]: AskedAccount(**row) for row in rows}


async def get_open_doubt(conn: Connection, customer_id: CustomerId, doubt_id: DoubtId) -> OpenDoubt:
    """Return one question that is open still. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT id, account_id, transaction_id, earlier_account_id, candidates, rule, reason, raised_at, pull_id,
               NULL::jsonb AS before
        FROM doubts WHERE customer_id = $1 AND id = $2 AND decided_at IS NULL
        """,
        customer_id,
        doubt_id,
    )
    if row is None:
        raise NotFound(f"there is no open doubt {doubt_id}")
    return _read_doubt(row)


async def mark_decided(
    conn: Connection, customer_id: CustomerId, doubt_id: DoubtId, *, act_id: ActId, at: datetime, decision: str
) -> None:
    """Close a question with a person's answer: moved, kept, adopted or separate."""
    await conn.execute(
        """
        UPDATE doubts SET decided_at = $4, decided_by = $3, decision = $5
        WHERE customer_id = $1 AND id = $2 AND decided_at IS NULL
        """,
        customer_id,
        doubt_id,
        act_id,
        at,
        decision,
    )


async def mark_moot(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId], *, at: datetime
) -> None:
    """Close the questions about rows that are back in view by themselves; a tie is a question all the same."""
    await conn.execute(
        """
        UPDATE doubts SET decided_at = $3, decision = 'moot'
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[]) AND decided_at IS NULL AND rule <> 'tie'
        """,
        customer_id,
        list(transaction_ids),
        at,
    )


async def mark_freed(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId], *, cause: Cause
) -> None:
    """Close the questions about rows that no act is on any more: moved by a person's act, moot after a pull."""
    await conn.execute(
        """
        UPDATE doubts SET decided_at = $3, decided_by = $4,
            decision = CASE WHEN $4::bigint IS NULL THEN 'moot' ELSE 'moved' END::doubt_decision
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[]) AND decided_at IS NULL
        """,
        customer_id,
        list(transaction_ids),
        cause.at,
        cause.act_id,
    )


async def mark_open_again(conn: Connection, customer_id: CustomerId, *, act_id: ActId) -> None:
    """Open the questions that an act answered, but for those that were asked again since."""
    await conn.execute(
        """
        UPDATE doubts d SET decided_at = NULL, decided_by = NULL, decision = NULL
        WHERE d.customer_id = $1 AND d.decided_by = $2 AND NOT EXISTS (
            SELECT FROM doubts o WHERE o.customer_id = $1 AND o.decided_at IS NULL AND o.account_id = d.account_id
              AND o.transaction_id IS NOT DISTINCT FROM d.transaction_id AND o.rule = d.rule
              AND o.earlier_account_id IS NOT DISTINCT FROM d.earlier_account_id AND o.candidates = d.candidates)
        """,
        customer_id,
        act_id,
    )


async def mark_accounts_moot(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, gone: AccountId | None = None, at: datetime
) -> None:
    """Close the questions whether another account is this one, which is open again, and all about one that is `gone`."""
    await conn.execute(
        """
        UPDATE doubts SET decided_at = $3, decision = 'moot'
        WHERE customer_id = $1 AND (earlier_account_id IN ($2, $4) OR account_id = $4)
          AND transaction_id IS NULL AND decided_at IS NULL
        """,
        customer_id,
        account_id,
        at,
        gone,
    )


def _read_doubt(row: Any) -> OpenDoubt:
    found = dict(row)
    is_pulls = found.pop("pull_id") is not None
    before = None if row["before"] is None else msgspec.json.decode(row["before"], type=Known)
    rule = Rule(row["rule"]) if is_pulls else ActKind(row["rule"])
    return OpenDoubt(**found | {"candidates": tuple(row["candidates"]), "before": before, "rule": rule})
