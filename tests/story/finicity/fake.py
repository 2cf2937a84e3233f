"""A server that answers as it is told, and Finicity's objects as the connector gets them."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from bankfeed.aggregators import ListedAccount

AUTH = "/aggregation/v2/partners/authentication"
ACCOUNTS = "/aggregation/v1/customers/5/accounts"
LOGIN = "/aggregation/v1/customers/5/institutionLogins/77/accounts"
ACCOUNT = "/aggregation/v2/customers/5/accounts/900"
ROWS = "/aggregation/v4/customers/5/accounts/900/transactions"
AT = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
NOON = 1772452800  # 2026-03-02 12:00 UTC

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    """One request that the server was sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """Answers each path from its own queue, the last answer for ever, and notes what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, list[Handler]] = field(default_factory=dict)

    def on(self, path: str, *handlers: Handler) -> None:
        self.answers[path] = list(handlers)

    def count(self, path: str) -> int:
        return sum(each.path == path for each in self.asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), body))
        queue = self.answers[request.path]
        return await (queue.pop(0) if len(queue) > 1 else queue[0])(request)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def says(body: object, status: int = 200) -> Handler:
    """Answer with JSON; a bytes or text body goes out as it is."""

    async def answer(_: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=raw, content_type="application/json")

    return answer


def fault(status: int, code: object, message: str = "No.") -> Handler:
    return says({"code": code, "message": message}, status)


def account(**changes: object) -> dict[str, object]:
    return {
        "id": "900",
        "number": "2000004444",
        "accountNumberDisplay": "4444",
        "name": "Everyday Checking",
        "balance": 401.26,
        "balanceDate": NOON,
        "type": "checking",
        "aggregationStatusCode": 0,
        "aggregationAttemptDate": NOON,
        "aggregationSuccessDate": NOON,
        "status": "active",
        "customerId": "5",
        "institutionId": "102105",
        "institutionLoginId": 77,
        "currency": "USD",
        **changes,
    }


def row(**changes: object) -> dict[str, object]:
    whole = {
        "id": 21284820852,
        "amount": -828.9,
        "accountId": 900,
        "customerId": 5,
        "status": "active",
        "description": "CORNER CAFE",
        "memo": "Downtown",
        "type": "pointOfSale",
        "transactionDate": NOON,
        "postedDate": NOON + 86_400,
        "createdDate": NOON,
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def page(*rows: object, found: int | None = None) -> Handler:
    count = len(rows) if found is None else found
    return says({"found": count, "displaying": len(rows), "moreAvailable": "true", "transactions": rows})


CHECKING = ListedAccount(
    account_ref="900",
    login_ref="77",
    institution_ref="102105",
    name="Everyday Checking",
    number_display="4444",
    type="checking",
    balance=Decimal("401.26"),
    balance_on=date(2026, 3, 2),
    status_code=0,
    attempted_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    succeeded_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
)
