"""What every handler of Finbank needs: the bank in the request, parameters with their refusals, exact JSON."""

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from bankfeed.sandbox.announce import Announcer
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.desk import Desk
from bankfeed.sandbox.faults import Faults
from bankfeed.sandbox.refusals import Refusal, bad_request, invalid_parameter, missing_parameter
from bankfeed.sandbox.tokens import Access
from bankfeed.sandbox.wire import ENCODER

BANK = web.AppKey("bank", Bank)
ACCESS = web.AppKey("access", Access)
FAULTS = web.AppKey("faults", Faults)
ANNOUNCER = web.AppKey("announcer", Announcer)
DESK = web.AppKey("desk", Desk)

T = TypeVar("T")
MAX_PAGE = 1000


def answer(body: Any, status: int = 200) -> web.Response:
    """Answer with JSON in which money is written digit by digit."""
    return web.Response(body=ENCODER.encode(body), status=status, content_type="application/json")


def path_id(request: web.Request, name: str) -> int:
    """Return an id of the path; the router lets digits through only."""
    return int(request.match_info[name])


def needed_integer(request: web.Request, name: str) -> int:
    """Return a query parameter that has to be there."""
    if not request.query.get(name):
        raise missing_parameter(name)
    return _integer(request, name)


def page_bounds(request: web.Request) -> tuple[int, int]:
    """Return `start` (from 1) and `limit` (1 to 1000, by default 25)."""
    start = _integer(request, "start") if "start" in request.query else 1
    limit = _integer(request, "limit") if "limit" in request.query else 25
    if start < 1:
        raise Refusal(400, 41003, "Start index cannot be less than one.")
    if limit < 1:
        raise Refusal(400, 41004, "Limit cannot be less than one.")
    if limit > MAX_PAGE:
        raise invalid_parameter("limit")
    return start, limit


async def read_body(request: web.Request, of: type[T]) -> T:
    """Read a JSON body of a known shape, or refuse it naming what is wrong."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=of)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise bad_request(str(error)) from error


def _integer(request: web.Request, name: str) -> int:
    text = request.query[name]
    if not text.removeprefix("-").isdecimal() or len(text) > 15:
        raise invalid_parameter(name)
    return int(text)
