"""How long work waits after a failure that asking again may cure. Pure."""

FIRST_S = 15
LONGEST_S = 3600


def delay_s(failures: int) -> int:
    """Return the seconds to wait after `failures` failures in a row (1 and up): doubling, at most an hour.

    >>> [delay_s(n) for n in (1, 2, 3, 8, 9, 400)]
    [15, 30, 60, 1920, 3600, 3600]
    """
    return min(FIRST_S << min(failures - 1, 10), LONGEST_S)
