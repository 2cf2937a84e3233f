"""The console put together: where one comes in, the page of all banks, and the files; the other pages are in files of their own."""

from aiohttp import web

from bankfeed.db import Database
from bankfeed.health import UNKNOWN, Catalogue, list_meanings
from bankfeed.jobs import Waker
from bankfeed.settings import Settings
from ingress.console.bank_accounts import BankAccounts
from ingress.console.cases import Cases
from ingress.console.door import Door, redirect
from ingress.console.overview import read_overview
from ingress.console.sign_in import SignIn
from ingress.passwords import Passwords


class Console:
    """The console's pages. Until `open` is called every page is 503."""

    def __init__(self, settings: Settings, passwords: Passwords) -> None:
        self._door = Door(settings)
        self._parts = (SignIn(self._door, passwords), BankAccounts(self._door), Cases(self._door))

    def open(self, database: Database, waker: Waker) -> None:
        """Begin to answer."""
        self._door.open(database, waker)

    def add_routes(self, app: web.Application) -> None:
        """Serve the console's paths; each file has its own, there is no folder."""
        serve = self._door.serve
        app.router.add_get("/", serve(self.go_home))
        app.router.add_get("/console", serve(self.show_console))
        app.router.add_get("/console/rows", serve(self.show_rows))
        app.router.add_get("/error-codes", serve(self.show_error_codes))
        app.router.add_get("/console/console.css", serve(self.show_style))
        app.router.add_get("/console/console.js", serve(self.show_module))
        for part in self._parts:
            part.add_routes(app)

    async def go_home(self, request: web.Request) -> web.Response:
        """Lead to the page that there is for this person."""
        async with self._door.enter(request) as visit:
            return redirect("/sign-in" if visit is None else "/console")

    async def show_console(self, request: web.Request) -> web.Response:
        """Show what is linked and the latest movements."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            overview = await read_overview(visit.conn, visit.customer_id)
        return self._door.page("console.html", overview=overview, may_write=visit.may_write)

    async def show_rows(self, request: web.Request) -> web.Response:
        """Answer the part of the page that changes; 401 without a session."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return self._door.notice(401, "Signed out", "Sign in again to go on.")
            overview = await read_overview(visit.conn, visit.customer_id)
        return self._door.page("rows.html", overview=overview, may_write=visit.may_write)

    async def show_error_codes(self, _: web.Request) -> web.Response:
        """Show the status codes in words, to everybody."""
        finicity, yodlee = list_meanings(Catalogue.FINICITY), list_meanings(Catalogue.YODLEE)
        return self._door.page("error_codes.html", finicity=finicity, yodlee=yodlee, unknown=UNKNOWN)

    async def show_style(self, _: web.Request) -> web.Response:
        """Answer the style sheet."""
        return _file(self._door.pages.style, "text/css")

    async def show_module(self, _: web.Request) -> web.Response:
        """Answer the module that reads the rows again."""
        return _file(self._door.pages.module, "text/javascript")


def _file(body: bytes, content_type: str) -> web.Response:
    headers = {"Cache-Control": "no-cache"}
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)
