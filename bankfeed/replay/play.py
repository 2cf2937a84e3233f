"""Typed steps to a book, one after the other, with a line of what each did. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import Known, TransactionId
from bankfeed.reconcile import Changes
from bankfeed.replay.book import Book
from bankfeed.replay.fields import ReplayError
from bankfeed.replay.steps import (
    CloseAccount,
    Delete,
    Link,
    Match,
    Merge,
    OpenAccount,
    Reconcile,
    Split,
    Step,
    TakePull,
)

_BEFORE_ALL = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a step did. `changes` is None for an account's own lines. `currency` is the account's.

    `is_relinked` is true for the pull by which an account turned out to be an earlier one.
    """

    step: Step
    currency: str
    at: datetime | None = None
    changes: Changes | None = None
    is_relinked: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Replay:
    """A book, and what its steps did so far. A step without a time of its own is of the time of the one before."""

    book: Book = field(default_factory=Book)
    events: list[Event] = field(default_factory=list)
    _at: datetime = _BEFORE_ALL

    def play(self, steps: Iterable[Step]) -> "Replay":
        """Take every step in order. Raises ReplayError where one does not fit; those before it stand."""
        for step in steps:
            try:
                self.events.append(self._take(step))
            except (ActRefused, NotFound) as error:
                raise ReplayError(str(error), line=step.line) from error
        return self

    def _take(self, step: Step) -> Event:
        match step:
            case OpenAccount():
                self.book.open_account(step.account, identity=step.identity, currency=step.currency)
            case CloseAccount():
                self.book.close_account(step.account)
            case TakePull():
                return self._pull(step)
            case _:
                return self._event(step, self._act(step, at=step.at or self._at))
        return self._event(step, None)

    def _pull(self, step: TakePull) -> Event:
        before = self.book.account(step.account)
        event = self._event(step, self.book.pull(step.account, step.pull))
        return replace(event, is_relinked=self.book.account(step.account) is not before)

    def _event(self, step: Step, changes: Changes | None) -> Event:
        self._at = step.at or self._at
        at = None if changes is None else self._at
        return Event(step=step, currency=self.book.account(step.account).currency, at=at, changes=changes)

    def _act(self, step: Step, *, at: datetime) -> Changes:
        match step:
            case Link():
                act = self.book.link(self._find(step, step.match), step.entry, at=at)
            case Reconcile():
                act = self.book.mark_reconciled(self._find(step, step.match), at=at)
            case Delete():
                act = self.book.delete(self._find(step, step.match), at=at)
            case Split():
                act = self.book.split(self._find(step, step.match), step.into, at=at)
            case Merge():
                keep = self._find(step, step.keep)
                act = self.book.merge(keep, self._find(step, step.drop, besides=keep), at=at)
            case _:
                raise TypeError(f"expected a step of the replay format, got {step!r}")
        return act.changes

    def _find(self, step: Step, match: Match, *, besides: TransactionId | None = None) -> TransactionId:
        """Return the first row in view that matches. Raises ReplayError."""
        rows = self.book.rows(step.account)
        first = find_row(rows, match, besides=besides)
        if first is None or first.id is None:
            visible = sum(row.is_visible for row in rows)
            raise ReplayError(f"expected a row in view that matches, got none among {visible}", line=step.line)
        return first.id


def find_row(rows: Iterable[Known], match: Match, *, besides: TransactionId | None = None) -> Known | None:
    """Return the first row in view that matches, by date, first pull, then description; None where none does."""
    fitting = (row for row in rows if row.is_visible and row.id != besides and _fits(row, match))
    return min(fitting, key=_order, default=None)


def _fits(row: Known, match: Match) -> bool:
    if match.amount is not None and row.values.amount != match.amount:
        return False
    values = row.values
    have = {
        "id": row.aggregator_ids[-1] if row.aggregator_ids else "",
        "status": row.state.value,
        "date": values.transacted_on.isoformat(),
        "posted_date": values.posted_on.isoformat() if values.posted_on is not None else "",
        "description": values.description,
        "memo": values.memo,
        "check_number": values.check_number,
    }
    return all(have[name] == text for name, text in match.texts)


def _order(row: Known) -> tuple[object, ...]:
    return row.values.transacted_on, row.first_pulled_at, row.values.description, row.id
