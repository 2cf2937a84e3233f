"""The mailbox over HTTP: a page for people and the same as JSON, the latest letters first. Nobody has to sign in."""

import hashlib
from base64 import b64encode
from itertools import islice
from typing import Final

from aiohttp import web

from bankfeed.sandbox.api.exchange import answer
from bankfeed.sandbox.mailbox import Letter, Mailbox
from bankfeed.sandbox.mailbox_page import STYLE, mailbox_page

MAILBOX: Final = web.AppKey("mailbox", Mailbox)
PAGE: Final = "/finbank/mailbox"
PAGES: Final = (PAGE, f"{PAGE}.json")
SHOWN: Final = 50
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


async def show_page(request: web.Request) -> web.Response:
    """Show the latest letters."""
    return web.Response(text=mailbox_page(_latest(request)), content_type="text/html", headers=HEADERS)


async def list_letters(request: web.Request) -> web.Response:
    """Answer the latest letters."""
    mails = [
        {
            "at": letter.at,
            "from": letter.sender,
            "to": letter.recipients,
            "subject": letter.subject,
            "text": letter.text,
            "messageId": letter.message_id,
        }
        for letter in _latest(request)
    ]
    return answer({"mails": mails})


def _latest(request: web.Request) -> list[Letter]:
    return list(islice(request.app[MAILBOX].letters, SHOWN))


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [web.get(PAGE, show_page), web.get(f"{PAGE}.json", list_letters)]
