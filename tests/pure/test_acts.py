from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from bankfeed.errors import ActRefused
from bankfeed.model import Known, ShadowVerdict, TransactionId, TransactionState, Values
from bankfeed.reconcile import Changes, acts
from bankfeed.reconcile.changes import ActKind, ChangeKind

AT = datetime(2026, 3, 3, 12, tzinfo=UTC)


def make_row(row_id: int, amount: str = "-20.00", **changes: object) -> Known:
    values = Values(amount=Decimal(amount), transacted_on=date(2026, 3, 2), description="CORNER CAFE")
    row = Known(
        id=TransactionId(row_id),
        state=TransactionState.ACTIVE,
        values=values,
        bank_values=values,
        aggregator_ids=(f"a{row_id}",),
        first_pulled_at=datetime(2026, 3, 3, 6, tzinfo=UTC),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


PARTS = (Decimal("-9.00"), Decimal("-11.00"))
SHADOW = make_row(1, state=TransactionState.SHADOW)


def after(plan: Changes, row_id: int = 1) -> Known:
    return next(change.after for change in plan.rows if change.after.id == row_id)


def test_a_link_puts_an_entry_on_its_row() -> None:
    """The entry stands last among those of the row, and the change says who made it: a person's link."""
    plan = acts.link(make_row(1, entries=("L1",)), "L2")
    assert ("L1", "L2") == after(plan).entries
    assert [(ChangeKind.UPDATED, ActKind.LINK)] == [(change.kind, change.rule) for change in plan.rows]


def test_an_act_done_twice_changes_nothing() -> None:
    """Every act is safe to repeat."""
    row = make_row(1, entries=("L1",), is_reconciled=True, deleted_at=AT, split_into=(Decimal(-9), Decimal(-11)))
    dropped = make_row(2, merged_into=TransactionId(1))
    seen = replace(row, deleted_at=None)
    plans = (
        acts.link(seen, "L1"),
        acts.unlink(seen, "L9"),
        acts.mark_reconciled(seen),
        acts.delete(row, at=AT.replace(hour=20)),
        acts.restore(seen),
        acts.merge(seen, dropped),
        acts.split(seen, row.split_into),
        acts.decide(seen, seen),
    )
    assert [()] * len(plans) == [plan.rows for plan in plans]


def test_unlocking_shows_what_the_bank_says_now() -> None:
    """A reconciled row kept its values; without the lock it has the bank's."""
    bank = replace(make_row(1).bank_values, amount=Decimal("-24.00"))
    row = make_row(1, is_reconciled=True, bank_values=bank)
    assert Decimal("-24.00") == after(acts.unmark_reconciled(row)).values.amount


def test_a_deleted_row_comes_back_as_the_bank_lists_it() -> None:
    """Deleting takes a row out of view, restoring brings it back; both are told as such."""
    gone = acts.delete(make_row(1), at=AT)
    back = acts.restore(after(gone))
    assert (ChangeKind.REMOVED, ChangeKind.RETURNED) == (gone.rows[0].kind, back.rows[0].kind)
    assert make_row(1) == after(back)


def test_a_merge_moves_the_entries_and_parting_moves_them_back() -> None:
    """Of two rows one stays, with the entries of both; parted, each has its own again."""
    keep, drop = make_row(1, entries=("L1",)), make_row(2, entries=("L2", "L3"))
    merged = acts.merge(keep, drop)
    assert ("L1", "L2", "L3") == after(merged).entries
    assert (ChangeKind.MERGED, ()) == (merged.rows[1].kind, after(merged, 2).entries)
    parted = acts.unmerge(after(merged), after(merged, 2), entries=("L2", "L3", "L9"))
    assert (keep, drop) == (after(parted), after(parted, 2))


def test_a_merged_row_goes_on_following_the_bank() -> None:
    """Merging keeps the state: what the bank lists is still known of the row out of view."""
    dropped = after(acts.merge(make_row(1), make_row(2)), 2)
    assert (TransactionState.ACTIVE, False) == (dropped.state, dropped.is_visible)


def test_a_row_that_posted_from_pending_is_parted_too() -> None:
    """Only what the engine joined is no person's merge: a posted row that joined its own pending one comes back."""
    row = make_row(2, has_joined=True)
    dropped = after(acts.merge(make_row(1), row), 2)
    assert row == after(acts.unmerge(make_row(1), dropped), 2)


def test_a_split_adds_up() -> None:
    """Parts that add up are kept; booking whole again forgets them."""
    row = after(acts.split(make_row(1), PARTS))
    assert PARTS == row.split_into
    assert () == after(acts.unsplit(row)).split_into


def test_a_shadow_row_is_judged() -> None:
    """A person may say that it is gone indeed, or that it did happen."""
    assert ShadowVerdict.CONFIRMED == after(acts.confirm_shadow(SHADOW)).shadow_verdict
    assert ShadowVerdict.REJECTED == after(acts.reject_shadow(SHADOW)).shadow_verdict


def test_a_decided_doubt_moves_every_act() -> None:
    """The chosen row has the entries, the lock and the split that fits; the old one shows the bank's values."""
    bank = replace(make_row(1).bank_values, amount=Decimal("-24.00"))
    row = make_row(1, entries=("L1",), is_reconciled=True, bank_values=bank, split_into=(Decimal(-9), Decimal(-11)))
    plan = acts.decide(row, make_row(2))
    chosen, freed = after(plan, 2), after(plan)
    assert (("L1",), True, row.split_into) == (chosen.entries, chosen.is_reconciled, chosen.split_into)
    assert make_row(1, values=bank, bank_values=bank) == freed


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (lambda: acts.link(make_row(1, deleted_at=AT), "L1"), "got row 1, which was deleted"),
        (lambda: acts.link(make_row(1, state=TransactionState.REMOVED), "L1"), "which the bank no longer reports"),
        (lambda: acts.mark_reconciled(make_row(1, merged_into=TransactionId(7))), "got 1, which was merged into 7"),
        (lambda: acts.merge(make_row(1), make_row(1)), "got row 1 twice"),
        (lambda: acts.merge(make_row(1), make_row(2, is_reconciled=True)), "expected to keep the reconciled row 2"),
        (lambda: acts.merge(SHADOW, make_row(2)), "expected to keep row 2, which the bank lists, got 1 to keep"),
        (lambda: acts.merge(make_row(1), make_row(2, split_into=PARTS)), "booked whole, got row 2, which is split"),
        (lambda: acts.unmerge(make_row(1), make_row(2)), "expected a row that was merged into 1, got 2"),
        (lambda: acts.split(make_row(1), [Decimal(-20)]), "expected two or more parts, none of them zero, got -20"),
        (lambda: acts.split(make_row(1), [Decimal(-20), Decimal(0)]), "none of them zero, got -20, 0"),
        (lambda: acts.split(make_row(1), [Decimal(-9), Decimal(-9)]), "add up to -20.00, got -9, -9: -18"),
        (lambda: acts.confirm_shadow(make_row(1)), "expected a shadow row, got row 1, which is active"),
        (lambda: acts.decide(make_row(1), make_row(2, merged_into=TransactionId(3))), "expected a row that stands"),
        (lambda: acts.decide(make_row(1), make_row(2, deleted_at=AT)), "got row 2, which was deleted"),
        (lambda: acts.decide(make_row(1), make_row(2, fingerprint="0" * 32)), "the bank no longer reports"),
        (lambda: acts.decide(make_row(1), make_row(2, state=TransactionState.REMOVED)), "the bank no longer reports"),
    ],
)
def test_an_act_that_does_not_fit_is_refused(refused: object, text: str) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(ActRefused, match=text.replace("(", r"\(")):
        refused()  # type: ignore[operator]


def test_all_are_reconciled_or_none() -> None:
    """One plan for many rows; one that was deleted refuses it."""
    first, second, done = make_row(1), make_row(2), make_row(3, is_reconciled=True)
    assert [1, 2] == [change.after.id for change in acts.mark_all_reconciled([first, second, done]).rows]
    with pytest.raises(ActRefused, match="row 4"):
        acts.mark_all_reconciled([first, make_row(4, deleted_at=AT)])
