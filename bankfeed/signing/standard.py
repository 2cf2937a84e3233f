"""Standard Webhooks (https://www.standardwebhooks.com): v1 and v1a, made and checked. Pure.

Both sign "<id>.<seconds>.<body>": v1 with HMAC-SHA256 and a shared secret (whsec_), v1a with Ed25519, of which a receiver
has the public key (whpk_). The kind of a key decides which of a message's signatures it is compared with.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bankfeed.signing.headers import TOLERANCE_S, BadSignature, check_age, find_header, has_match

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix, not a secret
PUBLIC_PREFIX: Final = "whpk_"
PRIVATE_PREFIX: Final = "whsk_"
SECRET_BYTES: Final = 32

_KEY_BYTES: Final = range(24, 65)  # what Standard Webhooks allows a key to be
_MAX_SIGNATURES: Final = 16  # more keys than anyone rotates at once; bounds the work of a hostile header
_MAX_ID_CHARS: Final = 256
_TIMESTAMP_DIGITS: Final = range(1, 13)


def new_secret(random_bytes: bytes) -> str:
    """Return the secret that 32 random bytes make, as a subscriber is shown it.

    Raises ValueError unless there are exactly 32.
    """
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"expected {SECRET_BYTES} random bytes, got {len(random_bytes)}")
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """An Ed25519 pair as Standard Webhooks writes it: `private` (whsk_) signs, `public` (whpk_) is for whoever checks."""

    private: str = field(repr=False)
    public: str


def new_signing_key(random_bytes: bytes) -> SigningKey:
    """Return the pair that 32 random bytes make. Raises ValueError unless there are exactly 32.

    The specification leaves open what "whsk_" holds; it is seed and public key, as Svix, its author, writes it.
    """
    if len(random_bytes) != SECRET_BYTES:
        raise ValueError(f"expected {SECRET_BYTES} random bytes, got {len(random_bytes)}")
    public = Ed25519PrivateKey.from_private_bytes(random_bytes).public_key().public_bytes_raw()
    return SigningKey(
        private=PRIVATE_PREFIX + base64.b64encode(random_bytes + public).decode(),
        public=PUBLIC_PREFIX + base64.b64encode(public).decode(),
    )


def sign_v1a(private: str, *, message_id: str, at: datetime, body: bytes) -> str:
    """Return the Ed25519 signature of one attempt at one message: "v1a,<base64>".

    `at` is when the attempt is made; whole seconds count. Raises ValueError for a key that is not "whsk_" and base64 of a
    32-byte seed, with or without its public key behind it, and for a time without zone.
    """
    return _sign_v1a(private, f"{message_id}.{_timestamp(at)}.".encode() + body)


def _sign_v1a(private: str, signed: bytes) -> str:
    return "v1a," + base64.b64encode(_read_private_key(private).sign(signed)).decode()


@lru_cache(maxsize=1_024)
def _read_private_key(key: str) -> Ed25519PrivateKey:
    """Read a key, and keep it: to read one takes as long as to sign with it."""
    try:
        raw = base64.b64decode(key.removeprefix(PRIVATE_PREFIX), validate=True)
    except ValueError:
        raw = b""
    if not key.startswith(PRIVATE_PREFIX) or len(raw) not in (SECRET_BYTES, 2 * SECRET_BYTES):
        raise ValueError(f"expected {PRIVATE_PREFIX} and base64 of 32 or 64 bytes")
    private = Ed25519PrivateKey.from_private_bytes(raw[:SECRET_BYTES])
    if raw[SECRET_BYTES:] not in (b"", private.public_key().public_bytes_raw()):
        raise ValueError(f"expected the public key behind the seed of a {PRIVATE_PREFIX} key to be the seed's own")
    return private


def sign_v1(secret: str, *, message_id: str, at: datetime, body: bytes) -> str:
    """Return the signature of one attempt at one message: "v1,<base64>".

    `at` is when the attempt is made; whole seconds count. Raises ValueError for a secret that is not base64 of 24 to
    64 bytes (with or without "whsec_"), and for a time without zone.
    """
    return _sign_v1(_read_key(secret), f"{message_id}.{_timestamp(at)}.".encode() + body)


def build_headers(
    secrets: Iterable[str], *, message_id: str, at: datetime, body: bytes, private_keys: Iterable[str] = ()
) -> dict[str, str]:
    """Return the three headers of a signed attempt: v1 with each secret, then v1a with each private key.

    Several of a kind, during a rotation, make several signatures: a receiver that knows any of them accepts.
    """
    timestamp = _timestamp(at)
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [_sign_v1(_read_key(secret), signed) for secret in secrets]
    signatures += [_sign_v1a(key, signed) for key in private_keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def verify_standard(
    keys: Iterable[str],
    headers: Mapping[str, str],
    *,
    body: bytes,
    now: datetime,
    tolerance_s: int = TOLERANCE_S,
) -> str:
    """Check a message against every live key, secrets (v1) and public keys (v1a) alike, and return its id.

    Header names are looked up without regard to case. Raises BadSignature for whatever a sender can get wrong, and
    ValueError for a key of ours that cannot be used.
    """
    message_id = find_header(headers, "webhook-id")
    timestamp = find_header(headers, "webhook-timestamp")
    signatures = find_header(headers, "webhook-signature").split(" ")
    _check_id(message_id)
    _check_time(timestamp, now, tolerance_s)
    if len(signatures) > _MAX_SIGNATURES:
        raise BadSignature(f"expected at most {_MAX_SIGNATURES} signatures, got {len(signatures)}")
    signed = f"{message_id}.{timestamp}.".encode() + body
    checks = [_read_check(key) for key in keys]  # all of them, so that a key that cannot be used is always seen
    if not any(has_signed(signed, signatures) for has_signed in checks):
        raise BadSignature("no signature of the message was made with a known secret")
    return message_id


def _read_check(key: str) -> Callable[[bytes, Sequence[str]], bool]:
    """Return what tells whether a key signed; the kind of the key is the scheme."""
    if key.startswith(PUBLIC_PREFIX):
        public_key = _read_public_key(key)
        return lambda signed, signatures: any(_has_signed_v1a(public_key, signed, each) for each in signatures)
    secret = _read_key(key)
    return lambda signed, signatures: has_match([_sign_v1(secret, signed)], signatures)


def _has_signed_v1a(public_key: Ed25519PublicKey, signed: bytes, signature: str) -> bool:
    scheme, _, text = signature.partition(",")
    if scheme != "v1a":
        return False
    try:
        public_key.verify(base64.b64decode(text, validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _read_public_key(key: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix(PUBLIC_PREFIX), validate=True))
    except ValueError as error:
        raise ValueError(f"expected a public key to be {PUBLIC_PREFIX} and 32 bytes in base64") from error


def _sign_v1(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _timestamp(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError("expected a time with a zone, got one without")
    return str(int(at.timestamp()))


@lru_cache(maxsize=1_024)
def _read_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("expected a secret in base64") from error
    if len(key) not in _KEY_BYTES:
        raise ValueError(f"expected a secret of 24 to 64 bytes, got {len(key)}")
    return key


def _check_id(message_id: str) -> None:
    # Printable text has its own bytes; a lone surrogate, which undecodable header bytes become, has none.
    if not (message_id.isprintable() and 1 <= len(message_id) <= _MAX_ID_CHARS):
        raise BadSignature(f"expected webhook-id to be 1 to {_MAX_ID_CHARS} printable characters")


def _check_time(timestamp: str, now: datetime, tolerance_s: int) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) in _TIMESTAMP_DIGITS):
        raise BadSignature("expected webhook-timestamp to be whole seconds since 1970")
    check_age(int(timestamp), now, name="webhook-timestamp", tolerance_s=tolerance_s)
