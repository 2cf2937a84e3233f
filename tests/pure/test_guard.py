"""Which addresses deliveries may connect to."""

import socket
from ipaddress import ip_network

import pytest

from worker.guard import AddressRefused, guarded_socket

PRIVATE = [
    *("0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1"),
    *(
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001:db8::1"),
    *("2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
    *(
        "2001::1",
        "2001:0:7f00:1::8",
        "2001:2::1",
        "2001:20::1",
        "2001:10::1",
        "100:0:0:1::1",
        "::ffff:0:10.0.0.1",
        "::7f00:1",
        "::10.0.0.1",
        "::8.8.8.8",
    ),
]


def open_socket(address: str, *allow: str, only_allowed: bool = False, port: int = 443) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    make = guarded_socket([ip_network(text) for text in allow], only_allowed=only_allowed)
    make((family, socket.SOCK_STREAM, 0, "", (address, port))).close()


@pytest.mark.parametrize("address", PRIVATE)
def test_what_only_the_worker_reaches_is_refused(address: str) -> None:
    """Private, special and translated addresses are refused, also in IPv6 clothes."""
    with pytest.raises(AddressRefused):
        open_socket(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2001:4860::8888", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"],
)
def test_the_public_internet_is_open_to_https_only(address: str) -> None:
    """A public address is allowed; plain http goes only where the operator says."""
    open_socket(address)
    with pytest.raises(AddressRefused):
        open_socket(address, only_allowed=True)


@pytest.mark.parametrize("port", [22, 80, 444, 5432, 6379, 8080])
def test_other_ports_are_the_operators(port: int) -> None:
    """On the public internet two ports are open; in a network of the operator's every one."""
    open_socket("8.8.8.8", port=8443)
    with pytest.raises(AddressRefused):
        open_socket("8.8.8.8", port=port)
    with pytest.raises(AddressRefused):
        open_socket("2606:4700::1111", "10.1.0.0/16", port=port)
    open_socket("10.1.2.3", "10.1.0.0/16", port=port)


def test_an_operator_opens_networks() -> None:
    """The allow-list opens what a private network needs, and nothing beside it."""
    open_socket("10.1.2.3", "10.1.0.0/16", only_allowed=True)
    open_socket("::ffff:10.1.2.3", "10.1.0.0/16")
    with pytest.raises(AddressRefused):
        open_socket("10.2.0.1", "10.1.0.0/16")
