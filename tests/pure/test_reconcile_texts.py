"""How descriptions are cleaned, and which are alike."""

from decimal import Decimal

import pytest

from bankfeed.reconcile.amounts import explain_amount
from bankfeed.reconcile.changes import Rule
from bankfeed.reconcile.groups import exact_subset
from bankfeed.reconcile.texts import TEXT_CHARS, clean, compare, key

ALIKE = [
    ("CORNER CAFE", "PENDING - Corner Cafe"),
    ("CORNER CAFE", "CORNER CAFE 0042"),
    ("SHELL OIL 5744", "SHELL OIL 57442"),
    ("SQ *CORNER CAFE", "CORNER CAFE 0042"),
    ("LUIGI TRATTORIA", "TST* LUIGI TRATTOR"),
    ("PAYPAL *SPOTIFY", "SPOTIFY USA"),
]
UNLIKE = [
    ("UBER TRIP", "UBER EATS"),
    ("METRO TAP", "METRO DAILY"),
    ("GROCER", "PHARMACY"),
    ("PAYPAL *STEAM", "PAYPAL *SPOTIFY"),
    ("", "GROCER"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_alike(one: str, other: str) -> None:
    """Texts are alike when, without "pending", one begins the other or they are similar."""
    assert compare(key(one), key(other)).is_alike
    assert compare(key(other), key(one)).is_alike


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_unlike(one: str, other: str) -> None:
    """A word in common makes no two texts alike."""
    assert not compare(key(one), key(other)).is_alike


def test_costs_grow_with_the_difference() -> None:
    """Equal costs nothing; then come a longer form, a similar one, a shared word, nothing in common."""
    others = ["corner cafe", "corner cafe 42", "the corner cafe", "corner bar", "pharmacy"]
    costs = [compare("corner cafe", other).cost for other in others]
    assert costs == sorted(set(costs))
    assert costs[0] == 0


def test_a_differing_number_costs_more_than_ten_days() -> None:
    """Of two similar texts, the one with another number costs over ten days more."""
    same, other = compare("trip 1111 uber", "uber trip 1111"), compare("trip 1111 uber", "uber trip 2222")
    assert other.has_other_number
    assert other.cost - same.cost > 10


def test_no_description_says_nothing() -> None:
    """The words that stand for a missing description are no text to compare."""
    assert key("No description provided by institution") == ""
    assert not compare("", "").is_alike


def test_clean() -> None:
    """NUL, control, format and direction marks go; blanks collapse; the length is bounded."""
    assert clean("\x00 CORNER\u200b\t\n CAFE\u202e\x07 ") == "CORNER CAFE"
    assert clean("caf\u00e9 \u4e2d\u6587") == "caf\u00e9 \u4e2d\u6587"
    assert clean(" " * 1_000_000 + "x") == "x"
    assert len(clean("xy" * 1_000_000)) == TEXT_CHARS


@pytest.mark.parametrize(
    ("pending", "posted", "texts", "expected"),
    [
        ("-20.00", "-24.00", ("luigi", "luigi"), Rule.CHANGED_AMOUNT),
        ("-20.00", "-30.00", ("luigi", "luigi"), Rule.CHANGED_AMOUNT),
        ("-20.00", "-30.01", ("luigi", "luigi"), None),
        ("-20.00", "-24.00", ("luigi bar", "luigi cantina"), None),
        ("-20.00", "-20.60", ("luigi bar", "luigi cantina"), Rule.CURRENCY),
        ("-20.00", "-20.60", ("luigi", "grocer"), None),
        ("-1.00", "-145.67", ("shell", "shell"), Rule.TOKEN_CHECK),
        ("0.00", "-145.67", ("shell", "shell"), Rule.TOKEN_CHECK),
        ("-3.00", "-145.67", ("shell", "shell"), None),
        ("-200.00", "-30.00", ("hilton hotels", "hilton adv dep"), Rule.HOLD),
        ("-200.00", "-29.99", ("hilton", "hilton"), None),
        ("-201.50", "-100.00", ("hilton hotels", "hilton adv dep"), None),
        ("-201.50", "-100.00", ("hilton", "hilton"), Rule.CHANGED_AMOUNT),
        ("-20.00", "24.00", ("luigi", "luigi"), None),
        ("-20.00", "0.00", ("luigi", "luigi"), None),
    ],
)
def test_amounts_change_for_a_reason(pending: str, posted: str, texts: tuple[str, str], expected: Rule | None) -> None:
    """Tips, holds, token checks and rates are told apart, and anything else is another purchase."""
    found = explain_amount(Decimal(pending), Decimal(posted), compare(*texts))
    assert (found.rule if found else None) == expected


def test_exact_subset() -> None:
    """Two or more amounts that sum to the total are found, and never one alone."""
    amounts = [Decimal(text) for text in ("2.90", "1.70", "5.00", "8.00")]
    assert exact_subset(amounts, Decimal("7.90")) == (0, 2)
    assert exact_subset(amounts, Decimal("8.00")) is None
    assert exact_subset(amounts, Decimal("17.60")) == (0, 1, 2, 3)
    assert exact_subset([], Decimal(0)) is None
