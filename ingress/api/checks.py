"""Checks of a client: its transactions with a check number. There is no other source: an aggregator lists none."""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

from msgspec import Meta

from bankfeed.db.check import count_checks, list_checks
from bankfeed.db.movement import Wanted, get_holdings
from bankfeed.model import TransactionId, TransactionState
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import Route, Scope, Wire
from ingress.api.transactions import RangeParams, choose_accounts, find_client, read_days

# What banks write where they know no payee: "CHECK #1042", "Check paid", and Finicity's words for nothing at all.
_NO_PAYEE: Final = re.compile(
    r"\W*((in)?clearing\W+)?(check|cheque|chk)(\W+paid)?(\W+(number|no|num))?\W*\d*\W*|\W*no description provided.*",
    re.IGNORECASE | re.ASCII,
)


class Payment(Wire):
    """How a check was paid, and what was done about it."""

    kind: Annotated[str, Meta(description='The bank\'s word for it; "" where it gives none.')]
    description: Annotated[str, Meta(description="As the bank wrote it.")]
    memo: str
    posted_on: date | None
    is_reconciled: bool
    ledger_entries: list[str]


class CheckAccount(Wire):
    """Which sub-account it was drawn on."""

    bank_account_id: int
    sub_account_id: int
    name: str
    number: Annotated[str, Meta(description="The last digits, as the bank shows them.")]


class Check(Wire):
    """One check. Its id is its transaction's."""

    id: int
    number: str
    payee: Annotated[str | None, Meta(description="Null where the bank does not say.")]
    date: Annotated[date, Meta(description="The day of its transaction.")]
    amount: Annotated[Decimal, Meta(description="Negative where it was drawn, positive where it was paid in.")]
    currency: str
    status: Annotated[TransactionState, Meta(description="pending, active or shadow.")]
    payment: Payment
    account: CheckAccount


class CheckPage(Wire):
    """Some checks, newest first."""

    checks: list[Check]
    total_items: Annotated[int, Meta(description="How many there are on all pages.")]
    next_cursor: str | None


class CheckListParams(RangeParams):
    """Whose checks, of which days."""

    number: Annotated[str, Meta(min_length=1, max_length=100, description="Only of this number.")] | None = None


async def list_client_checks(call: Call, params: CheckListParams) -> CheckPage:
    """List a client's checks in view, newest first."""
    client_id = await find_client(call, params)
    from_on, to_on = read_days(params)
    wanted = Wanted(from_on=from_on, to_on=to_on, check_number=params.number)
    before = None if params.cursor is None else read_cursor(params.cursor, tuple[date, TransactionId])
    holdings = await get_holdings(call.conn, call.customer_id, client_id)
    accounts = await choose_accounts(call, client_id, holdings.accounts, params)
    policy = holdings.policy
    rows = await list_checks(
        call.conn, call.customer_id, accounts, wanted, policy=policy, before=before, limit=params.limit + 1
    )
    shown = rows[: params.limit]
    return CheckPage(
        checks=[_show(row) for row in shown],
        total_items=await count_checks(call.conn, call.customer_id, accounts, wanted, policy=policy),
        next_cursor=(write_cursor((shown[-1]["transacted_on"], shown[-1]["id"])) if len(rows) > params.limit else None),
    )


def find_payee(description: str) -> str | None:
    """Return whom a check was paid to, None where its description says no more than that it is a check.

    >>> find_payee("CHECK #1042"), find_payee("Acme Paper Supply")
    (None, 'Acme Paper Supply')
    """
    return None if not description.strip() or _NO_PAYEE.fullmatch(description) else description


def _show(row: Any) -> Check:
    return Check(
        id=row["id"],
        number=row["number"],
        payee=find_payee(row["description"]),
        date=row["transacted_on"],
        amount=row["amount"],
        currency=row["currency"],
        status=TransactionState(row["status"]),
        payment=Payment(
            kind=row["kind"],
            description=row["description"],
            memo=row["memo"],
            posted_on=row["posted_on"],
            is_reconciled=row["is_reconciled"],
            ledger_entries=row["ledger_entries"],
        ),
        account=CheckAccount(
            bank_account_id=row["bank_account_id"],
            sub_account_id=row["sub_account_id"],
            name=row["sub_account_name"],
            number=row["sub_account_number"],
        ),
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/checks",
        handle=list_client_checks,
        summary="List a client's checks",
        text="Transactions with a check number that are in view, newest first. totalItems counts those of all pages.",
        tag="Checks",
        scope=Scope.TRANSACTIONS_READ,
        params=CheckListParams,
        answer=CheckPage,
    ),
)
