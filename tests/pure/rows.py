"""Rows, lists and a store for one account, for tests of what a plan says beside its rows. For tests only."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from bankfeed.model import FeedKind, Known, Pull, Reported, ShadowPolicy, TransactionId, TransactionState, Values
from bankfeed.reconcile import Changes, Past, Verdict, reconcile

PENDING, ACTIVE, SHADOW, REMOVED = TransactionState
FIRST_AT = datetime(2026, 3, 3, 6, tzinfo=UTC)


def make_values(amount: str, day: int = 2, text: str = "CORNER CAFE", **fields: Any) -> Values:
    """Make what a bank says of a movement on a day of March 2026."""
    return Values(amount=Decimal(amount), transacted_on=date(2026, 3, day), description=text, **fields)


def make_row(row_id: int, amount: str = "-20.00", day: int = 2, text: str = "CORNER CAFE", **changes: Any) -> Known:
    """Make a stored row, active unless told otherwise."""
    values = make_values(amount, day, text)
    row = Known(
        id=TransactionId(row_id),
        state=ACTIVE,
        values=values,
        bank_values=values,
        aggregator_ids=(f"a{row_id}",),
        first_pulled_at=FIRST_AT,
    )
    return replace(row, **changes)


def make_listed(
    name: str | None, amount: str = "-20.00", day: int = 2, text: str = "CORNER CAFE", **changes: Any
) -> Reported:
    """Make a reported row, active unless told otherwise."""
    return replace(Reported(aggregator_id=name, state=ACTIVE, values=make_values(amount, day, text)), **changes)


def make_pull(*rows: Reported, day: int = 3, **changes: Any) -> Pull:
    """Make the complete list of one night, whose window is January to that day."""
    pull = Pull(
        at=datetime(2026, 3, day, 6, tzinfo=UTC),
        kind=FeedKind.FULL,
        from_on=date(2026, 1, 1),
        to_on=date(2026, 3, day),
        is_complete=True,
        rows=rows,
    )
    return replace(pull, **changes)


@dataclass
class Store:
    """One account: its rows by id, what went before, and what its customer chose."""

    policy: ShadowPolicy = ShadowPolicy.HIDE
    rows: dict[int, Known] = field(default_factory=dict)
    past: Past = field(default_factory=Past)

    def pull(self, pull: Pull) -> Changes:
        """Reconcile one pull and keep what it changes."""
        plan = reconcile(list(self.rows.values()), pull, now=pull.at, past=self.past, policy=self.policy)
        if plan.verdict is Verdict.APPLIED:
            balance = plan.balance.after if plan.balance is not None else None
            self.past = Past(last_at=pull.at, balance=balance)
        elif plan.verdict is Verdict.HELD:
            self.past = replace(self.past, held=(*self.past.held, pull))
        for change in plan.rows:
            self._write(change.after)
        return plan

    def act(self, change: Callable[[Known], Known]) -> None:
        """Let a person do something with each row."""
        self.rows = {row_id: change(row) for row_id, row in self.rows.items()}

    def _write(self, row: Known) -> None:
        row_id = TransactionId(len(self.rows) + 1) if row.id is None else row.id
        self.rows[row_id] = replace(row, id=row_id)


def nights(lists: list[list[Reported]], *, from_on: date, days: int) -> list[Pull]:
    """Return the pulls of lists, a night each; the window is some days from `from_on`."""
    to_on = from_on + timedelta(days=days)
    return [
        replace(
            make_pull(*rows),
            at=datetime(to_on.year, to_on.month, to_on.day, 6, tzinfo=UTC) + timedelta(days=number + 1),
            from_on=from_on,
            to_on=to_on,
        )
        for number, rows in enumerate(lists)
    ]
