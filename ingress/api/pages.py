"""Pages by key: an opaque cursor holds the last row's key, so that a page stays where it is while rows come and go."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import TypeVar

import msgspec

from bankfeed.errors import BadRequest

Key = TypeVar("Key")


def write_cursor(key: object) -> str:
    """Return a cursor for the key of a page's last row, a struct or a tuple.

    >>> write_cursor((3, "x"))
    'WzMsIngiXQ'
    """
    return urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def read_cursor(cursor: str, key: type[Key]) -> Key:
    """Return the key that a cursor holds. Raises BadRequest naming `cursor`.

    >>> read_cursor("WzMsIngiXQ", tuple[int, str])
    (3, 'x')
    """
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=key)
    except (msgspec.MsgspecError, Base64Error, ValueError) as error:
        raise BadRequest("expected a cursor as an answer gave it", field="cursor") from error
