"""What `bankfeed replay` prints: the documented object, what is added to it, and the lines for a person."""

import json
from typing import Any

import pytest

from bankfeed.model import ShadowPolicy
from bankfeed.replay.book import Book
from bankfeed.replay.fields import ReplayError
from bankfeed.replay.play import Replay
from bankfeed.replay.prose import as_lines
from bankfeed.replay.report import as_json, end
from tests.pure.history import play, read_history

HISTORY = """
pull 03-03
  p1 ! 03-02 -20.00 LUIGI
  a2 * 03-02 -9.00 BAKERY
  a3 * 03-02 -33.00 DENTIST
  a4 * 03-02 -5.00 KIOSK
  a5 * 03-02 -7.00 GYM
  p6 ! 03-02 -8.00 TAXI
link L1 -20.00
link L3 -33.00
reconcile -9.00
delete -5.00
merge a2 a5
pull 03-05
  b1 * 03-03 -24.00 LUIGI
  a2 * 03-02 -9.50 BAKERY
  a4 * 03-02 -5.00 KIOSK
  a5 * 03-02 -7.00 GYM
"""


def replay_of(text: str, policy: ShadowPolicy = ShadowPolicy.HIDE) -> Replay:
    return play(read_history("Run.\n\n" + text).steps, Replay(book=Book(policy=policy)))


def report_of(text: str, **options: bool) -> dict[str, Any]:
    report = as_json(end(replay_of(text)), **options)
    return json.loads(json.dumps(report))  # type: ignore[no-any-return]


def steps_of(*lines: dict[str, Any]) -> list[dict[str, Any]]:
    opened = {"op": "account", "account": "a", "currency": "JPY"}
    return [opened, *({"account": "a", **line} for line in lines)]


DAY = {"op": "pull", "kind": "full", "from": "2026-02-01", "complete": True}


def pulled(day: int, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**DAY, "at": f"2026-03-{day:02}T06:00:00Z", "to": f"2026-03-{day:02}", "transactions": list(rows), **more}


def test_a_transaction_has_the_documented_keys_first() -> None:
    """Rows are printed in order of date and arrival, with what is documented, and then with what only some have."""
    rows = report_of(HISTORY)["transactions"]
    assert {
        "account": "a",
        "status": "active",
        "amount": "-24.00",
        "currency": "USD",
        "date": "2026-03-03",
        "description": "LUIGI",
        "entries": ["L1"],
        "reconciled": False,
        "aggregator_ids": ["p1", "b1"],
        "row": 2,
        "shown": True,
        "marked": False,
    } == rows[-1]
    assert [("-9.00", "active", True), ("-33.00", "shadow", False), ("-24.00", "active", False)] == [
        (row["amount"], row["status"], row["reconciled"]) for row in rows
    ]
    assert {"amount": "-9.50", "date": "2026-03-02", "description": "BAKERY"} == rows[0]["bank"]


def test_all_adds_what_is_out_of_view() -> None:
    """Removed, deleted and merged rows are printed as removed only where they are asked for, with the reason."""
    rows = report_of(HISTORY, with_gone=True)["transactions"]
    gone = {row["description"]: row for row in rows if row["status"] == "removed"}
    (bakery,) = [row["row"] for row in rows if row["description"] == "BAKERY"]
    assert {"KIOSK", "GYM", "TAXI"} == set(gone)
    assert (True, bakery) == (gone["KIOSK"]["deleted"], gone["GYM"]["merged_into"])
    assert {"deleted", "merged_into"}.isdisjoint(gone["TAXI"])
    assert not any(row["shown"] for row in gone.values())


def test_a_doubt_says_what_it_is_about() -> None:
    """A doubt names the entry, the row as it was, and the candidates as they are."""
    corrected, doubt = sorted(report_of(HISTORY)["doubts"], key=lambda doubt: doubt["rule"])
    assert (None, "correction") == (corrected["entry"], corrected["rule"])
    was = {"amount": "-33.00", "date": "2026-03-02", "description": "DENTIST", "status": "active"}
    assert ("a", "L3", was, [], "withdrawn") == tuple(
        doubt[k] for k in ("account", "entry", "from", "candidates", "rule")
    )
    tie = "pull 03-03\n p1 ! 03-02 -2.00 CAFE\nlink L1 -2.00\nlink L2 -2.00\npull 03-06\n a1 * 03-04 -2.00 CAFE\n a2 * 03-05 -2.00 CAFE"
    first, second = report_of(tie)["doubts"]
    assert ["L1", "L2"] == [first["entry"], second["entry"]]
    assert [("2026-03-04", "active"), ("2026-03-05", "active")] == [
        (c["date"], c["status"]) for c in first["candidates"]
    ]


