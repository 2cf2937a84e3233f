"""Accounts under a connection. Their rows change only under their row lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.db.database import Connection
from bankfeed.model import AccountId, ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What is known of an account before a pull.

    `last_attempted_at` is the aggregator's clock at the last pull applied; `oldest_pending_on` is the day of the oldest
    visible pending row.
    """

    id: AccountId
    account_ref: str
    is_open: bool
    is_delete_hinted: bool
    history_from_on: date | None
    last_pulled_at: datetime | None
    last_attempted_at: datetime | None
    oldest_pending_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """An account under its row lock. `is_new` where it was added, or opened again, just now."""

    id: AccountId
    is_new: bool
    last_pulled_at: datetime | None


async def list_account_states(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> tuple[AccountState, ...]:
    """List a connection's accounts, closed ones included."""
    rows = await conn.fetch(
        """
        SELECT a.id, a.aggregator_id AS account_ref, a.state = 'open' AS is_open,
               a.delete_hinted_at IS NOT NULL AS is_delete_hinted, a.history_from_on, a.last_pulled_at, a.last_attempted_at,
               (SELECT min(t.transacted_on) FROM transactions t
                WHERE t.customer_id = $1 AND t.account_id = a.id AND t.state = 'pending') AS oldest_pending_on
        FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = $2 ORDER BY a.id
        """,
        customer_id,
        connection_id,
    )
    return tuple(AccountState(**row) for row in rows)


async def lock_account(
    conn: Connection,
    lease: Lease,
    target: RefreshTarget,
    *,
    account_ref: str,
    name: str,
    number_display: str,
    type: str,  # noqa: A002 - the word of the schema and of every aggregator
    currency: str,
) -> Locked:
    """Add an account, or open it again, or bring it up to date; its row is locked until commit.

    An account that moved to another connection of the same source (a login that was migrated) moves here with its rows.
    A hint of its deletion that came after the refresh began stays: the next refresh asks.
    """
    before = await _find_for_update(conn, lease, target, account_ref)
    account_id = await conn.fetchval(
        """
        INSERT INTO accounts AS a (customer_id, client_id, connection_id, source_id, aggregator_id, name, number_display,
                                   type, currency)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (customer_id, source_id, aggregator_id) DO UPDATE
            SET connection_id = excluded.connection_id, state = 'open', closed_at = NULL,
                delete_hinted_at = CASE WHEN a.delete_hinted_at > $10 THEN a.delete_hinted_at END,
                number_display = excluded.number_display, type = excluded.type
        RETURNING id
        """,
        lease.customer_id,
        target.client_id,
        lease.connection_id,
        target.source_id,
        account_ref,
        name,
        number_display,
        type,
        currency,
        target.started_at,
    )
    return Locked(
        id=account_id,
        is_new=before is None or before["state"] == "closed",
        last_pulled_at=before and before["last_pulled_at"],
    )


async def _find_for_update(conn: Connection, lease: Lease, target: RefreshTarget, account_ref: str) -> Any:
    return await conn.fetchrow(
        """
        SELECT state, last_pulled_at FROM accounts
        WHERE customer_id = $1 AND source_id = $2 AND aggregator_id = $3 FOR UPDATE
        """,
        lease.customer_id,
        target.source_id,
        account_ref,
    )


async def lock_accounts(conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId]) -> None:
    """Lock accounts until commit, by id, before the change counter: so that two who lock several never wait in a ring."""
    await conn.execute(
        "SELECT id FROM accounts WHERE customer_id = $1 AND id = ANY ($2::bigint[]) ORDER BY id FOR UPDATE",
        customer_id,
        list(account_ids),
    )


async def update_pulled(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    pulled_at: datetime,
    attempted_at: datetime | None,
    history_from_on: date,
    balance: Decimal | None,
    balance_on: date | None,
) -> None:
    """Note a pull that was applied: when, from which day, and the balance it brought."""
    await conn.execute(
        """
        UPDATE accounts SET last_pulled_at = $3, last_attempted_at = coalesce($4, last_attempted_at),
            history_from_on = least(history_from_on, $5), balance = coalesce($6, balance),
            balance_on = coalesce($7, balance_on)
        WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        account_id,
        pulled_at,
        attempted_at,
        history_from_on,
        balance,
        balance_on,
    )


async def list_open_ids(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> tuple[AccountId, ...]:
    """List the ids of a connection's open accounts."""
    rows = await conn.fetch(
        "SELECT id FROM accounts WHERE customer_id = $1 AND connection_id = $2 AND state = 'open' ORDER BY id",
        customer_id,
        connection_id,
    )
    return tuple(row["id"] for row in rows)


async def mark_closed(
    conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId]
) -> tuple[AccountId, ...]:
    """Close accounts that the aggregator no longer has; return those that were open. Erases nothing."""
    rows = await conn.fetch(
        """
        UPDATE accounts SET state = 'closed', closed_at = now(), delete_hinted_at = NULL
        WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND state = 'open' RETURNING id
        """,
        customer_id,
        list(account_ids),
    )
    return tuple(sorted(row["id"] for row in rows))


async def clear_delete_hints(
    conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId], *, until: datetime
) -> None:
    """Forget hints of a deletion, given `until` then, that the aggregator did not confirm."""
    await conn.execute(
        """
        UPDATE accounts SET delete_hinted_at = NULL
        WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND delete_hinted_at <= $3
        """,
        customer_id,
        list(account_ids),
        until,
    )


async def hint_deleted(
    conn: Connection,
    *,
    source_id: int,
    customer_id: CustomerId | None,
    account_refs: Sequence[str],
    connections: Sequence[tuple[CustomerId, ConnectionId]],
) -> None:
    """Note that an event says accounts were deleted, as the queue role; the next refresh asks the aggregator.

    They are those it names, or where it names none all of the connections it is about.
    """
    await conn.execute(
        """
        UPDATE accounts SET delete_hinted_at = clock_timestamp()
        WHERE source_id = $1 AND state = 'open' AND ($2::bigint IS NULL OR customer_id = $2)
          AND (aggregator_id = ANY ($3::text[]) OR (cardinality($3::text[]) = 0 AND (customer_id, connection_id) IN
               (SELECT * FROM unnest($4::bigint[], $5::bigint[]))))
        """,
        source_id,
        customer_id,
        list(account_refs),
        [customer_id for customer_id, _ in connections],
        [connection_id for _, connection_id in connections],
    )
