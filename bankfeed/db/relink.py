"""Accounts that were linked before: which a new one may be, and how two become one (rule 11).

An institution and those that were noted to be the same one, at other aggregators, count as one. They are looked up for what
was found, and not joined: with each pull that would read them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bankfeed.db.account import ActedOn
from bankfeed.db.connection import Lease
from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, CustomerId, SourceId, TransactionId
from bankfeed.reconcile.adoption import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The account that an aggregator's id already is. `last_pulled_at` is of the last pull applied, None before one."""

    id: AccountId
    is_deleted: bool
    has_rows: bool
    last_pulled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A closed account of the same client, institution and currency."""

    id: AccountId
    identity: Identity


async def find_own(conn: Connection, lease: Lease, *, source_id: SourceId, account_ref: str) -> Own | None:
    """Find the account that an aggregator's id already is, None where it is new."""
    row = await conn.fetchrow(
        """
        SELECT a.id, a.deleted_at IS NOT NULL AS is_deleted, a.last_pulled_at,
               EXISTS (SELECT FROM transactions t WHERE t.customer_id = $1 AND t.account_id = a.id) AS has_rows
        FROM accounts a
        WHERE a.customer_id = $1 AND a.source_id = $2 AND a.aggregator_id = $3 AND a.adopted_into IS NULL
        """,
        lease.customer_id,
        source_id,
        account_ref,
    )
    return None if row is None else Own(**row)


async def list_earlier(conn: Connection, lease: Lease, own: Own | None, *, currency: str) -> tuple[Earlier, ...]:
    """List the closed accounts with rows that an account may be, the latest closed first.

    Of one that has rows itself, `own`, those that were closed since its last pull.
    """
    closed_since = own.last_pulled_at if own is not None and own.has_rows else None
    rows = await conn.fetch(
        """
        SELECT a.id, a.type, a.number_display AS number,
               (SELECT coalesce(same_as, id)::text FROM institutions WHERE id = c.institution_id) AS institution
        FROM connections own
        JOIN accounts a ON a.customer_id = $1 AND a.client_id = own.client_id AND a.state = 'closed'
         AND a.adopted_into IS NULL AND a.id IS DISTINCT FROM $3 AND a.currency = $4
        JOIN connections c ON c.customer_id = $1 AND c.id = a.connection_id
         AND (SELECT coalesce(same_as, id) FROM institutions WHERE id = c.institution_id)
           = (SELECT coalesce(same_as, id) FROM institutions WHERE id = own.institution_id)
        WHERE own.customer_id = $1 AND own.id = $2 AND ($5::timestamptz IS NULL OR a.closed_at >= $5)
          AND EXISTS (SELECT FROM transactions t WHERE t.customer_id = $1 AND t.account_id = a.id)
        ORDER BY a.closed_at DESC, a.id DESC
        """,
        lease.customer_id,
        lease.connection_id,
        None if own is None else own.id,
        currency,
        closed_since,
    )
    return tuple(Earlier(id=row["id"], identity=_read_identity(row)) for row in rows)


