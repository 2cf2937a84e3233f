"""What is said of a support case: to the client on the telephone, and by e-mail to whoever opened it. Pure.

Names a bank and the next step, never amounts or numbers of accounts, nor what a person wrote: a letter may be read by others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Turn(StrEnum):
    """What became of a case."""

    OPENED = "opened"
    CONTACT = "contact"
    ADDED = "added"
    FINISHED = "finished"
    REOPENED = "reopened"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A case as it is told of. `open_actions` counts what is still to be done."""

    case_id: int
    bank: str
    reason: str
    open_actions: int


LOOK_INTO_IT: Final = "Look into it: read the facts, and try the connection."
BE_REACHABLE: Final = "Be reachable at the number and time that you gave."

_TURNS: Final = {
    Turn.OPENED: "Support has been told of it, and will call at the number and time given. Have the telephone at hand then, "
    "because the bank may ask for something.",
    Turn.CONTACT: "There is a new number, time or note in it.",
    Turn.ADDED: "There is something new to be done in it.",
    Turn.FINISHED: "Something in it has been done.",
    Turn.REOPENED: "Something in it is to be done after all.",
    Turn.CLOSED: "It is closed. Should the bank account not work even so, repair it again: that opens a new case.",
}


def write_subject(told: Told, turn: Turn) -> str:
    """Return the subject of a letter about a case.

    >>> write_subject(Told(case_id=7, bank="First Bank", reason="", open_actions=0), Turn.CLOSED)
    'First Bank: case 7 is closed'
    """
    word = {Turn.OPENED: "is open", Turn.CLOSED: "is closed"}.get(turn, "has news")
    return f"{_name(told.bank)}: case {told.case_id} {word}"


def write_letter(told: Told, turn: Turn) -> str:
    """Return the text of a letter about a case: what it is about, what happened, what is left to do."""
    left = "Nothing is left to be done."
    if told.open_actions:
        left = f"Still to be done: {told.open_actions}. See the case for whose turn it is."
    parts = [
        f"Case {told.case_id} is about the connection to {_name(told.bank)}:",
        told.reason,
        _TURNS[turn],
        *([] if turn is Turn.CLOSED else [left]),
        "Never send a password or a code by e-mail: nobody of us asks for it.",
        "Bankfeed",
    ]
    return "\n\n".join(parts) + "\n"


def say_case(
    *, bank: str, is_closed: bool, is_well: bool, telephone: str, convenient_time: str, for_client: Sequence[str]
) -> str:
    """Return the sentence that the firm's staff says to the client about a case as it is now.

    `is_well`: the connection works again. `for_client` is what the client has still to do, the oldest first.
    """
    name = _name(bank)
    if is_closed:
        return f"Our case about {name} is closed. If {name} gives you trouble again, tell me, and we begin anew."
    if is_well:
        return f"{name} works again, as far as we see. Do you miss anything there, or may we close the case?"
    at = f"on {telephone}" if telephone else "on the number that you tell me now"
    when = f", {convenient_time}" if convenient_time else ""
    asked = f" Until then there is this for you: {for_client[0]}" if for_client else ""
    return f"Our specialists are looking into {name}, and call you {at}{when}.{asked}"


def _name(bank: str) -> str:
    return " ".join(bank.split()) or "your bank"
