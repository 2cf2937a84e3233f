"""The sentences of guided repair: what the person reads, what the firm's staff says, and the answers to choose from. Pure.

{bank} and the other names in braces are filled in by repair.py. Nobody is ever asked to tell a password, a code or an answer
to another person: these are typed into the repair by whom they belong to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bankfeed.health import Actor, ConnectionState


class StepName(StrEnum):
    """A step of a repair."""

    AT_BANK = "at_bank"
    CALL_BANK = "call_bank"
    TODO = "todo"
    LINK_AGAIN = "link_again"
    REFRESH = "refresh"
    OWNER = "owner"
    SAME_LOGIN = "same_login"
    CHANGED = "changed"
    TOKEN = "token"  # noqa: S105 - a step's name
    ANSWERS = "answers"
    CREDENTIALS = "credentials"
    CREDENTIALS_AGAIN = "credentials_again"
    CHALLENGE = "challenge"
    CHALLENGE_AGAIN = "challenge_again"
    CONSENT = "consent"
    CONSENT_AGAIN = "consent_again"
    WAIT = "wait"
    CASE = "case"
    DONE = "done"

    @property
    def is_end(self) -> bool:
        """Tell whether a repair ends here: well, or with whom it is left."""
        return self in (StepName.CALL_BANK, StepName.WAIT, StepName.CASE, StepName.DONE)

    @property
    def is_check(self) -> bool:
        """Tell whether it is one of the five questions of the support script."""
        return self in (StepName.OWNER, StepName.SAME_LOGIN, StepName.CHANGED, StepName.TOKEN, StepName.ANSWERS)

    @property
    def is_remedy(self) -> bool:
        """Tell whether the person gives the bank something here."""
        return self in AGAIN or self in (StepName.CREDENTIALS, StepName.CHALLENGE, StepName.CONSENT)


AGAIN: Final = frozenset({StepName.CREDENTIALS_AGAIN, StepName.CHALLENGE_AGAIN, StepName.CONSENT_AGAIN})
"""Second tries."""


class Answer(StrEnum):
    """What can be answered; each step has its own few."""

    YES = "yes"
    NO = "no"
    NONE = "none"
    WORKED = "worked"
    FAILED = "failed"
    TOO_LONG = "too_long"
    MISSING = "missing"


class Course(StrEnum):
    """Where an answer leads: on, to the next remedy, or to an end."""

    ON = "on"
    REMEDY = "remedy"
    DONE = "done"
    CALL_BANK = "call_bank"
    CASE = "case"


@dataclass(frozen=True, slots=True)
class Option:
    """An answer before its step is placed in a plan."""

    answer: Answer
    label: str
    course: Course = Course.ON
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A step before its names are filled in."""

    ask: str
    say: str
    choices: tuple[Option, ...] = ()


def find_words(name: StepName, state: ConnectionState, actor: Actor) -> Words:
    """Return the words of a step: those for the state, else those for who acts, else those for everybody."""
    return _FOR_STATE.get((name, state)) or _FOR_ACTOR.get((name, actor)) or _WORDS[name]


_TRIED: Final = (
    Option(Answer.WORKED, "It worked", Course.DONE),
    Option(Answer.FAILED, "It did not work"),
)
_LASTS: Final = (Option(Answer.TOO_LONG, "It has been like that for days"),)

_CREDENTIALS: Final = Words(
    ask="Sign in to {bank} here once more, exactly as you do at the bank's own site.",
    say="Please open the repair and type your {bank} user name and password there yourself. You need not tell them to me.",
    choices=_TRIED,
)
_CHALLENGE: Final = Words(
    ask="{bank} asks you something, or sends you a code: answer it here as soon as it comes.",
    say="{bank} is about to ask you something or to send you a code. Please type it into the repair yourself, at once.",
    choices=_TRIED,
)
_CONSENT: Final = Words(
    ask="Sign in at {bank}'s own page, choose every account that you want here, and agree.",
    say="I will have {bank}'s own page opened for you. Please sign in there, choose your accounts, and agree.",
    choices=_TRIED,
)

