"""What the console's page shows of one customer: what is linked, and the latest movements. Reads only, and never all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, ShadowPolicy, ShadowVerdict, TransactionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFirm:
    """The customer itself."""

    name: str
    shadow_policy: ShadowPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownClient:
    """A client that is not deleted. `is_locked`: nothing is linked, repaired or refreshed for it."""

    id: ClientId
    name: str
    is_locked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownConnection:
    """A connection that is not closed.

    `institution` is None until the first refresh told. `age_s` is how long ago the last refresh was, None before the
    first; `next_s` is the time until the scheduled one. `failures` counts tries in a row that failed, `code_repeats` those
    that ended with the same code. The `asked_` ones are of the latest bank refresh that somebody asked for, None without
    one: its state, code and message, whether the bank has answered (`asked_is_fetching`), and how long ago it ended.
    """

    id: ConnectionId
    client_id: ClientId
    institution: str | None
    state: str
    status_code: int | None
    code_repeats: int
    failures: int
    is_updating: bool
    age_s: float | None
    next_s: float | None
    asked_state: str | None = None
    asked_code: int | None = None
    asked_message: str | None = None
    asked_is_fetching: bool | None = None
    asked_age_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAccount:
    """An account that is open and not hidden. `balance` is None where the bank stated none."""

    id: AccountId
    connection_id: ConnectionId
    name: str
    number_display: str
    type: str
    currency: str
    balance: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTransaction:
    """A movement on one of those accounts. `has_act` and `shadow_verdict` are what a person did with it."""

    id: TransactionId
    account_id: AccountId
    state: str
    amount: Decimal
    transacted_on: date
    description: str
    has_act: bool
    shadow_verdict: ShadowVerdict | None


async def get_shown_firm(conn: Connection, customer_id: CustomerId) -> ShownFirm:
    """Return the customer. Raises NotFound."""
    row = await conn.fetchrow("SELECT name, shadow_policy FROM customers WHERE id = $1", customer_id)
    if row is None:
        raise NotFound(f"there is no customer {customer_id}")
    return ShownFirm(name=row["name"], shadow_policy=ShadowPolicy(row["shadow_policy"]))


async def list_shown_clients(conn: Connection, customer_id: CustomerId, *, limit: int) -> tuple[ShownClient, ...]:
    """List a customer's clients by name: those with a connection that is not closed first, so that none of these is left out."""
    rows = await conn.fetch(
        """
        SELECT shown.id, shown.name, shown.is_locked FROM (
            SELECT cl.id, cl.name, cl.locked_at IS NOT NULL AS is_locked,
                   EXISTS (SELECT FROM connections c WHERE c.customer_id = $1 AND c.client_id = cl.id AND c.state <> 'closed')
                       AS has_connection
            FROM clients cl WHERE cl.customer_id = $1 AND cl.deleted_at IS NULL
            ORDER BY has_connection DESC, cl.name, cl.id LIMIT $2
        ) shown
        ORDER BY shown.name, shown.id
        """,
        customer_id,
        limit,
    )
    return tuple(ShownClient(**row) for row in rows)


async def list_shown_connections(
    conn: Connection, customer_id: CustomerId, *, limit: int
) -> tuple[ShownConnection, ...]:
    """List a customer's connections that are not closed, those of one client together."""
    rows = await conn.fetch(
        """
        SELECT c.id, c.client_id, i.name AS institution, c.state::text, c.status_code, c.code_repeats, c.failures,
               c.handled < c.requested AS is_updating,
               extract(epoch FROM now() - c.last_refresh_at)::float8 AS age_s,
               extract(epoch FROM c.next_update_at - now())::float8 AS next_s,
               b.state::text AS asked_state, b.status_code AS asked_code, b.message AS asked_message,
               b.refresh_no IS NOT NULL AS asked_is_fetching,
               extract(epoch FROM now() - b.finished_at)::float8 AS asked_age_s
        FROM connections c
        JOIN clients cl ON cl.customer_id = c.customer_id AND cl.id = c.client_id
        LEFT JOIN institutions i ON i.id = c.institution_id
        LEFT JOIN LATERAL (
            SELECT r.state, r.status_code, r.message, r.refresh_no, r.finished_at FROM bank_refreshes r
            WHERE r.customer_id = $1 AND r.connection_id = c.id ORDER BY r.id DESC LIMIT 1
        ) b ON true
        WHERE c.customer_id = $1 AND c.state <> 'closed'
        ORDER BY cl.name, c.client_id, c.id LIMIT $2
        """,
        customer_id,
        limit,
    )
    return tuple(ShownConnection(**row) for row in rows)


async def list_shown_accounts(
    conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId], *, limit: int
) -> tuple[ShownAccount, ...]:
    """List the connections' accounts that are open and not hidden."""
    rows = await conn.fetch(
        """
        SELECT id, connection_id, name, number_display, type, currency, balance FROM accounts
        WHERE customer_id = $1 AND connection_id = ANY ($2::bigint[]) AND state = 'open' AND NOT is_hidden
        ORDER BY connection_id, id LIMIT $3
        """,
        customer_id,
        list(connection_ids),
        limit,
    )
    return tuple(ShownAccount(**row) for row in rows)


async def list_shown_transactions(
    conn: Connection, customer_id: CustomerId, account_ids: Sequence[AccountId], *, removed_s: float, limit: int
) -> tuple[ShownTransaction, ...]:
    """List the accounts' latest movements, newest first, each account's read from its index.

    Removed ones are among them for `removed_s` seconds, unless they were merged into another; what a person deleted
    never is.
    """
    rows = await conn.fetch(
        """
        SELECT t.*, t.is_touched OR EXISTS (SELECT FROM ledger_entries e WHERE e.customer_id = $1
                                           AND e.transaction_id = t.id) AS has_act
        FROM unnest($2::bigint[]) AS a (id)
        CROSS JOIN LATERAL (
            SELECT t.id, t.account_id, t.state, t.amount, t.transacted_on, t.description, t.shadow_verdict,
                   t.reconciled_at IS NOT NULL OR t.split_into IS NOT NULL
                   OR t.shadow_verdict IS NOT DISTINCT FROM 'rejected' AS is_touched
            FROM transactions t
            WHERE t.customer_id = $1 AND t.account_id = a.id AND t.deleted_at IS NULL AND t.merged_into IS NULL
              AND t.fingerprint IS NULL AND (t.state <> 'removed' OR t.removed_at > now() - make_interval(secs => $3))
            ORDER BY t.transacted_on DESC, t.id DESC LIMIT $4
        ) t
        ORDER BY t.transacted_on DESC, t.id DESC LIMIT $4
        """,
        customer_id,
        list(account_ids),
        removed_s,
        limit,
    )
    return tuple(_read_transaction(row) for row in rows)


def _read_transaction(row: Any) -> ShownTransaction:
    verdict = row["shadow_verdict"]
    return ShownTransaction(
        id=row["id"],
        account_id=row["account_id"],
        state=row["state"],
        amount=row["amount"],
        transacted_on=row["transacted_on"],
        description=row["description"],
        has_act=row["has_act"],
        shadow_verdict=None if verdict is None else ShadowVerdict(verdict),
    )
