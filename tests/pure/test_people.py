"""What an e-mail address and a password have to be."""

import doctest

import pytest

from bankfeed import people
from bankfeed.errors import BadRequest
from bankfeed.people import check_password, clean_email, is_email, read_email

EMAIL = "ann@firm.example"


def test_the_examples_are_right() -> None:
    """The examples in the docstrings run."""
    ran = doctest.testmod(people)
    assert (0, True) == (ran.failed, ran.attempted > 0)


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("ann@firm.example", True),
        ("a.b+c@sub.firm-1.example", True),
        ("Ann@Firm.Example\n", True),
        ("ann@firm", False),
        ("ann@@firm.example", False),
        ("ann lee@firm.example", False),
        ("ann@firm..example", False),
        ("ann@-firm.example", False),
        ("\u0430nn@firm.example", False),
        ("ann@firm.example\x00", False),
        ("x" * 64 + "@firm.example", True),
        ("x" * 65 + "@firm.example", False),
        (("a@" + ("x" * 63 + ".") * 3 + "y" * 63)[:254], True),
        ("a@" + ("x" * 63 + ".") * 3 + "y" * 61, False),
        ("", False),
    ],
)
def test_what_an_address_is(text: str, *, is_good: bool) -> None:
    """Plain letters, one @, a domain with a dot, 254 characters at most; what stands around it does not count."""
    assert is_good == is_email(clean_email(text))
    if is_good:
        assert clean_email(text) == read_email(text)
    else:
        with pytest.raises(BadRequest, match="expected an e-mail address") as raised:
            read_email(text)
        assert "email" == raised.value.field


@pytest.mark.parametrize(
    ("password", "is_good"),
    [("x" * 9, False), ("x" * 10, True), ("x" * 200, True), ("x" * 201, False), ("Ann@Firm.example ", False)],
)
def test_what_a_password_is(password: str, *, is_good: bool) -> None:
    """10 to 200 characters that are not the address."""
    if is_good:
        check_password(password, email=EMAIL)
    else:
        with pytest.raises(BadRequest) as raised:
            check_password(password, email=EMAIL, field="newPassword")
        assert "newPassword" == raised.value.field
