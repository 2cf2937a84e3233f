"""What a status code means for a connection: its state, who has to act, which step of a repair fits. Pure.

The codes of the product's aggregators are Finicity's (`MEANINGS`); `YODLEE` says the same of another catalogue's. A code that
is not listed is waited out, as Finicity advises to route by category. Nothing here decides when to try again.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from bankfeed.health.finicity import MEANINGS, RUNNING
from bankfeed.health.meaning import (
    BEFORE_FIRST,
    ESCALATED,
    GONE,
    RECEIVED,
    UNKNOWN,
    UNSUPPORTED,
    Actor,
    ConnectionState,
    Meaning,
    Standing,
    Step,
)
from bankfeed.health.yodlee import YODLEE

__all__ = [
    "CATALOGUES",
    "ESCALATED_AFTER",
    "MEANINGS",
    "RECEIVED",
    "RUNNING",
    "UNKNOWN",
    "YODLEE",
    "Actor",
    "Catalogue",
    "ConnectionState",
    "Meaning",
    "Standing",
    "Step",
    "describe",
    "list_meanings",
    "read_code",
]

ESCALATED_AFTER: Final = 3
"""Refreshes in a row that ended with a code that nobody explains, until support is asked to look."""


class Catalogue(StrEnum):
    """Whose codes they are: the same number means different things to different aggregators."""

    FINICITY = "finicity"
    YODLEE = "yodlee"


CATALOGUES: Final[Mapping[Catalogue, Mapping[int, Meaning]]] = {
    Catalogue.FINICITY: MEANINGS,
    Catalogue.YODLEE: YODLEE,
}


def read_code(code: int | None, *, repeats: int = 0, catalogue: Catalogue = Catalogue.FINICITY) -> Meaning:
    """Return what a status code means; None is an account before its first aggregation, an unlisted code a delay.

    `repeats` is how many refreshes in a row ended with it: from ESCALATED_AFTER on support looks at an unexplained one.
    """
    if code is None:
        return BEFORE_FIRST
    meaning = CATALOGUES[catalogue].get(code, UNKNOWN)
    return ESCALATED if meaning.is_unexplained and repeats >= ESCALATED_AFTER else meaning


def describe(state: ConnectionState, code: int | None, *, is_received: bool, repeats: int = 0) -> Meaning:
    """Return what to say of a connection: its code's meaning, unless it is closed, refused, or well and its data came.

    `repeats` as for read_code.
    """
    if state is ConnectionState.CLOSED:
        return GONE
    if state is ConnectionState.UNSUPPORTED and code is None:
        return UNSUPPORTED
    return RECEIVED if is_received and not code else read_code(code, repeats=repeats)


def list_meanings(catalogue: Catalogue) -> tuple[tuple[int, Meaning], ...]:
    """List a catalogue by code, as people look codes up: 0 reads as after an update that brought everything."""
    return tuple((code, meaning if code else RECEIVED) for code, meaning in sorted(CATALOGUES[catalogue].items()))
