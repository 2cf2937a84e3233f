"""Whether the rows of an account move as the balance that the bank states (rule 14). Pure."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bankfeed.model import Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What the bank stated last, and what has happened since.

    `amount` is the bank's balance of the day `on`. `moved` is what has changed since then among active rows posted by
    that day, at the bank's own values. `gap` is how much more the bank's balance has moved than the rows, over all
    checks so far; 0 where they agree.
    """

    amount: Decimal
    on: date
    moved: Decimal = Decimal(0)
    gap: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceCheck:
    """How the balance stands after a pull. `suspects` are rows that would explain the gap, `reason` says how.

    `is_checked` is False where the pull brought no balance, or one of the same day: then only `after.moved` went on.
    """

    after: Balance
    is_checked: bool
    suspects: tuple[Known, ...] = ()
    reason: str = ""
