"""Accounts as people look at them, and what people change of them.

Those that were deleted, or have become another one, are nowhere here.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from bankfeed.db.database import Connection
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAccount:
    """An account. `own_name` is a person's, "" where nobody gave one.

    `balance_gap` is what the rows do not explain of it, `balance_reason` why. `history_from_on` is the first day that was
    asked for, None while history is still to be listed. `attempted_at` is when the aggregator asked the bank, as of the last
    pull.
    """

    id: AccountId
    client_id: ClientId
    connection_id: ConnectionId
    state: str
    name: str
    own_name: str
    memo: str
    number_display: str
    type: str
    currency: str
    balance: Decimal | None
    balance_on: date | None
    balance_gap: Decimal
    balance_reason: str
    is_hidden: bool
    ledger_account_id: int | None
    history_from_on: date | None
    last_pulled_at: datetime | None
    attempted_at: datetime | None
    closed_at: datetime | None
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """What a person changes; None is left as it is. `ledger_account_id` counts where `is_booking_changed`."""

    own_name: str | None = None
    memo: str | None = None
    is_hidden: bool | None = None
    is_booking_changed: bool = False
    ledger_account_id: int | None = None


async def list_sub_accounts(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None,
    connection_id: ConnectionId | None,
    after_id: int,
    limit: int,
) -> tuple[SubAccount, ...]:
    """List accounts by id, closed and hidden ones included; of one client, of one connection where given."""
    rows = await conn.fetch(
        """
        SELECT a.id, a.client_id, a.connection_id, a.state::text, a.name, a.own_name, a.memo, a.number_display, a.type,
               a.currency, a.balance, a.balance_on, a.balance_gap, a.balance_reason, a.is_hidden, a.ledger_account_id,
               a.history_from_on, a.last_pulled_at, a.last_attempted_at AS attempted_at, a.closed_at, a.created_at, a.version
        FROM accounts a
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = a.client_id AND cl.deleted_at IS NULL
        WHERE a.customer_id = $1 AND a.adopted_into IS NULL AND a.deleted_at IS NULL AND a.id > $4
          AND ($2::bigint IS NULL OR a.client_id = $2) AND ($3::bigint IS NULL OR a.connection_id = $3)
        ORDER BY a.id LIMIT $5
        """,
        customer_id,
        client_id,
        connection_id,
        after_id,
        limit,
    )
    return tuple(SubAccount(**row) for row in rows)


async def find_sub_account(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> SubAccount | None:
    """Return one account; None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT a.id, a.client_id, a.connection_id, a.state::text, a.name, a.own_name, a.memo, a.number_display, a.type,
               a.currency, a.balance, a.balance_on, a.balance_gap, a.balance_reason, a.is_hidden, a.ledger_account_id,
               a.history_from_on, a.last_pulled_at, a.last_attempted_at AS attempted_at, a.closed_at, a.created_at, a.version
        FROM accounts a
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = a.client_id AND cl.deleted_at IS NULL
        WHERE a.customer_id = $1 AND a.adopted_into IS NULL AND a.deleted_at IS NULL AND a.id = $2
        """,
        customer_id,
        account_id,
    )
    return SubAccount(**row) if row else None


async def lock_booking_account(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, ledger_account_id: int
) -> bool | None:
    """Keep a client's ledger account as it is until commit; return whether it is open, None where there is none."""
    is_open: bool | None = await conn.fetchval(
        """
        SELECT archived_at IS NULL FROM ledger_accounts WHERE customer_id = $1 AND client_id = $2 AND id = $3 FOR SHARE
        """,
        customer_id,
        client_id,
        ledger_account_id,
    )
    return is_open


async def update_sub_account(
    conn: Connection,
    customer_id: CustomerId,
    account_id: AccountId,
    change: AccountChange,
    *,
    version: int | None,
) -> bool:
    """Change what is given of an account, if it is of that version (None: of any); False where it is not.

    Who hides or shows it gives its rows new change numbers (bankfeed/db/change.py), in the same transaction.
    """
    updated = await conn.fetchval(
        """
        UPDATE accounts SET own_name = coalesce($3, own_name), memo = coalesce($4, memo),
            is_hidden = coalesce($5, is_hidden),
            ledger_account_id = CASE WHEN $6::boolean THEN $7 ELSE ledger_account_id END, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($8, version) RETURNING true
        """,
        customer_id,
        account_id,
        change.own_name,
        change.memo,
        change.is_hidden,
        change.is_booking_changed,
        change.ledger_account_id,
        version,
    )
    return bool(updated)
