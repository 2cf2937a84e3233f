"""What a person does with rows, as plans like those of a pull (rule 10). Pure: who may, and when, the caller says.

Each act takes the rows as they are now, under their account's lock, and returns what changes: an act that changes
nothing returns no rows, so each is safe to repeat. An act that does not fit raises ActRefused. The feed never undoes
one; a person can, by its opposite or through reconcile/undo.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from bankfeed.errors import ActRefused
from bankfeed.model import Known, ShadowVerdict, TransactionState
from bankfeed.reconcile.changes import ActKind, Change, ChangeKind, Changes, Verdict

FEWEST_PARTS = 2


def link(row: Known, entry: str) -> Changes:
    """Book a row to a ledger entry, named by its reference. The caller knows that no other row has the entry."""
    _require_there(row)
    entries = row.entries if entry in row.entries else (*row.entries, entry)
    return plan(ActKind.LINK, (row, replace(row, entries=entries)))


def unlink(row: Known, entry: str) -> Changes:
    """Take a ledger entry off a row."""
    return plan(ActKind.UNLINK, (row, replace(row, entries=tuple(each for each in row.entries if each != entry))))


def mark_reconciled(row: Known) -> Changes:
    """Lock a row's values: the feed goes on in `bank_values`, and what people see stays."""
    _require_there(row)
    return plan(ActKind.RECONCILE, (row, replace(row, is_reconciled=True)))


def mark_all_reconciled(rows: Sequence[Known]) -> Changes:
    """Lock the values of several rows of an account, or of none where one of them does not fit."""
    for row in rows:
        _require_there(row)
    return plan(ActKind.RECONCILE, *((row, replace(row, is_reconciled=True)) for row in rows))


def unmark_reconciled(row: Known) -> Changes:
    """Unlock a row: it shows what the bank says now."""
    return plan(ActKind.UNRECONCILE, (row, unlocked(row)))


def delete(row: Known, *, at: datetime) -> Changes:
    """Take a row out of view for good, whatever the bank lists. Its ids are held, its entries stay on it."""
    _require_one(row)
    return plan(ActKind.DELETE, (row, replace(row, deleted_at=row.deleted_at or at)))


def restore(row: Known) -> Changes:
    """Bring a deleted row back, in the state that the bank lists it in now."""
    return plan(ActKind.RESTORE, (row, replace(row, deleted_at=None)))


def merge(keep: Known, drop: Known) -> Changes:
    """Say that two rows are one movement: `drop` leaves view, and its entries move to `keep`."""
    if keep.id == drop.id:
        raise ActRefused(f"expected two rows to merge, got row {keep.id} twice")
    if drop.merged_into == keep.id:
        return plan(ActKind.MERGE)
    _require_there(keep)
    _require_there(drop)
    if drop.is_reconciled and not keep.is_reconciled:
        raise ActRefused(f"expected to keep the reconciled row {drop.id}, got {keep.id} to keep")
    if drop.split_into and drop.split_into != keep.split_into:
        raise ActRefused(f"expected to drop a row that is booked whole, got row {drop.id}, which is split")
    if drop.is_visible and not keep.is_visible:
        raise ActRefused(f"expected to keep row {drop.id}, which the bank lists, got {keep.id} to keep, a shadow row")
    entries = (*keep.entries, *drop.entries)
    dropped = replace(drop, merged_into=keep.id, entries=())
    return plan(ActKind.MERGE, (keep, replace(keep, entries=entries)), (drop, dropped))


def unmerge(keep: Known, drop: Known, *, entries: Sequence[str] = ()) -> Changes:
    """Part two rows that a person merged; of `entries`, what the merge moved and `keep` still has goes back."""
    is_joined = drop.state is TransactionState.REMOVED and drop.has_joined
    if drop.merged_into != keep.id or is_joined:
        raise ActRefused(f"expected a row that was merged into {keep.id}, got {drop.id}, which was not")
    back = tuple(entry for entry in keep.entries if entry in entries)
    kept = replace(keep, entries=tuple(entry for entry in keep.entries if entry not in back))
    return plan(ActKind.UNMERGE, (keep, kept), (drop, replace(drop, merged_into=None, entries=(*drop.entries, *back))))


