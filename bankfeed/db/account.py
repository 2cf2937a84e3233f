"""Accounts under a connection. Their rows change only under their row lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from bankfeed.db.change import touch_rows
from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, ShadowPolicy, TransactionId
from bankfeed.reconcile.balance import Balance, BalanceCheck

_LISTED = ("connection_id", "state", "delete_hinted_at", "number_display", "type")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What is known of an account before a pull.

    `last_attempted_at` is the aggregator's clock at the last pull applied; `oldest_pending_on` is the day of the oldest
    visible pending row; `is_history_loaded` is whether a person had the aggregator load all that the bank has of it.
    """

    id: AccountId
    account_ref: str
    is_open: bool
    is_deleted: bool
    is_delete_hinted: bool
    history_from_on: date | None
    last_pulled_at: datetime | None
    last_attempted_at: datetime | None
    oldest_pending_on: date | None
    is_history_loaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """An account under its row lock. `is_new` where it was added, or opened again, just now.

    `balance` is how its balance stands, None where none was ever stated; `policy` is the customer's.
    """

    id: AccountId
    is_new: bool
    last_pulled_at: datetime | None
    balance: Balance | None
    policy: ShadowPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ActedOn:
    """An account whose row is locked for a person's act, and when that was, by Postgres' clock."""

    id: AccountId
    client_id: ClientId
    connection_id: ConnectionId
    state: str
    adopted_into: AccountId | None
    locked_at: datetime


async def list_account_states(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId
) -> tuple[AccountState, ...]:
    """List a connection's accounts, closed ones included."""
    rows = await conn.fetch(
        """
        SELECT a.id, a.aggregator_id AS account_ref, a.state = 'open' AS is_open, a.deleted_at IS NOT NULL AS is_deleted,
               a.delete_hinted_at IS NOT NULL AS is_delete_hinted, a.history_from_on, a.last_pulled_at, a.last_attempted_at,
               (SELECT min(t.transacted_on) FROM transactions t
                WHERE t.customer_id = $1 AND t.account_id = a.id AND t.state = 'pending') AS oldest_pending_on,
               EXISTS (SELECT FROM bank_refreshes b
                       WHERE b.customer_id = $1 AND b.connection_id = $2 AND b.kind = 'historic' AND b.state <> 'failed'
                         AND b.refresh_no IS NOT NULL AND b.requested_at >= a.created_at) AS is_history_loaded
        FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = $2 AND a.adopted_into IS NULL ORDER BY a.id
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
    """Add an account, or open it again, or bring it up to date; its row is locked until commit. As listed, it is only locked.

    An account that moved to another connection of the same source (a login that was migrated) moves here with its rows.
    A hint of its deletion that came after the refresh began stays: the next refresh asks. Where it opens again, or moves,
    its rows are told of as changed. Raises NotFound for one that a person deleted: a listing does not bring it back.
    """
    found = await _find_for_update(conn, lease, target, account_ref)
    if found is not None and found["deleted_at"] is not None:
        raise NotFound(f"account {found['id']} was deleted")
    as_listed = (lease.connection_id, "open", None, number_display, type)
    if found is not None and tuple(found[name] for name in _LISTED) == as_listed:
        return _read_locked(found, is_new=False)
    row = await conn.fetchrow(
        """
        INSERT INTO accounts AS a (customer_id, client_id, connection_id, source_id, aggregator_id, name, number_display,
                                   type, currency)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (customer_id, source_id, aggregator_id) WHERE adopted_into IS NULL DO UPDATE
            SET connection_id = excluded.connection_id, state = 'open', closed_at = NULL,
                delete_hinted_at = CASE WHEN a.delete_hinted_at > $10 THEN a.delete_hinted_at END,
                number_display = excluded.number_display, type = excluded.type
        RETURNING id, last_pulled_at, balance, balance_on, balance_moved, balance_gap,
                  (SELECT shadow_policy FROM customers WHERE customers.id = $1) AS policy
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
    if found is not None and (found["state"], found["connection_id"]) != ("open", lease.connection_id):
        await touch_rows(conn, lease.customer_id, target.client_id, [row["id"]])
    return _read_locked(row, is_new=found is None or found["state"] == "closed")


async def _find_for_update(conn: Connection, lease: Lease, target: RefreshTarget, account_ref: str) -> Any:
    return await conn.fetchrow(
        """
        SELECT id, connection_id, state, deleted_at, delete_hinted_at, number_display, type, last_pulled_at, balance, balance_on,
               balance_moved, balance_gap, (SELECT shadow_policy FROM customers WHERE customers.id = $1) AS policy
        FROM accounts
        WHERE customer_id = $1 AND source_id = $2 AND aggregator_id = $3 AND adopted_into IS NULL FOR UPDATE
        """,
        lease.customer_id,
        target.source_id,
        account_ref,
    )


def _read_locked(row: Any, *, is_new: bool) -> Locked:
    return Locked(
        id=row["id"],
        is_new=is_new,
        last_pulled_at=row["last_pulled_at"],
        balance=_read_balance(row),
        policy=ShadowPolicy(row["policy"]),
    )


def _read_balance(row: Any) -> Balance | None:
    if row["balance"] is None:
        return None
    return Balance(amount=row["balance"], on=row["balance_on"], moved=row["balance_moved"], gap=row["balance_gap"])


async def lock_acted_on(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> ActedOn:
    """Lock one account until commit. Raises NotFound, also where it, or its client, was deleted."""
    row = await conn.fetchrow(
        """
        SELECT id, client_id, connection_id, state, adopted_into, clock_timestamp() AS locked_at
        FROM accounts a WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND EXISTS (
            SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL)
        FOR UPDATE
        """,
        customer_id,
        account_id,
    )
    if row is None:
        raise NotFound(f"there is no account {account_id}")
    return ActedOn(**row)


async def find_balance(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> Balance | None:
    """Return how an account's balance stands, None where none was ever stated."""
    row = await conn.fetchrow(
        "SELECT balance, balance_on, balance_moved, balance_gap FROM accounts WHERE customer_id = $1 AND id = $2",
        customer_id,
        account_id,
    )
    return None if row is None else _read_balance(row)


async def require_account(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> None:
    """See that there is such an account, and that neither it nor its client was deleted. Raises NotFound."""
    is_there = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM accounts a JOIN clients c ON c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL
            WHERE a.customer_id = $1 AND a.id = $2 AND a.deleted_at IS NULL)
        """,
        customer_id,
        account_id,
    )
    if not is_there:
        raise NotFound(f"there is no account {account_id}")


async def get_heading(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> tuple[str, str]:
    """Return an account's name and its currency. Raises NotFound."""
    row = await conn.fetchrow(
        "SELECT name, currency FROM accounts WHERE customer_id = $1 AND id = $2", customer_id, account_id
    )
    if row is None:
        raise NotFound(f"there is no account {account_id}")
    return row["name"], row["currency"]


async def list_accounts_of(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId]
) -> dict[TransactionId, AccountId]:
    """Return which account each of these transactions is on; one that there is not, or that was deleted with it, is left out."""
    rows = await conn.fetch(
        """
        SELECT t.id, t.account_id FROM transactions t
        JOIN accounts a ON a.customer_id = $1 AND a.id = t.account_id AND a.deleted_at IS NULL
        JOIN clients c ON c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL
        WHERE t.customer_id = $1 AND t.id = ANY ($2::bigint[]) ORDER BY t.id
        """,
        customer_id,
        list(transaction_ids),
    )
    return {row["id"]: row["account_id"] for row in rows}


async def lock_accounts(conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId]) -> None:
    """Lock accounts until commit, by id, before the change counter: so that two who lock several never wait in a ring."""
    if not account_ids:
        return
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
) -> None:
    """Note a pull that was applied: when, and from which day."""
    await conn.execute(
        """
        UPDATE accounts SET last_pulled_at = $3, last_attempted_at = coalesce($4, last_attempted_at),
            history_from_on = least(history_from_on, $5)
        WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        account_id,
        pulled_at,
        attempted_at,
        history_from_on,
    )


async def update_balance(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    *,
    check: BalanceCheck,
    suspects: Sequence[TransactionId],
) -> None:
    """Note how the balance stands. A pull that could not check it leaves what an earlier one found."""
    await conn.execute(
        """
        UPDATE accounts SET balance = $3, balance_on = $4, balance_moved = $5, balance_gap = $6,
            balance_reason = CASE WHEN $7 THEN $8 ELSE balance_reason END,
            balance_suspects = CASE WHEN $7 THEN $9::bigint[] ELSE balance_suspects END
        WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        account_id,
        check.after.amount,
        check.after.on,
        check.after.moved,
        check.after.gap,
        check.is_checked,
        check.reason,
        list(suspects),
    )


