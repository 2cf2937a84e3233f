"""What reconciling a pull comes to: a verdict, the rows that change and the doubts left over. Pure values."""

from dataclasses import dataclass
from datetime import datetime
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
    """Which rule decided; the numbers are those of the reconciling rules."""

    ID_AND_CONTENT = "id_and_content"
    """1: the id, and amount, date and text, are those of the row."""
    LINK = "link"
    """2: the feed names the pending row that this is the posting of."""
    CONTENT = "content"
    """3: amount, date and text are those of the row, as often as the bank lists them."""
    ID = "id"
    """1: the id is that of the row, and what stands under it is plausible."""
    CORRECTION = "correction"
    """1: as `id`, and the bank changed the amount of a posted row."""
    EQUAL_AMOUNT = "equal_amount"
    """4: the nearest row of equal amount that the bank no longer lists."""
    LATE_JOIN = "late_join"
    """4: a pending row that was listed beside its posting and is no longer."""
    CHANGED_AMOUNT = "changed_amount"
    """5: posted higher (up to half more) or lower, with a similar text."""
    HOLD = "hold"
    """5: a round hold of 50.00 or more that posted lower."""
    TOKEN_CHECK = "token_check"  # noqa: S105  a rule's name, nothing secret
    """5: a check of about 2.00 or less that posted as the real amount."""
    CURRENCY = "currency"
    """5: within about 3 %, as rates move."""
    SPLIT = "split"
    """5: one pending row posted as several that sum to it."""
    TOTAL = "total"
    """5: several pending rows posted as their total."""
    PENDING_GONE = "pending_gone"
    """6: a pending row that the complete list no longer has."""
    NAMED_REMOVED = "named_removed"
    """6: a delta names the row as removed."""
    WITHDRAWN = "withdrawn"
    """7: a posted row that the complete list no longer has."""
    MERGED = "merged"
    """10: a row that a person merged away speaks for the one it was merged into."""
    TIE = "tie"
    """12: more than one row may be the one that a person's act belongs to."""
    NEW = "new"
    """Nothing known explains the row."""


class ActKind(StrEnum):
    """What a person did with a row, or with several at once."""

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
    """Say that a shadow row is gone indeed."""
    REJECT = "reject"
    """Say that a shadow row did happen."""
    DECIDE = "decide"
    """Answer a doubt: the acts go to the row chosen."""
    UNDO_ACT = "undo_act"
    UNDO_MATCH = "undo_match"
    UNDO_PULL = "undo_pull"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What went before in this account: `at` of the last applied pull, and the pulls held since then, in any order.

    `last_at` is None where none was applied; `balance` None where none was ever stated.
    """

    last_at: datetime | None = None
    held: tuple[Pull, ...] = ()
    balance: Balance | None = None


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
    def counts(self) -> dict[ChangeKind, int]:
        """Count the rows by kind, every kind included."""
        counts = dict.fromkeys(ChangeKind, 0)
        for row in self.rows:
            counts[row.kind] += 1
        return counts
