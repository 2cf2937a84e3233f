"""What the operator's commands on webhooks out share: the database, whose a thing is, the audit log, and tables."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bankfeed.db import Connection, Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.customer import get_customer, list_customer_ids
from bankfeed.errors import NotFound
from bankfeed.model import CustomerId
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings

T = TypeVar("T")


def run_with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Run a command's work with one connection of each role. Raises SettingsError and Unavailable."""
    settings = Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})

    async def connect_and_work() -> T:
        database = await Database.connect(settings)
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(connect_and_work())


async def list_customers(database: Database, customer_id: CustomerId | None) -> Sequence[CustomerId]:
    """List the one that was named, else all. Raises NotFound."""
    if customer_id is None:
        async with database.queue() as conn:
            return await list_customer_ids(conn)
    async with database.tenant(customer_id) as conn:
        return [(await get_customer(conn, customer_id)).id]


async def find_owner(
    database: Database,
    customer_id: CustomerId | None,
    what: str,
    is_theirs: Callable[[Connection, CustomerId], Awaitable[bool]],
) -> CustomerId:
    """Find whose a thing is, among all customers where none was named. Raises NotFound saying that there is no `what`."""
    for each in await list_customers(database, customer_id):
        async with database.tenant(each) as conn:
            if await is_theirs(conn, each):
                return each
    raise NotFound(f"there is no {what}" if customer_id is None else f"customer {customer_id} has no {what}")


async def note(conn: Connection, customer_id: CustomerId, action: str, target: str) -> None:
    """Write what the operator does to the customer's audit log, in the transaction of what it tells of."""
    await insert_audit(conn, customer_id, actor="system", action=action, target=target, remote="", request_id=None)


def as_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write rows under their heads; the last column is as wide as it is."""
    every = [heads, *rows]
    widths = [max(len(row[n]) for row in every) for n in range(len(heads) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in every)


def printable(text: str, *, most: int = 200) -> str:
    """Return a stranger's text on one line, without what would move the terminal's cursor, cut to `most` characters.

    >>> printable("bad" + chr(27) + "[2J  gateway")
    'bad?[2J gateway'
    """
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))[:most]
