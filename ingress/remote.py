"""Where a request comes from: the peer, or whom a trusted proxy before us names."""

from ipaddress import ip_address

from aiohttp import web

from bankfeed.settings import Network


def find_remote(request: web.Request, trusted: tuple[Network, ...]) -> str:
    """Return the caller's address; X-Forwarded-For counts from the right, as far as proxies that are trusted wrote it."""
    remote = request.remote or ""
    named = [part.strip() for header in request.headers.getall("X-Forwarded-For", ()) for part in header.split(",")]
    while named and _is_among(remote, trusted):
        remote = named.pop()
    return remote[:64] if _is_address(remote) else (request.remote or "")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(text: str, networks: tuple[Network, ...]) -> bool:
    return _is_address(text) and any(ip_address(text) in network for network in networks)


def find_base(request: web.Request, trusted: tuple[Network, ...]) -> str:
    """Return how the caller reached us, as scheme and host; a trusted proxy says how it was reached itself."""
    scheme, host = request.scheme, request.host
    if _is_among(request.remote or "", trusted):
        scheme = request.headers.get("X-Forwarded-Proto", scheme).strip().lower()
        host = request.headers.get("X-Forwarded-Host", host).strip()
    return f"{'https' if scheme == 'https' else 'http'}://{host}"
