"""Ingress in the test's own loop: real HTTP in front, real Postgres behind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.source import find_source
from bankfeed.settings import Settings
from ingress.app import Ingress
from tests.finbank import free_port
from tests.ingress.visitor import EMAIL, Visitor, add_user
from tests.seed import PATH_SECRET, Sources, make_sources, make_tenant


@dataclass(frozen=True, slots=True)
class Door:
    """A sender's view of ingress."""

    session: aiohttp.ClientSession
    ingress: Ingress

    async def post(
        self, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Post a body; return status, JSON and headers of the answer."""
        async with self.session.post(path, data=body, headers=headers) as answer:
            return answer.status, await answer.json(), dict(answer.headers)

    async def get(self, path: str) -> tuple[int, str]:
        """Get a text."""
        async with self.session.get(path) as answer:
            return answer.status, await answer.text()


LEDGERSYNC = f"/webhooks/ledgersync/{PATH_SECRET}"


@pytest.fixture
async def door(settings: Settings, owner: asyncpg.Connection, database: Database) -> AsyncIterator[Door]:
    """Ingress with both of the platform's sources, accepting."""
    await make_sources(owner)
    ingress = Ingress(replace(settings, port=free_port(), body_s=1))
    await ingress.listen()
    await ingress.open(database)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ingress.settings.port}") as session:
        yield Door(session, ingress)
    await ingress.close()


@pytest.fixture
async def visitor(door: Door, database: Database, superuser: asyncpg.Connection) -> Visitor:
    """A firm with one client and one user, and nothing linked."""
    async with database.queue() as conn:
        finicity, ledgersync = await find_source(conn, "finicity"), await find_source(conn, "ledgersync")
    assert finicity is not None
    assert ledgersync is not None
    sources = Sources(finicity=finicity.id, ledgersync=ledgersync.id)
    tenant = await make_tenant(database, sources)
    await add_user(database, tenant, EMAIL)
    return Visitor(door=door, database=database, superuser=superuser, sources=sources, tenant=tenant)
