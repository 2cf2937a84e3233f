"""The bank's own clock: real, fast or moved by hand. It never goes back, and no two acts fall on one instant."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


class Pace(StrEnum):
    """How bank time passes: second by second, a bank day every few seconds, or only when told to."""

    REAL = "real"
    FAST = "fast"
    MANUAL = "manual"


@dataclass(slots=True, kw_only=True)
class Clock:
    """Bank time: `bank_at` was the time when the monotonic clock stood at `read_s`; since then it runs at `rate`."""

    rate: float
    bank_at: datetime
    read_s: float
    ticked_at: datetime

    def now(self) -> datetime:
        """Return bank time, in whole seconds."""
        passed_s = (time.monotonic() - self.read_s) * self.rate
        return (self.bank_at + timedelta(seconds=passed_s)).replace(microsecond=0)

    def tick(self) -> datetime:
        """Return an instant for an act: bank time, but at least a second after the act before it."""
        at = max(self.now(), self.ticked_at + SECOND)
        self.move_to(at)
        self.ticked_at = at
        return at

    def move_to(self, at: datetime) -> None:
        """Go forward to an instant; one that has passed changes nothing."""
        if at > self.now():
            self.bank_at, self.read_s = at, time.monotonic()

    def wait_s(self, until: datetime) -> float | None:
        """Return how many real seconds it takes until a bank instant; None where time stands still."""
        if not self.rate:
            return None
        return max(0.0, (until - self.now()).total_seconds() / self.rate)


def start_clock(pace: Pace, *, day_s: float, start_at: datetime | None, kept_at: datetime | None) -> Clock:
    """Start the clock where the last run left it.

    Args:
        pace: How time passes.
        day_s: Real seconds of a bank day at the fast pace.
        start_at: Bank time at the very first start; None for the real time.
        kept_at: Bank time when the last run wrote it down; None at the very first start. Fast and manual time go on
            from there. Real time takes the real time, unless it was past that already.
    """
    real_at = datetime.now(UTC).replace(microsecond=0)
    first_at = kept_at or start_at or real_at
    if pace is Pace.REAL and start_at is None:
        first_at = max(first_at, real_at)
    rate = {Pace.REAL: 1.0, Pace.FAST: DAY.total_seconds() / day_s, Pace.MANUAL: 0.0}[pace]
    return Clock(rate=rate, bank_at=first_at, read_s=time.monotonic(), ticked_at=kept_at or first_at - SECOND)


def utc(text: str) -> datetime:
    """Read an instant such as 2026-03-01T06:00:00Z, in whole seconds.

    Raises:
        ValueError: it is none, or it has no zone.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"expected an instant with a zone, such as 2026-03-01T06:00:00Z, got {text!r}")
    return at.astimezone(UTC).replace(microsecond=0)
