"""How the console says things: states, ages and amounts in words for people. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from bankfeed.db.case import CaseOwner, SupportCase
from bankfeed.db.console import ShownConnection
from bankfeed.errors import BadRequest
from bankfeed.health import Actor, ConnectionState, Meaning, Step, describe, read_code
from bankfeed.history import HistoryKind
from bankfeed.money import format_amount
from bankfeed.repair import Bank, write_script
from ingress.api.refreshes import ASKING, DONE_GAP_S, FETCHING, WAITING, RefreshState

_LABELS: Final = {
    ConnectionState.NEEDS_PERSON: "needs you",
    ConnectionState.WAITING: "waiting",
    ConnectionState.UNSUPPORTED: "not supported",
    ConnectionState.CLOSED: "closed",
}
_WHO: Final[Mapping[Actor, str]] = {
    Actor.NOBODY: "",
    Actor.PERSON_CREDENTIALS: "The account holder acts: sign in to the bank here.",
    Actor.PERSON_CHALLENGE: "The account holder acts: answer the bank here.",
    Actor.PERSON_AT_BANK: "The account holder acts: at the bank's own site first.",
    Actor.INSTITUTION: "The bank acts; nothing is to be done here.",
    Actor.AGGREGATOR: "The service between us and the bank acts; nothing is to be done here.",
    Actor.US: "We act: support looks into it.",
}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
_UNFINISHED: Final = (
    "The latest update could not be finished: what was asked for did not come. It is tried again by itself."
)
_ASKED_SHOWN_S: Final = 600
STATE_TITLES: Final = {
    "pending": "On its way; the bank has not posted it yet",
    "active": "Posted: in the bank's records",
    "shadow": "Was posted; the bank no longer reports it",
    "removed": "Was pending; the bank took it back",
}
HISTORY_TITLES: Final[Mapping[HistoryKind, str]] = {
    HistoryKind.ADDED: "Added",
    HistoryKind.BROKEN: "Broken",
    HistoryKind.NEEDS_MFA: "Needs MFA",
    HistoryKind.RECONNECTED: "Reconnected",
    HistoryKind.REFRESHED: "Refreshed",
    HistoryKind.DELETED: "Deleted",
}
OWNER_TITLES: Final[Mapping[CaseOwner, str]] = {
    CaseOwner.FIRM: "your firm",
    CaseOwner.CLIENT: "the client",
    CaseOwner.SUPPORT: "support",
}
STATUS_WORDS: Final[Mapping[str, str]] = {
    "offline": "cannot be reached",
    "maintenance": "is under maintenance",
    "migrating": "moves to a new sign-in",
    "gone": "is no longer there",
}
"""What an institution does, by the aggregator's word for how it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a connection stands: a label, its cause, who acts, and the tone of its colour (good, busy, bad). "" says nothing."""

    label: str
    sentence: str
    who: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Helps:
    """Which buttons help a connection as it stands."""

    repair: bool
    refresh: bool


def read_meaning(connection: ShownConnection) -> Meaning:
    """Return what there is to say of a connection."""
    repeats = max(connection.code_repeats, connection.failures)
    is_received = connection.age_s is not None
    return describe(ConnectionState(connection.state), connection.status_code, is_received=is_received, repeats=repeats)


def describe_standing(connection: ShownConnection) -> Standing:
    """Say how a connection stands."""
    state = ConnectionState(connection.state)
    if state is ConnectionState.ACTIVE and connection.failures:
        return Standing(label="trying again", sentence=_UNFINISHED, who=_WHO[Actor.AGGREGATOR], tone="busy")
    return describe_meaning(state, read_meaning(connection))


def describe_meaning(state: ConnectionState, meaning: Meaning) -> Standing:
    """Say how a connection of that state and meaning stands."""
    if state is ConnectionState.ACTIVE and meaning.state is ConnectionState.ACTIVE:
        return Standing(label=meaning.words, sentence="", who="", tone="good")  # the label says it
    label = "linking" if state is ConnectionState.ACTIVE else _LABELS[state]
    tone = "busy" if state in (ConnectionState.ACTIVE, ConnectionState.WAITING) else "bad"
    return Standing(label=label, sentence=meaning.words, who=_WHO[meaning.actor], tone=tone)