def test_a_doubt_without_an_entry() -> None:
    """A row that is only reconciled has a doubt too, with no entry."""
    (doubt,) = report_of(
        "pull 03-03\n a1 * 03-02 -2.00 CAFE\n a2 * 03-02 -1.00 GYM\nreconcile -2.00\npull 03-04\n a2 * 03-02 -1.00 GYM"
    )["doubts"]
    assert doubt["entry"] is None


def test_an_event_for_each_step() -> None:
    """Each step is an event, with what its pull was taken for and what changed."""
    events = report_of(HISTORY + "pull 03-06")["events"]
    assert ["account", "pull", "link", "link", "reconcile", "delete", "merge", "pull", "pull"] == [
        e["op"] for e in events
    ]
    assert list(range(1, 10)) == [event["line"] for event in events]
    assert {
        "at": "2026-03-05T06:00:00Z",
        "account": "a",
        "op": "pull",
        "verdict": "applied",
        "reason": "",
        "counts": {"posted": 1, "renamed": 1, "shadowed": 1, "removed": 1},
        "line": 8,
    } == events[7]
    assert ("held", "the list is empty and rows are known in its window") == (events[8]["verdict"], events[8]["reason"])
    assert None is events[0]["at"]


def test_a_gap_in_the_balance_is_told() -> None:
    """Where the balance and the rows disagree, the pull's event says by how much and names suspects."""
    row = {"id": "1", "status": "active", "amount": "-500", "date": "2026-03-02", "description": "ROAST"}
    waiting = {"id": "2", "status": "pending", "amount": "-70", "date": "2026-03-03", "description": "TAXI"}
    replay = play(steps_of(pulled(3, row, waiting, balance="1000"), pulled(4, row, waiting, balance="930")))
    *_, first, second = as_json(end(replay))["events"]
    assert "balance" not in first
    suspect = {"amount": "-70", "date": "2026-03-03", "description": "TAXI", "status": "pending"}
    assert ("930", "-70", [suspect]) == tuple(second["balance"][name] for name in ("amount", "gap", "suspects"))
    assert any("the balance moved by -70 more than the rows" in line for line in as_lines(end(replay)))


def test_a_gap_beyond_all_amounts_is_told() -> None:
    """Rows that sum to more digits than an amount may have make a long gap, not an error."""
    huge = [
        {"id": str(n), "status": "active", "amount": "9" * 18, "date": "2026-03-04", "description": "GIFT"}
        for n in range(20)
    ]
    replay = play(steps_of(pulled(3, balance="0"), pulled(5, *huge, balance="0")))
    assert "-19999999999999999980" == as_json(end(replay))["events"][-1]["balance"]["gap"]


def test_the_lives_are_told() -> None:
    """Each row's life is a line a step with the rule, and a last one that says how it stands."""
    rows = report_of(HISTORY, with_steps=True)["transactions"]
    life = rows[-1]["steps"]
    assert 4 == len(life)
    assert "(changed_amount)" in life[2]
    assert life[-1].startswith("now in a: active -24.00")
    lines = list(as_lines(end(replay_of(HISTORY)), with_steps=True))
    assert all(f"  {line}" in lines for line in life)


@pytest.mark.parametrize(
    ("policy", "shown"),
    [(ShadowPolicy.HIDE, False), (ShadowPolicy.SHOW, True), (ShadowPolicy.CONFIRM, True), (ShadowPolicy.DELETE, False)],
)
def test_the_policy_decides_what_is_shown(policy: ShadowPolicy, *, shown: bool) -> None:
    """A shadow row is reported under every policy, and whether the customer sees it."""
    text = "pull 03-03\n a1 * 03-02 -2.00 CAFE\n a2 * 03-02 -1.00 GYM\npull 03-04\n a2 * 03-02 -1.00 GYM"
    shadow, _ = sorted(as_json(end(replay_of(text, policy)))["transactions"], key=lambda row: row["row"])
    assert ("shadow", shown) == (shadow["status"], shadow["shown"])
    assert (policy is ShadowPolicy.DELETE) == ("erased" in shadow)
    assert ("0.00" if policy is ShadowPolicy.DELETE else "-2.00") == shadow["amount"]


