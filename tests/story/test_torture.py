"""The torture suite in its short form: every failpoint once and what one seed draws, and everything is as it should be."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bankfeed.local.server import end_with_parent

ROOT = Path(__file__).parents[2]
SEED = 7


@pytest.mark.timeout(180)
def test_nothing_is_lost_under_torture() -> None:
    """Killed around each commit, cut off and restarted, the product loses nothing, doubles nothing and leaves nothing."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--short", "--seed", str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=end_with_parent(signal.SIGKILL),
    )
    assert 0 == ended.returncode, ended.stdout + ended.stderr
    assert re.fullmatch(
        rf"torture: \d+ s, seed {SEED}: [1-9]\d* events accepted, .* 0 lost, 0 doubled, .* 12 of 12 failpoints\n",
        ended.stdout,
    ), ended.stdout
