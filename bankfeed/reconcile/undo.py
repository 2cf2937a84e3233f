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
ACT_FIELDS: dict[ActKind, tuple[str, ...]] = {
    ActKind.LINK: ("entries",),
    ActKind.UNLINK: ("entries",),
    ActKind.RECONCILE: ("is_reconciled",),
    ActKind.UNRECONCILE: ("is_reconciled",),
    ActKind.DELETE: ("deleted_at",),
    ActKind.RESTORE: ("deleted_at",),
    ActKind.MERGE: ("entries", "merged_into"),
    ActKind.UNMERGE: ("entries", "merged_into"),
    ActKind.SPLIT: ("split_into",),
    ActKind.UNSPLIT: ("split_into",),
    ActKind.CONFIRM: ("shadow_verdict",),
    ActKind.REJECT: ("shadow_verdict",),
    ActKind.DECIDE: ("entries", "is_reconciled", "deleted_at", "split_into"),
}
"""What each act may change of a row, and so all that its undo brings back."""

_UNDOS = frozenset({ActKind.UNDO_ACT, ActKind.UNDO_MATCH, ActKind.UNDO_PULL})
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
    stands again. What people did stays on the older row; where that leaves view, a doubt asks. Where the feed itself
    named the match it goes on naming it, and is no longer heard.
    """
    step = _require_feed_step(lived)
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

    A posted one that a person worked with becomes shadow instead, which is found again however late it is listed.
    `lives` are all rows that it added or changed. The next pull applies what the bank lists then.
    """
    rows = tuple(_change(ActKind.UNDO_PULL, each.row, _before_pull(each, pull_id, now)) for each in lives)
    changed = tuple(change for change in rows if change.before != change.after)
    return Changes(verdict=Verdict.APPLIED, rows=changed, doubts=_doubts(changed, ActKind.UNDO_PULL))


def undo_act(lives: Iterable[Lived], act_id: ActId) -> Changes:
    """Take back one act of a person on the rows that it changed."""
    found = tuple(lives)
    there = frozenset(entry for each in found for entry in each.row.entries)
    pairs = []
    for each in found:
        step = _require_act_step(each, act_id)
        pairs.append((each.row, _with_acts(each.row, _require_kept(each, step), step.rule, there)))
    return plan(ActKind.UNDO_ACT, *pairs)


def _before_pull(lived: Lived, pull_id: PullId, now: datetime) -> Known:
    step = _require_feed_step(lived)
    if step.pull_id != pull_id:
        raise ActRefused(
            f"expected pull {pull_id} to be the last to change row {lived.row.id}, got pull {step.pull_id}"
        )
    if step.kind is ChangeKind.ADDED:
        return _unlisted(lived.row, now)
    before = _require_kept(lived, step)
    return replace(_with_feed(lived.row, before), merged_into=before.merged_into)


def _unlisted(row: Known, now: datetime) -> Known:
    is_worked_with = row.has_act or row.merged_into is not None
    if is_worked_with and row.state in (TransactionState.ACTIVE, TransactionState.SHADOW):
        return replace(row, state=TransactionState.SHADOW)
    return replace(row, state=TransactionState.REMOVED, removed_at=now, shadow_verdict=None)


def find_feed_step(steps: Sequence[Step]) -> Step | None:
    """Return the last step that the feed made and that stands; None where there is none, or a match was undone since."""
    standing: list[Step] = []
    for step in steps:
        if step.rule is ActKind.UNDO_MATCH:
            standing.clear()
        elif step.rule is ActKind.UNDO_PULL:
            del standing[-1:]
        elif isinstance(step.rule, Rule):
            standing.append(step)
    return standing[-1] if standing else None


def _find_act_step(steps: Sequence[Step]) -> Step | None:
    """Return the last step that a person made and that stands; an adoption is one, though it goes by a rule."""
    standing: list[Step] = []
    for step in steps:
        if step.rule is ActKind.UNDO_ACT:
            del standing[-1:]
        elif step.act_id is not None:
            standing.append(step)
    return standing[-1] if standing else None


def _require_feed_step(lived: Lived) -> Step:
    step = find_feed_step(lived.steps)
    if step is None:
        raise ActRefused(f"expected row {lived.row.id} to have been changed by a pull since the last undo, got none")
    return step


def _require_act_step(lived: Lived, act_id: ActId) -> Step:
    if any(step.act_id == act_id and step.rule in _UNDOS for step in lived.steps):
        raise ActRefused("expected an act on rows, got an undo; what it undid can be done again")
    step = _find_act_step(lived.steps)
    if step is None or step.act_id != act_id:
        later = step.rule.value if step is not None else "none"
        raise ActRefused(f"expected act {act_id} to be the last one on row {lived.row.id}, got a later one: {later}")
    return step


def _require_match(lived: Lived, step: Step) -> Known:
    if step.kind not in _PAIRED:
        raise ActRefused(f"expected row {lived.row.id} to be matched with a reported one, got {step.kind} last")
    return _require_kept(lived, step)


def _require_kept(lived: Lived, step: Step) -> Known:
    if step.before is None:
        raise ActRefused(f"expected row {lived.row.id} as it was before, got nothing: its values were erased")
    return step.before


def _with_feed(row: Known, before: Known) -> Known:
    """Return a row with the feed's side of how it was; one that a person works with keeps values that were erased then."""
    if before.fingerprint and row.has_act:
        before = replace(
            before,
            bank_values=row.bank_values,
            raw_amount=row.raw_amount,
            raw_transacted_at=row.raw_transacted_at,
            fingerprint="",
        )
    fields: dict[str, Any] = {name: getattr(before, name) for name in FEED_FIELDS}
    if before.state is not TransactionState.SHADOW:
        fields["shadow_verdict"] = None
    return replace(row, values=row.values if row.is_reconciled else before.bank_values, **fields)


def _with_acts(row: Known, before: Known, act: Rule | ActKind, there: frozenset[str]) -> Known:
    """Return a row as it was before an act, in what the act may change; a lock that comes back shows what it locked.

    `there` are the entries on the act's rows now: one that no act took off and that is not there was voided since. A
    verdict that a return of the row has ended, and a merge that the engine made since, stay as they are.
    """
    fields: dict[str, Any] = {name: getattr(before, name) for name in ACT_FIELDS.get(ActKind(act), ())}
    if "entries" in fields and act is not ActKind.UNLINK:
        fields["entries"] = tuple(entry for entry in before.entries if entry in there)
    if row.shadow_verdict is None:
        fields.pop("shadow_verdict", None)
    if fields.get("is_reconciled", row.is_reconciled) is not row.is_reconciled:
        fields["values"] = before.values if before.is_reconciled else row.bank_values
    if row.state is TransactionState.REMOVED and row.has_joined:
        fields.pop("merged_into", None)
    return replace(row, **fields)


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
        has_joined=step.rule
        is Rule.LINK,  # the feed goes on naming the pending row: the posting must not join it again
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
