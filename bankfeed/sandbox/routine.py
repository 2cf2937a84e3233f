"""What moves on an account without a shop: pay, rent, transfers, card payments, checks, fees, interest. Pure.

Transfers and card payments have two sides: both accounts of a login draw the same amount from the login's name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.lives import Life, Sighting, Status, draw, id_of
from bankfeed.sandbox.purchases import noon, posting_instant

PAY_WEEKDAY = 4  # Friday
RENT_DAY, CARD_PAYMENT_DAY, TRANSFER_DAY = 1, 20, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One movement that appears posted, on the night after its date. `name` tells it from the day's others."""

    name: str
    amount: Decimal
    description: str
    kind: str
    category: str
    check_number: str = ""


def routine_lives(account: Account, on: date, *, seed: int) -> Iterator[Life]:
    """Yield the lives of a day's movements that are no purchases."""
    for entry in _entries(account, on, seed):
        yield _life(account, on, entry)


def _entries(account: Account, on: date, seed: int) -> Iterator[Entry]:
    match account.kind:
        case AccountKind.CHECKING:
            yield from _checking_entries(account, on, seed)
        case AccountKind.SAVINGS:
            yield from _savings_entries(account, on, seed)
        case AccountKind.CARD:
            if on.day == CARD_PAYMENT_DAY:
                amount = _card_payment(account, on, seed)
                yield Entry(
                    name="payment",
                    amount=amount,
                    description="PAYMENT RECEIVED - THANK YOU",
                    kind="payment",
                    category="Credit Card Payment",
                )


def _checking_entries(account: Account, on: date, seed: int) -> Iterator[Entry]:
    is_pay_week = on.toordinal() // 7 % 2 == 0
    if on.weekday() == PAY_WEEKDAY and is_pay_week:
        pay = _cents(300_000, 360_000, seed, account.key, "pay")
        yield Entry(
            name="pay",
            amount=pay,
            description="HIGH DESERT TOOL CO PAYROLL",
            kind="directDeposit",
            category="Paycheck",
        )
    if on.day == RENT_DAY:
        rent = _cents(95_000, 140_000, seed, account.key, "rent")
        yield Entry(
            name="rent",
            amount=-rent,
            description="LARCH STREET PROPERTIES RENT",
            kind="directDebit",
            category="Mortgage & Rent",
        )
    if on.day == TRANSFER_DAY:
        yield _transfer(account, on, seed, sign=-1, description="TRANSFER TO SAVINGS")
    if on.day == CARD_PAYMENT_DAY:
        yield Entry(
            name="payment",
            amount=-_card_payment(account, on, seed),
            description="SAGEBRUSH VISA ONLINE PAYMENT",
            kind="payment",
            category="Credit Card Payment",
        )
    if _is_last_of_month(on):
        yield Entry(
            name="fee",
            amount=Decimal("-12.00"),
            description="MONTHLY SERVICE FEE",
            kind="fee",
            category="Bank Fee",
        )
    if draw(seed, account.key, on, "check").random() < 0.08:
        yield _check(account, on, seed)


def _savings_entries(account: Account, on: date, seed: int) -> Iterator[Entry]:
    if on.day == TRANSFER_DAY:
        yield _transfer(account, on, seed, sign=1, description="TRANSFER FROM CHECKING")
    if _is_last_of_month(on):
        yield Entry(
            name="interest",
            amount=_cents(180, 940, seed, account.key, on, "interest"),
            description="INTEREST PAID",
            kind="interest",
            category="Interest Income",
        )


def _transfer(account: Account, on: date, seed: int, *, sign: int, description: str) -> Entry:
    amount = _cents(10_000, 45_000, seed, account.login_key, on, "transfer")
    return Entry(name="transfer", amount=sign * amount, description=description, kind="transfer", category="Transfer")


def _check(account: Account, on: date, seed: int) -> Entry:
    number = str(1_000 + on.toordinal() % 9_000)
    amount = _cents(2_500, 48_000, seed, account.key, on, "check amount")
    return Entry(
        name="check",
        amount=-amount,
        description=f"CHECK {number}",
        kind="check",
        category="Check",
        check_number=number,
    )


def _card_payment(account: Account, on: date, seed: int) -> Decimal:
    return _cents(210_000, 310_000, seed, account.login_key, on, "card payment")


def _cents(low: int, high: int, *parts: object) -> Decimal:
    return Decimal(draw(*parts).randint(low, high)).scaleb(-2)


def _is_last_of_month(on: date) -> bool:
    return (on + timedelta(days=1)).month != on.month


def _life(account: Account, on: date, entry: Entry) -> Life:
    movement = f"{account.key}/{on}/{entry.name}"
    dated_at = noon(on, account.zone)
    row = Sighting(
        id=id_of(account.id, movement),
        status=Status.ACTIVE,
        amount=entry.amount,
        dated_at=dated_at,
        posted_at=dated_at,
        description=entry.description,
        starts_at=posting_instant(on),
        kind=entry.kind,
        payee=entry.description.title(),
        category=entry.category,
        check_number=entry.check_number,
    )
    return Life(movement=movement, sightings=(row,))
