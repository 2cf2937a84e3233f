"""A consent on the bank's own page, from the aggregator's request to the person's decision and back. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.refusals import invalid_parameter

CONSENT_MISSING = 945
LONGEST_URI_CHARS = 2048
LONGEST_STATE_CHARS = 512


class Decision(StrEnum):
    """What the person decided."""

    ALLOWED = "allow"
    DECLINED = "decline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """One OAuth session. `login_id` is set where an existing login is to be renewed, `code` once it is allowed.

    `offered` are the accounts that the page lists, `kinds` those that the person ticked.
    """

    customer_id: int
    institution_id: int
    redirect_uri: str
    state: str
    offered: tuple[AccountKind, ...]
    login_id: int | None = None
    decision: Decision | None = None
    code: str = field(default="", repr=False)
    kinds: tuple[AccountKind, ...] = ()

    def way_back(self) -> str:
        """Return where the decided person's browser goes: state with a code, or with `error=access_denied`.

        Example:
            >>> Consent(customer_id=1, institution_id=2, redirect_uri="https://a.example/b?c=d", state="s",
            ...         offered=(), decision=Decision.DECLINED).way_back()
            'https://a.example/b?c=d&state=s&error=access_denied'
        """
        outcome = {"code": self.code} if self.decision is Decision.ALLOWED else {"error": "access_denied"}
        parts = urlsplit(self.redirect_uri)
        query = [*parse_qsl(parts.query, keep_blank_values=True), ("state", self.state), *outcome.items()]
        return urlunsplit(parts._replace(query=urlencode(query)))

    def origin(self) -> str:
        """Return scheme, host and port of the way back."""
        parts = urlsplit(self.redirect_uri)
        return f"{parts.scheme}://{parts.netloc}"


def checked_uri(uri: str) -> str:
    """Return an address that a browser may be sent back to, or refuse it with 10100.

    It is http or https with a host, in printable ASCII, without user, fragment, and what ends a header's directive.
    """
    is_plain = (
        0 < len(uri) <= LONGEST_URI_CHARS and uri.isascii() and uri.isprintable() and not set(uri) & set(" ;,\"'<>\\")
    )
    try:
        parts = urlsplit(uri)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        raise invalid_parameter("redirectUri") from None
    if not is_plain or not is_whole or "@" in parts.netloc or parts.fragment or "#" in uri:
        raise invalid_parameter("redirectUri")
    return uri


def checked_state(state: str) -> str:
    """Return a state that goes back as it came, or refuse one that is too long with 10100."""
    if len(state) > LONGEST_STATE_CHARS:
        raise invalid_parameter("state")
    return state
