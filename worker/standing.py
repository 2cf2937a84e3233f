"""How a connection stands, told from the aggregation codes of its accounts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bankfeed.aggregators import ListedAccount
from bankfeed.health import Meaning, read_code


@dataclass(frozen=True, slots=True)
class Standing:
    """A connection's state, and the code that says so; None where no code came yet."""

    state: str
    status_code: int | None


def read_standing(listed: Sequence[ListedAccount]) -> Standing:
    """Say how a connection stands: by what most needs somebody.

    A person first, then what is waited out, then health. Accounts that are closed at the bank, or not aggregated yet,
    speak for the connection only where no other one does. No account at all says nothing yet.
    """
    codes = [each.status_code for each in listed] or [None]
    return min((standing_of(code) for code in codes), key=_urgency)


def standing_of(code: int | None) -> Standing:
    """Say how a connection stands whose only account has this code."""
    return Standing(_state(read_code(code)), code)


def _state(meaning: Meaning) -> str:
    """Name the state; closed is only what the aggregator no longer has at all."""
    return "unsupported" if meaning.state in ("closed", "unsupported") else meaning.state.value


def _urgency(standing: Standing) -> int:
    order = ("needs_person", "waiting", "active", "unsupported")
    return order.index(standing.state) if standing.status_code is not None else len(order) - 1
