"""Accounts: listed, refreshed and deleted by customer or by login; what a person is needed for is among the logins."""

from collections.abc import Sequence

from aiohttp import web

from bankfeed.sandbox.accounts import Account
from bankfeed.sandbox.api.exchange import BANK, answer, path_id
from bankfeed.sandbox.book import Login
from bankfeed.sandbox.refusals import Refusal, aggregation_failed

QUESTIONS = (185, 187)
CUSTOMER = r"/aggregation/v1/customers/{customer:\d+}"


async def list_accounts(request: web.Request) -> web.Response:
    """List every account of a customer."""
    bank, customer_id = request.app[BANK], path_id(request, "customer")
    bank.customer(customer_id)
    return _accounts(request, [a for a in bank.pages.accounts.values() if a.customer_id == customer_id])


async def list_login_accounts(request: web.Request) -> web.Response:
    """List the accounts of one login."""
    login = _login(request)
    return _accounts(request, request.app[BANK].pages.accounts_of(login.id))


async def show_account(request: web.Request) -> web.Response:
    """Show one account."""
    return answer(request.app[BANK].account_json(_account(request)))


async def refresh_customer(request: web.Request) -> web.Response:
    """Aggregate every login of a customer now; each account says how it went."""
    bank, customer_id = request.app[BANK], path_id(request, "customer")
    bank.customer(customer_id)
    for login in bank.logins_of(customer_id):
        bank.refresh(login)
    return await list_accounts(request)


async def load_history(request: web.Request) -> web.Response:
    """Load an account's older history; 203 where the bank asks a question, which nobody can answer here."""
    account, bank = _account(request), request.app[BANK]
    if bank.pages.logins[account.login_id].manner.asks:
        return web.Response(status=203)
    login = bank.load_history(account)
    if login.status_code in QUESTIONS:
        return web.Response(status=203)
    if login.status_code:
        raise aggregation_failed(login.status_code)
    return web.Response(status=204)


async def delete_account(request: web.Request) -> web.Response:
    """Forget one account; the others of its login stay. Nobody is told: the partner knows."""
    request.app[BANK].delete_account(_account(request))
    return web.Response(status=204)


async def delete_login(request: web.Request) -> web.Response:
    """Forget a login with all its accounts. Nobody is told: the partner knows."""
    request.app[BANK].delete_login(_login(request))
    return web.Response(status=204)


def _account(request: web.Request) -> Account:
    return request.app[BANK].account(path_id(request, "customer"), path_id(request, "account"))


def _login(request: web.Request) -> Login:
    return request.app[BANK].login(path_id(request, "customer"), path_id(request, "login"))


def _accounts(request: web.Request, accounts: Sequence[Account]) -> web.Response:
    if request.query.get("status", "active") not in {"active", "pending"}:
        raise Refusal(400, 18017, "status parameter value must be 'active' or 'pending'")
    is_empty = request.query.get("status") == "pending"
    return answer({"accounts": [] if is_empty else [request.app[BANK].account_json(a) for a in accounts]})


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.get(f"{CUSTOMER}/accounts", list_accounts),
        web.post(f"{CUSTOMER}/accounts", refresh_customer),
        web.get(CUSTOMER + r"/institutionLogins/{login:\d+}/accounts", list_login_accounts),
        web.delete(CUSTOMER + r"/institutionLogins/{login:\d+}", delete_login),
        web.get(r"/aggregation/v2/customers/{customer:\d+}/accounts/{account:\d+}", show_account),
        web.delete(CUSTOMER + r"/accounts/{account:\d+}", delete_account),
        web.post(CUSTOMER + r"/accounts/{account:\d+}/transactions/historic", load_history),
    ]
