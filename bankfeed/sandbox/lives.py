"""A movement's life at the bank: every row that ever stands for it, each with the time it is listed. Pure.

A life is drawn once. What the bank lists at an instant is then only a question of which sightings span it.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import blake2b
from random import Random

# Between ten and thirteen digits, like the aggregator's own; far below what a JSON reader holds exactly (2**53).
FIRST_ID = 10_000_000_000
ID_SPAN = 8_000_000_000_000


class Status(StrEnum):
    """The status of a listed row, in the aggregator's words."""

    PENDING = "pending"
    ACTIVE = "active"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One row as the bank lists it from `starts_at` until just before `ends_at` (None: for good).

    `amount` is positive into the account, whatever sign the wire shows. `dated_at` is the row's transaction date.
    """

    id: int
    status: Status
    amount: Decimal
    dated_at: datetime
    description: str
    starts_at: datetime
    ends_at: datetime | None = None
    posted_at: datetime | None = None
    memo: str = ""
    kind: str = "debit"
    payee: str = ""
    category: str = "Uncategorized"
    check_number: str = ""

    def spans(self, at: datetime) -> bool:
        """Tell whether the bank lists this row at an instant."""
        return self.starts_at <= at and (self.ends_at is None or at < self.ends_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One true movement of money, and the rows it shows as. `movement` is its identity, which the wire never shows."""

    movement: str
    sightings: tuple[Sighting, ...]

    def final_amount(self) -> Decimal:
        """Return what the movement adds to the balance once nothing more happens to it."""
        return sum((s.amount for s in self.sightings if s.ends_at is None and s.status is Status.ACTIVE), Decimal())


def draw(*parts: object) -> Random:
    """Return the generator of one draw: the same parts give the same numbers on every machine."""
    return Random("|".join(map(str, parts)))  # noqa: S311  a simulation, nothing secret


def id_of(*parts: object) -> int:
    """Return the row id that belongs to these parts, of eleven to thirteen digits."""
    digest = blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return FIRST_ID + int.from_bytes(digest, "big") % ID_SPAN


def renamed(life: Life, *, at: datetime) -> Life:
    """Return the life with new row ids from an instant on, for the rows that are listed across it."""
    return replace(life, sightings=tuple(part for sighting in life.sightings for part in _cut(sighting, at)))


def _cut(sighting: Sighting, at: datetime) -> tuple[Sighting, ...]:
    if not sighting.spans(at) or sighting.starts_at == at:
        return (sighting,)
    return (
        replace(sighting, ends_at=at),
        replace(sighting, starts_at=at, id=id_of(sighting.id, "renamed")),
    )
