"""The feed of changes of a client: reading it, and the numbers of rows that nobody wrote but that are seen otherwise now.

What is in view (see movement.py) is worked out when the feed is read. So whoever changes that for many rows at once gives
each of them a new number, in the same transaction: then the feed tells of them again. An account closed, opened, hidden,
shown, deleted or moved to another login: `touch_rows`. Another policy for shadow rows: `touch_shadows`. A ledger entry made,
voided, in use again or taken off without a change of the row: `touch_transactions`.

The counter comes last in the lock order (connection, accounts by id, counter): lock no account after these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bankfeed.db.client import take_change_numbers
from bankfeed.db.database import Connection
from bankfeed.db.movement import MOVEMENT
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, CustomerId, TransactionId

CHANGE: Final = (*MOVEMENT[:-1], "is_added", "is_shown")
"""The columns of the feed: those of a movement without its entries, and two of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCounter:
    """The last number that a committed change of a client has, 0 before the first, and the epoch that numbers are of."""

    last_change_no: int
    epoch: int


async def get_change_counter(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> ChangeCounter:
    """Return a client's counter of changes. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT n.last_change_no, n.epoch FROM clients c JOIN change_counters n ON n.customer_id = $1 AND n.client_id = c.id
        WHERE c.customer_id = $1 AND c.id = $2 AND c.deleted_at IS NULL
        """,
        customer_id,
        client_id,
    )
    if row is None:
        raise NotFound(f"there is no client {client_id}")
    return ChangeCounter(**row)


async def get_counter_before(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> ChangeCounter:
    """Return a client's counter as it was before this transaction took its first number of it, as it is where it took none.

    Also of a client that was deleted. Raises NotFound where it was erased.
    """
    row = await conn.fetchrow(
        """
        SELECT CASE WHEN split_part(was.said, ':', 1) = client_id::text THEN split_part(was.said, ':', 2)::bigint
               ELSE last_change_no END AS last_change_no, epoch
        FROM change_counters CROSS JOIN (SELECT current_setting('app.counter_before', true) AS said) was
        WHERE customer_id = $1 AND client_id = $2
        """,
        customer_id,
        client_id,
    )
    if row is None:
        raise NotFound(f"there is no client {client_id}")
    return ChangeCounter(**row)


async def list_changes(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, after: int, since: int, limit: int
) -> Sequence[Any]:
    """List the rows of a client changed after a change number, in the order of their latest change, as CHANGE.

    `is_added` tells whether a row was added after `since`; `is_shown` whether it is in view. Policy, accounts and rows are
    read in this one statement: a change of what is in view gives its rows new numbers in its own transaction, so that
    whoever reads a number reads what it stands for, or comes by the row again. A row's entries may be read after it, with
    ledger.list_shown_entries, which takes half the time: what changes them gives it a new number too.
    """
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT t.id, a.connection_id AS bank_account_id, t.account_id AS sub_account_id, t.state AS status, t.amount,
               a.currency, t.transacted_on, t.posted_on, t.description, t.memo, t.check_number, t.kind,
               t.reconciled_at IS NOT NULL AS is_reconciled, coalesce(t.split_into, '{}') AS split_into, t.shadow_verdict,
               t.aggregator_id, t.changed_at, t.change_no,
               t.first_change_no > $4 AS is_added,
               a.state = 'open' AND NOT a.is_hidden AND a.deleted_at IS NULL
               AND t.deleted_at IS NULL AND t.merged_into IS NULL AND t.fingerprint IS NULL
               AND (t.state IN ('pending', 'active') OR (t.state = 'shadow' AND (
                     f.shadow_policy = 'show'
                     OR (f.shadow_policy = 'confirm' AND t.shadow_verdict IS DISTINCT FROM 'confirmed')
                     OR coalesce(t.shadow_verdict = 'rejected', false) OR t.reconciled_at IS NOT NULL
                     OR t.split_into IS NOT NULL
                     OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1 AND e.transaction_id = t.id
                                AND e.state <> 'void')))) AS is_shown
        FROM customers f
        CROSS JOIN transactions t
        JOIN accounts a ON a.customer_id = $1 AND a.id = t.account_id
        WHERE f.id = $1 AND t.customer_id = $1 AND t.client_id = $2 AND t.change_no > $3
        ORDER BY t.change_no LIMIT $5
        """,
        customer_id,
        client_id,
        after,
        since,
        limit,
    )
    return rows


async def touch_rows(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, account_ids: Sequence[AccountId]
) -> int:
    """Give the rows of accounts of one client new change numbers; return how many.

    In the transaction that changed the accounts' own rows, and so holds their locks. Rows that are out of view by
    themselves, removed, merged away, deleted by a person or erased, keep theirs.
    """
    if not account_ids:
        return 0
    first = await take_change_numbers(
        conn, customer_id, client_id, count=0
    )  # locks the counter: see take_change_numbers
    touched = await _renumber_accounts(conn, customer_id, client_id, account_ids, first)
    await take_change_numbers(conn, customer_id, client_id, count=touched)
    return touched


async def touch_shadows(conn: Connection, customer_id: CustomerId) -> int:
    """Give all shadow rows of a customer new change numbers, client by client; return how many.

    In the transaction that changed the customer's policy. Each client's rows are read after its counter is locked, so that
    one that a refresh makes a shadow at the same time is among them, or comes after.
    """
    touched = 0
    for client_id in await _list_client_ids(conn, customer_id):
        first = await take_change_numbers(conn, customer_id, client_id, count=0)
        count = await _renumber_shadows(conn, customer_id, client_id, first)
        await take_change_numbers(conn, customer_id, client_id, count=count)
        touched += count
    return touched


async def touch_transactions(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, ids: Sequence[TransactionId]
) -> int:
    """Give rows of one client new change numbers, whatever became of them; return how many there were."""
    if not ids:
        return 0
    first = await take_change_numbers(conn, customer_id, client_id, count=0)
    touched = await _renumber_transactions(conn, customer_id, client_id, ids, first)
    await take_change_numbers(conn, customer_id, client_id, count=touched)
    return touched


async def _list_client_ids(conn: Connection, customer_id: CustomerId) -> tuple[ClientId, ...]:
    """List a customer's clients, in the order in which their counters are locked."""
    rows = await conn.fetch(
        "SELECT client_id FROM change_counters WHERE customer_id = $1 ORDER BY client_id", customer_id
    )
    return tuple(row["client_id"] for row in rows)


