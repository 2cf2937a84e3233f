"""A subscriber's server, and what it got."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from bankfeed.signing import verify_standard
from tests.seed import ENDPOINT_SECRET


@dataclass(slots=True)
class Subscriber:
    """A receiver that keeps what came, verified, and answers as it is told (200 when told nothing)."""

    url: str
    secret: str = ENDPOINT_SECRET
    statuses: list[int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        verify_standard([self.secret], request.headers, body=body, now=datetime.now(UTC))
        self.requests.append(dict(request.headers))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.events.append(orjson.loads(body))
        return web.Response(status=status)