def split(row: Known, into: Sequence[Decimal]) -> Changes:
    """Book a row in parts that add up to it exactly; the bank's row stays one. An earlier split is replaced."""
    _require_there(row)
    parts = tuple(into)
    if len(parts) < FEWEST_PARTS or any(part == 0 for part in parts):
        raise ActRefused(f"expected two or more parts, none of them zero, got {_list(parts)}")
    if sum(parts) != row.values.amount:
        raise ActRefused(f"expected parts that add up to {row.values.amount}, got {_list(parts)}: {sum(parts)}")
    return plan(ActKind.SPLIT, (row, replace(row, split_into=parts)))


def unsplit(row: Known) -> Changes:
    """Book a row whole again."""
    return plan(ActKind.UNSPLIT, (row, replace(row, split_into=())))


def confirm_shadow(row: Known) -> Changes:
    """Say that a row which the bank no longer lists is gone indeed. Listed again, it returns nevertheless."""
    return _judge(ActKind.CONFIRM, row, ShadowVerdict.CONFIRMED)


def reject_shadow(row: Known) -> Changes:
    """Say that a row which the bank no longer lists did happen: it stays in view."""
    return _judge(ActKind.REJECT, row, ShadowVerdict.REJECTED)


def decide(row: Known, choice: Known) -> Changes:
    """Answer a doubt about the acts on `row`: they belong to `choice`, which may be the row itself.

    A split goes along where it still adds up. A lock keeps the amounts that the choice shows now.
    """
    if choice.id == row.id:
        return plan(ActKind.DECIDE)
    _require_there(choice)
    fits = sum(row.split_into) == choice.values.amount
    chosen = replace(
        choice,
        entries=(*choice.entries, *row.entries),
        is_reconciled=choice.is_reconciled or row.is_reconciled,
        deleted_at=choice.deleted_at or row.deleted_at,
        split_into=row.split_into if row.split_into and fits else choice.split_into,
    )
    freed = replace(unlocked(row), entries=(), deleted_at=None, split_into=())
    return plan(ActKind.DECIDE, (row, freed), (choice, chosen))


def unlocked(row: Known) -> Known:
    """Return a row without its lock, showing what the bank says."""
    return replace(row, is_reconciled=False, values=row.bank_values)


def plan(kind: ActKind, *pairs: tuple[Known, Known]) -> Changes:
    """Return the plan that brings each row from what it is to what it becomes; equal ones do not appear."""
    rows = tuple(
        Change(kind=change_kind(before, after), rule=kind, before=before, after=after)
        for before, after in pairs
        if before != after
    )
    return Changes(verdict=Verdict.APPLIED, rows=rows)


def change_kind(before: Known, after: Known) -> ChangeKind:
    """Return what a person's change means to those who see the row."""
    if before.is_visible == after.is_visible:
        return ChangeKind.UPDATED
    if after.is_visible:
        return ChangeKind.RETURNED
    return ChangeKind.MERGED if after.merged_into is not None else ChangeKind.REMOVED


def _judge(kind: ActKind, row: Known, verdict: ShadowVerdict) -> Changes:
    if row.state is not TransactionState.SHADOW:
        raise ActRefused(f"expected a shadow row, got row {row.id}, which is {row.state}")
    return plan(kind, (row, replace(row, shadow_verdict=verdict)))


def _require_there(row: Known) -> None:
    """Refuse a row that people cannot see; shadow rows may be seen."""
    _require_one(row)
    if row.deleted_at is not None or row.fingerprint or row.state is TransactionState.REMOVED:
        gone = "was deleted" if row.deleted_at is not None else "the bank no longer reports"
        raise ActRefused(f"expected a row in view, got row {row.id}, which {gone}")


def _require_one(row: Known) -> None:
    if row.merged_into is not None:
        raise ActRefused(
            f"expected a row that stands for itself, got {row.id}, which was merged into {row.merged_into}"
        )


def _list(parts: Sequence[Decimal]) -> str:
    return ", ".join(map(str, parts)) or "none"
