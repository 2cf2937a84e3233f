"""Ingress in the test's own loop: real HTTP in front, real Postgres behind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.settings import Settings
from ingress.app import Ingress
from tests.finbank import free_port
from tests.seed import PATH_SECRET, make_sources


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
async def door(settings: Settings, owner: asyncpg.Connection) -> AsyncIterator[Door]:
    """Ingress with both of the platform's sources, accepting."""
    await make_sources(owner)
    ingress = Ingress(replace(settings, port=free_port(), body_s=1))
    await ingress.listen()
    await ingress.open()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ingress.settings.port}") as session:
        yield Door(session, ingress)
    await ingress.close()
