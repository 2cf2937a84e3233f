"""Starts everything in order, watches it, and stops it in order: Finbank, ingress, worker, Redis, Postgres.

The first signal stops, a second one kills. What this process prints: progress on standard error, the notice and what
visibly happens on standard output, line by line.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from bankfeed.db import Database
from bankfeed.demo import EMAIL
from bankfeed.door import find_address
from bankfeed.errors import SettingsError, Unavailable
from bankfeed.local import LocalPostgres, LocalRedis
from bankfeed.local.home import hold_lock, make_folder
from bankfeed.local.server import LocalServer
from bankfeed.runenv import write_run_env
from bankfeed.settings import LocalSettings, Settings, process_environ
from bankfeed.up.changes import Changes
from bankfeed.up.child import Child, last_words
from bankfeed.up.database import Sources, Urls, get_sources, prepare_given, prepare_local
from bankfeed.up.environ import (
    Person,
    command_environ,
    desk_url,
    finbank_environ,
    mail_environ,
    process_environ_of,
    product_environ,
)
from bankfeed.up.keys import Keys
from bankfeed.up.notice import Notice
from bankfeed.up.ports import check_ports, pick_port, wait_until_ready
from bankfeed.up.seed import Demo, seed_demo

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WATCH_S: Final = 0.2


def run_up() -> None:
    """Run everything until a signal. Raises SettingsError before anything long happens, Unavailable where a part ends."""
    began_s = time.monotonic()
    person = Person.read(process_environ())
    supervisor = Supervisor(person)
    with supervisor.interruptible(), ExitStack() as stack:
        try:
            supervisor.start(stack)
            supervisor.print_notice(time.monotonic() - began_s)
            supervisor.watch()
        except KeyboardInterrupt:
            _say("stopping ...")
    _say("stopped")


class Supervisor:
    """Everything that one `bankfeed up` has started."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.folder = person.local.data
        self.servers: list[LocalServer] = []
        self.children: list[Child] = []
        self.keys: Keys
        self.sources: Sources
        self.product: dict[str, str]
        self.smtp_port: int
        self.demo: Demo
        self._is_stopping = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turn the first signal into KeyboardInterrupt, and kill everything at the second."""
        heard = [number for number in STOP_SIGNALS if number != signal.SIGHUP or not _is_under_nohup()]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            raise KeyboardInterrupt
        parts: list[Child | LocalServer] = [*self.children, *self.servers]
        for part in parts:
            if part.pid is not None:
                # Postgres' other processes end with it only where it can tell them; its log is replayed at the next start
                death = signal.SIGQUIT if isinstance(part, LocalPostgres) else signal.SIGKILL
                with suppress(ProcessLookupError):
                    os.kill(part.pid, death)
        os._exit(130)

    def start(self, stack: ExitStack) -> None:
        """Start every part and wait until the demo's accounts are there. `stack` gets what stops them."""
        try:
            make_folder(self.folder)
        except OSError as error:
            raise SettingsError(f"cannot make {self.folder}: {error.strerror}; set BANKFEED_DATA") from error
        stack.callback(os.close, hold_lock(self.folder / "up.lock"))
        check_ports(self.person.settings, self.person.local)
        self.keys = Keys(self.folder)
        urls = self._start_database(stack)
        redis_url = self._start_redis(stack)
        self.smtp_port = pick_port(self.person.local.finbank_smtp_port)
        self.product = {
            **product_environ(
                self.person, self.keys, urls, redis_url=redis_url, partner_secret=self.sources.finicity.secrets[0]
            ),
            **mail_environ(self.person, self.smtp_port),
        }
        _say("starting Finbank, ingress and worker ...")
        for child in self._make_children():
            stack.callback(child.stop)
            self.children.append(child)
            child.start()
        run_env = write_run_env(self.folder, command_environ(self.person, self.keys, self.product))
        stack.callback(run_env.unlink, missing_ok=True)
        asyncio.run(wait_until_ready(self.person, check=self.require_alive))
        _say("waiting for the demo's bank accounts ...")
        self.demo = asyncio.run(
            seed_demo(
                self.person,
                self.keys,
                self.sources,
                Settings.for_process(self.product),
                ledgersync_address=self._ledgersync_address,
                check=self.require_alive,
            )
        )

    def watch(self) -> None:
        """Print what visibly happens until a signal comes. Raises Unavailable where a part ends."""
        changes = Changes(self._log("worker"), self.demo.names)
        while True:
            for line in changes.read():
                _print(line)
            self.require_alive()
            time.sleep(WATCH_S)

    def require_alive(self) -> None:
        """Raise Unavailable, with its last words, where a part has ended."""
        for child in self.children:
            child.require_alive()
        for server in self.servers:
            if server.pid is None:
                raise Unavailable(f"{server.name} ended; {last_words(server.home / f'{server.name}.log')}")

    def print_notice(self, seconds: float) -> None:
        """Print the addresses, the login and what to try next."""
        local = self.person.local
        usual = LocalSettings.from_environ({}).data
        notice = Notice(
            ingress_url=self.person.ingress_url,
            worker_url=self.person.worker_url,
            desk_url=desk_url(self.person, self.keys),
            mailbox_url=None if self.person.settings.smtp_url else self.person.mailbox_url,
            ledgersync_address=self._ledgersync_address,
            finicity_address=self._finicity_address,
            email=EMAIL,
            password=self.demo.password,
            logs=[self._log(name) for name in ("ingress", "worker", "finbank")],
            data=None if local.data == usual else local.data,
            seconds=seconds,
        )
        for line in notice.lines():
            _print(line)

    # The parts, in the order in which they start

    def _start_database(self, stack: ExitStack) -> Urls:
        settings, local = self.person.settings, self.person.local
        if settings.database_url or local.owner_database_url or settings.queue_database_url:
            _say("preparing the given Postgres ...")
            urls = asyncio.run(prepare_given(settings, local, self.keys))
        else:
            _say("starting Postgres ...")
            postgres = LocalPostgres(
                self.folder,
                port=local.postgres_port,
                programs=Path(local.postgres_bin) if local.postgres_bin else None,
            )
            self._start_server(stack, postgres)
            urls = asyncio.run(prepare_local(postgres, self.keys))
        self.sources = asyncio.run(_read_sources(urls))
        return urls

    def _start_redis(self, stack: ExitStack) -> str:
        given = self.person.settings.redis_url.reveal()
        if given:
            return given
        redis = LocalRedis(self.folder, port=self.person.local.redis_port)
        self._start_server(stack, redis)
        return redis.url()

    def _start_server(self, stack: ExitStack, server: LocalServer) -> None:
        stack.callback(server.stop)
        server.start()
        self.servers.append(server)

    def _make_children(self) -> Sequence[Child]:
        """Make the processes, in the opposite of the order in which they are stopped."""
        product = process_environ_of(self.person, self.product)
        finbank = finbank_environ(
            self.person,
            self.keys,
            self.sources,
            ledgersync_address=self._ledgersync_address,
            finicity_address=self._finicity_address,
            smtp_port=self.smtp_port,
        )
        grace_s = float(self.product["BANKFEED_GRACE_S"])
        return (
            Child("worker", "worker", environ=product, log=self._log("worker"), grace_s=grace_s + 2),
            Child("ingress", "ingress", environ=product, log=self._log("ingress"), grace_s=7),
            Child(
                "finbank",
                "bankfeed.sandbox",
                environ=process_environ_of(self.person, finbank),
                log=self._log("finbank"),
                grace_s=3,
            ),
        )

    @property
    def _ledgersync_address(self) -> str:
        return find_address(self.person.ingress_url, "ledgersync", self.sources.ledgersync)

    @property
    def _finicity_address(self) -> str:
        return find_address(self.person.ingress_url, "finicity", self.sources.finicity)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


async def _read_sources(urls: Urls) -> Sources:
    settings = Settings.for_command(
        {"BANKFEED_DATABASE_URL": urls.app, "BANKFEED_QUEUE_DATABASE_URL": urls.queue, "BANKFEED_POOL_CONNECTIONS": "1"}
    )
    database = await Database.connect(settings)
    try:
        return await get_sources(database)
    finally:
        await database.close()


def _is_under_nohup() -> bool:
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a person is told; a reader of a pipe sees it at once


def _say(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress, beside what is told
