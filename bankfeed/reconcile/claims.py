"""Pass 5: rows that are found by weighing: what the bank no longer lists against what nothing explains yet.

A pair's cost is counted in days: the days between the two dates, and what their texts differ by. The cheapest pair is
taken first, each row once. A posting that the bank had listed beside its pending row competes with the new ones.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal

from bankfeed.model import Known
from bankfeed.reconcile.amounts import explain_amount
from bankfeed.reconcile.board import ACTIVE, EARLIEST_DAYS, LATEST_DAYS, PENDING, REMOVED, SHADOW, Board, Edge
from bankfeed.reconcile.changes import Rule
from bankfeed.reconcile.identity import REPOST_DAYS, find_linked
from bankfeed.reconcile.texts import Likeness, words_of

GAP = timedelta(days=3)
"""How long a pending row may be gone before it posts as another amount, on any day."""

NEAR_DAYS = 1
"""How far apart two rows may be dated that nothing else tells apart."""

_FEW = 32
_MANY = 8
_CROWD = 256
_RETURN_COST = 2.0  # the row was out of view already; one that leaves just now explains more
_GONE_COST = 8.0  # the same where the amount changed as well
_LATE_COST = 4.0
_HEAD_CHARS = 4


def join_links(board: Board) -> None:
    """Join postings known under their own id, or whose id proved nothing, to the pending rows that the feed names."""
    for new, reported in enumerate(board.news):
        if reported.pending_id is None or reported.state is not ACTIVE or not _is_target(board, new):
            continue
        old = find_linked(board, reported.pending_id)
        if old is None:
            continue
        if board.is_open(new):
            board.pair(old, new, Rule.LINK)
        elif _has_nothing_to_lose(board, new):
            board.join(old, new, Rule.LINK)
        else:
            board.group((old,), (new,), Rule.LINK)


def claim_equal_amounts(board: Board) -> None:
    """Claim rows of equal amount, the nearest in text and date first."""
    olds = _by_amount(board, _claimable(board))
    if not olds:
        return
    targets: dict[Decimal, list[int]] = defaultdict(list)
    for new in list_targets(board):
        if (amount := board.news[new].values.amount) in olds:
            targets[amount].append(new)
    edges: list[Edge] = []
    for amount, news in targets.items():
        shelf = Shelf(board, olds[amount])
        edges += _weigh(board, ((old, new) for new in news for old in shelf.near(new)))
    _settle(board, edges)


def claim_changed_amounts(board: Board) -> None:
    """Claim postings whose amount changed on the way: tips, holds, token checks, rates."""
    olds = [old for old in _claimable(board) if _may_have_changed(board, old)]
    shelves = _shelve_by_word(board, olds)
    if shelves:
        _settle(board, [edge for new in list_targets(board) for edge in _weigh_changed(board, shelves, new)])


def claim_reissued(board: Board) -> None:
    """Claim pending rows that are listed anew a day apart, once all postings have found theirs."""
    olds = _by_amount(board, (old for old in _claimable(board) if board.olds[old].state is PENDING))
    pairs = [
        (old, new)
        for new in board.open_news()
        if board.news[new].state is PENDING
        for old in olds.get(board.news[new].values.amount, ())
    ]
    _settle(board, list(_weigh(board, pairs, pending_days=NEAR_DAYS)))


def weigh_equal_postings(board: Board) -> None:
    """Weigh what else a booked pending row could have posted as, where equal content decided: for finding ties only."""
    booked = [
        old
        for old, new in board.new_of.items()
        if board.rule_of[old] is Rule.CONTENT
        and board.olds[old].state is PENDING
        and board.olds[old].has_act
        and board.news[new].state is ACTIVE
    ]
    if not booked:
        return
    shelf_of = _news_by_amount(board, {board.olds[old].bank_values.amount for old in booked})
    for old in booked:
        for new in shelf_of[board.olds[old].bank_values.amount][:_FEW]:
            cost = _equal_cost(board, old, new, is_late=False, pending_days=0)
            if cost is not None:
                board.edges.append(Edge(cost=cost, old=old, new=new, rule=Rule.EQUAL_AMOUNT))


def _news_by_amount(board: Board, amounts: set[Decimal]) -> dict[Decimal, list[int]]:
    """Index the postings that are new, or that another pending row has claimed in this list."""
    found: dict[Decimal, list[int]] = defaultdict(list)
    for new, row in enumerate(board.news):
        claimant = board.old_of.get(new)
        is_fresh = claimant is None or board.olds[claimant].state is PENDING
        if row.state is ACTIVE and is_fresh and row.values.amount in amounts:
            found[row.values.amount].append(new)
    return found


class Shelf:
    """Known rows in order of date, for taking only those near a date: a crowd must not cost its square."""

    def __init__(self, board: Board, olds: Iterable[int]) -> None:
        self._board = board
        dated = sorted(olds, key=lambda old: (board.olds[old].bank_values.transacted_on, board.arrival(old)))
        self._reach = (_FEW if len(dated) <= _CROWD else _MANY) // 2
        self._all = self._dated(dated)
        by_key: dict[str, list[int]] = defaultdict(list)
        if len(dated) > self._reach:
            for old in dated:
                by_key[board.old_content(old)[2]].append(old)
        self._by_key = {key: self._dated(same) for key, same in by_key.items()}

    def near(self, new: int) -> set[int]:
        """Return the known rows nearest in date to a reported one, those of the same text besides."""
        on, key = self._board.news[new].values.transacted_on, self._board.new_content(new)[2]
        near = set(self._around(self._all, on))
        return near.union(self._around(self._by_key[key], on)) if key in self._by_key else near

    def _dated(self, olds: list[int]) -> tuple[list[date], list[int]]:
        return [self._board.olds[old].bank_values.transacted_on for old in olds], olds

    def _around(self, dated: tuple[list[date], list[int]], on: date) -> list[int]:
        dates, olds = dated
        place = bisect_left(dates, on)
        return olds[max(0, place - self._reach) : place + self._reach]


def _claimable(board: Board) -> list[int]:
    """List the known rows that the bank no longer has, as far as this pull can say."""
    return [old for old in board.free_olds() if _is_absent(board, old)]


def _is_absent(board: Board, old: int) -> bool:
    row = board.olds[old]
    if (row.deleted_at is not None or row.merged_into is not None) and not _was_listed_lately(board, row):
        return False  # out of view for good, it would swallow somebody's next purchase
    if row.state is SHADOW:
        return True
    if row.state is REMOVED:
        return not row.has_joined
    if old in board.withdrawn:
        return True
    return board.is_full and (row.state is PENDING or board.is_in_window(old))


def _was_listed_lately(board: Board, row: Known) -> bool:
    """Tell whether the bank had a row until this list, or a pending one until some days ago."""
    if row.state is REMOVED and row.merged_into is None and row.removed_at is not None:
        return board.now - row.removed_at <= GAP
    return row.state in (PENDING, ACTIVE)


def list_targets(board: Board) -> list[int]:
    """List the reported rows that may be claimed: the unexplained ones, and postings that could have joined late."""
    return [new for new in range(len(board.news)) if _is_target(board, new)]


def _is_target(board: Board, new: int) -> bool:
    state = board.news[new].state
    if board.is_open(new):
        return state in (ACTIVE, PENDING)
    return state is ACTIVE and new in board.old_of and _can_leave(board, board.old_of[new])


def _can_leave(board: Board, younger: int) -> bool:
    """Tell whether a listed row may turn out to be the posting of an older pending one."""
    row = board.olds[younger]
    return row.state in (ACTIVE, SHADOW) and not row.has_joined and row.merged_into is None


def can_join(board: Board, old: int, new: int) -> bool:
    """Tell whether the pending row was still listed when the posting first was."""
    row, younger = board.olds[old], board.olds[board.old_of[new]]
    return (
        board.is_gone(old)
        and row.state is PENDING
        and row.merged_into is None
        and row.first_pulled_at <= younger.first_pulled_at
    )


def _by_amount(board: Board, olds: Iterable[int]) -> dict[Decimal, list[int]]:
    found: dict[Decimal, list[int]] = defaultdict(list)
    for old in olds:
        found[board.olds[old].bank_values.amount].append(old)
    return found


def _weigh(board: Board, pairs: Iterable[tuple[int, int]], *, pending_days: int = 0) -> Iterator[Edge]:
    for old, new in pairs:
        is_late = not board.is_open(new)
        if is_late and not can_join(board, old, new):
            continue
        cost = _equal_cost(board, old, new, is_late=is_late, pending_days=pending_days)
        if cost is not None:
            yield Edge(cost=cost, old=old, new=new, rule=Rule.LATE_JOIN if is_late else Rule.EQUAL_AMOUNT)


def _equal_cost(board: Board, old: int, new: int, *, is_late: bool, pending_days: int) -> float | None:
    """Return what believing an equal amount costs, or None where it must not be believed."""
    row, state, days = board.olds[old], board.news[new].state, board.days_between(old, new)
    likeness = board.likeness(old, new)
    if not board.may_become(old, new) or _have_other_checks(board, old, new):
        return None
    if state is PENDING:
        is_possible = row.state is PENDING and abs(days) <= pending_days and likeness.is_alike
    elif row.state in (ACTIVE, SHADOW):
        is_possible = _is_repost(likeness, abs(days), is_shadow=row.state is SHADOW)
    else:
        is_certain = row.state is PENDING and not is_late
        is_possible = EARLIEST_DAYS <= days <= LATEST_DAYS and (is_certain or likeness.is_alike)
    if not is_possible:
        return None
    cost = _days_cost(days) + likeness.cost + _RETURN_COST * (row.state in (SHADOW, REMOVED))
    return cost + _late_cost(board, new) if is_late else cost


def _days_cost(days: int) -> int:
    """Return what the days from a pending row to its posting cost: to be dated before it is rarer than after it."""
    return days if days >= 0 else -2 * days


def _late_cost(board: Board, new: int) -> float:
    """Return what it costs to believe a posting that was listed beside its pending row, more with each day of it.

    The rule is that a posting comes when its pending row goes.
    """
    younger = board.olds[board.old_of[new]]
    return _LATE_COST + max(0, (board.pull.at - younger.first_pulled_at).days)


def _is_repost(likeness: Likeness, days: int, *, is_shadow: bool) -> bool:
    """Tell whether a posted row may be listed anew so many days apart.

    One that leaves in the very list that brings the other may have another text, where the days agree.
    """
    if likeness.has_other_number:
        return False
    if likeness.is_alike or likeness.cost == 0:
        return days <= REPOST_DAYS
    return not is_shadow and days <= NEAR_DAYS


def _have_other_checks(board: Board, old: int, new: int) -> bool:
    mine, theirs = board.olds[old].bank_values.check_number, board.news[new].values.check_number
    return bool(mine and theirs) and mine.lstrip("0") != theirs.lstrip("0")


def _may_have_changed(board: Board, old: int) -> bool:
    return board.olds[old].state in (PENDING, REMOVED)


def _is_fresh(board: Board, old: int) -> bool:
    """Tell whether a row is pending, or was until lately.

    One gone for longer was cancelled more likely than not, and would take the next purchase at the same place: it is
    found by what is dated as it was.
    """
    row = board.olds[old]
    return row.removed_at is None or board.now - row.removed_at <= GAP


def _shelve_by_word(board: Board, olds: Iterable[int]) -> dict[str, Shelf]:
    found: dict[str, list[int]] = defaultdict(list)
    for old in olds:
        for word in _handles(board.old_content(old)[2]):
            found[word].append(old)
    return {word: Shelf(board, same) for word, same in found.items()}


def _handles(key: str) -> set[str]:
    """Return what a text can be found by: its telling words, and how it begins."""
    return {*words_of(key), key.replace(" ", "")[:_HEAD_CHARS]} - {""}


def _weigh_changed(board: Board, shelves: dict[str, Shelf], new: int) -> Iterator[Edge]:
    if board.news[new].state is not ACTIVE:
        return
    is_late = not board.is_open(new)
    found = [shelves[word].near(new) for word in _handles(board.new_content(new)[2]) if word in shelves]
    for old in sorted(set[int]().union(*found)):
        if not -NEAR_DAYS <= board.days_between(old, new) <= LATEST_DAYS or (is_late and not can_join(board, old, new)):
            continue
        likeness = board.likeness(old, new)
        if (is_late or board.olds[old].state is REMOVED) and not likeness.is_alike:
            continue
        if not _is_fresh(board, old) and abs(board.days_between(old, new)) > NEAR_DAYS:
            continue
        why = explain_amount(board.olds[old].bank_values.amount, board.news[new].values.amount, likeness)
        if why is not None:
            cost = _days_cost(board.days_between(old, new)) + likeness.cost + why.cost
            cost += _GONE_COST * (board.olds[old].state is REMOVED)
            cost += _late_cost(board, new) if is_late else 0
            yield Edge(cost=cost, old=old, new=new, rule=why.rule)


def _settle(board: Board, edges: list[Edge]) -> None:
    """Take the cheapest edge first, each row once; where costs are equal, rows with a person's act, then by arrival."""

    def order(edge: Edge) -> tuple[object, ...]:
        return edge.cost, not board.olds[edge.old].has_act, board.arrival(edge.old), edge.new

    taken: set[int] = set()
    for edge in sorted(edges, key=order):
        if not board.is_free(edge.old) or edge.new in taken:
            continue
        if board.is_open(edge.new):
            board.pair(edge.old, edge.new, edge.rule)
        elif _has_nothing_to_lose(board, edge.new):
            board.join(edge.old, edge.new, edge.rule)
        else:
            continue
        taken.add(edge.new)
    board.edges += edges


def _has_nothing_to_lose(board: Board, new: int) -> bool:
    """Tell whether the younger row bears no link, lock or split; one that does stays, and the pending row leaves."""
    row = board.olds[board.old_of[new]]
    return not (row.entries or row.is_reconciled or row.split_into)
