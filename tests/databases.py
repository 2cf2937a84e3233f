"""Databases for tests: made as copies of one with the schema, emptied after a test and given to the next one.

A copy costs half a second, emptying some milliseconds. One whose schema a test changed is dropped instead. For tests only.
"""

from dataclasses import dataclass, field
from uuid import uuid4

import asyncpg

from bankfeed.local import LocalPostgres

END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()
"""

EMPTY = """
DO $$
DECLARE
    name text;
    is_used boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
                AND c.relkind = 'r' AND c.relname <> 'schema_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO is_used;
        IF is_used THEN
            EXECUTE format('DELETE FROM %s', name);
        END IF;
    END LOOP;
    PERFORM setval(c.oid::regclass, 1, false) FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S';
END $$
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
class Databases:
    """The databases of one server: those that wait for a test, by name, each with the shape that it was made in."""

    postgres: LocalPostgres
    template: str
    waiting: list[str] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)

    async def take(self) -> str:
        """Return the name of an empty database with the schema."""
        if self.waiting:
            return self.waiting.pop()
        name = f"test_{uuid4().hex[:12]}"
        conn = await asyncpg.connect(self.postgres.url())
        await conn.execute(f"CREATE DATABASE {name} TEMPLATE {self.template} OWNER bankfeed_owner STRATEGY FILE_COPY")
        await conn.close()
        self.shapes[name] = await self._read_shape(name)
        return name

    async def give_back(self, name: str) -> None:
        """Empty a database for the next test, or drop it."""
        if await self._empty(name):
            self.waiting.append(name)
            return
        conn = await asyncpg.connect(self.postgres.url())
        await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await conn.close()

    async def _empty(self, name: str) -> bool:
        conn = await asyncpg.connect(self.postgres.url(database=name))
        try:
            await conn.fetch(END_OTHERS, name)
            if await conn.fetchval(SHAPE) != self.shapes[name]:
                return False
            await conn.execute(EMPTY)
        except asyncpg.UndefinedTableError:  # a test took the schema away
            return False
        finally:
            await conn.close()
        return True

    async def _read_shape(self, name: str) -> str:
        conn = await asyncpg.connect(self.postgres.url(database=name))
        shape: str = await conn.fetchval(SHAPE)
        await conn.close()
        return shape
