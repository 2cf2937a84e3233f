"""The connector and the server it talks to."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from tests.story.finicity.fake import AUTH, Clock, Server


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """Run a server on a free local port; it hands out tokens t1, t2 ..."""
    server = Server()
    tokens = iter(range(1, 1_000))

    async def authenticate(_: web.Request) -> web.Response:
        return web.json_response({"token": f"t{next(tokens)}"})

    server.on(AUTH, authenticate)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(server: Server) -> FinicityConfig:
    return FinicityConfig(
        base_url=server.url, partner_id="p", partner_secret="s3cret", app_key="k3y", timeout_s=5.0, page_rows=3
    )


@pytest_asyncio.fixture
async def finicity(config: FinicityConfig, clock: Clock) -> AsyncIterator[Finicity]:
    connector = Finicity(config, clock=clock)
    yield connector
    await connector.close()
