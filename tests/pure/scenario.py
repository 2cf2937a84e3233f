"""Runs feed histories through the reconcile engine against a store in memory. For tests only.

A step is a JSON object of the replay format. `Ledger` knows what the engine does not: the accounts and their entries.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bankfeed.model import FeedKind, Known, Pull, Reported, TransactionId, TransactionState, Values
from bankfeed.money import format_amount, parse_amount
from bankfeed.reconcile import Changes, Doubt, Past, Verdict, reconcile

Step = Mapping[str, Any]

VISIBLE = (TransactionState.PENDING, TransactionState.ACTIVE)


@dataclass
class Account:
    """An account under test: what it is, its rows by id, and what went before."""

    opened: Step
    is_open: bool = True
    rows: dict[TransactionId, Known] = field(default_factory=dict)
    past: Past = field(default_factory=Past)

    @property
    def identity(self) -> tuple[Any, ...]:
        return tuple(self.opened.get(name) for name in ("institution", "type", "number"))


@dataclass
class Ledger:
    """Every account, every entry, and what reconciling said on the way."""

    accounts: dict[str, Account] = field(default_factory=dict)
    entries: dict[TransactionId, list[str]] = field(default_factory=dict)
    plans: list[Changes] = field(default_factory=list)

    @property
    def doubts(self) -> list[Doubt]:
        return [doubt for plan in self.plans for doubt in plan.doubts]

    @property
    def doubted_entries(self) -> set[str]:
        """The entries that any doubt is about."""
        ids = [doubt.transaction.id for doubt in self.doubts if doubt.transaction.id is not None]
        return {entry for row_id in ids for entry in self.entries.get(row_id, ())}

    def rows(self, account: str = "a") -> list[Known]:
        return list(self.accounts[account].rows.values())

    def visible(self, account: str = "a") -> list[Known]:
        return [row for row in self.rows(account) if row.is_visible]

    def play(self, steps: Iterable[Step]) -> "Ledger":
        """Take every step in order."""
        for step in steps:
            _STEPS[step["op"]](self, step)
        return self

    def pull(self, account: str, pull: Pull) -> Changes:
        """Reconcile one pull and store what it changes."""
        kept = self.accounts[account]
        plan = reconcile(list(kept.rows.values()), pull, now=pull.at, past=kept.past)
        self.plans.append(plan)
        if plan.verdict is Verdict.APPLIED:
            kept.past = Past(last_at=pull.at)
        elif plan.verdict is Verdict.HELD:
            kept.past = replace(kept.past, held=(*kept.past.held, pull))
        for change in plan.rows:
            self._write(kept, change.before, change.after)
        return plan

    def find(self, account: str, match: Step) -> Known:
        """Return the first visible row whose fields equal `match`."""
        rows = [row for row in self.visible(account) if _matches(row, match)]
        return min(rows, key=lambda row: (row.values.transacted_on, row.first_pulled_at, row.values.description))

    def as_json(self) -> dict[str, Any]:
        """Return the replay format's answer, as far as the scenarios are compared."""
        return {
            "transactions": [
                self._row_as_json(name, account, row)
                for name, account in self.accounts.items()
                for row in account.rows.values()
                if row.state is not TransactionState.REMOVED and row.deleted_at is None and row.merged_into is None
            ]
        }

    def _write(self, account: Account, before: Known | None, after: Known) -> None:
        row_id = after.id
        if before is None or row_id is None:
            row_id = TransactionId(1 + sum(len(other.rows) for other in self.accounts.values()))
        account.rows[row_id] = replace(after, id=row_id)
        if after.merged_into is not None and before is not None and before.merged_into is None:
            moved = self.entries.pop(row_id, [])
            self.entries.setdefault(after.merged_into, []).extend(moved)
            if moved:
                account.rows[after.merged_into] = replace(account.rows[after.merged_into], entries=("moved",))

    def _row_as_json(self, name: str, account: Account, row: Known) -> dict[str, Any]:
        assert row.id is not None
        return {
            "account": name,
            "status": row.state.value,
            "amount": format_amount(row.values.amount, account.opened["currency"]),
            "date": row.values.transacted_on.isoformat(),
            "description": row.values.description,
            "entries": self.entries.get(row.id, []),
        }

    def _open(self, step: Step) -> None:
        account = Account(opened=step)
        for old in self.accounts.values():
            if not old.is_open and old.rows and old.identity == account.identity:
                account.rows, old.rows = old.rows, {}
        self.accounts[step["account"]] = account

    def _close(self, step: Step) -> None:
        self.accounts[step["account"]].is_open = False

    def _pull(self, step: Step) -> None:
        self.pull(step["account"], read_pull(step, self.accounts[step["account"]].opened["currency"]))

    def _change(self, step: Step, change: Callable[[Known], Known]) -> Known:
        row = change(self.find(step["account"], step["match"]))
        self._write(self.accounts[step["account"]], row, row)
        return row

    def _link(self, step: Step) -> None:
        row = self._change(step, lambda row: replace(row, entries=("booked",)))
        assert row.id is not None
        self.entries.setdefault(row.id, []).append(step["entry"])

    def _reconcile(self, step: Step) -> None:
        self._change(step, lambda row: replace(row, is_reconciled=True))

    def _delete(self, step: Step) -> None:
        self._change(step, lambda row: replace(row, deleted_at=datetime.fromisoformat(step["at"])))

    def _merge(self, step: Step) -> None:
        keep = self.find(step["account"], step["keep"])
        rows = [row for row in self.visible(step["account"]) if row.id != keep.id and _matches(row, step["drop"])]
        dropped = replace(rows[0], merged_into=keep.id)
        self._write(self.accounts[step["account"]], rows[0], dropped)


