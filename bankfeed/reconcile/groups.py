"""Money that posts in another cut than it was pending in: several as one total, one as several (rule 5). Pure."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from bankfeed.reconcile.board import ACTIVE, EARLIEST_DAYS, LATEST_DAYS, PENDING, Board
from bankfeed.reconcile.changes import Rule
from bankfeed.reconcile.claims import can_join, list_targets
from bankfeed.reconcile.texts import words_of

POOL_ROWS = 10
"""How many rows are tried in every combination; more only all together."""

_LOOKS = 200_000  # rows per pull; a list made to exhaust them loses the explanation of its last groups, not a row


def find_groups(board: Board) -> None:
    """Find the totals of several absent pending rows, then the absent pending rows that posted in parts."""
    pendings = [old for old in board.free_olds() if _is_absent_pending(board, old)]
    if not pendings:
        return
    news = [new for new in list_targets(board) if board.news[new].state is ACTIVE]
    _find_totals(board, pendings, [new for new in news if board.is_open(new)])
    _find_splits(board, pendings, news)


def exact_subset(amounts: Sequence[Decimal], total: Decimal) -> tuple[int, ...] | None:
    """Return the indexes of two or more amounts that sum to a total exactly, the earliest such choice, or None.

    >>> exact_subset([Decimal(2), Decimal(3), Decimal(4)], Decimal(6))
    (0, 2)
    """
    whole = sum(amounts, Decimal(0))
    if len(amounts) > 1 and whole == total:
        return tuple(range(len(amounts)))
    if len(amounts) > POOL_ROWS or abs(whole) < abs(total):
        return None
    sums: dict[Decimal, tuple[int, ...]] = {Decimal(0): ()}
    for index, amount in enumerate(amounts):
        for reached, chosen in list(sums.items()):
            if reached + amount == total and chosen:
                return (*chosen, index)
            sums.setdefault(reached + amount, (*chosen, index))
    return None


def _is_absent_pending(board: Board, old: int) -> bool:
    row = board.olds[old]
    return row.state is PENDING and row.is_visible and (board.is_full or old in board.withdrawn)


def _find_totals(board: Board, pendings: list[int], news: list[int]) -> None:
    by_word: dict[str, list[int]] = defaultdict(list)
    for old in sorted(pendings, key=board.arrival):
        for word in words_of(board.old_content(old)[2]):
            by_word[word].append(old)
    left = _LOOKS
    for new in news:
        for word in sorted(words_of(board.new_content(new)[2])):
            left -= len(by_word.get(word, ()))
            if left < 0 or not board.is_open(new):
                break
            pool = [old for old in by_word.get(word, ()) if board.is_free(old) and _is_part_of_total(board, old, new)]
            chosen = exact_subset([board.olds[old].bank_values.amount for old in pool], board.news[new].values.amount)
            if chosen:
                board.group(tuple(pool[index] for index in chosen), (new,), Rule.TOTAL)


def _find_splits(board: Board, pendings: list[int], news: list[int]) -> None:
    by_word: dict[str, list[int]] = defaultdict(list)
    for new in news:
        for word in words_of(board.new_content(new)[2]):
            by_word[word].append(new)
    left = _LOOKS
    for old in sorted(pendings, key=board.arrival):
        for word in sorted(words_of(board.old_content(old)[2])):
            left -= len(by_word.get(word, ()))
            if left < 0 or not board.is_free(old):
                break
            pool = [new for new in by_word.get(word, ()) if _is_part_of_pending(board, old, new)]
            chosen = exact_subset([board.news[new].values.amount for new in pool], board.olds[old].bank_values.amount)
            if chosen:
                board.group((old,), tuple(pool[index] for index in chosen), Rule.SPLIT)


def _is_part_of_total(board: Board, old: int, new: int) -> bool:
    return _is_part(board, old, new, part=board.olds[old].bank_values.amount, whole=board.news[new].values.amount)


def _is_part_of_pending(board: Board, old: int, new: int) -> bool:
    """Tell whether a posting may be a part; one that was listed beside the pending row counts too, until it has joined."""
    if not board.is_open(new) and (new not in board.old_of or not can_join(board, old, new)):
        return False
    return _is_part(board, old, new, part=board.news[new].values.amount, whole=board.olds[old].bank_values.amount)


def _is_part(board: Board, old: int, new: int, *, part: Decimal, whole: Decimal) -> bool:
    is_near = EARLIEST_DAYS <= board.days_between(old, new) <= LATEST_DAYS
    return is_near and part * whole > 0 and abs(part) < abs(whole)
