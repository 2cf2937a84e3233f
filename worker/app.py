"""The worker put together: lanes, the arq worker that wakes them, the sweeps that would do without it, and probes."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web
from arq.worker import Worker, func
from redis.exceptions import RedisError

from bankfeed import metrics
from bankfeed.aggregators.finicity import CardSign, Finicity, FinicityConfig
from bankfeed.jobs import QUEUE_NAME, Wake, Waker, deserialize, open_redis, serialize
from bankfeed.logs import get_logger
from bankfeed.runtime import Readiness, add_probes, connect_with_patience, listen, until_stopped, wait_for_stop
from bankfeed.settings import Settings
from worker.context import Context
from worker.deliver import BATCH_DELIVERIES, take_deliveries
from worker.inbox import take_inbox
from worker.lane import Lane
from worker.post import Post
from worker.refresh import take_refresh
from worker.sweep import Sweeper

POLL_S = 0.02  # arq's pick-up time; the idle cost is about 2 % of a core
MOST_JOBS = 100
JOB_TIMEOUT_S = 86_400  # a job only waits for a lane; the lane's work has deadlines of its own
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0
INBOX_SLOTS = 2  # one goes on while the other waits for an aggregator's listing


async def main(settings: Settings) -> None:
    """Run the worker until SIGTERM or SIGINT. Raises SettingsError for settings that cannot be used."""
    readiness = Readiness()
    sweeper: Sweeper | None = None
    app = web.Application()
    add_probes(app, readiness, is_alive=lambda: sweeper is None or sweeper.is_alive())
    async with AsyncExitStack() as stack:
        runner = await listen(app, host=settings.host, port=settings.worker_port, port_setting="BANKFEED_WORKER_PORT")
        stack.push_async_callback(runner.cleanup)
        stop = asyncio.create_task(wait_for_stop())
        connecting = asyncio.create_task(_open(settings, stack))
        await until_stopped(asyncio.shield(connecting), asyncio.shield(stop))
        if stop.done():
            connecting.cancel()
            return
        context, lanes = connecting.result()
        sweeper = Sweeper(context, lanes)
        readiness.is_started = True
        get_logger().info("worker.ready", host=settings.host, port=settings.worker_port)
        try:
            await until_stopped(asyncio.gather(sweeper.run(), _listen_for_wakes(settings, lanes)), stop)
        finally:
            readiness.is_draining = True
            await asyncio.gather(*(lane.close(grace_s=settings.grace_s) for lane in lanes))
    get_logger().info("worker.stopped")


async def _open(settings: Settings, stack: AsyncExitStack) -> tuple[Context, tuple[Lane, ...]]:
    database = await connect_with_patience(settings)
    stack.push_async_callback(database.close)
    redis_url = settings.redis_url.reveal()
    waker = Waker(open_redis(redis_url) if redis_url else None)
    stack.push_async_callback(waker.close)
    finicity = Finicity(finicity_config(settings))
    stack.push_async_callback(finicity.close)
    post = await stack.enter_async_context(Post(settings))
    context = Context(database=database, connectors={"finicity": finicity}, waker=waker, settings=settings)
    lanes = (
        Lane(Wake.INBOX, lambda: take_inbox(context), slots=INBOX_SLOTS),
        Lane(Wake.REFRESH, lambda: take_refresh(context), slots=settings.refresh_slots),
        Lane(
            Wake.DELIVER,
            lambda: take_deliveries(context, post),
            slots=max(1, settings.delivery_slots // BATCH_DELIVERIES),
        ),
    )
    return context, lanes


def finicity_config(settings: Settings) -> FinicityConfig:
    """Make the connector's configuration from the settings."""
    return FinicityConfig(
        base_url=settings.finicity_url,
        partner_id=settings.finicity_partner_id,
        partner_secret=settings.finicity_partner_secret.reveal(),
        app_key=settings.finicity_app_key.reveal(),
        customer_kind="active" if settings.finicity_customer_kind == "active" else "testing",
        card_sign=CardSign(settings.finicity_card_sign),
    )


async def _listen_for_wakes(settings: Settings, lanes: tuple[Lane, ...]) -> None:
    """Run the arq worker, and build it again with back-off whenever Redis takes it down. Without Redis, return."""
    url = settings.redis_url.reveal()
    if not url:
        get_logger().warning("redis.none", text="no BANKFEED_REDIS_URL: the sweeps do all the work")
        await asyncio.Event().wait()
    wait_s = FIRST_WAIT_S
    while True:
        worker = _arq_worker(url, lanes)
        began = asyncio.get_running_loop().time()
        try:
            await worker.main()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.REDIS_UP.set(0)
            get_logger().warning("redis.away", error=type(error).__name__, retry_s=wait_s)
        finally:
            await _drop(worker)
        if asyncio.get_running_loop().time() - began > LONGEST_WAIT_S:
            wait_s = FIRST_WAIT_S
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _arq_worker(url: str, lanes: tuple[Lane, ...]) -> Worker:
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


def _job(lane: Lane) -> Any:
    async def run(_: dict[Any, Any]) -> None:
        await lane.drain()

    return run


async def _drop(worker: Worker) -> None:
    """Let go of a worker that ended: its jobs only waited for lanes, which go on."""
    for task in worker.tasks.values():
        task.cancel()
    await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
    await worker.pool.aclose()
