"""The desk's page over HTTP, for a person in a browser: no token to send, but a key at the end of the address.

Whoever starts Finbank chooses the key and tells it to the person. Without one there is no such page. The key lets in whoever
has it, so nothing tells it on: no referrer, no other site's content.
"""

import hashlib
import hmac
from base64 import b64encode
from collections import defaultdict
from itertools import islice
from typing import Final

from aiohttp import web

from bankfeed.sandbox.accounts import NAMES
from bankfeed.sandbox.api.exchange import BANK
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.breaking import DONE, Act, do_to_bank, do_to_login
from bankfeed.sandbox.desk_page import STYLE, ShownBank, ShownLogin, closed_page, desk_page
from bankfeed.sandbox.institutions import BY_ID

KEY: Final = web.AppKey("desk_key", str)
PAGES: Final = "/finbank/desk/"
SHOWN: Final = 50
MOST_FORM_BYTES: Final = 1_000
MOST_DIGITS: Final = 15
HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


async def show_page(request: web.Request) -> web.Response:
    """Show the latest logins, each at its bank, with what may be done to them."""
    if not _is_let_in(request):
        return _html(closed_page(), status=404)
    said = request.query.get("said", "")
    return _html(desk_page(_list_banks(request.app[BANK]), said=DONE[Act(said)] if said in set(Act) else ""))


async def act(request: web.Request) -> web.Response:
    """Do what a button says, and show the page as it is then."""
    if not _is_let_in(request):
        return _html(closed_page(), status=404)
    form = await request.post() if (request.content_length or MOST_FORM_BYTES + 1) <= MOST_FORM_BYTES else {}
    wanted, bank = str(form.get("act", "")), request.app[BANK]
    login = bank.pages.logins.get(_read_id(str(form.get("login", ""))))
    institution_id = _read_id(str(form.get("institution", "")))
    is_known = wanted in set(Act)
    if is_known and login is not None:
        do_to_login(bank, login, Act(wanted))
    elif is_known and institution_id in BY_ID:
        do_to_bank(bank, bank.institution(institution_id), Act(wanted))
    query = f"?said={wanted}" if is_known else ""
    return web.Response(status=303, headers={**HEADERS, "Location": f"{request.path}{query}"})


def _is_let_in(request: web.Request) -> bool:
    key, given = request.app[KEY], request.match_info["key"]
    return bool(key) and hmac.compare_digest(given.encode(), key.encode())


def _list_banks(bank: Bank) -> list[ShownBank]:
    by_institution = defaultdict(list)
    for login in islice(reversed(bank.pages.logins.values()), SHOWN):
        names = [f"{NAMES[each.kind]} {each.number()[-4:]}" for each in bank.pages.accounts_of(login.id)]
        shown = ShownLogin(login=login, holder=bank.customer(login.customer_id).username, accounts=names)
        by_institution[login.institution_id].append(shown)
    return [ShownBank(institution=bank.institution(key), logins=logins) for key, logins in by_institution.items()]


def _read_id(text: str) -> int:
    """Read an id; 0, which is nobody's, for what can be none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else 0


def _html(page: str, *, status: int = 200) -> web.Response:
    return web.Response(text=page, status=status, content_type="text/html", headers=HEADERS)


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [web.get(PAGES + "{key}", show_page), web.post(PAGES + "{key}", act)]
