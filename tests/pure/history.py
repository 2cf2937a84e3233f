"""Feed histories as text, for tests whose docstring is the input. For tests only.

pull 03-03                                      a complete list, window from 01-31 to the day; all in 2026
  p1 ! 03-02 -20.00 LUIGI TRATTORIA             id (- for none), flag (! pending, * active, ~ shadow), date, amount, text
link L1 -20.00                                  a person's acts: link, reconcile, delete; merge KEEP DROP (ids)
pull 03-05 at=18 from=03-01 to=03-04 count=2 removed=p1,p2 delta incomplete error attempt=03-05
  a1 * 03-04 -24.00 LUIGI TRATTORIA <p1         the posting of p1, says the feed
=
  * 03-04 -24.00 LUIGI TRATTORIA ^L1            the rows in view and the shadow rows, with their entries
? L1                                            the entries in doubt at the end
verdicts applied held                           optional: what became of each pull
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bankfeed.model import TransactionState
from bankfeed.reconcile import Changes
from bankfeed.replay.play import Replay
from bankfeed.replay.steps import read_steps

STATES = {"!": "pending", "*": "active", "~": "shadow"}
FLAGS = {state: flag for flag, state in STATES.items()}

_ROW = re.compile(r"(\S+) ([!*~]) (\d\d-\d\d) (\S+) (.*?)(?: <(\S+))?(?: #(\S+))?")
_RESULT = re.compile(r"([!*~]) (\d\d-\d\d) (\S+) (.*?)((?: \^\w+)*)")


@dataclass
class History:
    """What a text asks for: the steps, and what must come of them."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    doubted: set[str] = field(default_factory=set)
    verdicts: list[str] = field(default_factory=list)


def history(test: Callable[[], None]) -> Callable[[], None]:
    """Make a test of a function: run the history in its docstring and compare where it ends."""

    @functools.wraps(test)
    def run() -> None:
        wanted = read_history(inspect.getdoc(test) or "")
        replay = play(wanted.steps)
        assert standing(replay) == sorted(wanted.rows)
        assert doubted_entries(replay) == wanted.doubted
        if wanted.verdicts:
            assert [plan.verdict.value for plan in plans(replay)] == wanted.verdicts
        test()

    return run


def play(steps: Iterable[dict[str, Any]], replay: Replay | None = None) -> Replay:
    """Take steps of the replay format, as a file would hold them; after those of an earlier replay, where one is given."""
    return (replay or Replay()).play(read_steps(msgspec.json.Encoder().encode_lines(steps)))


def plans(replay: Replay) -> list[Changes]:
    """List what became of each pull."""
    return [event.changes for event in replay.events if event.step.op == "pull" and event.changes is not None]


def doubted_entries(replay: Replay) -> set[str]:
    """Return the entries that an open doubt is about."""
    return {entry for question in replay.book.questions.about_rows for entry in question.was.entries}


def standing(replay: Replay) -> list[tuple[str, ...]]:
    """List the rows in view and the shadow rows of account "a", as a history writes them."""
    return sorted(
        (
            FLAGS[row.state.value],
            row.values.transacted_on.isoformat()[5:],
            str(row.values.amount),
            row.values.description,
            *sorted(row.entries),
        )
        for row in replay.book.rows("a")
        if row.state is not TransactionState.REMOVED and row.deleted_at is None and row.merged_into is None
    )


def read_history(text: str) -> History:
    """Read a history from a docstring; its first paragraph is prose."""
    found = History(steps=[{"op": "account", "account": "a", "currency": "USD"}])
    has_ended = False
    for line in text.partition("\n\n")[2].splitlines():
        words = line.split()
        if words == ["="]:
            has_ended = True
        elif words and words[0] == "?":
            found.doubted.update(words[1:])
        elif words and words[0] == "verdicts":
            found.verdicts = words[1:]
        elif words and has_ended:
            found.rows.append(_read_result(line.strip()))
        elif words:
            _read_step(found.steps, words, line.strip())
    return found


def _read_step(steps: list[dict[str, Any]], words: list[str], line: str) -> None:
    at = steps[-1].get("at", "2026-01-01T06:00:00Z")
    act = {"account": "a", "at": at}
    match words:
        case ["pull", day, *options]:
            steps.append(_read_pull(day, options))
        case ["link", entry, amount, *text]:
            steps.append({"op": "link", **act, "entry": entry, "match": _match(amount, text)})
        case ["reconcile" | "delete" as op, amount, *text]:
            steps.append({"op": op, **act, "match": _match(amount, text)})
        case ["merge", keep, drop]:
            steps.append({"op": "merge", **act, "keep": {"id": keep}, "drop": {"id": drop}})
        case _:
            steps[-1]["transactions"].append(_read_row(line))


def _read_pull(day: str, options: list[str]) -> dict[str, Any]:
    given = dict(option.partition("=")[::2] for option in options)
    pull: dict[str, Any] = {
        "op": "pull",
        "account": "a",
        "at": f"2026-{day}T{given.get('at', '06')}:00:00Z",
        "kind": "delta" if "delta" in given else "full",
        "from": f"2026-{given.get('from', '01-31')}",
        "to": f"2026-{given.get('to', day)}",
        "complete": "incomplete" not in given,
        "transactions": [],
        "removed": [name for name in given.get("removed", "").split(",") if name],
    }
    if "count" in given:
        pull["count"] = int(given["count"])
    if "error" in given:
        pull["error"] = "the bank is away"
    if "attempt" in given:
        pull["attempted_at"] = f"2026-{given['attempt']}T00:00:00Z"
    return pull


def _read_row(line: str) -> dict[str, Any]:
    found = _ROW.fullmatch(line)
    assert found, f"expected a row, got {line!r}"
    name, flag, on, amount, text, pending_id, check = found.groups()
    row = {"id": "" if name == "-" else name, "status": STATES[flag], "date": f"2026-{on}", "amount": amount}
    return {**row, "description": text, "pending_id": pending_id, "check_number": check or ""}


def _read_result(line: str) -> tuple[str, ...]:
    found = _RESULT.fullmatch(line)
    assert found, f"expected a row that stands, got {line!r}"
    flag, on, amount, text, entries = found.groups()
    return flag, on, amount, text, *sorted(entries.replace("^", "").split())


def _match(amount: str, text: list[str]) -> dict[str, str]:
    return {"amount": amount, "description": " ".join(text)} if text else {"amount": amount}
