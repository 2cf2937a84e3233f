"""Failpoints: where a process kills itself for a test, and that it does not otherwise."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bankfeed.errors import SettingsError
from bankfeed.failpoints import Failpoint, read_failpoint
from bankfeed.settings import Settings

ROOT = Path(__file__).parents[2]
THREE_TIMES = """
from bankfeed.failpoints import Failpoint, arm, reach, read_failpoint
arm(read_failpoint({setting!r}))
for n in range(3):
    reach(Failpoint.AFTER_PULL)
    reach(Failpoint.BEFORE_PULL)
    print(n, flush=True)
"""


def run(setting: str) -> tuple[int, str]:
    """Pass two places three times in a process of its own; return its exit code and how often it did."""
    ended = subprocess.run(
        [sys.executable, "-c", THREE_TIMES.format(setting=setting)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("", (0, "012")),
        ("after_attempt", (0, "012")),
        ("before_pull", (-signal.SIGKILL, "")),
        ("before_pull:3", (-signal.SIGKILL, "01")),
        ("before_pull:4", (0, "012")),
    ],
)
def test_a_process_dies_the_nth_time(setting: str, expected: tuple[int, str]) -> None:
    """The place that is named kills at the time that is named; unset, and at other places, nothing happens."""
    assert expected == run(setting)


def test_the_setting_names_a_place() -> None:
    """The setting is read with the others; without a number it is the first time."""
    assert Settings.from_environ({}).failpoint is None
    settings = Settings.from_environ({"BANKFEED_FAILPOINT": "after_finish"})
    assert (Failpoint.AFTER_FINISH, 1) == settings.failpoint
    assert (Failpoint.AFTER_FINISH, 12) == read_failpoint("after_finish:12")


@pytest.mark.parametrize("text", ["nowhere", "after_finish:0", "after_finish:x", "after_finish:-1", ":2"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    """A misspelt name would never kill anything, so it is refused like any other setting."""
    with pytest.raises(SettingsError, match=r"expected BANKFEED_FAILPOINT to be NAME or NAME:N"):
        Settings.from_environ({"BANKFEED_FAILPOINT": text})
