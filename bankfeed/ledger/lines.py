"""The lines of an entry: made from a transaction's amount, resized to another one, turned round, compared. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_DOWN, Context, Decimal, localcontext
from typing import NewType

from bankfeed.money import INTEGER_DIGITS, currency_decimals

LedgerAccountId = NewType("LedgerAccountId", int)

_EXACT = Context(prec=60)  # products of two amounts of 22 digits; nothing is rounded but shares, and those on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an entry: a debit where `amount` is positive, a credit where it is negative."""

    ledger_account_id: LedgerAccountId
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a transaction's amount, with the transaction's sign, and the ledger account that it is booked to."""

    ledger_account_id: LedgerAccountId
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """Lines that are booked on a day."""

    on: date
    lines: tuple[Line, ...]


def make_lines(bank: LedgerAccountId, parts: Sequence[Part], currency: str) -> tuple[Line, ...]:
    """Return the lines of an entry: first the bank's with the whole amount, then a line against each part.

    >>> [str(line.amount) for line in make_lines(
    ...     LedgerAccountId(1), [Part(ledger_account_id=LedgerAccountId(2), amount=Decimal("-20.00"))], "USD")]
    ['-20.00', '20.00']
    """
    whole = sum((part.amount for part in parts), Decimal(0))
    others = (Line(ledger_account_id=part.ledger_account_id, amount=-part.amount, currency=currency) for part in parts)
    return (Line(ledger_account_id=bank, amount=whole, currency=currency), *others)


def resize(lines: Sequence[Line], amount: Decimal) -> tuple[Line, ...]:
    """Return an entry's lines for another amount of its transaction; several parts keep their proportions.

    Shares are rounded to the currency's decimals, and what rounding leaves goes to the last part. Parts of both signs have no
    proportions to keep: there the largest takes the difference, or, where that grows beyond all amounts, the first part all.
    """
    bank, *others = lines
    if bank.amount == amount:
        return tuple(lines)
    parts = [-line.amount for line in others]
    has_proportions = bank.amount != 0 and all(part * bank.amount >= 0 for part in parts)
    sizes = _share(amount, parts, currency=bank.currency) if has_proportions else _shift(amount, parts)
    resized = (replace(line, amount=-size) for line, size in zip(others, sizes, strict=True))
    return (replace(bank, amount=amount), *resized)


def _share(amount: Decimal, parts: Sequence[Decimal], *, currency: str) -> list[Decimal]:
    least = Decimal(1).scaleb(-currency_decimals(currency))
    with localcontext(_EXACT):
        whole = sum(parts, Decimal(0))
        shares = [(amount * part / whole).quantize(least, rounding=ROUND_DOWN) for part in parts[:-1]]
        return [*shares, amount - sum(shares, Decimal(0))]


def _shift(amount: Decimal, parts: Sequence[Decimal]) -> list[Decimal]:
    with localcontext(_EXACT):
        largest = max(range(len(parts)), key=lambda n: abs(parts[n]))
        size = parts[largest] + amount - sum(parts, Decimal(0))
    if abs(size) >= 10**INTEGER_DIGITS:
        return [amount, *(Decimal(0) for _ in parts[1:])]
    return [*parts[:largest], size, *parts[largest + 1 :]]


def is_balanced(lines: Iterable[Line]) -> bool:
    """Tell whether lines add up to zero in each currency."""
    sums: dict[str, Decimal] = defaultdict(Decimal)
    with localcontext(_EXACT):
        for line in lines:
            sums[line.currency] += line.amount
    return not any(sums.values())


def compare(booked: Iterable[Posting], wanted: Posting | None) -> tuple[Posting, ...]:
    """Return what has to be booked besides, day by day, so that the books say what is wanted; nothing where they do.

    Each posting balances where those given do. `wanted` is None where nothing should be booked.
    """
    missing: dict[date, dict[tuple[LedgerAccountId, str], Decimal]] = defaultdict(dict)
    if wanted is not None:
        _add(missing[wanted.on], wanted.lines, sign=1)
    for posting in booked:
        _add(missing[posting.on], posting.lines, sign=-1)
    found = (Posting(on=on, lines=_as_lines(missing[on])) for on in sorted(missing))
    return tuple(posting for posting in found if posting.lines)


def _add(sums: dict[tuple[LedgerAccountId, str], Decimal], lines: Iterable[Line], *, sign: int) -> None:
    with localcontext(_EXACT):
        for line in lines:
            key = line.ledger_account_id, line.currency
            sums[key] = sums.get(key, Decimal(0)) + sign * line.amount


def _as_lines(sums: Mapping[tuple[LedgerAccountId, str], Decimal]) -> tuple[Line, ...]:
    return tuple(
        Line(ledger_account_id=account, amount=amount, currency=currency)
        for (account, currency), amount in sums.items()
        if amount
    )
