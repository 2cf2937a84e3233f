"""Laws that hold for every feed, however it misbehaves."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bankfeed.model import FeedKind, Known, Pull, Reported, TransactionId, TransactionState, Values
from bankfeed.reconcile import Changes, Past, Verdict, reconcile
from bankfeed.reconcile.adoption import Identity
from bankfeed.replay.book import Book

FIRST_ON = date(2026, 3, 1)
DAYS = 12
LAWS = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

PENDING, ACTIVE, SHADOW, REMOVED = TransactionState
ALLOWED = {
    (PENDING, ACTIVE),
    (PENDING, REMOVED),
    (ACTIVE, SHADOW),
    (SHADOW, ACTIVE),
    (REMOVED, PENDING),
    (REMOVED, ACTIVE),
}

reported = st.builds(
    Reported,
    aggregator_id=st.one_of(st.none(), st.sampled_from(["1", "2", "3", "4", "5", " "])),
    state=st.sampled_from([PENDING, ACTIVE, ACTIVE, SHADOW]),
    values=st.builds(
        Values,
        amount=st.sampled_from(
            [Decimal(text) for text in ("-4.50", "-5.00", "-1.00", "-9.00", "9.00", "-100.00", "0.00")]
        ),
        transacted_on=st.integers(0, DAYS - 1).map(lambda days: FIRST_ON + timedelta(days=days)),
        description=st.sampled_from(["ROAST", "PENDING ROAST", "ROAST 12", "ROAST 13", "GROCER", ""]),
    ),
    pending_id=st.one_of(st.none(), st.none(), st.sampled_from(["1", "2", "3"])),
)
lists = st.lists(reported, max_size=9)
histories = st.lists(lists, min_size=1, max_size=5)


def pull_of(rows: list[Reported], number: int, kind: FeedKind = FeedKind.FULL) -> Pull:
    """Return the pull of one night; the window holds every date that is drawn."""
    return Pull(
        at=datetime(2026, 3, 13, 6, tzinfo=UTC) + timedelta(days=number),
        kind=kind,
        from_on=FIRST_ON,
        to_on=FIRST_ON + timedelta(days=DAYS),
        is_complete=True,
        rows=tuple(rows),
    )


def book_after(history: list[list[Reported]]) -> Book:
    """Return a book with one account that has pulled every list, a night each."""
    book = Book()
    book.open_account("a", identity=Identity(institution="", type="", number=""), currency="USD")
    for number, rows in enumerate(history):
        book.pull("a", pull_of(rows, number))
    return book


def plans(book: Book) -> list[Changes]:
    """List what became of each pull."""
    return [taken.changes for taken in book.pulls.values()]


def in_view(rows: Iterable[Known]) -> Counter[tuple[Decimal, date, str, TransactionState]]:
    """Count the rows in view by what people see of them."""
    return Counter(
        (row.values.amount, row.values.transacted_on, row.values.description, row.state)
        for row in rows
        if row.state in (PENDING, ACTIVE) and row.deleted_at is None
    )


@LAWS
@given(histories)
def test_what_is_in_view_is_what_the_bank_lists(history: list[list[Reported]]) -> None:
    """After a complete list that is applied, the rows in view are the bank's, as many and in its states."""
    book = book_after(history)
    listed = Counter(
        (row.values.amount, row.values.transacted_on, row.values.description, row.state)
        for row in history[-1]
        if row.state is not SHADOW
    )
    if plans(book)[-1].verdict is Verdict.APPLIED:
        assert in_view(book.rows("a")) == listed


@LAWS
@given(histories)
def test_the_same_list_again_changes_nothing(history: list[list[Reported]]) -> None:
    """A list that comes again a night later, like the same pull again, has no rows."""
    book = book_after(history)
    if plans(book)[-1].verdict is not Verdict.APPLIED:
        return
    rows = history[-1]
    again = book.pull("a", pull_of(rows, len(history) - 1))
    settled = book.pull("a", pull_of(rows, len(history)))

    assert again.verdict is Verdict.REPEATED
    assert settled.rows == ()


@LAWS
@given(histories, st.randoms(use_true_random=False))
def test_order_does_not_matter(history: list[list[Reported]], random: Random) -> None:
    """Neither the order of the reported rows nor that of the known ones changes the plan."""
    known = book_after(history[:-1]).rows("a")
    rows = history[-1]
    plan = reconcile(known, pull_of(rows, 9), now=datetime(2026, 3, 22, tzinfo=UTC))
    shuffled, shuffled_known = random.sample(rows, len(rows)), random.sample(known, len(known))

    assert reconcile(shuffled_known, pull_of(shuffled, 9), now=datetime(2026, 3, 22, tzinfo=UTC)) == plan


