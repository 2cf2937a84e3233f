"""The store in memory: what is taken back, and what a doubt comes to whose row a person works with meanwhile."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.errors import ActRefused
from bankfeed.model import PullId, ShadowPolicy, TransactionId, TransactionState
from bankfeed.replay.book import Book
from bankfeed.replay.play import Replay
from tests.pure.history import play, read_history

AT = datetime(2026, 3, 20, 12, tzinfo=UTC)
ONE, TWO, THREE = map(TransactionId, range(1, 4))
ACTIVE, SHADOW, REMOVED = TransactionState.ACTIVE, TransactionState.SHADOW, TransactionState.REMOVED
TIE = """
pull 03-03
  p1 ! 03-02 -20.00 CORNER CAFE
link L1 -20.00
pull 03-05
  a1 * 03-04 -20.00 CORNER CAFE EAST
  a2 * 03-04 -20.00 CORNER CAFE WEST
  a3 * 03-04 -20.00 SOMETHING ELSE
"""
MATCHED = """
pull 03-03
  p1 ! 03-02 -20.00 CORNER CAFE
link L1 -20.00
pull 03-05
  a1 * 03-04 -24.00 CORNER CAFE <p1
"""

NAMED_LATE = MATCHED.replace(
    "pull 03-05", "pull 03-04\n  p1 ! 03-02 -20.00 CORNER CAFE\n  a1 * 03-04 -24.00 CORNER CAFE\npull 03-05"
)


def book_of(text: str, book: Book | None = None) -> Book:
    """Return the book that a history leads to; `book` is what it goes on from."""
    return play(read_history("Run.\n\n" + text).steps, Replay(book=book or Book())).book


def entries(book: Book) -> dict[int, tuple[str, ...]]:
    """Return the entries of each row that has any."""
    return {row.id: row.entries for row in book.rows("a") if row.id is not None and row.entries}


# ---- pulls ----------------------------------------------------------------------------------------------------------


def test_a_delta_is_not_undone() -> None:
    """What a delta brought is never listed again, so that its undo would lose it."""
    book = book_of("pull 03-03 delta\n  a1 * 03-02 -20.00 CAFE\npull 03-04 delta\n  a2 * 03-03 -5.00 KIOSK")
    with pytest.raises(ActRefused, match="expected a full list, which the bank gives again, got the delta 2"):
        book.undo_pull(PullId(2), at=AT)


def test_pulls_are_undone_one_after_the_other() -> None:
    """The last first, each once: a row goes back step by step, though others were undone since."""
    texts = ("CAFE", "CAFE NYC", "CAFE NYC 5")
    book = book_of("".join(f"\npull 03-0{n}\n  a1 * 03-02 -20.00 {text}" for n, text in enumerate(texts, 3)))
    book.undo_pull(PullId(3), at=AT)
    assert "CAFE NYC" == book.row(ONE).values.description
    book.undo_pull(PullId(2), at=AT)
    assert "CAFE" == book.row(ONE).values.description
    book_of("pull 03-21\n  a1 * 03-02 -20.00 CAFE NYC", book)
    with pytest.raises(ActRefused, match="expected pull 1 to be the last to change row 1, got pull 4"):
        book.undo_pull(PullId(1), at=AT)
    book.undo_pull(PullId(4), at=AT)
    book.undo_pull(PullId(1), at=AT)
    assert REMOVED is book.row(ONE).state


def test_a_booked_row_outlives_its_undone_pull() -> None:
    """A posted row that a person booked is shadow once its pull is undone, with a doubt, and is found weeks later."""
    book = book_of("pull 03-03\n  a1 * 03-02 -20.00 CAFE\n  a2 * 03-02 -5.00 KIOSK\nlink L1 -20.00")
    book.undo_pull(PullId(1), at=AT)
    assert [SHADOW, REMOVED] == [row.state for row in book.rows("a")]
    assert [ONE] == [question.row_id for question in book.questions.about_rows]
    book_of("pull 04-28\n  b1 * 03-02 -20.00 CAFE", book)
    assert (ACTIVE, ("L1",)) == (book.row(ONE).state, book.row(ONE).entries)
    assert () == book.questions.all


@pytest.mark.parametrize("act", ["mark_reconciled", "link"])
def test_an_undo_erases_nothing_that_a_person_works_with(act: str) -> None:
    """A row that was erased, came back and was worked with keeps its values when its return is undone."""
    other = "  a2 * 03-02 -5.00 KIOSK\n"
    listed = "  a1 * 03-02 -20.00 CAFE\n" + other
    book = book_of(f"pull 03-03\n{listed}pull 03-04\n{other}pull 03-05\n{listed}", Book(policy=ShadowPolicy.DELETE))
    words = ("L1",) if act == "link" else ()
    getattr(book, act)(ONE, *words, at=AT)
    book.undo_pull(PullId(3), at=AT)
    row = book.row(ONE)
    assert (SHADOW, "-20.00", "") == (row.state, str(row.values.amount), row.fingerprint)


# ---- matches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [MATCHED, NAMED_LATE])
def test_a_match_that_the_feed_names_stays_undone(text: str) -> None:
    """The same list again does not join what a person parted, however the posting came."""
    book = book_of(text)
    book.undo_match(ONE, at=AT)
    book_of("pull 03-21\n  a1 * 03-04 -24.00 CORNER CAFE <p1", book)
    assert [(REMOVED, ("L1",)), (ACTIVE, ())] == [(row.state, row.entries) for row in book.rows("a")]


def test_a_match_is_undone_after_an_undone_pull() -> None:
    """With the last pull undone, what the one before it matched can be parted."""
    book = book_of(MATCHED + "pull 03-06\n  a1 * 03-04 -24.00 CORNER CAFE NYC <p1")
    book.undo_pull(PullId(3), at=AT)
    book.undo_match(ONE, at=AT)
    assert [REMOVED, ACTIVE] == [row.state for row in book.rows("a")]


# ---- acts -----------------------------------------------------------------------------------------------------------


def read_adoption() -> Book:
    """Return a book whose second account was adopted by the first, after links on both: acts 1, 2 and 3."""
    opening: dict[str, Any] = {
        "op": "account",
        "account": "a",
        "institution": "i",
        "type": "checking",
        "currency": "USD",
    }
    shops = "".join(f"  a{n} * 02-0{n} -{n}.00 SHOP {n}\n" for n in range(1, 6))
    _, first = read_history(f"\n\npull 03-03\n{shops}").steps
    _, again = read_history(f"\n\npull 03-10\n{shops.replace('  a', '  b')}").steps
    replay = Replay()
    play([opening, first, {"op": "unlink", "account": "a"}, opening, again], replay)
    book = replay.book
    book.link(ONE, "OLD", at=AT)
    book.link(TransactionId(6), "YOUNG", at=AT)
    book.link(TransactionId(7), "GONE", at=AT)
    book.unlink(TransactionId(7), "GONE", at=AT)
    [question] = book.questions.about_accounts
    book.adopt(question.id, at=AT)
    return book


@pytest.mark.parametrize("act_no", [1, 2, 4])
def test_an_adoption_stands_before_what_it_moved(act_no: int) -> None:
    """Acts from before an adoption are not undone through it, since it moved what they did."""
    book = read_adoption()
    before = book.rows("a")
    with pytest.raises(ActRefused, match=r"expected act \d to be the last one on row \d, got a later one: relinked"):
        book.undo_act(list(book.acts)[act_no - 1], at=AT)
    assert before == book.rows("a")


def test_acts_are_undone_one_after_the_other() -> None:
    """The last first, each once; an undo itself is not undone."""
    book = book_of(TIE)
    before = book.rows("a")
    locked, linked = book.mark_reconciled(TWO, at=AT), book.link(TWO, "L2", at=AT)
    undone = book.undo_act(linked.id, at=AT)
    with pytest.raises(ActRefused, match="expected an act on rows, got an undo"):
        book.undo_act(undone.id, at=AT)
    book.undo_act(locked.id, at=AT)
    assert before == book.rows("a")


def test_an_undone_link_leaves_the_verdict() -> None:
    """That a shadow row is gone was said before it returned; the undo of a link does not say it again."""
    listed = "\n  a1 * 03-02 -20.00 CAFE\n  a2 * 03-02 -5.00 KIOSK\n"
    book = book_of(f"pull 03-03{listed}pull 03-04\n  a2 * 03-02 -5.00 KIOSK")
    book.confirm_shadow(ONE, at=AT)
    linked = book.link(ONE, "L1", at=AT)
    book_of(f"pull 03-21{listed}pull 03-22\n  a2 * 03-02 -5.00 KIOSK", book)
    book.undo_act(linked.id, at=AT)
    assert ((), None) == (book.row(ONE).entries, book.row(ONE).shadow_verdict)


def test_a_merge_keeps_the_parts() -> None:
    """A row that is booked in parts is not merged away: its parts would be lost."""
    book = book_of(TIE)
    book.split(TWO, (Decimal(-9), Decimal(-11)), at=AT)
    with pytest.raises(ActRefused, match="expected to drop a row that is booked whole, got row 2, which is split"):
        book.merge(THREE, TWO, at=AT)


# ---- doubts ---------------------------------------------------------------------------------------------------------


def test_a_doubt_follows_a_merge() -> None:
    """The act in doubt went along with a merge; the answer moves it from where it is, and is undone."""
    book = book_of(TIE)
    [question] = book.questions.about_rows
    [other] = [row_id for row_id in question.candidate_ids if row_id != ONE]
    book.merge(THREE, ONE, at=AT)
    act = book.decide(question.id, other, at=AT)
    assert {other: ("L1",)} == entries(book)
    book.undo_act(act.id, at=AT)
    assert ({THREE: ("L1",)}, (question,)) == (entries(book), book.questions.about_rows)


def test_a_doubt_ends_with_its_last_act() -> None:
    """Where nothing is left to be placed nobody is asked; the undo of that asks again."""
    book = book_of(TIE)
    asked = book.questions.about_rows
    act = book.unlink(ONE, "L1", at=AT)
    assert () == book.questions.about_rows
    book.undo_act(act.id, at=AT)
    assert asked == book.questions.about_rows


def test_a_doubt_of_two_acts_stays_with_one() -> None:
    """While an act is still on the row the question is open."""
    book = book_of(TIE)
    book.mark_reconciled(ONE, at=AT)
    book.unlink(ONE, "L1", at=AT)
    assert [ONE] == [question.row_id for question in book.questions.about_rows]


def test_an_answer_puts_nothing_out_of_view() -> None:
    """A candidate that was deleted since is no answer, and the question stays."""
    book = book_of(TIE)
    [question] = book.questions.about_rows
    [other] = [row_id for row_id in question.candidate_ids if row_id != ONE]
    book.delete(other, at=AT)
    with pytest.raises(ActRefused, match=f"expected a row in view, got row {other}, which was deleted"):
        book.decide(question.id, other, at=AT)
    assert ({ONE: ("L1",)}, (question,)) == (entries(book), book.questions.about_rows)
