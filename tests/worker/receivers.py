"""Many subscribers behind one address, each at a path of its own, and what each got."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """One request that came: its headers and its body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receivers:
    """Answers 200, or what `answers` says of a path: a status with headers; None is never."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str]] | None] = field(default_factory=dict)
    got: dict[str, list[Got]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        """Keep a request, and answer it."""
        name = request.path.removeprefix("/")
        kept = Got(headers=request.headers.copy(), body=await request.read())
        async with self.changed:
            self.got.setdefault(name, []).append(kept)
            self.changed.notify_all()
        answer = self.answers.get(name, (200, {}))
        if answer is None:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        status, headers = answer
        return web.Response(status=status, headers=headers)

    def count(self, name: str) -> int:
        """Count what a subscriber got."""
        return len(self.got.get(name, ()))

    async def until(self, is_so: Callable[[], bool], *, within_s: float = 20) -> None:
        """Wait until what came is so."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(is_so)


@asynccontextmanager
async def open_receivers() -> AsyncIterator[Receivers]:
    """Run the server."""
    receivers = Receivers()
    app = web.Application()
    app.router.add_post("/{name}", receivers.take)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    receivers.url = str(server.make_url("/"))
    yield receivers
    await server.close()
