"""Wake-ups through Redis: they start lanes, and nothing about Redis stops the worker."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time
from typing import Any

import pytest
from arq.connections import ArqRedis
from prometheus_client import REGISTRY

from bankfeed import metrics
from bankfeed.jobs import QUEUE_NAME, WAKE_EXPIRES_S, Wake, Waker, open_redis
from bankfeed.local import LocalRedis
from bankfeed.settings import Secret, Settings
from tests.finbank import free_port
from tests.torture.proxy import FaultProxy
from worker.lane import Lane
from worker.wakes import listen_for_wakes

JOB = "arq:job:x"
Hostile = Callable[[ArqRedis], Awaitable[Any]]
HOSTILE: dict[str, list[Hostile]] = {
    "a job that is no JSON": [lambda r: r.set(JOB, b"\x80\x04nope"), lambda r: r.zadd(QUEUE_NAME, {"x": 1})],
    "a try that is text": [
        lambda r: r.set(JOB, b'{"f":"inbox","a":[],"k":{},"t":"9","et":1}'),
        lambda r: r.zadd(QUEUE_NAME, {"x": 1}),
    ],
    "a name that is a list": [
        lambda r: r.set(JOB, b'{"f":[1],"a":[],"k":{},"t":null,"et":1}'),
        lambda r: r.zadd(QUEUE_NAME, {"x": 1}),
    ],
    "a time that is text": [
        lambda r: r.set(JOB, b'{"f":"inbox","a":[],"k":{},"t":null,"et":"z"}'),
        lambda r: r.zadd(QUEUE_NAME, {"x": 1}),
    ],
    "a count of tries that is text": [
        lambda r: r.set(JOB, b'{"f":"inbox","a":[],"k":{},"t":null,"et":1}'),
        lambda r: r.set("arq:retry:x", "abc"),
        lambda r: r.zadd(QUEUE_NAME, {"x": 1}),
    ],
    "a score without end": [lambda r: r.zadd(QUEUE_NAME, {"x": float("-inf")})],
    "an id that is no text": [lambda r: r.zadd(QUEUE_NAME, {b"\xff\xfe": 1})],
    "a queue that is none": [lambda r: r.set(QUEUE_NAME, "x")],
    "aborts that are none": [lambda r: r.set("arq:abort", "x")],
}


@pytest.fixture
async def client(redis: LocalRedis) -> AsyncIterator[ArqRedis]:
    """A Redis with nothing in it."""
    made = open_redis(redis.url())
    await made.flushall()
    yield made
    await made.aclose()


@pytest.fixture
async def waker(redis: LocalRedis) -> AsyncIterator[Waker]:
    """What sends wake-ups."""
    made = Waker(open_redis(redis.url()))
    yield made
    await made.close()


@asynccontextmanager
async def listening(settings: Settings, url: str) -> AsyncIterator[tuple[asyncio.Task[None], asyncio.Event]]:
    """Listen for wake-ups of the inbox lane; yield who listens, and an event that each wake-up sets."""
    woken = asyncio.Event()

    async def step() -> bool:
        woken.set()
        return False

    lane = Lane(Wake.INBOX, step, slots=1)
    task = asyncio.create_task(listen_for_wakes(replace(settings, redis_url=Secret(url)), [lane]))
    yield task, woken
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def is_woken(waker: Waker, woken: asyncio.Event) -> bool:
    """Wake until the lane has been started; False where that takes too long."""
    woken.clear()
    async with asyncio.timeout(10):
        while not woken.is_set():
            waker.wake(Wake.INBOX)
            await asyncio.sleep(0.02)
    return True


async def test_a_wake_starts_its_lane(settings: Settings, redis: LocalRedis, client: ArqRedis, waker: Waker) -> None:
    """A wake-up reaches the lane of its kind, and leaves nothing behind."""
    async with listening(settings, redis.url()) as (_, woken):
        waker.wake(Wake.INBOX)
        async with asyncio.timeout(5):
            await woken.wait()
            while await client.zcard(QUEUE_NAME):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_others_put_into_redis_ends_nothing(
    settings: Settings, redis: LocalRedis, client: ArqRedis, waker: Waker, name: str
) -> None:
    """Whatever stands where wake-ups are kept, the worker goes on, and wake-ups arrive again after it."""
    async with listening(settings, redis.url()) as (task, woken):
        assert await is_woken(waker, woken)
        for put in HOSTILE[name]:
            await put(client)
        async with asyncio.timeout(10):
            while await client.exists(QUEUE_NAME, "arq:abort"):
                waker.wake(Wake.INBOX)
                await asyncio.sleep(0.05)
        assert await is_woken(waker, woken)
        assert not task.done()


@pytest.mark.parametrize("where", ["nobody there", "wrong password", "no such socket"])
async def test_a_redis_that_cannot_be_used_ends_nothing(settings: Settings, redis: LocalRedis, where: str) -> None:
    """Without a Redis that answers from the start the worker lives on, and says that Redis is away."""
    url = {
        "nobody there": f"redis://127.0.0.1:{free_port()}/0",
        "wrong password": redis.url().replace(redis.password, "wrong"),
        "no such socket": "unix:///nowhere/redis.sock",
    }[where]
    metrics.REDIS_UP.set(1)
    async with listening(settings, url) as (task, _), asyncio.timeout(10):
        while REGISTRY.get_sample_value("bankfeed_redis_up"):
            await asyncio.sleep(0.01)
        assert not task.done()


async def test_what_is_let_go_is_no_error(
    settings: Settings, redis: LocalRedis, client: ArqRedis, waker: Waker, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that waits for its lane when Redis goes is let go without a word: the lane works on, and nothing failed."""
    is_working, goes_on = asyncio.Event(), asyncio.Event()

    async def step() -> bool:
        is_working.set()
        await goes_on.wait()
        return False

    lane = Lane(Wake.INBOX, step, slots=1)
    listener = asyncio.create_task(
        listen_for_wakes(replace(settings, redis_url=Secret(redis.url())), [lane]), name="listening"
    )
    waker.wake(Wake.INBOX)
    async with asyncio.timeout(5):
        await is_working.wait()
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert 1 == lane.busy
    assert [] == [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    goes_on.set()
    await lane.close(grace_s=5)


async def test_a_redis_that_goes_while_jobs_end_is_no_error(
    settings: Settings, redis: LocalRedis, client: ArqRedis, waker: Waker, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that break while arq puts jobs away leave no exception behind that nobody looked at."""
    proxy = FaultProxy(lambda: redis.port)
    await proxy.start()
    async with listening(settings, redis.url().replace(str(redis.port), str(proxy.port))) as (_, woken):
        assert await is_woken(waker, woken)
        for _ in range(3):
            woken.clear()
            for _ in range(20):
                await client.enqueue_job(Wake.INBOX)
            async with asyncio.timeout(10):
                await woken.wait()
            proxy.cut()
    await proxy.stop()
    gc.collect()
    assert [] == [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_wakes_do_not_pile_up(client: ArqRedis, waker: Waker) -> None:
    """While no worker runs, wake-ups that have expired leave the queue with the next one."""
    now_ms = time() * 1000
    old_ms, young_ms = now_ms - WAKE_EXPIRES_S * 1000 - 1, now_ms - 1000
    await client.zadd(QUEUE_NAME, {**{f"old {n}": old_ms for n in range(1000)}, "young": young_ms})
    waker.wake(Wake.INBOX)
    async with asyncio.timeout(5):
        while await client.zcard(QUEUE_NAME) != 2:
            await asyncio.sleep(0.01)


async def test_a_wake_as_the_last_one_ends_is_sent(client: ArqRedis, waker: Waker) -> None:
    """At no turn of the loop does a sending that has ended swallow a wake-up."""
    waker.wake(Wake.INBOX)
    sending = waker._sending[Wake.INBOX]
    seen = asyncio.get_running_loop().create_future()

    def look() -> None:  # at each turn, so also at the one between the task's end and its callbacks
        if sending.done():
            waker.wake(Wake.INBOX)
            seen.set_result(None)
        else:
            asyncio.get_running_loop().call_soon(look)

    look()
    await seen
    async with asyncio.timeout(5):
        while await client.zcard(QUEUE_NAME) != 2:
            await asyncio.sleep(0.01)


async def test_a_wake_begins_here_where_there_is_room(client: ArqRedis, waker: Waker) -> None:
    """The process that finds work does it, without Redis; only what it has no slot for is told to the others."""
    go, begun = asyncio.Event(), 0

    async def step() -> bool:
        nonlocal begun
        begun += 1
        await go.wait()
        return False

    lane = Lane(Wake.REFRESH, step, slots=1)
    waker.serve(Wake.REFRESH, lane.start)
    waker.wake(Wake.REFRESH)
    await asyncio.sleep(0)
    assert (1, 0) == (begun, await client.zcard(QUEUE_NAME))
    waker.wake(Wake.REFRESH)
    async with asyncio.timeout(5):
        while not await client.zcard(QUEUE_NAME):
            await asyncio.sleep(0.01)
    assert 1 == begun
    go.set()
    await lane.close(grace_s=1)
