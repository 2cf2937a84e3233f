"""A re-linked account is the same account (rule 11): when that is believed, and what joins."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.model import Known, Reported, ShadowVerdict, TransactionId
from bankfeed.reconcile import ChangeKind, Changes, Rule
from bankfeed.reconcile.adoption import Identity, Kinship, adopt, choose, judge
from tests.pure.rows import ACTIVE, PENDING, REMOVED, SHADOW, Store, make_listed, make_pull, make_row

SAME, LIKELY, UNSURE, OTHER = Kinship
OWN = Identity(institution="First Bank", type="checking", number="4321")
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def olds(days: range, **changes: Any) -> list[Known]:
    """Make the old account's rows, one a day."""
    return [make_row(day, f"-{day}.00", day, **changes) for day in days]


def listed(days: range, **changes: Any) -> list[Reported]:
    """Make the same rows as the new account lists them, under new ids."""
    return [make_listed(f"b{day}", f"-{day}.00", day, **changes) for day in days]


def judge_lists(old: list[Known], new: list[Reported], identity: Identity = OWN, **changes: Any) -> Kinship:
    return judge(OWN, identity, old, make_pull(*new, day=28, **changes))


@pytest.mark.parametrize("fact", ["institution", "type", "number"])
def test_another_institution_type_or_number_is_another_account(fact: str) -> None:
    """Where one of the three differs it is another account, however alike the rows are."""
    other = replace(OWN, **{fact: "other"})
    assert OTHER is judge_lists(olds(range(1, 9)), listed(range(1, 9)), other)
    assert SAME is judge_lists(olds(range(1, 9)), listed(range(1, 9)), OWN)


def test_how_an_identity_is_written_does_not_matter() -> None:
    """Case and blanks around a fact are not compared."""
    assert LIKELY is judge_lists([], [], Identity(institution=" FIRST BANK", type="Checking", number="4321 "))


@pytest.mark.parametrize("fact", ["institution", "type", "number"])
def test_a_blank_agrees_with_nothing(fact: str) -> None:
    """Where one of the three is not known, equal rows make a question, and without them it is another account."""
    blank = replace(OWN, **{fact: " "})
    assert UNSURE is judge_lists(olds(range(1, 9)), listed(range(1, 9)), blank)
    assert UNSURE is judge(blank, blank, olds(range(1, 9)), make_pull(*listed(range(1, 9)), day=28))
    assert OTHER is judge_lists(olds(range(1, 9)), listed(range(11, 19)), blank)
    assert OTHER is judge_lists([], [], blank)


def test_nothing_contradicts_where_no_day_has_rows_of_both() -> None:
    """A history that begins after the old one ends, or an empty one, is likely that of the same account."""
    assert [LIKELY, LIKELY, LIKELY] == [
        judge_lists(olds(range(1, 9)), listed(range(10, 15))),
        judge_lists(olds(range(1, 9)), []),
        judge_lists([], listed(range(1, 9))),
    ]


@pytest.mark.parametrize(
    ("judged", "same", "unsure"),
    [
        ([], None, ()),
        ([OTHER, OTHER], None, ()),
        ([LIKELY], 0, ()),
        ([OTHER, LIKELY], 1, ()),
        ([LIKELY, SAME, SAME], 1, ()),
        ([LIKELY, LIKELY], None, (0, 1)),
        ([LIKELY, OTHER, UNSURE], None, (0, 2)),
        ([UNSURE], None, (0,)),
    ],
)
def test_what_rows_say_comes_first(judged: list[Kinship], same: int | None, unsure: tuple[int, ...]) -> None:
    """The latest whose rows agree is it; without rows the only one that may be, and where several may be, each is asked."""
    assert (same, unsure) == choose(list(enumerate(judged)), is_alone=True)


def test_an_account_with_a_twin_is_known_by_its_rows_only() -> None:
    """Where another open account has the same facts they prove nothing; rows still do."""
    assert (None, (0,)) == choose([(0, LIKELY)], is_alone=False)
    assert (0, ()) == choose([(0, SAME)], is_alone=False)


@pytest.mark.parametrize(("found", "kinship"), [(4, SAME), (3, UNSURE), (0, UNSURE)])
def test_at_least_half_of_the_common_rows_are_found(found: int, kinship: Kinship) -> None:
    """Of eight rows on both sides four have to be the same; fewer are a question."""
    new = [*listed(range(1, 1 + found)), *listed(range(1 + found, 9), text="BAKERY")]
    assert kinship is judge_lists(olds(range(1, 9)), new)


