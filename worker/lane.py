"""A lane: one kind of work, claimed from Postgres step by step while slots are free.

A wake-up, a sweep and a finished step all do the same thing, `drain`: work until nothing is due. Claims skip what others
hold, so any number of drains at once is safe; the slots bound how many there are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from bankfeed.errors import Unavailable
from bankfeed.logs import get_logger

CUT_OFF_S: Final = 3.0  # to give back what the grace time cut off


class Works(Protocol):
    """What wake-ups and sweeps start, and a shutdown closes: a lane, or the courier."""

    name: str

    def start(self) -> asyncio.Task[None] | None:
        """Begin to work off what is due; None where there is no room: those that run will see it."""

    async def drain(self) -> None:
        """See that what is due is worked off."""

    async def close(self, *, grace_s: float) -> None:
        """Claim nothing more; let what runs finish within the grace time, then give it back."""


class Lane:
    """Runs `step` (claim and do one piece; False where nothing was due) in at most `slots` tasks."""

    def __init__(self, name: str, step: Callable[[], Awaitable[bool]], *, slots: int) -> None:
        self.name = name
        self._step = step
        self._slots = slots
        self._drains: set[asyncio.Task[None]] = set()
        self._is_open = True

    @property
    def busy(self) -> int:
        """How many slots are in use."""
        return len(self._drains)

    def start(self) -> asyncio.Task[None] | None:
        """Start a drain where a slot is free; None where none is: those that run will see the work."""
        if not self._is_open or len(self._drains) >= self._slots:
            return None
        task = asyncio.create_task(self._drain(), name=f"{self.name} drain")
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)
        return task

    async def drain(self) -> None:
        """Work until nothing is due. Cancelling the caller does not cancel the work."""
        if task := self.start():
            await asyncio.shield(task)

    async def _drain(self) -> None:
        try:
            steps = 0
            while self._is_open and await self._step():
                steps += 1
                if steps > 1:
                    self.start()  # a second piece in a row: there is more than was told of, and another slot looks
        except Unavailable as error:
            get_logger().warning("lane.waits", lane=self.name, reason=str(error))
        except Exception:  # noqa: BLE001 - a bug in one piece of work must not end the worker; its lease brings it back
            get_logger().exception("lane.broken", lane=self.name)

    async def close(self, *, grace_s: float) -> None:
        """Claim nothing more; let what runs finish within the grace time, then cancel it."""
        self._is_open = False
        if self._drains:
            _, late = await asyncio.wait(self._drains, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def close_lanes(lanes: Sequence[Works], *, grace_s: float) -> None:
    """Close all lanes, within the grace time and CUT_OFF_S.

    A claim on its way and what is given back wait for Postgres. Where it does not answer they are left to the end of the
    process, as by a kill: leases bring the work back.
    """
    closing = asyncio.gather(*(lane.close(grace_s=grace_s) for lane in lanes))
    ended, _ = await asyncio.wait([closing], timeout=grace_s + CUT_OFF_S)
    for each in ended:
        each.result()
