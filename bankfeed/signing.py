"""Signatures of webhooks, made and checked over the raw bytes. Pure: the clock and the randomness are arguments.

Two schemes: Standard Webhooks v1 (https://www.standardwebhooks.com), which Bankfeed sends and reads, and the bare hex
HMAC-SHA256 of a body that Finicity sends. Which one a sender uses is configuration, never read from its message.
Nothing here parses a body.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from bankfeed.errors import Unauthorized

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix, not a secret
SECRET_BYTES: Final = 32
TOLERANCE_S: Final = 300

_KEY_BYTES: Final = range(24, 65)  # what Standard Webhooks allows a key to be
_MAX_SIGNATURES: Final = 16  # more keys than anyone rotates at once; bounds the work of a hostile header
_MAX_ID_CHARS: Final = 256
_TIMESTAMP_DIGITS: Final = range(1, 13)


class BadSignature(Unauthorized):
    """The message does not carry a signature that one of the keys made, or carries it at the wrong time."""


def new_secret(random_bytes: bytes) -> str:
    """Return the secret that 32 random bytes make, as a subscriber is shown it.

    Raises ValueError unless there are exactly 32.
    """
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"expected {SECRET_BYTES} random bytes, got {len(random_bytes)}")
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def sign_v1(secret: str, *, message_id: str, at: datetime, body: bytes) -> str:
    """Return the signature of one attempt at one message: "v1,<base64>".

    `at` is when the attempt is made; whole seconds count. Raises ValueError for a secret that is not base64 of 24 to
    64 bytes (with or without "whsec_"), and for a time without zone.
    """
    return _sign(_read_key(secret), message_id, _timestamp(at), body)


def build_headers(secrets: Iterable[str], *, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed attempt.

    Several secrets, during a rotation, make several signatures: a receiver that knows any of them accepts.
    """
    signatures = [sign_v1(secret, message_id=message_id, at=at, body=body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": _timestamp(at),
        "webhook-signature": " ".join(signatures),
    }


def verify_v1(
    secrets: Iterable[str],
    headers: Mapping[str, str],
    *,
    body: bytes,
    now: datetime,
    tolerance_s: int = TOLERANCE_S,
) -> str:
    """Check a message against every live secret and return its id.

    Header names are looked up without regard to case. Raises BadSignature for whatever a sender can get wrong, and
    ValueError for a secret of ours that cannot be used.
    """
    message_id = _find_header(headers, "webhook-id")
    timestamp = _find_header(headers, "webhook-timestamp")
    signatures = _find_header(headers, "webhook-signature").split(" ")
    _check_id(message_id)
    _check_time(timestamp, now, tolerance_s)
    if len(signatures) > _MAX_SIGNATURES:
        raise BadSignature(f"expected at most {_MAX_SIGNATURES} signatures, got {len(signatures)}")
    expected = [_sign(_read_key(secret), message_id, timestamp, body) for secret in secrets]
    if not _has_match(expected, signatures):
        raise BadSignature("no signature of the message was made with a known secret")
    return message_id


def sign_hex_hmac(key: str, body: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256 of a body, as Finicity's X-Finicity-Signature carries it."""
    return hmac.digest(key.encode(), body, "sha256").hex()


def verify_hex_hmac(keys: Iterable[str], body: bytes, *, header_value: str | None) -> None:
    """Check a bare hex HMAC against every live key. Raises BadSignature; `header_value` is None where it is missing."""
    if header_value is None:
        raise BadSignature("the signature header is missing")
    if not _has_match([sign_hex_hmac(key, body) for key in keys], [header_value.strip().lower()]):
        raise BadSignature("the signature was not made with a known key")


def _has_match(expected: Sequence[str], given: Sequence[str]) -> bool:
    # Headers may hold anything; bytes compare in constant time where text outside ASCII raises.
    return any(
        hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "replace")) for ours in expected for theirs in given
    )


def _sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _timestamp(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("expected a time with a zone, got one without")
    return str(int(at.timestamp()))


def _read_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("expected a secret in base64") from error
    if len(key) not in _KEY_BYTES:
        raise ValueError(f"expected a secret of 24 to 64 bytes, got {len(key)}")
    return key


def _find_header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        value = next((text for key, text in headers.items() if key.lower() == name), None)
    if value is None:
        raise BadSignature(f"the header {name} is missing")
    return value


def _check_id(message_id: str) -> None:
    # Printable text has its own bytes; a lone surrogate, which undecodable header bytes become, has none.
    if not (message_id.isprintable() and 1 <= len(message_id) <= _MAX_ID_CHARS):
        raise BadSignature(f"expected webhook-id to be 1 to {_MAX_ID_CHARS} printable characters")


def _check_time(timestamp: str, now: datetime, tolerance_s: int) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) in _TIMESTAMP_DIGITS):
        raise BadSignature("expected webhook-timestamp to be whole seconds since 1970")
    if abs(int(now.timestamp()) - int(timestamp)) > tolerance_s:
        raise BadSignature(f"expected webhook-timestamp to be within {tolerance_s} s of now")
