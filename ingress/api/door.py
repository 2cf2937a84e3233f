"""The API's door: each request is let in, done in one transaction, written to the audit log, and answered in the envelope.

The order: whose token, how many requests, the text read, then in the transaction: the caller, its scope, the idempotency
key, the handler, the audit line, the kept answer. Nothing is answered before the commit; a stream alone is sent while its
transaction is open, and its audit line is committed first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

from aiohttp import web

from bankfeed import metrics
from bankfeed.db import Connection, Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.client import find_client_by_username
from bankfeed.errors import BankfeedError, Unauthorized, Unavailable
from bankfeed.jobs import Waker
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from ingress.api.answers import HEADERS, Answer, make_answer, make_refusal, to_response
from ingress.api.call import Call, Services
from ingress.api.caller import Caller
from ingress.api.catalogue import Catalogue
from ingress.api.cross import Cross
from ingress.api.docs import Docs
from ingress.api.entrance import enter, read_token
from ingress.api.limits import Allowance, Limits
from ingress.api.lines import Line, Streams
from ingress.api.once import HEADER as ONCE
from ingress.api.once import Once
from ingress.api.reading import decode_body, read_body, read_params, read_version
from ingress.api.route import Body, Problem, Route, Stream
from ingress.api.routes import ROUTES
from ingress.passwords import Passwords
from ingress.remote import find_base, find_remote

PREFIX: Final = "/api/v1"
MAX_TARGET_CHARS: Final = 1_000
IDS_BESIDE: Final = frozenset({"into", "choice"})  # ids too, by other names
READ_S: Final = 30.0  # that a reader of a stream may take for a piece of it
STREAM_S: Final = 600.0  # that a stream may take


class Api:
    """The REST API. Until `open` is called every answer is 503."""

    def __init__(self, settings: Settings, *, routes: tuple[Route, ...] = ROUTES) -> None:
        self._settings = settings
        self._routes = routes
        self._limits = Limits(settings.calls_per_minute)
        self._strangers = Line(settings.pool_connections)
        self._streams = Streams(settings.pool_connections)
        self._cross = Cross(settings.cors_origins)
        self._services: Services | None = None
        self._waker: Waker | None = None

    def open(self, database: Database, waker: Waker, passwords: Passwords, catalogue: Catalogue) -> None:
        """Begin to answer."""
        self._services = Services(database=database, passwords=passwords, catalogue=catalogue)
        self._waker = waker

    def add_routes(self, app: web.Application) -> None:
        """Serve every route and their description, and say in the API's own words that there is no other."""
        Docs(self._routes, prefix=PREFIX).add_routes(app)
        for route in self._routes:
            app.router.add_route(route.method, PREFIX + route.path, self._serve(route))
        app.router.add_route("*", PREFIX + "/{tail:.*}", self._refuse_unknown)

    def _serve(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            began = monotonic()
            asked = _Asked(self, route, request)
            response = await asked.answer()
            metrics.API_REQUESTS.labels(route.name, f"{response.status // 100}xx").inc()
            metrics.API_SECONDS.labels(route.name).observe(monotonic() - began)
            return response

        return serve

    async def _refuse_unknown(self, request: web.Request) -> web.StreamResponse:
        if preflight := self._cross.answer_preflight(request):
            return preflight
        methods = sorted({route.method for route in self._routes if _fits(PREFIX + route.path, request.path)})
        problem = (
            Problem(
                405, "method_not_allowed", f"expected {' or '.join(methods)}", headers={"Allow": ", ".join(methods)}
            )
            if methods
            else Problem(404, "not_found", f"there is no {request.path[:200]}; see {PREFIX}/openapi.json")
        )
        request_id = uuid4()
        return await to_response(
            make_refusal(problem, request_id), request, {"X-Request-Id": str(request_id), **self._cross.allow(request)}
        )


def _fits(pattern: str, path: str) -> bool:
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(
        want == part or (want.startswith("{") and part) for part, want in zip(parts, wanted, strict=True)
    )


class _Asked:
    """One request on its way through the door."""

    def __init__(self, api: Api, route: Route, request: web.Request) -> None:
        self._api = api
        self._route = route
        self._request = request
        self._request_id = uuid4()
        self._settings = api._settings  # noqa: SLF001 - a part of the door
        self._remote = find_remote(request, self._settings.trusted_proxies)
        self._headers = {"X-Request-Id": str(self._request_id), **api._cross.allow(request)}  # noqa: SLF001
        self._begun: web.StreamResponse | None = None  # the stream whose first bytes are out

    async def answer(self) -> web.StreamResponse:
        """Answer the request, whatever happens."""
        try:
            return await self._try()
        except (BankfeedError, ConnectionError, TimeoutError) as error:
            return self._break_off(error) or await self._refuse(error)
        except Exception as error:  # noqa: BLE001 - the very top of a request; aiohttp's own answer may show a traceback
            get_logger().exception("api.failed", operation=self._route.name, request_id=str(self._request_id))
            return self._break_off(error) or await self._refuse(error)

    def _break_off(self, error: Exception) -> web.StreamResponse | None:
        """End a stream that cannot go on, so that its reader sees that the end is missing; None where none has begun."""
        if self._begun is None:
            return None
        get_logger().info("api.broken_off", operation=self._route.name, reason=type(error).__name__)
        if (transport := self._request.transport) is not None:
            transport.abort()
        return self._begun

    async def _refuse(self, error: Exception) -> web.StreamResponse:
        answer = make_refusal(
            error if isinstance(error, BankfeedError) else BankfeedError(),
            self._request_id,
            invalid_status=self._route.invalid_status,
        )
        get_logger().info(
            "api.refused",
            operation=self._route.name,
            status=answer.status,
            reason=type(error).__name__,
            request_id=str(self._request_id),
        )
        return await to_response(answer, self._request, self._headers)

    async def _try(self) -> web.StreamResponse:
        services, waker = self._api._services, self._api._waker  # noqa: SLF001
        if services is None or waker is None:
            raise Unavailable("starting")
        token_sha256 = read_token(self._request.headers, environment=self._settings.environment)
        is_public = self._route.scope is None
        # Where anybody may come, a made-up token must not be an allowance of its own.
        self._take_allowance(None if is_public else token_sha256)
        raw = await read_body(self._request, limit_s=self._settings.body_s)
        params = read_params(self._route, path=self._request.match_info, query=self._request.query.items())
        body = decode_body(
            self._route,
            raw,
            content_type=self._request.content_type,
            version=read_version(self._request.headers.get("If-Match")),
        )
        if self._route.streams and getattr(params, "stream", True):
            return await self._stream(services, params, token_sha256)
        wakes = set()
        line = self._api._strangers.wait() if is_public else nullcontext()  # noqa: SLF001
        async with line, services.database.transaction(services.database.app_pool) as conn:
            call = await self._enter(services, conn, params, token_sha256)
            call.target = _join_ids(call.target, *_list_ids(body))
            done = await self._do(call, params, body, raw)
            wakes = call.wakes
        for kind in wakes:
            waker.wake(kind)
        return await to_response(done, self._request, self._headers)

    async def _stream(self, services: Services, params: Body, token_sha256: bytes | None) -> web.StreamResponse:
        """Answer with a stream, while its transaction is open. Its line in the audit log is committed before the first byte.

        Streams have a share of the connections, and a customer few of these; one that is not read is left.
        """
        async with services.database.transaction(services.database.app_pool) as conn:
            call = await self._enter(services, conn, params, token_sha256)
            await _note(call, self._route)
        async with (
            self._api._streams.wait(call.customer_id),  # noqa: SLF001
            services.database.transaction(services.database.app_pool) as conn,
        ):
            call = await self._enter(services, conn, params, token_sha256)
            stream: Stream = await self._route.handle(call, params)
            headers = {**HEADERS, **self._headers, **stream.headers, "Content-Type": stream.content_type}
            self._begun = web.StreamResponse(headers=headers)
            await self._begun.prepare(self._request)
            async with asyncio.timeout(STREAM_S):
                async for chunk in stream.chunks:
                    async with asyncio.timeout(READ_S):
                        await self._begun.write(chunk)
                await self._begun.write_eof()
        return self._begun

    async def _enter(self, services: Services, conn: Connection, params: Body, token_sha256: bytes | None) -> Call:
        try:
            caller = await enter(conn, self._route, token_sha256, environment=self._settings.environment)
        except Unauthorized:
            self._take_allowance(None)  # guessing tokens is bounded by where it comes from
            raise
        call = self._make_call(services, conn, caller, params)
        if username := getattr(params, "username", None):  # the audit log says whose, however it was asked for
            client_id = await find_client_by_username(conn, call.customer_id, username)
            call.target = _join_ids(call.target, f"clientId={client_id}" if client_id else "")
        return call

    def _take_allowance(self, token_sha256: bytes | None) -> None:
        name = token_sha256 or f"remote {self._remote}"
        allowance: Allowance = self._api._limits.take(name)  # noqa: SLF001
        self._headers |= allowance.headers
        if allowance.wait_s:
            raise Problem(429, "rate_limited", f"expected at most {allowance.limit} requests a minute")

    def _make_call(self, services: Services, conn: Connection, caller: Caller, params: Body) -> Call:
        return Call(
            caller=caller,
            conn=conn,
            settings=self._settings,
            services=services,
            request_id=self._request_id,
            remote=self._remote,
            base=self._settings.public_url.rstrip("/") or find_base(self._request, self._settings.trusted_proxies),
            target=_join_ids(*_list_ids(params)),
        )

    async def _do(self, call: Call, params: Body, body: Body | None, raw: bytes) -> Answer:
        """Do what is asked, once for each key, with its line in the audit log; a repeat has a line too."""
        once = self._find_once(call, raw)
        if once is not None and (kept := await once.find_answer(call.conn)) is not None:
            await _note(call, self._route)
            return kept
        given = (params,) if self._route.body is None else (params, body)
        found = await self._route.handle(call, *given)
        await _note(call, self._route)
        answer = make_answer(self._route, found, self._request.rel_url)
        if once is not None:
            await once.keep(call.conn, answer)
        return answer

    def _find_once(self, call: Call, raw: bytes) -> Once | None:
        key = self._request.headers.get(ONCE)
        if key is None or self._route.method != "POST":
            return None
        who = self._remote if self._route.scope is None else call.actor
        return Once(call.customer_id, who, self._route, key, self._request.raw_path.encode() + b"\n" + raw)


def _list_ids(taken: Body | None) -> list[str]:
    """Name the ids that a request holds, with their names, for the audit log."""
    if taken is None:
        return []
    values = {
        wire: getattr(taken, name)
        for name, wire in zip(taken.__struct_fields__, taken.__struct_encode_fields__, strict=True)
    }
    ids = {name: value for name, value in values.items() if name.endswith(("Id", "Ids")) or name in IDS_BESIDE}
    return [f"{name}={_write(value)}" for name, value in ids.items() if isinstance(value, int | str | UUID | list)]


def _write(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _join_ids(*ids: str) -> str:
    return " ".join(each for each in ids if each)[:MAX_TARGET_CHARS]


async def _note(call: Call, route: Route) -> None:
    """Write who did what; what a public route did it notes itself, for whoever the caller turned out to be."""
    if route.scope is None:
        return
    await insert_audit(
        call.conn,
        call.customer_id,
        actor=call.actor,
        action=route.name,
        target=call.target,
        remote=call.remote,
        request_id=UUID(str(call.request_id)),
    )
