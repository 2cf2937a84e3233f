"""Things kept in memory for a short while under a name that nobody guesses: questions asked, accounts offered, consents.

Bounded in number, for all and for each customer: the oldest makes room. A restart forgets everything.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

LIFE_S = 600.0
MOST = 1000
MOST_OF_A_CUSTOMER = 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Generic[T]):
    """One thing, whose it is, and when it ends on the shelf's own clock."""

    customer_id: int
    thing: T
    ends_s: float


@dataclass(slots=True, kw_only=True)
class Shelf(Generic[T]):
    """What is kept, oldest first. `now_s` reads seconds of a clock that never goes back."""

    now_s: Callable[[], float] = time.monotonic
    _kept: dict[str, Kept[T]] = field(default_factory=dict, repr=False)

    def put(self, customer_id: int, thing: T) -> str:
        """Keep a thing; return the name to ask for it by."""
        self._make_room(customer_id)
        name = secrets.token_urlsafe(32)
        self._kept[name] = Kept(customer_id=customer_id, thing=thing, ends_s=self.now_s() + LIFE_S)
        return name

    def find(self, name: str) -> T | None:
        """Return a thing and keep it; None where there is none, or not any more."""
        kept = self._kept.get(name)
        return None if kept is None or kept.ends_s <= self.now_s() else kept.thing

    def replace(self, name: str, thing: T) -> None:
        """Keep another thing in the place of one that is there, for as long as that one."""
        kept = self._kept[name]
        self._kept[name] = Kept(customer_id=kept.customer_id, thing=thing, ends_s=kept.ends_s)

    def first(self, customer_id: int, is_wanted: Callable[[T], bool]) -> str | None:
        """Return the name of a customer's oldest thing that is wanted; None without one."""
        names = (name for name, kept in self._kept.items() if kept.customer_id == customer_id)
        return next((name for name in names if (it := self.find(name)) is not None and is_wanted(it)), None)

    def names(self) -> tuple[str, ...]:
        """List the names of all things, oldest first."""
        return tuple(self._kept)

    def take(self, name: str) -> None:
        """Forget a thing. Safe to repeat."""
        self._kept.pop(name, None)

    def empty(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _make_room(self, customer_id: int) -> None:
        now_s = self.now_s()
        self._kept = {name: kept for name, kept in self._kept.items() if kept.ends_s > now_s}
        theirs = [name for name, kept in self._kept.items() if kept.customer_id == customer_id]
        for name in theirs[: len(theirs) - MOST_OF_A_CUSTOMER + 1] if len(theirs) >= MOST_OF_A_CUSTOMER else ():
            self.take(name)
        while len(self._kept) >= MOST:
            self.take(next(iter(self._kept)))
