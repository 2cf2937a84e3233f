"""Passes 1 to 4: rows that are found by what they say of themselves, id or content, without weighing."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal

from bankfeed.model import Known, TransactionId, TransactionState
from bankfeed.reconcile.amounts import HIGHEST_RATIO
from bankfeed.reconcile.board import ACTIVE, PENDING, REMOVED, SHADOW, Board, Content
from bankfeed.reconcile.changes import Rule

POSTING_DAYS = 45
"""How far from its pending row a posting under the same id may be dated."""
CORRECTION_DAYS = 14
"""How far a posted row may move under its id; institutions change their data up to about two weeks back."""
REPOST_DAYS = 5
"""How far apart two posted rows may be dated and still be one."""

_FINGERPRINTS = 200_000  # per pull; where a list exhausts them, erased rows return as new ones

# Which known rows a reported one takes first, by its state.
_STEPS: dict[TransactionState, tuple[TransactionState, ...]] = {
    ACTIVE: (ACTIVE, PENDING, SHADOW, REMOVED),
    PENDING: (PENDING, REMOVED, ACTIVE, SHADOW),
    SHADOW: (SHADOW, ACTIVE, PENDING, REMOVED),
}


def pair_ids_with_content(board: Board) -> None:
    """Pass 1: the id is known, and the row under it says the same."""
    for new in board.open_news():
        same = [old for old in _bearers(board, new) if board.has_same_content(old, new)]
        if same:
            board.pair(min(same, key=_readiness(board)), new, Rule.ID_AND_CONTENT)


def pair_links(board: Board) -> None:
    """Pass 2: the feed says which pending row this is the posting of, or what it is pending as now; of any amount.

    A pending row still listed beside its posting stays; several postings of one are a group.
    """
    linked = [new for new in board.open_news() if board.news[new].pending_id and _may_follow(board, new)]
    posted = _posted_without_id(board, linked)
    postings: dict[str, list[int]] = defaultdict(list)
    for new in linked:
        if board.new_content(new) not in posted and not _is_posted_already(board, new):
            postings[board.news[new].pending_id or ""].append(new)
    for pending_id, news in postings.items():
        old = find_linked(board, pending_id)
        if old is None:
            continue
        parts = tuple(new for new in news if board.news[new].state is ACTIVE)
        if len(news) == 1:
            board.pair(old, news[0], Rule.LINK)
        elif len(parts) > 1:
            board.group((old,), parts, Rule.SPLIT)


def _may_follow(board: Board, new: int) -> bool:
    """Tell whether a row may be what a pending one became: a posting, or a pending row under an id of its own."""
    state = board.news[new].state
    return state is ACTIVE or (state is PENDING and board.trusted_id(new) is not None)


def find_linked(board: Board, pending_id: str) -> int | None:
    """Return the pending row, or its tombstone, that an explicit link names and that this list no longer has."""
    if board.is_listed_id(pending_id):
        return None
    named = [
        old
        for old in board.olds_by_id.get(pending_id, ())
        if board.is_free(old) and board.can_match(old) and _awaits_posting(board.olds[old])
    ]
    return min(named, key=_readiness(board), default=None)


def _awaits_posting(row: Known) -> bool:
    return row.state is PENDING or (row.state is REMOVED and not row.has_joined)


def pair_content(board: Board) -> None:
    """Pass 3: rows that say the same are matched by count; n equal purchases stay n rows."""
    news: dict[Content, list[int]] = defaultdict(list)
    for new in board.open_news():
        news[board.new_content(new)].append(new)
    olds = _olds_by_content(board, news)
    for content in olds:
        _pair_equal(board, sorted(olds[content], key=_readiness(board)), news[content])
    wandered = sum(_has_wandered(board, new) for content in olds for new in news[content])
    board.has_wandering_ids = wandered > sum(rule is Rule.ID_AND_CONTENT for rule in board.rule_of.values())


def pair_ids(board: Board) -> None:
    """Pass 4: the id alone, where the row under it is plausible; not in a list that deals its ids out anew."""
    if board.has_wandering_ids:
        return
    contents = {board.new_content(new) for new in range(len(board.news))}
    waiting = _waiting_by_amount(board)
    for new in board.open_news():
        likely = [old for old in _bearers(board, new) if _is_plausible(board, old, new, contents, waiting)]
        if not likely:
            continue
        old = min(likely, key=lambda old: (not _is_current(board, old, new), *_readiness(board)(old)))
        board.pair(old, new, _id_rule(board, old, new))


def _bearers(board: Board, new: int) -> list[int]:
    """List the free rows that ever had the reported row's id, where that id can be trusted."""
    aggregator_id = board.trusted_id(new)
    if aggregator_id is None:
        return []
    return [
        old
        for old in board.olds_by_id.get(aggregator_id, ())
        if board.is_free(old) and board.can_match(old) and board.may_become(old, new)
    ]


