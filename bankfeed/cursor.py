"""Cursors: where a reader goes on, as an opaque text. Pure.

A cursor holds a key: of a page's last row, so that a page stays where it is while rows come and go, or a position in a
client's feed of changes.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import TypeVar

import msgspec

from bankfeed.errors import BadRequest
from bankfeed.model import ClientId

Key = TypeVar("Key")


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a reader of a client's changes is: `after` is the last change number read, `since` where it was up to date.

    Numbers are of an `epoch`; a restore of an older backup begins another one.
    """

    client_id: ClientId
    since: int
    after: int
    epoch: int = 0

    @property
    def has_more(self) -> bool:
        """Tell whether the reader is not up to date yet."""
        return self.since < self.after


def write_cursor(key: object) -> str:
    """Return a cursor for a key, a struct or a tuple.

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
