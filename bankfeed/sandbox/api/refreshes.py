"""Refreshes by request: asked for with 202, done at once, looked up by id. They are forgotten at a restart."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from bankfeed.sandbox.accounts import Account
from bankfeed.sandbox.api.exchange import BANK, answer, path_id, read_body
from bankfeed.sandbox.bank import Bank
from bankfeed.sandbox.refusals import Refusal, invalid_parameter, missing_parameter

DONE = web.AppKey("done_refreshes", dict[str, dict[str, Any]])
PATH = r"/aggregation/customers/{customer:\d+}/transactions/refreshes"


class Wanted(msgspec.Struct, rename="camel"):
    """What to refresh: accounts, or all accounts of a login."""

    institution_login_id: str | None = None
    account_ids: list[str] | None = None
    mode: str = "standard"


async def start_refresh(request: web.Request) -> web.Response:
    """Aggregate the logins of the accounts that are asked for."""
    bank, customer_id = request.app[BANK], path_id(request, "customer")
    wanted = await read_body(request, Wanted)
    if wanted.mode not in {"standard", "historic", "custom"}:
        raise invalid_parameter("mode")
    accounts = _accounts(bank, customer_id, wanted)
    for login_id in dict.fromkeys(account.login_id for account in accounts):
        bank.refresh(bank.pages.logins[login_id])
    body = {"refreshId": str(uuid4()), "customerId": str(customer_id), "mode": wanted.mode}
    request.app[DONE][body["refreshId"]] = body | _outcome(bank, accounts)
    created_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ids = [str(account.id) for account in accounts]
    return answer({**body, "accountIds": ids, "status": "NEW", "createdAt": created_at}, status=202)


async def show_refresh(request: web.Request) -> web.Response:
    """Show how a refresh went."""
    request.app[BANK].customer(path_id(request, "customer"))
    done = request.app[DONE].get(request.match_info["refresh"])
    if done is None or done["customerId"] != request.match_info["customer"]:
        raise Refusal(404, 10008, "data not found")
    return answer(done)


def _accounts(bank: Bank, customer_id: int, wanted: Wanted) -> tuple[Account, ...]:
    bank.customer(customer_id)
    if wanted.account_ids:
        return tuple(bank.account(customer_id, _number(text)) for text in wanted.account_ids)
    if wanted.institution_login_id is None:
        raise missing_parameter("institutionLoginId")
    return bank.pages.accounts_of(bank.login(customer_id, _number(wanted.institution_login_id)).id)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        raise invalid_parameter("accountIds")
    return int(text)


def _outcome(bank: Bank, accounts: tuple[Account, ...]) -> dict[str, Any]:
    statuses = [_account_outcome(bank, account) for account in accounts]
    failed = sum("code" in status for status in statuses)
    return {
        "accounts": statuses,
        "status": "FAILED" if failed == len(accounts) else "COMPLETED",
        "totalCount": len(accounts),
        "successCount": len(accounts) - failed,
        "failedCount": failed,
    }


def _account_outcome(bank: Bank, account: Account) -> dict[str, Any]:
    login = bank.pages.logins[account.login_id]
    status = {
        "accountId": str(account.id),
        "institutionLoginId": str(login.id),
        "institutionId": str(login.institution_id),
    }
    if login.status_code:
        return {**status, "code": login.status_code, "message": "The institution did not answer as expected."}
    success = login.succeeded_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return {**status, "aggregationStatusCode": 0, "aggregationSuccessDate": success}


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [web.post(PATH, start_refresh), web.get(PATH + "/{refresh}", show_refresh)]
