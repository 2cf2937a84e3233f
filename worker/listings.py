"""What this process knows of its own listings: how many may run, and which ids they looked for in vain, and why.

Only a saving. A process that forgets all of it lists once more than it had to.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from bankfeed.db.inbox import Claimed

AT_ONCE = 2  # one that waits for a slow aggregator leaves room for another
MISS_S = 180.0
UNKNOWN = "unknown at the aggregator"
MOST_MISSES = 10_000

_Miss = tuple[int, int | None, str | None, str]  # a source, within which customer and aggregator's customer, and the id


class Listings:
    """`slots` bounds the listings that run at once; the misses are kept for `MISS_S`, the newest `MOST_MISSES` of them."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.slots = asyncio.Semaphore(AT_ONCE)
        self._clock = clock
        self._missed_at: dict[_Miss, float] = {}
        self._reasons: dict[_Miss, str] = {}

    def miss(self, event: Claimed, refs: frozenset[str], *, reason: str = UNKNOWN) -> None:
        """Remember ids that a complete listing, made for this event, did not find, or found and must not link."""
        for key in _keys(event, refs):
            self._missed_at.pop(key, None)
            self._missed_at[key] = self._clock()
            self._reasons[key] = reason
        while len(self._missed_at) > MOST_MISSES:
            self._forget(next(iter(self._missed_at)))

    def explain(self, event: Claimed, refs: frozenset[str]) -> str:
        """Say, reason by reason, why ids lead nowhere; what is not remembered is unknown."""
        refs_by_reason: dict[str, list[str]] = {}
        for key in _keys(event, refs):
            refs_by_reason.setdefault(self._reasons.get(key, UNKNOWN), []).append(key[-1])
        return "; ".join(f"{reason}: {', '.join(named)}" for reason, named in sorted(refs_by_reason.items()))

    def find(self, refs: frozenset[str]) -> None:
        """Forget that ids were looked for in vain: they are there now."""
        for key in [key for key in self._missed_at if key[-1] in refs]:
            self._forget(key)

    def _forget(self, key: _Miss) -> None:
        del self._missed_at[key]
        del self._reasons[key]

    def is_vain(self, event: Claimed, refs: frozenset[str]) -> bool:
        """Tell whether all of these ids were looked for in vain a moment ago, in the same place."""
        since = self._clock() - MISS_S
        return all(self._missed_at.get(key, since) > since for key in _keys(event, refs))


def _keys(event: Claimed, refs: frozenset[str]) -> list[_Miss]:
    return [(event.feed_source_id, event.source_customer_id, event.customer_ref, ref) for ref in sorted(refs)]
