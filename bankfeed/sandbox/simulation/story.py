"""A movement's history in words, for whoever looks at what went wrong. Pure."""

from collections.abc import Iterator
from datetime import datetime

from bankfeed.model import TransactionState, Values
from bankfeed.sandbox.simulation.feeds import Ids, draw_feed
from bankfeed.sandbox.simulation.history import Recipe, Told, tell_history


def describe(state: TransactionState, values: Values) -> str:
    """Describe a row in one line."""
    check = f" check {values.check_number}" if values.check_number else ""
    return f"{state} {values.amount} on {values.transacted_on:%m-%d} {values.description!r}{check}"


def tell_time(at: datetime) -> str:
    """Tell when a pull was, by day and hour."""
    return f"{at:%m-%d %H}h"


def tell_movement(seed: int, number: int, recipe: Recipe, movement: str) -> Iterator[str]:
    """Tell how a movement was reported, a line for each pull that tells it otherwise than the one before."""
    yield f"movement {movement}:"
    has_lasting_ids = draw_feed(seed, number, recipe.habits).ids is not Ids.POSITIONAL
    before: list[str] = []
    for told in tell_history(seed, number, recipe):
        now = list(_reported(told, movement, has_lasting_ids=has_lasting_ids))
        if not now and (not before or _is_silent(told, movement)):
            continue
        if now != before:
            yield from (
                f"  {tell_time(told.pull.at)} {told.pull.kind} {line}" for line in now or ["lists it no longer"]
            )
        before = now


def _reported(told: Told, movement: str, *, has_lasting_ids: bool) -> Iterator[str]:
    for row, mine in zip(told.pull.rows, told.movements, strict=True):
        if mine == movement:
            named = f" posting of {row.pending_id}" if row.pending_id else ""
            shown_id = f" id {row.aggregator_id}" if has_lasting_ids else ""
            yield f"{describe(row.state, row.values)}{shown_id}{named}"


def _is_silent(told: Told, movement: str) -> bool:
    """Tell whether a pull says nothing of a movement because it reaches no further back, or because nothing is new."""
    bought_on = movement.split("/")[3]
    return bought_on < told.complete_from_on.isoformat() or any(row.movement == movement for row in told.listed)
