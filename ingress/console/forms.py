"""What a browser posts: where it comes from, and the form it carries."""

import asyncio
from urllib.parse import parse_qsl

from aiohttp import web

from bankfeed.errors import BadRequest

MOST_BYTES = 4096
MOST_FIELDS = 8
FORM_TYPE = "application/x-www-form-urlencoded"


def is_own_page(request: web.Request) -> bool:
    """Tell whether a POST comes from a page of ours, by what browsers say and pages cannot: beside SameSite cookies.

    Sec-Fetch-Site counts where it is there; else Origin, its host compared with the request's. A client that sends
    neither is no browser, and nobody can make it send a cookie that is not its own.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


async def read_form(request: web.Request, *, limit_s: float) -> dict[str, str]:
    """Read a small form, bounded while it streams and in time. Raises BadRequest."""
    if request.content_type != FORM_TYPE or "Content-Encoding" in request.headers:
        raise BadRequest(f"expected a form as {FORM_TYPE}")
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise BadRequest(f"expected a form of at most {MOST_BYTES} bytes")
    except TimeoutError as error:
        raise BadRequest(f"expected the form within {limit_s} s") from error
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise BadRequest("expected a form that can be read") from error
