"""Connections as the two roles, without the pools."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.local import LocalPostgres
from tests.conftest import PASSWORD, Urls
from tests.db.made import Ground, make_ground


@pytest.fixture
async def app(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """A connection of bankfeed_app, with no tenant."""
    conn = await asyncpg.connect(urls.app)
    yield conn
    await conn.close()


@pytest.fixture
async def queue(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """A connection of bankfeed_queue."""
    conn = await asyncpg.connect(urls.queue)
    yield conn
    await conn.close()


@pytest.fixture
async def bare(postgres: LocalPostgres, template: str) -> AsyncIterator[str]:
    """The owner's address of an empty database, without the schema."""
    name = f"bare_{uuid4().hex[:12]}"
    conn = await asyncpg.connect(postgres.url())
    await conn.execute(f"CREATE DATABASE {name} OWNER bankfeed_owner")
    yield postgres.url("bankfeed_owner", name, PASSWORD)
    await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await conn.close()


@pytest.fixture
async def ground(database: Database, owner: asyncpg.Connection) -> Ground:
    """A tenant with one connection."""
    return await make_ground(database, owner)
