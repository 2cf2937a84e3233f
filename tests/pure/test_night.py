"""When a connection is updated by schedule: at night where its bank is, each at its own moment."""

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankfeed.night import LEAST_GAP, Night, find_next_update, read_night

NIGHT = read_night("01:00-06:00")
DENVER = ZoneInfo("America/Denver")
ZONES = ("UTC", "America/Denver", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
HOUR = timedelta(hours=1)


def ask(connection_id: int, refreshed_at: datetime, *, update_hours: int = 30, zone: ZoneInfo = DENVER) -> datetime:
    return find_next_update(connection_id, refreshed_at=refreshed_at, update_hours=update_hours, night=NIGHT, zone=zone)


def is_night(at: datetime, zone: ZoneInfo) -> bool:
    return any(
        begins_at <= at <= ends_at
        for back in (0, 1)
        for begins_at, ends_at in [NIGHT.on(at.astimezone(zone).date() - timedelta(days=back), zone)]
    )


@given(
    connection_id=st.integers(1, 2**62),
    refreshed_at=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    update_hours=st.integers(1, 168),
    zone=st.sampled_from(ZONES),
)
def test_an_update_is_neither_too_near_nor_too_late(
    connection_id: int, refreshed_at: datetime, update_hours: int, zone: str
) -> None:
    """Never nearer than the least gap and never later than the hours, wherever the clocks jump; at night if there is one."""
    hours = timedelta(hours=update_hours)
    at = ask(connection_id, refreshed_at, update_hours=update_hours, zone=ZoneInfo(zone))
    assert refreshed_at + min(LEAST_GAP, hours / 4) <= at <= refreshed_at + hours
    assert UTC == at.tzinfo
    if update_hours >= 30:  # a night lies within them whole, whatever the hour
        assert is_night(at, ZoneInfo(zone))


def test_each_has_a_moment_that_moves_by_minutes_only() -> None:
    """Night after night a connection is updated at the same moment, give or take the jitter of some minutes."""
    at = ask(2, datetime(2026, 6, 1, 18, tzinfo=UTC))
    for _ in range(60):
        following = ask(2, at)
        assert abs(following - at - 24 * HOUR) < timedelta(minutes=6)
        at = following
    assert len({at.minute for at in [ask(2, datetime(2026, 6, day, 18, tzinfo=UTC)) for day in range(1, 20)]}) > 3


@pytest.mark.parametrize("step", [1, 7, 200])
def test_the_moments_of_all_are_spread_evenly(step: int) -> None:
    """Ten thousand connections, whichever ids they have, fill every minute of the night nearly alike."""
    refreshed_at = datetime(2026, 11, 20, 18, tzinfo=UTC)
    minutes = Counter(ask(number * step, refreshed_at).replace(second=0, microsecond=0) for number in range(1, 10_001))
    assert 300 == len(minutes)
    assert max(minutes.values()) < 1.5 * 10_000 / 300


def test_one_that_was_refreshed_by_day_waits_for_the_night() -> None:
    """An event at noon puts the update off to the next night; one in the night, before its moment, to the night after."""
    noon = datetime(2026, 11, 20, 19, tzinfo=UTC)
    assert 13 * HOUR <= ask(3, noon) - noon <= 18 * HOUR
    in_the_night = datetime(2026, 11, 21, 8, 1, tzinfo=UTC)
    assert 20 * HOUR <= ask(3, in_the_night) - in_the_night <= 30 * HOUR


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 4), (date(2026, 11, 1), 6), (date(2026, 6, 1), 5)])
def test_a_night_is_as_long_as_the_clock_makes_it(day: date, hours: int) -> None:
    """Where clocks jump in the night it is an hour shorter or longer, and every moment is within it."""
    begins_at, ends_at = NIGHT.on(day, DENVER)
    assert hours * HOUR == ends_at - begins_at
    evening = begins_at - 7 * HOUR
    moments = sorted(ask(number, evening, update_hours=30) for number in range(1, 2_000))
    assert begins_at <= moments[0]
    assert moments[-1] <= ends_at
    assert max(later - earlier for earlier, later in pairwise(moments)) < timedelta(minutes=1)


def test_fewer_hours_than_a_day_go_before_the_night() -> None:
    """Who wants an update every six hours has it, by day as well."""
    refreshed_at = datetime(2026, 11, 20, 18, tzinfo=UTC)
    assert refreshed_at + 6 * HOUR == ask(1, refreshed_at, update_hours=6)


def test_more_hours_are_used() -> None:
    """A week's hours are a night at the end of the week, not the first one."""
    refreshed_at = datetime(2026, 11, 20, 18, tzinfo=UTC)
    assert ask(1, refreshed_at, update_hours=168) - refreshed_at > timedelta(days=6)


def test_a_night_may_begin_before_midnight() -> None:
    """It ends on the next day then; hours that a jump of the clocks leaves out are no night of negative length."""
    begins_at, ends_at = read_night("22:30-04:00").on(date(2026, 6, 1), DENVER)
    assert ("2026-06-02 04:30", 5.5 * HOUR) == (f"{begins_at:%Y-%m-%d %H:%M}", ends_at - begins_at)
    left_out = Night(time(2, 30), time(3)).on(date(2026, 3, 8), DENVER)
    assert left_out[0] == left_out[1]


@pytest.mark.parametrize("text", ["", "1-6", "01:00", "01:00-01:00", "24:00-06:00", "01:60-06:00", "01:00-06:00:00"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    """The sentence says what was expected."""
    with pytest.raises(ValueError, match="hours like 01:00-06:00"):
        read_night(text)
