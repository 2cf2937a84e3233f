"""How the console says things: states, ages and amounts in words for people. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from bankfeed.db.console import ShownConnection
from bankfeed.errors import BadRequest
from bankfeed.health import ConnectionState, read_code
from bankfeed.money import format_amount

_LABELS: Final = {
    ConnectionState.ACTIVE: "up to date",
    ConnectionState.NEEDS_PERSON: "needs you",
    ConnectionState.WAITING: "waiting",
    ConnectionState.UNSUPPORTED: "not supported",
    ConnectionState.CLOSED: "closed",
}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
STATE_TITLES: Final = {
    "pending": "On its way; the bank has not posted it yet",
    "active": "Posted: in the bank's records",
    "shadow": "Was posted; the bank no longer reports it",
    "removed": "Was pending; the bank took it back",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a connection stands: a label, a sentence, and the tone of its colour (good, busy, bad)."""

    label: str
    sentence: str
    tone: str


def describe_standing(connection: ShownConnection) -> Standing:
    """Say how a connection stands."""
    state = ConnectionState(connection.state)
    sentence = read_code(connection.status_code).words
    if connection.failures:
        sentence = "The latest update did not succeed; another try follows."
    if state is ConnectionState.ACTIVE and connection.age_s is None:
        return Standing(label="linking", sentence=sentence, tone="busy")
    if state is ConnectionState.ACTIVE and not connection.failures:
        sentence = ""  # the label says it
    tone = {ConnectionState.ACTIVE: "good", ConnectionState.WAITING: "busy"}.get(state, "bad")
    return Standing(label=_LABELS[state], sentence=sentence, tone=tone)


def describe_update(connection: ShownConnection) -> str:
    """Say when a connection was updated last, and when it will be next.

    The words change once a minute at most, so that a page which is read again stays as it is.
    """
    last = "not updated yet" if connection.age_s is None else f"updated {_ago(connection.age_s)}"
    if connection.is_updating:
        return f"{last}; an update is under way"
    return last if connection.next_s is None else f"{last}; next {_ahead(connection.next_s)} at the latest"


def write_amount(amount: Decimal, currency: str) -> str:
    """Write an amount with the currency's decimals; where the bank gave more of them, with all of those.

    >>> write_amount(Decimal("-20"), "USD"), write_amount(Decimal("1.2345"), "USD")
    ('-20.00', '1.2345')
    """
    try:
        return format_amount(amount, currency)
    except BadRequest:
        return f"{amount:f}"


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
