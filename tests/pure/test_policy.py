"""What a customer sees of rows that the bank no longer reports, and how erased rows are found again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from bankfeed.model import FeedKind, Known, Reported, ShadowPolicy, ShadowVerdict, TransactionId
from bankfeed.reconcile import Change, ChangeKind, Rule, Verdict
from bankfeed.reconcile.policy import erase, erase_shadows, fingerprint, is_marked, is_shown
from tests.pure.rows import (
    ACTIVE,
    PENDING,
    REMOVED,
    SHADOW,
    Store,
    make_listed,
    make_pull,
    make_row,
    make_values,
    nights,
)
from tests.pure.test_reconcile_laws import DAYS, FIRST_ON, LAWS, histories

HIDE, SHOW, CONFIRM, DELETE = ShadowPolicy
AT = datetime(2026, 3, 4, tzinfo=UTC)
OTHER = make_listed("a9", "-9.00", 1, "BAKERY")


@pytest.mark.parametrize(
    ("changes", "shown_under", "marked"),
    [
        ({"state": PENDING}, {HIDE, SHOW, CONFIRM, DELETE}, False),
        ({"state": ACTIVE}, {HIDE, SHOW, CONFIRM, DELETE}, False),
        ({"state": REMOVED}, set(), False),
        ({"state": REMOVED, "entries": ("L1",)}, set(), False),
        ({"state": SHADOW}, {SHOW, CONFIRM}, True),
        ({"state": SHADOW, "shadow_verdict": ShadowVerdict.CONFIRMED}, {SHOW}, True),
        ({"state": SHADOW, "shadow_verdict": ShadowVerdict.REJECTED}, {HIDE, SHOW, CONFIRM, DELETE}, True),
        ({"state": SHADOW, "entries": ("L1",)}, {HIDE, SHOW, CONFIRM, DELETE}, True),
        ({"state": SHADOW, "is_reconciled": True}, {HIDE, SHOW, CONFIRM, DELETE}, True),
        ({"state": SHADOW, "split_into": (Decimal(-9), Decimal(-11))}, {HIDE, SHOW, CONFIRM, DELETE}, True),
        ({"state": SHADOW, "deleted_at": AT}, set(), False),
        ({"state": SHADOW, "entries": ("L1",), "merged_into": TransactionId(2)}, set(), False),
        ({"state": ACTIVE, "deleted_at": AT}, set(), False),
        ({"state": SHADOW, "fingerprint": "f"}, set(), False),
    ],
)
def test_who_sees_what(changes: dict[str, Any], shown_under: set[ShadowPolicy], *, marked: bool) -> None:
    """Listed rows and shadow rows with a person's act are seen under each policy, other shadow rows as it says."""
    row = make_row(1, **changes)
    assert shown_under == {policy for policy in ShadowPolicy if is_shown(row, policy)}
    assert marked is is_marked(row)


def test_an_erased_row_keeps_its_day_and_its_ids() -> None:
    """Of an erased row the amount, the texts and the raw figures are gone."""
    row = make_row(1, state=SHADOW, aggregator_ids=("p1", "a1"), raw_amount="-20.00", raw_transacted_at=1_780_000_000)
    said = make_values("-20.00", posted_on=AT.date(), memo="to Ann", check_number="7", kind="atm")
    erased = erase(replace(row, values=said, bank_values=said))
    nothing = make_values("0", text="")
    assert (nothing, nothing) == (erased.values, erased.bank_values)
    assert (("p1", "a1"), "", None) == (erased.aggregator_ids, erased.raw_amount, erased.raw_transacted_at)
    assert fingerprint(TransactionId(1), said) == erased.fingerprint
    assert erased == erase(erased)


def test_a_row_that_is_not_stored_cannot_be_erased() -> None:
    """Without an id there is no fingerprint."""
    with pytest.raises(ValueError, match="expected a stored row to erase, got one without an id"):
        erase(replace(make_row(1), id=None))


def test_a_fingerprint_is_of_what_counts() -> None:
    """Amount, day, text and the row's id make a fingerprint, however they are written; nothing else does."""
    one = fingerprint(TransactionId(1), make_values("-20.00"))
    assert (32, 16) == (len(one), len({*one, *"0123456789abcdef"}))
    assert one == fingerprint(TransactionId(1), make_values("-20", text="Corner  Cafe (pending)", memo="x"))
    others = [make_values("-20.01"), make_values("20.00"), make_values("-20.00", 3), make_values("-20.00", text="CAFE")]
    prints = {fingerprint(TransactionId(1), values) for values in others}
    assert 6 == len({one, fingerprint(TransactionId(2), make_values("-20.00")), *prints})


