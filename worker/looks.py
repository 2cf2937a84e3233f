"""What this process knows of its own looks at single institutions: when it last looked each one up.

Only a saving. A process that forgets all of it looks once more than it had to.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

REST_S: Final = 600.0
MOST_LOOKS: Final = 10_000


class Looks:
    """The newest MOST_LOOKS are kept. `clock` counts seconds."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._looked_at: dict[int, float] = {}

    def begin(self, institution_id: int) -> bool:
        """Note that an institution is looked up now; False where it was less than REST_S ago, whatever came of that."""
        now = self._clock()
        if now - self._looked_at.get(institution_id, now - REST_S) < REST_S:
            return False
        self._looked_at.pop(institution_id, None)
        self._looked_at[institution_id] = now
        if len(self._looked_at) > MOST_LOOKS:
            del self._looked_at[next(iter(self._looked_at))]
        return True
