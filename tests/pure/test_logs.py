"""What a log line says, and what it never says."""

import inspect
import json
import subprocess
import sys

import pytest

from bankfeed.db.arrival import Incoming
from bankfeed.db.delivery import ClaimedDelivery
from bankfeed.db.source import Source
from tests.finbank import ROOT

SEALED = {"secret", "signing_key", "previous_secret", "previous_signing_key", "headers"}
PROGRAM = """
import logging, sys
from bankfeed.logs import configure, get_logger

def fail(secret):
    body = secret * 2
    raise RuntimeError("it broke")

configure("tests", log_format=sys.argv[1])
try:
    fail(sys.argv[2])
except RuntimeError:
    get_logger().exception("lane.broken")
    logging.getLogger("aiohttp.server").exception("a library's words")
"""


def log_lines(log_format: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, log_format, "hush-hush"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "" == done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_names_places_and_no_values(log_format: str) -> None:
    """A traceback, ours or a library's, says where and what, and holds no local variable's value."""
    text = "\n".join(log_lines(log_format))
    assert 2 == text.count("it broke")
    assert 2 == text.count("lane.broken") + text.count("a library's words")
    assert text.count("fail") >= 2
    assert "hush-hush" not in text


def test_a_json_traceback_is_one_line() -> None:
    """Each event is one JSON object on one line, its traceback a list of frames."""
    ours, foreign = (json.loads(line) for line in log_lines("json"))
    assert ("lane.broken", "a library's words") == (ours["event"], foreign["event"])
    for line in (ours, foreign):
        assert "RuntimeError" == line["exception"][0]["exc_type"]
        assert "fail" == line["exception"][0]["frames"][-1]["name"]


@pytest.mark.parametrize(
    ("cls", "hidden"),
    [(Source, {"secrets"}), (ClaimedDelivery, SEALED | {"url", "body"}), (Incoming, {"body"})],
)
def test_secrets_and_payloads_do_not_print(cls: type, hidden: set[str]) -> None:
    """What carries a key, a subscriber's address or a body prints without it."""
    fields = inspect.signature(cls).parameters
    shown = repr(cls(**dict.fromkeys(fields, "hush-hush")))
    assert hidden == {name for name in fields if f"{name}=" not in shown}
