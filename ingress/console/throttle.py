"""How often somebody may try to sign in. Each replica counts for itself, in bounded memory."""

from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil
from time import monotonic

MOST_TRIES = 10
WINDOW_S = 300
MOST_NAMES = 10_000


class Throttle:
    """Counts tries by name (an e-mail address, a remote address) over the last minutes."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, *names: str) -> int:
        """Note a try under each name and return 0; or note nothing and return the seconds to wait.

        A try counts from its beginning, so that many at the same moment are no way around.
        """
        wait_s = max(self._wait_s(name) for name in names)
        if wait_s > 0:
            return ceil(wait_s)
        for name in names:
            self._tries.setdefault(name, deque(maxlen=MOST_TRIES)).append(self._clock())
            self._tries.move_to_end(name)
        while len(self._tries) > MOST_NAMES:
            self._tries.popitem(last=False)
        return 0

    def give_back(self, *names: str) -> None:
        """Take back the newest try under each name: it was no failure."""
        for name in names:
            tries = self._tries.get(name)
            if tries:
                tries.pop()
            if not tries:
                self._tries.pop(name, None)

    def _wait_s(self, name: str) -> float:
        tries = self._tries.get(name)
        return tries[0] + WINDOW_S - self._clock() if tries and len(tries) == MOST_TRIES else 0
