"""A client's transactions as the API shows them: what is in view, in the order of their days or of their changes. Reads only.

In view is what reconcile/policy.py says: pending and active rows, shadow rows as the customer's policy has them, none that
was removed, erased, merged away or deleted by a person; and only of accounts that are open and not hidden.

Rows come as the driver's records, because a feed of a million of them has no time for more: their columns are those of
MOVEMENT, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, ShadowPolicy, TransactionId, TransactionState

MOVEMENT: Final = (
    "id",
    "bank_account_id",
    "sub_account_id",
    "status",
    "amount",
    "currency",
    "transacted_on",
    "posted_on",
    "description",
    "memo",
    "check_number",
    "kind",
    "is_reconciled",
    "split_into",
    "shadow_verdict",
    "aggregator_id",
    "changed_at",
    "change_no",
    "ledger_entries",
)
FATE: Final = ("is_in_view", "is_erased", "removed_at", "deleted_at", "merged_into")
STEP: Final = ("change_no", "at", "kind", "rule", "pull_id", "act_id", "actor")
LAST_ID: Final = 2**63 - 1
STREAMED_ROWS: Final = 1_000
SHOWN_STATES: Final = (TransactionState.PENDING, TransactionState.ACTIVE, TransactionState.SHADOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An account that was not deleted."""

    id: AccountId
    connection_id: ConnectionId
    is_open: bool
    is_hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A client's accounts, and what its firm sees of shadow rows."""

    policy: ShadowPolicy
    accounts: tuple[Holding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows in view are wanted: those that fit all of it. None, and "" for a text, is no limit.

    `text` is looked for in description and memo, whatever its case.
    """

    states: tuple[TransactionState, ...] = SHOWN_STATES
    from_on: date | None = None
    to_on: date | None = None
    text: str = ""
    min_amount: Decimal | None = None
    max_amount: Decimal | None = None
    check_number: str | None = None


Key = tuple[date, TransactionId]
"""Where a row stands in the order of days."""


async def get_holdings(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> Holdings:
    """Return a client's accounts. Raises NotFound, also for a client that was deleted."""
    rows = await conn.fetch(
        """
        SELECT f.shadow_policy, a.id, a.connection_id, a.state = 'open' AS is_open, a.is_hidden
        FROM clients c
        JOIN customers f ON f.id = $1
        LEFT JOIN accounts a ON a.customer_id = $1 AND a.client_id = $2 AND a.adopted_into IS NULL AND a.deleted_at IS NULL
        WHERE c.customer_id = $1 AND c.id = $2 AND c.deleted_at IS NULL
        ORDER BY a.id
        """,
        customer_id,
        client_id,
    )
    if not rows:
        raise NotFound(f"there is no client {client_id}")
    return Holdings(
        policy=ShadowPolicy(rows[0]["shadow_policy"]),
        accounts=tuple(
            Holding(
                id=row["id"], connection_id=row["connection_id"], is_open=row["is_open"], is_hidden=row["is_hidden"]
            )
            for row in rows
            if row["id"] is not None
        ),
    )


async def has_connection(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, connection_id: ConnectionId
) -> bool:
    """Tell whether a connection is the client's and was not deleted."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM connections
                       WHERE customer_id = $1 AND client_id = $2 AND id = $3 AND deleted_at IS NULL)
        """,
        customer_id,
        client_id,
        connection_id,
    )
    return found