_WORDS: Final[Mapping[StepName, Words]] = {
    StepName.AT_BANK: Words(
        ask="Can you sign in at {bank}'s own site?",
        say="Before we change anything here: please open {bank}'s own site and sign in there. Does it let you in?",
        choices=(
            Option(Answer.YES, "Yes, I can"),
            Option(
                Answer.NO, "No, it does not let me in", Course.CALL_BANK, "What the bank refuses, only it can mend."
            ),
        ),
    ),
    StepName.CALL_BANK: Words(
        ask="Only {bank} can let you in again. Ask its customer service: {contact}. Come back here once you can sign in there.",
        say="As {bank} does not let you in either, its customer service has to help first: {contact}. "
        "Once you can sign in there, the rest is quickly done here.",
    ),
    StepName.TODO: Words(
        ask="{todo}",
        say="This is what we hear about {bank}: {words} What helps is this: {todo}",
        choices=(Option(Answer.YES, "I have done that"), Option(Answer.NO, "I could not do that", Course.CASE)),
    ),
    StepName.LINK_AGAIN: Words(
        ask="{todo}",
        say="{bank} has to be linked once more; your bookings stay as they are. I will stay on the line until it is done.",
        choices=_TRIED,
    ),
    StepName.REFRESH: Words(
        ask="Refresh the bank account now and stay with it: {bank} may want something of you.",
        say="I will have {bank} asked now. Please keep your telephone at hand, because the bank may want something of you.",
        choices=_TRIED,
    ),
    StepName.OWNER: Words(
        ask="Is the account at {bank} yours, or your business's?",
        say="In whose name does {bank} keep this account: in yours, or in that of your business?",
        choices=(
            Option(Answer.YES, "Yes, it is mine or my business's"),
            Option(
                Answer.NO,
                "No, somebody else owns it",
                Course.REMEDY,
                "Let the owner of the account sign in: a user who may only look is often refused.",
            ),
        ),
    ),
    StepName.SAME_LOGIN: Words(
        ask="Is what you typed here the e-mail address or user name that you use at {bank}'s own site?",
        say="Please compare: is the e-mail address or user name in the repair the very one that {bank}'s own site takes?",
        choices=(
            Option(Answer.YES, "Yes, the same"),
            Option(
                Answer.NO,
                "No, or I am not sure",
                Course.REMEDY,
                "Type the one that {bank}'s own site takes, letter by letter.",
            ),
        ),
    ),
    StepName.CHANGED: Words(
        ask="Do you have a new user name or password at {bank} since it was linked here?",
        say="Has your user name or your password at {bank} become another one since we linked it?",
        choices=(
            Option(
                Answer.YES, "Yes, it is a new one", Course.REMEDY, "Enter the new one here too: {bank} takes it alone."
            ),
            Option(Answer.NO, "No, both are as they were"),
        ),
    ),
    StepName.TOKEN: Words(
        ask="Did you type the code within a few minutes of getting it?",
        say="When you typed the code from {bank}: was it fresh, a few minutes old at most?",
        choices=(
            Option(Answer.YES, "Yes, at once"),
            Option(
                Answer.NO,
                "No, it took longer",
                Course.REMEDY,
                "Have the code ready: ask {bank} for a new one and type it at once, because it is good for minutes only.",
            ),
            Option(Answer.NONE, "There was no code"),
        ),
    ),
    StepName.ANSWERS: Words(
        ask="Are you sure of your answers to {bank}'s security questions?",
        say="Are the answers that you gave, spelling included, those that you once chose at {bank}?",
        choices=(
            Option(Answer.YES, "Yes, I am sure"),
            Option(
                Answer.NO,
                "No, not of each",
                Course.REMEDY,
                "Set the answers anew at {bank}'s own site, then give them here just so.",
            ),
            Option(Answer.NONE, "There was no such question"),
        ),
    ),
    StepName.CREDENTIALS: _CREDENTIALS,
    StepName.CREDENTIALS_AGAIN: _CREDENTIALS,
    StepName.CHALLENGE: _CHALLENGE,
    StepName.CHALLENGE_AGAIN: _CHALLENGE,
    StepName.CONSENT: _CONSENT,
    StepName.CONSENT_AGAIN: _CONSENT,
    StepName.WAIT: Words(
        ask="There is nothing for you to do{since}. {by_itself}",
        say="With {bank} there is nothing for you to do at the moment. {words} {by_itself}",
        choices=_LASTS,
    ),
    StepName.CASE: Words(
        ask="Let support look into it with you: leave a telephone number and a time that suits you.",
        say="Our specialists will look into {bank} with all that we have seen. On which number, and when, may they call you?",
    ),
    StepName.DONE: Words(
        ask="That was it: what is new at {bank} comes in within some minutes.",
        say="{bank} works again. What is new there comes in within some minutes; nothing else is to be done.",
    ),
}

_FOR_STATE: Final[Mapping[tuple[StepName, ConnectionState], Words]] = {
    (StepName.DONE, ConnectionState.ACTIVE): Words(
        ask="{bank} works; there is nothing to repair.",
        say="The connection to {bank} works, and its latest update has come in. Is there something that you miss?",
        choices=(Option(Answer.MISSING, "Something is missing all the same"),),
    ),
    (StepName.DONE, ConnectionState.CLOSED): Words(
        ask="There is nothing to repair. {todo}",
        say="{bank} has closed the account, so there is nothing to repair; all that came from it is kept.",
        choices=(Option(Answer.MISSING, "That cannot be"),),
    ),
    (StepName.CASE, ConnectionState.UNSUPPORTED): Words(
        ask="{todo} Or let support look into it: leave a telephone number and a time that suits you.",
        say="{bank} cannot be connected as it is. Its statements can be uploaded; and if you leave us a number and a time, "
        "our specialists call you about it.",
    ),
}

_FOR_ACTOR: Final[Mapping[tuple[StepName, Actor], Words]] = {
    (StepName.WAIT, Actor.INSTITUTION): Words(
        ask="{bank} has to mend this{since}; you need do nothing. {by_itself}",
        say="The trouble is on {bank}'s side{since}, and neither you nor we can mend it. {by_itself}",
        choices=_LASTS,
    ),
    (StepName.WAIT, Actor.AGGREGATOR): Words(
        ask="The service that connects us to {bank} has to act{since}; you need do nothing. {by_itself}",
        say="The service between us and {bank} is at work on it{since}. {by_itself}",
        choices=_LASTS,
    ),
    (StepName.WAIT, Actor.US): Words(
        ask="We have to act{since}; you need do nothing. {by_itself}",
        say="With {bank} it is our turn{since}: you need do nothing. {by_itself}",
        choices=_LASTS,
    ),
}
