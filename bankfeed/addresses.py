"""Where deliveries may go: which addresses, and what a subscriber's URL has to be like. No I/O.

A subscriber names the URL, so without this a customer could make the worker talk to what only the worker reaches. The
worker asks about every socket that it opens; a URL is looked at when it is given, so that who gives it hears of it. A name
may mean another address tomorrow: only the socket's answer counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MAX_URL_CHARS: Final = 2048
PUBLIC_PORTS: Final = (443, 8443)
DENIED: Final = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *(
            "::/96",
            "::ffff:0:0:0/96",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
            "100::/64",
            "100:0:0:1::/64",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
        ),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
_LOOPBACK: Final = (ip_address("127.0.0.1"), ip_address("::1"))
_PLAIN: Final = re.compile(r"[!-~]+", re.ASCII)
_HOST_CHARS: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL says of where it goes. `addresses` are those that it names itself, () where it names a host to look up."""

    scheme: str
    host: str
    port: int
    addresses: tuple[Address, ...]

    @property
    def is_for_allowed(self) -> bool:
        """Tell whether it may go to networks that the operator allows only: plain http, or a port of its own."""
        return self.scheme == "http" or not is_public_port(self.port)


def is_public_port(port: int) -> bool:
    """Tell whether deliveries go to a port of the public internet: others may be services that speak no HTTP."""
    return port in PUBLIC_PORTS


def is_listed(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether an address is in one of the networks; an IPv4 address in IPv6 clothes counts as what it is."""
    unwrapped = getattr(address, "ipv4_mapped", None) or address
    return any(unwrapped.version == network.version and unwrapped in network for network in networks)


def is_reachable(address: Address, allow: Sequence[Network], *, only_allowed: bool) -> bool:
    """Tell whether deliveries may go to an address. `only_allowed`: to nothing but the operator's networks."""
    return is_listed(address, allow) or not (only_allowed or is_listed(address, DENIED))


def read_target(url: str) -> Target:
    """Read where a URL goes.

    >>> read_target("https://firm.example/hook").port
    443

    Raises ValueError that says what was expected, and repeats nothing of the URL: its path and query may be secrets.
    """
    if len(url) > MAX_URL_CHARS or not _PLAIN.fullmatch(url) or "\\" in url:
        raise ValueError(f"a URL of at most {MAX_URL_CHARS:,} printable ASCII characters (a name in punycode)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("a URL like https://host:port/path") from None
    if not url.startswith(("https://", "http://")) or not parts.hostname or port == 0:
        raise ValueError("a URL like https://host:port/path")
    if "@" in parts.netloc:
        raise ValueError("a URL without user and password: deliveries are signed")
    if "#" in url:
        raise ValueError("a URL without a fragment")
    host = parts.hostname
    return Target(
        scheme=parts.scheme,
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        addresses=_read_addresses(host),
    )


def _read_addresses(host: str) -> tuple[Address, ...]:
    """Return what a host names without being looked up. Raises ValueError for what is neither a name nor an address."""
    try:
        return (ip_address(host),)
    except ValueError:
        pass
    labels = host.removesuffix(".").split(".")
    if len(host) > _HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("a URL whose host is a name or an address")
    if _NUMBER.fullmatch(labels[-1]):  # 127.1 and 0x7f000001 are addresses to some resolvers
        raise ValueError("a URL whose host is a name or an address of four numbers")
    return _LOOPBACK if labels[-1] == "localhost" else ()


def find_fault(target: Target, allow: Sequence[Network], *, resolved: Sequence[Address] = ()) -> str | None:
    """Return what is wrong with where a URL goes, None where nothing is as far as can be known now.

    `resolved` is what its name means at the moment: wanted where it may go to allowed networks only.
    """
    addresses = (*target.addresses, *resolved)
    # Loopback by name is one of two addresses, whichever there is: one that is allowed is enough.
    enough = any if target.addresses == _LOOPBACK else all
    if not enough(is_reachable(address, allow, only_allowed=False) for address in addresses) and addresses:
        return "a host on the public internet, or in a network that the operator allows"
    if not target.is_for_allowed or (addresses and enough(is_listed(address, allow) for address in addresses)):
        return None
    otherwise = "https" if target.scheme == "http" else f"port {' or '.join(map(str, PUBLIC_PORTS))}"
    return f"{otherwise}, or a host in a network that the operator allows"