def test_lines_for_a_person() -> None:
    """Without --json there are columns of steps and rows, and the doubts."""
    lines = list(as_lines(end(replay_of(HISTORY)), with_gone=True))
    assert "line 8  2026-03-05 06:00Z  a  pull       applied; 1 posted, 1 shadowed, 1 renamed, 1 removed" in [
        line.replace("1 removed, 1 renamed", "1 renamed, 1 removed") for line in lines
    ]
    assert "a        active   2026-03-03  -24.00  LUIGI        L1       p1 b1" in lines
    assert "a        removed  2026-03-02  -7.00   GYM          -        a5     merged into row 3" in lines
    assert any(
        line.startswith("doubt: where does L3 of 2026-03-02 -33.00 DENTIST (active) belong? (withdrawn")
        for line in lines
    )


def test_parts_are_reported() -> None:
    """A split row stays one row, with the parts that it is booked in."""
    row = {"id": "1", "status": "active", "amount": "-500", "date": "2026-03-02", "description": "ROAST"}
    split = {"op": "split", "match": {"amount": "-500"}, "into": ["-200", "-300"]}
    replay = play(steps_of(pulled(3, row), split))
    (got,) = as_json(end(replay))["transactions"]
    assert ["-200", "-300"] == got["split_into"]
    assert any(line.endswith("split into -200 + -300") for line in as_lines(end(replay)))


MATCHED = [
    {"id": "1", "status": "active", "amount": "-5", "date": "2026-03-03", "description": "B", "memo": "m"},
    {"id": "2", "status": "active", "amount": "-5", "date": "2026-03-02", "description": "C", "check_number": "7"},
    {
        "id": "3",
        "status": "pending",
        "amount": "-5",
        "date": "2026-03-02",
        "description": "B",
        "posted_date": "2026-03-03",
    },
]


@pytest.mark.parametrize(
    ("match", "chosen"),
    [
        ({"amount": "-5.0"}, "3"),
        ({}, "3"),
        ({"status": "active"}, "2"),
        ({"description": "C"}, "2"),
        ({"date": "2026-03-03"}, "1"),
        ({"posted_date": "2026-03-03"}, "3"),
        ({"memo": "m"}, "1"),
        ({"check_number": "7"}, "2"),
        ({"id": "1", "amount": "-5"}, "1"),
    ],
)
def test_the_first_row_that_matches(match: dict[str, str], chosen: str) -> None:
    """Amounts match as numbers and other fields exactly; the first by date, then first pull, then description."""
    replay = play(steps_of(pulled(3, *MATCHED), {"op": "link", "match": match, "entry": "L1"}))
    linked = [row["aggregator_ids"] for row in as_json(end(replay))["transactions"] if row["entries"]]
    assert [[chosen]] == linked


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            {"op": "link", "match": {"amount": "-6"}, "entry": "L1"},
            "expected a row in view that matches, got none among 3",
        ),
        ({"op": "delete", "match": {"id": "9"}}, "expected a row in view that matches, got none among 3"),
        (
            {"op": "merge", "keep": {"id": "1"}, "drop": {"id": "1"}},
            "expected a row in view that matches, got none among 3",
        ),
        ({"op": "split", "match": {}, "into": ["-1", "-2"]}, "expected parts that add up to -5, got -1, -2: -3"),
        ({"op": "link", "match": {"id": "2"}, "entry": "L0"}, "expected entry L0 to be on no other row, got row "),
        ({"op": "account", "currency": "USD"}, "expected account a to stay in JPY, got USD"),
    ],
)
def test_a_step_that_does_not_fit(line: dict[str, Any], words: str) -> None:
    """A step that nothing fits is refused with its line."""
    linked = {"op": "link", "match": {"id": "1"}, "entry": "L0"}
    with pytest.raises(ReplayError) as refused:
        play(steps_of(pulled(3, *MATCHED), linked, line))
    assert str(refused.value).startswith(f"line 4: {words}")