def test_rows_that_one_side_lacks_count_too() -> None:
    """Three rows of seven are less than half, whichever side has the seven."""
    many, few = range(1, 8), range(1, 8, 3)
    assert [UNSURE, UNSURE] == [
        judge_lists(olds(many), listed(few)),
        judge_lists([row for row in olds(many) if row.id in few], listed(many)),
    ]


def test_equal_rows_are_counted() -> None:
    """One row is found once, though it is listed four times."""
    assert UNSURE is judge_lists(olds(range(2, 3)), listed(range(2, 3)) * 4)
    assert SAME is judge_lists(olds(range(2, 3)), listed(range(2, 3)) * 2)


def test_only_the_days_that_both_cover_are_compared() -> None:
    """Rows older than what the bank still serves, and those newer than the old account's last, are not missed."""
    assert SAME is judge_lists(olds(range(1, 21)), listed(range(18, 28)))
    stray = [*listed(range(1, 2)), *listed(range(18, 28))]
    assert SAME is judge_lists(olds(range(1, 21)), stray, from_on=date(2026, 3, 18))
    assert SAME is judge_lists(olds(range(10, 13)), listed(range(1, 28)))


def test_only_posted_rows_are_compared() -> None:
    """Pending, removed and shadow rows say nothing of an account."""
    gone = [make_row(30 + n, "-1.00", n, state=state) for n, state in enumerate((PENDING, REMOVED, SHADOW), start=1)]
    new = [*listed(range(1, 3)), *listed(range(1, 9), state=PENDING, text="BAKERY")]
    assert SAME is judge_lists([*olds(range(1, 3)), *gone], new)


def test_what_people_did_does_not_matter() -> None:
    """Deleted and locked rows are compared as the bank said them."""
    locked = [
        replace(row, values=replace(row.values, amount=Decimal(-1))) for row in olds(range(1, 5), is_reconciled=True)
    ]
    assert SAME is judge_lists([*locked, *olds(range(5, 9), deleted_at=NOW)], listed(range(1, 9)))


def younger(row_id: int, amount: str = "-20.00", day: int = 2, **changes: Any) -> Known:
    """Make a row of the new account."""
    return make_row(row_id, amount, day, **{"aggregator_ids": (f"b{row_id}",), "first_pulled_at": NOW, **changes})


def afters(plan: Changes) -> dict[int | None, Known]:
    return {change.after.id: change.after for change in plan.rows}


def test_equal_rows_join() -> None:
    """The older row survives with the younger's ids; the younger leaves as merged; both say by which rule."""
    plan = adopt([make_row(1)], [younger(11)], now=NOW)
    assert [(ChangeKind.RENAMED, Rule.RELINKED, 1), (ChangeKind.MERGED, Rule.RELINKED, 11)] == [
        (change.kind, change.rule, change.after.id) for change in plan.rows
    ]
    rows = afters(plan)
    assert make_row(1, aggregator_ids=("a1", "b11")) == rows[1]
    assert (REMOVED, NOW, 1) == (rows[11].state, rows[11].removed_at, rows[11].merged_into)


def test_rows_join_by_count() -> None:
    """Two old rows and three equal new ones leave one that stays as it is."""
    plan = adopt([make_row(1), make_row(2)], [younger(11), younger(12), younger(13)], now=NOW)
    assert {1, 2, 11, 12} == set(afters(plan))


def test_rows_join_by_id() -> None:
    """An id that both have joins rows where what stands under it is plausible; the younger's values are the newer ones."""
    news = [younger(11, "-21.00", aggregator_ids=("a1",)), younger(12, "500.00", aggregator_ids=("a2",))]
    plan = adopt([make_row(1), make_row(2, "-9.00", 1)], news, now=NOW)
    assert [(ChangeKind.UPDATED, 1), (ChangeKind.MERGED, 11)] == [(each.kind, each.after.id) for each in plan.rows]
    assert Decimal("-21.00") == afters(plan)[1].values.amount


def test_rows_that_are_not_the_same_stay() -> None:
    """What neither content nor id explains is left alone, as are tombstones and merged rows of the new account."""
    news = [
        younger(11, "-1.00"),
        younger(12, state=REMOVED, removed_at=NOW),
        younger(13, merged_into=TransactionId(11)),
    ]
    assert () == adopt([make_row(1)], news, now=NOW).rows
    assert () == adopt([], [], now=NOW).rows


