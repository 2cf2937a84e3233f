"""How a connection stands, told from the aggregation codes of its accounts. Pure."""

from collections.abc import Sequence

from bankfeed.aggregators import ListedAccount
from bankfeed.errors import AggregatorError, BadAggregatorAnswer
from bankfeed.health import RUNNING, Actor, Meaning, Standing, read_code

__all__ = ["Standing", "is_answer", "is_bank_well", "is_outage", "read_standing", "standing_of"]


def read_standing(listed: Sequence[ListedAccount]) -> Standing:
    """Say how a connection stands: by what most needs somebody. Its accounts share that, because they share the login.

    A person first, and of such codes one that the repair mends; then what is waited out, then health. Accounts that are
    closed at the bank, or not aggregated yet, speak for the connection only where no other one does. No account at all says
    nothing yet. The order of the accounts plays no part.
    """
    codes = [each.status_code for each in listed] or [None]
    return min((standing_of(code) for code in codes), key=_urgency)


def standing_of(code: int | None) -> Standing:
    """Say how a connection stands whose only account has this code."""
    return Standing(_state(read_code(code)), code)


def is_outage(error: AggregatorError) -> bool:
    """Tell whether an error is the institution's, or of the aggregator's way to it: others there would meet it too.

    No answer at all is one; so is a listed code that is theirs and passes. A code that nobody explains says nothing, and
    what a person, or we, have to mend is none. Nor is an answer that cannot be read: it may be one login's, or one account's.
    """
    if error.code is None:
        return error.is_retryable and not isinstance(error, BadAggregatorAnswer)
    return _is_out(error.code)


def is_answer(error: AggregatorError) -> bool:
    """Tell whether an error is how the login stands, so that asking again soon brings the same: a code that is no outage.

    It is as good as a list of accounts that all have it. A person, or we, have to see to it; or nobody knows what it means.
    """
    return bool(error.code) and error.code not in RUNNING and not is_outage(error)


def is_bank_well(listed: Sequence[ListedAccount]) -> bool | None:
    """Tell by its accounts whether a login's institution is well; None where they say nothing of it.

    An account that came through says yes. Codes that a person has to see to may be old, and say nothing.
    """
    codes = [each.status_code for each in listed]
    if 0 in codes:
        return True
    return False if any(code is not None and _is_out(code) for code in codes) else None


def _is_out(code: int) -> bool:
    meaning = read_code(code)
    if meaning.is_unexplained or code in RUNNING:
        return False
    return meaning.is_retryable and meaning.actor in (Actor.INSTITUTION, Actor.AGGREGATOR)


def _state(meaning: Meaning) -> str:
    """Name the state; closed is only what the aggregator no longer has at all."""
    return "unsupported" if meaning.state in ("closed", "unsupported") else meaning.state.value


def _urgency(standing: Standing) -> tuple[int, bool, int]:
    order = ("needs_person", "waiting", "active", "unsupported")
    code = standing.status_code
    if code is None:
        return len(order) - 1, False, 0
    return order.index(standing.state), not read_code(code).is_fixable, code
