"""Lanes: bounded, restartable, and closed in order."""

import asyncio

import pytest

from bankfeed.errors import Unavailable
from worker import lane as lanes
from worker.lane import Lane, close_lanes


async def test_a_lane_works_until_nothing_is_due_and_not_beyond_its_slots() -> None:
    """Each step that found work lets another slot look; never more run than there are slots."""
    left, running, most = 20, 0, 0

    async def step() -> bool:
        nonlocal left, running, most
        if left == 0:
            return False
        left, running = left - 1, running + 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return True

    lane = Lane("test", step, slots=3)
    await lane.drain()
    await lane.close(grace_s=1)
    assert (0, 3) == (left, most)


async def test_cancelling_whoever_waits_does_not_cancel_the_work() -> None:
    """An arq job that is cancelled takes nothing down with it."""
    go, done = asyncio.Event(), asyncio.Event()

    async def step() -> bool:
        await go.wait()
        done.set()
        return False

    lane = Lane("test", step, slots=1)
    waiting = asyncio.create_task(lane.drain())
    await asyncio.sleep(0)
    waiting.cancel()
    go.set()
    await asyncio.wait_for(done.wait(), 1)
    await lane.close(grace_s=1)


async def test_a_broken_step_frees_its_slot() -> None:
    """A bug in one piece of work, or Postgres being away, ends that drain and not the lane."""
    errors: list[Exception] = [ValueError("a bug"), Unavailable("away")]
    ran = []

    async def step() -> bool:
        if errors:
            raise errors.pop()
        ran.append(True)
        return False

    lane = Lane("test", step, slots=1)
    for _ in range(3):
        await lane.drain()
    assert [True] == ran


async def test_closing_waits_for_the_grace_time_and_no_longer() -> None:
    """What runs may finish; what does not within the grace time is cancelled; nothing new is claimed."""
    cancelled = False

    async def step() -> bool:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise
        return True

    lane = Lane("test", step, slots=2)
    lane.start()
    await asyncio.sleep(0)
    await lane.close(grace_s=0.05)
    assert cancelled
    assert lane.start() is None


async def test_what_does_not_let_go_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that is cancelled and still waits, as for a Postgres that says nothing, holds up no end; nor the other lanes."""
    monkeypatch.setattr(lanes, "CUT_OFF_S", 0.05)
    answer, given_back = asyncio.Event(), asyncio.Event()

    async def claim() -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            await answer.wait()
        return True

    async def give_back() -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            given_back.set()
        return True

    frozen, well = Lane("frozen", claim, slots=1), Lane("well", give_back, slots=1)
    for lane in (frozen, well):
        lane.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await close_lanes([frozen, well], grace_s=0.05)
    assert given_back.is_set()
    assert (1, 0) == (frozen.busy, well.busy)
    answer.set()
    await frozen.close(grace_s=1)
