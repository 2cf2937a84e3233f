"""Ingress put together: what listens, what it needs, and in which order it starts and stops."""

import asyncio
from time import monotonic
from typing import Final

from aiohttp import web

from bankfeed.aggregators.finicity import Finicity
from bankfeed.connectors import make_connectors
from bankfeed.db import Database
from bankfeed.jobs import Waker, open_redis
from bankfeed.logs import get_logger
from bankfeed.runtime import Readiness, add_probes, connect_with_patience, listen, until_stopped, wait_for_stop
from bankfeed.settings import Settings
from ingress.api.catalogue import Catalogue
from ingress.api.door import Api
from ingress.console import Console
from ingress.intake import Intake
from ingress.passwords import Passwords
from ingress.sources import Sources
from ingress.webhooks import Webhooks
from ingress.widget import Parts, Widget

FINISH_S: Final = 5.0  # what one look-up and one commit may take
LINGER_S: Final = 0.3  # in which senders that keep a connection busy use it once more, and are asked to close it
POLL_S: Final = 0.01
CANCEL_S: Final = 1.0


class Ingress:
    """All HTTP of Bankfeed. It listens at once, and accepts as soon as the database's schema is known."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.readiness = Readiness()
        self.webhooks = Webhooks(settings)
        self.passwords = Passwords()
        self.console = Console(settings, self.passwords)
        self.catalogue = Catalogue(settings)
        self.api = Api(settings)
        self.widget = Widget(settings)
        self.app = web.Application(client_max_size=settings.body_bytes)
        add_probes(self.app, self.readiness)
        self.webhooks.add_routes(self.app)
        self.console.add_routes(self.app)
        self.api.add_routes(self.app)
        self.widget.add_routes(self.app)
        self._runner: web.AppRunner | None = None
        self._database: Database | None = None
        self._waker: Waker | None = None
        self._intake: Intake | None = None
        self._committing: asyncio.Task[None] | None = None
        self._connectors: dict[str, Finicity] = {}

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises SettingsError where the port is taken or a setting cannot be used."""
        stop = asyncio.create_task(wait_for_stop())
        try:
            await self.listen()
            await until_stopped(self.open(), asyncio.shield(stop))
            if self._committing is not None:
                await until_stopped(asyncio.shield(self._committing), stop)
        finally:
            stop.cancel()
            await self.close()

    async def listen(self) -> None:
        """Begin to answer: probes, and 503 to webhooks until `open`. Raises SettingsError where the port is taken."""
        self._runner = await listen(
            self.app, host=self.settings.host, port=self.settings.port, port_setting="BANKFEED_PORT"
        )

    async def open(self, database: Database | None = None) -> None:
        """Wait for Postgres, then begin to accept. Raises SettingsError where its role or schema cannot be used.

        `database` is one that is open already; it stays its owner's to close.
        """
        if database is None:
            database = self._database = await connect_with_patience(self.settings)
        redis_url = self.settings.redis_url.reveal()
        self._waker = Waker(open_redis(redis_url) if redis_url else None)
        self._intake = Intake(database, self._waker, most_waiting=self.settings.waiting_events)
        self._committing = asyncio.create_task(self._intake.run(), name="group commit")
        self.webhooks.open(Sources(database), self._intake)
        self.console.open(database, self._waker)
        self.catalogue.open(database)
        self.api.open(database, self._waker, self.passwords, self.catalogue)
        self._connectors = make_connectors(self.settings)
        self.widget.open(
            Parts(database=database, waker=self._waker, catalogue=self.catalogue, connectors=self._connectors)
        )
        self.readiness.is_started = True
        get_logger().info("ingress.ready", host=self.settings.host, port=self.settings.port)

    async def close(self) -> None:
        """Stop in order: readiness falls, no new connection, what is in flight is answered, then the pools."""
        self.readiness.is_draining = True
        if self._runner is not None:
            await self._stop_listening(self._runner)
        if self._runner is not None and self._intake is not None:
            await self._finish(self._runner, self._intake)
        if self._runner is not None:
            await self._runner.cleanup()
        await self.widget.close(limit_s=CANCEL_S)
        for connector in self._connectors.values():
            await connector.close()
        await self.webhooks.close()
        await self.catalogue.close()
        if self._waker is not None:
            await self._waker.close()
        if self._database is not None:
            await self._database.close()
        get_logger().info("ingress.stopped")

    async def _stop_listening(self, runner: web.AppRunner) -> None:
        for site in runner.sites:
            await site.stop()
        self.webhooks.stop()

    async def _finish(self, runner: web.AppRunner, intake: Intake) -> None:
        """Go on until every request is answered; after FINISH_S those that still wait are refused."""
        committing = self._committing
        if committing is None or committing.done():  # what waits is committed, whatever became of the group commit
            committing = asyncio.create_task(intake.run(), name="last commits")
        await self._wait_for_answers(runner)
        intake.close()
        committing.cancel()
        await asyncio.wait({committing}, timeout=CANCEL_S)  # a Postgres that does not answer does not let go either

    async def _wait_for_answers(self, runner: web.AppRunner) -> None:
        began = monotonic()
        while runner.server is not None and runner.server.connections:
            spent_s = monotonic() - began
            if spent_s > FINISH_S or (spent_s > LINGER_S and not self.webhooks.busy):
                return
            await asyncio.sleep(POLL_S)


async def main(settings: Settings) -> None:
    """Run ingress."""
    await Ingress(settings).run()
