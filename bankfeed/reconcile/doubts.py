"""Where a person's act may belong to another row than the one it stays on (rule 12). Pure.

Rows are settled before this is asked; a doubt changes none of them.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from bankfeed.model import Known, TransactionState
from bankfeed.reconcile.board import REMOVED, SHADOW, Board, Edge
from bankfeed.reconcile.changes import Doubt, Rule
from bankfeed.reconcile.outcome import Outcome

TIE_DAYS = 3.0
"""Two costs that differ by no more are a tie: postings of like purchases arrive in any order within some days."""

TWIN_DAYS = 8.0
"""The same where the other posting is of the same amount and nothing explains it, one of two equal purchases; and where
it was listed beside, or its amount changed: then costs tell less."""

_GUESSES = frozenset(
    {
        Rule.CONTENT,
        Rule.EQUAL_AMOUNT,
        Rule.LATE_JOIN,
        Rule.CHANGED_AMOUNT,
        Rule.HOLD,
        Rule.TOKEN_CHECK,
        Rule.CURRENCY,
    }
)

_OTHER_AMOUNTS = frozenset({Rule.CHANGED_AMOUNT, Rule.HOLD, Rule.TOKEN_CHECK, Rule.CURRENCY})

MOST_CANDIDATES = 20
"""Nobody decides between more."""

Look = tuple[Decimal, date, str, TransactionState]


def find_doubts(board: Board, outcome: Outcome) -> tuple[Doubt, ...]:
    """Name every act whose row left view, and every act that a tie has placed, in order of arrival."""
    acts = [old for old in outcome.olds if board.olds[old].has_act]
    if not acts:
        return ()
    rivals = _Rivals(board, outcome)
    found = (
        _doubt_joined(board, outcome, old) if old in board.joined else _doubt(board, outcome, old, rivals)
        for old in sorted(acts, key=board.arrival)
    )
    return tuple(doubt for doubt in found if doubt is not None)


def _doubt_joined(board: Board, outcome: Outcome, old: int) -> Doubt | None:
    """Tell that a deleted posting is what a row in view posted as: it was a second copy, or the purchase itself."""
    before, after = board.olds[old], outcome.olds[board.joined[old]]
    if before.deleted_at is None or not after.is_visible:
        return None
    reason = "the row was deleted, and is the posting of one still in view, which is to be deleted too or left"
    return Doubt(transaction=before, candidates=(after,), rule=outcome.rules[old], reason=reason)


def _doubt(board: Board, outcome: Outcome, old: int, rivals: "_Rivals") -> Doubt | None:
    before, after = board.olds[old], outcome.olds[old]
    if old not in board.new_of and before.state in (SHADOW, REMOVED):
        return None  # it was asked when the row left
    candidates = rivals.of(old)
    if before.is_visible and not after.is_visible:
        reason = "the bank no longer lists the row"
        return Doubt(transaction=before, candidates=candidates, rule=outcome.rules[old], reason=reason)
    if not before.is_visible and after.is_visible and outcome.rules[old] in _OTHER_AMOUNTS:
        reason = "the row was gone and is back with another amount"
        return Doubt(
            transaction=before, candidates=_distinct([after, *candidates]), rule=outcome.rules[old], reason=reason
        )
    misfit = _find_misfit(before, after) if after.is_visible else ""
    if misfit:
        shown = _distinct([after, *candidates])
        return Doubt(transaction=before, candidates=shown, rule=outcome.rules[old], reason=misfit)
    if candidates:
        shown = _distinct([after, *candidates]) if after.is_visible else candidates
        return Doubt(transaction=before, candidates=shown, rule=Rule.TIE, reason="another row may be meant as well")
    return None


def _find_misfit(before: Known, after: Known) -> str:
    """Say how a row no longer is what a person booked or locked, or ""."""
    if before.split_into and sum(before.split_into) != after.values.amount != before.values.amount:
        return "the parts that the row is booked in no longer add up to it"
    if after.is_reconciled and before.bank_values.amount != after.bank_values.amount != after.values.amount:
        return "the bank changed the amount of a reconciled row"
    return ""


class _Rivals:
    """Finds the rows that could have had a row's place, or whose place it could have had."""

    def __init__(self, board: Board, outcome: Outcome) -> None:
        self._board = board
        self._outcome = outcome
        self._twins = self._find_twins()
        self._by_old: dict[int, list[Edge]] = defaultdict(list)
        self._by_new: dict[int, list[Edge]] = defaultdict(list)
        for edge in board.edges:
            self._by_old[edge.old].append(edge)
            self._by_new[edge.new].append(edge)

    def of(self, old: int) -> tuple[Known, ...]:
        """Return the rows in view that the act on this one may belong to, () where none differs from it."""
        rule = self._board.rule_of.get(old)
        if rule is not None and rule not in _GUESSES:
            return ()
        found = [
            *self._parted(old),
            *self._grouped(old),
            *self._twin_rows(old),
            *self._other_targets(old),
            *self._other_claimants(old),
        ]
        return _distinct(row for row in found if row.is_visible)

    def _parted(self, old: int) -> list[Known]:
        return [self._outcome.olds[left] for left, survivor in self._board.parted.items() if survivor == old]

    def _grouped(self, old: int) -> list[Known]:
        return [self._outcome.news[new] for group in self._board.groups if old in group.olds for new in group.news]

    def _twin_rows(self, old: int) -> list[Known]:
        """Rows that were equal to this one in all that counts and became something else, one of each look."""
        twins = self._twins.get(self._before(old), {})
        mine = self._after(old)
        others = [self._outcome.olds[twin] for look, twin in twins.items() if look != mine]
        return [*others, self._outcome.olds[old]] if others else []

    def _other_targets(self, old: int) -> list[Known]:
        """Reported rows that would have cost about as much as the one it was paired with."""
        cost = self._cost(old)
        near = [edge for edge in self._by_old.get(old, ()) if cost is None or edge.cost <= cost + self._margin(edge)]
        rows = [self._outcome.news[edge.new] for edge in near if edge.new in self._outcome.news]
        return [row for row in rows if cost is None or self._look(row) != self._after(old)]

    def _other_claimants(self, old: int) -> list[Known]:
        """Known rows that could have had its place for about the same, and got another one."""
        cost, new = self._cost(old), self._board.new_of.get(old)
        if cost is None or new is None:
            return []
        near = [e.old for e in self._by_new.get(new, ()) if e.old != old and e.cost <= cost + TIE_DAYS]
        olds = self._outcome.olds
        others = [rival for rival in near if rival in olds and self._after(rival) != self._after(old)]
        return [olds[rival] for rival in others] + ([olds[old]] if others else [])

    def _margin(self, edge: Edge) -> float:
        is_unexplained = edge.rule is Rule.EQUAL_AMOUNT and edge.new not in self._board.old_of
        is_weak = edge.rule is Rule.LATE_JOIN or edge.rule in _OTHER_AMOUNTS
        return TWIN_DAYS if is_unexplained or is_weak else TIE_DAYS

    def _cost(self, old: int) -> float | None:
        new = self._board.new_of.get(old)
        return min((edge.cost for edge in self._by_old.get(old, ()) if edge.new == new), default=None)

    def _find_twins(self) -> dict[Look, dict[Look, int]]:
        """Group the rows that were not found by an id by how they looked before, then by how they look now."""
        found: dict[Look, dict[Look, int]] = defaultdict(dict)
        for old in self._outcome.olds:
            rule = self._board.rule_of.get(old)
            if old not in self._board.joined and (rule is None or rule in _GUESSES):
                found[self._before(old)].setdefault(self._after(old), old)
        return found

    def _before(self, old: int) -> Look:
        return self._look(self._board.olds[old])

    def _after(self, old: int) -> Look:
        return self._look(self._outcome.olds[old])

    def _look(self, row: Known) -> Look:
        values = row.bank_values
        return values.amount, values.transacted_on, self._board.key(values.description), row.state


def _distinct(rows: Iterable[Known]) -> tuple[Known, ...]:
    return tuple(dict.fromkeys(rows))[:MOST_CANDIDATES]
