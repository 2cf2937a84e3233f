"""What a repair or a support case is about: a connection with its institution, and how its latest bank refreshes ended."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A connection as a repair or a case is about it; texts are "" where they are unknown.

    `last_good_at` is when transactions of it were last applied, None where none ever were.
    """

    connection_id: ConnectionId
    client_id: ClientId
    state: str
    status_code: int | None
    code_repeats: int
    status_since: datetime
    is_received: bool
    last_good_at: datetime | None
    institution: str
    institution_status: str
    institution_phone: str
    institution_email: str
    institution_url: str
    is_oauth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRefresh:
    """A bank refresh, as a case keeps it."""

    kind: str
    state: str
    code: int | None
    requested_at: datetime
    finished_at: datetime | None


async def find_subject(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> Subject | None:
    """Return how a connection stands; None where there is none, or it was deleted."""
    row = await conn.fetchrow(
        """
        SELECT c.id AS connection_id, c.client_id, c.state::text, c.status_code,
               greatest(c.code_repeats, c.failures) AS code_repeats, c.status_since,
               c.last_refresh_at IS NOT NULL AS is_received,
               (SELECT max(a.last_pulled_at) FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = c.id) AS last_good_at,
               coalesce(i.name, '') AS institution, coalesce(i.status, '') AS institution_status,
               coalesce(i.phone, '') AS institution_phone, coalesce(i.email, '') AS institution_email,
               coalesce(nullif(i.sign_in_url, ''), i.url, '') AS institution_url, coalesce(i.is_oauth, false) AS is_oauth
        FROM connections c
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
        LEFT JOIN institutions i ON i.id = c.institution_id
        WHERE c.customer_id = $1 AND c.id = $2 AND c.deleted_at IS NULL
        """,
        customer_id,
        connection_id,
    )
    return Subject(**row) if row else None


async def list_past_refreshes(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId, *, limit: int
) -> tuple[PastRefresh, ...]:
    """List the latest bank refreshes of a connection, the newest first."""
    rows = await conn.fetch(
        """
        SELECT kind::text, state::text, status_code AS code, requested_at, finished_at FROM bank_refreshes
        WHERE customer_id = $1 AND connection_id = $2 ORDER BY id DESC LIMIT $3
        """,
        customer_id,
        connection_id,
        limit,
    )
    return tuple(PastRefresh(**row) for row in rows)
