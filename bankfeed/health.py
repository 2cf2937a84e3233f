"""What an aggregation status code means for a connection: its state, and who has to act. Pure.

The codes are the catalogue of Finicity (Mastercard Open Finance), which other aggregators resell. Codes are grouped as
its documents group them; a code that is not listed is waited out, as its vendor advises to route by category. Nothing
here decides when to try again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class ConnectionState(StrEnum):
    """How a connection stands."""

    ACTIVE = "active"
    NEEDS_PERSON = "needs_person"
    WAITING = "waiting"
    CLOSED = "closed"
    UNSUPPORTED = "unsupported"


class Actor(StrEnum):
    """Who can change how a connection stands."""

    NOBODY = "nobody"
    PERSON = "person"
    INSTITUTION = "institution"
    AGGREGATOR = "aggregator"
    US = "us"


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection's state, and the code that says so; None where no code came yet."""

    state: str
    status_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one code says.

    `is_retryable` is True where asking again, without a person, can help. `is_fixable` is True where the aggregator's
    repair widget is the documented remedy. `words` is one sentence for the account holder, `todo` what the person can do.
    """

    state: ConnectionState
    actor: Actor
    words: str
    todo: str
    is_retryable: bool = False
    is_fixable: bool = False


def read_code(code: int | None, *, repeats: int = 0) -> Meaning:
    """Return what a status code means; None is an account before its first aggregation, an unlisted code a delay.

    `repeats` is how many refreshes in a row ended with it: from ESCALATED_AFTER on support looks at an unlisted one.
    """
    if code is None:
        return _BEFORE_FIRST
    return MEANINGS.get(code) or (_ESCALATED if repeats >= ESCALATED_AFTER else _UNKNOWN)


def describe(state: ConnectionState, code: int | None, *, is_received: bool, repeats: int = 0) -> Meaning:
    """Return what to say of a connection: its code's meaning, unless it is closed, refused, or well and its data came.

    `repeats` as for read_code.
    """
    if state is ConnectionState.CLOSED:
        return _GONE
    if state is ConnectionState.UNSUPPORTED and code is None:
        return _UNSUPPORTED
    return RECEIVED if is_received and not code else read_code(code, repeats=repeats)


_NOTHING: Final = "Nothing: the next update comes by itself."
_LATER: Final = "Nothing now: it is tried again by itself; if it lasts for days, tell support."
_FIX: Final = "Open the bank account's repair and do there what the bank asks for."
_AT_BANK: Final = "Sign in at the bank's own site, do what it asks for, then refresh the bank account here."
_SUPPORT: Final = "Nothing you can do; tell support if it lasts for days."


def _person(words: str, todo: str = _AT_BANK) -> Meaning:
    return Meaning(state=ConnectionState.NEEDS_PERSON, actor=Actor.PERSON, words=words, todo=todo)


def _fix(words: str, todo: str = _FIX) -> Meaning:
    return Meaning(state=ConnectionState.NEEDS_PERSON, actor=Actor.PERSON, words=words, todo=todo, is_fixable=True)


def _wait(actor: Actor, words: str, todo: str = _LATER) -> Meaning:
    return Meaning(state=ConnectionState.WAITING, actor=actor, words=words, todo=todo, is_retryable=True)


_BEFORE_FIRST: Final = _wait(Actor.AGGREGATOR, "The first update from the bank has not finished yet.", _NOTHING)
_UNKNOWN: Final = _wait(Actor.AGGREGATOR, "The last update did not succeed; it will be tried again.")
_ESCALATED: Final = _wait(
    Actor.US,
    "The bank's service failed several times in a row; support looks into it.",
    "Nothing: your data is kept as it was, and it is tried again every night; tell support what you see at the bank's own site.",
)
ESCALATED_AFTER: Final = 3
"""Refreshes in a row that ended with a code that nobody lists, until support is asked to look."""

_ACTIVE: Final = Meaning(
    state=ConnectionState.ACTIVE,
    actor=Actor.NOBODY,
    words="The account is up to date.",
    todo=_NOTHING,
    is_retryable=True,
)
RECEIVED: Final = replace(_ACTIVE, words="All Data Received")
"""How a connection reads whose last update brought everything: the words that people of this trade know."""

_GONE: Final = Meaning(
    state=ConnectionState.CLOSED,
    actor=Actor.NOBODY,
    words="The bank account is no longer linked; its history is kept.",
    todo="Link the bank again to go on; what was booked stays.",
)
_CLOSED: Final = Meaning(
    state=ConnectionState.CLOSED,
    actor=Actor.NOBODY,
    words="The bank has closed this account; its history is kept.",
    todo="Nothing; delete the account here when its history is no longer needed.",
)
_UNSUPPORTED: Final = Meaning(
    state=ConnectionState.UNSUPPORTED,
    actor=Actor.AGGREGATOR,
    words="This bank or account cannot be connected.",
    todo="Upload the bank's statements instead.",
)
_MIGRATION: Final = Meaning(
    state=ConnectionState.WAITING,
    actor=Actor.US,
    words="Moving to the bank's new sign-in failed; we look into it.",
    todo=_SUPPORT,
)

RUNNING: Final = frozenset({325, 5006})
"""An update is running already at the aggregator: not an error of the account."""

_GROUPS: Final[tuple[tuple[Meaning, tuple[int, ...]], ...]] = (
    (_ACTIVE, (0,)),
    (_wait(Actor.INSTITUTION, "The connection to the bank was interrupted."), (101, 102, 104, 105)),
    (
        _fix(
            "The bank refused the user name or password; enter them again.",
            "Check that they work at the bank's own site, then enter them in the bank account's repair.",
        ),
        (103,),
    ),
    (_person("The bank needs more information; sign in at the bank's own site."), (106, 107)),
    (
        _fix(
            "A message waits at the bank; sign in at the bank's own site and clear it.",
            "Sign in at the bank's own site and clear the message, then open the bank account's repair.",
        ),
        (108,),
    ),
    (
        _fix(
            "The bank wants a new password; set it at the bank, then enter it here.",
            "Set a new password at the bank's own site, then enter it in the bank account's repair.",
        ),
        (109,),
    ),
    (
        _person(
            "This account is connected twice; delete one of the two.",
            "Delete one of the two accounts, then refresh the other one's bank account.",
        ),
        (169,),
    ),
    (_wait(Actor.AGGREGATOR, "The bank's data could not be found; support looks into it.", _SUPPORT), (170,)),
    (
        _wait(Actor.INSTITUTION, "The bank's site has a problem."),
        (171, 179, 194, 197, 204, 307, 417, 500, 525, 11000),
    ),
    (_fix("The bank asks a security question or code; answer it."), (185,)),
    (_fix("The answer to the bank's security question was wrong; answer it again."), (187,)),
    (_wait(Actor.INSTITUTION, "The bank could not be reached."), (320, 580)),
    (
        _person(
            "The account details differ from those at the bank; check them.",
            "Compare the account's details with those at the bank; tell support where they agree.",
        ),
        (324, 403),
    ),
    (
        _wait(Actor.AGGREGATOR, "An update is already running.", "Nothing: wait some minutes until it has ended."),
        tuple(sorted(RUNNING)),
    ),
    (
        _person(
            "The time to answer the bank's question ran out; start again.",
            "Refresh the bank account again and answer the bank's question at once.",
        ),
        (331,),
    ),
    (_wait(Actor.AGGREGATOR, "The connection to this bank is being worked on."), (900, 908, 910, 911, 915, 916)),
    (
        _wait(
            Actor.AGGREGATOR,
            "The connection to this bank is new and still being built.",
            "Refresh the bank account again in two or three days; each try helps to build it.",
        ),
        (901, 902, 903, 904),
    ),
    (_wait(Actor.INSTITUTION, "The bank's site is down or under maintenance."), (905, 906, 907)),
    (
        _person(
            "The account was not found at the bank; check its details.",
            "Check at the bank's own site that the account is there, then refresh the bank account here.",
        ),
        (909, 952, 955),
    ),
    (_CLOSED, (913,)),
    (
        _person(
            "The account is no longer seen with this sign-in; check it at the bank.",
            "If the bank's own site shows the account, tell support; if it does not, delete the account here.",
        ),
        (914,),
    ),
    (_UNSUPPORTED, (920, 921, 922, 923, 924, 925, 926, 927, 928, 929)),
    (
        _person(
            "The bank wants a new code for every update; update it while you are there.",
            "Refresh the bank account by hand and give the code that the bank sends you.",
        ),
        (931,),
    ),
    (
        _person(
            "The bank's site is not set to English; change its language there.",
            "Set the language of the bank's own site to English, then refresh the bank account here.",
        ),
        (936,),
    ),
    (
        _person(
            "The answer to a security question was not enough; answer it again.",
            "Refresh the bank account again and answer the security question in full.",
        ),
        (938, 940, 971),
    ),
    (_fix("The bank has a new sign-in; give your consent again."), (945,)),
    (
        _fix(
            "Access to this account was withdrawn; sign in again and choose it.",
            "Open the bank account's repair and choose the account again, or delete the account here.",
        ),
        (946,),
    ),
    (_fix("The consent at the bank has ended; sign in again."), (947,)),
    (_fix("The bank has a new sign-in; sign in again."), (948,)),
    (
        _person(
            "The account can no longer be reached; add it anew.",
            "Link the bank again and choose the account; what was booked stays.",
        ),
        (949,),
    ),
    (_UNSUPPORTED, (950, 960, 972, 973, 975, 976, 2032)),
    (_person("The bank needs more information; sign in at the bank's own site."), (959, 961, 38053)),
    (_wait(Actor.US, "The bank's limit of requests is reached; we ask again later."), (977, 44000, 44002)),
    (_person("The bank did not accept the sign-in; sign in again.", _FIX), (1008,)),
    (
        _person("The sign-in was not finished; start again.", "Start the linking of the bank again and finish it."),
        (10814, 12003, 50025),
    ),
    (_MIGRATION, (20007, 20008, 20009)),
)

MEANINGS: Final = {code: meaning for meaning, codes in _GROUPS for code in codes}
