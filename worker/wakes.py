"""The arq worker: it listens for wake-ups and starts lanes. Nothing that stands in Redis, or does not, ends this process.

What listens is thrown away and built anew whenever Redis takes it down, or something in Redis that nobody of ours wrote;
the sweeps go on meanwhile.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from arq.constants import abort_jobs_ss
from arq.worker import Worker, func
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bankfeed import metrics
from bankfeed.jobs import QUEUE_NAME, deserialize, open_redis, serialize
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from worker.lane import Works

POLL_S = 0.02  # arq's pick-up time; the idle cost is about 2 % of a core
MOST_JOBS = 100
JOB_TIMEOUT_S = 86_400  # a job only waits for a lane; the lane's work has deadlines of its own
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0
AWAY = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)


async def listen_for_wakes(settings: Settings, lanes: Sequence[Works]) -> None:
    """Start lanes when woken, until cancelled. Without Redis, only wait."""
    url = settings.redis_url.reveal()
    if not url:
        get_logger().warning("redis.none", text="no BANKFEED_REDIS_URL: the sweeps do all the work")
        await asyncio.Event().wait()
    # To arq a job that is let go has failed, with a traceback each; what fails in a lane, the lane logs.
    logging.getLogger("arq.worker").setLevel(logging.CRITICAL)
    wait_s = FIRST_WAIT_S
    while True:
        began = asyncio.get_running_loop().time()
        await _listen_once(url, lanes, retry_s=wait_s)
        if asyncio.get_running_loop().time() - began > LONGEST_WAIT_S:
            wait_s = FIRST_WAIT_S
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


async def _listen_once(url: str, lanes: Sequence[Works], *, retry_s: float) -> None:
    """Run an arq worker until it ends. Whoever can write to Redis can end it in many ways, so what ended it is named only."""
    try:
        worker = _arq_worker(url, lanes)
        try:
            await _run(worker)
        finally:
            await _drop(worker)
    except AWAY as error:
        metrics.REDIS_UP.set(0)
        get_logger().warning("redis.away", error=type(error).__name__, retry_s=retry_s)
    except Exception as error:  # noqa: BLE001 - a foreign entry in Redis must not end the worker
        get_logger().warning("redis.unreadable", error=type(error).__name__, retry_s=retry_s)
        await _clear(url)


async def _run(worker: Worker) -> None:
    """Run an arq worker until it ends or we are cancelled.

    Observed: a cancellation that comes together with Redis' answer may be swallowed underneath, and arq polls on. So it is
    repeated until it is obeyed; a shutdown would wait for ever otherwise.
    """
    running = asyncio.create_task(worker.main(), name="arq worker")
    try:
        await asyncio.wait([running])
    finally:
        while not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=POLL_S)
        await asyncio.gather(running, return_exceptions=True)
    running.result()


async def _clear(url: str) -> None:
    """Throw the wake-ups away, whatever stands there: they hold nothing that matters."""
    redis = open_redis(url)
    try:
        await redis.delete(QUEUE_NAME, abort_jobs_ss)
    except (RedisError, *AWAY) as error:
        get_logger().warning("redis.away", error=type(error).__name__)
    finally:
        await redis.aclose()


def _arq_worker(url: str, lanes: Sequence[Works]) -> Worker:
    """Build an arq worker whose functions are the lanes' names; it keeps no results and leaves signals to us."""
    return Worker(
        functions=[func(_job(lane), name=lane.name) for lane in lanes],
        redis_pool=open_redis(url),
        queue_name=QUEUE_NAME,
        poll_delay=POLL_S,
        max_jobs=MOST_JOBS,
        job_timeout=JOB_TIMEOUT_S,
        keep_result=0,
        max_tries=1,
        retry_jobs=False,
        handle_signals=False,
        job_serializer=serialize,
        job_deserializer=deserialize,
        log_results=False,
    )


def _job(lane: Works) -> Any:
    async def run(_: dict[Any, Any]) -> None:
        await lane.drain()

    return run


async def _drop(worker: Worker) -> None:
    """Let go of a worker that ended: its jobs only waited for lanes, which go on.

    The jobs are cancelled, not what arq does around them: that ends by itself, and cancelled it would leave tasks with
    exceptions that nobody looks at.
    """
    around = set(worker.tasks.values())
    while around:
        for job in worker.job_tasks.values():
            job.cancel()
        ended, around = await asyncio.wait(around, timeout=POLL_S)
        await asyncio.gather(*ended, return_exceptions=True)
    await worker.pool.aclose()
