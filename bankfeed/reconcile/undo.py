"""Taking back what was done: one match, a whole pull, a person's act (rule 13). Pure.

A row has two sides. What the feed says of it (state, values, ids) is taken back without touching what people did with
it (entries, locks, deletions, splits), and the other way round. What was done last is taken back first: a row that
was changed since on the same side is refused, with what has to be undone before. What is undone is itself a change with
a number of its own; nothing is forgotten.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bankfeed.errors import ActRefused
from bankfeed.model import ActId, Known, PullId, TransactionState
from bankfeed.reconcile.acts import change_kind, plan
from bankfeed.reconcile.changes import ActKind, Change, ChangeKind, Changes, Doubt, Rule, Step, Verdict
from bankfeed.reconcile.outcome import leave

FEED_FIELDS = (
    "state",
    "bank_values",
    "aggregator_ids",
    "first_pulled_at",
    "raw_amount",
    "raw_transacted_at",
    "removed_at",
    "has_joined",
    "fingerprint",
)
ACT_FIELDS = ("entries", "is_reconciled", "deleted_at", "split_into", "shadow_verdict")

_PAIRED = frozenset({ChangeKind.POSTED, ChangeKind.UPDATED, ChangeKind.RENAMED, ChangeKind.RETURNED})
_BY_ID = frozenset({Rule.ID, Rule.ID_AND_CONTENT, Rule.CORRECTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """A row as it is now, and its steps in order."""

    row: Known
    steps: tuple[Step, ...]


def undo_match(lived: Lived, *, now: datetime, left: Lived | None = None) -> Changes:
    """Part a row from the reported one that it was last matched with.

    The row goes back to what it was before, and out of view as the bank does not list it; the reported one stands as a
    row of its own. `left` is the younger row that was joined into this one by that match, where there was one: it
    stands again. What people did stays on the older row; where that leaves view, a doubt asks.
    """
    step = _last_feed_step(lived)
    before = _require_match(lived, step)
    if left is not None and left.row.merged_into != lived.row.id:
        raise ActRefused(f"expected a row that was joined into {lived.row.id}, got {left.row.id}")
    parted = leave(_with_feed(lived.row, before), now)
    alone = _stand_alone(lived.row, before, step, left)
    rows = (
        _change(ActKind.UNDO_MATCH, lived.row, parted),
        _change(ActKind.UNDO_MATCH, left.row if left is not None else None, alone),
    )
    return Changes(verdict=Verdict.APPLIED, rows=rows, doubts=_doubts(rows, ActKind.UNDO_MATCH, candidates=(alone,)))


def undo_pull(lives: Iterable[Lived], pull_id: PullId, *, now: datetime) -> Changes:
    """Take back all that a pull changed; rows that it added leave as if never listed, ids kept.

    `lives` are all rows that it added or changed. The next pull applies what the bank lists then.
    """
    rows = tuple(_change(ActKind.UNDO_PULL, each.row, _before_pull(each, pull_id, now)) for each in lives)
    changed = tuple(change for change in rows if change.before != change.after)
    return Changes(verdict=Verdict.APPLIED, rows=changed, doubts=_doubts(changed, ActKind.UNDO_PULL))


def undo_act(lives: Iterable[Lived], act_id: ActId) -> Changes:
    """Take back one act of a person on the rows that it changed."""
    pairs = []
    for each in lives:
        acts = [step for step in each.steps if step.act_id is not None and isinstance(step.rule, ActKind)]
        if not acts or acts[-1].act_id != act_id:
            later = acts[-1].rule.value if acts else "none"
            raise ActRefused(f"expected act {act_id} to be the last one on row {each.row.id}, got a later one: {later}")
        if acts[-1].rule in (ActKind.UNDO_ACT, ActKind.UNDO_MATCH, ActKind.UNDO_PULL):
            raise ActRefused("expected an act on rows, got an undo; what it undid can be done again")
        pairs.append((each.row, _with_acts(each.row, _require_kept(each, acts[-1]))))
    return plan(ActKind.UNDO_ACT, *pairs)


def _before_pull(lived: Lived, pull_id: PullId, now: datetime) -> Known:
    step = _last_feed_step(lived)
    if step.pull_id != pull_id:
        raise ActRefused(
            f"expected pull {pull_id} to be the last to change row {lived.row.id}, got pull {step.pull_id}"
        )
    if step.kind is ChangeKind.ADDED:
        return replace(lived.row, state=TransactionState.REMOVED, removed_at=now, shadow_verdict=None)
    before = _require_kept(lived, step)
    return replace(_with_feed(lived.row, before), merged_into=before.merged_into)


def _last_feed_step(lived: Lived) -> Step:
    """Return the last step that the feed made; one that was undone since stands in the way."""
    for step in reversed(lived.steps):
        if isinstance(step.rule, Rule):
            return step
        if step.rule in (ActKind.UNDO_MATCH, ActKind.UNDO_PULL):
            break
    raise ActRefused(f"expected row {lived.row.id} to have been changed by a pull since the last undo, got none")


def _require_match(lived: Lived, step: Step) -> Known:
    if step.kind not in _PAIRED:
        raise ActRefused(f"expected row {lived.row.id} to be matched with a reported one, got {step.kind} last")
    return _require_kept(lived, step)


def _require_kept(lived: Lived, step: Step) -> Known:
    if step.before is None:
        raise ActRefused(f"expected row {lived.row.id} as it was before, got nothing: its values were erased")
    return step.before


def _with_feed(row: Known, before: Known) -> Known:
    """Return a row with the feed's side of how it was."""
    fields: dict[str, Any] = {name: getattr(before, name) for name in FEED_FIELDS}
    if before.state is not TransactionState.SHADOW:
        fields["shadow_verdict"] = None
    return replace(row, values=row.values if row.is_reconciled else before.bank_values, **fields)


