"""What reconciling a pull comes to: a verdict, the rows that change and the doubts left over. Pure values."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from bankfeed.model import ActId, Known, Pull, PullId, TransactionId
from bankfeed.reconcile.balance import Balance, BalanceCheck


class Verdict(StrEnum):
    """What became of a pull. Only `applied` has rows."""

    APPLIED = "applied"
    HELD = "held"
    """Suspicious: kept, not applied, believed once a later pull lacks the same rows."""
    REPEATED = "repeated"
    """Applied or held before, by its `at`."""
    STALE = "stale"
    """Older than the last applied one."""
    FAILED = "failed"
    """An error, a missing page or a wrong count: never applied, confirms nothing."""


class ChangeKind(StrEnum):
    """What a change means to those who see the row."""

    ADDED = "added"
    UPDATED = "updated"
    POSTED = "posted"
    SHADOWED = "shadowed"
    RETURNED = "returned"
    """Out of view before (shadow, removed), in view now."""
    REMOVED = "removed"
    MERGED = "merged"
    """Joined to another row, which `after.merged_into` names."""
    RENAMED = "renamed"
    """Nothing in view changed: ids, the bank's own values, or a row that is out of view."""


class Rule(StrEnum):
    """Which rule decided; `RULE_WORDS` says each in plain words."""

    ID_AND_CONTENT = "id_and_content"
    LINK = "link"
    CONTENT = "content"
    ID = "id"
    CORRECTION = "correction"
    EQUAL_AMOUNT = "equal_amount"
    LATE_JOIN = "late_join"
    CHANGED_AMOUNT = "changed_amount"
    HOLD = "hold"
    TOKEN_CHECK = "token_check"  # noqa: S105  a rule's name, nothing secret
    CURRENCY = "currency"
    SPLIT = "split"
    TOTAL = "total"
    PENDING_GONE = "pending_gone"
    NAMED_REMOVED = "named_removed"
    WITHDRAWN = "withdrawn"
    MERGED = "merged"
    RELINKED = "relinked"
    TIE = "tie"
    NEW = "new"


class ActKind(StrEnum):
    """What a person did with a row, or with several at once; `ACT_WORDS` says each in plain words."""

    LINK = "link"
    UNLINK = "unlink"
    RECONCILE = "reconcile"
    UNRECONCILE = "unreconcile"
    DELETE = "delete"
    RESTORE = "restore"
    MERGE = "merge"
    UNMERGE = "unmerge"
    SPLIT = "split"
    UNSPLIT = "unsplit"
    CONFIRM = "confirm"
    REJECT = "reject"
    DECIDE = "decide"
    UNDO_ACT = "undo_act"
    UNDO_MATCH = "undo_match"
    UNDO_PULL = "undo_pull"
    ACCEPT_GAP = "accept_gap"


RULE_WORDS: dict[Rule, str] = {
    Rule.ID_AND_CONTENT: "1: the id, and amount, date and text, are those of the row",
    Rule.LINK: "2: the feed names the pending row that this is the posting of",
    Rule.CONTENT: "3: amount, date and text are those of the row, as often as the bank lists them",
    Rule.ID: "1: the id is that of the row, and what stands under it is plausible",
    Rule.CORRECTION: "1: the id is that of the row, and the bank changed the amount of a posted row",
    Rule.EQUAL_AMOUNT: "4: the nearest row of equal amount that the bank no longer lists",
    Rule.LATE_JOIN: "4: a pending row that was listed beside its posting and is no longer",
    Rule.CHANGED_AMOUNT: "5: posted higher (up to half more) or lower, with a similar text",
    Rule.HOLD: "5: a round hold of 50.00 or more that posted lower",
    Rule.TOKEN_CHECK: "5: a check of about 2.00 or less that posted as the real amount",
    Rule.CURRENCY: "5: posted within about 3 %, as rates move",
    Rule.SPLIT: "5: one pending row posted as several that sum to it",
    Rule.TOTAL: "5: several pending rows posted as their total",
    Rule.PENDING_GONE: "6: a pending row that the complete list no longer has",
    Rule.NAMED_REMOVED: "6: a delta names the row as removed",
    Rule.WITHDRAWN: "7: a posted row that the complete list no longer has",
    Rule.MERGED: "10: a row that a person merged away speaks for the one it was merged into",
    Rule.RELINKED: "11: the same row of the account as it was linked before",
    Rule.TIE: "12: more than one row may be the one that a person's act belongs to",
    Rule.NEW: "nothing known explains the row",
}
"""Each rule in words; the numbers are those of the reconciling rules."""

