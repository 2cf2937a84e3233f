"""A row's life in plain words (rule 13)."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.model import Known, ShadowVerdict, TransactionId
from bankfeed.reconcile.changes import ACT_WORDS, RULE_WORDS, ActKind, ChangeKind, Rule, Step
from bankfeed.reconcile.explain import explain, say
from bankfeed.reconcile.policy import erase
from tests.pure.rows import FIRST_AT, PENDING, SHADOW, make_row, make_values

PENDING_ROW = make_row(1, state=PENDING, aggregator_ids=("p1",))
POSTED_ROW = make_row(1, "-24.00", 4, aggregator_ids=("p1", "a9"))


def make_step(number: int, kind: ChangeKind, rule: Rule | ActKind, before: Known | None) -> Step:
    """Make the step of one day."""
    return Step(change_no=number, at=FIRST_AT + timedelta(days=number), kind=kind, rule=rule, before=before)


ADDED = make_step(0, ChangeKind.ADDED, Rule.NEW, None)
POSTED = make_step(1, ChangeKind.POSTED, Rule.CHANGED_AMOUNT, PENDING_ROW)


def change_line(before: Known, after: Known) -> str:
    """Return what is said of one change."""
    lines = explain(after, [ADDED, make_step(1, ChangeKind.UPDATED, ActKind.UNDO_ACT, before)])
    return lines[1].partition("(undo_act): ")[2]


def test_a_life_from_its_first_line_to_its_last() -> None:
    """The first line says how the row came, the last how it stands; between them is a line a step, in order."""
    assert (
        '2026-03-03 06:00Z  added: nothing known explains the row (new): pending -20.00, date 2026-03-02, text "CORNER CAFE", id p1',
        (
            "2026-03-04 06:00Z  posted: 5: posted higher (up to half more) or lower, with a similar text (changed_amount): "
            "pending -20.00 -> active -24.00, date 2026-03-02 -> 2026-03-04, id p1 -> a9"
        ),
        'now in Checking: active -24.00, date 2026-03-04, text "CORNER CAFE", id a9, earlier ids p1',
    ) == explain(POSTED_ROW, [POSTED, ADDED], account="Checking", currency="USD")


def test_amounts_are_written_in_their_currency() -> None:
    """Amounts have the currency's own decimals, or those that they were kept with."""
    row = make_row(1, "-20.0", split_into=(Decimal(-9), Decimal(-11)))
    assert ["-20.000 -9.000 + -11.000", "-20.0 -9 + -11"] == [
        f"{line.split()[2].strip(',')} {line.partition('parts ')[2]}"
        for line in (explain(row, [], currency="KWD")[-1], explain(row, [])[-1])
    ]


def test_a_row_whose_first_steps_are_not_kept() -> None:
    """Without the step that added it, the first line says when the row was first listed."""
    lines = [explain(POSTED_ROW, steps) for steps in ([POSTED], [])]
    assert ["2026-03-03 06:00Z  first listed"] * 2 == [first for first, *_ in lines]
    assert [3, 2] == [len(each) for each in lines]


def test_times_are_in_utc() -> None:
    """A step's time is written in UTC, wherever it was taken."""
    at = datetime(2026, 3, 3, 22, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert "2026-03-04 03:30Z" == explain(POSTED_ROW, [replace(ADDED, at=at)])[0][:17]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": SHADOW}, "active -20.00 -> shadow -20.00"),
        ({"values": make_values("-20.00", text="")}, 'text "CORNER CAFE" -> none'),
        ({"aggregator_ids": ()}, "id a1 -> none"),
        ({"entries": ("L1", "L2")}, "entries none -> L1 + L2"),
        ({"is_reconciled": True}, "reconciled none -> yes"),
        ({"deleted_at": FIRST_AT}, "deleted none -> 2026-03-03 06:00Z"),
        ({"merged_into": TransactionId(7)}, "merged into none -> row 7"),
        ({"split_into": (Decimal(-9), Decimal(-11))}, "parts none -> -9 + -11"),
        ({"shadow_verdict": ShadowVerdict.REJECTED}, "removal none -> rejected"),
        ({"bank_values": make_values("-21.00")}, 'bank\'s values none -> -21.00 2026-03-02 "CORNER CAFE"'),
        ({"has_joined": True}, "nothing shown"),
    ],
    ids=str,
)
def test_each_change_is_said(changes: dict[str, Any], said: str) -> None:
    """What changed is said by its name, as it was and as it is; what is equal is not."""
    values = {"bank_values": changes["values"]} if "values" in changes else {}
    assert said == change_line(make_row(1), make_row(1, **{**values, **changes}))


def test_what_was_erased_is_not_told() -> None:
    """Steps whose values were erased say so, and the last line shows no amount."""
    row = erase(make_row(1, state=SHADOW))
    steps = [ADDED, make_step(1, ChangeKind.SHADOWED, Rule.WITHDRAWN, None)]
    lines = explain(row, steps)
    assert ["its values were erased since"] * 2 == [line.rpartition(": ")[2] for line in lines[:2]]
    assert "now: shadow values erased, date 2026-03-02, id a1" == lines[-1]


def test_every_rule_and_every_act_has_words() -> None:
    """No rule and no act is without its words, and no two are said alike, though a rule and an act may share a name."""
    words = [*map(say, Rule), *map(say, ActKind)]
    assert (set(Rule), set(ActKind)) == (set(RULE_WORDS), set(ACT_WORDS))
    assert len(words) == len(set(words))
    assert say(Rule.SPLIT) != say(ActKind.SPLIT)