_STEPS: dict[str, Callable[[Ledger, Step], None]] = {
    "account": Ledger._open,
    "unlink": Ledger._close,
    "pull": Ledger._pull,
    "link": Ledger._link,
    "reconcile": Ledger._reconcile,
    "delete": Ledger._delete,
    "merge": Ledger._merge,
}


def read_steps(path: Path) -> list[Step]:
    """Read a JSON Lines history."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def read_pull(step: Step, currency: str) -> Pull:
    """Read a pull of the replay format."""
    attempted = step.get("attempted_at")
    return Pull(
        at=datetime.fromisoformat(step["at"]),
        kind=FeedKind(step["kind"]),
        from_on=date.fromisoformat(step["from"]),
        to_on=date.fromisoformat(step["to"]),
        is_complete=step["complete"],
        rows=tuple(_read_row(row, currency) for row in step["transactions"]),
        removed_ids=tuple(step.get("removed", ())),
        counted_rows=step.get("count"),
        error=step.get("error"),
        attempted_at=datetime.fromisoformat(attempted) if attempted else None,
    )


def _read_row(row: Step, currency: str) -> Reported:
    posted = row.get("posted_date")
    return Reported(
        aggregator_id=row.get("id") or None,
        state=TransactionState(row["status"]),
        values=Values(
            amount=parse_amount(row["amount"], currency),
            transacted_on=date.fromisoformat(row["date"]),
            description=row["description"],
            posted_on=date.fromisoformat(posted) if posted else None,
            memo=row.get("memo", ""),
            check_number=row.get("check_number", ""),
        ),
        pending_id=row.get("pending_id"),
    )


def _matches(row: Known, match: Step) -> bool:
    values = row.values
    have = {
        "status": row.state.value,
        "date": values.transacted_on.isoformat(),
        "description": values.description,
        "id": row.aggregator_ids[-1] if row.aggregator_ids else "",
    }
    return all(
        values.amount == Decimal(want) if name == "amount" else have[name] == want for name, want in match.items()
    )
