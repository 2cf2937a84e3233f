"""Rows in memory: each with its account and its steps, and which row each ledger entry is on. Pure.

It writes what plans say and decides nothing. Whoever calls it has made the plan from the rows as they are now.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import AccountId, ActId, Known, PullId, TransactionId
from bankfeed.reconcile.adoption import Identity
from bankfeed.reconcile.changes import Change, Changes, Past, Step
from bankfeed.reconcile.undo import Lived


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """One account: what it is known by, its rows, and what went before.

    `name` is the newest that it was linked under. `judged_ids` are the closed accounts of which its pulls said
    whether it is one of them.
    """

    id: AccountId
    name: str
    identity: Identity
    currency: str
    is_open: bool = True
    judged_ids: set[AccountId] = field(default_factory=set)
    rows: dict[TransactionId, Known] = field(default_factory=dict)
    past: Past = field(default_factory=Past)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a plan came from: a pull or an act, and its time."""

    at: datetime
    pull_id: PullId | None = None
    act_id: ActId | None = None


class Journal:
    """Every row of every account, with what happened to it."""

    def __init__(self) -> None:
        self._homes: dict[TransactionId, Account] = {}
        self._steps: dict[TransactionId, list[Step]] = {}
        self._bearers: dict[str, TransactionId] = {}  # of ledger entries
        self._change_no = 0

    def home(self, row_id: TransactionId) -> Account:
        """Return the account that has a row. Raises NotFound."""
        if row_id not in self._homes:
            raise NotFound(f"expected the id of a row, got {row_id}")
        return self._homes[row_id]

    def row(self, row_id: TransactionId) -> Known:
        """Return a row as it is now. Raises NotFound."""
        return self.home(row_id).rows[row_id]

    def lived(self, row_id: TransactionId) -> Lived:
        """Return a row with its steps. Raises NotFound."""
        return Lived(row=self.row(row_id), steps=tuple(self._steps[row_id]))

    def require_free_entries(self, changes: Changes) -> None:
        """Refuse a plan that puts an entry on a row while another row has it. Raises ActRefused."""
        freed = {entry for row in changes.rows if row.before is not None for entry in row.before.entries}
        for change in changes.rows:
            for entry in change.after.entries:
                bearer = self._bearers.get(entry)
                if bearer is not None and bearer != change.after.id and entry not in freed:
                    raise ActRefused(f"expected entry {entry} to be on no other row, got row {bearer}")

    def write(self, changes: Changes, origin: Origin, *, account: Account | None = None) -> tuple[TransactionId, ...]:
        """Store a plan's rows and a step for each; return their ids.

        New rows are of `account`; where that is None, of the account of the plan's first row.
        """
        row_ids: list[TransactionId] = []
        for change in changes.rows:
            row_id = change.after.id or self._take_id(account or self.home(row_ids[0]))
            self._homes[row_id].rows[row_id] = replace(change.after, id=row_id)
            self._keep_step(row_id, change, origin)
            row_ids.append(row_id)
        self._follow_entries(changes)
        return tuple(row_ids)

    def move(self, younger: Account, older: Account) -> None:
        """Give all rows of one account to another."""
        for row_id in younger.rows:
            self._homes[row_id] = older
        older.rows.update(younger.rows)
        younger.rows = {}

    def _take_id(self, account: Account) -> TransactionId:
        row_id = TransactionId(len(self._homes) + 1)
        self._homes[row_id] = account
        return row_id

    def _keep_step(self, row_id: TransactionId, change: Change, origin: Origin) -> None:
        self._change_no += 1
        step = Step(
            change_no=self._change_no,
            at=origin.at,
            kind=change.kind,
            rule=change.rule,
            before=change.before,
            pull_id=origin.pull_id,
            act_id=origin.act_id,
        )
        steps = self._steps.setdefault(row_id, [])
        steps.append(step)
        if change.after.fingerprint:  # the values are gone from what was before, too
            steps[:] = [replace(each, before=None) for each in steps]

    def _follow_entries(self, changes: Changes) -> None:
        for change in changes.rows:
            for entry in change.before.entries if change.before is not None else ():
                self._bearers.pop(entry, None)
        for change in changes.rows:
            if change.after.id is not None:
                self._bearers.update(dict.fromkeys(change.after.entries, change.after.id))
