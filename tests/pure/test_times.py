"""Times as people type them."""

import doctest
from datetime import UTC, datetime, timedelta

import pytest

from bankfeed import desk, times
from bankfeed.times import read_time

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize("module", [times, desk], ids=["times", "desk"])
def test_examples_in_docstrings_are_run(module: object) -> None:
    """What a docstring shows is so."""
    ran = doctest.testmod(module)  # type: ignore[arg-type]  # typeshed's ModuleType
    assert (0, True) == (ran.failed, ran.attempted > 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T06:00Z", datetime(2026, 11, 1, 6, tzinfo=UTC)),
        ("2026-11-01 06:00:30.25-05:00", datetime(2026, 11, 1, 11, 0, 30, 250_000, tzinfo=UTC)),
        ("3d", NOW - timedelta(days=3)),
        ("12h ago", NOW - timedelta(hours=12)),
        (" 90 m ", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
    ],
)
def test_a_time_is_a_day_a_moment_or_how_long_ago(text: str, expected: datetime) -> None:
    """Days and moments are of a known zone: a day of UTC, a moment of the one that it names."""
    assert expected == read_time(text, now=NOW)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-11-01T06:00", "2026-13-01", "11/01/2026", "3", "d", "-3d", "3y", "٣d", "3d 4h"],
)
def test_what_is_no_time_is_said(text: str) -> None:
    """A moment without a zone too: whose clock it is of nobody knows."""
    with pytest.raises(ValueError, match="expected a time like 2026-11-01, 2026-11-01T06:00Z, 3d or 12h, got"):
        read_time(text, now=NOW)
