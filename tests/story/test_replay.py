"""The command `bankfeed replay`, as a person or a program runs it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finbank import ROOT

CLEAN = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}
OPENED = '{"op":"account","account":"a","institution":"i","type":"checking","number":"4321","currency":"USD"}\n'
PULL = (
    '{"op":"pull","account":"a","at":"2026-03-03T06:00:00Z","kind":"full","from":"2026-02-01","to":"2026-03-03",'
    '"complete":true,"transactions":[{"id":"p1","status":"pending","amount":"-20.00","date":"2026-03-02",'
    '"description":"CAFÉ ☕"}]}\n'
)


def run(*words: str, given: str | bytes = "", **environ: str) -> subprocess.CompletedProcess[bytes]:
    content = given.encode() if isinstance(given, str) else given
    command = [sys.executable, "-m", "bankfeed.cli", "replay", *words]
    settings = {"PYTHONPATH": str(ROOT), **environ}
    return subprocess.run(
        command, cwd=ROOT, env={**CLEAN, **settings}, input=content, capture_output=True, timeout=60, check=False
    )


def test_a_file_is_replayed_for_programs_and_for_people(tmp_path: Path) -> None:
    """From a file or from standard input, as JSON or as lines, in UTF-8 whatever the terminal is said to speak."""
    file = tmp_path / "history.jsonl"
    file.write_text(OPENED + PULL)
    shown = run(str(file), "--json", PYTHONIOENCODING="ascii")
    assert (0, b"") == (shown.returncode, shown.stderr)
    assert ["CAFÉ ☕"] == [row["description"] for row in json.loads(shown.stdout)["transactions"]]
    lines = run("-", "--explain", "--all", given=OPENED + PULL, PYTHONIOENCODING="ascii")
    assert (0, b"") == (lines.returncode, lines.stderr)
    assert "a        pending  2026-03-02  -20.00  CAFÉ ☕       -        p1" in lines.stdout.decode()
    assert "now in a: pending -20.00" in lines.stdout.decode()


@pytest.mark.parametrize("policy", ["hide", "show", "confirm", "delete"])
def test_a_policy_is_chosen(policy: str) -> None:
    """The policy says whether the customer sees a shadow row."""
    gone = PULL.replace("pending", "active").replace('"transactions":[', '"transactions":[{"status":"active","amount":"1",'
    '"date":"2026-03-02","description":"GYM"},')  # fmt: skip
    later = gone.replace("-03T", "-05T").replace('{"id":"p1"', '{"id":"p2"').replace("CAFÉ", "TEA").replace("-20", "-7")
    shown = json.loads(run("-", "--json", "--shadow-policy", policy, given=OPENED + gone + later).stdout)
    shadows = [row["shown"] for row in shown["transactions"] if row["status"] == "shadow"]
    assert [policy in ("show", "confirm")] == shadows


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "-: line 1: expected a step, got an empty file"),
        (b'{"op":"\xff"}', "-: line 1: expected UTF-8, got the byte 0xff"),
        ((OPENED + PULL.replace('"-20.00"', "12.5")).encode(), "expected amount to be a decimal string, got 12.5"),
        (
            OPENED.encode() + b'{"op":"delete","account":"a","match":{}}',
            "-: line 2: expected a row in view that matches",
        ),
    ],
)
def test_a_malformed_file_ends_with_2(given: bytes, words: str) -> None:
    """A file that cannot be replayed ends with 2 and one line on standard error; nothing is printed."""
    refused = run("-", "--json", given=given)
    assert (2, b"", 1) == (refused.returncode, refused.stdout, refused.stderr.count(b"\n"))
    assert words in refused.stderr.decode()


@pytest.mark.parametrize("file", ["no-such-file", ".", "a\x01b"])
def test_a_file_that_cannot_be_read_ends_with_2(file: str) -> None:
    """A file that is not there, or no file, is named."""
    refused = run(file)
    assert (2, b"") == (refused.returncode, refused.stdout)
    assert refused.stderr.decode().startswith(f"cannot read {file}: ")


def test_the_example_of_contributing() -> None:
    """The bug report that CONTRIBUTING shows is a history that ends as it says."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.partition("## Replay: a bug report is a file\n")[2].partition("\n## ")[0]
    history, ending = re.findall(r"```(?:json|text)\n(.*?)```", section, re.DOTALL)
    assert ending in run("-", given=history).stdout.decode()