@pytest.mark.parametrize(
    ("was", "state", "kind"), [(SHADOW, ACTIVE, ChangeKind.RETURNED), (PENDING, ACTIVE, ChangeKind.POSTED)], ids=str
)
def test_the_older_row_takes_the_state(was: Any, state: Any, kind: ChangeKind) -> None:
    """What the bank lists in the new account is how it stands."""
    plan = adopt([make_row(1, state=was)], [younger(11, state=state)], now=NOW)
    assert [(kind, state)] == [(change.kind, change.after.state) for change in plan.rows[:1]]


def test_acts_move_to_the_older_row() -> None:
    """Entries, lock and parts of the younger row go on with the older one, beside its own; the younger keeps none."""
    parts = (Decimal(-9), Decimal(-11))
    new = younger(11, entries=("L2",), is_reconciled=True, split_into=parts)
    new = replace(new, values=replace(new.values, description="ANN'S CAFE"))
    rows = afters(adopt([make_row(1, entries=("L1",))], [new], now=NOW))
    assert (("L1", "L2"), True, parts) == (rows[1].entries, rows[1].is_reconciled, rows[1].split_into)
    assert ("ANN'S CAFE", "CORNER CAFE") == (rows[1].values.description, rows[1].bank_values.description)
    assert not rows[11].has_act


def test_a_locked_row_keeps_its_values() -> None:
    """A reconciled older row takes ids and no values."""
    new = younger(11, "-21.00", aggregator_ids=("a1",), is_reconciled=True)
    row = afters(adopt([make_row(1, is_reconciled=True)], [new], now=NOW))[1]
    assert (Decimal("-20.00"), Decimal("-21.00")) == (row.values.amount, row.bank_values.amount)


def test_a_rejected_removal_stays_rejected() -> None:
    """A person's word that a shadow row did happen goes on with the older row, as long as it is shadow."""
    gone = younger(11, state=SHADOW, shadow_verdict=ShadowVerdict.REJECTED)
    assert ShadowVerdict.REJECTED is afters(adopt([make_row(1, state=SHADOW)], [gone], now=NOW))[1].shadow_verdict
    assert afters(adopt([make_row(1, state=PENDING)], [gone], now=NOW))[1].shadow_verdict is None


def test_deletions_stand() -> None:
    """A deleted older row stays deleted; that a copy was deleted takes only the copy out of view."""
    rows = afters(adopt([make_row(1, deleted_at=NOW)], [younger(11)], now=NOW))
    assert (NOW, False) == (rows[1].deleted_at, rows[11].is_visible)
    rows = afters(adopt([make_row(1)], [younger(11, deleted_at=NOW)], now=NOW))
    assert (True, False) == (rows[1].is_visible, rows[11].is_visible)


def test_a_booked_row_does_not_join_one_out_of_view() -> None:
    """What a person works with stays in view, though its older copy was deleted."""
    assert () == adopt([make_row(1, deleted_at=NOW)], [younger(11, entries=("L1",))], now=NOW).rows


def test_a_booked_row_leaves_view_with_a_doubt() -> None:
    """Where the new account has the row as shadow, what it is booked to is asked about."""
    plan = adopt([make_row(1, entries=("L1",)), make_row(2, "-9.00")], [younger(11, state=SHADOW)], now=NOW)
    assert [(1, Rule.RELINKED)] == [(doubt.transaction.id, doubt.rule) for doubt in plan.doubts]


def test_the_next_list_changes_nothing() -> None:
    """After joining, the new account's list is known, and an equal purchase more is a row of its own."""
    store = Store()
    news = [make_listed("b11"), make_listed("b12"), make_listed("b13", "-9.00")]
    store.rows = {row.id or 0: row for row in (make_row(1), make_row(2))}
    fresh = {11: younger(11), 12: younger(12, deleted_at=NOW), 13: younger(13, "-9.00")}
    store.rows |= fresh
    for row in adopt([make_row(1), make_row(2)], list(fresh.values()), now=NOW).rows:
        store.rows[row.after.id or 0] = row.after

    assert () == store.pull(make_pull(*news, day=21)).rows
    more = store.pull(make_pull(*news, make_listed("b14"), day=22))
    assert [ChangeKind.ADDED] == [row.kind for row in more.rows]
