"""Which addresses a delivery may connect to. Checked on every socket: literal addresses, resolved names and all.

A subscriber names the URL, so without this a customer could make the worker talk to what only the worker reaches.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

Network = IPv4Network | IPv6Network

DENIED: Final = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)


class AddressRefused(OSError):
    """The address is not one that deliveries may go to."""


def is_listed(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    """Tell whether an address is in one of the networks; an IPv4 address in IPv6 clothes counts as what it is."""
    unwrapped = getattr(address, "ipv4_mapped", None) or address
    return any(unwrapped.version == network.version and unwrapped in network for network in networks)


def guarded_socket(allow: Sequence[Network], *, only_allowed: bool) -> Callable[[Any], socket.socket]:
    """Make the socket factory of an aiohttp connector; it raises AddressRefused before anything is sent.

    `only_allowed` is for plain http: nothing but the operator's own networks.
    """

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, where = address_info
        address = ip_address(where[0].partition("%")[0])
        if not is_listed(address, allow) and (only_allowed or is_listed(address, DENIED)):
            raise AddressRefused(f"deliveries may not go to {address}")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return made

    return make
