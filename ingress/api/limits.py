"""How many requests a token may make: a bucket that fills evenly. Each replica counts for itself, in bounded memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Final

MOST_NAMES: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is left after a request. `wait_s` is 0 where it may go on."""

    limit: int
    remaining: int
    wait_s: int

    @property
    def headers(self) -> dict[str, str]:
        """Say it as headers; the reset is when the bucket is full again."""
        full_s = ceil((self.limit - self.remaining) * 60 / self.limit)
        said = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(full_s),
        }
        return said | ({"Retry-After": str(self.wait_s)} if self.wait_s else {})


class Limits:
    """Buckets by name (a token's hash, a remote address), each of `per_minute` requests."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, name: Hashable) -> Allowance:
        """Take one request from a bucket, or say how long to wait where it is empty."""
        left = self._level(name)
        if left < 1:
            wait_s = ceil((1 - left) * 60 / self._limit)
            return Allowance(limit=self._limit, remaining=0, wait_s=wait_s)
        self._buckets[name] = (left - 1, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_NAMES:
            self._buckets.popitem(last=False)
        return Allowance(limit=self._limit, remaining=int(left - 1), wait_s=0)

    def _level(self, name: Hashable) -> float:
        left, at = self._buckets.get(name, (float(self._limit), self._clock()))
        return min(float(self._limit), left + (self._clock() - at) * self._limit / 60)
