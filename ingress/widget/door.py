"""The widget's door: the address that opens a session once, the page it lives on, and the way back from a bank's page.

No cookie: browsers keep none in a frame. Whoever has a page's address has the session, so nothing tells it on: no referrer, no
log line, no other site's script.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from bankfeed.db import widget, widget_login
from bankfeed.db.client import get_client
from bankfeed.db.institution import Institution
from bankfeed.db.widget import Outcome, WidgetKind, WidgetSession, WidgetStep
from bankfeed.db.widget_login import Arrived, Login
from bankfeed.errors import AggregatorError, BadRequest, NotFound, Unavailable
from bankfeed.finding import MAX_TEXT_CHARS
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from ingress.forms import read_form
from ingress.remote import find_base
from ingress.widget.desk import Desk, Parts
from ingress.widget.flow import NOT_NOW
from ingress.widget.links import (
    Bad,
    is_consent_proof,
    read_consent_state,
    read_opening,
    read_page_token,
    write_consent_proof,
    write_page_token,
)
from ingress.widget.pages import Shown, load_pages, write_seen, write_way_back
from ingress.widget.repairing import find_meaning, find_step

PATH: Final = "/widget"
MOST_BYTES: Final = 32_768
MOST_FIELDS: Final = 64
MOST_FOUND: Final = 12
RETRY_AFTER_S: Final = 5
COOKIE: Final = "bankfeed_consent"
CONSENT_S: Final = 1_800
NOT_ANY_MORE: Final = ("This link is not good any more", "Ask your bookkeeper about it.")

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Widget:
    """The widget's pages. Until `open` is called every page is 503."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._desk = Desk(settings)
        self._pages = load_pages()
        frames = " ".join(settings.widget_frames) or "'none'"
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; "
                f"frame-ancestors {frames}; base-uri 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }

    def open(self, parts: Parts) -> None:
        """Begin to answer."""
        self._desk.open(parts)

    async def close(self, *, limit_s: float) -> None:
        """Let what asks a bank go on for a moment, then cut it off. Safe to repeat."""
        await self._desk.close(limit_s=limit_s)

    def add_routes(self, app: web.Application) -> None:
        """Serve the widget's paths."""
        app.router.add_get(PATH, self._serve(self.open_session), allow_head=False)  # what only looks must not use it up
        app.router.add_get(f"{PATH}/back", self._serve(self.come_back), allow_head=False)
        app.router.add_get(f"{PATH}/files/widget.css", self._serve(self.show_style))
        app.router.add_get(f"{PATH}/files/widget.js", self._serve(self.show_module))
        app.router.add_get(PATH + "/{token}", self._serve(self.show_page))
        app.router.add_post(PATH + "/{token}", self._serve(self.act))
        app.router.add_get(PATH + "/{token}/state", self._serve(self.show_state))
        app.router.add_get(PATH + "/{token}/go", self._serve(self.go_to_bank), allow_head=False)

    async def open_session(self, request: web.Request) -> web.Response:
        """Open a session by its signed address, once, and lead to its page, or to the aggregator's own widget."""
        found = read_opening(self._desk.signer, request.rel_url.raw_query_string, now=datetime.now(UTC))
        if found is Bad.ALTERED:
            return self._notice(404, "This link is not complete", "Open it just as you got it, or ask for a new one.")
        if found is Bad.EXPIRED:
            return self._notice(410, "This link is too old", "It was good for two hours. Ask for a new one.")
        assert not isinstance(found, Bad)
        customer_id, session_id = found
        async with self._desk.parts.database.tenant(customer_id) as conn:
            is_opened = await widget.mark_opened(conn, customer_id, session_id)
            session = await widget.find_session(conn, customer_id, session_id)
        if session is None:
            return self._notice(410, "This link is too old", "Ask for a new one.")
        if not is_opened:
            sentence = "A link opens once. Go on in the page that it opened, or ask for a new link."
            return self._notice(410, "This link was used already", sentence, way_back=write_way_back(session))
        get_logger().info("widget.opened", session_id=str(session_id), kind=session.kind)
        try:
            return await self._begin(request, session)
        except Exception:
            async with self._desk.parts.database.tenant(customer_id) as conn:
                await widget.mark_unopened(conn, customer_id, session_id)
            raise

    async def _begin(self, request: web.Request, session: WidgetSession) -> web.Response:
        if await self._is_locked(session):
            await self._desk.end(session, Outcome.LEFT)
            return self._notice(410, *NOT_ANY_MORE)
        try:
            theirs = await self._desk.begin(session, base=self._base(request))
        except NotFound:  # its client was deleted meanwhile
            await self._desk.end(session, Outcome.LEFT)
            return self._notice(410, *NOT_ANY_MORE)
        except AggregatorError as error:
            get_logger().warning("widget.no_answer", session_id=str(session.id), reason=str(error)[:300])
            await self._desk.end(session, Outcome.LEFT)
            return self._notice(502, "The bank's service does not answer", f"{NOT_NOW} Ask for a new link then.")
        token = write_page_token(self._desk.signer, session.customer_id, session.id)
        return _redirect(theirs or f"{PATH}/{token}")

    async def show_page(self, request: web.Request) -> web.Response:
        """Show the page that a session is at."""
        session = await self._find(request)
        if session is None:
            return self._unknown()
        async with self._desk.parts.database.tenant(session.customer_id) as conn:
            await widget.mark_seen(conn, session.customer_id, session.id)
        return _html(self._pages.page(await self._look(request, session)))

    async def show_state(self, request: web.Request) -> web.Response:
        """Answer what a page compares to know that there is something new: {"seen": text}."""
        session = await self._find(request)
        if session is None:
            return web.json_response({"seen": ""}, status=404)
        arrived = await self._find_arrived(session)
        return web.json_response({"seen": write_seen(session, arrived)})

    async def act(self, request: web.Request) -> web.Response:
        """Do what a page asks for, and show the session as it is then."""
        session = await self._find(request)
        if session is None:
            return self._unknown()
        form = await read_form(request, limit_s=self._settings.body_s, most_bytes=MOST_BYTES, most_fields=MOST_FIELDS)
        if await self._is_locked(session):
            await self._desk.end(session, Outcome.LEFT)
        else:
            await self._desk.act(session, form, base=self._base(request))
        return _redirect(f"{PATH}/{request.match_info['token']}")

    async def go_to_bank(self, request: web.Request) -> web.Response:
        """Lead to a bank's own page, and remember in this browser that it went there: only who went comes back."""
        session = await self._find(request)
        consent = None if session is None else self._desk.read_visit(session).consent
        if session is None or session.step is not WidgetStep.CONSENT or consent is None:
            return self._unknown() if session is None else _redirect(f"{PATH}/{request.match_info['token']}")
        response = _redirect(consent.link)
        response.set_cookie(
            COOKIE,
            write_consent_proof(self._desk.signer, session.id, consent.session),
            max_age=CONSENT_S,
            path=f"{PATH}/back",
            httponly=True,
            samesite="Lax",
            secure=self._base(request).startswith("https://"),
        )
        return response

    async def come_back(self, request: web.Request) -> web.Response:
        """Take what a bank's own page brought back, once, and go on with the session that it was for.

        Banks and aggregators see the state that is in it, so it leads to the page where that waits for it, and never again.
        """
        named = read_consent_state(self._desk.signer, request.query.get("state", ""))
        session = None if named is None else await self._desk.find_session(*named)
        if session is None:
            return self._notice(404, "This page leads nowhere", "Go on where you began, or ask for a new link.")
        consent = self._desk.read_visit(session).consent
        proof = request.cookies.get(COOKIE, "")
        if consent is not None and not is_consent_proof(self._desk.signer, session.id, consent.session, proof):
            return self._notice(
                404, "This page leads nowhere", "Go to the bank's page from the browser in which you began."
            )
        if await self._is_locked(session):
            await self._desk.end(session, Outcome.LEFT)
            return self._notice(410, *NOT_ANY_MORE)
        if not await self._desk.come_back(session, request.query.get("code", ""), base=self._base(request)):
            return self._notice(410, "That was done already", "Go on where you began, or ask for a new link.")
        return _redirect(f"{PATH}/{write_page_token(self._desk.signer, session.customer_id, session.id)}")

    async def show_style(self, _: web.Request) -> web.Response:
        """Answer the style sheet."""
        return _file(self._pages.style, "text/css")

    async def show_module(self, _: web.Request) -> web.Response:
        """Answer the module."""
        return _file(self._pages.module, "text/javascript")

    # ------------------------------------------------------------------------------------------ steps

    async def _find(self, request: web.Request) -> WidgetSession | None:
        """Return the session of a page, as far as its life goes: what was never opened has no page."""
        named = read_page_token(self._desk.signer, request.match_info["token"])
        session = None if named is None else await self._desk.find_session(*named)
        if session is not None and session.is_over:
            await self._desk.end(session, Outcome.EXPIRED)
            session = await self._desk.find_session(session.customer_id, session.id)
        elif session is not None and await self._has_lost_its_login(session):
            await self._desk.end(session, Outcome.LEFT)
            session = await self._desk.find_session(session.customer_id, session.id)
        return session if session is not None and session.opened_at is not None else None

    async def _has_lost_its_login(self, session: WidgetSession) -> bool:
        """Tell whether there is nothing to repair any more: the bank account was deleted meanwhile."""
        is_fix = session.kind is WidgetKind.FIX and session.ended_at is None
        return is_fix and await self._desk.find_login(session) is None

    async def _is_locked(self, session: WidgetSession) -> bool:
        """Tell whether the session's client may link nothing now: it is locked, or was deleted."""
        async with self._desk.parts.database.tenant(session.customer_id) as conn:
            try:
                return (await get_client(conn, session.customer_id, session.client_id)).locked_at is not None
            except NotFound:
                return True

    async def _look(self, request: web.Request, session: WidgetSession) -> Shown:
        """Gather what a page shows."""
        desk, login = self._desk, await self._desk.find_login(session)
        institution, visit = await desk.find_institution(session), desk.read_visit(session)
        search = request.query.get("q", "")[:MAX_TEXT_CHARS].strip()
        is_repair = login is not None and session.step in (WidgetStep.CHECK, WidgetStep.SUPPORT)
        return Shown(
            session=session,
            path=f"{PATH}/{request.match_info['token']}",
            institution=institution,
            login=login,
            visit=visit,
            meaning=find_meaning(session, login) if session.step is WidgetStep.TROUBLE else None,
            step=find_step(session, institution, login, visit.tried) if is_repair else None,
            known=await self._list_known(session) if session.step is WidgetStep.KNOWN else (),
            search=search,
            found=await self._search(search) if session.step is WidgetStep.INSTITUTION else (),
            arrived=await self._find_arrived(session),
            frames=self._settings.widget_frames,
        )

    async def _search(self, text: str) -> list[Institution]:
        if not text:
            return await self._desk.parts.catalogue.list_by_name(after=None, limit=MOST_FOUND, accept=self._can_link)
        return await self._desk.parts.catalogue.search(text, limit=MOST_FOUND, accept=self._can_link)

    def _can_link(self, institution: Institution) -> bool:
        return institution.connector in self._desk.parts.connectors

    async def _list_known(self, session: WidgetSession) -> tuple[Login, ...]:
        async with self._desk.parts.database.tenant(session.customer_id) as conn:
            return await widget_login.list_logins(
                conn, session.customer_id, client_id=session.client_id, institution_id=session.institution_id
            )

    async def _find_arrived(self, session: WidgetSession) -> Arrived | None:
        """Return how far the first update is, for a session that has just brought one about."""
        if session.outcome not in (Outcome.LINKED, Outcome.UPDATED, Outcome.REPAIRED) or session.connection_id is None:
            return None
        async with self._desk.parts.database.tenant(session.customer_id) as conn:
            return await widget_login.get_arrived(conn, session.customer_id, session.connection_id)

    def _base(self, request: web.Request) -> str:
        return self._settings.public_url.rstrip("/") or find_base(request, self._settings.trusted_proxies)

    def _serve(self, handler: Handler) -> Handler:
        """Turn what a handler raises into a page, and put the headers on every answer."""

        async def serve(request: web.Request) -> web.Response:
            try:
                response = await handler(request)
            except Unavailable as error:
                get_logger().warning("widget.unavailable", reason=str(error))
                response = self._notice(503, "Not available", "Nothing was lost. Try again in a moment.")
                response.headers["Retry-After"] = str(RETRY_AFTER_S)
            except BadRequest as error:
                response = self._notice(400, "Not understood", f"{error}.")
            except Exception:  # noqa: BLE001 - the very top of a page; aiohttp's own answer may show a traceback
                get_logger().exception("widget.failed")
                response = self._notice(500, "Something went wrong", "This is our fault, and has been noted.")
            for name, value in self._headers.items():
                response.headers.setdefault(name, value)
            return response

        return serve

    def _unknown(self) -> web.Response:
        return self._notice(404, "This page is not there any more", "Ask for a new link.")

    def _notice(self, status: int, title: str, sentence: str, *, way_back: str = "") -> web.Response:
        return _html(self._pages.notice(title, sentence, way_back=way_back), status=status)


def _html(text: str, *, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")


def _redirect(path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": path})


def _file(body: bytes, content_type: str) -> web.Response:
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "no-cache"})
