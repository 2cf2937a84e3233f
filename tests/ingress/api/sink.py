"""A subscriber's server that keeps what comes as it came, and the worker that delivers to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_network
from typing import Any

import orjson
from aiohttp import web
from standardwebhooks import Webhook

from bankfeed.jobs import Waker
from tests.finbank import free_port
from tests.ingress.api.conftest import Person
from tests.worker.dispatch import take_deliveries
from worker.context import Context
from worker.post import Post

LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass(frozen=True, slots=True)
class Got:
    """One request."""

    headers: dict[str, str]
    raw: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    def is_signed_with(self, secret: str) -> bool:
        """Tell whether a receiver with this secret takes it, by the library that subscribers use."""
        try:
            Webhook(secret).verify(self.raw.decode(), self.headers)
        except Exception:  # noqa: BLE001 - its own errors have no common class
            return False
        return True


@dataclass(slots=True)
class Sink:
    """Answers as it is told, 200 when told nothing."""

    url: str
    statuses: list[int] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(headers, await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, text="x" * 1_500)


@asynccontextmanager
async def open_sink() -> AsyncIterator[Sink]:
    """Listen on this machine."""
    port = free_port()
    sink = Sink(f"http://127.0.0.1:{port}/hook")
    app = web.Application()
    app.router.add_post("/hook", sink.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield sink
    await runner.cleanup()


async def deliver(person: Person, *, now: datetime | None = None) -> None:
    """Deliver all that is due, as the worker does."""
    settings = replace(person.ingress.settings, outbound_allow=LOOPBACK)
    context = Context(database=person.database, connectors={}, waker=Waker(None), settings=settings)
    async with Post(settings) as post:
        while await take_deliveries(context, post, now=now):
            pass
