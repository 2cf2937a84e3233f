"""The shared feed histories, where their folder lies beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pure.scenario import Ledger, read_steps

FOLDER = Path(__file__).parents[3] / "shared" / "scenarios"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))

pytestmark = pytest.mark.skipif(not NAMES, reason=f"no histories in {FOLDER.name} beside the checkout")


@pytest.mark.parametrize("name", NAMES)
def test_history_ends_where_it_should(name: str) -> None:
    """Every shared history ends with the rows, states and entries that are right."""
    got = Ledger().play(read_steps(FOLDER / f"{name}.jsonl")).as_json()["transactions"]
    want = json.loads((FOLDER / f"{name}.want.json").read_text())
    visible = [row for row in got if row["status"] in ("pending", "active")]

    assert sorted([row["amount"], row["status"]] for row in visible) == sorted(want["rows"])
    assert {entry: _carriers(got, entry) for entry in want["entries"]} == {
        entry: [[amount, True]] for entry, amount in want["entries"].items()
    }
    for entry, text in want.get("entry_descriptions", {}).items():
        assert all(row["description"].startswith(text) for row in got if entry in row["entries"])
    if "shadow" in want:
        assert sum(row["status"] == "shadow" for row in got) == want["shadow"]
    for amount, on in want.get("dates", {}).items():
        assert [row["date"] for row in visible if row["amount"] == amount] == [on]


def _carriers(rows: list[dict[str, Any]], entry: str) -> list[list[Any]]:
    return [[row["amount"], row["status"] in ("pending", "active")] for row in rows if entry in row["entries"]]
