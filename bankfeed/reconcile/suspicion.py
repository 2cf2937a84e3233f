"""Which pulls conclude nothing: what they lack is more likely missing from the list than from the bank (rule 9). Pure."""

from collections import Counter
from collections.abc import Set as AbstractSet
from datetime import timedelta

from bankfeed.model import Pull
from bankfeed.reconcile.board import ACTIVE, PENDING, Board, Content

CONFIRMED_AFTER = timedelta(hours=6)
"""How much later a second pull must be to confirm what the first one lacked."""

FEWEST_ROWS = 10
"""With fewer posted rows in the window, half of them may well be withdrawn."""


def find_failure(pull: Pull) -> str:
    """Say why a pull can neither be applied nor confirm anything, or ""."""
    if pull.error is not None:
        return f"the listing failed: {pull.error}"
    if not pull.is_complete:
        return "the listing is not complete"
    if pull.counted_rows is not None and pull.counted_rows != len(pull.rows):
        return f"the aggregator counted {pull.counted_rows} rows and listed {len(pull.rows)}"
    return ""


def find_suspicion(board: Board) -> str:
    """Say why the list cannot be believed as it stands, or ""."""
    if not board.is_full:
        return ""
    posted = _visible_in_window(board, is_posted=True)
    if not board.news and (posted or _visible_in_window(board, is_posted=False)):
        return "the list is empty and rows are known in its window"
    missing = missing_rows(board)
    if _are_too_many(missing, posted):
        return f"the list lacks {len(missing)} of {len(posted)} posted rows in its window"
    repeated = _repeated(board)
    return f"the list repeats {len(repeated)} rows, id and values, as a page that shifts would" if repeated else ""


def missing_rows(board: Board) -> frozenset[int]:
    """Return the posted rows in view, inside the window, that nothing in the list explains."""
    return frozenset(old for old in _visible_in_window(board, is_posted=True) if board.is_free(old))


def may_confirm(pull: Pull, held: Pull) -> bool:
    """Tell whether a pull is late enough, and from a newer attempt at the bank, to confirm one that is held."""
    is_newer = (pull.attempted_at or pull.at) > (held.attempted_at or held.at)
    return is_newer and pull.at - held.at >= CONFIRMED_AFTER and not find_failure(held)


def agrees(board: Board, held: Board) -> bool:
    """Tell whether a list still lacks what one before lacked, as far as both windows reach.

    What only this one lacks must not be suspicious by itself.
    """
    missing = missing_rows(board)
    before = {old for old in missing_rows(held) if board.is_in_window(old)}
    if not before <= missing or (not board.news and held.news) or not _repeated(board) <= _repeated(held):
        return False
    return not _are_too_many(missing - before, _visible_in_window(board, is_posted=True))


def _repeated(board: Board) -> frozenset[tuple[str, Content]]:
    """Return what stands in the list several times with one id and the same content, more often than it is known."""
    said = Counter(
        (i, board.new_content(new)) for new, i in enumerate(board.ids) if i and board.trusted_id(new) is None
    )
    return frozenset(
        row
        for row, count in said.items()
        if count > 1 and count > sum(board.old_content(old) == row[1] for old in board.olds_by_id.get(row[0], ()))
    )


def _are_too_many(missing: AbstractSet[int], posted: list[int]) -> bool:
    return len(posted) >= FEWEST_ROWS and 2 * (len(posted) - len(missing)) < len(posted)


def _visible_in_window(board: Board, *, is_posted: bool) -> list[int]:
    state = ACTIVE if is_posted else PENDING
    return [
        old
        for old in board.absentable
        if board.olds[old].state is state and board.olds[old].is_visible and board.is_in_window(old)
    ]
