"""Reading steps that the dialects share: JSON from strangers, and ids, words and times within bounds. Pure.

The law: whatever the bytes are, the only exception is BadRequest, the work is linear in their number, and no message
repeats more than a short piece of what came.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from bankfeed.errors import BadRequest

MAX_REFS: Final = 1_000
MAX_REF_CHARS: Final = 64
_REF_LIMIT: Final = 10**MAX_REF_CHARS
MAX_EVENT_ID_CHARS: Final = 200
MAX_NAME_CHARS: Final = 64

_EXCERPT_CHARS: Final = 40
_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_CLOSERS: Final = b"}]"
_BLANKS: Final = b" \t\r\n"


def read_object(body: bytes) -> Mapping[str, object]:
    """Read a body that must be one JSON object; a trailing comma is forgiven. The last of equal keys counts."""
    event = read_json(body, field=None)
    if not isinstance(event, dict):
        raise BadRequest(f"expected the body to be a JSON object, got {describe(event)}")
    return event


def read_json(text: bytes, *, field: str | None) -> object:
    """Read JSON strictly, and once more without its trailing commas where that fails.

    `field` names what is read in the error, None the whole body. Raises BadRequest.
    """
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise _not_json(text, field, "nested too deeply") from error
    except (msgspec.MsgspecError, ValueError):
        return _read_without_trailing_commas(text, field)


def _read_without_trailing_commas(text: bytes, field: str | None) -> object:
    try:
        return msgspec.json.decode(drop_trailing_commas(text))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _not_json(text, field, str(error)[:100]) from error


def _not_json(text: bytes, field: str | None, reason: str) -> BadRequest:
    came = describe(text[: 4 * _EXCERPT_CHARS].decode(errors="replace"))
    return BadRequest(f"expected {field or 'the body'} to be JSON, got {came} ({reason})", field=field)


def drop_trailing_commas(text: bytes) -> bytes:
    """Return the text without each comma that only blanks part from a closing bracket; strings stay as they are.

    >>> drop_trailing_commas(b'{"a": "1,]", "b": [1, 2, ], }')
    b'{"a": "1,]", "b": [1, 2 ] }'
    """
    kept = bytearray()
    comma_at = None  # where in `kept` a comma stands with nothing but blanks after it
    at = 0
    while at < len(text):
        end = _find_string_end(text, at) if text[at] == _QUOTE else at + 1
        if text[at] in _CLOSERS and comma_at is not None:
            del kept[comma_at]
        if text[at] == _COMMA:
            comma_at = len(kept)
        elif text[at] not in _BLANKS:
            comma_at = None
        kept += text[at:end]
        at = end
    return bytes(kept)


def _find_string_end(text: bytes, at: int) -> int:
    at += 1
    while at < len(text) and text[at] != _QUOTE:
        at += 2 if text[at] == _BACKSLASH else 1
    return at + 1


def read_word(event: Mapping[str, object], field: str) -> str:
    """Return a sender's own word for something, printable and at most 64 characters long."""
    value = event.get(field)
    text = value if isinstance(value, str) else ""
    word = (text if text.isprintable() else "".join(filter(str.isprintable, text))).strip()
    if not word:
        raise BadRequest(f"expected {field} to be a word, got {describe(value)}", field=field)
    return word[:MAX_NAME_CHARS]


def read_event_id(event: Mapping[str, object], field: str = "eventId") -> str:
    """Return the id that a sender gave its event, without blanks around it."""
    value = event.get(field)
    event_id = value.strip() if isinstance(value, str) else ""
    if not (event_id and event_id.isprintable() and len(event_id) <= MAX_EVENT_ID_CHARS):
        raise BadRequest(
            f"expected {field} to be text of 1 to {MAX_EVENT_ID_CHARS} characters, got {describe(value)}", field=field
        )
    return event_id


def read_object_at(event: Mapping[str, object], field: str) -> Mapping[str, object]:
    """Return the object under a key."""
    value = event.get(field)
    if not isinstance(value, dict):
        raise BadRequest(f"expected {field} to be an object, got {describe(value)}", field=field)
    return value


def read_time(value: object, field: str) -> datetime:
    """Return an ISO date and time in UTC; one without zone is taken as UTC."""
    sent_at = find_time(value)
    if sent_at is None:
        raise BadRequest(f"expected {field} to be an ISO date and time, got {describe(value)}", field=field)
    return sent_at


def find_time(value: object) -> datetime | None:
    """Return an ISO date and time in UTC, or None where the value is none."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def read_ref(value: object, field: str) -> str:
    """Return one of the aggregator's ids as text; on the wire it is text or a whole number."""
    ref = find_ref(value)
    if ref is None:
        raise BadRequest(
            f"expected {field} to hold ids of 1 to {MAX_REF_CHARS} characters, got {describe(value)}", field=field
        )
    return ref


def find_ref(value: object) -> str | None:
    """Return an id as text, or None where the value cannot be one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < _REF_LIMIT else None
    ref = value.strip() if isinstance(value, str) else ""
    return ref if ref and ref.isprintable() and len(ref) <= MAX_REF_CHARS else None


def read_refs(values: Iterable[object], field: str) -> tuple[str, ...]:
    """Return the different ids of a list, in its order, at most 1,000."""
    refs = tuple(
        dict.fromkeys(
            # most are whole numbers, and a call for each is a good part of a webhook's time
            [
                str(value) if type(value) is int and -_REF_LIMIT < value < _REF_LIMIT else read_ref(value, field)
                for value in values
            ]
        )
    )
    if len(refs) > MAX_REFS:
        raise BadRequest(f"expected {field} to hold at most {MAX_REFS:,} ids, got {len(refs):,}", field=field)
    return refs


def describe(value: object) -> str:
    """Say in a few words what came instead, with a short piece of it where it is text or a number."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return repr(value[:_EXCERPT_CHARS]) + ("..." if len(value) > _EXCERPT_CHARS else "")
        case int() | float():
            return str(value) if abs(value) < 10**_EXCERPT_CHARS else "a huge number"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "an object"
