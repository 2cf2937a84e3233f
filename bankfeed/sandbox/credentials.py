"""Which credentials the pretend bank takes, after FinBank's published table, and what it keeps of them. Pure.

A password is never kept, and of a username only what its accounts depend on: a published one as it is, any other as
a keyed hash. What else depends on credentials is kept as the manner in which the bank lets this person in.
"""

import hashlib
import hmac
from enum import StrEnum

from bankfeed.sandbox.refusals import aggregation_failed, bad_request

RIGHT_PASSWORD = "go"  # noqa: S105  published, and guards nothing
FAILING_PASSWORDS = {"123", "125", "127", "128", "130"}
INVALID_USER = "invalid_user"
INVALID_CREDENTIALS = 103


class Manner(StrEnum):
    """How the bank lets a person in: at once, late, or after questions, one way for each row of the table.

    `TOKEN` is the way of the institution that asks for everything: a token's code, then security questions.
    """

    PLAIN = "plain"
    SLOW = "slow"
    TEXT = "text"
    IMAGE = "image"
    CHOICE = "choice"
    MULTI = "multi"
    IMAGE_CHOICE = "imageChoice"
    IMAGE_CHOICE_2 = "imageChoice2"
    TOKEN = "token"  # noqa: S105  a manner, no token

    @property
    def asks(self) -> bool:
        """Tell whether a person has to answer questions."""
        return self not in {Manner.PLAIN, Manner.SLOW}


BY_USERNAME = {
    "tfa_text": Manner.TEXT,
    "tfa_image": Manner.IMAGE,
    "tfa_choice": Manner.CHOICE,
    "tfa_multi": Manner.MULTI,
    "discovertimeout": Manner.SLOW,
}
BY_PASSWORD = {"imagechoice": Manner.IMAGE_CHOICE, "imagechoice2": Manner.IMAGE_CHOICE_2}
PUBLISHED = {"demo", *BY_USERNAME}


def manner_of(username: str, password: str) -> Manner:
    """Return how the bank lets these credentials in: any username with the password "go", and the table's others.

    Different usernames are different logins with accounts of their own. Refuses a missing username, and wrong
    credentials with the aggregation code of the table.
    """
    if not username:
        raise bad_request("expected a username")
    if code := code_of(username, password):
        raise aggregation_failed(code)
    return BY_PASSWORD.get(password) or BY_USERNAME.get(username, Manner.PLAIN)


def code_of(username: str, password: str) -> int:
    """Return the aggregation code that these credentials meet; 0 where they are right.

    Example:
        >>> code_of("demo", "go"), code_of("demo", "127"), code_of("invalid_user", "go"), code_of("demo", "x")
        (0, 127, 103, 103)
    """
    if username == INVALID_USER:
        return INVALID_CREDENTIALS
    if password in FAILING_PASSWORDS:
        return int(password)
    return 0 if password == RIGHT_PASSWORD or password in BY_PASSWORD else INVALID_CREDENTIALS


def kept_name(username: str, key: bytes) -> str:
    """Return what is kept of a username: itself if it is published, else a keyed hash of it."""
    if username in PUBLISHED:
        return username
    return "~" + hmac.new(key, username.encode(), hashlib.sha256).hexdigest()[:24]
