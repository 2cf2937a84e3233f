"""Times as people type them. Pure: whoever asks says what time it is."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO: Final = re.compile(r"([0-9]{1,5})\s?([mhdw])(\s?ago)?", re.ASCII)
_ON: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def read_time(text: str, *, now: datetime) -> datetime:
    """Read a day, a time with its zone, or how long ago; a day begins at midnight UTC.

    >>> now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    >>> [str(read_time(text, now=now)) for text in ("2026-11-01", "2026-11-01T06:00+01:00", "36h", "3d ago")]
    ['2026-11-01 00:00:00+00:00', '2026-11-01 05:00:00+00:00', '2026-11-20 00:00:00+00:00', '2026-11-18 12:00:00+00:00']

    Raises ValueError that says what was expected.
    """
    at = _find_time(text.strip(), now)
    if at is None or at.tzinfo is None:
        raise ValueError(f"expected a time like 2026-11-01, 2026-11-01T06:00Z, 3d or 12h, got {text!r}")
    return at.astimezone(UTC)


def _find_time(words: str, now: datetime) -> datetime | None:
    try:
        if ago := _AGO.fullmatch(words):
            return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(f"{words}T00:00Z" if _ON.fullmatch(words) else words)
    except (ValueError, OverflowError):
        return None
