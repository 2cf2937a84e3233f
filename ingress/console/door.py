"""What every page of the console comes through: the headers, who looks, and how an act is done and written down.

An act is one transaction with its line in the audit log, under the name that the API has for it; the workers are woken after
the commit. No error says more than a sentence.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from aiohttp import web

from bankfeed.db import Connection, Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.caller import find_caller
from bankfeed.errors import ActRefused, BadRequest, NotFound, Unavailable
from bankfeed.jobs import Wake, Waker
from bankfeed.logs import get_logger
from bankfeed.model import CustomerId
from bankfeed.settings import Settings
from ingress.api.caller import Caller
from ingress.api.entrance import make_caller
from ingress.api.route import Problem, Scope
from ingress.console.forms import is_own_page, read_form
from ingress.console.pages import load_pages
from ingress.remote import find_remote

COOKIE: Final = "bankfeed_session"
RETRY_AFTER_S: Final = 5
MOST_BYTES: Final = 32_768  # a note of 2,000 characters, as browsers encode it
MOST_ID: Final = 2**63 - 1
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


@dataclass(slots=True, kw_only=True)
class Visit:
    """Somebody who is signed in, in a transaction that sees their firm's rows only.

    `target` is for the audit line of an act: ids like "bankAccountId=12", never values. `wakes` is done after the commit.
    """

    conn: Connection
    caller: Caller
    target: str = ""
    wakes: set[Wake] = field(default_factory=set)

    @property
    def customer_id(self) -> CustomerId:
        """Whose rows they are."""
        return self.caller.customer_id

    @property
    def may_write(self) -> bool:
        """Tell whether this person may link, repair, refresh and delete, and work on cases."""
        return self.caller.may(Scope.ACCOUNTS_WRITE)


Act = Callable[[Visit, Mapping[str, str]], Awaitable[web.Response]]


class Door:
    """Lets people in and answers them. Until `open` is called every page is 503."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pages = load_pages()
        self._database: Database | None = None
        self._waker: Waker | None = None

    def open(self, database: Database, waker: Waker) -> None:
        """Begin to answer."""
        self._database = database
        self._waker = waker

    @property
    def database(self) -> Database:
        """Where the rows are. Raises Unavailable."""
        if self._database is None:
            raise Unavailable("starting")
        return self._database

    @asynccontextmanager
    async def enter(self, request: web.Request) -> AsyncIterator[Visit | None]:
        """Run a transaction of whoever is signed in; None where nobody is, here or any more."""
        database, token = self.database, request.cookies.get(COOKIE)
        if not token:
            yield None
            return
        async with database.app() as conn:
            token_sha256 = hash_token(token)
            found = await find_caller(conn, token_sha256)
            is_person = found is not None and found.user_id is not None
            if found is None or not is_person or found.environment != self.settings.environment:
                yield None
            else:
                yield Visit(conn=conn, caller=make_caller(found, token_sha256))

    async def act(self, request: web.Request, name: str, do: Act) -> web.Response:
        """Do what a form of ours asks for, as somebody who may. `name` is what the audit log calls it."""
        if not is_own_page(request):
            return self.refuse_stranger(request)
        form = await read_form(request, limit_s=self.settings.body_s, most_bytes=MOST_BYTES)
        async with self.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            if not visit.may_write:
                return self.refuse_reader()
            response = await do(visit, form)
            await insert_audit(
                visit.conn,
                visit.customer_id,
                actor=visit.caller.actor,
                action=name,
                target=visit.target,
                remote=find_remote(request, self.settings.trusted_proxies),
                request_id=None,
            )
        if self._waker is not None:
            for kind in visit.wakes:
                self._waker.wake(kind)
        return response

    def serve(self, handler: Handler) -> Handler:
        """Turn what a handler raises into a page, and put the headers on every answer."""

        async def serve(request: web.Request) -> web.Response:
            try:
                response = await handler(request)
            except Unavailable as error:
                get_logger().warning("console.unavailable", path=request.path, reason=str(error))
                response = self.notice(503, "Not available", "This page comes back by itself in a moment.")
            except NotFound:
                response = self.notice(404, "Not there", "There is no such thing, or not any more.")
            except BadRequest as error:
                response = self.notice(400, "Not understood", f"{error}.")
            except (ActRefused, Problem) as error:
                response = self.notice(409, "Not now", _write_sentence(str(error)))
            except Exception:  # noqa: BLE001 - the very top of a page; aiohttp's own answer may show a traceback
                get_logger().exception("console.failed", path=request.path)
                response = self.notice(500, "Something went wrong", "This is our fault, and has been noted.")
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return serve

    def page(self, name: str, status: int = 200, *, retry_after_s: int = 0, **values: Any) -> web.Response:
        """Answer a page."""
        headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
        text = self.pages.render(name, **values)
        return web.Response(status=status, text=text, content_type="text/html", charset="utf-8", headers=headers)

    def notice(self, status: int, title: str, sentence: str) -> web.Response:
        """Answer a page that says one thing."""
        retry_after_s = RETRY_AFTER_S if status == 503 else 0
        values = {"title": title, "sentence": sentence, "again_s": retry_after_s}
        return self.page("notice.html", status, retry_after_s=retry_after_s, **values)

    def refuse_reader(self) -> web.Response:
        """Refuse what somebody who may only look asks for."""
        return self.notice(403, "Not yours to do", "You may look here; somebody else of your firm has to do this.")

    def refuse_stranger(self, request: web.Request) -> web.Response:
        """Refuse a form that is none of ours."""
        get_logger().info("user.refused", reason="origin", remote=request.remote)
        return self.notice(403, "Refused", "This form was sent from another site.")


def read_id(text: str) -> int:
    """Read an id that a form or a path names. Raises NotFound for what can be none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or not 0 < int(text) <= MOST_ID:
        raise NotFound("there is no such id")
    return int(text)


def redirect(path: str) -> web.Response:
    """Lead on to a page, after a form or instead of the one that was asked for."""
    return web.Response(status=303, headers={"Location": path})


def hash_token(token: str) -> bytes:
    """Return what is kept of a session's token."""
    return sha256(token.encode(errors="replace")).digest()  # a cookie of odd bytes is read with surrogates


def _write_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
