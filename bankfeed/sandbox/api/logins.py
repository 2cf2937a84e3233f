"""Logins: refreshed, with their person present or not, and given other credentials.

A request says that the person is present with the header `Interactive: true`. Without it nobody answers what the bank
asks, which fails with 185.
"""

from aiohttp import web

from bankfeed.sandbox.api.discovery import Answers, Credentials, outcome_answer, session_of
from bankfeed.sandbox.api.exchange import BANK, DESK, answer, path_id, read_body
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.desk import refuse_legacy
from bankfeed.sandbox.wire import form_json

LOGIN = r"/aggregation/v1/customers/{customer:\d+}/institutionLogins/{login:\d+}"


async def show_form(request: web.Request) -> web.Response:
    """Show what a login's institution asks for, with nothing filled in."""
    institution = request.app[BANK].institution(_login(request).institution_id)
    refuse_legacy(institution)
    return answer({"loginForm": form_json(institution)})


async def change_credentials(request: web.Request) -> web.Response:
    """Take other credentials; whether they are right, the next refresh tells."""
    login = _login(request)
    request.app[DESK].change_credentials(login, (await read_body(request, Credentials)).by_id())
    return web.Response(status=204)


async def refresh(request: web.Request) -> web.Response:
    """Aggregate one login now; a failure at the bank is HTTP 500 with its code."""
    desk, login = request.app[DESK], _login(request)
    is_interactive = request.headers.get("Interactive", "").lower() == "true"
    return outcome_answer(desk, desk.refresh(login) if is_interactive else desk.bank.refresh(login))


async def answer_questions(request: web.Request) -> web.Response:
    """Answer what an interactive refresh asked."""
    desk, login, session = request.app[DESK], _login(request), session_of(request)
    answers = (await read_body(request, Answers)).by_text()
    return outcome_answer(desk, desk.answer(session, answers, customer_id=login.customer_id, login_id=login.id))


def _login(request: web.Request) -> Login:
    return request.app[BANK].login(path_id(request, "customer"), path_id(request, "login"))


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.get(f"{LOGIN}/loginForm", show_form),
        web.put(LOGIN, change_credentials),
        web.post(f"{LOGIN}/accounts", refresh),
        web.post(f"{LOGIN}/accounts/mfa", answer_questions),
    ]