def _readiness(board: Board) -> Callable[[int], tuple[object, ...]]:
    """Order equal candidates: in view before out of it, with a person's act before without, then by arrival."""

    def order(old: int) -> tuple[object, ...]:
        row = board.olds[old]
        is_out = row.deleted_at is not None or row.merged_into is not None or row.state is REMOVED
        return is_out, row.state is not ACTIVE, not row.has_act, board.arrival(old)

    return order


def _is_posted_already(board: Board, new: int) -> bool:
    """Tell whether the posting is known under its own id; its pending row then joins late, or stays."""
    return any(board.olds[old].state in (ACTIVE, SHADOW) for old in _bearers(board, new))


def _posted_without_id(board: Board, linked: list[int]) -> set[Content]:
    """Find what postings that have no id say, where a posted row is known to say the same."""
    contents: dict[Content, list[int]] = defaultdict(list)
    for new in linked:
        if board.trusted_id(new) is None:
            contents[board.new_content(new)].append(new)
    found = _olds_by_content(board, contents)
    return {said for said, olds in found.items() if any(board.olds[old].state in (ACTIVE, SHADOW) for old in olds)}


def _olds_by_content(board: Board, news: dict[Content, list[int]]) -> dict[Content, list[int]]:
    """Index the free known rows that say what an open reported row says, and nothing else of a long history."""
    found: dict[Content, list[int]] = defaultdict(list)
    if not news:
        return found
    amounts = {amount for amount, _, _ in news}
    dates = {on for _, on, _ in news}
    erased = []
    for old, row in enumerate(board.olds):
        values = row.bank_values
        if values.transacted_on not in dates or (values.amount not in amounts and not row.fingerprint):
            continue
        if row.fingerprint:
            erased.append(old)
        elif board.is_free(old) and board.can_match(old):
            content = board.old_content(old)
            if content in news:
                found[content].append(old)
    for old, content in _recognise(board, erased, news):
        found[content].append(old)
    return dict(sorted(found.items()))


def _recognise(board: Board, erased: list[int], news: dict[Content, list[int]]) -> Iterator[tuple[int, Content]]:
    """Find what erased rows once said among the contents of their day."""
    days: dict[date, list[Content]] = defaultdict(list)
    for content in news if erased else ():
        days[content[1]].append(content)
    left = _FINGERPRINTS
    for old in sorted(filter(board.is_free, erased), key=board.arrival):
        same_day = days[board.olds[old].bank_values.transacted_on]
        left -= len(same_day)
        if left < 0:
            break
        yield from ((old, content) for content in same_day if board.has_same_content(old, news[content][0]))


def _pair_equal(board: Board, olds: list[int], news: list[int]) -> None:
    """Pair rows of one content: as they were last listed, then like states, then what may become what."""
    _pair_as_before(board, olds, news)
    for step in range(len(TransactionState)):
        for reported_state, steps in _STEPS.items():
            waiting = [new for new in news if board.is_open(new) and board.news[new].state is reported_state]
            ready = [old for old in olds if board.is_free(old) and board.olds[old].state is steps[step]]
            if step:
                ready = [old for old in ready if not _has_own_posting(board, old)]
            _pair_in_order(board, ready, waiting)


def _has_own_posting(board: Board, old: int) -> bool:
    """Tell whether a pending row's own id stands on a posting of its amount and like text: pass 4 is to find that one."""
    row = board.olds[old]
    new = board.find_new(row.aggregator_ids[-1]) if row.state is PENDING and row.aggregator_ids else None
    if new is None or not board.is_open(new) or board.news[new].values.amount != row.bank_values.amount:
        return False
    return board.likeness(old, new).is_alike


def _pair_as_before(board: Board, olds: list[int], news: list[int]) -> None:
    """Leave rows of one content their ids and states, also ids that prove nothing, so that an equal list moves none.

    Texts of one content may be written differently: those written as before come first.
    """
    if not board.is_full:
        return
    for is_exact in (True, False):
        waiting: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for new in reversed(news):
            if board.is_open(new):
                row = board.news[new]
                waiting[board.ids[new], row.state, row.values if is_exact else None].append(new)
        for old in filter(board.is_free, olds):
            known = board.olds[old]
            current = known.aggregator_ids[-1] if known.aggregator_ids else None
            same = waiting.get((current, known.state, known.bank_values if is_exact else None))
            if same:
                board.pair(old, same.pop(), Rule.CONTENT)


def _pair_in_order(board: Board, olds: list[int], news: list[int]) -> None:
    """Pair the rows of one content and two states by arrival."""
    if not olds or not news:
        return
    olds = [old for old in olds if board.may_become(old, news[0])]
    if board.is_full:
        _zip(board, olds, news)
    else:
        _pair_in_delta(board, olds, news)


def _pair_in_delta(board: Board, olds: list[int], news: list[int]) -> None:
    """Pair what a delta does not name: with rows that are gone, and with rows that are now given their first id."""
    _zip(board, [old for old in olds if old in board.withdrawn or board.olds[old].state in (SHADOW, REMOVED)], news)
    named = [new for new in news if board.is_open(new) and board.trusted_id(new) is not None]
    _zip(board, [old for old in olds if _lacks_id(board, old, news[0])], named)


