"""Where a replay ended, as lines for a person. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC

from bankfeed.model import Known, ShadowPolicy
from bankfeed.reconcile.policy import is_shown
from bankfeed.replay.play import Event
from bankfeed.replay.report import Asked, AskedAccount, Ending, Life, money, status_of, tell

HEADS = ("account", "status", "date", "amount", "description", "entries", "ids", "")


def as_lines(ending: Ending, *, with_gone: bool = False, with_steps: bool = False) -> Iterator[str]:
    """Write what each step did, the rows where they end, and what a person is asked."""
    yield from _columns([_event_cells(event) for event in ending.events])
    yield ""
    lives = [life for life in ending.lives if with_gone or not life.is_gone]
    yield from _columns([HEADS, *(_row_cells(life, ending.policy) for life in lives)])
    for asked in ending.asked:
        yield ""
        yield from _ask(asked)
    for life in lives if with_steps else ():
        yield ""
        yield f"row {life.row.id}: {_look(life.row, life.currency)}"
        yield from (f"  {line}" for line in tell(life))


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write rows of cells in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _event_cells(event: Event) -> tuple[str, ...]:
    at = f"{event.at.astimezone(UTC):%Y-%m-%d %H:%M}Z" if event.at is not None else ""
    return f"line {event.step.line}", at, event.step.account, event.step.op, "; ".join(_outcome(event))


def _outcome(event: Event) -> Iterator[str]:
    """Say what a step did: how its pull was taken, what changed, what the balance says."""
    changes = event.changes
    if event.is_relinked:
        yield "this account is an earlier one, back"
    if changes is None:
        return
    if event.step.op == "pull":
        yield f"{changes.verdict}{f': {changes.reason}' if changes.reason else ''}"
    counts = ", ".join(f"{count} {kind}" for kind, count in changes.counts.items() if count)
    if counts:
        yield counts
    check = changes.balance
    if check is not None and check.is_checked and check.after.gap:
        gap = f"the balance moved by {money(check.after.gap, event.currency)} more than the rows"
        yield f"{gap}; {check.reason}{_list(check.suspects, event.currency)}"


def _row_cells(life: Life, policy: ShadowPolicy) -> tuple[str, ...]:
    row = life.row
    return (
        life.account,
        status_of(life),
        row.values.transacted_on.isoformat(),
        money(row.values.amount, life.currency),
        row.values.description,
        " ".join(row.entries) or "-",
        " ".join(row.aggregator_ids) or "-",
        ", ".join(_marks(life, policy)),
    )


def _marks(life: Life, policy: ShadowPolicy) -> Iterator[str]:
    row = life.row
    if not life.is_gone and not is_shown(row, policy):
        yield "hidden"
    if row.is_reconciled:
        yield "reconciled"
    if row.split_into:
        yield "split into " + " + ".join(money(part, life.currency) for part in row.split_into)
    if row.deleted_at is not None:
        yield "deleted"
    if row.merged_into is not None:
        yield f"merged into row {row.merged_into}"
    if row.fingerprint:
        yield "values erased"


def _ask(asked: Asked | AskedAccount) -> Iterator[str]:
    if isinstance(asked, AskedAccount):
        yield f"doubt: is the account {asked.account} the earlier {asked.earlier}?"
        return
    doubt = asked.doubt
    entries = " and ".join(doubt.transaction.entries) or "what a person did"
    yield f"doubt: where does {entries} of {_look(doubt.transaction, asked.currency)} belong? ({doubt.rule}: {doubt.reason})"
    yield from (f"  {_look(row, asked.currency)}" for row in doubt.candidates)


def _list(rows: Iterable[Known], currency: str) -> str:
    looks = "; ".join(_look(row, currency) for row in rows)
    return f": {looks}" if looks else ""


def _look(row: Known, currency: str) -> str:
    values = row.values
    return f"{values.transacted_on} {money(values.amount, currency)} {values.description} ({row.state})"