ACT_WORDS: dict[ActKind, str] = {
    ActKind.LINK: "a person booked the row to a ledger entry",
    ActKind.UNLINK: "a person took a ledger entry off the row",
    ActKind.RECONCILE: "a person marked the row reconciled",
    ActKind.UNRECONCILE: "a person took the reconciled mark off the row",
    ActKind.DELETE: "a person deleted the row",
    ActKind.RESTORE: "a person restored the row",
    ActKind.MERGE: "a person merged two rows into one",
    ActKind.UNMERGE: "a person parted two merged rows",
    ActKind.SPLIT: "a person split the row",
    ActKind.UNSPLIT: "a person made the row whole again",
    ActKind.CONFIRM: "a person said that the shadow row is gone indeed",
    ActKind.REJECT: "a person said that the shadow row did happen",
    ActKind.DECIDE: "a person answered a doubt: the acts went to the row chosen",
    ActKind.UNDO_ACT: "a person took back an act",
    ActKind.UNDO_MATCH: "a person took back a match",
    ActKind.UNDO_PULL: "a person took back a pull",
    ActKind.ACCEPT_GAP: "a person took the bank's balance as it is",
}
"""Each act in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What went before in this account: `at` of the last applied pull, and the pulls held since then, in any order.

    `last_at` is None where none was applied; `balance` None where none was ever stated. `is_relinked` is true for the
    pull by which the account turned out to be linked anew: what it lists, it lists under new ids. `earliest_on` is the day
    of the account's first row, None where it has none.
    """

    last_at: datetime | None = None
    held: tuple[Pull, ...] = ()
    balance: Balance | None = None
    is_relinked: bool = False
    earliest_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row to write. `before` is None for a new row; `after.id` is None until it is stored."""

    kind: ChangeKind
    rule: Rule | ActKind
    before: Known | None
    after: Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of one row, as it is kept: which pull or which act made it, by which rule, and how the row was before.

    `change_no` grows with time. `at` is the pull's, or when the person acted; one of `pull_id` and `act_id` is set.
    `before` is None where the row was added, or its values were erased since. How the row was afterwards is the
    `before` of its next step, or the row as it is now.
    """

    change_no: int
    at: datetime
    kind: ChangeKind
    rule: Rule | ActKind
    before: Known | None
    pull_id: PullId | None = None
    act_id: ActId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A question for a person: which row does their act on `transaction` belong to?

    `transaction` is the row as it was before the pull. `candidates` are rows as they are after it, the one that the act
    stays on included where it is still in view; one without an id is the `after` of a row added by the same plan.
    """

    transaction: Known
    candidates: tuple[Known, ...]
    rule: Rule | ActKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The plan for one pull, or for one act of a person. Rows that stay as they are do not appear.

    `reason` is "" where the pull was applied. `balance` is what became of the balance check, None where the bank never
    stated a balance.
    """

    verdict: Verdict
    reason: str = ""
    rows: tuple[Change, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    balance: BalanceCheck | None = None

    @property
    def returned_ids(self) -> tuple[TransactionId, ...]:
        """Name the rows that are back in view: what was asked when they left is answered."""
        return tuple(row.after.id for row in self.rows if row.kind is ChangeKind.RETURNED and row.after.id is not None)

    @property
    def freed_ids(self) -> tuple[TransactionId, ...]:
        """Name the rows that no act of a person is on any more: nobody need be asked where it belongs.

        A row that was merged is not among them: its acts are on the row that it was merged into, and still in question.
        """
        return tuple(
            row.after.id
            for row in self.rows
            if row.before is not None and row.before.has_act and not row.after.has_act and row.after.merged_into is None
            if row.after.id is not None
        )

    @property
    def counts(self) -> dict[ChangeKind, int]:
        """Count the rows by kind, every kind included."""
        counts = dict.fromkeys(ChangeKind, 0)
        for row in self.rows:
            counts[row.kind] += 1
        return counts
