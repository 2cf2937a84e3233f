"""Authentication: the partner's credentials for a token of two hours."""

import time

import msgspec
from aiohttp import web

from bankfeed.sandbox.api.exchange import ACCESS, answer, read_body
from bankfeed.sandbox.refusals import missing_parameter


class Credentials(msgspec.Struct, rename="camel"):
    """What a partner signs in with."""

    partner_id: str = ""
    partner_secret: str = ""


async def create_token(request: web.Request) -> web.Response:
    """Issue a token."""
    access = request.app[ACCESS]
    access.check_key(request.headers.get("Finicity-App-Key"))
    credentials = await read_body(request, Credentials)
    if not credentials.partner_id:
        raise missing_parameter("partnerId")
    if not credentials.partner_secret:
        raise missing_parameter("partnerSecret")
    token = access.issue(credentials.partner_id, credentials.partner_secret, now_ms=time.time_ns() // 1_000_000)
    return answer({"token": token})


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [web.post("/aggregation/v2/partners/authentication", create_token)]
