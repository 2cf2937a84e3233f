"""The store in memory: accounts, their rows with every step, ledger entries and open doubts. Pure.

It does with the engine's plans what worker and Postgres do, one after the other, and decides nothing itself. All its
accounts are of one client. What a person does is refused with ActRefused where it does not fit, and nothing is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import AccountId, ActId, DoubtId, Known, Pull, PullId, ShadowPolicy, TransactionId, TransactionState
from bankfeed.reconcile import Changes, Past, Rule, Verdict, acts, adoption, reconcile, undo
from bankfeed.reconcile.adoption import Identity, Kinship, judge
from bankfeed.reconcile.changes import ActKind, Step
from bankfeed.reconcile.suspicion import find_failure
from bankfeed.reconcile.undo import Lived
from bankfeed.replay.journal import Account, Journal, Origin
from bankfeed.replay.questions import Question, Questions


@dataclass(slots=True, kw_only=True, eq=False)
class TakenPull:
    """A pull that came in, and the rows that it added or changed."""

    account: Account
    at: datetime
    changes: Changes
    row_ids: tuple[TransactionId, ...] = ()
    is_undone: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Act:
    """What a person did, and to which rows. `answered` is the doubt that it decided; a final act stands for good."""

    id: ActId
    kind: ActKind
    at: datetime
    changes: Changes
    row_ids: tuple[TransactionId, ...] = ()
    answered: Question | None = None
    is_final: bool = False
    is_undone: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Book:
    """Everything of one client. `names` has every name that an account was ever linked under."""

    policy: ShadowPolicy = ShadowPolicy.HIDE
    names: dict[str, Account] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    pulls: dict[PullId, TakenPull] = field(default_factory=dict)
    acts: dict[ActId, Act] = field(default_factory=dict)
    questions: Questions = field(default_factory=Questions)
    _journal: Journal = field(default_factory=Journal)
    _closed: list[Account] = field(default_factory=list)  # the latest last
    _opened_count: int = 0

    # ---- what is there --------------------------------------------------------------------------------------------

    def account(self, name: str) -> Account:
        """Return the account that is or was linked under a name. Raises NotFound."""
        if name not in self.names:
            raise NotFound(f"expected the name of an account, got {name!r}")
        return self.names[name]

    def rows(self, name: str) -> tuple[Known, ...]:
        """Return all rows of an account, in order of arrival."""
        return tuple(self.account(name).rows.values())

    def row(self, row_id: TransactionId) -> Known:
        """Return a row as it is now. Raises NotFound."""
        return self._journal.row(row_id)

    def home(self, row_id: TransactionId) -> Account:
        """Return the account that has a row. Raises NotFound."""
        return self._journal.home(row_id)

    def steps(self, row_id: TransactionId) -> tuple[Step, ...]:
        """Return what happened to a row, in order. Raises NotFound."""
        return self._journal.lived(row_id).steps

    # ---- accounts and pulls ---------------------------------------------------------------------------------------

    def open_account(self, name: str, *, identity: Identity, currency: str) -> None:
        """Link an account; one that is open already takes what is said of it now. Raises ActRefused."""
        known = self.names.get(name)
        if known is not None and known.is_open and known.name == name:
            if known.currency != currency:
                raise ActRefused(f"expected account {name} to stay in {known.currency}, got {currency}")
            known.identity = identity
            return
        self._opened_count += 1
        account = Account(id=AccountId(self._opened_count), name=name, identity=identity, currency=currency)
        self.names[name] = account
        self.accounts.append(account)

    def close_account(self, name: str) -> None:
        """Say that an account left; its rows stay. Safe to repeat. Raises NotFound."""
        account = self.account(name)
        if account.is_open and account.name == name:
            account.is_open = False
            self._closed.append(account)

    def pull(self, name: str, pull: Pull) -> Changes:
        """Reconcile a pull and store what it changes. The first one tells whether the account is an earlier one.

        A pull that comes after its account left changes nothing. Raises NotFound.
        """
        account = self.account(name)
        if not account.is_open or account.name != name:
            return Changes(verdict=Verdict.STALE, reason="the account was unlinked before")
        if not account.is_judged and not find_failure(pull):
            account = self._find_earlier(account, pull)
        known = tuple(account.rows.values())
        changes = reconcile(known, pull, now=pull.at, past=account.past, policy=self.policy)
        account.past = _next_past(account.past, pull, changes)
        pull_id = PullId(len(self.pulls) + 1)
        row_ids = self._write(changes, Origin(at=pull.at, pull_id=pull_id), account=account)
        self.pulls[pull_id] = TakenPull(account=account, at=pull.at, changes=changes, row_ids=row_ids)
        return changes

    # ---- what a person does ---------------------------------------------------------------------------------------

    def link(self, row_id: TransactionId, entry: str, *, at: datetime) -> Act:
        """Book a row to a ledger entry, which is on one row at most."""
        return self._act(ActKind.LINK, acts.link(self.row(row_id), entry), at=at)

    def unlink(self, row_id: TransactionId, entry: str, *, at: datetime) -> Act:
        """Take a ledger entry off a row."""
        return self._act(ActKind.UNLINK, acts.unlink(self.row(row_id), entry), at=at)

    def mark_reconciled(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Lock a row's values."""
        return self._act(ActKind.RECONCILE, acts.mark_reconciled(self.row(row_id)), at=at)

    def unmark_reconciled(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Unlock a row's values."""
        return self._act(ActKind.UNRECONCILE, acts.unmark_reconciled(self.row(row_id)), at=at)

    def delete(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Take a row out of view for good."""
        return self._act(ActKind.DELETE, acts.delete(self.row(row_id), at=at), at=at)

    def restore(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Bring a deleted row back."""
        return self._act(ActKind.RESTORE, acts.restore(self.row(row_id)), at=at)

    def merge(self, keep_id: TransactionId, drop_id: TransactionId, *, at: datetime) -> Act:
        """Say that two rows of an account are one."""
        if self.home(keep_id) is not self.home(drop_id):
            raise ActRefused(f"expected two rows of one account, got rows {keep_id} and {drop_id}")
        return self._act(ActKind.MERGE, acts.merge(self.row(keep_id), self.row(drop_id)), at=at)

    def unmerge(self, drop_id: TransactionId, *, at: datetime) -> Act:
        """Part a row from the one that a person merged it into; the entries that moved then go back."""
        drop = self.row(drop_id)
        if drop.merged_into is None:
            raise ActRefused(f"expected a row that was merged, got {drop_id}")
        merges = [step.before for step in self.steps(drop_id) if step.rule is ActKind.MERGE and step.before is not None]
        moved = merges[-1].entries if merges else ()
        return self._act(ActKind.UNMERGE, acts.unmerge(self.row(drop.merged_into), drop, entries=moved), at=at)

    def split(self, row_id: TransactionId, into: Sequence[Decimal], *, at: datetime) -> Act:
        """Book a row in parts."""
        return self._act(ActKind.SPLIT, acts.split(self.row(row_id), into), at=at)

    def unsplit(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Book a row whole again."""
        return self._act(ActKind.UNSPLIT, acts.unsplit(self.row(row_id)), at=at)

    def confirm_shadow(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Say that a shadow row is gone indeed."""
        return self._act(ActKind.CONFIRM, acts.confirm_shadow(self.row(row_id)), at=at)

    def reject_shadow(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Say that a shadow row did happen."""
        return self._act(ActKind.REJECT, acts.reject_shadow(self.row(row_id)), at=at)

    # ---- doubts ---------------------------------------------------------------------------------------------------

    def decide(self, doubt_id: DoubtId, choice_id: TransactionId, *, at: datetime) -> Act:
        """Answer a doubt about a row: its acts belong to one of the candidates, or stay on it."""
        question = self.questions.find_row_question(doubt_id)
        if choice_id not in question.choices:
            raise ActRefused(f"expected a candidate of doubt {doubt_id}, got row {choice_id}")
        changes = acts.decide(self.row(question.row_id), self.row(choice_id))
        return self._answer(question, changes, at=at)

    def adopt(self, doubt_id: DoubtId, *, at: datetime) -> Act:
        """Answer a doubt about an account: it is the earlier one, which takes its rows. That cannot be taken back."""
        asked = self.questions.find_account_question(doubt_id)
        account, earlier = asked.account, asked.earlier
        changes = adoption.adopt(tuple(earlier.rows.values()), tuple(account.rows.values()), now=at)
        act = self._answer(asked, changes, at=at)
        act.is_final = True
        self._journal.move(account, earlier)
        self._take_over(earlier, account)
        earlier.past = account.past
        return act

    def keep_apart(self, doubt_id: DoubtId, *, at: datetime) -> Act:
        """Answer a doubt about an account: it is another one."""
        asked = self.questions.find_account_question(doubt_id)
        return self._answer(asked, Changes(verdict=Verdict.APPLIED), at=at)

    # ---- undoing --------------------------------------------------------------------------------------------------

    def undo_act(self, act_id: ActId, *, at: datetime) -> Act:
        """Take back an act, the last one on each of its rows; a doubt that it answered is open again."""
        act = self.acts.get(act_id)
        if act is None:
            raise NotFound(f"expected the id of an act, got {act_id}")
        if act.is_undone or act.is_final:
            raise ActRefused(f"expected an act that can be taken back, got {act_id}")
        undone = self._act(ActKind.UNDO_ACT, undo.undo_act(self._lives(act.row_ids), act_id), at=at)
        act.is_undone = True
        if act.answered is not None:
            self.questions.reopen(act.answered)
        return undone

    def undo_match(self, row_id: TransactionId, *, at: datetime) -> Act:
        """Part a row from the reported one that it was last matched with."""
        lived = self._journal.lived(row_id)
        changes = undo.undo_match(lived, now=at, left=self._find_left(row_id))
        return self._act(ActKind.UNDO_MATCH, changes, at=at)

    def undo_pull(self, pull_id: PullId, *, at: datetime) -> Act:
        """Take back all that a pull changed; the balance is taken anew from the next one."""
        taken = self.pulls.get(pull_id)
        if taken is None:
            raise NotFound(f"expected the id of a pull, got {pull_id}")
        if taken.changes.verdict is not Verdict.APPLIED or taken.is_undone:
            raise ActRefused(f"expected a pull that was applied and not undone, got {pull_id}")
        changes = undo.undo_pull(self._lives(taken.row_ids), pull_id, now=at)
        act = self._act(ActKind.UNDO_PULL, changes, at=at)
        taken.is_undone = True
        taken.account.past = replace(taken.account.past, balance=None)
        return act

    # ---- how ------------------------------------------------------------------------------------------------------

    def _act(self, kind: ActKind, changes: Changes, *, at: datetime, answered: Question | None = None) -> Act:
        self._journal.require_free_entries(changes)
        act_id = ActId(len(self.acts) + 1)
        row_ids = self._write(changes, Origin(at=at, act_id=act_id))
        act = Act(id=act_id, kind=kind, at=at, changes=changes, row_ids=row_ids, answered=answered)
        self.acts[act_id] = act
        return act

    def _answer(self, asked: Question, changes: Changes, *, at: datetime) -> Act:
        act = self._act(ActKind.DECIDE, changes, at=at, answered=asked)
        self.questions.close(asked.id)
        return act

    def _write(self, changes: Changes, origin: Origin, *, account: Account | None = None) -> tuple[TransactionId, ...]:
        """Store a plan and follow its doubts; return the ids of its rows. `account` is that of the rows it adds."""
        row_ids = self._journal.write(changes, origin, account=account)
        self.questions.drop_returned(changes.returned_ids)
        if changes.doubts:
            stored = {change.after: row_id for change, row_id in zip(changes.rows, row_ids, strict=True)}
            self.questions.ask(changes.doubts, stored, at=origin.at)
        return row_ids

    def _lives(self, row_ids: Sequence[TransactionId]) -> list[Lived]:
        return [self._journal.lived(row_id) for row_id in row_ids]

    def _find_left(self, row_id: TransactionId) -> Lived | None:
        """Return the row that the last match of this one joined into it, None where there is none."""
        match = _last_match(self.steps(row_id))
        for row in self.home(row_id).rows.values():
            if row.id is not None and row.merged_into == row_id and row.state is TransactionState.REMOVED:
                left = self._journal.lived(row.id)
                if match is not None and match == _last_match(left.steps):
                    return left
        return None

    def _find_earlier(self, account: Account, pull: Pull) -> Account:
        """Return the account that a first pull is of: an earlier one that it continues, or this one.

        Where nobody can tell, it is this one, and a person is asked.
        """
        account.is_judged = True
        unsure = []
        for earlier in reversed(self._closed):
            kinship = _judge(earlier, account, pull)
            if kinship is Kinship.SAME:
                self._take_over(earlier, account)
                return earlier
            if kinship is Kinship.UNSURE:
                unsure.append(earlier)
        for earlier in unsure:
            self.questions.ask_about(account, earlier, at=pull.at)
        return account

    def _take_over(self, earlier: Account, account: Account) -> None:
        """Let an earlier account be what a newly linked one is; the new one is no account of its own any more."""
        earlier.name, earlier.identity = account.name, account.identity
        earlier.is_open = account.is_open
        self._closed = [
            each for each in self._closed if each is not account and (each is not earlier or not each.is_open)
        ]
        self.accounts.remove(account)
        self.names = {name: earlier if found is account else found for name, found in self.names.items()}
        self.questions.drop_account(account)
        for taken in self.pulls.values():
            taken.account = earlier if taken.account is account else taken.account


def _judge(earlier: Account, account: Account, pull: Pull) -> Kinship:
    if not earlier.rows or earlier.currency != account.currency:
        return Kinship.OTHER
    return judge(earlier.identity, account.identity, tuple(earlier.rows.values()), pull)


def _next_past(past: Past, pull: Pull, changes: Changes) -> Past:
    """Return what went before the next pull."""
    if changes.verdict is Verdict.HELD:
        return replace(past, held=(*past.held, pull))
    if changes.verdict is not Verdict.APPLIED:
        return past
    return Past(last_at=pull.at, balance=changes.balance.after if changes.balance is not None else past.balance)


def _last_match(steps: Sequence[Step]) -> tuple[PullId | None, ActId | None] | None:
    """Name the pull, or the adoption, that changed a row last."""
    made = [(step.pull_id, step.act_id) for step in steps if isinstance(step.rule, Rule)]
    return made[-1] if made else None
