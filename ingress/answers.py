"""What the webhook door answers: 200 from a mould, because it is asked for thousands of times a second, and refusals."""

from email.utils import formatdate
from time import time
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from bankfeed.errors import BadRequest, BankfeedError, NotFound, RefusedData, Unauthorized

RETRY_AFTER_S: Final = 5
OK_BODY: Final = b'{"status":"OK"}'


class Refusal(Exception):
    """A request that is answered with something else than 200."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field

    @classmethod
    def of(cls, error: BankfeedError) -> "Refusal":
        """Say an error in the sender's terms, without what is none of its business."""
        match error:
            case NotFound():
                return cls(404, "not_found", str(error))
            case Unauthorized():
                return cls(401, "unauthorized", "the signature is missing or wrong")
            case BadRequest():
                return cls(400, "bad_request", str(error), field=error.field)
            case RefusedData():
                return cls(400, "bad_request", "the event cannot be stored")
            case _:
                return cls(503, "unavailable", "not stored; try again")

    def response(self) -> web.Response:
        """Make the answer: {"status":"ERROR","code","message","field"?}."""
        body = {"status": "ERROR", "code": self.code, "message": str(self)}
        if self.field is not None:
            body["field"] = self.field
        headers = {"Retry-After": str(RETRY_AFTER_S)} if self.status == 503 else {}
        return web.json_response(body, status=self.status, headers=headers)


class Accepted(web.StreamResponse):
    """The 200 of a connection that stays open. One object answers all requests: it keeps nothing of any of them.

    The bytes are written at once and as they are; a response of its own for each request costs a tenth of the rate.
    """

    keep_alive = True

    def __init__(self) -> None:
        super().__init__()
        self._made_s = 0
        self._wire = b""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it. Raises ConnectionResetError where the sender has left."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the sender left before the answer")
        if self._made_s != (now_s := int(time())):
            self._made_s, self._wire = now_s, make_wire(now_s)
        transport.write(self._wire)
        if transport.get_write_buffer_size():  # a sender that does not read its answers is waited for
            await request.writer.drain()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing more to write."""


def make_wire(now_s: int) -> bytes:
    """Return the 200 as it stands on the wire, with its date.

    >>> make_wire(0).splitlines()[2:]
    [b'Content-Length: 15', b'Date: Thu, 01 Jan 1970 00:00:00 GMT', b'', b'{"status":"OK"}']
    """
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(OK_BODY)}\r\n"
    return f"{head}Date: {formatdate(now_s, usegmt=True)}\r\n\r\n".encode() + OK_BODY


def make_accepted(*, is_last: bool) -> web.Response:
    """Make a 200 of its own: for an old version of HTTP, or as the last of its connection."""
    response = web.Response(body=OK_BODY, content_type="application/json")
    if is_last:
        response.force_close()
    return response


def can_stay_open(request: web.BaseRequest) -> bool:
    """Tell whether the connection of a request stays open after the answer, without a word about it."""
    return request.keep_alive and request.version == HttpVersion11
