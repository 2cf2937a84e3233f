"""What both processes do around their work: start, wait for Postgres, answer probes, stop on a signal."""

import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import stamina
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from bankfeed.db import Database
from bankfeed.errors import SettingsError, Unavailable
from bankfeed.failpoints import arm
from bankfeed.logs import configure, get_logger
from bankfeed.settings import Settings

MOST_FILES = 65_536
GC_THRESHOLD = 50_000
HEADERS_S = 15  # until a request's headers are there; also how long a connection may be idle
LINGER_S = 1  # in which what still comes of a refused body is read and dropped; the server's default is 10


class Readiness:
    """Whether this process wants work. Falls first when it stops; Postgres or Redis away do not change it."""

    def __init__(self) -> None:
        self.is_started = False
        self.is_draining = False

    @property
    def is_ready(self) -> bool:
        """True between start and drain."""
        return self.is_started and not self.is_draining


def add_probes(app: web.Application, readiness: Readiness, *, is_alive: Callable[[], bool] = lambda: True) -> None:
    """Serve /healthz, /readyz and /metrics. Liveness looks at this process only, never at Postgres or Redis."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive\n") if is_alive() else web.Response(status=503, text="stuck\n")

    async def readyz(_: web.Request) -> web.Response:
        if readiness.is_ready:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n" if readiness.is_draining else "starting\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


async def connect_with_patience(settings: Settings) -> Database:
    """Open the pools, waiting with back-off for a Postgres that is away or has no schema yet. Raises SettingsError."""
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=None, timeout=None, wait_initial=0.2, wait_max=5.0
    ):
        with attempt:
            try:
                return await Database.connect(settings)
            except Unavailable as error:
                get_logger().warning("database.awaited", reason=str(error))
                raise
    raise AssertionError("retries without end ended")


async def listen(app: web.Application, *, host: str, port: int, port_setting: str) -> web.AppRunner:
    """Serve an application. Raises SettingsError naming the setting where the port is taken."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        auto_decompress=False,
        keepalive_timeout=HEADERS_S,
        lingering_time=LINGER_S,
        shutdown_timeout=5,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        await runner.cleanup()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; set {port_setting} to a free port"
        ) from error
    return runner


async def wait_for_stop() -> None:
    """Return when SIGTERM or SIGINT arrives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await stop.wait()


async def until_stopped(work: Awaitable[object], stop: Awaitable[object]) -> None:
    """Wait for whichever ends first; an error of either rises, and the other is cancelled."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(stop)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def collect_rarely() -> None:
    """Keep the garbage collector from what the imports made, which stays for good: that costs 5 % of ingress."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def allow_many_sockets() -> None:
    """Raise the limit of open files to what the system lets this process have: the usual 1,024 are few for 500 deliveries."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def run_process(name: str, main: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Read the settings, run `main` on an event loop, and exit: 0 when stopped, 2 for settings that cannot be used."""
    try:
        settings = Settings.for_process()
        configure(name, log_format=settings.log_format)
        arm(settings.failpoint)
        collect_rarely()
        allow_many_sockets()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main(settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not there on Windows

    return uvloop.new_event_loop
