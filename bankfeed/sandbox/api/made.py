"""Hand-made transactions: put on an account and changed through the control API, seen from the next aggregation on."""

from datetime import date, datetime
from decimal import Decimal

import msgspec
from aiohttp import web

from bankfeed.sandbox.accounts import Account
from bankfeed.sandbox.api.exchange import BANK, answer, path_id, read_body
from bankfeed.sandbox.lives import Sighting, Status
from bankfeed.sandbox.made import Change, changed, withdrawn
from bankfeed.sandbox.purchases import CENT, noon
from bankfeed.sandbox.refusals import Refusal, bad_request


class NewRow(msgspec.Struct, rename="camel"):
    """A row to put on an account. `amount` is positive into the account; `date` is today's by default."""

    account_id: int
    amount: Decimal
    description: str
    date: str = ""
    status: Status = Status.ACTIVE


class RowChange(msgspec.Struct, rename="camel"):
    """What becomes of a row; what is left out stays. `withdraw` stops listing it until another change."""

    status: Status | None = None
    amount: Decimal | None = None
    description: str | None = None
    date: str = ""
    new_id: bool = False
    withdraw: bool = False


async def make_row(request: web.Request) -> web.Response:
    """Put a row on an account."""
    bank, new = request.app[BANK], await read_body(request, NewRow)
    account = bank.pages.accounts.get(new.account_id)
    if account is None:
        raise Refusal(404, 38003, "There is no such account.")
    at = bank.clock.tick()
    row = Sighting(
        id=0,
        status=new.status,
        amount=_exact(new.amount),
        dated_at=_dated_at(account, new.date) if new.date else at,
        description=new.description,
        starts_at=at,
        posted_at=None if new.status is Status.PENDING else at,
        kind="debit" if new.amount < 0 else "credit",
        payee=new.description.title(),
    )
    return answer({"id": bank.make_row(account, row)}, status=201)


async def change_row(request: web.Request) -> web.Response:
    """Post, change, withdraw or relist a hand-made row, found by any id it ever had; answers with its id from now on."""
    bank, new = request.app[BANK], await read_body(request, RowChange)
    row_id, at = path_id(request, "row"), bank.clock.tick()
    if new.withdraw:
        return answer({"id": bank.change_row(row_id, lambda life: withdrawn(life, at=at))})
    change = Change(
        status=new.status,
        amount=None if new.amount is None else _exact(new.amount),
        description=new.description,
        dated_at=_dated_at(bank.find_made(row_id)[0], new.date) if new.date else None,
        has_new_id=new.new_id,
    )
    return answer({"id": bank.change_row(row_id, lambda life: changed(life, change, at=at))})


def _exact(amount: Decimal) -> Decimal:
    exact = amount.quantize(CENT)
    if exact != amount:
        raise bad_request(f"expected an amount with at most two decimals, got {amount}")
    return exact


def _dated_at(account: Account, text: str) -> datetime:
    try:
        return noon(date.fromisoformat(text), account.zone)
    except ValueError as error:
        raise bad_request(f"expected a date such as 2026-03-02, got {text!r}") from error


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.post("/finbank/transactions", make_row),
        web.patch(r"/finbank/transactions/{row:\d+}", change_row),
    ]
