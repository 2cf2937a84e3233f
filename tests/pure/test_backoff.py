"""Back-off, and the examples in docstrings, which are run."""

import doctest
import importlib
from itertools import pairwise
from pathlib import Path

import pytest

from worker.backoff import FIRST_S, LONGEST_S, delay_s

ROOT = Path(__file__).parents[2]
EXAMPLED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("bankfeed", "ingress", "worker")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ">>> " in path.read_text()
]


def test_delays_double_until_an_hour() -> None:
    """Each failure in a row doubles the wait, from 15 seconds to an hour, where it stays."""
    delays = [delay_s(failures) for failures in range(1, 200)]
    assert FIRST_S == delays[0]
    assert all(min(2 * before, LONGEST_S) == after for before, after in pairwise(delays))


@pytest.mark.parametrize("module", EXAMPLED)
def test_examples_are_true(module: str) -> None:
    """What a docstring shows is what the function answers."""
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted
    assert 0 == results.failed
