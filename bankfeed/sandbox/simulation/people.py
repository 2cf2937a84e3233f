"""A person who books rows to ledger entries, now and then, some while they are pending. Pure: drawn from the seed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bankfeed.model import Known, TransactionId, TransactionState
from bankfeed.sandbox.lives import draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Diligence:
    """How a person books: `books` is per movement, `while_pending` per booked movement that shows as pending.

    `books_history` is per movement that the first pull lists as posted. A row waits up to `most_pulls` pulls before it is
    booked, a pending one up to one.
    """

    books: float = 0.28
    books_history: float = 0.1
    while_pending: float = 0.9
    most_pulls: int = 6


DILIGENT = Diligence()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person is going to do with a movement: book it as pending or later, after some pulls; or nothing."""

    is_booked: bool
    is_while_pending: bool
    pulls: int


NOTHING = Wish(is_booked=False, is_while_pending=False, pulls=0)


@dataclass(slots=True, kw_only=True)
class Person:
    """The bookkeeper of one account; remembers what was booked, and what waits since how many pulls."""

    seed: int
    diligence: Diligence
    has_begun: bool = False
    _wishes: dict[str, Wish] = field(default_factory=dict)
    _seen: dict[tuple[str, TransactionState], int] = field(default_factory=dict)

    def choose(self, visible: Iterable[tuple[TransactionId, Known, str]]) -> list[tuple[TransactionId, str]]:
        """Return the rows to book after a pull, each with its movement; a movement is booked once."""
        chosen = []
        for row_id, row, movement in visible:
            if self._is_due(row.state, movement):
                self._wishes[movement] = NOTHING
                chosen.append((row_id, movement))
        self.has_begun = True
        return chosen

    def _is_due(self, state: TransactionState, movement: str) -> bool:
        is_pending = state is TransactionState.PENDING
        wish = self._wishes.get(movement) or self._wish(movement, is_history=not (self.has_begun or is_pending))
        if not wish.is_booked or (is_pending and not wish.is_while_pending):
            return False
        seen = self._seen[movement, state] = self._seen.get((movement, state), -1) + 1
        return seen >= (min(wish.pulls, 1) if is_pending else wish.pulls)

    def _wish(self, movement: str, *, is_history: bool) -> Wish:
        rng = draw(self.seed, movement, "person")
        share = self.diligence.books_history if is_history else self.diligence.books
        wish = self._wishes[movement] = Wish(
            is_booked=rng.random() < share,
            is_while_pending=rng.random() < self.diligence.while_pending,
            pulls=rng.randint(0, self.diligence.most_pulls),
        )
        return wish
