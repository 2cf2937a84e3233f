"""How a connection stands, told from the aggregation codes of its accounts. Pure."""

from collections.abc import Sequence

from bankfeed.aggregators import ListedAccount
from bankfeed.errors import AggregatorError
from bankfeed.health import MEANINGS, RUNNING, Actor, Meaning, Standing, read_code

__all__ = ["Standing", "is_bank_well", "is_outage", "read_standing", "standing_of"]


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


def is_outage(error: AggregatorError) -> bool:
    """Tell whether an error is the institution's, or of the aggregator's way to it: others there would meet it too.

    No answer at all is one; so is a listed code that is theirs and passes. A code that is not listed says nothing, and what
    a person, or we, have to mend is none.
    """
    return error.is_retryable if error.code is None else _is_out(error.code)


def is_bank_well(listed: Sequence[ListedAccount]) -> bool | None:
    """Tell by its accounts whether a login's institution is well; None where they say nothing of it.

    An account that came through says yes. Codes that a person has to see to may be old, and say nothing.
    """
    codes = [each.status_code for each in listed]
    if 0 in codes:
        return True
    return False if any(code is not None and _is_out(code) for code in codes) else None


def _is_out(code: int) -> bool:
    meaning = MEANINGS.get(code)
    if meaning is None or code in RUNNING:
        return False
    return meaning.is_retryable and meaning.actor in (Actor.INSTITUTION, Actor.AGGREGATOR)


def _state(meaning: Meaning) -> str:
    """Name the state; closed is only what the aggregator no longer has at all."""
    return "unsupported" if meaning.state in ("closed", "unsupported") else meaning.state.value


def _urgency(standing: Standing) -> int:
    order = ("needs_person", "waiting", "active", "unsupported")
    return order.index(standing.state) if standing.status_code is not None else len(order) - 1
