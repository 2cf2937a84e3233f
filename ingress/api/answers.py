"""What the API answers: the envelope, its headers, links to the next page, and errors in words."""

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import msgspec
from aiohttp import web
from yarl import URL

from bankfeed.errors import ActRefused, BadRequest, BankfeedError, NotFound, RefusedData, Unauthorized, Unavailable
from ingress.api.route import Problem, Route

RETRY_AFTER_S: Final = 5
GZIP_BYTES: Final = 4_096
GZIP_INLINE_BYTES: Final = 65_536  # more is compressed in a thread
GZIP_LEVEL: Final = 3
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")


class Links(msgspec.Struct):
    """Where to go on. `next` is the path of the next page."""

    next: str


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer before it is on the wire."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def make_answer(route: Route, found: Any, url: URL) -> Answer:
    """Put an answer's struct into the envelope; None is the envelope alone."""
    body = b"{}" if found is None else _encoder.encode(found)
    headers = {}
    parts = [b'"status":"OK"', body[1:-1]]
    cursor = getattr(found, "next_cursor", None)
    if cursor:
        following = str(url.update_query(cursor=cursor))
        headers["Link"] = f'<{following}>; rel="next"'
        parts.append(b'"links":' + _encoder.encode(Links(next=following)))
    if route.is_versioned and (version := _find_version(found)) is not None:
        headers["ETag"] = f'"{version}"'
    if route.sunset_on is not None:
        headers["Deprecation"] = "true"
        headers["Sunset"] = f"{route.sunset_on:%a, %d %b %Y} 00:00:00 GMT"
    return Answer(status=route.status, body=b"{" + b",".join(part for part in parts if part) + b"}", headers=headers)


def _find_version(found: Any) -> int | None:
    for name in getattr(found, "__struct_fields__", ()):
        version = getattr(getattr(found, name), "version", None)
        if isinstance(version, int):
            return version
    return None


def make_refusal(error: BankfeedError, request_id: UUID, *, invalid_status: int = 422) -> Answer:
    """Say an error: {"status":"ERROR","code","message","field"?,"requestId"}; a value that does not fit with its own status."""
    problem = error if isinstance(error, Problem) else _explain(error)
    words = {"status": "ERROR", "code": problem.code, "message": str(problem), "requestId": str(request_id)}
    if problem.field is not None:
        words["field"] = problem.field
    status = invalid_status if problem.code == "invalid" else problem.status
    return Answer(status=status, body=msgspec.json.encode(words), headers=dict(problem.headers))


def _explain(error: BankfeedError) -> Problem:  # noqa: PLR0911 - a table
    match error:
        case NotFound():
            return Problem(404, "not_found", str(error))
        case BadRequest(field=None):
            return Problem(400, "bad_request", str(error))
        case BadRequest():
            return Problem(422, "invalid", str(error), field=error.field)
        case RefusedData():
            return Problem(422, "invalid", "a value does not fit: it is too long, too large or holds a NUL character")
        case ActRefused():
            return Problem(409, "act_refused", str(error))
        case Unauthorized():
            return Problem(401, "unauthorized", str(error), headers={"WWW-Authenticate": "Bearer"})
        case Unavailable():
            return Problem(
                503, "unavailable", "not available now; try again", headers={"Retry-After": str(RETRY_AFTER_S)}
            )
        case _:
            return Problem(500, "internal", "something went wrong on our side, and has been noted")


async def to_response(answer: Answer, request: web.Request, headers: Mapping[str, str]) -> web.Response:
    """Put an answer on the wire, compressed where it is long and the caller takes it."""
    body = answer.body
    every = {**HEADERS, **headers, **answer.headers}
    if len(body) >= GZIP_BYTES:
        every["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", "").lower():
            every["Content-Encoding"] = "gzip"
            body = await _compress(body)
    return web.Response(status=answer.status, body=body, content_type="application/json", headers=every)


async def _compress(body: bytes) -> bytes:
    if len(body) <= GZIP_INLINE_BYTES:
        return gzip.compress(body, GZIP_LEVEL)
    return await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
