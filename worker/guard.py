"""Which addresses a delivery may connect to. Checked on every socket: literal addresses, resolved names and all."""

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from bankfeed.addresses import Network, is_public_port, is_reachable


class AddressRefused(OSError):
    """The address is not one that deliveries may go to."""


def guarded_socket(allow: Sequence[Network], *, only_allowed: bool) -> Callable[[Any], socket.socket]:
    """Make the socket factory of an aiohttp connector; it raises AddressRefused before anything is sent.

    `only_allowed` is for plain http: nothing but the operator's own networks, as with a port that is not of the public ones.
    """

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, where = address_info
        address = ip_address(where[0].partition("%")[0])
        if not is_reachable(address, allow, only_allowed=only_allowed or not is_public_port(where[1])):
            raise AddressRefused(f"deliveries may not go to {address}")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return made

    return make
