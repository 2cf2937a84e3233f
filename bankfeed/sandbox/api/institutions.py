"""Institutions: found by words of their name; here `start` is a page number and `moreAvailable` a boolean.

The control API lets them be down, in maintenance, migrating, or migrated to a page of their own.
"""

import time
from datetime import datetime

import msgspec
from aiohttp import web

from bankfeed.sandbox.api.exchange import BANK, answer, page_bounds, path_id, read_body
from bankfeed.sandbox.clock import utc
from bankfeed.sandbox.institutions import Institution, InstitutionStatus, Standing, search
from bankfeed.sandbox.refusals import bad_request
from bankfeed.sandbox.wire import institution_json


class NewStatus(msgspec.Struct):
    """How an institution stands from now on; `until` is when what it announces ends, for one that is migrating."""

    status: InstitutionStatus
    until: str = ""


class Migration(msgspec.Struct):
    """A migration to OAuth, done now; holders have until then to consent."""

    until: str


async def list_institutions(request: web.Request) -> web.Response:
    """List the institutions that a text finds."""
    start, limit = page_bounds(request)
    found = search(request.query.get("search", ""), request.app[BANK].institutions())
    page = found[(start - 1) * limit : start * limit]
    return answer(
        {
            "found": len(found),
            "displaying": len(page),
            "moreAvailable": start * limit < len(found),
            "createdDate": int(time.time()),
            "institutions": [institution_json(institution) for institution in page],
        }
    )


async def show_institution(request: web.Request) -> web.Response:
    """Show one institution."""
    return answer({"institution": institution_json(_institution(request))})


async def set_status(request: web.Request) -> web.Response:
    """Let an institution be reached or not, or announce that it migrates; what it does is not changed by this."""
    institution, new = _institution(request), await read_body(request, NewStatus)
    if bool(new.until) != (new.status is InstitutionStatus.MIGRATING):
        raise bad_request("expected until with the status migrating, and with that only")
    until = _coming(request, new.until) if new.until else None
    standing = Standing(status=new.status, until=until, is_migrated=institution.is_migrated)
    request.app[BANK].set_standing(institution, standing)
    return await show_institution(request)


async def migrate(request: web.Request) -> web.Response:
    """Move an institution to OAuth: its logins fail with 948 until their holders consent on its own page."""
    institution, new = _institution(request), await read_body(request, Migration)
    if institution.is_oauth and not institution.is_migrated:
        raise bad_request("This institution has always been reached by OAuth.")
    standing = Standing(status=InstitutionStatus.MIGRATING, until=_coming(request, new.until), is_migrated=True)
    request.app[BANK].set_standing(institution, standing)
    return await show_institution(request)


def _institution(request: web.Request) -> Institution:
    return request.app[BANK].institution(path_id(request, "institution"))


def _coming(request: web.Request, text: str) -> datetime:
    try:
        at = utc(text)
    except ValueError as error:
        raise bad_request(str(error)) from error
    now = request.app[BANK].clock.now()
    if at <= now:
        raise bad_request(f"expected an instant after {now.isoformat()}, the bank's time")
    return at


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.get("/institution/v2/institutions", list_institutions),
        web.get(r"/institution/v2/institutions/{institution:\d+}", show_institution),
        web.put(r"/finbank/institutions/{institution:\d+}/status", set_status),
        web.post(r"/finbank/institutions/{institution:\d+}/migrate", migrate),
    ]