async def open_newest(
    conn: Connection,
    customer_id: CustomerId,
    account_ids: Sequence[AccountId],
    wanted: Wanted,
    *,
    policy: ShadowPolicy,
    before: Key | None,
    limit: int | None,
) -> Any:
    """Open a cursor over rows in view, newest first; those before a key, None is all. `async for` reads it.

    Each account's rows come from its index, at most `limit` of them; then all come in one round trip. None is all rows, a
    thousand at a time, as they are at the first. Valid in this transaction.
    """
    return conn.cursor(
        """
        SELECT t.id, t.connection_id AS bank_account_id, t.account_id AS sub_account_id, t.state AS status, t.amount,
               t.currency, t.transacted_on, t.posted_on, t.description, t.memo, t.check_number, t.kind,
               t.reconciled_at IS NOT NULL AS is_reconciled, coalesce(t.split_into, '{}') AS split_into, t.shadow_verdict,
               t.aggregator_id, t.changed_at, t.change_no,
               ARRAY(SELECT e.reference FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                     AND e.state <> 'void' ORDER BY e.link_no, e.id) AS ledger_entries
        FROM (
            SELECT r.*, a.connection_id, a.currency
            FROM accounts a CROSS JOIN LATERAL (
                SELECT id, account_id, state, amount, transacted_on, posted_on, description, memo, check_number, kind,
                       reconciled_at, split_into, shadow_verdict, aggregator_id, changed_at, change_no
                FROM transactions t
                WHERE t.customer_id = $1 AND t.account_id = a.id AND (t.transacted_on, t.id) < ($4, $5)
                  AND t.transacted_on >= $6 AND t.state = ANY ($3::transaction_state[])
                  AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
                  AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                        $7 = 'show' OR ($7 = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                        OR t.shadow_verdict = 'rejected' OR t.reconciled_at IS NOT NULL OR t.split_into IS NOT NULL
                        OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                                   AND e.state <> 'void'))))
                  AND ($8 = '' OR position(lower($8) IN lower(t.description)) > 0
                       OR position(lower($8) IN lower(t.memo)) > 0)
                  AND ($9::numeric IS NULL OR t.amount >= $9) AND ($10::numeric IS NULL OR t.amount <= $10)
                  AND ($11::text IS NULL OR t.check_number = $11)
                ORDER BY t.transacted_on DESC, t.id DESC LIMIT $12::bigint
            ) r
            WHERE a.customer_id = $1 AND a.id = ANY ($2::bigint[])
            ORDER BY r.transacted_on DESC, r.id DESC LIMIT $12::bigint
        ) t
        ORDER BY t.transacted_on DESC, t.id DESC
        """,
        customer_id,
        list(account_ids),
        list(wanted.states),
        *bound_before(wanted, before),
        wanted.from_on or date.min,
        policy.value,
        *_filters(wanted),
        limit,
        prefetch=STREAMED_ROWS
        if limit is None
        else limit + 1,  # one more than there are: the driver need not ask again
    )


async def open_oldest(
    conn: Connection,
    customer_id: CustomerId,
    account_ids: Sequence[AccountId],
    wanted: Wanted,
    *,
    policy: ShadowPolicy,
    after: Key | None,
    limit: int | None,
) -> Any:
    """Open a cursor over rows in view, oldest first; those after a key. Otherwise like open_newest."""
    return conn.cursor(
        """
        SELECT t.id, t.connection_id AS bank_account_id, t.account_id AS sub_account_id, t.state AS status, t.amount,
               t.currency, t.transacted_on, t.posted_on, t.description, t.memo, t.check_number, t.kind,
               t.reconciled_at IS NOT NULL AS is_reconciled, coalesce(t.split_into, '{}') AS split_into, t.shadow_verdict,
               t.aggregator_id, t.changed_at, t.change_no,
               ARRAY(SELECT e.reference FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                     AND e.state <> 'void' ORDER BY e.link_no, e.id) AS ledger_entries
        FROM (
            SELECT r.*, a.connection_id, a.currency
            FROM accounts a CROSS JOIN LATERAL (
                SELECT id, account_id, state, amount, transacted_on, posted_on, description, memo, check_number, kind,
                       reconciled_at, split_into, shadow_verdict, aggregator_id, changed_at, change_no
                FROM transactions t
                WHERE t.customer_id = $1 AND t.account_id = a.id AND (t.transacted_on, t.id) > ($4, $5)
                  AND t.transacted_on <= $6 AND t.state = ANY ($3::transaction_state[])
                  AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
                  AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                        $7 = 'show' OR ($7 = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                        OR t.shadow_verdict = 'rejected' OR t.reconciled_at IS NOT NULL OR t.split_into IS NOT NULL
                        OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                                   AND e.state <> 'void'))))
                  AND ($8 = '' OR position(lower($8) IN lower(t.description)) > 0
                       OR position(lower($8) IN lower(t.memo)) > 0)
                  AND ($9::numeric IS NULL OR t.amount >= $9) AND ($10::numeric IS NULL OR t.amount <= $10)
                  AND ($11::text IS NULL OR t.check_number = $11)
                ORDER BY t.transacted_on, t.id LIMIT $12::bigint
            ) r
            WHERE a.customer_id = $1 AND a.id = ANY ($2::bigint[])
            ORDER BY r.transacted_on, r.id LIMIT $12::bigint
        ) t
        ORDER BY t.transacted_on, t.id
        """,
        customer_id,
        list(account_ids),
        list(wanted.states),
        *_bound_after(wanted, after),
        wanted.to_on or date.max,
        policy.value,
        *_filters(wanted),
        limit,
        prefetch=STREAMED_ROWS
        if limit is None
        else limit + 1,  # one more than there are: the driver need not ask again
    )


