"""Institutions: found by words of their name; here `start` is a page number and `moreAvailable` a boolean."""

import time

from aiohttp import web

from bankfeed.sandbox.api.exchange import answer, page_bounds, path_id
from bankfeed.sandbox.institutions import BY_ID, search
from bankfeed.sandbox.refusals import no_such_institution
from bankfeed.sandbox.wire import institution_json


async def list_institutions(request: web.Request) -> web.Response:
    """List the institutions that a text finds."""
    start, limit = page_bounds(request)
    found = search(request.query.get("search", ""))
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
    institution = BY_ID.get(path_id(request, "institution"))
    if institution is None:
        raise no_such_institution()
    return answer({"institution": institution_json(institution)})


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.get("/institution/v2/institutions", list_institutions),
        web.get(r"/institution/v2/institutions/{institution:\d+}", show_institution),
    ]
