"""`bankfeed schema`: load schema.sql as the database's owner."""

import asyncio

from bankfeed.db.owner import connect_owner
from bankfeed.db.schema import find_schema_version, load_schema
from bankfeed.errors import SettingsError
from bankfeed.settings import LocalSettings, process_environ


def run_schema(url: str | None) -> str:
    """Load the schema and say which version it is. Safe to repeat.

    Raises:
        SettingsError: No owner is named, or it may not load the schema.
        Unavailable: Postgres does not answer.
    """
    wanted = url or LocalSettings.from_environ(process_environ()).owner_database_url.reveal()
    if not wanted:
        raise SettingsError("expected --url or BANKFEED_OWNER_DATABASE_URL, the database as the role that owns it")
    if not wanted.startswith(("postgres://", "postgresql://")):
        raise SettingsError("expected --url to be a URL like postgresql://owner:password@host:5432/bankfeed")
    return asyncio.run(_load(wanted))


async def _load(url: str) -> str:
    async with connect_owner(url) as conn:
        await load_schema(conn)
        return f"schema version {await find_schema_version(conn)} is loaded"
