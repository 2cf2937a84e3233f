"""When a delivery is tried again: the documented table of 14 retries, counted from the first attempt. Pure.

The law: retry n is due 30 s x 2^(n-1) after the first attempt, whatever happened in between. So nothing is kept but
`first_attempt_at`, and every answer below follows from it and one moment. Disabling, jitter and throttling are not
decided here.

Which moment to pass: the one at which the attempt *began* (its claim), not the one at which it ended. An attempt may
last longer than the way to the next slot; a slot that comes due while it runs is then tried right after it, where the
end as the moment would skip that slot.
"""

from datetime import datetime, timedelta
from typing import Final

RETRIES: Final = 14
FIRST_RETRY_S: Final = 30
LIMIT: Final = timedelta(days=3)


def retry_due_at(first_attempt_at: datetime, n: int) -> datetime:
    """Return when retry `n` (1 to 14) of a delivery is due.

    Raises ValueError for any other n: a fifteenth retry would pass the three days.

    >>> from datetime import UTC, datetime
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> [str(retry_due_at(first, n) - first) for n in (1, 2, 3, 14)]
    ['0:00:30', '0:01:00', '0:02:00', '2 days, 20:16:00']
    """
    if not 1 <= n <= RETRIES:
        raise ValueError(f"expected a retry from 1 to {RETRIES}, got {n}")
    return first_attempt_at + timedelta(seconds=FIRST_RETRY_S * 2 ** (n - 1))


def retry_number(first_attempt_at: datetime, at: datetime) -> int:
    """Return the number of the latest slot that is due at `at`; 0 before the first retry, 14 from the last one on.

    An attempt that begins at `at` is this retry; the slots before it that were not tried are used up.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> [retry_number(first, first + timedelta(seconds=s)) for s in (0, 29, 30, 59, 60, 245_760)]
    [0, 0, 1, 1, 2, 14]
    """
    return sum(retry_due_at(first_attempt_at, n) <= at for n in range(1, RETRIES + 1))


def next_due_at(first_attempt_at: datetime, began_at: datetime) -> datetime | None:
    """Return when to try again after a failed attempt that began at `began_at`; None when it was the last.

    The first attempt began at `first_attempt_at`. The answer lies after `began_at`, and may lie in the past of whoever
    records an attempt that took long: then the next attempt is due at once.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> str(next_due_at(first, first + timedelta(seconds=30.2)) - first)  # retry 1, begun a little late
    '0:01:00'
    >>> str(next_due_at(first, first + timedelta(hours=5)) - first)  # after an outage: slots 1 to 9 are used up
    '8:32:00'
    >>> next_due_at(first, first + timedelta(days=2, hours=21)) is None
    True
    """
    done = retry_number(first_attempt_at, began_at)
    return None if done == RETRIES else retry_due_at(first_attempt_at, done + 1)


def is_over(first_attempt_at: datetime, now: datetime) -> bool:
    """Tell whether the three days are over, so that a waiting delivery is failed without another attempt.

    A delivery whose last slot passed while no worker was there is still tried once until then.

    >>> from datetime import UTC, datetime, timedelta
    >>> first = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    >>> is_over(first, first + timedelta(days=3)), is_over(first, first + timedelta(days=3, seconds=1))
    (False, True)
    """
    return now - first_attempt_at > LIMIT
