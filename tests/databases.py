"""Databases for tests: made as copies of one with the schema, emptied after a test and given to the next one.

A copy costs half a second, emptying some milliseconds. One whose schema a test changed is dropped instead. For tests only.
"""

from dataclasses import dataclass, field
from uuid import uuid4

import asyncpg

from bankfeed.db import Database
from bankfeed.local import LocalPostgres
from bankfeed.settings import Settings

END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND pid <> ALL ($2::int[])
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


@dataclass(slots=True)
class Made:
    """A copy, as it is kept between tests: its shape, what looks which tables are used, and connections that tests share."""

    conn: asyncpg.Connection
    shape: str
    find_used: str
    conns: dict[str, asyncpg.Connection] = field(default_factory=dict)
    pools: Database | None = None

    async def connect(self, url: str) -> asyncpg.Connection:
        """Return the connection of this URL: connecting anew for each test would cost more than most tests do."""
        conn = self.conns.get(url)
        if conn is None or conn.is_closed():
            conn = self.conns[url] = await asyncpg.connect(url)
        return conn

    async def open(self, settings: Settings) -> Database:
        """Return the pools of this database."""
        if self.pools is None:
            self.pools = await Database.connect(settings)
        return self.pools

    async def rest(self) -> list[int]:
        """Leave what is kept as a test finds it; close what a test has left otherwise. Return who serves what is kept."""
        for url, conn in list(self.conns.items()):
            if conn.is_closed() or conn.is_in_transaction():
                conn.terminate()
                del self.conns[url]
            else:
                await conn.reset()
        pools = () if self.pools is None else (self.pools.app_pool, self.pools.queue_pool)
        if any(pool.get_idle_size() < pool.get_size() for pool in pools):  # something of the test goes on
            await self.drop_pools()
            pools = ()
        held = [holder._con for pool in pools for holder in pool._holders if holder._con]
        return [conn.get_server_pid() for conn in (*held, *self.conns.values()) if not conn.is_closed()]

    async def drop_pools(self) -> None:
        """Close the pools."""
        if self.pools is not None:
            self.pools.terminate()
            self.pools = None

    async def close(self) -> None:
        """Close everything."""
        await self.drop_pools()
        for conn in (self.conn, *self.conns.values()):
            conn.terminate()


@dataclass(slots=True)
class Databases:
    """The databases of one server, and those that wait for a test, by name."""

    postgres: LocalPostgres
    template: str
    waiting: list[str] = field(default_factory=list)
    made: dict[str, Made] = field(default_factory=dict)

    async def take(self) -> str:
        """Return the name of an empty database with the schema."""
        return self.waiting.pop() if self.waiting else await self._make()

    async def give_back(self, name: str) -> None:
        """Empty a database for the next test, or drop it where its schema is another one now."""
        made = self.made[name]
        await made.conn.fetch(END_OTHERS, name, await made.rest())
        if await _read_shape(made.conn) == made.shape:
            used = await made.conn.fetchval(made.find_used)
            deletes = "".join(f"DELETE FROM {table};" for table in used)  # noqa: S608 - names from the catalogue
            await made.conn.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes} {RESTART}; COMMIT")
            self.waiting.append(name)
            return
        await self.made.pop(name).close()
        await self._ask_server(f"DROP DATABASE {name} WITH (FORCE)")

    async def close(self) -> None:
        """Leave all of them."""
        for made in self.made.values():
            await made.close()

    async def _make(self) -> str:
        name = f"test_{uuid4().hex[:12]}"
        await self._ask_server(
            f"CREATE DATABASE {name} TEMPLATE {self.template} OWNER bankfeed_owner STRATEGY FILE_COPY"
        )
        conn = await asyncpg.connect(self.postgres.url(database=name))
        tables = [row["name"] for row in await conn.fetch(LIST_TABLES)]
        used = ", ".join(f"CASE WHEN EXISTS (SELECT FROM {table}) THEN '{table}' END" for table in tables)
        self.made[name] = Made(conn, await _read_shape(conn), f"SELECT array_remove(ARRAY[{used}], NULL)")
        return name

    async def _ask_server(self, statement: str) -> None:
        conn = await asyncpg.connect(self.postgres.url())
        await conn.execute(statement)
        await conn.close()


async def _read_shape(conn: asyncpg.Connection) -> str:
    try:
        return str(await conn.fetchval(SHAPE))
    except asyncpg.UndefinedTableError:  # a test took the schema away
        return ""
