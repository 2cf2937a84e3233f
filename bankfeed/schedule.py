"""When a delivery is tried again: by default the documented table of 14 retries, counted from the first attempt. Pure.

The law: retry n is due 30 s x 2^(n-1) after the first attempt, whatever happened in between. So nothing is kept but
`first_attempt_at`, and every answer below follows from it and one moment. An endpoint may have a table of its own, or ask
for a jitter; breaker, pause and disabling are not decided here.

Which moment to pass: the one at which the attempt *began* (its claim), not the one at which it ended. An attempt may
last longer than the way to the next slot; a slot that comes due while it runs is then tried right after it, where the
end as the moment would skip that slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import pairwise
from typing import Final

RETRIES: Final = 14
FIRST_RETRY_S: Final = 30
LIMIT: Final = timedelta(days=3)
MARGIN: Final = timedelta(minutes=1)  # before the limit: nothing that is due may come too late for its attempt
MAX_JITTER_PERCENT: Final = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """A table of retries: the seconds after the first attempt at which each is due, increasing.

    With a jitter each slot comes later by up to that part of the way to the next one (the last: of the way to it), so that
    none passes another; the same for a delivery each time it is asked: `key` is the delivery's id.
    """

    offsets_s: tuple[int, ...]
    jitter_percent: int = 0
    key: int = 0

    @property
    def retries(self) -> int:
        """How many there are."""
        return len(self.offsets_s)

    def due_at(self, first_attempt_at: datetime, n: int) -> datetime:
        """Return when retry `n`, from 1, is due. Raises ValueError for one that the table does not have."""
        if not 1 <= n <= self.retries:
            raise ValueError(f"expected a retry from 1 to {self.retries}, got {n}")
        offset = timedelta(seconds=self.offsets_s[n - 1])
        if not self.jitter_percent:
            return first_attempt_at + offset
        after, before = (n, n - 1) if n < self.retries else (n - 1, n - 2)
        gap_s = self.offsets_s[after] - (self.offsets_s[before] if before >= 0 else 0)
        drawn = int.from_bytes(blake2b(f"{self.key} {n}".encode(), digest_size=4).digest()) / 2**32
        late = timedelta(seconds=gap_s * self.jitter_percent / 100 * drawn)
        return first_attempt_at + min(offset + late, max(offset, LIMIT - MARGIN))

    def last_due_at(self, first_attempt_at: datetime) -> datetime:
        """Return when the last slot is due; the first attempt's time where there is no other."""
        return self.due_at(first_attempt_at, self.retries) if self.retries else first_attempt_at


DOCUMENTED: Final = Schedule(tuple(FIRST_RETRY_S * 2**n for n in range(RETRIES)))


def check_offsets(offsets_s: Sequence[int]) -> None:
    """See that a table of its own is one: at most 14 retries, increasing, within three days.

    Raises ValueError that says what was expected.
    """
    last = int((LIMIT - MARGIN).total_seconds())
    if len(offsets_s) > RETRIES:
        raise ValueError(f"at most {RETRIES} retries, got {len(offsets_s)}")
    if any(not 1 <= offset <= last for offset in offsets_s):
        raise ValueError(f"seconds after the first attempt from 1 to {last}")
    if any(later <= earlier for earlier, later in pairwise(offsets_s)):
        raise ValueError("each retry later than the one before")


def retry_due_at(first_attempt_at: datetime, n: int, schedule: Schedule = DOCUMENTED) -> datetime:
    """Return when retry `n` (1 to 14) of a delivery is due.

    Raises ValueError for any other n: a fifteenth retry would pass the three days.

    >>> from datetime import UTC, datetime
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> [str(retry_due_at(first, n) - first) for n in (1, 2, 3, 14)]
    ['0:00:30', '0:01:00', '0:02:00', '2 days, 20:16:00']
    """
    return schedule.due_at(first_attempt_at, n)


def retry_number(first_attempt_at: datetime, at: datetime, schedule: Schedule = DOCUMENTED) -> int:
    """Return the number of the latest slot that is due at `at`; 0 before the first retry, 14 from the last one on.

    An attempt that begins at `at` is this retry; the slots before it that were not tried are used up.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> [retry_number(first, first + timedelta(seconds=s)) for s in (0, 29, 30, 59, 60, 245_760)]
    [0, 0, 1, 1, 2, 14]
    """
    return sum(schedule.due_at(first_attempt_at, n) <= at for n in range(1, schedule.retries + 1))


def next_due_at(
    first_attempt_at: datetime,
    began_at: datetime,
    schedule: Schedule = DOCUMENTED,
    *,
    not_before: datetime | None = None,
) -> datetime | None:
    """Return when to try again after a failed attempt that began at `began_at`; None when it was the last.

    The first attempt began at `first_attempt_at`. The answer lies after `began_at`, and may lie in the past of whoever
    records an attempt that took long: then the next attempt is due at once. `not_before` is what the receiver asked for
    (Retry-After): it makes the answer later, never past the three days.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> str(next_due_at(first, first + timedelta(seconds=30.2)) - first)  # retry 1, begun a little late
    '0:01:00'
    >>> str(next_due_at(first, first + timedelta(hours=5)) - first)  # after an outage: slots 1 to 9 are used up
    '8:32:00'
    >>> next_due_at(first, first + timedelta(days=2, hours=21)) is None
    True
    >>> str(next_due_at(first, first, not_before=first + timedelta(days=30)) - first)
    '2 days, 23:59:00'
    """
    done = retry_number(first_attempt_at, began_at, schedule)
    if done == schedule.retries:
        return None
    slot = schedule.due_at(first_attempt_at, done + 1)
    if not_before is None or not_before <= slot:
        return slot
    return max(slot, min(not_before, first_attempt_at + LIMIT - MARGIN))


def is_over(first_attempt_at: datetime, now: datetime) -> bool:
    """Tell whether the three days are over, so that a waiting delivery is failed without another attempt.

    A delivery whose last slot passed while no worker was there is still tried once until then.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> is_over(first, first + timedelta(days=3)), is_over(first, first + timedelta(days=3, seconds=1))
    (False, True)
    """
    return now - first_attempt_at > LIMIT
