"""What a subscriber's URL has to be like, and where it may go."""

from ipaddress import ip_address, ip_network

import pytest

from bankfeed.addresses import find_fault, read_target

OFFICE = (ip_network("10.1.0.0/16"),)


@pytest.mark.parametrize(
    ("url", "resolved", "is_good"),
    [
        ("https://firm.example/", (), True),
        ("https://firm.example/", ("93.184.215.14",), True),
        ("https://firm.example/", ("10.2.0.1",), False),
        ("https://10.1.2.3/", (), True),
        ("https://10.2.0.1/", (), False),
        ("http://firm.example/", (), False),
        ("http://firm.example/", ("10.1.2.3",), True),
        ("http://firm.example/", ("10.1.2.3", "93.184.215.14"), False),
        ("http://10.1.2.3/", (), True),
        ("http://localhost/", (), False),
        ("https://firm.example:8443/", (), True),
        ("https://firm.example:443/", ("93.184.215.14",), True),
        ("https://firm.example:444/", (), False),
        ("https://firm.example:444/", ("93.184.215.14",), False),
        ("https://firm.example:444/", ("10.1.2.3",), True),
        ("https://firm.example:444/", ("10.1.2.3", "93.184.215.14"), False),
        ("https://10.1.2.3:444/", (), True),
        ("https://93.184.215.14:444/", (), False),
        ("https://[::ffff:10.1.2.3]:444/", (), True),
    ],
)
def test_where_a_url_may_go(url: str, resolved: tuple[str, ...], is_good: bool) -> None:  # noqa: FBT001 - pytest's
    """https to two ports of the public internet; plain http and other ports to the operator's networks, with every address."""
    fault = find_fault(read_target(url), OFFICE, resolved=[ip_address(each) for each in resolved])
    assert is_good is (fault is None)


def test_loopback_by_name_needs_one_of_its_addresses() -> None:
    """localhost is 127.0.0.1 or ::1, whichever is served."""
    assert find_fault(read_target("http://localhost:8799/"), (ip_network("127.0.0.0/8"),)) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://firm.example/", "https, or"),
        ("https://firm.example:22/", "port 443 or 8443, or"),
        ("https://10.2.0.1:22/", "a host on the public internet, or"),
        ("http://10.2.0.1/", "a host on the public internet, or"),
    ],
)
def test_a_fault_says_what_to_change(url: str, fault: str) -> None:
    """An address that is denied comes first: no other port helps it."""
    assert (find_fault(read_target(url), OFFICE) or "").startswith(fault)


def test_a_refusal_repeats_nothing_of_the_url() -> None:
    """Its path, query and user may be secrets."""
    for url in ("https://u:s3cret@firm.example/", "ftp://firm.example/s3cret", "https://firm.example/#s3cret"):
        with pytest.raises(ValueError, match="a URL") as refused:
            read_target(url)
        assert "s3cret" not in str(refused.value)