def test_zero_has_one_fingerprint() -> None:
    """Zero is zero, whatever its sign and decimals."""
    assert 1 == len({fingerprint(TransactionId(1), make_values(zero)) for zero in ("0", "-0.00", "0.000")})


@pytest.mark.parametrize("policy", [HIDE, SHOW, CONFIRM])
def test_other_policies_keep_the_values(policy: ShadowPolicy) -> None:
    """Only the policy to delete changes what is stored of a shadow row."""
    gone = make_row(1, state=SHADOW)
    changes = [change(ChangeKind.SHADOWED, make_row(1), gone), change(ChangeKind.ADDED, None, gone)]
    assert tuple(changes) == erase_shadows(changes, policy)


def change(kind: ChangeKind, before: Known | None, after: Known) -> Change:
    return Change(kind=kind, rule=Rule.WITHDRAWN, before=before, after=after)


def withdrawn(*rows: Reported, act: Callable[[Known], Known] = lambda row: row) -> Store:
    """Return a store under the policy to delete whose rows, but for OTHER, the bank no longer lists."""
    store = Store(policy=DELETE)
    store.pull(make_pull(*rows, OTHER))
    store.act(act)
    store.pull(make_pull(OTHER, day=4))
    return store


def test_a_withdrawn_row_is_erased_in_the_same_plan() -> None:
    """Under the policy to delete, the plan that makes a row shadow leaves no value in it."""
    store = withdrawn(make_listed("a1"))
    row = next(row for row in store.rows.values() if row.state is SHADOW)
    assert row == erase(replace(make_row(row.id or 0), state=SHADOW, aggregator_ids=("a1",)))


@pytest.mark.parametrize(
    "act",
    [
        {"entries": ("L1",)},
        {"is_reconciled": True},
        {"deleted_at": AT},
        {"split_into": (Decimal(-9), Decimal(-11))},
        {"merged_into": TransactionId(1)},
    ],
    ids=str,
)
def test_a_row_with_an_act_keeps_its_values(act: dict[str, Any]) -> None:
    """What a person has worked with is never erased."""
    store = withdrawn(make_listed("a1"), act=lambda row: replace(row, **act) if row.aggregator_ids == ("a1",) else row)
    row = next(row for row in store.rows.values() if row.state is SHADOW)
    assert (Decimal("-20.00"), "") == (row.values.amount, row.fingerprint)


def test_a_booked_row_that_is_withdrawn_is_a_doubt_under_each_policy() -> None:
    """Where the act belongs is asked, whatever the customer chose."""
    for policy in ShadowPolicy:
        store = Store(policy=policy)
        store.pull(make_pull(make_listed("a1"), OTHER))
        store.act(lambda row: replace(row, entries=("L1",)) if row.aggregator_ids == ("a1",) else row)
        plan = store.pull(make_pull(OTHER, day=4))
        assert ["the bank no longer lists the row"] == [doubt.reason for doubt in plan.doubts]


def test_a_row_reported_as_shadow_is_not_stored() -> None:
    """Under the policy to delete a shadow row that nobody has seen leaves no trace, and comes as news when it posts."""
    store = Store(policy=DELETE)
    gone = make_listed("a1", state=SHADOW)
    assert [1, 0] == [len(store.pull(make_pull(gone, OTHER, day=day)).rows) for day in (3, 4)]
    assert [ChangeKind.ADDED] == [row.kind for row in store.pull(make_pull(make_listed("a1"), OTHER, day=5)).rows]


def test_an_erased_row_reported_as_shadow_stays_erased() -> None:
    """The aggregator's own word that a row is shadow brings no value back; a new id is kept."""
    store = withdrawn(make_listed("a1"))
    told = [
        store.pull(make_pull(make_listed(name, state=SHADOW), OTHER, day=day)) for day, name in ((5, "a1"), (6, "b1"))
    ]
    assert [[], [(ChangeKind.RENAMED, ("a1", "b1"))]] == [
        [(row.kind, row.after.aggregator_ids) for row in plan.rows] for plan in told
    ]
    assert {Decimal(0)} == {row.values.amount for row in store.rows.values() if row.state is SHADOW}


