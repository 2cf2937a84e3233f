"""What an aggregation status code means for a connection: its state, and who has to act. Pure.

The codes are the catalogue of Finicity (Mastercard Open Finance), which other aggregators resell. Codes are grouped as
its documents group them; a code that is not listed is waited out, as its vendor advises to route by category. Nothing
here decides when to try again.
"""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one code says.

    `is_retryable` is True where asking again, without a person, can help. `is_fixable` is True where the aggregator's
    repair widget is the documented remedy. `words` is one sentence for the account holder.
    """

    state: ConnectionState
    actor: Actor
    words: str
    is_retryable: bool = False
    is_fixable: bool = False


def read_code(code: int | None) -> Meaning:
    """Return what a status code means; None is an account before its first aggregation, an unlisted code a delay."""
    if code is None:
        return _BEFORE_FIRST
    return MEANINGS.get(code, _UNKNOWN)


def _person(words: str) -> Meaning:
    return Meaning(state=ConnectionState.NEEDS_PERSON, actor=Actor.PERSON, words=words)


def _fix(words: str) -> Meaning:
    return Meaning(state=ConnectionState.NEEDS_PERSON, actor=Actor.PERSON, words=words, is_fixable=True)


def _wait(actor: Actor, words: str) -> Meaning:
    return Meaning(state=ConnectionState.WAITING, actor=actor, words=words, is_retryable=True)


_BEFORE_FIRST: Final = _wait(Actor.AGGREGATOR, "The first update from the bank has not finished yet.")
_UNKNOWN: Final = _wait(Actor.AGGREGATOR, "The last update did not succeed; it will be tried again.")
_ACTIVE: Final = Meaning(
    state=ConnectionState.ACTIVE, actor=Actor.NOBODY, words="The account is up to date.", is_retryable=True
)
_CLOSED: Final = Meaning(
    state=ConnectionState.CLOSED, actor=Actor.NOBODY, words="The bank has closed this account; its history is kept."
)
_UNSUPPORTED: Final = Meaning(
    state=ConnectionState.UNSUPPORTED, actor=Actor.AGGREGATOR, words="This bank or account cannot be connected."
)
_MIGRATION: Final = Meaning(
    state=ConnectionState.WAITING, actor=Actor.US, words="Moving to the bank's new sign-in failed; we look into it."
)

_GROUPS: Final[tuple[tuple[Meaning, tuple[int, ...]], ...]] = (
    (_ACTIVE, (0,)),
    (_wait(Actor.INSTITUTION, "The connection to the bank was interrupted."), (101, 102, 104, 105)),
    (_fix("The bank refused the user name or password; enter them again."), (103,)),
    (_person("The bank needs more information; sign in at the bank's own site."), (106, 107)),
    (_fix("A message waits at the bank; sign in at the bank's own site and clear it."), (108,)),
    (_fix("The bank wants a new password; set it at the bank, then enter it here."), (109,)),
    (_person("This account is connected twice; delete one of the two."), (169,)),
    (_wait(Actor.AGGREGATOR, "The bank's data could not be found; support looks into it."), (170,)),
    (
        _wait(Actor.INSTITUTION, "The bank's site has a problem."),
        (171, 179, 194, 197, 204, 307, 417, 500, 525, 11000),
    ),
    (_fix("The bank asks a security question or code; answer it."), (185,)),
    (_fix("The answer to the bank's security question was wrong; answer it again."), (187,)),
    (_wait(Actor.INSTITUTION, "The bank could not be reached."), (320, 580)),
    (_person("The account details differ from those at the bank; check them."), (324, 403)),
    (_wait(Actor.AGGREGATOR, "An update is already running."), (325, 5006)),
    (_person("The time to answer the bank's question ran out; start again."), (331,)),
    (_wait(Actor.AGGREGATOR, "The connection to this bank is being worked on."), (900, 908, 910, 911, 915, 916)),
    (_wait(Actor.AGGREGATOR, "The connection to this bank is new and still being built."), (901, 902, 903, 904)),
    (_wait(Actor.INSTITUTION, "The bank's site is down or under maintenance."), (905, 906, 907)),
    (_person("The account was not found at the bank; check its details."), (909, 952, 955)),
    (_CLOSED, (913,)),
    (_person("The account is no longer seen with this sign-in; check it at the bank."), (914,)),
    (_UNSUPPORTED, (920, 921, 922, 923, 924, 925, 926, 927, 928, 929)),
    (_person("The bank wants a new code for every update; update it while you are there."), (931,)),
    (_person("The bank's site is not set to English; change its language there."), (936,)),
    (_person("The answer to a security question was not enough; answer it again."), (938, 940, 971)),
    (_fix("The bank has a new sign-in; give your consent again."), (945,)),
    (_fix("Access to this account was withdrawn; sign in again and choose it."), (946,)),
    (_fix("The consent at the bank has ended; sign in again."), (947,)),
    (_fix("The bank has a new sign-in; sign in again."), (948,)),
    (_person("The account can no longer be reached; add it anew."), (949,)),
    (_UNSUPPORTED, (950, 960, 972, 973, 975, 976, 2032)),
    (_person("The bank needs more information; sign in at the bank's own site."), (959, 961, 38053)),
    (_wait(Actor.US, "The bank's limit of requests is reached; we ask again later."), (977, 44000, 44002)),
    (_person("The bank did not accept the sign-in; sign in again."), (1008,)),
    (_person("The sign-in was not finished; start again."), (10814, 12003, 50025)),
    (_MIGRATION, (20007, 20008, 20009)),
)

MEANINGS: Final = {code: meaning for meaning, codes in _GROUPS for code in codes}
