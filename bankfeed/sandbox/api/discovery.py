"""Discovery: a person signs in at an institution, answers what it asks, and chooses which accounts are linked.

Nothing is kept of accounts that are discovered and not chosen. An answer of 203 asks questions and names the session
in the header MFA-Session.
"""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.api.exchange import BANK, DESK, answer, path_id, read_body
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.desk import Asked, Desk, Offer, Outcome, refuse_legacy
from bankfeed.sandbox.refusals import Refusal, aggregation_failed, invalid_parameter, missing_parameter
from bankfeed.sandbox.wire import challenge_json, form_json, pending_json

SESSION_HEADER = "MFA-Session"
LONGEST_ANSWER_CHARS = 256
MOST_ENTRIES = 20
V1 = r"/aggregation/v1/customers/{customer:\d+}/institutions/{institution:\d+}"
V2 = r"/aggregation/v2/customers/{customer:\d+}/institutions/{institution:\d+}"


class Credential(msgspec.Struct):
    """One field of a form, filled in."""

    id: str
    value: str
    name: str = ""

    def __repr__(self) -> str:
        return f"Credential(id={self.id!r}, value='***')"


class Credentials(msgspec.Struct):
    """A form, filled in."""

    credentials: list[Credential] = []

    def by_id(self) -> dict[str, str]:
        """Return the values by id; refuse two for one field, and none at all."""
        if not self.credentials:
            raise missing_parameter("credentials")
        values = {each.id: each.value for each in self.credentials}
        if len(values) < len(self.credentials):
            raise invalid_parameter("credentials")
        return values


class Answer(msgspec.Struct):
    """One answer, with the text of its question."""

    text: str
    answer: str = ""

    def __repr__(self) -> str:
        return "Answer('***')"


class Answers(msgspec.Struct):
    """What a person answered."""

    questions: list[Answer] = []

    def by_text(self) -> dict[str, str]:
        """Return the answers by question."""
        if len(self.questions) > MOST_ENTRIES or any(len(it.answer) > LONGEST_ANSWER_CHARS for it in self.questions):
            raise invalid_parameter("questions")
        return {it.text: it.answer for it in self.questions}


class Chosen(msgspec.Struct):
    """An account to link, as it was discovered."""

    id: str
    number: str = ""
    name: str = ""
    type: str = ""


class Choice(msgspec.Struct):
    """The accounts to link."""

    accounts: list[Chosen] = []


async def show_form(request: web.Request) -> web.Response:
    """Show what an institution asks for; where people sign in on a page of its own, there is no form."""
    institution = request.app[BANK].institution(path_id(request, "institution"))
    refuse_legacy(institution)
    return answer({"loginForm": form_json(institution)})


async def discover(request: web.Request) -> web.Response:
    """Sign in and list the accounts there, which are pending until they are chosen."""
    bank, desk, customer_id = request.app[BANK], request.app[DESK], path_id(request, "customer")
    bank.customer(customer_id)
    institution = bank.institution(path_id(request, "institution"))
    given = await read_body(request, Credentials)
    visit = desk.sign_in(customer_id, institution, given.by_id())
    await asyncio.sleep(desk.wait_s(visit))
    return outcome_answer(desk, desk.enter(visit))


async def answer_questions(request: web.Request) -> web.Response:
    """Answer what a discovery asked."""
    desk, customer_id = request.app[DESK], path_id(request, "customer")
    request.app[BANK].customer(customer_id)
    institution_id = request.app[BANK].institution(path_id(request, "institution")).id
    session = session_of(request)
    given = await read_body(request, Answers)
    outcome = desk.answer(session, given.by_text(), customer_id=customer_id, institution_id=institution_id)
    return outcome_answer(desk, outcome)


async def activate(request: web.Request) -> web.Response:
    """Link the chosen accounts of a discovery now; the news says so."""
    bank, chosen = request.app[BANK], (await read_body(request, Choice)).accounts
    if not chosen:
        raise missing_parameter("accounts")
    if len(chosen) > MOST_ENTRIES or not all(it.id.isdecimal() and len(it.id) <= 15 for it in chosen):
        raise invalid_parameter("accounts")
    if any(it.type and it.type not in set(AccountKind) for it in chosen):
        raise Refusal(400, 10106, "Invalid account type")
    _, accounts = request.app[DESK].activate(
        path_id(request, "customer"), path_id(request, "institution"), {int(it.id): it.number for it in chosen}
    )
    return answer({"accounts": [bank.account_json(account) for account in accounts]})


def session_of(request: web.Request) -> str:
    """Return the session that a request answers for, or refuse it with 10005."""
    if not request.headers.get(SESSION_HEADER):
        raise missing_parameter(SESSION_HEADER)
    return request.headers[SESSION_HEADER]


def outcome_answer(desk: Desk, outcome: Outcome) -> web.Response:
    """Write what came of a visit: questions (203), accounts to choose from, or the accounts of a login."""
    if isinstance(outcome, Asked):
        response = answer(challenge_json(outcome.challenge), status=203)
        response.headers[SESSION_HEADER] = outcome.session
        return response
    if isinstance(outcome, Login):
        if outcome.status_code:
            raise aggregation_failed(outcome.status_code)
        accounts = desk.bank.pages.accounts_of(outcome.id)
        return answer({"accounts": [desk.bank.account_json(account) for account in accounts]})
    return answer({"accounts": _pending(desk, outcome)})


def _pending(desk: Desk, offer: Offer) -> list[dict[str, Any]]:
    visit = offer.visit
    return [
        pending_json(
            kind,
            account_id=account_id,
            number=desk.number_of(visit, kind),
            position=position,
            visit_ids=(visit.customer_id, visit.institution_id),
        )
        for position, (kind, account_id) in enumerate(offer.ids.items(), start=1)
    ]


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.get(r"/aggregation/v1/institutions/{institution:\d+}/loginForm", show_form),
        web.post(f"{V1}/accounts", discover),
        web.post(f"{V1}/accounts/mfa", answer_questions),
        web.put(f"{V2}/accounts", activate),
    ]