@LAWS
@given(histories)
def test_states_move_only_as_they_may(history: list[list[Reported]]) -> None:
    """No row moves between states other than the state table allows; pending never becomes shadow."""
    book = book_after(history)
    moves = {
        (change.before.state, change.after.state)
        for plan in plans(book)
        for change in plan.rows
        if change.before is not None and change.before.state is not change.after.state
        if change.after.merged_into is None
    }
    assert moves <= ALLOWED


@LAWS
@given(histories)
def test_a_late_older_pull_is_harmless(history: list[list[Reported]]) -> None:
    """A pull older than the last applied one changes nothing."""
    book = book_after(history)
    if book.account("a").past.last_at == pull_of([], len(history) - 1).at:
        assert book.pull("a", pull_of(history[0], -1)).verdict is Verdict.STALE


@LAWS
@given(histories, lists)
def test_acts_leave_view_only_with_a_doubt(history: list[list[Reported]], rows: list[Reported]) -> None:
    """Whatever is listed next, each row with an entry is in view or in doubt."""
    known = [_booked(row) for row in book_after(history).rows("a")]
    plan = reconcile(known, pull_of(rows, 9), now=datetime(2026, 3, 22, tzinfo=UTC))
    doubted = {doubt.transaction.id for doubt in plan.doubts}
    gone = {
        change.after.id
        for change in plan.rows
        if change.before is not None and change.before.state in (PENDING, ACTIVE)
        if change.after.state not in (PENDING, ACTIVE)
    }
    assert gone <= doubted


@LAWS
@given(histories, lists)
def test_locks_hold_and_deletions_stand(history: list[list[Reported]], rows: list[Reported]) -> None:
    """No list changes the values of a reconciled row or brings back a deleted one."""
    locked = [_locked(row) for row in book_after(history).rows("a")]
    plan = reconcile(locked, pull_of(rows, 9), now=datetime(2026, 3, 22, tzinfo=UTC))
    changed = [change for change in plan.rows if change.before is not None]

    assert all(c.before is not None and c.after.values == c.before.values for c in changed)
    assert all(c.before is not None and c.after.deleted_at == c.before.deleted_at for c in changed)


@LAWS
@given(histories, lists)
def test_a_delta_leaves_alone_what_it_does_not_name(history: list[list[Reported]], rows: list[Reported]) -> None:
    """No row leaves view in a delta that removes none, unless the delta lists its id or its content, or links to it."""
    known = book_after(history).rows("a")
    plan = reconcile(known, pull_of(rows, 9, FeedKind.DELTA), now=datetime(2026, 3, 22, tzinfo=UTC))
    named = {row.aggregator_id for row in rows} | {row.pending_id for row in rows}
    contents = {(row.values.amount, row.values.transacted_on) for row in rows}
    for change in plan.rows:
        if change.before is not None and change.before.state is not change.after.state:
            values = change.before.bank_values
            is_named = bool(named & set(change.before.aggregator_ids))
            is_out = change.before.state in (SHADOW, REMOVED)
            assert is_named or is_out or (values.amount, values.transacted_on) in contents


@LAWS
@given(st.lists(lists, min_size=2, max_size=4))
def test_every_row_has_one_place(history: list[list[Reported]]) -> None:
    """A plan writes each known row at most once."""
    for plan in plans(book_after(history)):
        ids = [change.before.id for change in plan.rows if change.before is not None]
        assert len(ids) == len(set(ids))


@LAWS
@given(histories)
def test_more_known_rows_than_needed_change_nothing(history: list[list[Reported]]) -> None:
    """Rows of years ago beside those that a pull is about make no difference."""
    known = book_after(history[:-1]).rows("a")
    now = datetime(2026, 3, 22, tzinfo=UTC)
    old = [_old(number) for number in range(3)]
    alone = reconcile(known, pull_of(history[-1], 9), now=now, past=Past())

    assert reconcile([*old, *known], pull_of(history[-1], 9), now=now, past=Past()) == alone


def _booked(row: Known) -> Known:
    return _with(row, entries=("L",))


def _locked(row: Known) -> Known:
    if row.id is not None and row.id % 2:
        return _with(row, is_reconciled=True)
    return _with(row, is_reconciled=True, deleted_at=datetime(2026, 3, 21, tzinfo=UTC))


def _with(row: Known, **changes: Any) -> Known:
    return replace(row, **changes) if row.merged_into is None else row


def _old(number: int) -> Known:
    values = Values(amount=Decimal("-4.50"), transacted_on=date(2024, 3, 1 + number), description="ROAST")
    return Known(
        id=TransactionId(1000 + number),
        state=ACTIVE,
        values=values,
        bank_values=values,
        aggregator_ids=(f"old{number}",),
        first_pulled_at=datetime(2024, 3, 9, tzinfo=UTC),
    )
