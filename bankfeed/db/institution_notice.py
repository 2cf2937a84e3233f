"""What an institution's state means for those who have a login there: that it is out of order, or migrates, or is back.

A notice is inserted with the change of the institution (institution.py). Told is whoever has a connection there, customer by
customer: the events and how far that has come are one transaction, so that each is told once, whatever is killed in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from bankfeed.db.change import ChangeCounter
from bankfeed.db.database import Connection
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class InstitutionNotice:
    """A notice that is being told: everybody up to a customer's connection was."""

    id: int
    institution_id: int
    told_customer_id: CustomerId
    told_connection_id: ConnectionId


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeText:
    """What a notice says, and when it is told. `migrates_until` is None where nobody has to sign in again."""

    institution_id: int
    institution: str
    status: str
    migrates_until: date | None
    told_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A connection at an institution, with its open accounts, and its client's counter of changes."""

    connection_id: ConnectionId
    client_id: ClientId
    accounts: tuple[AccountId, ...]
    counter: ChangeCounter


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedClient:
    """A client with connections at an institution that is out of order, or migrates."""

    institution_id: int
    institution: str
    status: str
    migrates_until: date | None
    client_id: ClientId
    username: str
    connections: tuple[ConnectionId, ...]


async def find_notice_to_tell(conn: Connection) -> InstitutionNotice | None:
    """Return the oldest notice that is not told to its end, as the queue role; None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT id, institution_id, told_customer_id, told_connection_id FROM institution_notices
        WHERE finished_at IS NULL ORDER BY id LIMIT 1
        """
    )
    return InstitutionNotice(**row) if row else None


async def list_to_tell(
    conn: Connection, notice: InstitutionNotice, *, limit: int
) -> tuple[tuple[CustomerId, ConnectionId], ...]:
    """List the open connections at its institution that are still to be told of, by customer and id, as the queue role.

    By the primary key, from where it has come to: connections are written with each refresh and read thus only after a notice,
    so an index for it would cost more than it saves.
    """
    rows = await conn.fetch(
        """
        SELECT customer_id, id FROM connections
        WHERE institution_id = $1 AND (customer_id, id) > ($2, $3) AND state <> 'closed' AND deleted_at IS NULL
        ORDER BY customer_id, id LIMIT $4
        """,
        notice.institution_id,
        notice.told_customer_id,
        notice.told_connection_id,
        limit,
    )
    return tuple((row["customer_id"], row["id"]) for row in rows)


async def mark_finished(conn: Connection, notice: InstitutionNotice) -> None:
    """Note that nobody is left to be told, as the queue role. Nothing where somebody else has told more of it meanwhile."""
    await conn.execute(
        """
        UPDATE institution_notices SET finished_at = now()
        WHERE id = $1 AND (told_customer_id, told_connection_id) = ($2, $3) AND finished_at IS NULL
        """,
        notice.id,
        notice.told_customer_id,
        notice.told_connection_id,
    )


async def mark_told(
    conn: Connection, notice: InstitutionNotice, *, customer_id: CustomerId, connection_id: ConnectionId
) -> NoticeText | None:
    """Note that everybody up to a customer's connection is told, and return what; None where somebody else tells it now.

    In the customer's transaction that inserts the events, before them: another worker waits here until that has ended, and then
    finds the notice further on.
    """
    row = await conn.fetchrow(
        """
        UPDATE institution_notices n SET told_customer_id = $4, told_connection_id = $5
        FROM institutions i
        WHERE n.id = $1 AND (n.told_customer_id, n.told_connection_id) = ($2, $3) AND n.finished_at IS NULL
          AND i.id = n.institution_id
        RETURNING n.institution_id, i.name AS institution, n.status, n.migrates_until, clock_timestamp() AS told_at
        """,
        notice.id,
        notice.told_customer_id,
        notice.told_connection_id,
        customer_id,
        connection_id,
    )
    return NoticeText(**row) if row else None


async def list_affected(
    conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]
) -> tuple[Affected, ...]:
    """List those of a customer's connections that are still open, by id, with what an event about them needs."""
    rows = await conn.fetch(
        """
        SELECT c.id, c.client_id, n.last_change_no, n.epoch,
               ARRAY(SELECT a.id FROM accounts a WHERE a.customer_id = $1 AND a.connection_id = c.id AND a.state = 'open'
                     ORDER BY a.id) AS accounts
        FROM connections c
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
        JOIN change_counters n ON n.customer_id = $1 AND n.client_id = c.client_id
        WHERE c.customer_id = $1 AND c.id = ANY ($2::bigint[]) AND c.state <> 'closed' AND c.deleted_at IS NULL
        ORDER BY c.id
        """,
        customer_id,
        list(connection_ids),
    )
    return tuple(
        Affected(
            connection_id=row["id"],
            client_id=row["client_id"],
            accounts=tuple(row["accounts"]),
            counter=ChangeCounter(last_change_no=row["last_change_no"], epoch=row["epoch"]),
        )
        for row in rows
    )


async def list_affected_clients(
    conn: Connection, customer_id: CustomerId, *, after: tuple[int, int], limit: int
) -> tuple[AffectedClient, ...]:
    """List who has open connections at institutions that are out of order or migrate now, by institution and client.

    After that institution's id and client's id; (0, 0) is from the beginning.
    """
    rows = await conn.fetch(
        """
        SELECT i.id AS institution_id, i.name AS institution, i.status, i.migrates_until, c.client_id, cl.username,
               array_agg(c.id ORDER BY c.id) AS connections
        FROM connections c
        JOIN institutions i ON i.id = c.institution_id
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = c.client_id AND cl.deleted_at IS NULL
        WHERE c.customer_id = $1 AND c.state <> 'closed' AND c.deleted_at IS NULL AND (c.institution_id, c.client_id) > ($2, $3)
          AND (i.status NOT IN ('online', 'validated', 'testing', 'beta') OR i.migrates_until IS NOT NULL)
        GROUP BY i.id, c.client_id, cl.username ORDER BY i.id, c.client_id LIMIT $4
        """,
        customer_id,
        *after,
        limit,
    )
    return tuple(AffectedClient(**{**row, "connections": tuple(row["connections"])}) for row in rows)
