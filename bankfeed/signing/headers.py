"""What the schemes share: finding a header, comparing in constant time, and how far a clock may differ. Pure."""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from bankfeed.errors import Unauthorized

TOLERANCE_S: Final = 300


class BadSignature(Unauthorized):
    """The message does not carry a signature that one of the keys made, or carries it at the wrong time."""


def find_header(headers: Mapping[str, str], *names: str) -> str:
    """Return the first of these headers that is there. Names are lower case here and have no case there.

    Raises BadSignature naming the first.
    """
    for name in names:
        value = headers.get(name)
        if value is None:
            value = next((text for key, text in headers.items() if key.lower() == name), None)
        if value is not None:
            return value
    raise BadSignature(f"the header {names[0]} is missing")


def has_match(expected: Iterable[str], given: Sequence[str]) -> bool:
    """Tell whether one of the values given is one of those expected, in constant time for each pair."""
    # Headers may hold anything; bytes compare in constant time where text outside ASCII raises.
    return any(
        hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "replace")) for ours in expected for theirs in given
    )


def check_age(sent_s: float, now: datetime, *, name: str, tolerance_s: int = TOLERANCE_S) -> None:
    """Refuse a message from outside the tolerance, before or after now. `sent_s` is seconds since 1970.

    Raises BadSignature naming where the time stood.
    """
    if not abs(int(now.timestamp()) - sent_s) <= tolerance_s:  # so that NaN is refused as well
        raise BadSignature(f"expected {name} to be within {tolerance_s} s of now")
