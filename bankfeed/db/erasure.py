"""Erasing clients whose time has come. Who they are the queue finds; what goes, the owner's functions of schema.sql say.

The app's role may call them, for its own customer, and cannot delete such rows by itself.
"""

from dataclasses import dataclass

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasable:
    """A client that is to be erased by now."""

    customer_id: CustomerId
    client_id: ClientId


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxPlace:
    """The last inbound event that was looked at."""

    source_id: int = 0
    inbox_id: int = 0


async def list_erasable(conn: Connection, *, limit: int) -> tuple[Erasable, ...]:
    """List clients that are to be erased by now, the longest due first, as the queue role."""
    rows = await conn.fetch(
        """
        SELECT customer_id, id AS client_id FROM clients WHERE erase_at <= now() AND erased_at IS NULL
        ORDER BY erase_at, customer_id, id LIMIT $1
        """,
        limit,
    )
    return tuple(Erasable(**row) for row in rows)


async def erase_inbox(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, after: InboxPlace, most: int
) -> InboxPlace | None:
    """Blank what came about a client among the next `most` inbound events; return where to go on, None at the end.

    Nothing, where the client is not to be erased. Safe to repeat.
    """
    row = await conn.fetchrow(
        "SELECT last_source, last_id FROM erase_inbox($1, $2, $3, $4, $5)",
        customer_id,
        client_id,
        after.source_id,
        after.inbox_id,
        most,
    )
    return None if row["last_id"] is None else InboxPlace(source_id=row["last_source"], inbox_id=row["last_id"])


async def erase_rows(conn: Connection, customer_id: CustomerId, client_id: ClientId, *, most: int) -> int:
    """Delete some of what belongs to a client; 0 when all is gone and an empty row is left. Safe to repeat.

    Its inbound events have to be blanked first: they are found by the ids that go here.
    """
    deleted: int = await conn.fetchval("SELECT erase_client($1, $2, $3)", customer_id, client_id, most)
    return deleted
