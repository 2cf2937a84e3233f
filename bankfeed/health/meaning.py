"""What a status code can say, whatever the catalogue: its state, who acts, which step of the repair fits, the words. Pure."""

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
    """Who can change how a connection stands.

    A person does it here (`person_credentials`: sign in, consent, link, delete), answers what the bank asks
    (`person_challenge`), or goes to the bank's own site first (`person_at_bank`).
    """

    NOBODY = "nobody"
    PERSON_CREDENTIALS = "person_credentials"
    PERSON_CHALLENGE = "person_challenge"
    PERSON_AT_BANK = "person_at_bank"
    INSTITUTION = "institution"
    AGGREGATOR = "aggregator"
    US = "us"

    @property
    def is_person(self) -> bool:
        """Tell whether it is the account holder, in whichever way."""
        return self in (Actor.PERSON_CREDENTIALS, Actor.PERSON_CHALLENGE, Actor.PERSON_AT_BANK)


class Step(StrEnum):
    """Which step of a repair fits: what to open first for somebody who wants the connection to work again."""

    CREDENTIALS = "credentials"
    CHALLENGE = "challenge"
    AT_BANK = "at_bank"
    CONSENT = "consent"
    WAIT = "wait"
    DELETE = "delete"
    LINK_AGAIN = "link_again"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection's state, and the code that says so; None where no code came yet."""

    state: str
    status_code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one code says.

    `title` names it in a few words, `words` is one sentence for the account holder, `todo` what the person can do.
    `is_retryable` is True where asking again, without a person, can help. `is_fixable` is True where the aggregator's
    repair widget is the documented remedy. `is_unexplained` is True where nobody says what the code means, so that
    somebody has to look at one that comes again and again.
    """

    state: ConnectionState
    actor: Actor
    step: Step
    title: str
    words: str
    todo: str
    is_retryable: bool = False
    is_fixable: bool = False
    is_unexplained: bool = False


NOTHING: Final = "Nothing: the next update comes by itself."
LATER: Final = "Nothing now: it is tried again by itself; if it lasts for days, tell support."
SUPPORT: Final = "Nothing you can do; tell support if it lasts for days."
REPAIR: Final = "Open the bank account's repair and do there what the bank asks for."
AT_BANK: Final = "Sign in at the bank's own site, do what it asks for, then refresh the bank account here."


def person(actor: Actor, step: Step, title: str, words: str, todo: str) -> Meaning:
    """Say that a person has to act."""
    return Meaning(state=ConnectionState.NEEDS_PERSON, actor=actor, step=step, title=title, words=words, todo=todo)


def at_bank(title: str, words: str, todo: str = AT_BANK) -> Meaning:
    """Say that a person has to act at the bank's own site."""
    return person(Actor.PERSON_AT_BANK, Step.AT_BANK, title, words, todo)


def challenge(title: str, words: str, todo: str) -> Meaning:
    """Say that a person has to answer the bank."""
    return person(Actor.PERSON_CHALLENGE, Step.CHALLENGE, title, words, todo)


def fixable(meaning: Meaning) -> Meaning:
    """Say of a meaning that the aggregator's repair widget is the documented remedy."""
    return replace(meaning, is_fixable=True)


def wait(actor: Actor, title: str, words: str, todo: str = LATER) -> Meaning:
    """Say that it is waited out and tried again."""
    return Meaning(
        state=ConnectionState.WAITING,
        actor=actor,
        step=Step.WAIT,
        title=title,
        words=words,
        todo=todo,
        is_retryable=True,
    )


def unexplained(meaning: Meaning) -> Meaning:
    """Say of a meaning that nobody knows more of it."""
    return replace(meaning, is_unexplained=True)


ACTIVE: Final = Meaning(
    state=ConnectionState.ACTIVE,
    actor=Actor.NOBODY,
    step=Step.NONE,
    title="Up to date",
    words="The account is up to date.",
    todo=NOTHING,
    is_retryable=True,
)
RECEIVED: Final = replace(ACTIVE, words="All Data Received")
"""How a connection reads whose last update brought everything: the words that people of this trade know."""

BEFORE_FIRST: Final = wait(
    Actor.AGGREGATOR, "First update", "The first update from the bank has not finished yet.", NOTHING
)
CLOSED: Final = Meaning(
    state=ConnectionState.CLOSED,
    actor=Actor.NOBODY,
    step=Step.NONE,
    title="Account closed",
    words="The bank has closed this account; its history is kept.",
    todo="Nothing; delete the account here when its history is no longer needed.",
)
GONE: Final = Meaning(
    state=ConnectionState.CLOSED,
    actor=Actor.NOBODY,
    step=Step.LINK_AGAIN,
    title="No longer linked",
    words="The bank account is no longer linked; its history is kept.",
    todo="Link the bank again to go on; what was booked stays.",
)
UNSUPPORTED: Final = Meaning(
    state=ConnectionState.UNSUPPORTED,
    actor=Actor.AGGREGATOR,
    step=Step.NONE,
    title="Not supported",
    words="This bank or account cannot be connected.",
    todo="Upload the bank's statements instead.",
)
UNKNOWN: Final = unexplained(
    wait(Actor.AGGREGATOR, "Update failed", "The last update did not succeed; it will be tried again.")
)
ESCALATED: Final = unexplained(
    wait(
        Actor.US,
        "Update failed repeatedly",
        "The bank's service failed several times in a row; support looks into it.",
        "Nothing: your data is kept as it was, and it is tried again every night; "
        "tell support what you see at the bank's own site.",
    )
)