async def clear_balance(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> None:
    """Forget how the balance stands; the next pull that brings one begins anew."""
    await conn.execute(
        """
        UPDATE accounts SET balance = NULL, balance_on = NULL, balance_moved = 0, balance_gap = 0, balance_reason = '',
            balance_suspects = '{}'
        WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        account_id,
    )


async def clear_history(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> None:
    """Let the next refresh ask for all history again, as at first."""
    await conn.execute(
        "UPDATE accounts SET history_from_on = NULL WHERE customer_id = $1 AND id = $2", customer_id, account_id
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
    conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId], *, at: datetime | None = None
) -> tuple[AccountId, ...]:
    """Close accounts that the aggregator no longer has; return those that were open. Erases nothing.

    Their rows are out of view, and told of as changed. `at` is now, by Postgres' clock, where None.
    """
    rows = await conn.fetch(
        """
        WITH locked AS (
            SELECT id FROM accounts WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND state = 'open'
            ORDER BY id FOR UPDATE
        )
        UPDATE accounts a SET state = 'closed', closed_at = coalesce($3, now()), delete_hinted_at = NULL
        FROM locked WHERE a.customer_id = $1 AND a.id = locked.id RETURNING a.id, a.client_id
        """,
        customer_id,
        list(account_ids),
        at,
    )
    for client_id in sorted({row["client_id"] for row in rows}):
        await touch_rows(conn, customer_id, client_id, [row["id"] for row in rows if row["client_id"] == client_id])
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
        WITH locked AS (
            SELECT customer_id, id FROM accounts
            WHERE source_id = $1 AND state = 'open' AND ($2::bigint IS NULL OR customer_id = $2)
              AND (aggregator_id = ANY ($3::text[]) OR (cardinality($3::text[]) = 0 AND (customer_id, connection_id) IN
                   (SELECT * FROM unnest($4::bigint[], $5::bigint[]))))
            ORDER BY customer_id, id FOR UPDATE
        )
        UPDATE accounts a SET delete_hinted_at = clock_timestamp()
        FROM locked WHERE a.customer_id = locked.customer_id AND a.id = locked.id
        """,
        source_id,
        customer_id,
        list(account_refs),
        [customer_id for customer_id, _ in connections],
        [connection_id for _, connection_id in connections],
    )