@pytest.mark.parametrize("kind", FeedKind)
@pytest.mark.parametrize("name", ["a1", "b1", None])
def test_an_erased_row_returns_with_all_its_values(kind: FeedKind, name: str | None) -> None:
    """Listed again, whatever its id and however its text is written, an erased row is the same row."""
    store = withdrawn(make_listed("a1"))
    back = make_listed(name, text="Corner Cafe", raw_amount="-20.00")
    plan = store.pull(make_pull(back, OTHER, day=5, kind=kind))
    rule = Rule.ID_AND_CONTENT if name == "a1" else Rule.CONTENT
    assert [(ChangeKind.RETURNED, rule)] == [(row.kind, row.rule) for row in plan.rows]
    after = plan.rows[0].after
    assert (back.values, back.values, "", ACTIVE) == (after.values, after.bank_values, after.fingerprint, after.state)
    assert "-20.00" == after.raw_amount


@pytest.mark.parametrize(
    "listed",
    [
        make_listed("a1", "-20.01"),
        make_listed("a1", "-20.00", 3),
        make_listed("a1", text="CORNER CAFE 12"),
        make_listed("a1", "0.00", text=""),
        make_listed("a1", state=PENDING),
    ],
    ids=str,
)
def test_an_id_alone_brings_no_erased_row_back(listed: Reported) -> None:
    """What stands under an erased row's id is a new row, unless it says all that the erased one said."""
    store = withdrawn(make_listed("a1"))
    plan = store.pull(make_pull(listed, OTHER, day=5))
    assert [ChangeKind.ADDED] == [row.kind for row in plan.rows]


def test_visible_rows_come_first() -> None:
    """A listed row that a visible one explains leaves the erased one of the same content alone."""
    store = withdrawn(make_listed("a1"))
    store.rows[9] = make_row(9, aggregator_ids=())
    assert () == tuple(row.kind for row in store.pull(make_pull(make_listed(None), OTHER, day=5)).rows)


def test_equal_erased_rows_return_by_count_and_by_id() -> None:
    """Of two equal erased rows the one returns whose id is listed; both return where two are listed."""
    store = withdrawn(make_listed("a1"), make_listed("a2"))
    plan = store.pull(make_pull(make_listed("a2"), OTHER, day=5))
    assert [("a2",)] == [row.after.aggregator_ids for row in plan.rows]
    both = store.pull(make_pull(make_listed("b1"), make_listed("a2"), make_listed("b3"), OTHER, day=6))
    assert [(ChangeKind.RETURNED, ("a1", "b1")), (ChangeKind.ADDED, ("b3",))] == [
        (row.kind, row.after.aggregator_ids) for row in both.rows
    ]


def test_a_crowd_of_erased_rows_costs_no_square() -> None:
    """Ten thousand equal rows that were erased return at once."""
    rows = [make_listed(None) for _ in range(10_000)]
    store = Store(policy=DELETE)
    store.rows = {n: erase(make_row(n, state=SHADOW)) for n in range(1, len(rows) + 1)}
    assert len(rows) == store.pull(make_pull(*rows)).counts[ChangeKind.RETURNED]


@LAWS
@given(histories)
def test_a_policy_changes_nothing_in_view(history: list[list[Reported]]) -> None:
    """Under each policy the rows in view are the same, and so are the verdicts."""
    stores = [Store(policy=policy) for policy in ShadowPolicy]
    for pull in nights(history, from_on=FIRST_ON, days=DAYS):
        assert 1 == len({store.pull(pull).verdict for store in stores})
        assert 1 == len({tuple(sorted(in_view(store), key=str)) for store in stores})


@LAWS
@given(histories)
def test_nothing_is_left_of_shadow_rows(history: list[list[Reported]]) -> None:
    """Under the policy to delete no shadow row without an act has a value, and the same list again changes nothing."""
    store = Store(policy=DELETE)
    pulls = nights([*history, history[-1]], from_on=FIRST_ON, days=DAYS)
    plans = [store.pull(pull) for pull in pulls]

    shadows = [row for row in store.rows.values() if row.state is SHADOW]
    assert all(row == erase(row) and row.values.description == "" and not row.values.amount for row in shadows)
    if plans[-2].verdict is Verdict.APPLIED:
        assert () == plans[-1].rows


def in_view(store: Store) -> list[tuple[object, ...]]:
    return [(row.state, row.values) for row in store.rows.values() if row.is_visible]
