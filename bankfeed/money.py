"""Amounts of money: exact, bounded, in the currency's own decimals. Pure; never a float.

Whoever lets an amount in calls `parse_amount`; nothing else in Bankfeed needs to ask whether an amount is sane.
"""

import re
from decimal import Decimal, localcontext

from bankfeed.errors import BadRequest

INTEGER_DIGITS = 18
"""Digits an amount may have before the point; with four decimals it still fits a numeric(22, 4) column."""

_TEXT_CHARS = 64
_DECIMALS = 2
# ISO 4217 currencies whose minor unit is not the hundredth.
_OTHER_DECIMALS = (
    dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    )
    | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
    | {"CLF": 4, "UYW": 4}
)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_AMOUNT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class BadCurrency(BadRequest, ValueError):
    """The currency is not three capital letters."""


class BadAmount(BadRequest, ValueError):
    """The amount is not an exact number that the currency can hold."""


def currency_decimals(currency: str) -> int:
    """Return how many decimals a currency's amounts have (ISO 4217; 2 where the table has no other).

    >>> currency_decimals("USD"), currency_decimals("JPY"), currency_decimals("KWD")
    (2, 0, 3)

    Raises: BadCurrency.
    """
    if not _CURRENCY.fullmatch(currency):
        raise BadCurrency(f"expected a currency of three capital letters, got {currency[:20]!r}", field="currency")
    return _OTHER_DECIMALS.get(currency, _DECIMALS)


def parse_amount(amount: str | Decimal | int, currency: str) -> Decimal:
    """Return an amount exactly, with the currency's decimals.

    >>> parse_amount("-20", "USD"), parse_amount("1.5e3", "JPY"), parse_amount("0.100", "USD")
    (Decimal('-20.00'), Decimal('1500'), Decimal('0.10'))

    Zero has no sign. Raises: BadAmount for anything that is no number, not finite, has more decimals than the currency
    (zeros at the end do not count) or more than 18 digits before the point; BadCurrency.
    """
    decimals = currency_decimals(currency)
    number = _read(amount)
    if not number.is_finite():
        raise _refuse(amount, "a finite number")
    if number and number.adjusted() >= INTEGER_DIGITS:
        raise _refuse(amount, f"at most {INTEGER_DIGITS} digits before the point")
    if _decimals(number) > decimals:
        raise _refuse(amount, f"at most {decimals} decimals for {currency}")
    with localcontext(prec=INTEGER_DIGITS + decimals + 1):
        return abs(number.quantize(Decimal(1).scaleb(-decimals))) * (-1 if number < 0 else 1)


def format_amount(amount: Decimal, currency: str) -> str:
    """Write an amount with exactly the currency's decimals and no exponent.

    >>> format_amount(Decimal("-20"), "USD"), format_amount(Decimal("1500"), "JPY")
    ('-20.00', '1500')

    Raises: BadAmount where that would lose something; BadCurrency.
    """
    return f"{parse_amount(amount, currency):f}"


def _read(amount: str | Decimal | int) -> Decimal:
    if isinstance(amount, Decimal):
        return amount
    if isinstance(amount, bool):  # bool is an int to Python, and True is no amount
        raise _refuse(amount, "a number")
    if isinstance(amount, int):
        if abs(amount) >= 10**INTEGER_DIGITS:  # before Decimal, which would spell out a million digits
            raise BadAmount(
                f"expected at most {INTEGER_DIGITS} digits before the point, got a longer one", field="amount"
            )
        return Decimal(amount)
    if not isinstance(amount, str):
        raise _refuse(amount, "text or an exact number")
    text = amount.strip() if len(amount) <= _TEXT_CHARS else ""
    if not _AMOUNT.fullmatch(text):
        raise _refuse(amount, "a decimal number such as -20.00")
    return Decimal(text)


def _decimals(number: Decimal) -> int:
    _, digits, exponent = number.as_tuple()
    if not number or not isinstance(exponent, int):
        return 0
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(0, -exponent - zeros)


def _refuse(amount: object, expected: str) -> BadAmount:
    text = amount[:40] if isinstance(amount, str) else str(amount)[:40]
    return BadAmount(f"expected an amount with {expected}, got {text!r}", field="amount")
