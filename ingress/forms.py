"""What a browser posts as a form, bounded while it streams and in time."""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from bankfeed.errors import BadRequest

FORM_TYPE: Final = "application/x-www-form-urlencoded"


async def read_form(request: web.Request, *, limit_s: float, most_bytes: int, most_fields: int) -> dict[str, str]:
    """Read a small form; of a field that comes twice the last one counts. Raises BadRequest."""
    if request.content_type != FORM_TYPE or "Content-Encoding" in request.headers:
        raise BadRequest(f"expected a form as {FORM_TYPE}")
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most_bytes:
                    raise BadRequest(f"expected a form of at most {most_bytes} bytes")
    except TimeoutError as error:
        raise BadRequest(f"expected the form within {limit_s} s") from error
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=most_fields))
    except ValueError:
        raise BadRequest("expected a form that can be read") from None