def find_helps(meaning: Meaning) -> Helps:
    """Say which buttons help a connection of which there is this to say.

    Asking the bank again is of no use where it waits for a sign-in or an answer, and a few wrong passwords lock a login.
    """
    is_persons = meaning.state is ConnectionState.NEEDS_PERSON
    is_mended_here = is_persons and meaning.step not in (Step.DELETE, Step.LINK_AGAIN)
    return Helps(
        repair=is_mended_here or meaning.actor is Actor.US,
        refresh=meaning.state in (ConnectionState.ACTIVE, ConnectionState.WAITING)
        or (is_persons and meaning.step in (Step.AT_BANK, Step.DELETE)),
    )


def describe_update(connection: ShownConnection) -> str:
    """Say when a connection was updated last, and when it will be next.

    The words change once a minute at most, so that a page which is read again stays as it is.
    """
    last = "not updated yet" if connection.age_s is None else f"updated {_ago(connection.age_s)}"
    if connection.is_updating:
        return f"{last}; an update is under way"
    return last if connection.next_s is None else f"{last}; next {_ahead(connection.next_s)} at the latest"


def describe_asking(connection: ShownConnection) -> str:
    """Say what became of the latest click on refresh; "" where that is long ago, or is what the state says anyhow."""
    if connection.asked_state is None:
        return ""
    state, age_s = RefreshState(connection.asked_state), connection.asked_age_s
    if state is RefreshState.WAITING:
        return WAITING
    if state is RefreshState.RUNNING:
        return FETCHING if connection.asked_is_fetching else ASKING
    if age_s is None or age_s >= _ASKED_SHOWN_S:
        return ""
    if state is RefreshState.FAILED:
        is_said = connection.asked_code is not None
        return "" if is_said else f"Asked the bank {_ago(age_s)}: {connection.asked_message}"
    wait_s = DONE_GAP_S - age_s
    again = f"; it can be asked again {_ahead(wait_s)}" if wait_s > 0 else ""
    return f"The bank was asked {_ago(age_s)}{again}."


def describe_tried(case: SupportCase) -> Sequence[tuple[str, str]]:
    """List what was tried before a case was opened: each question with its answer, as the person read them."""
    meaning = describe(
        ConnectionState(case.facts.state), case.facts.code, is_received=case.facts.last_good_at is not None
    )
    steps = {step.name: step for step in write_script(meaning, Bank(name=case.facts.institution))}
    rows = []
    for tried in case.tried:
        step = steps.get(tried.step)
        labels = {choice.answer: choice.label for choice in step.choices} if step else {}
        rows.append((step.ask if step else _spell(tried.step), labels.get(tried.answer, _spell(tried.answer))))
    return rows


def describe_status(status: str) -> str:
    """Say what an institution does that stands like that.

    >>> describe_status("maintenance"), describe_status("closed_for_ever")
    ('is under maintenance', 'stands at closed for ever')
    """
    return STATUS_WORDS.get(status, f"stands at {_spell(status)}")


def write_code(code: int) -> str:
    """Name a status code by its number and its title.

    >>> write_code(103)
    'Code 103, invalid credentials'
    """
    title = read_code(code).title
    return f"Code {code}, {title[:1].lower()}{title[1:]}"


def write_amount(amount: Decimal, currency: str) -> str:
    """Write an amount with the currency's decimals; where the bank gave more of them, with all of those.

    >>> write_amount(Decimal("-20"), "USD"), write_amount(Decimal("1.2345"), "USD")
    ('-20.00', '1.2345')
    """
    try:
        return format_amount(amount, currency)
    except BadRequest:
        return f"{amount:f}"


def write_time(at: datetime) -> str:
    """Write an instant to the minute.

    >>> write_time(datetime(2026, 3, 2, 9, 5, 59, tzinfo=UTC))
    '2026-03-02 09:05 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def write_length(seconds: float) -> str:
    """Name a length of time roughly.

    >>> write_length(59), write_length(7_300)
    ('less than a minute', '2 hours')
    """
    return _length(seconds) or "less than a minute"


def _ago(seconds: float) -> str:
    length = _length(seconds)
    return f"{length} ago" if length else "just now"


def _ahead(seconds: float) -> str:
    length = _length(seconds)
    return f"in {length}" if length else "in a moment"


def _length(seconds: float) -> str:
    """Name a length of time roughly; "" under a minute.

    >>> _length(59), _length(60), _length(7_300)
    ('', '1 minute', '2 hours')
    """
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            count = int(seconds // unit_s)
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return ""


def _spell(word: str) -> str:
    return word.replace("_", " ")
