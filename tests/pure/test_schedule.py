"""The retry schedule, to the second, against the table that the LedgerSync document prints."""

import doctest
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from bankfeed import schedule
from bankfeed.schedule import (
    DOCUMENTED,
    RETRIES,
    Schedule,
    check_offsets,
    is_over,
    next_due_at,
    retry_due_at,
    retry_number,
)

FIRST = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
TABLE = (
    (1, timedelta(seconds=30)),
    (2, timedelta(minutes=1)),
    (3, timedelta(minutes=2)),
    (4, timedelta(minutes=4)),
    (5, timedelta(minutes=8)),
    (6, timedelta(minutes=16)),
    (7, timedelta(minutes=32)),
    (8, timedelta(hours=1, minutes=4)),
    (9, timedelta(hours=2, minutes=8)),
    (10, timedelta(hours=4, minutes=16)),
    (11, timedelta(hours=8, minutes=32)),
    (12, timedelta(hours=17, minutes=4)),
    (13, timedelta(days=1, hours=10, minutes=8)),
    (14, timedelta(days=2, hours=20, minutes=16)),
)


def attempts(latency_s: float, *, lasting_s: float = 0.0) -> list[timedelta]:
    """Play one delivery that always fails: each attempt begins `latency_s` after it could, and lasts `lasting_s`."""
    began_at = FIRST
    begun = [FIRST - FIRST]
    while (due_at := next_due_at(FIRST, began_at)) is not None:
        free_at = began_at + timedelta(seconds=lasting_s)
        began_at = max(due_at, free_at) + timedelta(seconds=latency_s)
        begun.append(began_at - FIRST)
    return begun


@pytest.mark.parametrize(("n", "elapsed"), TABLE)
def test_each_retry_is_due_as_printed(n: int, elapsed: timedelta) -> None:
    """Retry n is due 30 s x 2^(n-1) after the first attempt."""
    assert retry_due_at(FIRST, n) == FIRST + elapsed


@pytest.mark.parametrize("n", [-1, 0, 15])
def test_there_are_fourteen_retries(n: int) -> None:
    """A retry outside 1 to 14 does not exist."""
    with pytest.raises(ValueError, match="from 1 to 14"):
        retry_due_at(FIRST, n)


@pytest.mark.parametrize(("n", "elapsed"), TABLE)
def test_a_slot_begins_at_its_second(n: int, elapsed: timedelta) -> None:
    """One microsecond before its time a retry is not due; at its time it is."""
    due_at = FIRST + elapsed
    assert retry_number(FIRST, due_at - timedelta(microseconds=1)) == n - 1
    assert retry_number(FIRST, due_at) == n


@pytest.mark.parametrize("latency_s", [0.0, 0.2, 5.0])
def test_a_dead_endpoint_gets_fifteen_attempts(latency_s: float) -> None:
    """Attempts that begin a little after they are due skip no slot: one first attempt and fourteen retries."""
    expected = [timedelta(0), *(elapsed + timedelta(seconds=latency_s) for _, elapsed in TABLE)]
    assert attempts(latency_s) == expected


def test_an_attempt_that_lasts_skips_no_slot() -> None:
    """Fifteen seconds of attempt after twenty of delay run past the next slot; it is tried right afterwards."""
    begun = attempts(20.0, lasting_s=15.0)
    assert len(begun) == 1 + RETRIES
    assert [each.total_seconds() for each in begun[:5]] == [0, 50, 85, 140, 260]


def test_a_recorded_attempt_may_leave_a_due_time_in_the_past() -> None:
    """The next slot follows the beginning of an attempt, so a slot that came due while it ran is still ahead."""
    began_at = FIRST + timedelta(seconds=59.9)
    assert next_due_at(FIRST, began_at) == FIRST + timedelta(seconds=60)


def test_slots_that_passed_are_used_up() -> None:
    """A worker that was away makes one attempt, then goes on with the next slot still ahead."""
    back_at = FIRST + timedelta(hours=5)
    assert retry_number(FIRST, back_at) == 10
    assert next_due_at(FIRST, back_at) == retry_due_at(FIRST, 11)


def test_the_last_slot_is_tried_until_the_three_days_are_over() -> None:
    """After the last slot a delivery that waits is not over before three days have passed, and has no slot after."""
    late_at = FIRST + timedelta(days=2, hours=23)
    assert not is_over(FIRST, late_at)
    assert next_due_at(FIRST, late_at) is None


