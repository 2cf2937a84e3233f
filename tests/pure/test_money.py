"""Amounts are exact and bounded at the door; everything else is refused with what was expected."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankfeed.errors import BadRequest
from bankfeed.money import BadAmount, BadCurrency, currency_decimals, format_amount, parse_amount


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("-20", "USD", "-20.00"),
        ("+20.5", "USD", "20.50"),
        (" .5 ", "USD", "0.50"),
        ("1e2", "USD", "100.00"),
        ("1.500", "USD", "1.50"),
        ("-0", "USD", "0.00"),
        ("1500", "JPY", "1500"),
        ("1.234", "KWD", "1.234"),
        (7, "USD", "7.00"),
        (Decimal("-7.1"), "USD", "-7.10"),
        ("999999999999999999.99", "USD", "999999999999999999.99"),
    ],
)
def test_amounts_have_the_currencys_decimals(amount: str | int | Decimal, currency: str, expected: str) -> None:
    """An amount is kept exactly and written with as many decimals as its currency has."""
    assert format_amount(parse_amount(amount, currency), currency) == expected


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("", "USD", "a decimal number"),
        ("twelve", "USD", "a decimal number"),
        ("1,000.00", "USD", "a decimal number"),
        ("0x10", "USD", "a decimal number"),
        ("1_000", "USD", "a decimal number"),
        ("\N{ARABIC-INDIC DIGIT THREE}", "USD", "a decimal number"),
        ("NaN", "USD", "a decimal number"),
        ("Infinity", "USD", "a decimal number"),
        (Decimal("NaN"), "USD", "a finite number"),
        (Decimal("sNaN"), "USD", "a finite number"),
        (Decimal("-Infinity"), "USD", "a finite number"),
        ("1.005", "USD", "at most 2 decimals"),
        ("1.5", "JPY", "at most 0 decimals"),
        ("1e-300", "USD", "at most 2 decimals"),
        ("1e999", "USD", "at most 18 digits"),
        ("1" * 30, "USD", "at most 18 digits"),
        (Decimal("1e100000"), "USD", "at most 18 digits"),
        (True, "USD", "a number"),
    ],
)
def test_what_is_no_amount_is_refused(amount: str | Decimal, currency: str, expected: str) -> None:
    """Anything that is not an exact, bounded number of the currency is refused, with what was expected, briefly."""
    with pytest.raises(BadAmount, match=expected) as refused:
        parse_amount(amount, currency)
    assert len(str(refused.value)) < 150
    assert isinstance(refused.value, BadRequest)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("currency", ["", "usd", "US", "USDX", "U$D", "\N{CYRILLIC CAPITAL LETTER U}SD"])
def test_what_is_no_currency_is_refused(currency: str) -> None:
    """A currency is three capital letters."""
    with pytest.raises(BadCurrency, match="three capital letters"):
        currency_decimals(currency)


@given(st.decimals(min_value=-(10**17), max_value=10**17, places=2))
def test_reading_what_was_written_gives_the_amount(amount: Decimal) -> None:
    """What format_amount writes, parse_amount reads back, equal to the last digit."""
    assert parse_amount(format_amount(amount, "USD"), "USD") == amount


@pytest.mark.parametrize("amount", ["1" * 1_000_000, " " * 1_000_000, 10**5000], ids=["digits", "blanks", "integer"])
def test_giants_are_refused_at_once(amount: str | int) -> None:
    """A million digits are refused without being read, and not spelled out in the refusal."""
    with pytest.raises(BadAmount) as refused:
        parse_amount(amount, "USD")
    assert len(str(refused.value)) < 150


def test_no_float_is_taken() -> None:
    """A float is refused: it is not exact."""
    with pytest.raises(BadAmount, match="exact number"):
        parse_amount(1.5, "USD")  # type: ignore[arg-type]  # what the types forbid is refused at run time too
