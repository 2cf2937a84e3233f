"""What happened to a connection, as people read it: linked, broken, asking for an answer, well again, updated, gone. Pure.

The kinds are those of LedgerSync's log of a connection (Added, Broken, Needs MFA, Reconnected), from which the time to repair
is told, and two of ours. When a line is written is decided with the change itself: see bankfeed/db/connection.py.
"""

from enum import StrEnum
from typing import Final

from bankfeed.health import Actor, ConnectionState, Meaning, describe


class HistoryKind(StrEnum):
    """What one line says."""

    ADDED = "added"
    BROKEN = "broken"
    NEEDS_MFA = "needs_mfa"
    RECONNECTED = "reconnected"
    REFRESHED = "refreshed"
    DELETED = "deleted"


BREAKS: Final = frozenset({ConnectionState.NEEDS_PERSON, ConnectionState.UNSUPPORTED})
"""The states in which a connection is broken: it does not come right by itself."""


def find_line(state: ConnectionState, meaning: Meaning) -> HistoryKind | None:
    """Return what the history says of a connection that comes to stand so; None where it says nothing.

    A break that the account holder ends by answering the bank needs MFA, every other one is broken. Active is a repair where
    it was broken before. What is waited out is neither.
    """
    if state is ConnectionState.ACTIVE:
        return HistoryKind.RECONNECTED
    if state not in BREAKS:
        return None
    return HistoryKind.NEEDS_MFA if meaning.actor is Actor.PERSON_CHALLENGE else HistoryKind.BROKEN


def describe_line(kind: HistoryKind, code: int | None) -> str:
    """Return what a line says to people, by the code of its moment."""
    if kind is HistoryKind.ADDED:
        return "The bank account was linked."
    return describe(_STATES[kind], code, is_received=True).words


_STATES: Final = {
    HistoryKind.BROKEN: ConnectionState.UNSUPPORTED,  # with a code its own words, whichever break it is
    HistoryKind.NEEDS_MFA: ConnectionState.NEEDS_PERSON,
    HistoryKind.RECONNECTED: ConnectionState.ACTIVE,
    HistoryKind.REFRESHED: ConnectionState.ACTIVE,
    HistoryKind.DELETED: ConnectionState.CLOSED,
}
