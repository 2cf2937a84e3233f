"""What an e-mail address and a password have to be. Pure."""

import re
from typing import Final

from bankfeed.errors import BadRequest

MAX_EMAIL_CHARS: Final = 254
MIN_PASSWORD_CHARS: Final = 10
MAX_PASSWORD_CHARS: Final = 200
_EMAIL: Final = re.compile(
    r"(?=.{3,254}\Z)[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9][a-z0-9-]{0,62})+\Z"
)


def clean_email(text: str) -> str:
    """Return an e-mail address as it is kept and looked for, whether or not it is one.

    >>> clean_email(" Ann@Firm.Example ")
    'ann@firm.example'
    """
    return text.strip().lower()


def is_email(email: str) -> bool:
    """Tell whether a cleaned text can be an e-mail address: plain letters, one @, a domain with a dot.

    >>> is_email("ann@firm.example"), is_email("ann@firm"), is_email("ann firm@x.example")
    (True, False, False)
    """
    return _EMAIL.match(email) is not None


def read_email(text: str) -> str:
    """Return an e-mail address, cleaned. Raises BadRequest naming `email`."""
    email = clean_email(text)
    if not is_email(email):
        raise BadRequest("expected an e-mail address like ann@firm.example", field="email")
    return email


def check_password(password: str, *, email: str, field: str = "password") -> None:
    """Refuse a new password that is too short, too long or the e-mail address. Raises BadRequest naming the field."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise BadRequest(
            f"expected a password of {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters, got {len(password)}",
            field=field,
        )
    if clean_email(password) == email:
        raise BadRequest("expected a password that is not the e-mail address", field=field)
