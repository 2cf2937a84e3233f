"""Whether the rows of an account move as the balance that the bank states (rule 14). Pure.

Rows count as the bank lists them: what a person deleted, merged or locked counts at the bank's own values. A gap is told
and never repaired here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date
from decimal import Decimal

from bankfeed.model import Known, Pull, TransactionState

MOST_SUSPECTS = 5
"""Nobody looks through more."""

SUSPECT_DAYS = 45
"""How long before the bank's day a row may be dated to be a suspect; older ones have stood through earlier checks."""

_LEAST = Decimal("0.0001")  # no currency has a smaller unit
_RANKS = {
    TransactionState.PENDING: 0,
    TransactionState.SHADOW: 1,
    TransactionState.REMOVED: 2,
    TransactionState.ACTIVE: 3,
}

Pairs = Iterable[tuple[Known | None, Known | None]]


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


def check_balance(
    stand: Balance | None, pull: Pull, before_after: Pairs, *, earliest_on: date | None = None
) -> BalanceCheck | None:
    """Compare what the balance and the rows have moved by since the bank stated it last. For applied pulls.

    `before_after` are all known and all added rows as they were before the pull (None: added by it) and as they are
    after it, unchanged ones too: with a later day, rows posted in between come in. Added ones posted before
    `earliest_on`, the first day known so far, are older history, which the balance had, unless it moved by them. None
    where no balance was ever stated; the first one is taken as it is, and nothing is checked.
    """
    stated = _read_stated(pull)
    if stand is None:
        return None if stated is None else BalanceCheck(after=stated, is_checked=False)
    pairs = tuple(before_after)
    newer = tuple(pair for pair in pairs if not _is_older_history(pair, earliest_on, stand.on))
    if stated is None or stated.on <= stand.on:
        return BalanceCheck(after=carry_on(stand, newer), is_checked=False)
    expected = stand.moved + _moved(pairs, stand.on, stated.on)
    if stated.amount - stand.amount != expected and len(newer) < len(pairs):
        expected = stand.moved + _moved(newer, stand.on, stated.on)
    gap = stand.gap + (stated.amount - stand.amount) - expected
    after = replace(stated, gap=gap if abs(gap) >= _LEAST else Decimal(0))
    if not after.gap:
        return BalanceCheck(after=after, is_checked=True)
    if expected and stated.amount - stand.amount == -expected:
        reason = "all amounts with the other sign would explain it"
        return BalanceCheck(after=after, is_checked=True, reason=reason)
    suspects, reason = _explain(after, [row for _, row in pairs if row is not None])
    return BalanceCheck(after=after, is_checked=True, suspects=suspects, reason=reason)


def accept_gap(stand: Balance) -> BalanceCheck:
    """Take the bank's balance as the new start: what the rows did not explain so far is not asked again."""
    return BalanceCheck(after=replace(stand, gap=Decimal(0)), is_checked=True)


def carry_on(stand: Balance, before_after: Pairs) -> Balance:
    """Return a stand after changes of the bank's side of rows that came with no balance: of a pull, or of an undo."""
    return replace(stand, moved=stand.moved + _moved(before_after, stand.on, stand.on))


def _read_stated(pull: Pull) -> Balance | None:
    """Return the balance that a pull brings; without a day of its own it is of the day the bank was asked."""
    if pull.balance is None:
        return None
    asked_on = (pull.attempted_at or pull.at).astimezone(UTC).date()
    return Balance(amount=pull.balance, on=pull.balance_on or asked_on)


def _moved(pairs: Pairs, from_on: date, to_on: date) -> Decimal:
    """Return by how much the rows of a day before the pull and those of a day after it differ."""
    moved = Decimal(0)
    for before, after in pairs:
        if before is after and (before is None or from_on == to_on or _posted_on(before) <= from_on):
            continue  # most rows, and in a long history it shows
        moved += _contribution(after, to_on) - _contribution(before, from_on)
    return moved


def _is_older_history(pair: tuple[Known | None, Known | None], earliest_on: date | None, stated_on: date) -> bool:
    """Tell whether a row is new to us only: the window was widened, or the bank serves more than it did.

    One that happened before all that was known and was posted after it was beyond the edge too, unless that is so late that
    the balance may not have had it.
    """
    before, after = pair
    if before is not None or after is None or earliest_on is None:
        return False
    is_beyond = after.bank_values.transacted_on < earliest_on and _posted_on(after) < stated_on
    return is_beyond or _posted_on(after) < earliest_on


def _contribution(row: Known | None, on: date) -> Decimal:
    """Return what a row adds to the balance of a day."""
    return row.bank_values.amount if row is not None and _is_counted(row, on) else Decimal(0)


def _is_counted(row: Known, on: date) -> bool:
    return row.state is TransactionState.ACTIVE and _posted_on(row) <= on


def _posted_on(row: Known) -> date:
    return row.bank_values.posted_on or row.bank_values.transacted_on


def _explain(stated: Balance, rows: Iterable[Known]) -> tuple[tuple[Known, ...], str]:
    """Return the rows that would explain a gap, each alone or else two together, and in which manner."""
    earliest = date.fromordinal(max(date.min.toordinal(), stated.on.toordinal() - SUSPECT_DAYS))
    late = [row for row in rows if row.bank_values.transacted_on >= earliest and _may_be_wrong(row)]
    suspects = [(row, _effect(row, stated.on)) for row in sorted(late, key=_order)]
    alone = [row for row, effect in suspects if effect == stated.gap][:MOST_SUSPECTS]
    if alone:
        return tuple(alone), f"would explain it alone: {' or '.join(_manners(alone, stated.on))}"
    pair = _find_pair(suspects, stated.gap)
    if pair:
        return pair, f"would explain it together: {' and '.join(_manners(pair, stated.on))}"
    return (), "neither a row nor a pair of rows would explain it"


def _may_be_wrong(row: Known) -> bool:
    """Tell whether a row may count, or not count, by mistake; one joined to another speaks through that one."""
    if row.state is TransactionState.PENDING:
        return row.is_visible
    return row.state is not TransactionState.REMOVED or not (row.has_joined or row.merged_into is not None)


def _effect(row: Known, on: date) -> Decimal:
    """Return how much of a gap goes where a row that counts should not, or one that does not should."""
    amount = row.bank_values.amount
    return -amount if _is_counted(row, on) else amount


def _order(row: Known) -> tuple[int, int, int]:
    """Order suspects: what does not count before what does, the newest first."""
    return _RANKS[row.state], -row.bank_values.transacted_on.toordinal(), -(row.id or 0)


def _find_pair(suspects: Iterable[tuple[Known, Decimal]], gap: Decimal) -> tuple[Known, ...]:
    """Return the first two suspects whose effects sum to the gap, or ()."""
    seen: dict[Decimal, Known] = {}
    for row, effect in suspects:
        other = seen.get(gap - effect)
        if other is not None:
            return other, row
        seen.setdefault(effect, row)
    return ()


def _manners(rows: Iterable[Known], on: date) -> list[str]:
    return list(dict.fromkeys(_manner(row, on) for row in rows))


def _manner(row: Known, on: date) -> str:
    if row.state is TransactionState.PENDING:
        return "a pending row that the bank counts already"
    if row.state is not TransactionState.ACTIVE:
        return "a row that went away and still counts at the bank"
    return "a posted row that is one too many" if _is_counted(row, on) else "a row posted later that counts already"
