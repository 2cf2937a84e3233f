"""The store in memory: acts and what undoes them, ledger entries, steps, policies."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import (
    ActId,
    FeedKind,
    Pull,
    PullId,
    Reported,
    ShadowPolicy,
    ShadowVerdict,
    TransactionId,
    TransactionState,
)
from bankfeed.reconcile import Rule, Verdict
from bankfeed.reconcile.adoption import Identity
from bankfeed.reconcile.changes import ActKind, ChangeKind
from bankfeed.replay.book import Act, Book
from bankfeed.replay.play import Replay
from tests.pure.history import play, read_history

AT = datetime(2026, 3, 20, 12, tzinfo=UTC)
ONE, TWO = TransactionId(1), TransactionId(2)
TWO_ROWS = """
pull 03-03
  a1 * 03-02 -20.00 CORNER CAFE
  a2 * 03-02 -9.00 BAKERY
"""
WITHDRAWN = """
pull 03-03
  a1 * 03-02 -20.00 CORNER CAFE
  a2 * 03-02 -9.00 BAKERY
link L1 -20.00
pull 03-04
  a2 * 03-02 -9.00 BAKERY
"""


def book_of(text: str, policy: ShadowPolicy = ShadowPolicy.HIDE) -> Book:
    """Return the book that a history leads to."""
    return play(read_history("Run.\n\n" + text).steps, Replay(book=Book(policy=policy))).book


def pull_of(book: Book, *, at: datetime, balance: str | None = None) -> Pull:
    """Return a pull that lists what the book has in view."""
    rows = tuple(
        Reported(aggregator_id=row.aggregator_ids[-1], state=row.state, values=row.bank_values)
        for row in book.rows("a")
        if row.is_visible
    )
    return Pull(
        at=at,
        kind=FeedKind.FULL,
        from_on=date(2026, 1, 31),
        to_on=at.date(),
        is_complete=True,
        rows=rows,
        balance=None if balance is None else Decimal(balance),
    )


def go_on(book: Book, text: str) -> Book:
    """Take more of a history to a book."""
    return play(read_history("Run.\n\n" + text).steps, Replay(book=book)).book


ACTS: dict[str, Callable[[Book], Act]] = {
    "link": lambda book: book.link(ONE, "L9", at=AT),
    "unlink": lambda book: book.unlink(ONE, "L1", at=AT),
    "mark_reconciled": lambda book: book.mark_reconciled(ONE, at=AT),
    "delete": lambda book: book.delete(ONE, at=AT),
    "merge": lambda book: book.merge(TWO, ONE, at=AT),
    "split": lambda book: book.split(ONE, (Decimal("-9.00"), Decimal("-11.00")), at=AT),
}
OPPOSITES: dict[str, Callable[[Book], Act]] = {
    "link": lambda book: book.unlink(ONE, "L9", at=AT),
    "unlink": lambda book: book.link(ONE, "L1", at=AT),
    "mark_reconciled": lambda book: book.unmark_reconciled(ONE, at=AT),
    "delete": lambda book: book.restore(ONE, at=AT),
    "merge": lambda book: book.unmerge(ONE, at=AT),
    "split": lambda book: book.unsplit(ONE, at=AT),
}


@pytest.mark.parametrize("name", ACTS)
def test_an_act_and_its_undo(name: str) -> None:
    """Each act changes its rows and is a step of theirs; undone, the rows are as they were, by a step of its own."""
    book = book_of(TWO_ROWS + "link L1 -20.00")
    before = book.rows("a")
    act = ACTS[name](book)
    assert before != book.rows("a")
    assert (AT, act.id, act.kind) == _last(book, ONE)
    undone = book.undo_act(act.id, at=AT)
    assert before == book.rows("a")
    assert (AT, undone.id, ActKind.UNDO_ACT) == _last(book, ONE)


@pytest.mark.parametrize("name", ACTS)
def test_an_act_and_its_opposite(name: str) -> None:
    """Each act can be taken back by its opposite."""
    book = book_of(TWO_ROWS + "link L1 -20.00")
    before = book.rows("a")
    ACTS[name](book)
    OPPOSITES[name](book)
    assert before == book.rows("a")


def test_an_act_is_undone_once_and_in_order() -> None:
    """What was done last is undone first, and only once; an act that is none is not found."""
    book = book_of(TWO_ROWS)
    first, second = book.link(ONE, "L1", at=AT), book.mark_reconciled(ONE, at=AT)
    with pytest.raises(ActRefused, match="expected act 1 to be the last one on row 1"):
        book.undo_act(first.id, at=AT)
    book.undo_act(second.id, at=AT)
    with pytest.raises(ActRefused, match="expected an act that can be taken back, got 2"):
        book.undo_act(second.id, at=AT)
    with pytest.raises(NotFound):
        book.undo_act(ActId(99), at=AT)


def test_an_entry_is_on_one_row() -> None:
    """An entry that another row has is refused, by a link and by what would bring it back; nothing is changed."""
    book = book_of(TWO_ROWS + "link L1 -20.00")
    with pytest.raises(ActRefused, match="expected entry L1 to be on no other row, got row 1"):
        book.link(TWO, "L1", at=AT)
    unlinked = book.unlink(ONE, "L1", at=AT)
    book.link(TWO, "L1", at=AT)
    with pytest.raises(ActRefused, match="expected entry L1 to be on no other row, got row 2"):
        book.undo_act(unlinked.id, at=AT)
    assert [(), ("L1",)] == [row.entries for row in book.rows("a")]


def test_an_entry_follows_a_merge() -> None:
    """Merged away, a row gives its entries to the row that stays, and no other row can have them."""
    book = book_of(TWO_ROWS + "  a3 * 03-02 -1.00 GYM\nlink L1 -20.00")
    book.merge(TWO, ONE, at=AT)
    assert ("L1",) == book.row(TWO).entries
    with pytest.raises(ActRefused, match="expected entry L1 to be on no other row, got row 2"):
        book.link(TransactionId(3), "L1", at=AT)


def test_shadow_verdicts() -> None:
    """A person says of a shadow row whether it is gone; of another row there is nothing to say."""
    book = book_of(WITHDRAWN)
    book.confirm_shadow(ONE, at=AT)
    assert book.row(ONE).shadow_verdict is ShadowVerdict.CONFIRMED
    book.reject_shadow(ONE, at=AT)
    assert book.row(ONE).shadow_verdict is ShadowVerdict.REJECTED
    with pytest.raises(ActRefused, match="expected a shadow row"):
        book.confirm_shadow(TWO, at=AT)


def test_rows_of_two_accounts_do_not_merge() -> None:
    """Two rows are one only in one account."""
    book = book_of(TWO_ROWS)
    book.open_account("b", identity=Identity(institution="", type="", number=""), currency="USD")
    book.pull("b", pull_of(book, at=AT))
    with pytest.raises(ActRefused, match="expected two rows of one account"):
        book.merge(ONE, TransactionId(3), at=AT)


def test_steps_tell_which_pull_and_rule() -> None:
    """Each change of a row is kept with its number, its pull or act, its rule and the row before."""
    book = book_of(WITHDRAWN)
    added, linked, left = book.steps(ONE)
    assert (ChangeKind.ADDED, Rule.NEW, PullId(1), None) == (added.kind, added.rule, added.pull_id, added.before)
    assert (ActKind.LINK, ActId(1), None) == (linked.rule, linked.act_id, linked.pull_id)
    assert (ChangeKind.SHADOWED, Rule.WITHDRAWN, PullId(2)) == (left.kind, left.rule, left.pull_id)
    assert left.before == replace(book.row(ONE), state=TransactionState.ACTIVE)
    assert added.change_no < linked.change_no < left.change_no
    assert [ChangeKind.ADDED] == [step.kind for step in book.steps(TWO)]


def test_a_match_is_undone() -> None:
    """Undone, the row goes out of view as it was, and what the bank lists stands as a row of its own; a doubt asks."""
    book = book_of(
        """
        pull 03-03
          p1 ! 03-02 -20.00 LUIGI
        link L1 -20.00
        pull 03-04
          a1 * 03-03 -24.00 LUIGI
        """
    )
    book.undo_match(ONE, at=AT)
    old, new = book.rows("a")
    assert (TransactionState.REMOVED, "-20.00", ("L1",)) == (old.state, str(old.values.amount), old.entries)
    assert (TransactionState.ACTIVE, "-24.00", ("a1",)) == (new.state, str(new.values.amount), new.aggregator_ids)
    (question,) = book.questions.about_rows
    assert ((ONE, (new.id,)), ActKind.UNDO_MATCH) == ((question.row_id, question.candidate_ids), question.rule)


def test_a_late_join_is_undone() -> None:
    """The row that was joined into another stands again when their match is undone."""
    book = book_of(
        """
        pull 03-03
          p1 ! 03-02 -14.17 SANDWICH SHOP
        pull 03-04
          p1 ! 03-02 -14.17 SANDWICH SHOP
          a1 * 03-03 -14.17 SANDWICH SHOP
        pull 03-05
          a1 * 03-03 -14.17 SANDWICH SHOP
        """
    )
    assert ONE == book.row(TWO).merged_into
    book.undo_match(ONE, at=AT)
    states = [(row.state, row.merged_into) for row in book.rows("a")]
    assert [(TransactionState.REMOVED, None), (TransactionState.ACTIVE, None)] == states


def test_a_pull_is_undone_once() -> None:
    """All that a pull did is taken back: rows as they were, added ones out of view; the next pull does it again."""
    lists = "pull 03-04\n  a1 * 03-02 -21.00 CORNER CAFE\n  a2 * 03-02 -9.00 BAKERY\n  a3 * 03-03 -5.00 KIOSK"
    book = go_on(book_of(TWO_ROWS), lists)
    book.undo_pull(PullId(2), at=AT)
    assert ["-20.00", "-9.00"] == [str(row.values.amount) for row in book.rows("a") if row.is_visible]
    with pytest.raises(ActRefused, match="expected a pull that was applied and not undone, got 2"):
        book.undo_pull(PullId(2), at=AT)
    with pytest.raises(NotFound):
        book.undo_pull(PullId(99), at=AT)
    again = go_on(book, lists.replace("03-04", "03-25", 1)).rows("a")
    assert ["-21.00", "-9.00", "-5.00"] == [str(row.values.amount) for row in again if row.is_visible]


def test_a_held_pull_is_not_undone() -> None:
    """A pull that was not applied has nothing to take back."""
    book = go_on(book_of(TWO_ROWS), "pull 03-04")
    assert Verdict.HELD is book.pulls[PullId(2)].changes.verdict
    with pytest.raises(ActRefused):
        book.undo_pull(PullId(2), at=AT)


def test_undoing_a_pull_forgets_the_balance() -> None:
    """The balance is taken anew from the pull after an undone one."""
    book = book_of(TWO_ROWS)
    book.pull("a", pull_of(book, at=AT, balance="100.00"))
    assert book.account("a").past.balance is not None
    book.undo_pull(PullId(2), at=AT)
    assert book.account("a").past.balance is None


def test_the_balance_goes_on_from_pull_to_pull() -> None:
    """A gap that one pull found is still there in the next, until the rows explain it."""
    book = book_of(TWO_ROWS)
    for day, balance in ((10, "100.00"), (11, "95.00"), (12, "95.00")):
        book.pull("a", pull_of(book, at=AT.replace(day=day), balance=balance))
    checks = [taken.changes.balance for taken in book.pulls.values()]
    assert [None, Decimal(0), Decimal("-5.00"), Decimal("-5.00")] == [check and check.after.gap for check in checks]


def test_what_an_unlinked_account_sends_is_passed_over() -> None:
    """A pull that comes after its account left changes nothing and is said to be stale."""
    book = book_of(TWO_ROWS)
    book.close_account("a")
    book.close_account("a")
    late = book.pull("a", pull_of(book, at=AT))
    assert (Verdict.STALE, "the account was unlinked before") == (late.verdict, late.reason)


def test_an_open_account_keeps_its_currency() -> None:
    """An account that is named again takes what is said of it, but not another currency; an unknown one is not found."""
    book = book_of(TWO_ROWS)
    renumbered = Identity(institution="i", type="checking", number="99")
    book.open_account("a", identity=renumbered, currency="USD")
    assert (renumbered, 2) == (book.account("a").identity, len(book.rows("a")))
    with pytest.raises(ActRefused, match="expected account a to stay in USD, got EUR"):
        book.open_account("a", identity=renumbered, currency="EUR")
    with pytest.raises(NotFound, match="expected the name of an account, got 'b'"):
        book.rows("b")
    with pytest.raises(NotFound, match="expected the id of a row, got 99"):
        book.row(TransactionId(99))


def test_erased_rows_are_erased_everywhere() -> None:
    """Under the policy delete a shadow row's values are gone from its history too, and come back with it."""
    unbooked = WITHDRAWN.replace("link L1 -20.00\n", "")
    book = book_of(unbooked, ShadowPolicy.DELETE)
    row = book.row(ONE)
    assert (TransactionState.SHADOW, Decimal(0), "") == (row.state, row.values.amount, row.values.description)
    assert [None, None] == [step.before for step in book.steps(ONE)]
    go_on(book, "pull 03-06\n  b1 * 03-02 -20.00 CORNER CAFE\n  a2 * 03-02 -9.00 BAKERY")
    row = book.row(ONE)
    assert (TransactionState.ACTIVE, "CORNER CAFE", "") == (row.state, row.values.description, row.fingerprint)


@pytest.mark.parametrize("policy", ShadowPolicy)
def test_no_policy_touches_what_a_person_did(policy: ShadowPolicy) -> None:
    """Under every policy a booked row that is withdrawn keeps its values and has a doubt."""
    book = book_of(WITHDRAWN, policy)
    row = book.row(ONE)
    assert (TransactionState.SHADOW, "-20.00", ("L1",)) == (row.state, str(row.values.amount), row.entries)
    assert [ONE] == [question.row_id for question in book.questions.about_rows]


def _last(book: Book, row_id: TransactionId) -> tuple[object, ...]:
    step = book.steps(row_id)[-1]
    return step.at, step.act_id, step.rule