def _lacks_id(board: Board, old: int, new: int) -> bool:
    row = board.olds[old]
    return board.is_free(old) and not row.aggregator_ids and row.state is board.news[new].state


def _zip(board: Board, olds: list[int], news: list[int]) -> None:
    for old, new in zip(olds, news, strict=False):
        board.pair(old, new, Rule.CONTENT)


def _has_wandered(board: Board, new: int) -> bool:
    """Tell whether a row found by content now stands under an id that was another row's."""
    aggregator_id, old = board.trusted_id(new), board.old_of.get(new)
    if aggregator_id is None or old is None or aggregator_id in board.olds[old].aggregator_ids:
        return False
    return any(_is_current(board, bearer, new) for bearer in board.olds_by_id.get(aggregator_id, ()))


def _is_current(board: Board, old: int, new: int) -> bool:
    ids = board.olds[old].aggregator_ids
    return bool(ids) and ids[-1] == board.trusted_id(new)


def _waiting_by_amount(board: Board) -> dict[Decimal, list[int]]:
    """Index the pending rows that nothing in the list explains yet."""
    found: dict[Decimal, list[int]] = defaultdict(list)
    for old in board.free_olds():
        if board.olds[old].state is PENDING:
            found[board.olds[old].bank_values.amount].append(old)
    return found


def _is_awaited(board: Board, new: int, waiting: dict[Decimal, list[int]]) -> bool:
    """Tell whether a reported row looks like the posting of a pending one."""
    return any(
        abs(board.days_between(old, new)) <= CORRECTION_DAYS and board.likeness(old, new).is_alike
        for old in waiting.get(board.news[new].values.amount, ())
    )


def _is_plausible(board: Board, old: int, new: int, contents: set[Content], waiting: dict[Decimal, list[int]]) -> bool:
    """Tell whether an id that both rows have can be believed: same amount, or same sign and similar text."""
    row, days = board.olds[old], abs(board.days_between(old, new))
    if row.fingerprint or days > _id_days(board, old):
        return False
    before, after = row.bank_values.amount, board.news[new].values.amount
    if before == after:
        return True
    if before * after < 0:
        return False
    if row.state in (PENDING, REMOVED):
        return board.likeness(old, new).is_alike or _is_near(board, old, new)
    is_explained = board.old_content(old) in contents or _is_awaited(board, new, waiting)
    return board.likeness(old, new).is_alike and not is_explained


def _is_near(board: Board, old: int, new: int) -> bool:
    """Tell whether a pending row's current id says enough, though text and amount differ.

    A delta deals no id twice, and says of no row under its own id that it is gone; in a list a word has to be shared.
    """
    if board.olds[old].state is not PENDING or not _is_current(board, old, new):
        return False
    if not board.is_full:
        return True
    before, after = abs(board.olds[old].bank_values.amount), abs(board.news[new].values.amount)
    return board.likeness(old, new).has_shared and before <= after * HIGHEST_RATIO and after <= before * HIGHEST_RATIO


def _id_days(board: Board, old: int) -> int:
    row = board.olds[old]
    if row.state in (PENDING, REMOVED) and row.merged_into is None:
        return POSTING_DAYS
    on = row.bank_values.transacted_on
    return CORRECTION_DAYS if board.pull.from_on <= on <= board.pull.to_on else REPOST_DAYS


def _id_rule(board: Board, old: int, new: int) -> Rule:
    row, reported = board.olds[old], board.news[new]
    has_moved = row.bank_values.amount != reported.values.amount
    return Rule.CORRECTION if has_moved and row.state in (ACTIVE, SHADOW) else Rule.ID


def speak_for_survivors(board: Board) -> None:
    """Let a listed row that a person merged away speak for the row it was merged into, where that one is not listed."""
    by_id = {row.id: old for old, row in enumerate(board.olds)} if _has_merged(board) else {}
    for tombstone in [old for old in board.new_of if board.olds[old].merged_into is not None]:
        survivor = _survivor(board, by_id, tombstone)
        if survivor is not None and board.is_gone(survivor) and board.is_free(survivor):
            new = board.new_of[tombstone]
            if board.may_become(survivor, new):
                board.hand_over(tombstone, survivor)


def _has_merged(board: Board) -> bool:
    return any(board.olds[old].merged_into is not None for old in board.new_of)


def _survivor(board: Board, by_id: dict[TransactionId | None, int], tombstone: int) -> int | None:
    """Follow `merged_into` to the row that still stands, or None where that is not among the known rows."""
    seen = {tombstone}
    row = board.olds[tombstone]
    while row.merged_into is not None:
        old = by_id.get(row.merged_into)
        if old is None or old in seen:
            return None
        seen.add(old)
        row = board.olds[old]
    return by_id.get(row.id)