async def get_movement(conn: Connection, customer_id: CustomerId, transaction_id: TransactionId) -> Any:
    """Return one row, in view or not, as MOVEMENT and FATE. Raises NotFound, also where its account or client was deleted."""
    row = await conn.fetchrow(
        """
        SELECT t.id, a.connection_id AS bank_account_id, t.account_id AS sub_account_id, t.state AS status, t.amount,
               a.currency, t.transacted_on, t.posted_on, t.description, t.memo, t.check_number, t.kind,
               t.reconciled_at IS NOT NULL AS is_reconciled, coalesce(t.split_into, '{}') AS split_into,
               t.shadow_verdict, t.aggregator_id, t.changed_at, t.change_no, e.refs AS ledger_entries,
               a.state = 'open' AND NOT a.is_hidden
               AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
               AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                     f.shadow_policy = 'show'
                     OR (f.shadow_policy = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                     OR coalesce(t.shadow_verdict = 'rejected', false) OR t.reconciled_at IS NOT NULL
                     OR t.split_into IS NOT NULL OR cardinality(e.refs) > 0))) AS is_in_view,
               t.fingerprint IS NOT NULL AS is_erased, t.removed_at, t.deleted_at, t.merged_into
        FROM transactions t
        JOIN customers f ON f.id = $1
        JOIN accounts a ON a.customer_id = $1 AND a.id = t.account_id AND a.deleted_at IS NULL
        JOIN clients c ON c.customer_id = $1 AND c.id = t.client_id AND c.deleted_at IS NULL
        CROSS JOIN LATERAL (
            SELECT ARRAY(SELECT o.reference FROM ledger_entries o WHERE o.customer_id = $1 AND o.transaction_id = t.id
                         AND o.state <> 'void' ORDER BY o.link_no, o.id) AS refs
        ) e
        WHERE t.customer_id = $1 AND t.id = $2
        """,
        customer_id,
        transaction_id,
    )
    if row is None:
        raise NotFound(f"there is no transaction {transaction_id}")
    return row


async def list_steps(conn: Connection, customer_id: CustomerId, transaction_id: TransactionId) -> Sequence[Any]:
    """List what changed a row, in order, as STEP. That a pull added it comes first."""
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT t.first_change_no AS change_no, p.at, 'added' AS kind, t.first_rule AS rule, t.first_pull_id AS pull_id,
               NULL::bigint AS act_id, NULL::text AS actor
        FROM transactions t JOIN pulls p ON p.customer_id = $1 AND p.id = t.first_pull_id
        WHERE t.customer_id = $1 AND t.id = $2
        UNION ALL
        SELECT h.change_no, h.at, h.kind, h.rule, h.pull_id, h.act_id, a.actor
        FROM transaction_changes h LEFT JOIN acts a ON a.customer_id = $1 AND a.id = h.act_id
        WHERE h.customer_id = $1 AND h.transaction_id = $2
        ORDER BY change_no
        """,
        customer_id,
        transaction_id,
    )
    return rows


def bound_before(wanted: Wanted, before: Key | None) -> Key:
    """Return what rows come before, newest first: one bound, so that the index begins there."""
    return min(each for each in ((wanted.to_on or date.max, TransactionId(LAST_ID)), before) if each is not None)


def _bound_after(wanted: Wanted, after: Key | None) -> Key:
    """Return what rows come after, oldest first."""
    return max(each for each in ((wanted.from_on or date.min, TransactionId(0)), after) if each is not None)


def _filters(wanted: Wanted) -> tuple[Any, ...]:
    return wanted.text, wanted.min_amount, wanted.max_amount, wanted.check_number
