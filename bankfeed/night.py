"""When a connection is updated although no event came: in the night of its institution, each at a moment of its own. Pure.

A moment follows from the connection's id, so that it is the same every night and the moments of all are spread evenly,
and from the day, which moves all of them by some minutes. Days and hours are those of the institution's clock, which may jump.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from hashlib import sha256
from typing import Final

LEAST_GAP: Final = timedelta(hours=6)
"""What lies between a refresh and the next by schedule, at least; a quarter of the hours allowed where that is less."""

_ONE: Final = 1 << 64
_GOLDEN: Final = 0x9E3779B97F4A7C15  # of _ONE, the golden section: its multiples lie evenly, however many there are
_JITTER_SHARE: Final = 60  # one part in so many of a night
_HOURS: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Night:
    """Hours of the wall clock, the first included. A night that ends before it begins ends on the next day."""

    begins: time
    ends: time

    def on(self, day: date, zone: tzinfo) -> tuple[datetime, datetime]:
        """Return when the night that begins on a day begins and ends, in UTC.

        >>> from zoneinfo import ZoneInfo
        >>> begins_at, ends_at = read_night("01:00-06:00").on(date(2026, 11, 1), ZoneInfo("America/Denver"))
        >>> str(begins_at), str(ends_at - begins_at)  # clocks go back
        ('2026-11-01 07:00:00+00:00', '6:00:00')
        """
        last = day if self.begins < self.ends else day + timedelta(days=1)
        begins_at = datetime.combine(day, self.begins, tzinfo=zone).astimezone(UTC)
        return begins_at, max(begins_at, datetime.combine(last, self.ends, tzinfo=zone).astimezone(UTC))


def read_night(text: str) -> Night:
    """Read hours as they are written in the settings. Raises ValueError that says what was expected.

    >>> read_night("22:30-04:00")
    Night(begins=datetime.time(22, 30), ends=datetime.time(4, 0))
    """
    found = _HOURS.fullmatch(text.strip())
    if found is None or found.group(1, 2) == found.group(3, 4):
        raise ValueError("hours like 01:00-06:00")
    begins_hour, begins_minute, ends_hour, ends_minute = map(int, found.groups())
    return Night(time(begins_hour, begins_minute), time(ends_hour, ends_minute))


def find_next_update(
    connection_id: int, *, refreshed_at: datetime, update_hours: int, night: Night, zone: tzinfo
) -> datetime:
    """Return when a connection that was refreshed at `refreshed_at` is updated again, in UTC.

    That is its moment of the last night that begins within `update_hours`; where all its moments are too near or too far,
    the moment of a night that is nearest; and where there is no night, as there need not be within less than a day, the
    end of the hours. Never later than `update_hours`, and never nearer than LEAST_GAP.

    >>> ask = dict(update_hours=30, night=read_night("01:00-06:00"), zone=UTC)
    >>> str(find_next_update(7, refreshed_at=datetime(2026, 11, 20, 14, tzinfo=UTC), **ask))
    '2026-11-21 02:40:25.727586+00:00'
    """
    hours = timedelta(hours=update_hours)
    earliest, latest = refreshed_at + min(LEAST_GAP, hours / 4), refreshed_at + hours
    first, last = (at.astimezone(zone).date() for at in (earliest, latest))
    days = [last - timedelta(days=back) for back in range((last - first).days + 2)]
    moments = [(_find_moment(connection_id, day, night, zone), *night.on(day, zone)) for day in days]
    for moment, _, _ in moments:
        if earliest <= moment <= latest:
            return moment
    for moment, begins_at, ends_at in moments:
        nearest = min(max(moment, earliest), latest)
        if begins_at <= nearest <= ends_at:
            return nearest
    return latest.astimezone(UTC)


def _find_moment(connection_id: int, day: date, night: Night, zone: tzinfo) -> datetime:
    begins_at, ends_at = night.on(day, zone)
    return begins_at + (ends_at - begins_at) * (_find_place(connection_id, day) / _ONE)


def _find_place(connection_id: int, day: date) -> int:
    """Return a connection's place in a night, of _ONE. The jitter moves all alike, so that they stay spread evenly."""
    drawn = int.from_bytes(sha256(day.isoformat().encode()).digest()[:8])
    return (connection_id * _GOLDEN + drawn // _JITTER_SHARE) % _ONE
