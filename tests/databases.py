"""Databases for tests: made as copies of one with the schema, emptied after a test and given to the next one.

A copy costs half a second, emptying some milliseconds. One whose schema a test changed is dropped instead. For tests only.
"""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg

from bankfeed.local import LocalPostgres

T = TypeVar("T")

END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()
"""

LIST_TABLES = """
SELECT c.oid::regclass::text AS name FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_version' ORDER BY 1
"""

RESTART = """
SELECT count(setval(c.oid::regclass, 1, false)) FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S'
"""

SHAPE = """
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
    SELECT concat_ws(' ', 'class', oid, relname, relrowsecurity, relforcerowsecurity, relacl, reloptions) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'column', attrelid, attname, atttypid, attnotnull, attisdropped, attacl, attstattarget)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL
    SELECT concat_ws(' ', 'constraint', oid, conname, convalidated) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'function', oid, xmin, proname, md5(prosrc), proacl) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'policy', oid, polname, polrelid) FROM pg_policy
    UNION ALL
    SELECT concat_ws(' ', 'trigger', oid, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'type', oid, typname) FROM pg_type WHERE typnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(' ', 'version', version) FROM schema_version
    UNION ALL
    SELECT concat_ws(' ', 'setting', setdatabase, setrole, setconfig) FROM pg_db_role_setting
) parts (part)
"""


class Caretaker:
    """Runs what keeps the databases in a loop of its own, so that its connections outlive the loops of the tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="caretaker", daemon=True)
        self._thread.start()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there, and wait for it here."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the last thing, and end."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@dataclass(slots=True)
class Database:
    """A copy, with the connection that empties it, the shape in which it was made, and what looks which tables are used."""

    conn: asyncpg.Connection
    shape: str
    find_used: str


@dataclass(slots=True)
class Databases:
    """The databases of one server, and those that wait for a test, by name."""

    postgres: LocalPostgres
    template: str
    waiting: list[str] = field(default_factory=list)
    made: dict[str, Database] = field(default_factory=dict)
    caretaker: Caretaker = field(default_factory=Caretaker)

    async def take(self) -> str:
        """Return the name of an empty database with the schema."""
        return self.waiting.pop() if self.waiting else await self.caretaker.do(self._make())

    async def give_back(self, name: str) -> None:
        """Empty a database for the next test, or drop it."""
        if await self.caretaker.do(self._empty(name)):
            self.waiting.append(name)

    def close(self) -> None:
        """Leave all of them."""
        self.caretaker.close(self._leave())

    async def _make(self) -> str:
        name = f"test_{uuid4().hex[:12]}"
        await self._ask_server(
            f"CREATE DATABASE {name} TEMPLATE {self.template} OWNER bankfeed_owner STRATEGY FILE_COPY"
        )
        conn = await asyncpg.connect(self.postgres.url(database=name))
        tables = [row["name"] for row in await conn.fetch(LIST_TABLES)]
        used = ", ".join(f"CASE WHEN EXISTS (SELECT FROM {table}) THEN '{table}' END" for table in tables)
        self.made[name] = Database(conn, await _read_shape(conn), f"SELECT array_remove(ARRAY[{used}], NULL)")
        return name

    async def _empty(self, name: str) -> bool:
        """Empty a database; drop it where its schema is another one now."""
        made = self.made[name]
        await made.conn.fetch(END_OTHERS, name)
        if await _read_shape(made.conn) != made.shape:
            await self.made.pop(name).conn.close()
            await self._ask_server(f"DROP DATABASE {name} WITH (FORCE)")
            return False
        used = await made.conn.fetchval(made.find_used)
        deletes = "".join(f"DELETE FROM {table};" for table in used)  # noqa: S608 - names from the catalogue
        await made.conn.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes} {RESTART}; COMMIT")
        return True

    async def _ask_server(self, statement: str) -> None:
        conn = await asyncpg.connect(self.postgres.url())
        await conn.execute(statement)
        await conn.close()

    async def _leave(self) -> None:
        for made in self.made.values():
            await made.conn.close(timeout=5)


async def _read_shape(conn: asyncpg.Connection) -> str:
    try:
        return str(await conn.fetchval(SHAPE))
    except asyncpg.UndefinedTableError:  # a test took the schema away
        return ""
