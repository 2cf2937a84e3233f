"""How a connection stands, told from the codes of its accounts."""

import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.errors import AggregatorError, BadAggregatorAnswer
from bankfeed.standing import Standing, is_answer, is_bank_well, is_outage, read_standing


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
        ([0, 127], Standing("waiting", 127)),
        ([913, None], Standing("waiting", None)),
        ([106, 103, 0], Standing("needs_person", 103)),
        ([106, 909], Standing("needs_person", 106)),
        ([905, 102], Standing("waiting", 102)),
    ],
)
def test_a_connection_stands_as_its_neediest_account(codes: list[int | None], expected: Standing) -> None:
    """A person first, what the repair mends before the rest, then what is waited out, then health.

    Closed and new accounts speak only where no other does. In whichever order they are listed, it is the same.
    """
    assert expected == read_standing([account(code) for code in codes])
    assert expected == read_standing([account(code) for code in reversed(codes)])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 102], True),
        ([0, 103], True),
        ([102], False),
        ([103, 905], False),
        ([900], False),
        ([103], None),
        ([325], None),
        ([977], None),
        ([20007], None),
        ([127], None),
        ([170], None),
        ([424242], None),
        ([None], None),
        ([], None),
    ],
)
def test_accounts_say_how_their_bank_is(codes: list[int | None], expected: bool | None) -> None:  # noqa: FBT001 - a table
    """One that came through says well, a passing code of the institution or the aggregator out; all else says nothing."""
    assert expected is is_bank_well([account(code) for code in codes])


@pytest.mark.parametrize(
    ("code", "is_retryable", "expected"),
    [
        (None, True, True),
        (None, False, False),
        (102, True, True),
        (911, True, True),
        (103, False, False),
        (325, True, False),
        (44000, True, False),
        (127, True, False),
        (424242, True, False),
    ],
)
def test_errors_are_the_banks_or_somebody_elses(code: int | None, *, is_retryable: bool, expected: bool) -> None:
    """No answer, and passing codes of theirs; never what a person has to mend, what is running, or what nobody explains."""
    assert expected is is_outage(AggregatorError("it failed", code=code, is_retryable=is_retryable))


def test_an_answer_that_cannot_be_read_is_no_outage() -> None:
    """It may be one login's, or one account's, and the others' are as ever."""
    assert not is_outage(BadAggregatorAnswer("it is not as documented"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [(103, True), (913, True), (977, True), (20007, True), (127, True), (424242, True)]
    + [(code, False) for code in (None, 0, 102, 905, 908, 325, 5006)],
)
def test_a_code_inside_an_error_is_how_the_login_stands(code: int | None, expected: bool) -> None:  # noqa: FBT001 - a table
    """What a person or we have to see to, or nobody explains, will be the same in a minute; an outage or a running update may not."""
    assert expected is is_answer(AggregatorError("HTTP 500", code=code))
