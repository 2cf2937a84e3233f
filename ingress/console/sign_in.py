"""The sign-in page: how a person's session begins and ends."""

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from aiohttp import web

from bankfeed.db.audit import insert_audit
from bankfeed.db.session import delete_expired_sessions, delete_session, insert_session
from bankfeed.db.user import User, find_user
from bankfeed.errors import RefusedData, Unavailable
from bankfeed.logs import get_logger
from ingress.console.door import COOKIE, Door, hash_token, redirect
from ingress.console.forms import is_own_page, read_form
from ingress.console.throttle import Throttle
from ingress.passwords import Passwords
from ingress.remote import find_remote

SESSION_S: Final = 12 * 3600


class SignIn:
    """Signs people in and out."""

    def __init__(self, door: Door, passwords: Passwords) -> None:
        self._door = door
        self._passwords = passwords
        self._throttle = Throttle()

    def add_routes(self, app: web.Application) -> None:
        """Serve the paths."""
        app.router.add_get("/sign-in", self._door.serve(self.show_sign_in))
        app.router.add_post("/sign-in", self._door.serve(self.sign_in))
        app.router.add_post("/sign-out", self._door.serve(self.sign_out))

    async def show_sign_in(self, request: web.Request) -> web.Response:
        """Show the form, to whoever is not signed in yet."""
        async with self._door.enter(request) as visit:
            if visit is not None:
                return redirect("/console")
        return self._door.page("sign_in.html", email="", problem="")

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take an address and a password; answer alike whether the address or the password is wrong."""
        if not is_own_page(request):
            return self._door.refuse_stranger(request)
        settings = self._door.settings
        form = await read_form(request, limit_s=settings.body_s)
        email = form.get("email", "").strip().lower()
        names = ("email " + sha256(email.encode()).hexdigest(), f"remote {request.remote}")
        if wait_s := self._throttle.take(*names):
            get_logger().info("user.refused", reason="throttled", remote=request.remote)
            problem = f"Too many tries. Wait {-(-wait_s // 60)} min, then try again."
            return self._door.page("sign_in.html", 429, retry_after_s=wait_s, email=email, problem=problem)
        try:
            user = await self._find_user(email)
            is_right = await self._passwords.verify(user.password_hash if user else None, form.get("password", ""))
        except Unavailable:
            self._throttle.give_back(*names)
            raise
        if user is None or user.is_locked or not is_right:
            return self._refuse_person(request, email, "password")
        self._throttle.give_back(*names)
        if user.environment != settings.environment:
            get_logger().info("user.refused", reason="environment", remote=request.remote)
            problem = f"This is {settings.environment}; your account is one of {user.environment}."
            return self._door.page("sign_in.html", 401, email=email, problem=problem)
        return await self._begin_session(request, user)

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session, here and in Postgres. Safe to repeat."""
        if not is_own_page(request):
            return self._door.refuse_stranger(request)
        async with self._door.enter(request) as visit:
            if visit is not None:
                await delete_session(visit.conn, visit.customer_id, visit.caller.token_sha256)
        response = redirect("/sign-in")
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_is_https(request))
        return response

    async def _begin_session(self, request: web.Request, user: User) -> web.Response:
        token = secrets.token_urlsafe(32)
        async with self._door.database.tenant(user.customer_id) as conn:
            await delete_expired_sessions(conn, user.customer_id, user_id=user.id)
            is_in = await insert_session(
                conn,
                user.customer_id,
                user_id=user.id,
                password_hash=user.password_hash or "",
                token_sha256=hash_token(token),
                expires_at=datetime.now(UTC) + timedelta(seconds=SESSION_S),
            )
            if is_in:
                await insert_audit(
                    conn,
                    user.customer_id,
                    actor=f"user:{user.id}",
                    action="person.signed_in",
                    target=f"userId={user.id}",
                    remote=find_remote(request, self._door.settings.trusted_proxies),
                    request_id=None,
                )
        if not is_in:  # locked, or the password changed, while it was checked
            return self._refuse_person(request, "", "changed")
        get_logger().info("user.signed_in", customer_id=user.customer_id, user_id=user.id)
        response = redirect("/console")
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

    async def _find_user(self, email: str) -> User | None:
        try:
            async with self._door.database.app() as conn:
                return await find_user(conn, email)
        except RefusedData:  # an address that Postgres cannot even look for is nobody's
            return None

    def _refuse_person(self, request: web.Request, email: str, reason: str) -> web.Response:
        get_logger().info("user.refused", reason=reason, remote=request.remote)
        problem = "The e-mail address or the password is not right."
        return self._door.page("sign_in.html", 401, email=email, problem=problem)


def _is_https(request: web.Request) -> bool:
    """Tell whether the browser speaks https, to us or to the proxy before us; a lie here harms only who tells it."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
