"""A row's life in plain words: a line a step, with the rule that made it (rule 13). Pure.

What is told is what was kept; nothing is worked out anew, so that a rule of today never explains a change of last year.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from bankfeed.model import Known
from bankfeed.money import format_amount
from bankfeed.reconcile.changes import ACT_WORDS, RULE_WORDS, ActKind, ChangeKind, Rule, Step


def explain(row: Known, steps: Sequence[Step], *, account: str = "", currency: str | None = None) -> tuple[str, ...]:
    """Tell how a row came, what happened to it step by step, and how it stands now.

    `account` is the name to show, amounts are written with the decimals of `currency`; both may be left out. Where the
    first steps are no longer kept, the first line says when the row was first listed.
    """
    ordered = sorted(steps, key=lambda step: step.change_no)
    afters = [step.before for step in ordered[1:]] + [row]
    lines = [_tell(step, after, currency) for step, after in zip(ordered, afters, strict=False)]
    if not ordered or ordered[0].kind is not ChangeKind.ADDED:
        lines.insert(0, f"{_time(row.first_pulled_at)}  first listed")
    return (*lines, _tell_now(row, account, currency))


def say(rule: Rule | ActKind) -> str:
    """Return a rule or an act in words."""
    return RULE_WORDS[rule] if isinstance(rule, Rule) else ACT_WORDS[rule]


def _tell(step: Step, after: Known | None, currency: str | None) -> str:
    return f"{_time(step.at)}  {step.kind}: {say(step.rule)} ({step.rule}): {_tell_change(step, after, currency)}"


def _tell_change(step: Step, after: Known | None, currency: str | None) -> str:
    """Say what a step changed; `after` is None where the row's values of that time were erased."""
    if after is None or (step.before is None and step.kind is not ChangeKind.ADDED):
        return "its values were erased since"
    now = _facts(after, currency)
    if step.before is None:
        return _list(now)
    before = _facts(step.before, currency)
    return (
        _list({name: _arrow(before[name], now[name]) for name in now if before[name] != now[name]}) or "nothing shown"
    )


def _tell_now(row: Known, account: str, currency: str | None) -> str:
    where = f" in {account}" if account else ""
    earlier = f", earlier ids {', '.join(row.aggregator_ids[:-1])}" if row.aggregator_ids[1:] else ""
    return f"now{where}: {_list(_facts(row, currency))}{earlier}"


def _facts(row: Known, currency: str | None) -> dict[str, str]:
    """Say by name what people ask about, "" where there is nothing to say; state and amount speak for themselves."""
    values = row.values
    amount = "values erased" if row.fingerprint else _amount(values.amount, currency)
    return {
        "": f"{row.state} {amount}",
        "date": values.transacted_on.isoformat(),
        "text": _quote(values.description),
        "id": row.aggregator_ids[-1] if row.aggregator_ids else "",
        "entries": " + ".join(row.entries),
        "bank's values": _bank_values(row, currency),
        "parts": " + ".join(_amount(part, currency) for part in row.split_into),
        "reconciled": "yes" if row.is_reconciled else "",
        "deleted": _time(row.deleted_at) if row.deleted_at is not None else "",
        "merged into": f"row {row.merged_into}" if row.merged_into is not None else "",
        "removal": row.shadow_verdict.value if row.shadow_verdict is not None else "",
    }


def _bank_values(row: Known, currency: str | None) -> str:
    """Say what the bank says where a person's act keeps something else in view."""
    bank = row.bank_values
    if bank == row.values:
        return ""
    return f"{_amount(bank.amount, currency)} {bank.transacted_on.isoformat()} {_quote(bank.description)}"


def _list(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {said}".strip() for name, said in facts.items() if said)


def _arrow(before: str, after: str) -> str:
    return f"{before or 'none'} -> {after or 'none'}"


def _amount(amount: Decimal, currency: str | None) -> str:
    return f"{amount:f}" if currency is None else format_amount(amount, currency)


def _quote(text: str) -> str:
    return f'"{text}"' if text else ""


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}Z"
