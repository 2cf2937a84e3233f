"""Where a replay ended, as the object that `bankfeed replay --json` prints. Pure.

The documented keys come first in each object; keys that only some objects have come after them. Amounts have the
currency's decimals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from bankfeed.model import Known, ShadowPolicy, TransactionState
from bankfeed.money import INTEGER_DIGITS, currency_decimals, format_amount
from bankfeed.reconcile.changes import Doubt, Rule, Step, Verdict
from bankfeed.reconcile.explain import explain
from bankfeed.reconcile.policy import is_marked, is_shown
from bankfeed.replay.play import Event, Replay
from bankfeed.replay.questions import AccountQuestion

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A row, where it stands, and its steps in order."""

    account: str
    currency: str
    row: Known
    steps: tuple[Step, ...]

    @property
    def is_gone(self) -> bool:
        """Tell whether the row is out of every view: removed, deleted or merged."""
        row = self.row
        return row.state is TransactionState.REMOVED or row.deleted_at is not None or row.merged_into is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An open doubt about a row, with its candidates as they are now."""

    account: str
    currency: str
    doubt: Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAccount:
    """An open doubt about whether an account is an earlier one."""

    account: str
    earlier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Everything that is reported, from whichever store."""

    policy: ShadowPolicy
    lives: tuple[Life, ...]
    asked: tuple[Asked | AskedAccount, ...]
    events: tuple[Event, ...] = ()


def end(replay: Replay) -> Ending:
    """Return where a replay stands now."""
    book = replay.book
    lives = tuple(
        Life(account=account.name, currency=account.currency, row=row, steps=book.steps(row_id))
        for account in book.accounts
        for row_id, row in account.rows.items()
    )
    return Ending(
        policy=book.policy,
        lives=tuple(sorted(lives, key=_order)),
        asked=tuple(_asked(replay)),
        events=tuple(replay.events),
    )


def as_json(ending: Ending, *, with_gone: bool = False, with_steps: bool = False) -> Json:
    """Return the whole report. `with_gone` adds the rows that are out of view, `with_steps` each row's life in words."""
    lives = [life for life in ending.lives if with_gone or not life.is_gone]
    return {
        "transactions": [_transaction(life, ending.policy, with_steps=with_steps) for life in lives],
        "doubts": [doubt for asked in ending.asked for doubt in _doubts(asked)],
        "events": [_event(event) for event in ending.events],
    }


def tell(life: Life) -> tuple[str, ...]:
    """Return a row's life in words, a line a step."""
    return explain(life.row, life.steps, account=life.account, currency=life.currency)


def status_of(life: Life) -> str:
    """Return the status that is printed: rows that a person took out of view are removed, whatever the bank lists."""
    return TransactionState.REMOVED.value if life.is_gone else life.row.state.value


def money(amount: Decimal, currency: str) -> str:
    """Write an amount; one that grew too long to be anybody's, by adding, is written too."""
    decimals = currency_decimals(currency)
    return f"{amount:.{decimals}f}" if amount.adjusted() >= INTEGER_DIGITS else format_amount(amount, currency)


def _asked(replay: Replay) -> Iterator[Asked | AskedAccount]:
    book = replay.book
    for question in book.questions.all:
        if isinstance(question, AccountQuestion):
            yield AskedAccount(account=question.account.name, earlier=question.earlier.name)
        else:
            home = book.home(question.row_id)
            candidates = tuple(book.row(row_id) for row_id in question.candidate_ids)
            doubt = Doubt(transaction=question.was, candidates=candidates, rule=question.rule, reason=question.reason)
            yield Asked(account=home.name, currency=home.currency, doubt=doubt)


def _order(life: Life) -> tuple[object, ...]:
    row = life.row
    return life.account, row.values.transacted_on, row.first_pulled_at, row.values.description, row.id or 0


def _transaction(life: Life, policy: ShadowPolicy, *, with_steps: bool) -> Json:
    row = life.row
    shown = {
        "account": life.account,
        "status": status_of(life),
        "amount": money(row.values.amount, life.currency),
        "currency": life.currency,
        "date": row.values.transacted_on.isoformat(),
        "description": row.values.description,
        "entries": list(row.entries),
        "reconciled": row.is_reconciled,
        "aggregator_ids": list(row.aggregator_ids),
        "row": row.id,
        "shown": is_shown(row, policy),
        "marked": is_marked(row),
    }
    return shown | _acts(life) | ({"steps": list(tell(life))} if with_steps else {})


def _acts(life: Life) -> Json:
    """Return what only some rows have."""
    row = life.row
    bank = {
        "amount": money(row.bank_values.amount, life.currency),
        "date": row.bank_values.transacted_on.isoformat(),
        "description": row.bank_values.description,
    }
    found = {
        "deleted": row.deleted_at is not None,
        "merged_into": row.merged_into,
        "split_into": [money(part, life.currency) for part in row.split_into],
        "verdict": row.shadow_verdict.value if row.shadow_verdict is not None else None,
        "erased": bool(row.fingerprint),
        "bank": bank if row.bank_values != row.values else None,
    }
    return {name: value for name, value in found.items() if value}


def _doubts(asked: Asked | AskedAccount) -> list[Json]:
    """Return a doubt as one object for each entry of the row; one where it has none."""
    if isinstance(asked, AskedAccount):
        asks = {"rule": Rule.RELINKED.value, "reason": "the account may be an earlier one that was closed"}
        return [{"account": asked.account, "entry": None, "from": {"account": asked.earlier}, "candidates": [], **asks}]
    doubt = asked.doubt
    return [
        {
            "account": asked.account,
            "entry": entry,
            "from": _look(doubt.transaction, asked.currency),
            "candidates": [_look(row, asked.currency) for row in doubt.candidates],
            "rule": doubt.rule.value,
            "reason": doubt.reason,
        }
        for entry in doubt.transaction.entries or (None,)
    ]


def _look(row: Known, currency: str) -> Json:
    """Return a row as a person recognises it."""
    return {
        "amount": money(row.values.amount, currency),
        "date": row.values.transacted_on.isoformat(),
        "description": row.values.description,
        "status": row.state.value,
    }


def _event(event: Event) -> Json:
    changes = event.changes
    told: Json = {
        "at": _moment(event.at) if event.at is not None else None,
        "account": event.step.account,
        "op": event.step.op,
        "verdict": changes.verdict.value if changes is not None else Verdict.APPLIED.value,
        "reason": changes.reason if changes is not None else "",
        "counts": {kind.value: count for kind, count in changes.counts.items() if count} if changes is not None else {},
        "line": event.step.line,
    }
    gap = _gap(event)
    return told | ({"relinked": True} if event.is_relinked else {}) | ({"balance": gap} if gap else {})


def _gap(event: Event) -> Json:
    """Return what the balance check found amiss, {} where nothing."""
    check = event.changes.balance if event.changes is not None else None
    if check is None or not check.is_checked or not check.after.gap:
        return {}
    return {
        "date": check.after.on.isoformat(),
        "amount": money(check.after.amount, event.currency),
        "gap": money(check.after.gap, event.currency),
        "reason": check.reason,
        "suspects": [_look(row, event.currency) for row in check.suspects],
    }


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
