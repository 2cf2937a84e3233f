"""The feed histories of tests/scenarios, and the shared ones where their folder lies beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

from bankfeed.replay.play import Replay
from bankfeed.replay.report import as_json, end
from bankfeed.replay.steps import read_steps

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "tests" / "scenarios", ROOT.parent / "shared" / "scenarios")
FILES = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.jsonl"))}


@pytest.mark.parametrize("name", FILES)
def test_history_ends_where_it_should(name: str) -> None:
    """Every history ends with the rows, states, entries and doubts that are right."""
    report = as_json(end(Replay().play(read_steps(FILES[name].read_bytes()))))
    got = report["transactions"]
    want = json.loads(FILES[name].with_suffix(".want.json").read_text())
    visible = [row for row in got if row["status"] in ("pending", "active")]

    assert sorted(want["rows"]) == sorted([row["amount"], row["status"]] for row in visible)
    assert {entry: [[amount, True]] for entry, amount in want["entries"].items()} == {
        entry: _carriers(got, entry) for entry in want["entries"]
    }
    for entry, text in want.get("entry_descriptions", {}).items():
        assert all(row["description"].startswith(text) for row in got if entry in row["entries"])
    if "shadow" in want:
        assert want["shadow"] == sum(row["status"] == "shadow" for row in got)
    for amount, on in want.get("dates", {}).items():
        assert [on] == [row["date"] for row in visible if row["amount"] == amount]
    if "doubts" in want:
        assert sorted(want["doubts"]) == sorted({doubt["entry"] for doubt in report["doubts"] if doubt["entry"]})


def _carriers(rows: list[dict[str, Any]], entry: str) -> list[list[Any]]:
    return [[row["amount"], row["status"] in ("pending", "active")] for row in rows if entry in row["entries"]]
