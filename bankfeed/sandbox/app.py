"""Finbank as one value: built from its settings, listening, and closed again. The process and the tests start it here."""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from bankfeed.sandbox.announce import Announcer
from bankfeed.sandbox.api import (
    accounts,
    consents,
    control,
    customers,
    desk,
    discovery,
    institutions,
    logins,
    made,
    mailbox,
    partners,
    refreshes,
    transactions,
)
from bankfeed.sandbox.api.exchange import ACCESS, ANNOUNCER, BANK, DESK, FAULTS, answer
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.book import open_book
from bankfeed.sandbox.clock import start_clock
from bankfeed.sandbox.desk import Desk
from bankfeed.sandbox.faults import Faults
from bankfeed.sandbox.mailbox import Mailbox
from bankfeed.sandbox.refusals import Refusal
from bankfeed.sandbox.script import night_after
from bankfeed.sandbox.settings import FinbankSettings, SharesName
from bankfeed.sandbox.shares import CALM, DOCUMENTED
from bankfeed.sandbox.tokens import Access
from bankfeed.sandbox.world import World

CONTROL_TOKEN = web.AppKey("control_token", str)
NOUNS = (
    *(partners, customers, institutions, discovery, consents, logins, accounts, transactions, refreshes),
    *(control, made, mailbox, desk),
)
PAGES = (consents.PAGES, desk.PAGES)  # each has what lets a person in within its address
NAMING = b"finbank usernames"
LONGEST_NAP_S = 1.0  # the clock may be moved while the night is waited for
CLOSE_WITHIN_S = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class Finbank:
    """A running Finbank: `url` is where it listens, without a slash at the end."""

    url: str
    bank: Bank
    announcer: Announcer
    runner: web.AppRunner
    mail_server: asyncio.Server | None
    tasks: tuple[asyncio.Task[None], ...]

    async def wait(self) -> None:
        """Return only when one of its tasks dies, which is a bug that rises here."""
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def close(self) -> None:
        """Stop listening and sending, and write the book."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.mail_server is not None:
            self.mail_server.close()
        await self.runner.cleanup()
        self.bank.save()


async def start(settings: FinbankSettings) -> Finbank:
    """Start Finbank; with port 0 it takes a free one, and `url` says which."""
    announcer = Announcer(
        dialect=settings.dialect,
        txpush=settings.txpush,
        ledgersync_url=settings.ledgersync_url,
        finicity_url=settings.finicity_url,
        secret=settings.partner_secret,
    )
    bank = _open_bank(settings, announcer)
    app = _app(settings, bank, announcer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.port).start()
    port = runner.addresses[0][1]
    mail_server = await app[mailbox.MAILBOX].listen(settings.host, settings.smtp_port) if settings.smtp_port else None
    return Finbank(
        url=f"http://{settings.host}:{port}",
        bank=bank,
        announcer=announcer,
        runner=runner,
        mail_server=mail_server,
        tasks=(asyncio.create_task(announcer.run()), asyncio.create_task(_keep_nights(bank))),
    )


def _open_bank(settings: FinbankSettings, announcer: Announcer) -> Bank:
    pages = open_book(settings.data)
    clock = start_clock(settings.clock, day_s=settings.day_s, start_at=settings.start_at, kept_at=pages.clock_at)
    shares = CALM if settings.shares is SharesName.CALM else DOCUMENTED
    bank = Bank(
        world=World(seed=settings.seed, shares=shares, served_days=settings.served_days),
        clock=clock,
        pages=pages,
        folder=settings.data,
        history_days=settings.history_days,
        card_sign=settings.card_purchases,
        announce=settings.announce,
        tell=announcer.tell,
        name_key=hmac.digest(settings.partner_secret.encode(), NAMING, "sha256"),
    )
    bank.save()
    return bank


def _app(settings: FinbankSettings, bank: Bank, announcer: Announcer) -> web.Application:
    app = web.Application(middlewares=[_write_refusals, _keep_the_door])
    app[BANK] = bank
    app[DESK] = Desk(bank=bank, slow_s=settings.slow_s)
    app[ANNOUNCER] = announcer
    app[FAULTS] = Faults()
    app[ACCESS] = Access(
        partner_id=settings.partner_id, partner_secret=settings.partner_secret, app_key=settings.app_key
    )
    app[CONTROL_TOKEN] = settings.control_token
    app[desk.KEY] = settings.desk_key
    app[refreshes.DONE] = {}
    app[mailbox.MAILBOX] = Mailbox()
    app.router.add_get("/healthz", _show_health)
    for noun in NOUNS:
        app.add_routes(noun.routes())
    return app


@web.middleware
async def _write_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return answer(refusal.body(), status=refusal.status)
    except web.HTTPNotFound:
        return answer({"code": "14001", "message": "Resource not found."}, status=404)


@web.middleware
async def _keep_the_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path == "/healthz" or request.path.startswith(PAGES) or request.path in mailbox.PAGES:
        return await handler(request)
    if request.path.startswith("/finbank/"):
        control.check_control_token(request, request.app[CONTROL_TOKEN])
        return await handler(request)
    faults, access = request.app[FAULTS], request.app[ACCESS]
    await asyncio.sleep(faults.slow_ms / 1000)
    faults.refuse(request.path)
    if not request.path.endswith("/partners/authentication"):
        access.check_key(request.headers.get("Finicity-App-Key"))
        access.check_token(request.headers.get("Finicity-App-Token"), now_ms=time.time_ns() // 1_000_000)
    return await handler(request)


async def _show_health(request: web.Request) -> web.Response:
    return answer({"status": "ok", "at": request.app[BANK].clock.now()})


async def _keep_nights(bank: Bank) -> None:
    """Run every nightly aggregation when its time comes; where time stands still, moving the clock does it."""
    while True:
        wait_s = bank.clock.wait_s(night_after(bank.clock.now()))
        if wait_s is not None:
            bank.run_night()
        await asyncio.sleep(LONGEST_NAP_S if wait_s is None else min(wait_s, LONGEST_NAP_S))
