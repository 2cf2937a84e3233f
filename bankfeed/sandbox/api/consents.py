"""Consents: an OAuth session asked for by the partner, the bank's page for its holder, and what the code is good for.

The page is reached by its address alone, which nobody guesses; it shows no more than the last digits of a number.
"""

import hashlib
from base64 import b64encode

import msgspec
from aiohttp import web

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.api.discovery import V1, outcome_answer
from bankfeed.sandbox.api.exchange import BANK, DESK, answer, path_id, read_body
from bankfeed.sandbox.consent_page import STYLE, closed_page, consent_page
from bankfeed.sandbox.consents import Consent, Decision, checked_state, checked_uri
from bankfeed.sandbox.desk import Desk
from bankfeed.sandbox.refusals import bad_request, missing_parameter, no_account_for_login

PAGES = "/finbank/oauth/"
LONGEST_FORM_CHARS = 1_000
STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


class NewSession(msgspec.Struct, rename="camel"):
    """Where the browser goes back to, with which state; the login to renew, for one that exists."""

    redirect_uri: str = ""
    state: str = ""
    institution_login_id: int | str | None = None


class Code(msgspec.Struct):
    """The code that the browser came back with."""

    code: str = ""

    def __repr__(self) -> str:
        return "Code('***')"


async def begin(request: web.Request) -> web.Response:
    """Begin an OAuth session; the link is for the account holder's browser."""
    bank, desk, customer_id = request.app[BANK], request.app[DESK], path_id(request, "customer")
    bank.customer(customer_id)
    institution = bank.institution(path_id(request, "institution"))
    if not institution.is_oauth:
        raise bad_request("This institution takes credentials; it has no page of its own.")
    new = await read_body(request, NewSession)
    if not new.redirect_uri:
        raise missing_parameter("redirectUri")
    login_id, offered = None, tuple(AccountKind)
    if new.institution_login_id is not None:
        if not str(new.institution_login_id).isdecimal() or len(str(new.institution_login_id)) > 15:
            raise no_account_for_login()
        login = bank.login(customer_id, int(new.institution_login_id))
        if login.institution_id != institution.id:
            raise no_account_for_login()
        login_id, offered = login.id, tuple(account.kind for account in bank.pages.accounts_of(login.id))
    session = desk.begin_consent(
        Consent(
            customer_id=customer_id,
            institution_id=institution.id,
            redirect_uri=checked_uri(new.redirect_uri),
            state=checked_state(new.state),
            offered=offered,
            login_id=login_id,
        )
    )
    return answer({"link": f"{request.url.origin()}{PAGES}{session}", "oauthSession": session})


async def finish(request: web.Request) -> web.Response:
    """Take the code: accounts to choose from, or the accounts of the login that is renewed."""
    desk, customer_id = request.app[DESK], path_id(request, "customer")
    request.app[BANK].customer(customer_id)
    outcome = desk.end_consent(
        request.match_info["session"],
        (await read_body(request, Code)).code,
        customer_id=customer_id,
        institution_id=path_id(request, "institution"),
    )
    return outcome_answer(desk, outcome)


async def show_page(request: web.Request) -> web.Response:
    """Show the bank's page to the account holder."""
    consent = _open(request)
    return _html(closed_page(), status=410) if consent is None else _form(request, consent)


async def decide(request: web.Request) -> web.Response:
    """Take the account holder's decision, once, and send the browser back."""
    desk, consent = request.app[DESK], _open(request)
    if consent is None:
        return _html(closed_page(), status=410)
    given = await request.post() if (request.content_length or 0) <= LONGEST_FORM_CHARS else None
    wanted = "" if given is None else str(given.get("decision", ""))
    ticked = [] if given is None else given.getall("accounts", [])
    kinds = [kind for kind in consent.offered if kind in ticked]
    if wanted not in set(Decision):
        return _form(request, consent, problem="Choose Allow or Decline.", status=400)
    if wanted == Decision.ALLOWED and not kinds:
        return _form(request, consent, problem="Tick at least one account, or choose Decline.", status=400)
    decided = desk.decide(request.match_info["session"], consent, Decision(wanted), kinds)
    headers = {"Location": decided.way_back(), "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(status=303, headers=headers)


def _open(request: web.Request) -> Consent | None:
    consent = request.app[DESK].consents.find(request.match_info["session"])
    return None if consent is None or consent.decision else consent


def _form(request: web.Request, consent: Consent, *, problem: str = "", status: int = 200) -> web.Response:
    desk = request.app[DESK]
    institution = desk.bank.institution(consent.institution_id)
    page = consent_page(
        institution, [(kind, _number(desk, consent, kind)) for kind in consent.offered], problem=problem
    )
    return _html(page, status=status, goes_to=consent.origin())


def _number(desk: Desk, consent: Consent, kind: AccountKind) -> str:
    accounts = desk.bank.pages.accounts_of(consent.login_id or 0)
    linked = next((account for account in accounts if account.kind is kind), None)
    return linked.number() if linked else desk.consenting_number(consent, kind)


def _html(page: str, *, status: int, goes_to: str = "") -> web.Response:
    # A browser holds the redirect after the form to form-action too.
    policy = (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self' {goes_to}; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=page, status=status, content_type="text/html", headers=headers)


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.post(f"{V1}/oauth", begin),
        web.post(V1 + "/oauth/{session}", finish),
        web.get(PAGES + "{session}", show_page),
        web.post(PAGES + "{session}", decide),
    ]
