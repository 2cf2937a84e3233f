"""Hand-made movements: rows that a test puts on an account, and what it then lets the bank do to them. Pure.

Each act ends the row that is listed and begins the next one, at an instant later than every earlier act. The ids kept
here belong to the account at the bank; each link of it shows ids of its own, as with all other rows.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from bankfeed.sandbox.lives import Life, Sighting, Status, id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a row; None leaves a value as it was. `has_new_id` lists it under another id from now on."""

    status: Status | None = None
    amount: Decimal | None = None
    description: str | None = None
    dated_at: datetime | None = None
    has_new_id: bool = False


def made_life(movement: str, row: Sighting) -> Life:
    """Return a movement that begins with a row."""
    return Life(movement=movement, sightings=(row,))


def changed(life: Life, change: Change, *, at: datetime) -> Life:
    """List the movement otherwise from an instant on; a withdrawn one is listed again.

    Example: posting a pending row is `Change(status=Status.ACTIVE)`.
    """
    last = life.sightings[-1]
    status = change.status or last.status
    following = replace(
        last,
        id=id_of(last.id, at) if change.has_new_id else last.id,
        status=status,
        amount=last.amount if change.amount is None else change.amount,
        description=change.description or last.description,
        dated_at=change.dated_at or last.dated_at,
        posted_at=last.posted_at or (None if status is Status.PENDING else at),
        starts_at=at,
        ends_at=None,
    )
    return replace(life, sightings=(*withdrawn(life, at=at).sightings, following))


def withdrawn(life: Life, *, at: datetime) -> Life:
    """Stop listing the movement from an instant on. Safe to repeat."""
    last = life.sightings[-1]
    ended = replace(last, ends_at=at) if last.ends_at is None else last
    return replace(life, sightings=(*life.sightings[:-1], ended))


def as_linked(life: Life, account_id: int) -> Life:
    """Return the movement with the row ids that a linked account shows."""
    return replace(life, sightings=tuple(replace(s, id=id_of(account_id, s.id)) for s in life.sightings))


def has_id(life: Life, row_id: int) -> bool:
    """Tell whether the movement was ever listed under an id."""
    return any(sighting.id == row_id for sighting in life.sightings)