def _with_acts(row: Known, before: Known) -> Known:
    """Return a row with the person's side of how it was; a lock that comes back shows what it locked."""
    fields: dict[str, Any] = {name: getattr(before, name) for name in ACT_FIELDS}
    if row.state is not TransactionState.SHADOW:
        fields["shadow_verdict"] = None
    if before.is_reconciled is not row.is_reconciled:
        fields["values"] = before.values if before.is_reconciled else row.bank_values
    is_joined = row.state is TransactionState.REMOVED and row.has_joined
    return replace(row, merged_into=row.merged_into if is_joined else before.merged_into, **fields)


def _stand_alone(row: Known, before: Known, step: Step, left: Lived | None) -> Known:
    """Return what the bank lists as a row without what people did: the one that had left, or a new one."""
    ids = tuple(each for each in row.aggregator_ids if each not in before.aggregator_ids)
    if step.rule in _BY_ID:
        ids = row.aggregator_ids[-1:]
    alone = Known(
        id=None,
        state=row.state,
        values=row.bank_values,
        bank_values=row.bank_values,
        aggregator_ids=ids,
        first_pulled_at=step.at,
        raw_amount=row.raw_amount,
        raw_transacted_at=row.raw_transacted_at,
        removed_at=row.removed_at,
    )
    if left is None:
        return alone
    fields: dict[str, Any] = {name: getattr(alone, name) for name in FEED_FIELDS if name != "first_pulled_at"}
    return replace(left.row, values=row.bank_values, merged_into=None, **fields)


def _change(kind: ActKind, before: Known | None, after: Known) -> Change:
    what = ChangeKind.ADDED if before is None else change_kind(before, after)
    return Change(kind=what, rule=kind, before=before, after=after)


def _doubts(rows: Sequence[Change], kind: ActKind, *, candidates: tuple[Known, ...] = ()) -> tuple[Doubt, ...]:
    """Ask where a person's act belongs whose row left view."""
    reason = "what the row was matched with was undone"
    return tuple(
        Doubt(transaction=change.before, candidates=candidates, rule=kind, reason=reason)
        for change in rows
        if change.before is not None
        and change.before.has_act
        and change.before.is_visible
        and not change.after.is_visible
    )
