"""Places around the commit of each hand-over where a process kills itself, when a test told it to.

Nothing happens unless the setting BANKFEED_FAILPOINT names a place, as NAME or NAME:N; then the process gets SIGKILL the
Nth time it comes there, so that it has no chance to clean up. Never set where anything matters. What calls `reach` must
not depend on it.
"""

import os
import re
import signal
from enum import StrEnum


class Failpoint(StrEnum):
    """Before a commit everything of it is written; after it nothing has followed yet."""

    BEFORE_INBOX_INSERT = "before_inbox_insert"
    AFTER_INBOX_INSERT = "after_inbox_insert"
    BEFORE_HAND_OVER = "before_hand_over"  # an inbox event done, and `requested + 1`
    AFTER_HAND_OVER = "after_hand_over"
    BEFORE_PULL = "before_pull"
    AFTER_PULL = "after_pull"
    BEFORE_FINISH = "before_finish"  # of a refresh, in the same commit as its last pull
    AFTER_FINISH = "after_finish"
    BEFORE_DELIVERY_CLAIM = "before_delivery_claim"
    AFTER_DELIVERY_CLAIM = "after_delivery_claim"
    BEFORE_ATTEMPT = "before_attempt"  # answered, and not recorded
    AFTER_ATTEMPT = "after_attempt"


_times_left: dict[Failpoint, int] = {}  # of the one place that is armed, for the life of the process


def read_failpoint(text: str) -> tuple[Failpoint, int] | None:
    """Read NAME or NAME:N; "" is None. Raises ValueError saying what is expected."""
    if not text:
        return None
    name, _, times = text.partition(":")
    if name not in list(Failpoint) or not re.fullmatch(r"[1-9][0-9]{0,5}", times or "1"):
        raise ValueError("NAME or NAME:N, with a name of bankfeed/failpoints.py")
    return Failpoint(name), int(times or "1")


def arm(armed: tuple[Failpoint, int] | None) -> None:
    """Let this process die at a place, the Nth time it comes there; None lets it live."""
    _times_left.clear()
    if armed is not None:
        _times_left.update([armed])


def reach(failpoint: Failpoint) -> None:
    """Pass this place, or die here."""
    if failpoint not in _times_left:
        return
    _times_left[failpoint] -= 1
    if _times_left[failpoint] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
