"""The subscribers' server: it checks every signature, keeps what came, and answers as badly as it is told."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson
from aiohttp import web

from bankfeed.errors import Unauthorized
from bankfeed.signing import verify_standard
from tests.seed import ENDPOINT_SECRET
from tests.torture.account import Receipt

SLOW_S = 3.0


@dataclass(slots=True)
class _Got:
    taken: int = 0
    bodies: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Listener:
    """Serves every subscriber. `mood` is "" or a fault of the plan."""

    url: str = ""
    mood: str = ""
    complaints: list[str] = field(default_factory=list)
    requests: int = 0
    _got: dict[str, _Got] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/hook/{customer}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def taken(self) -> int:
        """How many events were answered 200."""
        return sum(got.taken > 0 for got in self._got.values())

    def receipts(self) -> list[Receipt]:
        """List what came."""
        return [
            Receipt(event_id=event_id, taken=got.taken, bodies=frozenset(got.bodies))
            for event_id, got in self._got.items()
        ]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        try:
            message_id = verify_standard([ENDPOINT_SECRET], request.headers, body=body, now=datetime.now(UTC))
        except Unauthorized as error:
            self.complaints.append(f"a delivery could not be verified: {error}")
            return web.Response(status=401)
        if message_id != orjson.loads(body)["eventId"]:
            self.complaints.append(f"a delivery is called {message_id} and holds another event")
        got = self._got.setdefault(message_id, _Got())
        got.bodies.add(body)
        return await self._answer(request, got)

    async def _answer(self, request: web.Request, got: _Got) -> web.Response:
        match self.mood:
            case "refuse":
                return web.Response(status=503)
            case "slow":
                await asyncio.sleep(SLOW_S)
            case "hang up" if request.transport is not None:
                request.transport.abort()
        got.taken += 1
        return web.Response()
