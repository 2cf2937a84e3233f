"""The worker put together: lanes, the wake-ups that start them, the sweeps that would do without, and probes."""

import asyncio
from contextlib import AsyncExitStack

from aiohttp import web

from bankfeed.connectors import make_connectors
from bankfeed.jobs import Wake, Waker, open_redis
from bankfeed.logs import get_logger
from bankfeed.runtime import Readiness, add_probes, connect_with_patience, listen, until_stopped, wait_for_stop
from bankfeed.settings import Settings
from worker.bank_refresh import take_bank_refresh
from worker.context import Context
from worker.courier import Courier
from worker.inbox import take_inbox
from worker.lane import Lane, Works, close_lanes
from worker.listings import AT_ONCE
from worker.mail import take_mail
from worker.mail_server import MAIL_SLOTS, MailServer
from worker.post import Post
from worker.refresh import take_refresh
from worker.removal import take_removal
from worker.sweep import Sweeper
from worker.wakes import listen_for_wakes

REMOVAL_SLOTS = 2
INBOX_SLOTS = AT_ONCE + 1  # one is never kept waiting by an aggregator's listing


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
            await until_stopped(asyncio.gather(sweeper.run(), listen_for_wakes(settings, lanes)), stop)
        finally:
            readiness.is_draining = True
            await close_lanes(lanes, grace_s=settings.grace_s)
    get_logger().info("worker.stopped")


async def _open(settings: Settings, stack: AsyncExitStack) -> tuple[Context, tuple[Works, ...]]:
    database = await connect_with_patience(settings)
    stack.push_async_callback(database.close)
    redis_url = settings.redis_url.reveal()
    waker = Waker(open_redis(redis_url) if redis_url else None)
    stack.push_async_callback(waker.close)
    connectors = make_connectors(settings)
    for connector in connectors.values():
        stack.push_async_callback(connector.close)
    post = await stack.enter_async_context(Post(settings))
    context = Context(database=database, connectors=connectors, waker=waker, settings=settings)
    lanes: tuple[Works, ...] = (
        Lane(Wake.INBOX, lambda: take_inbox(context), slots=INBOX_SLOTS),
        Lane(Wake.REFRESH, lambda: take_refresh(context), slots=settings.refresh_slots),
        Lane(Wake.BANK_REFRESH, lambda: take_bank_refresh(context), slots=settings.refresh_slots),
        Courier(context, post),
        Lane(Wake.REMOVE, lambda: take_removal(context), slots=REMOVAL_SLOTS),
    )
    if settings.smtp_url:
        server = MailServer.from_settings(settings)
        stack.push_async_callback(server.close)
        lanes = (*lanes, Lane(Wake.MAIL, lambda: take_mail(context, server), slots=MAIL_SLOTS))
    for lane in lanes:
        waker.serve(Wake(lane.name), lane.start)
    return context, lanes
