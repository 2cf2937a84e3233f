"""Checking and hashing passwords: slow on purpose, so never on the event loop, few at a time, and alike whether the user exists."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bankfeed.errors import Unavailable

SLOTS = 2  # a check takes 64 MiB and all of a core
MOST_WAITING = 32


class Passwords:
    """Verifies Argon2id hashes in threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._slots = asyncio.Semaphore(SLOTS)
        self._waiting = 0

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether a password belongs to a hash; None takes as long and is always False.

        Raises Unavailable where too many wait already.
        """
        async with self._take_slot():
            return await asyncio.to_thread(self._verify, password_hash, password)

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash of a new password. Raises Unavailable where too many wait already."""
        async with self._take_slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    @asynccontextmanager
    async def _take_slot(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} passwords wait to be checked already")
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1

    @cached_property
    def _decoy(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe())

    def _verify(self, password_hash: str | None, password: str) -> bool:
        decoy = self._decoy  # also for a user who exists: the first check makes it, whoever asks
        try:
            return self._hasher.verify(password_hash or decoy, password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False
