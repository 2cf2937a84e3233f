"""The history of a connection as people read it. Its lines are written with what they tell of: see connection.py, deletion.py."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.history import HistoryKind
from bankfeed.model import ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One line. `status_code` is that of the moment; `time_to_repair_s` is None but at a repair."""

    id: int
    at: datetime
    kind: HistoryKind
    status_code: int | None
    time_to_repair_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repairs:
    """How often a connection was repaired, and how long that took on average; None where it never was."""

    repairs: int
    mean_time_to_repair_s: float | None


async def has_history(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> bool:
    """Tell whether there is such a connection, or was before it was deleted. A deleted client has none."""
    is_there: bool = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM connections c JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
            WHERE c.customer_id = $1 AND c.id = $2)
        """,
        customer_id,
        connection_id,
    )
    return is_there


async def list_history(
    conn: Connection, customer_id: CustomerId, connection_id: ConnectionId, *, before_id: int | None, limit: int
) -> tuple[HistoryLine, ...]:
    """List the lines of a connection, the newest first, of ids below `before_id`; None is from the newest on."""
    rows = await conn.fetch(
        """
        SELECT id, at, kind::text, status_code, extract(epoch FROM at - broken_since)::float8 AS time_to_repair_s
        FROM connection_history
        WHERE customer_id = $1 AND connection_id = $2 AND ($3::bigint IS NULL OR id < $3)
        ORDER BY id DESC LIMIT $4
        """,
        customer_id,
        connection_id,
        before_id,
        limit,
    )
    return tuple(HistoryLine(**{**row, "kind": HistoryKind(row["kind"])}) for row in rows)


async def count_repairs(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> Repairs:
    """Count the repairs of a connection, with their mean time."""
    row = await conn.fetchrow(
        """
        SELECT count(*) AS repairs, avg(extract(epoch FROM at - broken_since))::float8 AS mean_time_to_repair_s
        FROM connection_history WHERE customer_id = $1 AND connection_id = $2 AND kind = 'reconnected'
        """,
        customer_id,
        connection_id,
    )
    return Repairs(**row)
