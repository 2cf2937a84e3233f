"""A client's logins as the widget needs them: which there are, with which accounts, and how far their first update is."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A client's open connection, as the widget needs it. `accounts` are (last digits, type) of those that are open.

    `is_fresh`: its first update is not done, so there may be more of them.
    """

    connection_id: ConnectionId
    client_id: ClientId
    source_id: SourceId
    connector: str
    login_ref: str
    customer_ref: str | None
    institution_id: int | None
    state: str
    status_code: int | None
    code_repeats: int
    name: str
    accounts: tuple[tuple[str, str], ...]
    is_fresh: bool


async def list_logins(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None = None,
    institution_id: int | None = None,
    connection_id: ConnectionId | None = None,
    and_unknown: bool = False,
) -> tuple[Login, ...]:
    """List the open connections of a client at an institution, or one by its id.

    `and_unknown`: also the client's whose institution is not known yet, because their first update is not done.
    """
    rows = await conn.fetch(
        """
        SELECT c.id AS connection_id, c.client_id, c.source_id, i.connector, c.aggregator_login_id AS login_ref,
               e.aggregator_customer_id AS customer_ref, c.institution_id, c.state::text, c.status_code, c.code_repeats,
               coalesce(nullif(c.name, ''), i.name, '') AS name, c.handled = 0 AS is_fresh,
               ARRAY(SELECT a.number_display || '/' || a.type FROM accounts a
                     WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open' ORDER BY a.id) AS accounts
        FROM connections c
        JOIN clients cl ON cl.customer_id = c.customer_id AND cl.id = c.client_id AND cl.deleted_at IS NULL
        LEFT JOIN institutions i ON i.id = c.institution_id
        LEFT JOIN enrolments e ON e.customer_id = c.customer_id AND e.source_id = c.source_id AND e.client_id = c.client_id
        WHERE c.customer_id = $1 AND c.state <> 'closed'
          AND (c.id = $4 OR (c.client_id = $2 AND (c.institution_id = $3 OR ($5 AND c.institution_id IS NULL))))
        ORDER BY c.id
        """,
        customer_id,
        client_id,
        institution_id,
        connection_id,
        and_unknown,
    )
    return tuple(_read_login(dict(row)) for row in rows)


def _read_login(row: dict[str, object]) -> Login:
    accounts = row.pop("accounts")
    assert isinstance(accounts, list)
    keys = tuple((number, kind) for number, _, kind in (each.rpartition("/") for each in accounts))
    return Login(accounts=keys, **row)  # type: ignore[arg-type]


async def list_login_refs(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, source_id: SourceId | None
) -> set[str]:
    """List the aggregator's ids of every login that a client has or had."""
    rows = await conn.fetch(
        """
        SELECT aggregator_login_id FROM connections WHERE customer_id = $1 AND client_id = $2 AND source_id = $3
        """,
        customer_id,
        client_id,
        source_id,
    )
    return {row["aggregator_login_id"] for row in rows}


async def ask_refresh(
    conn: Connection,
    customer_id: CustomerId,
    connection_id: ConnectionId,
    *,
    institution_id: int | None = None,
    is_repair: bool = False,
) -> None:
    """Ask for one more refresh of a connection that somebody waits for; note its institution where that is not known yet.

    `is_repair`: a person mended it just now, and a successful pull will tell (see connection.hint_repaired).
    """
    await conn.execute(
        """
        UPDATE connections SET requested = requested + 1, due_at = CASE WHEN lease_token IS NULL THEN now() ELSE due_at END,
            institution_id = coalesce(institution_id, $3),
            repair_hinted_at = CASE WHEN $4 THEN clock_timestamp() ELSE repair_hinted_at END
        WHERE customer_id = $1 AND id = $2 AND state <> 'closed'
        """,
        customer_id,
        connection_id,
        institution_id,
        is_repair,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How far the first update of a connection is."""

    is_updated: bool
    accounts: int
    transactions: int


async def get_arrived(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> Arrived:
    """Return what has come in of a connection, for who waits for it."""
    row = await conn.fetchrow(
        """
        SELECT coalesce(bool_or(c.handled >= c.requested), true) AS is_updated, count(DISTINCT a.id)::int AS accounts,
               count(t.id)::int AS transactions
        FROM connections c
        LEFT JOIN accounts a ON a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open' AND NOT a.is_hidden
        LEFT JOIN transactions t ON t.customer_id = $1 AND t.account_id = a.id AND t.state <> 'removed'
        WHERE c.customer_id = $1 AND c.id = $2
        """,
        customer_id,
        connection_id,
    )
    return Arrived(**row)


async def get_clock(conn: Connection) -> datetime:
    """Return Postgres' clock."""
    now: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return now
