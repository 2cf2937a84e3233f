"""`python -m bench.aggregator PORT ACCOUNTS ROWS`: the aggregator beside the benchmarks of the whole way, a process of its own.

It speaks Finicity's wire format, as far as a refresh of a healthy login asks for it, with objects as wide as Finbank's. What
it must not do is take time that the product then seems to need: Finbank writes its book for every change and computes each
listing anew, some 17 ms an event, which at 50 events a second is most of a core. Customer, login and account number n
belong together. It looks at no token and at no window: every row lies in the one that is asked for.
"""

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import uvloop
from aiohttp import web

from bankfeed.runtime import listen, wait_for_stop

INSTITUTION = 101732
BANK = {"id": INSTITUTION, "name": "FinBank", "timeZone": "UTC"}  # a pretend bank, as a sandbox links no other
DAYS = 25  # that the rows are spread over; a refresh asks for 30
CHANGED_ROWS = 2
MERCHANTS = ("Grocery Outlet", "City Transit", "Harbor Coffee", "Northwind Energy", "Acme Payroll", "Maple Pharmacy")
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class Account:
    """One account with its rows, encoded once; a change encodes what it changes."""

    def __init__(self, number: int, *, rows: int, at: datetime) -> None:
        self._number = number
        self._attempted_at = at
        self._first_at = at - timedelta(days=DAYS)
        self._rows = [self._encode_row(n, rows, _describe(n)) for n in range(rows)]
        self._next_row = 0

    def change(self, mark: str) -> None:
        """Let the next two rows carry a mark in their text, as after an aggregation that found them changed."""
        for _ in range(CHANGED_ROWS):
            self._rows[self._next_row] = self._encode_row(self._next_row, len(self._rows), mark)
            self._next_row = (self._next_row + 1) % len(self._rows)
        self._attempted_at = datetime.now(UTC)

    def list_rows(self) -> bytes:
        """Return the whole list as its only page."""
        count = len(self._rows)
        head = f'{{"found":{count},"displaying":{count},"moreAvailable":"false","sort":"asc","transactions":['
        return head.encode() + b",".join(self._rows) + b"]}"

    def show(self) -> dict[str, Any]:
        """Write the account itself."""
        at_s = int(self._attempted_at.timestamp())
        return {
            "id": str(self._number),
            "number": f"20000{self._number:05d}",
            "accountNumberDisplay": f"{self._number % 10_000:04d}",
            "name": "Everyday Checking",
            "balance": Decimal("401.26"),
            "balanceDate": at_s,
            "type": "checking",
            "aggregationStatusCode": 0,
            "aggregationSuccessDate": at_s,
            "aggregationAttemptDate": at_s,
            "status": "active",
            "customerId": str(self._number),
            "institutionId": str(INSTITUTION),
            "institutionLoginId": self._number,
            "currency": "USD",
        }

    def _encode_row(self, n: int, rows: int, description: str) -> bytes:
        at_s = int((self._first_at + timedelta(days=DAYS * n / rows)).timestamp())
        return _ENCODER.encode(
            {
                "id": self._number * 10_000 + n,
                "uniqueTransactionId": f"{self._number}-{n}",
                "amount": -Decimal(n * 7919 % 9_000 + 100).scaleb(-2),
                "accountId": self._number,
                "customerId": self._number,
                "status": "active",
                "description": description,
                "memo": "",
                "type": "debit",
                "transactionDate": at_s,
                "postedDate": at_s,
                "createdDate": at_s,
                "categorization": {
                    "normalizedPayeeName": description.title(),
                    "category": "Shopping",
                    "country": "USA",
                },
            }
        )


def _describe(n: int) -> str:
    return f"{MERCHANTS[n % len(MERCHANTS)]} #{n * 7919 % 1000:03d}".upper()


def make_app(accounts: int, rows: int) -> web.Application:
    """Make the server, with so many accounts of so many rows each."""
    at = datetime.now(UTC)
    book = {str(number): Account(number, rows=rows, at=at) for number in range(1, accounts + 1)}

    async def authenticate(_: web.Request) -> web.Response:
        return web.json_response({"token": "for benchmarks only"})

    async def show_institution(_: web.Request) -> web.Response:
        return web.json_response({"institution": BANK})

    async def list_institutions(_: web.Request) -> web.Response:
        return web.json_response({"found": 1, "displaying": 1, "moreAvailable": False, "institutions": [BANK]})

    async def list_accounts(request: web.Request) -> web.Response:
        return _json(_ENCODER.encode({"accounts": [book[request.match_info["number"]].show()]}))

    async def list_rows(request: web.Request) -> web.Response:
        return _json(book[request.match_info["number"]].list_rows())

    async def change(request: web.Request) -> web.Response:
        book[request.match_info["number"]].change(request.match_info["mark"])
        return web.Response()

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n")

    app = web.Application()
    app.add_routes(
        [
            web.post("/aggregation/v2/partners/authentication", authenticate),
            web.get("/institution/v2/institutions", list_institutions),
            web.get("/institution/v2/institutions/{institution}", show_institution),
            web.get("/aggregation/v1/customers/{number}/institutionLogins/{login}/accounts", list_accounts),
            web.get("/aggregation/v4/customers/{number}/accounts/{account}/transactions", list_rows),
            web.post("/bench/{number}/{mark}", change),
            web.get("/readyz", readyz),
        ]
    )
    return app


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def main(port: int, accounts: int, rows: int) -> None:
    """Serve until stopped."""
    runner = await listen(make_app(accounts, rows), host="127.0.0.1", port=port, port_setting="the port")
    await wait_for_stop()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:4])))
