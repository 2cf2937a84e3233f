"""What a session keeps between two pages, sealed: the visit at the aggregator, what it asked or offered, the form filled in.

It lasts some minutes, and goes with the step that needs it. Credentials are in it only from the sign-in until the accounts
are known, for a login that is linked already is given them then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from bankfeed.aggregators.linking import Challenge, Consent, FormField, Offer
from bankfeed.db.widget import WidgetSession
from bankfeed.repair import Tried
from bankfeed.sealing import CannotOpen, Sealer


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What is under way.

    `is_refresh` says that the challenge is of a login that exists; `linked` are those of the offered accounts that look like
    ones that are linked already. `tried` is how far a repair has come.
    """

    form: tuple[FormField, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    challenge: Challenge | None = None
    is_refresh: bool = False
    offer: Offer | None = None
    linked: tuple[str, ...] = ()
    consent: Consent | None = None
    tried: tuple[Tried, ...] = ()


NOTHING = Visit()


def seal(sealer: Sealer, session: WidgetSession, visit: Visit) -> str:
    """Seal a visit for its session; "" where there is nothing in it."""
    return "" if visit == NOTHING else sealer.seal(msgspec.json.encode(visit).decode(), of=_of(session))


def unseal(sealer: Sealer, session: WidgetSession) -> Visit:
    """Return a session's visit; an empty one where its time is over, or its key is gone."""
    if not session.visit:
        return NOTHING
    try:
        return msgspec.json.decode(sealer.open(session.visit, of=_of(session)), type=Visit)
    except (CannotOpen, msgspec.MsgspecError):
        return NOTHING


def _of(session: WidgetSession) -> str:
    return f"widget session {session.id} of customer {session.customer_id}"
