"""What a plan says of each row: the kind of change, the rule, ids, values and where a merged row went."""

from datetime import timedelta
from decimal import Decimal

from bankfeed.model import Known, TransactionState
from bankfeed.reconcile import ChangeKind, Changes, Rule, Verdict
from bankfeed.replay.play import Replay
from tests.pure import history
from tests.pure.history import plans, read_history


def play(text: str) -> Replay:
    """Run a history that has no result."""
    return history.play(read_history("Run.\n\n" + text).steps)


def kinds(plan: Changes) -> list[tuple[str, str]]:
    """List what a plan does, by kind and rule."""
    return [(row.kind.value, row.rule.value) for row in plan.rows]


def test_rows_that_stay_do_not_appear() -> None:
    """A list that says the same has no rows and counts nothing."""
    replay = play(
        "pull 03-03\n a1 * 03-02 -1.00 GYM\n p1 ! 03-02 -2.00 CAFE\npull 03-04\n a1 * 03-02 -1.00 GYM\n p1 ! 03-02 -2.00 CAFE"
    )
    assert [plan.verdict for plan in plans(replay)] == [Verdict.APPLIED, Verdict.APPLIED]
    assert plans(replay)[0].counts[ChangeKind.ADDED] == 2
    assert plans(replay)[1].rows == ()
    assert set(plans(replay)[1].counts.values()) == {0}


def test_kinds_and_rules() -> None:
    """Every row of a plan says what happened to it, and by which rule."""
    replay = play(
        """
        pull 03-03
          a1 * 03-02 -1.00 GYM
          a2 * 03-02 -2.00 KIOSK
          a3 * 03-02 -3.00 BAKERY
          p1 ! 03-02 -20.00 LUIGI
          p2 ! 03-02 -30.00 TAILOR
        pull 03-04
          a1 * 03-02 -1.25 GYM
          b2 * 03-02 -2.00 KIOSK
          x1 * 03-03 -24.00 LUIGI
          x2 * 03-04 -5.00 PHARMACY
        pull 03-05
          a1 * 03-02 -1.25 GYM
          b2 * 03-02 -2.00 KIOSK
          a3 * 03-02 -3.00 BAKERY
          x1 * 03-03 -24.00 LUIGI
          x2 * 03-04 -5.00 PHARMACY
        """
    )
    assert sorted(kinds(plans(replay)[1])) == [
        ("added", "new"),
        ("posted", "changed_amount"),
        ("removed", "pending_gone"),
        ("renamed", "content"),
        ("shadowed", "withdrawn"),
        ("updated", "correction"),
    ]
    assert kinds(plans(replay)[2]) == [("returned", "id_and_content")]


def test_ids_are_kept_oldest_first() -> None:
    """All ids ever seen stay on the row; the last is the current one."""
    replay = play(
        "pull 03-03\n a * 03-02 -1.00 GYM\npull 03-04\n b * 03-02 -1.00 GYM\npull 03-05\n a * 03-02 -1.00 GYM"
    )
    assert [row.aggregator_ids for row in replay.book.rows("a")] == [("b", "a")]


def test_a_late_join_names_its_survivor() -> None:
    """The older row takes ids and values, the younger leaves as merged and names it."""
    replay = play(
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
    survivor, left = replay.book.rows("a")
    assert kinds(plans(replay)[2]) == [("posted", "late_join"), ("merged", "late_join")]
    assert (survivor.state, survivor.aggregator_ids, survivor.has_joined) == (
        TransactionState.ACTIVE,
        ("p1", "a1"),
        True,
    )
    assert (left.state, left.merged_into) == (TransactionState.REMOVED, survivor.id)


def test_a_removed_row_says_since_when() -> None:
    """`removed_at` is set while a row is removed, and gone when it returns."""
    replay = play(
        """
        pull 03-03
          a1 * 03-02 -1.00 GYM
          p1 ! 03-02 -2.00 CAFE
        pull 03-04
          a1 * 03-02 -1.00 GYM
        """
    )
    removed = _find(replay, "-2.00")
    assert removed.removed_at is not None
    assert removed.removed_at - removed.first_pulled_at == timedelta(days=1)
    back = "pull 03-05\n a1 * 03-02 -1.00 GYM\n p1 ! 03-02 -2.00 CAFE"
    history.play(read_history("Run.\n\n" + back).steps, replay)
    assert _find(replay, "-2.00").removed_at is None


def test_a_locked_row_keeps_the_banks_values_beside_it() -> None:
    """What the bank says of a reconciled row is kept beside what people see."""
    replay = play(
        """
        pull 03-03
          a1 * 03-02 -33.00 DENTIST
        reconcile -33.00
        pull 03-04
          a1 * 03-02 -34.00 DENTIST
        """
    )
    (row,) = replay.book.rows("a")
    assert (row.values.amount, row.bank_values.amount) == (Decimal("-33.00"), Decimal("-34.00"))
    assert kinds(plans(replay)[1]) == [("renamed", "correction")]


def test_a_group_says_so() -> None:
    """Pending rows that posted as a total leave under that rule, and the total comes under it."""
    replay = play(
        """
        pull 03-03
          p0 ! 03-02 -2.90 METRO TAP
          p1 ! 03-02 -2.90 METRO TAP
        pull 03-04
          a1 * 03-02 -5.80 METRO DAILY
        """
    )
    assert kinds(plans(replay)[1]) == [("removed", "total"), ("removed", "total"), ("added", "total")]


def test_a_doubt_names_the_candidates() -> None:
    """A tie names every row in view that the act may belong to, the one it is on included."""
    replay = play(
        """
        pull 03-03
          p1 ! 03-02 -20.00 CORNER CAFE
        link L1 -20.00
        pull 03-06
          a1 * 03-04 -20.00 CORNER CAFE
          a2 * 03-05 -20.00 CORNER CAFE
        """
    )
    (doubt,) = plans(replay)[1].doubts
    assert doubt.rule is Rule.TIE
    assert doubt.transaction.id == 1
    assert [(row.id, row.aggregator_ids[-1]) for row in doubt.candidates] == [(1, "a1"), (None, "a2")]


def test_a_split_with_a_link_names_its_parts() -> None:
    """The link of a pending row that posted in parts may belong to any of them."""
    replay = play(
        """
        pull 03-03
          p1 ! 03-02 -99.00 ONLINE SHOP
        link L1 -99.00
        pull 03-06
          a1 * 03-04 -60.00 ONLINE SHOP
          a2 * 03-05 -39.00 ONLINE SHOP
        """
    )
    (doubt,) = plans(replay)[1].doubts
    assert doubt.rule is Rule.SPLIT
    assert [row.aggregator_ids for row in doubt.candidates] == [("a1",), ("a2",)]


def test_a_held_pull_says_why() -> None:
    """A held pull has a reason and no rows."""
    replay = play("pull 03-03\n a1 * 03-02 -1.00 GYM\npull 03-04")
    assert plans(replay)[1] == Changes(
        verdict=Verdict.HELD, reason="the list is empty and rows are known in its window"
    )


def _find(replay: Replay, amount: str) -> Known:
    return next(row for row in replay.book.rows("a") if row.values.amount == Decimal(amount))
