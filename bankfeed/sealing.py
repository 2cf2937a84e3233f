"""Secrets at rest: sealed with AES-256-GCM under a named key, so that a copy of the database gives none away. Pure.

A sealed text is "sealed:<key id>:<base64 of nonce and ciphertext>". What it belongs to is sealed with it, so that one put
into another customer's row does not open. The first key seals, all of them open. Every process has to have a key before any
seals with it: so a new key comes last, then first, then `bankfeed secrets reencrypt` seals everything anew, and then the old
one may go. A nonce is 96 random bits, good for 2^32 texts of one key (NIST SP 800-38D, 8.3).
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX: Final = "sealed:"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_KEY_ID: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)


class CannotOpen(ValueError):
    """A sealed text that no key at hand opens; the text of the error gives nothing away."""


class Sealer:
    """Seals texts and opens them. `random_bytes` is where nonces come from, os.urandom outside of tests."""

    def __init__(self, keys: Mapping[str, bytes], *, random_bytes: Callable[[int], bytes]) -> None:
        """Take the keys by id, the one that seals first. Raises ValueError where there is none, or one is not 32 bytes."""
        if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"expected at least one key, each of {KEY_BYTES} bytes")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._random_bytes = random_bytes
        self.key_id = next(iter(keys))

    def seal(self, text: str, *, of: str) -> str:
        """Seal a text that belongs to `of`, such as "endpoint of customer 7"."""
        nonce = self._random_bytes(NONCE_BYTES)
        # surrogatepass: an encoding error would have the text in it
        sealed = self._ciphers[self.key_id].encrypt(nonce, text.encode("utf-8", "surrogatepass"), of.encode())
        return f"{PREFIX}{self.key_id}:{b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, of: str) -> str:
        """Return what was sealed for `of`. Raises CannotOpen."""
        key_id, _, text = sealed.removeprefix(PREFIX).partition(":")
        cipher = self._ciphers.get(key_id) if sealed.startswith(PREFIX) else None
        if cipher is None:
            raise CannotOpen("expected a text sealed with one of the keys of BANKFEED_SECRET_KEYS")
        opened = _decrypt(cipher, text, of=of)
        if opened is None:  # raised here, so that the error carries no other one, which might hold more
            raise CannotOpen(f"expected a text sealed with the key {key_id} for what it is read for")
        return opened

    def is_current(self, sealed: str) -> bool:
        """Tell whether a text is sealed with the key that seals now."""
        return sealed.startswith(f"{PREFIX}{self.key_id}:")


def read_keys(text: str) -> dict[str, bytes]:
    """Read keys written as "name:base64,name:base64"; "" is none.

    Raises ValueError that says what was expected, and repeats nothing of the text.
    """
    keys: dict[str, bytes] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key_id, _, encoded = part.partition(":")
        key = _decode(encoded)
        is_new = key_id not in keys and key not in keys.values()
        if not (_KEY_ID.fullmatch(key_id) and is_new and key is not None and len(key) == KEY_BYTES):
            raise ValueError(
                f"keys like name:base64 of {KEY_BYTES} bytes, comma-separated, each name and each key once"
            )
        keys[key_id] = key
    return keys


def write_key(key_id: str, key: bytes) -> str:
    """Write one key as `read_keys` reads it. Raises ValueError for what is no name, or no key of 32 bytes.

    >>> read_keys(write_key("k1", bytes(32))) == {"k1": bytes(32)}
    True
    """
    if not _KEY_ID.fullmatch(key_id):
        raise ValueError(f"expected a name of 1 to 32 of a-z, 0-9 and -, got {key_id!r}")
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    return f"{key_id}:{b64encode(key).decode()}"


def _decrypt(cipher: AESGCM, text: str, *, of: str) -> str | None:
    raw = _decode(text)
    if raw is None or len(raw) < NONCE_BYTES:
        return None
    try:
        return cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], of.encode()).decode("utf-8", "surrogatepass")
    except (InvalidTag, UnicodeDecodeError):
        return None


def _decode(text: str) -> bytes | None:
    """Decode base64 as `b64encode` writes it; None for any other text, also one of the same bytes."""
    try:
        raw = b64decode(text, validate=True)
    except ValueError:
        return None
    return raw if b64encode(raw).decode() == text else None