async def _renumber_accounts(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, account_ids: Sequence[AccountId], first: int
) -> int:
    tag = await conn.execute(
        """
        UPDATE transactions t SET change_no = $4 + n.place - 1, changed_at = now()
        FROM (
            SELECT id, row_number() OVER (ORDER BY change_no, id) AS place FROM transactions
            WHERE customer_id = $1 AND client_id = $2 AND account_id = ANY ($3::bigint[]) AND state <> 'removed'
              AND deleted_at IS NULL AND merged_into IS NULL AND fingerprint IS NULL
        ) n
        WHERE t.customer_id = $1 AND t.id = n.id
        """,
        customer_id,
        client_id,
        list(account_ids),
        first,
    )
    return _count(tag)


async def _renumber_shadows(conn: Connection, customer_id: CustomerId, client_id: ClientId, first: int) -> int:
    tag = await conn.execute(
        """
        UPDATE transactions t SET change_no = $3 + n.place - 1, changed_at = now()
        FROM (
            SELECT id, row_number() OVER (ORDER BY change_no, id) AS place FROM transactions
            WHERE customer_id = $1 AND client_id = $2 AND state = 'shadow' AND deleted_at IS NULL
              AND merged_into IS NULL AND fingerprint IS NULL
        ) n
        WHERE t.customer_id = $1 AND t.id = n.id
        """,
        customer_id,
        client_id,
        first,
    )
    return _count(tag)


async def _renumber_transactions(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, ids: Sequence[TransactionId], first: int
) -> int:
    tag = await conn.execute(
        """
        UPDATE transactions t SET change_no = $4 + n.place - 1, changed_at = now()
        FROM (
            SELECT id, row_number() OVER (ORDER BY change_no, id) AS place FROM transactions
            WHERE customer_id = $1 AND client_id = $2 AND id = ANY ($3::bigint[])
        ) n
        WHERE t.customer_id = $1 AND t.id = n.id
        """,
        customer_id,
        client_id,
        list(ids),
        first,
    )
    return _count(tag)


def _count(tag: str) -> int:
    """Return how many rows a statement changed, from the tag that ends it, like UPDATE 3."""
    return int(tag.rpartition(" ")[2])
