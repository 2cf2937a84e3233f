"""What a browser posts to the console: where it comes from, and the form it carries."""

from aiohttp import web

from ingress import forms

MOST_BYTES = 4096
MOST_FIELDS = 8


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


async def read_form(request: web.Request, *, limit_s: float, most_bytes: int = MOST_BYTES) -> dict[str, str]:
    """Read a form of the console. Raises BadRequest."""
    return await forms.read_form(request, limit_s=limit_s, most_bytes=most_bytes, most_fields=MOST_FIELDS)
