"""What a person is asked: each question once, until it is answered or answers itself; accounts that come back."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.errors import ActRefused
from bankfeed.model import DoubtId, TransactionId
from bankfeed.reconcile import Rule
from bankfeed.replay.book import Book
from bankfeed.replay.play import Replay
from bankfeed.replay.report import as_json, end
from tests.pure.history import play, read_history

AT = datetime(2026, 3, 20, 12, tzinfo=UTC)
ONE, TWO = TransactionId(1), TransactionId(2)
TIE = """
pull 03-03
  p1 ! 03-02 -20.00 CORNER CAFE
link L1 -20.00
pull 03-06
  a1 * 03-04 -20.00 CORNER CAFE
  a2 * 03-05 -20.00 CORNER CAFE
"""
WITHDRAWN = """
pull 03-03
  a1 * 03-02 -20.00 CORNER CAFE
  a2 * 03-02 -9.00 BAKERY
link L1 -20.00
pull 03-04
  a2 * 03-02 -9.00 BAKERY
"""


def replay_of(text: str) -> Replay:
    return play(read_history("Run.\n\n" + text).steps)


def go_on(replay: Replay, text: str) -> None:
    play(read_history("Run.\n\n" + text).steps, replay)


def asked(book: Book) -> list[DoubtId]:
    return [question.id for question in book.questions.all]


def entries(book: Book) -> dict[TransactionId, tuple[str, ...]]:
    return {row.id: row.entries for row in book.rows("a") if row.id is not None and row.entries}


def test_a_tie_names_stored_rows() -> None:
    """Candidates that the pull itself added are named by the rows that they became."""
    (question,) = replay_of(TIE).book.questions.about_rows
    assert (ONE, (ONE, TWO), Rule.TIE) == (question.row_id, question.candidate_ids, question.rule)


def test_a_doubt_is_decided_and_undone() -> None:
    """Deciding moves what a person did and closes the doubt; undone, both are as before."""
    book = replay_of(TIE).book
    (question,) = book.questions.about_rows
    act = book.decide(question.id, TWO, at=AT)
    assert {TWO: ("L1",)} == entries(book)
    assert [] == asked(book)
    book.undo_act(act.id, at=AT)
    assert {ONE: ("L1",)} == entries(book)
    assert (question,) == book.questions.about_rows


def test_a_doubt_is_decided_for_the_row_itself() -> None:
    """To leave things as they are is an answer too, and can be undone."""
    book = replay_of(TIE).book
    act = book.decide(DoubtId(1), ONE, at=AT)
    assert ({ONE: ("L1",)}, []) == (entries(book), asked(book))
    book.undo_act(act.id, at=AT)
    assert [DoubtId(1)] == asked(book)
    with pytest.raises(ActRefused):
        book.undo_act(act.id, at=AT)


def test_only_candidates_can_be_chosen() -> None:
    """Another row, or a doubt that is closed, is refused."""
    replay = replay_of(TIE)
    go_on(replay, "pull 03-07\n a1 * 03-04 -20.00 CORNER CAFE\n a2 * 03-05 -20.00 CORNER CAFE\n a3 * 03-06 -1.00 GYM")
    with pytest.raises(ActRefused, match="expected a candidate of doubt 1, got row 3"):
        replay.book.decide(DoubtId(1), TransactionId(3), at=AT)
    replay.book.decide(DoubtId(1), ONE, at=AT)
    with pytest.raises(ActRefused, match="expected an open doubt about a row, got 1"):
        replay.book.decide(DoubtId(1), ONE, at=AT)


def test_a_row_that_is_back_answers_its_doubt() -> None:
    """What was asked when a row left is closed when it is back; when it leaves again it is asked again."""
    replay = replay_of(WITHDRAWN)
    assert [Rule.WITHDRAWN] == [question.rule for question in replay.book.questions.about_rows]
    go_on(replay, "pull 03-05\n  a1 * 03-02 -20.00 CORNER CAFE\n  a2 * 03-02 -9.00 BAKERY")
    assert [] == asked(replay.book)
    go_on(replay, "pull 03-06\n  a2 * 03-02 -9.00 BAKERY")
    assert [DoubtId(2)] == asked(replay.book)


def test_the_same_question_is_asked_once() -> None:
    """A question that is open is not opened again, whichever pull asks it."""
    book = replay_of(WITHDRAWN).book
    (question,) = book.questions.about_rows
    book.questions.reopen(replace(question, id=DoubtId(9)))
    assert [question.id] == asked(book)


# ---- accounts that come back ------------------------------------------------------------------------------------------

ROWS = [
    {"status": "active", "amount": f"-{n}.00", "date": f"2026-03-0{n}", "description": f"SHOP {n}", "id": f"o{n}"}
    for n in range(1, 5)
]


def opened(name: str, number: str = "4321", **more: str) -> dict[str, Any]:
    same = {"institution": "i", "type": "checking", "currency": "USD"}
    return {"op": "account", "account": name, "number": number, **same, **more}


def pulled(name: str, day: int, rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    window = {"from": "2026-02-01", "to": f"2026-03-{day:02}", "kind": "full", "complete": True}
    return {"op": "pull", "account": name, "at": f"2026-03-{day:02}T06:00:00Z", "transactions": rows, **window, **more}


def renamed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "id": f"n{n}"} for n, row in enumerate(rows)]


LEFT = [
    opened("a"),
    pulled("a", 5, ROWS),
    {"op": "link", "account": "a", "match": {"amount": "-2.00"}, "entry": "L1"},
    {"op": "unlink", "account": "a"},
]


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_relinked_account_is_the_same(name: str) -> None:
    """Under its old name or a new one, an account that is back has its rows once, with what a person did."""
    replay = play([*LEFT, opened(name), pulled(name, 9, renamed(ROWS)), {**LEFT[2], "account": name, "entry": "L2"}])
    report = as_json(end(replay))
    assert [(name, f"-{n}.00") for n in range(1, 5)] == [(r["account"], r["amount"]) for r in report["transactions"]]
    assert [[], ["L1", "L2"], [], []] == [row["entries"] for row in report["transactions"]]
    assert [6] == [event["line"] for event in report["events"] if "relinked" in event]
    assert 1 == len(replay.book.accounts)
    assert replay.book.account("a") is replay.book.account(name)


def test_a_failed_first_pull_decides_nothing() -> None:
    """Whether an account is an earlier one, the first pull tells that did not fail."""
    failed = pulled("b", 8, [], error="the bank is away")
    replay = play([*LEFT, opened("b"), failed])
    assert 2 == len(replay.book.accounts)
    play([opened("b"), pulled("b", 9, renamed(ROWS))], replay)
    assert 1 == len(replay.book.accounts)


@pytest.mark.parametrize(
    "line",
    [
        opened("b", number="9999"),
        opened("b", type="savings"),
        opened("b", institution="j"),
        opened("b", currency="EUR"),
    ],
)
def test_another_account_stays_apart(line: dict[str, Any]) -> None:
    """An account of another number, type, institution or currency is not the earlier one, whatever it lists."""
    replay = play([*LEFT, line, pulled("b", 9, renamed(ROWS))])
    assert [4, 4] == [len(account.rows) for account in replay.book.accounts]
    assert [] == asked(replay.book)


def test_an_open_account_is_nobodys_return() -> None:
    """Two accounts that are linked at the same time are two."""
    replay = play([LEFT[0], LEFT[1], opened("b"), pulled("b", 9, renamed(ROWS))])
    assert [4, 4] == [len(account.rows) for account in replay.book.accounts]


OTHERS = [{**row, "description": f"MARKET {n}", "amount": f"-{n}7.00"} for n, row in enumerate(renamed(ROWS))]
UNSURE = [*LEFT, opened("b"), pulled("b", 9, [*OTHERS[:3], {**ROWS[1], "id": "n9"}])]


def test_what_is_unsure_is_asked() -> None:
    """With another history an account stands apart, and a person is asked."""
    replay = play(UNSURE)
    report = as_json(end(replay))
    assert [4, 4] == [len(account.rows) for account in replay.book.accounts]
    (doubt,) = report["doubts"]
    assert ("b", None, {"account": "a"}, "relinked") == tuple(
        doubt[name] for name in ("account", "entry", "from", "rule")
    )


def test_a_person_says_that_it_is_the_same() -> None:
    """Adopted, rows that both have are one with the older one's acts, all are in one account, and the doubt is closed."""
    book = play(UNSURE).book
    (question,) = book.questions.about_accounts
    act = book.adopt(question.id, at=AT)
    assert (1, []) == (len(book.accounts), asked(book))
    assert book.account("a") is book.account("b")
    assert all(taken.account is book.account("b") for taken in book.pulls.values())
    joined = [row for row in book.rows("b") if row.values.amount == Decimal("-2.00") and row.is_visible]
    assert [(ONE + 1, ("L1",), ("o2", "n9"))] == [(row.id, row.entries, row.aggregator_ids) for row in joined]
    assert 8 == len(book.rows("b"))
    with pytest.raises(ActRefused, match="expected an act that can be taken back"):
        book.undo_act(act.id, at=AT)


def test_a_person_says_that_it_is_another() -> None:
    """Kept apart, the doubt is closed and the rows stay; undone, it is open again."""
    book = play(UNSURE).book
    act = book.keep_apart(DoubtId(1), at=AT)
    assert (2, []) == (len(book.accounts), asked(book))
    book.undo_act(act.id, at=AT)
    assert [DoubtId(1)] == [question.id for question in book.questions.about_accounts]
    with pytest.raises(ActRefused, match="expected an open doubt about a row, got 1"):
        book.decide(DoubtId(1), ONE, at=AT)


def test_pulls_go_on_after_an_adoption() -> None:
    """The next pull of an adopted account is reconciled with all its rows."""
    replay = play(UNSURE)
    replay.book.adopt(DoubtId(1), at=AT)
    play([opened("b"), pulled("b", 22, [*OTHERS[:3], *renamed(ROWS)])], replay)
    assert 7 == sum(row.is_visible for row in replay.book.rows("b"))
