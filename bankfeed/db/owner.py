"""What only an owner of the database does: roles, their passwords, the database itself. Never by a process that serves.

A statement that makes or changes a role takes no parameters, so Postgres quotes the names and passwords itself, and what
it answers is what is run.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bankfeed.db.database import AWAY, Connection
from bankfeed.errors import SettingsError, Unavailable

CONNECT_S = 5
STATEMENT_S = 60


class NotAllowed(SettingsError):
    """The role that the URL names may not do what is needed."""


@asynccontextmanager
async def connect_owner(url: str) -> AsyncIterator[Connection]:
    """Open one connection to make things with.

    Raises:
        Unavailable: Postgres cannot be reached.
        SettingsError: The URL names no role or database that exists.
        NotAllowed: The role may not do what is done with the connection.
    """
    try:
        conn = await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=STATEMENT_S)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise SettingsError(f"expected a database URL of a role and database that exist: {error}") from error
    except (asyncpg.InsufficientPrivilegeError, ValueError) as error:
        raise SettingsError(f"cannot connect to the database: {error}") from error
    except AWAY as error:
        raise Unavailable(f"Postgres does not answer: {error}") from error
    try:
        yield conn
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotAllowed(f"the role {await _get_role(conn)} may not: {error}") from error
    except AWAY as error:
        raise Unavailable(f"Postgres does not answer: {type(error).__name__}") from error
    finally:
        await conn.close(timeout=CONNECT_S)


async def can_connect(url: str) -> bool:
    """Say whether that role, password and database let us in. Raises Unavailable where Postgres does not answer."""
    try:
        async with connect_owner(url):
            return True
    except SettingsError:
        return False


async def upsert_owner(conn: Connection, *, role: str, password: str) -> None:
    """Make a role that may own a database and make roles, as superuser. Safe to repeat; the password becomes the new one."""
    if not await conn.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
        await conn.execute(await conn.fetchval("SELECT format('CREATE ROLE %I LOGIN CREATEROLE', $1::text)", role))
    await set_password(conn, role=role, password=password)


async def upsert_database(conn: Connection, *, name: str, owner: str) -> None:
    """Make a database for an owner where there is none, as superuser. Safe to repeat; takes no transaction."""
    if not await conn.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name):
        await conn.execute(
            await conn.fetchval("SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)", name, owner)
        )


async def set_password(conn: Connection, *, role: str, password: str) -> None:
    """Give a role another password, as superuser or as who made the role."""
    await conn.execute(
        await conn.fetchval("SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password)
    )


async def list_missing_roles(conn: Connection, roles: tuple[str, ...]) -> tuple[str, ...]:
    """List those of the roles that do not exist."""
    rows = await conn.fetch(
        """
        SELECT wanted FROM unnest($1::text[]) AS wanted
        WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) ORDER BY wanted
        """,
        list(roles),
    )
    return tuple(row["wanted"] for row in rows)


async def _get_role(conn: Connection) -> str:
    name: str = await conn.fetchval("SELECT current_user::text")
    return name
