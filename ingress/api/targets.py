"""Whether deliveries may go to the URL that a caller gives: said at once, and asked again at every socket by the worker."""

import asyncio
import socket
from ipaddress import ip_address
from typing import Final

from bankfeed.addresses import Address, Network, Target, find_fault, read_target
from bankfeed.errors import BadRequest

RESOLVE_S: Final = 2


async def check_url(url: str, allow: tuple[Network, ...], *, field: str = "url") -> None:
    """See that deliveries may go to a URL, as far as can be known now. Raises BadRequest naming the field.

    A name is looked up only where plain http or a port of its own is asked for, and the operator allows networks at all.
    """
    try:
        target = read_target(url)
    except ValueError as error:
        raise BadRequest(f"expected {error}", field=field) from None
    is_asked = target.is_for_allowed and bool(allow) and not target.addresses
    fault = find_fault(target, allow, resolved=await _resolve(target) if is_asked else ())
    if fault is not None:
        raise BadRequest(f"expected {fault}", field=field)


async def _resolve(target: Target) -> tuple[Address, ...]:
    """Return what a name means at the moment; nothing where it means nothing, or takes too long."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError is an OSError
        return ()
    return tuple(ip_address(str(where[0]).partition("%")[0]) for *_, where in found)
