"""How a connection stands, told from the codes of its accounts."""

import pytest

from bankfeed.aggregators import ListedAccount
from worker.standing import Standing, read_standing


def account(code: int | None) -> ListedAccount:
    return ListedAccount(
        account_ref="1", login_ref="2", institution_ref="3", name="Checking", type="checking", status_code=code
    )


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0], Standing("active", 0)),
        ([0, 0], Standing("active", 0)),
        ([0, 103], Standing("needs_person", 103)),
        ([102, 103], Standing("needs_person", 103)),
        ([0, 102], Standing("waiting", 102)),
        ([913, 0], Standing("active", 0)),
        ([913], Standing("unsupported", 913)),
        ([None, 0], Standing("active", 0)),
        ([None], Standing("waiting", None)),
        ([], Standing("waiting", None)),
        ([0, 424242], Standing("waiting", 424242)),
    ],
)
def test_a_connection_stands_as_its_neediest_account(codes: list[int | None], expected: Standing) -> None:
    """A person first, then what is waited out, then health; closed and new accounts speak only where no other does."""
    assert expected == read_standing([account(code) for code in codes])
    assert expected == read_standing([account(code) for code in reversed(codes)])
