"""What the rows become once everything is paired: values, ids, states and the kind of change. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from bankfeed.model import Known, Reported, TransactionState
from bankfeed.reconcile.board import ACTIVE, PENDING, REMOVED, SHADOW, Board, Group
from bankfeed.reconcile.changes import Change, ChangeKind, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Every row that the pull touched as it is afterwards, and why, by its index on the board; the changes to write."""

    olds: dict[int, Known]
    rules: dict[int, Rule]
    news: dict[int, Known]
    changes: tuple[Change, ...]


def conclude(board: Board) -> Outcome:
    """Return what becomes of each row: known ones in order of arrival, then new ones."""
    olds: dict[int, Known] = {}
    rules: dict[int, Rule] = {}
    news: dict[int, Known] = {}
    changes: list[Change] = []
    for old, after, rule in sorted(_touched(board), key=lambda touched: board.arrival(touched[0])):
        olds[old], rules[old] = after, rule
        before = board.olds[old]
        if after is not before and after != before:
            changes.append(Change(kind=kind_of(before, after), rule=rule, before=before, after=after))
    for new, after, rule in _added(board):
        news[new] = after
        changes.append(Change(kind=ChangeKind.ADDED, rule=rule, before=None, after=after))
    for old, new in board.new_of.items():
        news[new] = olds[old]
    return Outcome(olds=olds, rules=rules, news=news, changes=tuple(changes))


def list_lingering(board: Board, outcome: Outcome) -> Iterator[Known]:
    """Go through the shadow rows inside the window of a full list that it leaves as they are."""
    return (
        row
        for old, row in enumerate(board.olds)
        if row.state is SHADOW and board.is_full and board.is_in_window(old) and outcome.olds.get(old, row) == row
    )


def _touched(board: Board) -> list[tuple[int, Known, Rule]]:
    younger = {older: left for left, older in board.joined.items()}
    found = [
        (old, _part(board, old, _take_all(board, old, board.news[new], younger.get(old))), board.rule_of[old])
        for old, new in board.new_of.items()
    ]
    found += [
        (old, join(board.olds[old], board.olds[into], now=board.now), board.rule_of[into])
        for old, into in board.joined.items()
    ]
    for group in board.groups:
        found += [(old, replace(leave(board.olds[old], board.now), has_joined=True), group.rule) for old in group.olds]
    found += [
        (old, leave(board.olds[old], board.now), _leaving_rule(board, board.olds[old]))
        for old in board.absentable
        if board.olds[old].state in (PENDING, ACTIVE) and board.is_gone(old) and board.is_free(old)
    ]
    return found


def _part(board: Board, old: int, row: Known) -> Known:
    return replace(row, merged_into=None) if old in board.parted else row


def _take_all(board: Board, old: int, reported: Reported, younger: int | None) -> Known:
    """Let a row take what is reported, after the ids of the row that joined it."""
    row = board.olds[old]
    if younger is not None:
        for aggregator_id in board.olds[younger].aggregator_ids:
            row = replace(row, aggregator_ids=with_id(row.aggregator_ids, aggregator_id))
    return take(row, reported, now=board.now)


def take(row: Known, reported: Reported, *, now: datetime) -> Known:
    """Return a known row with what the bank says of it now. A reconciled row keeps its values.

    Where the bank says nothing new it is the row itself: most of a list is as it was, and 100,000 copies would cost.
    """
    if _says_the_same(row, reported):
        return row
    state = _next_state(row, reported.state)
    was_posted = row.state in (PENDING, REMOVED) and state is ACTIVE
    return replace(
        row,
        state=state,
        values=row.values if row.is_reconciled else reported.values,
        bank_values=reported.values,
        aggregator_ids=with_id(row.aggregator_ids, reported.aggregator_id),
        raw_amount=reported.raw_amount,
        raw_transacted_at=reported.raw_transacted_at,
        removed_at=(row.removed_at or now) if state is REMOVED else None,
        fingerprint="",
        shadow_verdict=row.shadow_verdict if state is SHADOW else None,
        has_joined=row.has_joined or was_posted,
    )


def _says_the_same(row: Known, reported: Reported) -> bool:
    current = row.aggregator_ids[-1] if row.aggregator_ids else None
    return (
        row.state is reported.state
        and row.bank_values == reported.values
        and (row.values is row.bank_values or row.is_reconciled or row.values == reported.values)
        and reported.aggregator_id == current
        and row.raw_amount == reported.raw_amount
        and row.raw_transacted_at == reported.raw_transacted_at
        and not row.fingerprint
        and (row.shadow_verdict is None or row.state is SHADOW)
    )


def leave(row: Known, now: datetime) -> Known:
    """Return a known row that the bank no longer has: a pending one removed, a posted one shadow."""
    if row.state is PENDING:
        return replace(row, state=REMOVED, removed_at=now)
    return replace(row, state=SHADOW) if row.state is ACTIVE else row


def join(younger: Known, older: Known, *, now: datetime) -> Known:
    """Return a row that leaves as joined to an older one: nothing of its own is left to be found by."""
    return replace(younger, state=REMOVED, removed_at=now, merged_into=older.id, has_joined=True)


def _added(board: Board) -> list[tuple[int, Known, Rule]]:
    groups: dict[int, Group] = {new: group for group in board.groups for new in group.news}
    return [
        (new, _add(board, new, has_joined=new in groups), groups[new].rule if new in groups else Rule.NEW)
        for new in range(len(board.news))
        if new not in board.old_of
    ]


def _add(board: Board, new: int, *, has_joined: bool) -> Known:
    reported = board.news[new]
    return Known(
        id=None,
        state=reported.state,
        values=reported.values,
        bank_values=reported.values,
        aggregator_ids=with_id((), reported.aggregator_id),
        first_pulled_at=board.pull.at,
        raw_amount=reported.raw_amount,
        raw_transacted_at=reported.raw_transacted_at,
        has_joined=has_joined,
    )


def _next_state(row: Known, reported: TransactionState) -> TransactionState:
    if reported is SHADOW:
        return REMOVED if row.state in (PENDING, REMOVED) else SHADOW
    if reported is PENDING and row.state in (ACTIVE, SHADOW):
        return SHADOW  # only a deleted or merged row gets here; nothing posted becomes pending again
    return reported


def with_id(ids: tuple[str, ...], aggregator_id: str | None) -> tuple[str, ...]:
    """Return a row's ids with one more, which becomes the current one; a blank one is none."""
    if aggregator_id is None or not aggregator_id.strip() or (ids and ids[-1] == aggregator_id):
        return ids
    return (*(known for known in ids if known != aggregator_id), aggregator_id)


def _leaving_rule(board: Board, row: Known) -> Rule:
    if not (board.is_full or board.is_anew):
        return Rule.NAMED_REMOVED
    return Rule.PENDING_GONE if row.state is PENDING else Rule.WITHDRAWN


def kind_of(before: Known, after: Known) -> ChangeKind:
    """Return what a change by the feed means to those who see the row."""
    if after.merged_into is not None and before.merged_into is None:
        return ChangeKind.MERGED
    if before.is_visible != after.is_visible:
        return ChangeKind.RETURNED if after.is_visible else _leaving_kind(after)
    if not after.is_visible:
        return ChangeKind.RENAMED
    if before.state is not after.state:
        return ChangeKind.POSTED
    return ChangeKind.UPDATED if before.values != after.values else ChangeKind.RENAMED


def _leaving_kind(after: Known) -> ChangeKind:
    return ChangeKind.SHADOWED if after.state is SHADOW else ChangeKind.REMOVED
