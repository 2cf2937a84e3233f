"""Open doubts: what a person is asked, until it is answered or answers itself. Pure.

The engine raises doubts; here they are only kept, each question once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bankfeed.errors import ActRefused
from bankfeed.model import DoubtId, Known, TransactionId
from bankfeed.reconcile.changes import ActKind, Doubt, Rule
from bankfeed.replay.journal import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class RowQuestion:
    """Which row a person's acts belong to: `row_id`, as it was, or one of the candidates."""

    id: DoubtId
    at: datetime
    row_id: TransactionId
    was: Known
    candidate_ids: tuple[TransactionId, ...]
    rule: Rule | ActKind
    reason: str

    @property
    def choices(self) -> frozenset[TransactionId]:
        """Name the rows that may be the answer."""
        return frozenset({self.row_id, *self.candidate_ids})

    @property
    def key(self) -> tuple[TransactionId, Rule | ActKind, frozenset[TransactionId]]:
        """Return what is asked only once at a time."""
        return self.row_id, self.rule, frozenset(self.candidate_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuestion:
    """Whether an account is an earlier one that was closed."""

    id: DoubtId
    at: datetime
    account: Account
    earlier: Account


Question = RowQuestion | AccountQuestion


class Questions:
    """The doubts that are open, in order of asking."""

    def __init__(self) -> None:
        self._last_id = 0
        self._open: dict[DoubtId, Question] = {}

    @property
    def all(self) -> tuple[Question, ...]:
        """List them all."""
        return tuple(self._open.values())

    @property
    def about_rows(self) -> tuple[RowQuestion, ...]:
        """List what is asked about rows."""
        return tuple(each for each in self._open.values() if isinstance(each, RowQuestion))

    @property
    def about_accounts(self) -> tuple[AccountQuestion, ...]:
        """List what is asked about accounts."""
        return tuple(each for each in self._open.values() if isinstance(each, AccountQuestion))

    def ask(self, doubts: Iterable[Doubt], stored: Mapping[Known, TransactionId], *, at: datetime) -> None:
        """Open a question for each doubt that is not asked already. `stored` names the rows that the plan wrote."""
        for doubt in doubts:
            question = RowQuestion(
                id=self._next_id(),
                at=at,
                row_id=doubt.transaction.id or stored[doubt.transaction],
                was=doubt.transaction,
                candidate_ids=tuple(row.id or stored[row] for row in doubt.candidates),
                rule=doubt.rule,
                reason=doubt.reason,
            )
            self.reopen(question)

    def ask_about(self, account: Account, closed: Iterable[Account], *, at: datetime) -> None:
        """Open the question whether an account is an earlier one, for each that it is not asked of already."""
        asked = [each.earlier for each in self.about_accounts if each.account is account]
        for earlier in closed:
            if earlier not in asked:
                question_id = self._next_id()
                self._open[question_id] = AccountQuestion(id=question_id, at=at, account=account, earlier=earlier)

    def find_row_question(self, doubt_id: DoubtId) -> RowQuestion:
        """Return an open question about a row. Raises ActRefused."""
        found = self._open.get(doubt_id)
        if not isinstance(found, RowQuestion):
            raise ActRefused(f"expected an open doubt about a row, got {doubt_id}")
        return found

    def find_account_question(self, doubt_id: DoubtId) -> AccountQuestion:
        """Return an open question about an account. Raises ActRefused."""
        found = self._open.get(doubt_id)
        if not isinstance(found, AccountQuestion):
            raise ActRefused(f"expected an open doubt about an account, got {doubt_id}")
        return found

    def close(self, doubt_id: DoubtId) -> None:
        """Close an answered question. Safe to repeat: the answer may have brought the row back."""
        self._open.pop(doubt_id, None)

    def reopen(self, question: Question) -> None:
        """Ask again what was answered, in its old place; not what is asked already."""
        if isinstance(question, RowQuestion) and any(each.key == question.key for each in self.about_rows):
            return
        self._open = dict(sorted({**self._open, question.id: question}.items()))

    def drop_returned(self, row_ids: Iterable[TransactionId]) -> None:
        """Close what was asked when rows left that are back in view; which of two rows is meant is asked still."""
        back = frozenset(row_ids)
        for question in self.about_rows if back else ():
            if question.row_id in back and question.rule is not Rule.TIE:
                self.close(question.id)

    def drop_freed(self, row_ids: Iterable[TransactionId]) -> tuple[RowQuestion, ...]:
        """Close what was asked about rows that no act is on any more, and return it."""
        freed = frozenset(row_ids)
        closed = tuple(question for question in self.about_rows if question.row_id in freed)
        for question in closed:
            self.close(question.id)
        return closed

    def drop_account(self, account: Account, into: Account) -> None:
        """Close what was asked about an account that is no longer one of its own, and whether another is the one it is."""
        for question in self.about_accounts:
            if question.account is account or question.earlier in (account, into):
                self.close(question.id)

    def _next_id(self) -> DoubtId:
        self._last_id += 1
        return DoubtId(self._last_id)
