"""Addresses that carry their own proof: signed with the deployment's keys, so that nobody makes or alters one. Pure.

The keys are those that seal secrets at rest (bankfeed/sealing.py), each turned into one for signing. The first signs, all of
them check: an address stays good while its key is among them.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

_PURPOSE: Final = b"bankfeed links"


class Signer:
    """Signs texts, and tells whether a signature is ours. What a signature is for is part of it: one for a page opens no other door."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take the keys by id, the one that signs first. Raises ValueError where there is none."""
        if not keys:
            raise ValueError("expected at least one key")
        self._keys = tuple(hmac.digest(key, _PURPOSE, "sha256") for key in keys.values())

    def sign(self, text: str, *, for_use: str) -> str:
        """Return a signature: 64 hexadecimal digits."""
        return _mac(self._keys[0], text, for_use)

    def is_signed(self, text: str, signature: str, *, for_use: str) -> bool:
        """Tell, in constant time, whether one of the keys made a signature of this text for this use."""
        given = signature.encode("utf-8", "replace")
        matches = [hmac.compare_digest(_mac(key, text, for_use).encode(), given) for key in self._keys]
        return any(matches)


def _mac(key: bytes, text: str, for_use: str) -> str:
    body = b"".join(len(part).to_bytes(4, "big") + part for part in (for_use.encode(), text.encode("utf-8", "replace")))
    return hmac.new(key, body, hashlib.sha256).hexdigest()
