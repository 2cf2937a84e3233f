"""Lines before what holds a connection to Postgres for long, so that the rest of the pool is there for everybody else.

Nobody's requests hold one while a password is hashed, and anybody may ask for that; a stream holds one as long as its reader
reads. Each kind has a share of the pool; who finds no place waits a little, or is told to come back.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bankfeed.errors import Unavailable
from bankfeed.model import CustomerId
from ingress.api.route import Problem

SHARE: Final = 3  # one in so many connections of the pool
MOST_WAITING: Final = 64
PATIENCE_S: Final = 10.0
STREAMS_EACH: Final = 2


class Line:
    """A line of its own, in each replica."""

    def __init__(self, pool_connections: int) -> None:
        self._slots = asyncio.Semaphore(max(1, pool_connections // SHARE))
        self._waiting = 0

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Hold a slot. Raises Unavailable where too many wait already, or for too long."""
        if self._waiting >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} wait already")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._slots.acquire(), PATIENCE_S)
        except TimeoutError as error:
            raise Unavailable(f"no place within {PATIENCE_S:g} s") from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()


class Streams:
    """The line before streams: a share of the pool for all, and few at a time for each customer."""

    def __init__(self, pool_connections: int) -> None:
        self._line = Line(pool_connections)
        self._counts: Counter[CustomerId] = Counter()

    @asynccontextmanager
    async def wait(self, customer_id: CustomerId) -> AsyncIterator[None]:
        """Hold a slot. Raises Problem 429 where the customer has enough, Unavailable where there is no place."""
        if self._counts[customer_id] >= STREAMS_EACH:
            text = f"expected at most {STREAMS_EACH} streams at a time of one customer"
            raise Problem(429, "rate_limited", text, headers={"Retry-After": "5"})
        self._counts[customer_id] += 1
        try:
            async with self._line.wait():
                yield
        finally:
            self._counts[customer_id] -= 1
            self._counts += Counter()  # forgets who has none
