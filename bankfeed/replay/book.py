"""The store in memory: accounts, their rows with every step, ledger entries and open doubts. Pure.

It does with the engine's plans what worker and Postgres do, one after the other, and decides nothing itself. All its
accounts are of one client. What a person does is refused with ActRefused where it does not fit, and nothing is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import (
    AccountId,
    ActId,
    DoubtId,
    FeedKind,
    Known,
    Pull,
    PullId,
    ShadowPolicy,
    TransactionId,
    TransactionState,
)
from bankfeed.reconcile import Changes, Past, Verdict, acts, adoption, reconcile, undo
from bankfeed.reconcile.adoption import Identity, choose, judge, list_unsure
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
    kind: FeedKind
    changes: Changes
    row_ids: tuple[TransactionId, ...] = ()
    is_undone: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Act:
    """What a person did, and to which rows. `answered` are the doubts that it closed; a final act stands for good."""

    id: ActId
    kind: ActKind
    at: datetime
    changes: Changes
    row_ids: tuple[TransactionId, ...] = ()
    answered: tuple[Question, ...] = ()
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
            for other in self.accounts:
                other.judged_ids.discard(account.id)

    def pull(self, name: str, pull: Pull) -> Changes:
        """Reconcile a pull and store what it changes. The first with rows tells whether the account is an earlier one.

        A pull that comes after its account left changes nothing. Raises NotFound.
        """
        account = self.account(name)
        if not account.is_open or account.name != name:
            return Changes(verdict=Verdict.STALE, reason="the account was unlinked before")
        earlier, unsure = self._find_kin(account, pull)
        if earlier is not None:
            self._take_over(earlier, account)
            account = earlier
        known = tuple(account.rows.values())
        earliest_on = min((row.values.transacted_on for row in known), default=None)
        past = replace(account.past, is_relinked=earlier is not None, earliest_on=earliest_on)
        changes = reconcile(known, pull, now=pull.at, past=past, policy=self.policy)
        account.past = _next_past(account.past, pull, changes)
        if changes.verdict is Verdict.APPLIED:
            account.judged_ids.update(each.id for each in self._closed)
            self.questions.ask_about(account, unsure, at=pull.at)
        pull_id = PullId(len(self.pulls) + 1)
        self.questions.drop_freed(changes.freed_ids)
        row_ids = self._write(changes, Origin(at=pull.at, pull_id=pull_id), account=account)
        self.pulls[pull_id] = TakenPull(account=account, at=pull.at, kind=pull.kind, changes=changes, row_ids=row_ids)
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
        changes = acts.decide(self._standing(question.row_id), self._standing(choice_id))
        return self._answer(question, changes, at=at)

    def adopt(self, doubt_id: DoubtId, *, at: datetime) -> Act:
        """Answer a doubt about an account: it is the earlier one, which takes its rows. That cannot be taken back."""
        asked = self.questions.find_account_question(doubt_id)
        account, earlier = asked.account, asked.earlier
        if earlier.is_open or account not in self.accounts or earlier not in self.accounts:
            raise ActRefused(f"expected an earlier account that is closed, got {earlier.id} of doubt {doubt_id}")
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
        for question in act.answered:
            self.questions.reopen(question)
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
        if taken.kind is FeedKind.DELTA:
            raise ActRefused(f"expected a full list, which the bank gives again, got the delta {pull_id}")
        changes = undo.undo_pull(self._lives(taken.row_ids), pull_id, now=at)
        act = self._act(ActKind.UNDO_PULL, changes, at=at)
        taken.is_undone = True
        taken.account.past = replace(taken.account.past, balance=None)
        return act

    # ---- how ------------------------------------------------------------------------------------------------------

    def _act(self, kind: ActKind, changes: Changes, *, at: datetime, answered: tuple[Question, ...] = ()) -> Act:
        self._journal.require_free_entries(changes)
        act_id = ActId(len(self.acts) + 1)
        answered += self.questions.drop_freed(changes.freed_ids)
        row_ids = self._write(changes, Origin(at=at, act_id=act_id))
        act = Act(id=act_id, kind=kind, at=at, changes=changes, row_ids=row_ids, answered=answered)
        self.acts[act_id] = act
        return act

    def _answer(self, asked: Question, changes: Changes, *, at: datetime) -> Act:
        act = self._act(ActKind.DECIDE, changes, at=at, answered=(asked,))
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

    def _standing(self, row_id: TransactionId) -> Known:
        """Return the row that one stands in now: itself, or the one that it was merged into."""
        row = self.row(row_id)
        while row.merged_into is not None:
            row = self.row(row.merged_into)
        return row

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

    def _find_kin(self, account: Account, pull: Pull) -> tuple[Account | None, tuple[Account, ...]]:
        """Return the closed account that a new one is, None where it is none, and those that a person is asked about.

        Of an account with rows only those that closed since its last pull; they are asked about.
        """
        if find_failure(pull) or not (account.rows or pull.rows):
            return None, ()
        judged = [
            (each, judge(each.identity, account.identity, tuple(each.rows.values()), pull))
            for each in reversed(self._closed)
            if each.rows and each.currency == account.currency
            if not (account.rows and each.id in account.judged_ids)
        ]
        if account.rows:
            return None, list_unsure(judged)
        return choose(judged, is_alone=self._is_alone(account))

    def _is_alone(self, account: Account) -> bool:
        """Tell whether no other open account has the facts of this one."""
        facts = account.identity.facts, account.currency
        return all(
            (each.identity.facts, each.currency) != facts
            for each in self.accounts
            if each.is_open and each is not account
        )

    def _take_over(self, earlier: Account, account: Account) -> None:
        """Let an earlier account be what a newly linked one is; the new one is no account of its own any more."""
        earlier.name, earlier.identity = account.name, account.identity
        earlier.is_open = account.is_open
        self._closed = [
            each for each in self._closed if each is not account and (each is not earlier or not each.is_open)
        ]
        self.accounts.remove(account)
        self.names = {name: earlier if found is account else found for name, found in self.names.items()}
        self.questions.drop_account(account, earlier)
        for taken in self.pulls.values():
            taken.account = earlier if taken.account is account else taken.account


def _next_past(past: Past, pull: Pull, changes: Changes) -> Past:
    """Return what went before the next pull."""
    if changes.verdict is Verdict.HELD:
        return replace(past, held=(*past.held, pull))
    if changes.verdict is not Verdict.APPLIED:
        return past
    return Past(last_at=pull.at, balance=changes.balance.after if changes.balance is not None else past.balance)


def _last_match(steps: Sequence[Step]) -> tuple[PullId | None, ActId | None] | None:
    """Name the pull, or the adoption, that changed a row last."""
    step = undo.find_feed_step(steps)
    return None if step is None else (step.pull_id, step.act_id)
