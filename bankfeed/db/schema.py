"""Loading schema.sql. As the owner, never by a process that serves."""

from pathlib import Path
from typing import Any

from bankfeed.db.database import Connection

SCHEMA_FILE = Path(__file__).parents[2] / "schema.sql"


def read_schema() -> str:
    """Return the text of schema.sql."""
    return SCHEMA_FILE.read_text()


async def load_schema(conn: Connection) -> None:
    """Load the schema in one transaction. Safe to repeat, also by two at once."""
    async with conn.transaction():
        await conn.execute(read_schema())


async def find_schema_version(conn: Connection) -> int | None:
    """Return the version of the loaded schema, None where none is loaded."""
    if await conn.fetchval("SELECT to_regclass('public.schema_version') IS NULL"):
        return None
    version: Any = await conn.fetchval("SELECT max(version) FROM schema_version")
    return int(version)


async def make_partitions(conn: Connection, *, weeks_ahead: int) -> int:
    """Make the partitions of the coming weeks, as the queue role; return how many were missing."""
    made: int = await conn.fetchval("SELECT make_partitions($1)", weeks_ahead)
    return made


async def delete_old_requests(conn: Connection, *, limit: int) -> int:
    """Forget idempotency keys and wrong passwords of more than a day ago, as the queue role; return how many."""
    deleted: int = await conn.fetchval("SELECT delete_old_requests($1)", limit)
    return deleted


async def drop_partitions(conn: Connection, *, inbox_days: int, outbox_days: int, audit_days: int) -> list[str]:
    """Drop what is older and has no waiting work, as the queue role; return the names of the partitions that went.

    Of the default partitions 10,000 rows a call at most: "12 of events_default".
    """
    dropped: list[str] = await conn.fetchval("SELECT drop_partitions($1, $2, $3)", inbox_days, outbox_days, audit_days)
    return dropped