def test_three_days_are_the_end() -> None:
    """At three days an attempt may still be made; a microsecond later the delivery has failed without one."""
    end_at = FIRST + timedelta(days=3)
    assert not is_over(FIRST, end_at)
    assert is_over(FIRST, end_at + timedelta(microseconds=1))
    assert not any(is_over(FIRST, retry_due_at(FIRST, n)) for n in range(1, RETRIES + 1))


def test_a_clock_that_steps_back_loses_no_slot() -> None:
    """A moment before the first attempt leaves every retry ahead."""
    before_at = FIRST - timedelta(seconds=5)
    assert next_due_at(FIRST, before_at) == retry_due_at(FIRST, 1)
    assert not is_over(FIRST, before_at)


def test_the_next_slot_is_always_ahead() -> None:
    """Whenever an attempt begins, what comes next is the first slot after it, or nothing after the fourteenth."""
    draw = random.Random(7)  # noqa: S311 - a fixed draw of moments
    for seconds in (draw.uniform(0, 259_200) for _ in range(2_000)):
        began_at = FIRST + timedelta(seconds=seconds)
        ahead = [FIRST + elapsed for _, elapsed in TABLE if FIRST + elapsed > began_at]
        assert next_due_at(FIRST, began_at) == (ahead[0] if ahead else None)


@pytest.mark.parametrize("offsets_s", [DOCUMENTED.offsets_s, (1, 2, 3, 1000, 1001), (5,), (1, 259_140)])
def test_a_jitter_keeps_the_order_and_the_three_days(offsets_s: tuple[int, ...]) -> None:
    """Slots come no earlier than without it, none passes another, and all come while an attempt may still be made."""
    for key in range(200):
        jittered = Schedule(offsets_s, 50, key)
        dues = [jittered.due_at(FIRST, n) for n in range(1, len(offsets_s) + 1)]
        assert dues == sorted(set(dues))
        assert all(due >= FIRST + timedelta(seconds=offset) for due, offset in zip(dues, offsets_s, strict=True))
        assert not is_over(FIRST, dues[-1])
        assert dues == [Schedule(offsets_s, 50, key).due_at(FIRST, n) for n in range(1, len(offsets_s) + 1)]
    assert 1 < len({Schedule(offsets_s, 50, key).due_at(FIRST, 1) for key in range(20)})


def test_a_table_of_its_own_is_followed() -> None:
    """As the documented one is; where there is no retry the first attempt is the last."""
    own = Schedule((5, 600))
    assert [FIRST + timedelta(seconds=5), FIRST + timedelta(seconds=600), None] == [
        next_due_at(FIRST, FIRST + timedelta(seconds=s), own) for s in (0, 5, 600)
    ]
    assert own.last_due_at(FIRST) == FIRST + timedelta(seconds=600)
    assert next_due_at(FIRST, FIRST, Schedule(())) is None
    assert Schedule(()).last_due_at(FIRST) == FIRST


@pytest.mark.parametrize(
    ("offsets_s", "expected"),
    [
        (range(1, 16), "at most 14 retries, got 15"),
        ((0, 5), "seconds after the first attempt from 1 to 259140"),
        ((5, 259_141), "seconds after the first attempt from 1 to 259140"),
        ((5, 5), "each retry later than the one before"),
        ((9, 5), "each retry later than the one before"),
    ],
)
def test_what_is_no_table_is_refused(offsets_s: Sequence[int], expected: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match=expected):
        check_offsets(offsets_s)


@pytest.mark.parametrize(("asked_s", "due_s"), [(None, 30), (10, 30), (45, 45), (10**7, 3 * 86_400 - 60)])
def test_a_receiver_may_put_the_next_attempt_off(asked_s: int | None, due_s: int) -> None:
    """Never earlier than the slot, never past the three days."""
    asked = None if asked_s is None else FIRST + timedelta(seconds=asked_s)
    assert next_due_at(FIRST, FIRST, not_before=asked) == FIRST + timedelta(seconds=due_s)


def test_the_examples_run() -> None:
    """The arithmetic in the docstrings is right."""
    ran = doctest.testmod(schedule)
    assert (ran.failed, ran.attempted > 0) == (0, True)
