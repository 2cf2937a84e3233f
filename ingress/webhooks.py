"""`POST /webhooks/{source}`: size, signature, shape; then stored and committed; then 200.

Nothing is parsed before the sender has proved itself, and nothing is answered 200 before it is committed.
"""

import asyncio
from functools import lru_cache
from time import monotonic
from typing import Final

from aiohttp import ClientError, web

from bankfeed import metrics
from bankfeed.aggregators import Notice
from bankfeed.aggregators.dialects import DIALECTS
from bankfeed.db.arrival import Incoming
from bankfeed.db.source import Source
from bankfeed.errors import BankfeedError, Unavailable
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from ingress.answers import Accepted, Refusal, can_stay_open, make_accepted
from ingress.intake import Intake
from ingress.senders import Senders
from ingress.sources import Sources

LAST_BODY_S: Final = 1.0  # what a body may still take once ingress stops
CODE: Final = "txpush_verification_code"
MAX_CODE_CHARS: Final = 256

_count_received = lru_cache(maxsize=256)(metrics.WEBHOOKS_RECEIVED.labels)  # all labels come from closed lists


class Webhooks:
    """The webhook door. Until `open` is called every answer is 503."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sources: Sources | None = None
        self._intake: Intake | None = None
        self._senders = Senders(settings)
        self._accepted = Accepted()
        self._reading: set[asyncio.Timeout] = set()
        self._is_stopping = False
        self.busy = 0  # requests that are not answered yet

    def open(self, sources: Sources, intake: Intake) -> None:
        """Begin to accept."""
        self._sources = sources
        self._intake = intake

    def stop(self) -> None:
        """Go on answering, and ask each sender to close the connection; bodies that arrive slowly are cut off."""
        self._is_stopping = True
        last_at = asyncio.get_running_loop().time() + LAST_BODY_S
        for deadline in self._reading:
            if not deadline.expired():
                deadline.reschedule(min(last_at, deadline.when() or last_at))

    async def close(self) -> None:
        """Close what was opened to check senders. Safe to repeat."""
        await self._senders.close()

    def add_routes(self, app: web.Application) -> None:
        """Serve the door's two paths; the second carries the unguessable part."""
        app.router.add_get("/webhooks/{source}", self.confirm, allow_head=False)
        app.router.add_post("/webhooks/{source}", self.receive)
        app.router.add_post("/webhooks/{source}/{secret}", self.receive)

    async def confirm(self, request: web.Request) -> web.Response:
        """Answer TxPUSH's check of an address with the code that it sends; to any other source there is nothing to get."""
        try:
            source = await self._find(request)
            code = _read_code(request, source)
        except (Refusal, BankfeedError) as error:
            refusal = _note_refusal(error, "unknown")
            return refusal.response()
        _count_received(source.dialect, "ping", "ping").inc()
        return web.Response(text=code, headers={"X-Content-Type-Options": "nosniff"})

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Take one webhook."""
        self.busy += 1
        began = monotonic()
        dialect = event = "unknown"
        try:
            source = await self._find(request)
            dialect = source.dialect
            body = await self._read(request)
            path_secret = request.match_info.get("secret")
            await self._senders.verify(source, path_secret=path_secret, headers=request.headers, body=body)
            notice = _parse(request, source, body)
            event = notice.event_type or ("ping" if notice.is_ping else "unknown")
            outcome = "ping" if notice.is_ping else await self._store(source, notice, body)
            response = self._accept(request)
        except (Refusal, BankfeedError) as error:
            refusal = _note_refusal(error, dialect)
            outcome = refusal.code
            response = refusal.response()
            if self._is_stopping:
                response.force_close()
        finally:
            self.busy -= 1
        _count_received(dialect, event, outcome).inc()
        metrics.INGRESS_SECONDS.observe(monotonic() - began)
        return response

    def _accept(self, request: web.Request) -> web.StreamResponse:
        if can_stay_open(request) and not self._is_stopping:
            return self._accepted
        return make_accepted(is_last=self._is_stopping)

    async def _find(self, request: web.Request) -> Source:
        if self._sources is None:
            raise Unavailable("starting")
        slug = request.match_info["source"]
        return self._sources.find_kept(slug) or await self._sources.get(slug)

    async def _read(self, request: web.Request) -> bytes:
        """Read the body, bounded while it streams and in time; compressed ones are refused undecoded."""
        encodings = request.headers.getall("Content-Encoding", ())
        if any(encoding.lower() != "identity" for encoding in encodings):
            raise Refusal(415, "encoded_body", "expected a body without Content-Encoding")
        most = self._settings.body_bytes
        if (request.content_length or 0) <= most:
            try:
                is_all_here = request.content.is_eof()
                body = request.content.read_nowait() if is_all_here else await self._read_streamed(request, most)
            except (ConnectionError, ClientError) as error:
                raise Refusal(400, "gone", "the sender left before the body was there") from error
            if len(body) <= most:
                return body
        raise Refusal(413, "too_large", f"expected a body of at most {most} bytes")

    async def _read_streamed(self, request: web.Request, most: int) -> bytes:
        """Read what still arrives, until it is all there or more than `most`."""
        body = bytearray()
        deadline = asyncio.timeout(LAST_BODY_S if self._is_stopping else self._settings.body_s)
        self._reading.add(deadline)
        try:
            async with deadline:
                while len(body) <= most and (chunk := await request.content.readany()):
                    body += chunk
        except TimeoutError as error:
            if self._is_stopping:
                raise Unavailable("stopping") from error
            raise Refusal(408, "too_slow", f"expected the body within {self._settings.body_s} s") from error
        finally:
            self._reading.discard(deadline)
        return bytes(body)

    async def _store(self, source: Source, notice: Notice, body: bytes) -> str:
        assert self._intake is not None
        incoming = Incoming(
            source_id=source.id,
            name=notice.name,
            event_type=notice.event_type,
            event_id=notice.event_id,
            customer_ref=notice.customer_ref,
            login_refs=notice.login_refs,
            account_refs=notice.account_refs,
            body=body,
        )
        return (await self._intake.store(incoming)).value


def _parse(request: web.Request, source: Source, body: bytes) -> Notice:
    read = DIALECTS.get(source.dialect)
    if read is None:  # the schema knows a dialect that this process does not: a newer one will
        raise Unavailable("the source has no known dialect")
    return read(body, request.headers)


def _read_code(request: web.Request, source: Source) -> str:
    code = request.query.get(CODE, "")
    if source.verifier != "txpush":
        raise Refusal(404, "not_found", "there is no such source")
    if not (code.isascii() and code.isprintable() and 1 <= len(code) <= MAX_CODE_CHARS):
        raise Refusal(400, "bad_request", f"expected {CODE} to be 1 to {MAX_CODE_CHARS} characters", field=CODE)
    return code


def _note_refusal(error: Refusal | BankfeedError, dialect: str) -> Refusal:
    refusal = error if isinstance(error, Refusal) else Refusal.of(error)
    get_logger().info("webhook.refused", dialect=dialect, status=refusal.status, code=refusal.code, field=refusal.field)
    return refusal
