"""The console's door: sign in, look, sign out. Every answer carries the headers below, and no error says more than a sentence."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from aiohttp import web

from bankfeed.db import Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.session import delete_expired_sessions, delete_session, find_session_customer, insert_session
from bankfeed.db.user import User, find_user
from bankfeed.errors import BadRequest, RefusedData, Unavailable
from bankfeed.logs import get_logger
from bankfeed.model import CustomerId
from bankfeed.settings import Settings
from ingress.console.forms import is_own_page, read_form
from ingress.console.overview import read_overview
from ingress.console.pages import load_pages
from ingress.console.throttle import Throttle
from ingress.passwords import Passwords
from ingress.remote import find_remote

COOKIE: Final = "bankfeed_session"
SESSION_S: Final = 12 * 3600
RETRY_AFTER_S: Final = 5
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers send `Origin: null`, which nobody can check
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Console:
    """The console's pages. Until `open` is called every page is 503."""

    def __init__(self, settings: Settings, passwords: Passwords) -> None:
        self._settings = settings
        self._database: Database | None = None
        self._pages = load_pages()
        self._passwords = passwords
        self._throttle = Throttle()

    def open(self, database: Database) -> None:
        """Begin to answer."""
        self._database = database

    def add_routes(self, app: web.Application) -> None:
        """Serve the console's paths; each file has its own, there is no folder."""
        app.router.add_get("/", self._serve(self.go_home))
        app.router.add_get("/sign-in", self._serve(self.show_sign_in))
        app.router.add_post("/sign-in", self._serve(self.sign_in))
        app.router.add_post("/sign-out", self._serve(self.sign_out))
        app.router.add_get("/console", self._serve(self.show_console))
        app.router.add_get("/console/rows", self._serve(self.show_rows))
        app.router.add_get("/console/console.css", self._serve(self.show_style))
        app.router.add_get("/console/console.js", self._serve(self.show_module))

    async def go_home(self, request: web.Request) -> web.Response:
        """Lead to the page that there is for this person."""
        return _redirect("/sign-in" if await self._find_customer(request) is None else "/console")

    async def show_sign_in(self, request: web.Request) -> web.Response:
        """Show the form, to whoever is not signed in yet."""
        if await self._find_customer(request) is not None:
            return _redirect("/console")
        return self._page("sign_in.html", email="", problem="")

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take an address and a password; answer alike whether the address or the password is wrong."""
        if not is_own_page(request):
            return self._refuse_stranger(request)
        form = await read_form(request, limit_s=self._settings.body_s)
        email = form.get("email", "").strip().lower()
        names = ("email " + sha256(email.encode()).hexdigest(), f"remote {request.remote}")
        if wait_s := self._throttle.take(*names):
            get_logger().info("user.refused", reason="throttled", remote=request.remote)
            problem = f"Too many tries. Wait {-(-wait_s // 60)} min, then try again."
            return self._page("sign_in.html", 429, retry_after_s=wait_s, email=email, problem=problem)
        try:
            user = await self._find_user(email)
            is_right = await self._passwords.verify(user.password_hash if user else None, form.get("password", ""))
        except Unavailable:
            self._throttle.give_back(*names)
            raise
        if user is None or user.is_locked or not is_right:
            return self._refuse_person(request, email, "password")
        self._throttle.give_back(*names)
        if user.environment != self._settings.environment:
            get_logger().info("user.refused", reason="environment", remote=request.remote)
            problem = f"This is {self._settings.environment}; your account is one of {user.environment}."
            return self._page("sign_in.html", 401, email=email, problem=problem)
        return await self._begin_session(request, user)

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session, here and in Postgres. Safe to repeat."""
        if not is_own_page(request):
            return self._refuse_stranger(request)
        customer_id = await self._find_customer(request)
        if customer_id is not None:
            async with self._opened().tenant(customer_id) as conn:
                await delete_session(conn, customer_id, _hash(request.cookies[COOKIE]))
        response = _redirect("/sign-in")
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_is_https(request))
        return response

    async def show_console(self, request: web.Request) -> web.Response:
        """Show what is linked and the latest movements."""
        customer_id = await self._find_customer(request)
        if customer_id is None:
            return _redirect("/sign-in")
        async with self._opened().tenant(customer_id) as conn:
            overview = await read_overview(conn, customer_id)
        return self._page("console.html", overview=overview)

    async def show_rows(self, request: web.Request) -> web.Response:
        """Answer the part of the page that changes; 401 without a session."""
        customer_id = await self._find_customer(request)
        if customer_id is None:
            return self._notice(401, "Signed out", "Sign in again to go on.")
        async with self._opened().tenant(customer_id) as conn:
            overview = await read_overview(conn, customer_id)
        return self._page("rows.html", overview=overview)

    async def show_style(self, _: web.Request) -> web.Response:
        """Answer the style sheet."""
        return _file(self._pages.style, "text/css")

    async def show_module(self, _: web.Request) -> web.Response:
        """Answer the module that reads the rows again."""
        return _file(self._pages.module, "text/javascript")

    def _serve(self, handler: Handler) -> Handler:
        """Turn what a handler raises into a page, and put the headers on every answer."""

        async def serve(request: web.Request) -> web.Response:
            try:
                response = await handler(request)
            except Unavailable as error:
                get_logger().warning("console.unavailable", path=request.path, reason=str(error))
                response = self._notice(503, "Not available", "This page comes back by itself in a moment.")
            except BadRequest as error:
                response = self._notice(400, "Not understood", f"{error}.")
            except Exception:  # noqa: BLE001 - the very top of a page; aiohttp's own answer may show a traceback
                get_logger().exception("console.failed", path=request.path)
                response = self._notice(500, "Something went wrong", "This is our fault, and has been noted.")
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return serve

    def _opened(self) -> Database:
        if self._database is None:
            raise Unavailable("starting")
        return self._database

    async def _find_customer(self, request: web.Request) -> CustomerId | None:
        """Return whose session the request carries, None where there is none or it has ended."""
        database = self._opened()
        token = request.cookies.get(COOKIE)
        if not token:
            return None
        async with database.app() as conn:
            return await find_session_customer(conn, _hash(token), environment=self._settings.environment)

    async def _find_user(self, email: str) -> User | None:
        try:
            async with self._opened().app() as conn:
                return await find_user(conn, email)
        except RefusedData:  # an address that Postgres cannot even look for is nobody's
            return None

    def _refuse_person(self, request: web.Request, email: str, reason: str) -> web.Response:
        get_logger().info("user.refused", reason=reason, remote=request.remote)
        problem = "The e-mail address or the password is not right."
        return self._page("sign_in.html", 401, email=email, problem=problem)

    async def _begin_session(self, request: web.Request, user: User) -> web.Response:
        token = secrets.token_urlsafe(32)
        async with self._opened().tenant(user.customer_id) as conn:
            await delete_expired_sessions(conn, user.customer_id, user_id=user.id)
            is_in = await insert_session(
                conn,
                user.customer_id,
                user_id=user.id,
                password_hash=user.password_hash or "",
                token_sha256=_hash(token),
                expires_at=datetime.now(UTC) + timedelta(seconds=SESSION_S),
            )
            if is_in:
                await insert_audit(
                    conn,
                    user.customer_id,
                    actor=f"user:{user.id}",
                    action="person.signed_in",
                    target=f"userId={user.id}",
                    remote=find_remote(request, self._settings.trusted_proxies),
                    request_id=None,
                )
        if not is_in:  # locked, or the password changed, while it was checked
            return self._refuse_person(request, "", "changed")
        get_logger().info("user.signed_in", customer_id=user.customer_id, user_id=user.id)
        response = _redirect("/console")
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_S,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_is_https(request),
        )
        return response

    def _page(self, name: str, status: int = 200, *, retry_after_s: int = 0, **values: Any) -> web.Response:
        headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
        text = self._pages.render(name, **values)
        return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=headers)

    def _notice(self, status: int, title: str, sentence: str) -> web.Response:
        retry_after_s = RETRY_AFTER_S if status == 503 else 0
        values = {"title": title, "sentence": sentence, "again_s": retry_after_s}
        return self._page("notice.html", status, retry_after_s=retry_after_s, **values)

    def _refuse_stranger(self, request: web.Request) -> web.Response:
        get_logger().info("user.refused", reason="origin", remote=request.remote)
        return self._notice(403, "Refused", "This form was sent from another site.")


def _redirect(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


def _file(body: bytes, content_type: str) -> web.Response:
    headers = {"Cache-Control": "no-cache"}
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)


def _hash(token: str) -> bytes:
    return sha256(token.encode(errors="replace")).digest()  # a cookie of odd bytes is read with surrogates


def _is_https(request: web.Request) -> bool:
    """Tell whether the browser speaks https, to us or to the proxy before us; a lie here harms only who tells it."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