async def lock_earlier(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> ActedOn:
    """Lock an account that another one may be, until commit, deleted or not. Raises NotFound, also where its client was deleted."""
    row = await conn.fetchrow(
        """
        SELECT id, client_id, connection_id, state, adopted_into, clock_timestamp() AS locked_at
        FROM accounts a WHERE customer_id = $1 AND id = $2 AND EXISTS (
            SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL)
        FOR UPDATE
        """,
        customer_id,
        account_id,
    )
    if row is None:
        raise NotFound(f"there is no account {account_id}")
    return ActedOn(**row)


async def list_open(conn: Connection, lease: Lease, *, besides: str, currency: str) -> tuple[Identity, ...]:
    """List what the open accounts of the lease's client at its institution are known by; not of the one of id `besides`."""
    rows = await conn.fetch(
        """
        SELECT a.type, a.number_display AS number,
               (SELECT coalesce(same_as, id)::text FROM institutions WHERE id = c.institution_id) AS institution
        FROM connections own
        JOIN accounts a ON a.customer_id = $1 AND a.client_id = own.client_id AND a.state = 'open'
         AND a.aggregator_id <> $3 AND a.currency = $4
        JOIN connections c ON c.customer_id = $1 AND c.id = a.connection_id
         AND (SELECT coalesce(same_as, id) FROM institutions WHERE id = c.institution_id)
           = (SELECT coalesce(same_as, id) FROM institutions WHERE id = own.institution_id)
        WHERE own.customer_id = $1 AND own.id = $2
        ORDER BY a.id
        """,
        lease.customer_id,
        lease.connection_id,
        besides,
        currency,
    )
    return tuple(_read_identity(row) for row in rows)


def _read_identity(row: Any) -> Identity:
    return Identity(institution=row["institution"], type=row["type"], number=row["number"])


async def mark_ref_adopted(
    conn: Connection, lease: Lease, *, source_id: SourceId, account_ref: str, into: AccountId
) -> None:
    """Let an account without rows, of a pull that failed or was empty, make room for the one that it turned out to be.

    Who hid it hid that one; its name and memo go over to where none is.
    """
    await conn.execute(
        """
        WITH younger AS (
            UPDATE accounts SET state = 'closed', closed_at = coalesce(closed_at, now()), adopted_into = $4
            WHERE customer_id = $1 AND source_id = $2 AND aggregator_id = $3 AND adopted_into IS NULL
            RETURNING is_hidden, own_name, memo
        )
        UPDATE accounts a SET is_hidden = a.is_hidden OR y.is_hidden, own_name = coalesce(nullif(a.own_name, ''), y.own_name),
            memo = coalesce(nullif(a.memo, ''), y.memo)
        FROM younger y WHERE a.customer_id = $1 AND a.id = $4
        """,
        lease.customer_id,
        source_id,
        account_ref,
        into,
    )


async def inherit_hiding(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> None:
    """Hide an account that this transaction added, and name it, as closed ones were that it may be, with rows or without.

    Those are of the same client, institution, type, number and currency; a blank number is nobody's. It happens before anything
    tells whether it is one of them: what was hidden is never shown meanwhile. The latest closed names it.
    """
    await conn.execute(
        """
        WITH alike AS (
            SELECT e.is_hidden, e.own_name, e.closed_at, e.id
            FROM accounts a
            JOIN connections own ON own.customer_id = $1 AND own.id = a.connection_id
            JOIN accounts e ON e.customer_id = $1 AND e.client_id = a.client_id AND e.state = 'closed' AND e.adopted_into IS NULL
             AND e.currency = a.currency AND lower(btrim(e.type)) = lower(btrim(a.type))
             AND lower(btrim(e.number_display)) = lower(btrim(a.number_display)) AND btrim(e.number_display) <> ''
             AND (e.is_hidden OR e.own_name <> '')
            JOIN connections c ON c.customer_id = $1 AND c.id = e.connection_id
             AND (SELECT coalesce(same_as, id) FROM institutions WHERE id = c.institution_id)
               = (SELECT coalesce(same_as, id) FROM institutions WHERE id = own.institution_id)
            WHERE a.customer_id = $1 AND a.id = $2 AND a.created_at = now()
        ), wished AS (
            SELECT bool_or(is_hidden) AS is_hidden,
                   (array_agg(own_name ORDER BY closed_at DESC, id DESC) FILTER (WHERE own_name <> ''))[1] AS own_name
            FROM alike
        )
        UPDATE accounts a SET is_hidden = w.is_hidden, own_name = coalesce(w.own_name, a.own_name)
        FROM wished w WHERE a.customer_id = $1 AND a.id = $2 AND w.is_hidden IS NOT NULL
        """,
        customer_id,
        account_id,
    )


async def move_account(
    conn: Connection, lease: Lease, account_id: AccountId, *, source_id: SourceId, account_ref: str
) -> None:
    """Give a closed account the login and the id that the aggregator has for it now. It keeps its name and its rows.

    One that a person deleted was added again under that id, and is deleted no more.
    """
    await conn.execute(
        """
        UPDATE accounts SET connection_id = $3, source_id = $4, aggregator_id = $5, deleted_at = NULL
        WHERE customer_id = $1 AND id = $2 AND state = 'closed'
        """,
        lease.customer_id,
        account_id,
        lease.connection_id,
        source_id,
        account_ref,
    )


async def mark_adopted(conn: Connection, customer_id: CustomerId, younger: AccountId, *, into: AccountId) -> None:
    """Close an account for good: it, and what it had adopted, are the older one."""
    await conn.execute(
        """
        UPDATE accounts SET state = 'closed', closed_at = coalesce(closed_at, now()), adopted_into = $3
        WHERE customer_id = $1 AND (id = $2 OR adopted_into = $2)
        """,
        customer_id,
        younger,
        into,
    )


async def take_over(conn: Connection, customer_id: CustomerId, older: AccountId, *, younger: AccountId) -> None:
    """Give the older account the login, id, standing and balance of the younger one, which is closed by now.

    Who hid either of them hid what they are together; the younger one's name and memo go over to where none is.
    """
    await conn.execute(
        """
        UPDATE accounts a SET connection_id = y.connection_id, source_id = y.source_id, aggregator_id = y.aggregator_id,
            state = 'open', closed_at = NULL, deleted_at = NULL, delete_hinted_at = NULL, balance = y.balance, balance_on = y.balance_on,
            balance_moved = y.balance_moved, balance_gap = y.balance_gap, balance_reason = y.balance_reason,
            balance_suspects = y.balance_suspects, history_from_on = least(a.history_from_on, y.history_from_on),
            last_pulled_at = greatest(a.last_pulled_at, y.last_pulled_at), last_attempted_at = y.last_attempted_at,
            number_display = y.number_display, is_hidden = a.is_hidden OR y.is_hidden,
            own_name = coalesce(nullif(a.own_name, ''), y.own_name), memo = coalesce(nullif(a.memo, ''), y.memo)
        FROM accounts y WHERE a.customer_id = $1 AND a.id = $2 AND y.customer_id = $1 AND y.id = $3
        """,
        customer_id,
        older,
        younger,
    )


async def move_rows(
    conn: Connection,
    customer_id: CustomerId,
    ids: Sequence[TransactionId],
    *,
    into: AccountId,
    first_change_no: int,
) -> None:
    """Move rows to another account; each takes a change number from `first_change_no` on."""
    await conn.execute(
        """
        UPDATE transactions t SET account_id = $3, change_no = $4 + u.n - 1, changed_at = now()
        FROM unnest($2::bigint[]) WITH ORDINALITY AS u (id, n)
        WHERE t.customer_id = $1 AND t.id = u.id
        """,
        customer_id,
        list(ids),
        into,
        first_change_no,
    )


async def move_pulls(conn: Connection, customer_id: CustomerId, younger: AccountId, *, into: AccountId) -> None:
    """Move the pulls of an account to another one."""
    await conn.execute(
        "UPDATE pulls SET account_id = $3 WHERE customer_id = $1 AND account_id = $2", customer_id, younger, into
    )


async def move_acts(conn: Connection, customer_id: CustomerId, younger: AccountId, *, into: AccountId) -> None:
    """Move the acts of an account to another one."""
    await conn.execute(
        "UPDATE acts SET account_id = $3 WHERE customer_id = $1 AND account_id = $2", customer_id, younger, into
    )


async def move_aliases(conn: Connection, customer_id: CustomerId, younger: AccountId, *, into: AccountId) -> None:
    """Move the earlier ids of all rows of an account to another one."""
    await conn.execute(
        "UPDATE transaction_aliases SET account_id = $3 WHERE customer_id = $1 AND account_id = $2",
        customer_id,
        younger,
        into,
    )


async def move_doubts(conn: Connection, customer_id: CustomerId, younger: AccountId, *, into: AccountId) -> None:
    """Move the questions about rows of an account to another one."""
    await conn.execute(
        """
        UPDATE doubts SET account_id = $3
        WHERE customer_id = $1 AND account_id = $2 AND transaction_id IS NOT NULL
        """,
        customer_id,
        younger,
        into,
    )
