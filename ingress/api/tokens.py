"""Tokens, keys and invitations: made here, shown once, and known by their hash from then on."""

import secrets
from hashlib import sha256
from typing import Final

SESSION: Final = "bft"
KEY: Final = "bfk"
INVITATION: Final = "bfi"
RANDOM_BYTES: Final = 32


def make_token(kind: str, environment: str) -> str:
    """Return a new one of a kind: the kind, the environment, and 43 letters that nobody guesses."""
    return f"{kind}_{environment}_{secrets.token_urlsafe(RANDOM_BYTES)}"


def hash_token(token: str) -> bytes:
    """Return what is kept of it."""
    return sha256(token.encode(errors="replace")).digest()
