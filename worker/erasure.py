"""The sweep that erases clients whose time has come: their inbound events first, then row by row all that is theirs.

In short transactions of the client's own customer. It may stop anywhere and begin again, and run twice at once.
"""

from typing import Final

from bankfeed import metrics
from bankfeed.db import Database, erasure
from bankfeed.db.erasure import Erasable, InboxPlace
from bankfeed.logs import get_logger

CLIENTS: Final = 100
BATCH_ROWS: Final = 1_000
BATCH_EVENTS: Final = 20_000  # looked at, by the inbox's key; only those of the client are written


async def erase_clients(database: Database, *, batch_rows: int = BATCH_ROWS, batch_events: int = BATCH_EVENTS) -> int:
    """Erase every client that is due by now, one after the other; return how many."""
    async with database.queue() as conn:
        due = await erasure.list_erasable(conn, limit=CLIENTS)
    for each in due:
        await _erase_inbox(database, each, most=batch_events)
        rows = await _erase_rows(database, each, most=batch_rows)
        get_logger().info("client.erased", client_id=each.client_id, rows=rows)
    return len(due)


async def _erase_inbox(database: Database, client: Erasable, *, most: int) -> None:
    place: InboxPlace | None = InboxPlace()
    while place is not None:
        async with database.tenant(client.customer_id) as conn:
            place = await erasure.erase_inbox(conn, client.customer_id, client.client_id, after=place, most=most)


async def _erase_rows(database: Database, client: Erasable, *, most: int) -> int:
    rows = 0
    while True:
        async with database.tenant(client.customer_id) as conn:
            deleted = await erasure.erase_rows(conn, client.customer_id, client.client_id, most=most)
        if not deleted:
            return rows
        metrics.ERASED_ROWS.inc(deleted)
        rows += deleted
