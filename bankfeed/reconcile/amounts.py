"""How a pending amount may become another one on posting: tips, holds, token checks, rates (rule 5). Pure."""

from dataclasses import dataclass
from decimal import Decimal

from bankfeed.reconcile.changes import Rule
from bankfeed.reconcile.texts import Likeness

TOKEN_AMOUNT = Decimal("2.00")
HOLD_AMOUNT = Decimal(50)
HIGHEST_RATIO = Decimal("1.5")
LOWEST_RATIO = Decimal("0.15")
RATE_RATIO = Decimal("0.035")

_TOKEN_COST = 6.0
_RATE_COST = 2.0
_RATIO_COST = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an amount changed, and what believing it costs, in days."""

    rule: Rule
    cost: float


def explain_amount(pending: Decimal, posted: Decimal, likeness: Likeness) -> Explanation | None:
    """Return why a pending amount may have posted as another one, or None where it may not."""
    if posted == 0 or pending * posted < 0:
        return None
    ratio = posted / pending if pending else Decimal(0)
    rule = _find_rule(pending, posted, ratio, likeness)
    if rule is None:
        return None
    cost = _TOKEN_COST if rule is Rule.TOKEN_CHECK else _RATIO_COST * float(abs(ratio - 1))
    return Explanation(rule=rule, cost=cost + _RATE_COST * (rule is Rule.CURRENCY))


def _find_rule(pending: Decimal, posted: Decimal, ratio: Decimal, likeness: Likeness) -> Rule | None:
    if likeness.has_shared and abs(ratio - 1) <= RATE_RATIO:
        return Rule.CURRENCY
    if likeness.is_alike and 1 < ratio <= HIGHEST_RATIO:
        return Rule.CHANGED_AMOUNT
    if likeness.is_alike and abs(pending) <= TOKEN_AMOUNT < abs(posted):
        return Rule.TOKEN_CHECK
    if likeness.has_shared and is_hold(pending) and LOWEST_RATIO <= ratio < 1:
        return Rule.HOLD
    return Rule.CHANGED_AMOUNT if likeness.is_alike and LOWEST_RATIO <= ratio < 1 else None


def is_hold(pending: Decimal) -> bool:
    """Tell whether a pending amount looks like a hold: 50.00 or more, and round.

    >>> is_hold(Decimal("-150.00")), is_hold(Decimal("-151.20")), is_hold(Decimal("-20.00"))
    (True, False, False)
    """
    return abs(pending) >= HOLD_AMOUNT and pending % 1 == 0
