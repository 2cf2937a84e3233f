"""How Finicity signs: the bare HMAC-SHA256 of a body in X-Finicity-Signature, and TxPUSH's own scheme. Pure."""

import base64
import hmac
import re
from collections.abc import Iterable
from typing import Final

from bankfeed.signing.headers import BadSignature, has_match

TXPUSH_PARTS: Final = ("content_type", "host", "body")
_PLACE: Final = re.compile(r"\{(" + "|".join(TXPUSH_PARTS) + r")\}")


def sign_hex_hmac(key: str, body: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256 of a body, as Finicity's X-Finicity-Signature carries it."""
    return hmac.digest(key.encode(), body, "sha256").hex()


def verify_hex_hmac(keys: Iterable[str], body: bytes, *, header_value: str | None) -> None:
    """Check a bare hex HMAC against every live key. Raises BadSignature; `header_value` is None where it is missing."""
    if header_value is None:
        raise BadSignature("the signature header is missing")
    if not has_match([sign_hex_hmac(key, body) for key in keys], [header_value.strip().lower()]):
        raise BadSignature("the signature was not made with a known key")


def txpush_text(pattern: str, *, content_type: str, host: str, body: bytes) -> bytes:
    """Return what TxPUSH signs: the two headers and the Base64 of the body, where the pattern has their names.

    Which of them stands first and what parts them is documented nowhere, so the pattern is a setting.

    >>> txpush_text("{content_type}|{host}|{body}", content_type="application/json", host="example.com", body=b"{}")
    b'application/json|example.com|e30='
    """
    parts = {"content_type": content_type, "host": host, "body": base64.b64encode(body).decode()}
    return _PLACE.sub(lambda place: parts[place[1]], pattern).encode("utf-8", "surrogateescape")


def sign_txpush(key: str, text: bytes) -> str:
    """Return TxPUSH's signature of what `txpush_text` made, in hex."""
    return hmac.digest(key.encode(), text, "sha256").hex()


def verify_txpush(keys: Iterable[str], text: bytes, *, header_value: str | None) -> None:
    """Check TxPUSH's signature against every live key; hex and Base64 are both taken, for neither is documented.

    Raises BadSignature; `header_value` is None where it is missing.
    """
    if header_value is None:
        raise BadSignature("the signature header is missing")
    digests = [hmac.digest(key.encode(), text, "sha256") for key in keys]
    given = header_value.strip()
    is_hex = has_match([digest.hex() for digest in digests], [given.lower()])
    is_base64 = has_match([base64.b64encode(digest).decode() for digest in digests], [given])
    if not (is_hex or is_base64):
        raise BadSignature("the signature was not made with a known key")
