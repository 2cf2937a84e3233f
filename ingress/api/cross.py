"""CORS: which other sites' pages may call the API from a browser. None unless a setting names them; cookies never count."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

METHODS: Final = "GET, POST, PUT, PATCH, DELETE"
TAKEN: Final = "Authorization, Content-Type, Idempotency-Key, If-Match"
SHOWN: Final = "ETag, Link, Retry-After, X-Request-Id, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
PREFLIGHT_S: Final = 600


class Cross:
    """Says to browsers which origins may call."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def allow(self, request: web.Request) -> Mapping[str, str]:
        """Return the headers that let a page of an allowed origin read the answer."""
        origin = request.headers.get("Origin", "")
        if origin not in self._origins:
            return {}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": SHOWN, "Vary": "Origin"}

    def answer_preflight(self, request: web.Request) -> web.Response | None:
        """Answer a browser's question before the request itself; None where it is none, or the origin is a stranger."""
        allowed = self.allow(request)
        if request.method != "OPTIONS" or not allowed:
            return None
        more = {
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": TAKEN,
            "Access-Control-Max-Age": str(PREFLIGHT_S),
        }
        return web.Response(status=204, headers={**allowed, **more})
