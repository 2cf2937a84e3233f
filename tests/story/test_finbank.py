"""Finbank as its callers meet it: over HTTP, with webhooks coming back, and across restarts."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bankfeed.sandbox.app import Finbank, start
from bankfeed.sandbox.clock import Pace, utc
from bankfeed.sandbox.settings import DialectName, FinbankSettings, SharesName, When

SECRET, APP_KEY, CONTROL = "partner-secret", "app-key", "control-token"
EVERYTHING = {"fromDate": 0, "toDate": 4_000_000_000, "limit": 1000, "includePending": "true"}
DAY_S = 86_400
FINBANK_ID = 101732


@dataclass(slots=True, kw_only=True)
class Mailbox:
    """A receiver of webhooks: answers with the statuses it is given, then 200, and keeps what came."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    arrived: asyncio.Queue[tuple[bytes, str]] = field(default_factory=asyncio.Queue)

    async def take(self, request: web.Request) -> web.Response:
        await self.arrived.put((await request.read(), request.headers.get("X-Finicity-Signature", "")))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def next_event(self) -> dict[str, Any]:
        body, _ = await asyncio.wait_for(self.arrived.get(), 10)
        event: dict[str, Any] = json.loads(body)
        return event


@dataclass(slots=True, kw_only=True)
class Partner:
    """A caller of Finbank: its API with the partner's headers, and its control API."""

    session: aiohttp.ClientSession
    headers: dict[str, str]
    finbank: Finbank | None = None

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        async with self.session.request(method, path, headers=self.headers, **kwargs) as answer:
            text = await answer.text()
            return answer.status, json.loads(text, parse_float=Decimal) if text else None

    async def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {CONTROL}"}
        async with self.session.request(method, f"/finbank/{path}", headers=headers, json=body) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def sign_in(self) -> None:
        credentials = {"partnerId": "2445583946651", "partnerSecret": SECRET}
        self.headers = {"Finicity-App-Key": APP_KEY}
        status, body = await self.call("POST", "/aggregation/v2/partners/authentication", json=credentials)
        assert status == 200
        self.headers["Finicity-App-Token"] = body["token"]

    async def add_customer(self, username: str = "client-1") -> str:
        status, body = await self.call("POST", "/aggregation/v2/customers/testing", json={"username": username})
        assert status == 201
        return str(body["id"])

    async def link(self, customer_id: str, username: str = "demo") -> dict[str, Any]:
        wanted = {
            "customerId": customer_id,
            "institutionId": FINBANK_ID,
            "username": username,
            "password": "go",
        }
        status, linked = await self.control("POST", "link", wanted)
        assert status == 201
        return dict(linked)

    async def rows(self, customer_id: str, account_id: int, **query: Any) -> list[dict[str, Any]]:
        status, body = await self.list_rows(customer_id, account_id, **query)
        assert status == 200
        return list(body["transactions"])

    async def list_rows(self, customer_id: str, account_id: int, **query: Any) -> tuple[int, Any]:
        path = f"/aggregation/v4/customers/{customer_id}/accounts/{account_id}/transactions"
        return await self.call("GET", path, params=EVERYTHING | query)

    async def account(self, customer_id: str, account_id: int) -> tuple[int, Any]:
        return await self.call("GET", f"/aggregation/v2/customers/{customer_id}/accounts/{account_id}")


def settings(folder: Path, **changes: Any) -> FinbankSettings:
    return replace(
        FinbankSettings(
            data=folder,
            partner_secret=SECRET,
            app_key=APP_KEY,
            control_token=CONTROL,
            port=0,
            clock=Pace.MANUAL,
            start_at=utc("2026-03-01T15:00:00Z"),
            shares=SharesName.CALM,
        ),
        **changes,
    )


@asynccontextmanager
async def running(chosen: FinbankSettings) -> AsyncIterator[Partner]:
    finbank = await start(chosen)
    try:
        async with aiohttp.ClientSession(finbank.url) as session:
            partner = Partner(session=session, headers={}, finbank=finbank)
            await partner.sign_in()
            yield partner
    finally:
        await finbank.close()


@pytest.fixture
async def partner(tmp_path: Path) -> AsyncIterator[Partner]:
    async with running(settings(tmp_path)) as it:
        yield it


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    app = web.Application()
    app.router.add_post("/hook", box.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    box.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield box
    await runner.cleanup()


def ledgersync(box: Mailbox) -> dict[str, Any]:
    return {"dialect": DialectName.LEDGERSYNC, "ledgersync_url": box.url}


def finicity(box: Mailbox) -> dict[str, Any]:
    return {"dialect": DialectName.FINICITY, "finicity_url": box.url}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "10026"),
        ({"Finicity-App-Key": "wrong"}, "10027"),
        ({"Finicity-App-Key": APP_KEY}, "10024"),
        ({"Finicity-App-Key": APP_KEY, "Finicity-App-Token": "wrong"}, "10022"),
    ],
)
async def test_each_call_needs_both_headers(partner: Partner, headers: dict[str, str], code: str) -> None:
    """A call without a right App-Key and token is refused with the documented code."""
    partner.headers = headers
    status, body = await partner.call("GET", "/aggregation/v1/customers")
    assert (status, body["code"]) == (401, code)


async def test_expired_tokens_are_told_apart(partner: Partner) -> None:
    """Tokens ended by the control API are refused as expired, and signing in again helps."""
    await partner.control("POST", "faults", {"expireTokens": True})
    status, body = await partner.call("GET", "/aggregation/v1/customers")
    assert (status, body["code"]) == (401, "10023")
    await partner.sign_in()


async def test_control_api_needs_its_token(partner: Partner) -> None:
    """The partner's headers do not open the control API."""
    assert (await partner.call("GET", "/finbank/clock"))[0] == 401


async def test_known_username_is_a_conflict(partner: Partner) -> None:
    """A username is taken once, and finds its customer by exact match or by a part of it."""
    customer_id = await partner.add_customer("client-1")
    status, body = await partner.call("POST", "/aggregation/v2/customers/testing", json={"username": "client-1"})
    assert (status, body["code"]) == (409, "110002")
    for query in ({"username": "client-1"}, {"search": "LIENT"}):
        _, found = await partner.call("GET", "/aggregation/v1/customers", params=query)
        assert [customer["id"] for customer in found["customers"]] == [customer_id]


async def test_customers_come_in_pages(partner: Partner) -> None:
    """Customer pages start at a record number and say in a boolean whether more follow."""
    ids = [await partner.add_customer(f"client-{n}") for n in range(3)]
    _, first = await partner.call("GET", "/aggregation/v1/customers", params={"limit": 2})
    _, second = await partner.call("GET", "/aggregation/v1/customers", params={"start": 3, "limit": 2})
    assert [c["id"] for c in first["customers"] + second["customers"]] == ids
    assert (first["moreAvailable"], second["moreAvailable"]) == (True, False)


async def test_deleted_customer_is_gone(partner: Partner) -> None:
    """Deleting a customer takes its accounts along."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    assert (await partner.call("DELETE", f"/aggregation/v1/customers/{customer_id}"))[0] == 204
    status, body = await partner.account(customer_id, linked["accountIds"][0])
    assert (status, body["code"]) == (404, "14001")


async def test_institutions_are_found_by_page(partner: Partner) -> None:
    """Institution pages start at a page number; FinBank has its time zone, phone and URL."""
    query = {"search": "finbank", "limit": 2}
    pages = [
        (await partner.call("GET", "/institution/v2/institutions", params=query | {"start": n}))[1]
        for n in (1, 2, 3, 4, 5)
    ]
    ids = [institution["id"] for page in pages for institution in page["institutions"]]
    assert len(set(ids)) == pages[0]["found"] == 9
    assert [page["moreAvailable"] for page in pages] == [True, True, True, True, False]
    _, body = await partner.call("GET", f"/institution/v2/institutions/{FINBANK_ID}")
    assert body["institution"]["timeZone"] == "America/Denver"
    assert (await partner.call("GET", "/institution/v2/institutions/1"))[1]["code"] == "14006"


async def test_linked_login_has_three_accounts(partner: Partner) -> None:
    """Linking brings a checking, a savings and a card account, aggregated with history."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    _, body = await partner.call("GET", f"/aggregation/v1/customers/{customer_id}/accounts")
    assert [account["type"] for account in body["accounts"]] == ["checking", "savings", "creditCard"]
    assert {account["aggregationStatusCode"] for account in body["accounts"]} == {0}
    assert len(await partner.rows(customer_id, linked["accounts"]["creditCard"])) > 50


@pytest.mark.parametrize(("password", "code"), [("wrong", 103), ("128", 128)])
async def test_failed_link_leaves_nothing(partner: Partner, password: str, code: int) -> None:
    """A link that the bank refuses is HTTP 500 with the code, and no account is there."""
    customer_id = await partner.add_customer()
    wanted = {"customerId": customer_id, "institutionId": FINBANK_ID, "username": "demo", "password": password}
    status, body = await partner.control("POST", "link", wanted)
    assert (status, body["code"]) == (500, code)
    _, accounts = await partner.call("GET", f"/aggregation/v1/customers/{customer_id}/accounts")
    assert accounts == {"accounts": []}


async def test_pages_hold_every_row_once(partner: Partner) -> None:
    """Paging by record number gives each row once, in order, and says in a string whether more follow."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    whole = await partner.rows(customer_id, account_id)
    rows: list[dict[str, Any]] = []
    more = "true"
    while more == "true":
        _, page = await partner.list_rows(customer_id, account_id, start=len(rows) + 1, limit=40)
        rows += page["transactions"]
        more = page["moreAvailable"]
        assert page["displaying"] == len(page["transactions"])
        assert page["found"] == len(whole)
    assert rows == whole
    assert rows == sorted(rows, key=lambda row: -row["transactionDate"])
    assert await partner.rows(customer_id, account_id, sort="asc") == whole[::-1]


async def test_pending_rows_are_listed_on_request_only(partner: Partner) -> None:
    """Without includePending every pending row is missing; the default page has 25 rows."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    path = f"/aggregation/v4/customers/{customer_id}/accounts/{account_id}/transactions"
    _, page = await partner.call("GET", path, params={"fromDate": 0, "toDate": 4_000_000_000})
    assert len(page["transactions"]) == 25
    assert {row["status"] for row in page["transactions"]} == {"active"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"toDate": 1}, "10005"),
        ({"fromDate": "x", "toDate": 1}, "10100"),
        ({"fromDate": 2, "toDate": 1}, "41002"),
        ({"fromDate": 1, "toDate": 1, "start": 0}, "41003"),
        ({"fromDate": 1, "toDate": 1, "limit": 0}, "41004"),
        ({"fromDate": 1, "toDate": 1, "limit": 1001}, "10100"),
    ],
)
async def test_bad_windows_are_refused(partner: Partner, query: dict[str, Any], code: str) -> None:
    """A listing without a right window or page is refused with the documented code."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    path = f"/aggregation/v4/customers/{customer_id}/accounts/{account_id}/transactions"
    status, body = await partner.call("GET", path, params=query)
    assert (status, body["code"]) == (400, code)


async def test_listing_changes_with_the_night_only(partner: Partner) -> None:
    """What is listed, and the attempt date, stand still until the clock passes 06:00 UTC."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    rows, (_, account) = await partner.rows(customer_id, account_id), await partner.account(customer_id, account_id)
    await partner.control("POST", "clock", {"set": "2026-03-02T05:59:59Z"})
    assert await partner.rows(customer_id, account_id) == rows
    assert await partner.account(customer_id, account_id) == (200, account)
    await partner.control("POST", "clock", {"set": "2026-03-02T06:00:00Z"})
    assert await partner.rows(customer_id, account_id) != rows
    _, after = await partner.account(customer_id, account_id)
    night = int(utc("2026-03-02T06:00:00Z").timestamp())
    assert (after["aggregationAttemptDate"], after["aggregationSuccessDate"]) == (night, night)


async def test_clock_never_goes_back(partner: Partner) -> None:
    """Setting the clock to the past is refused in words."""
    status, body = await partner.control("POST", "clock", {"set": "2026-01-01T00:00:00Z"})
    assert status == 400
    assert "never goes back" in body["message"]


async def test_balance_moves_as_the_rows_do(partner: Partner) -> None:
    """Over the scripted nights, the balance and the active rows differ by the same amount each time."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    gaps = set()
    for _ in range(6):
        _, account = await partner.account(customer_id, account_id)
        rows = await partner.rows(customer_id, account_id)
        gaps.add(account["balance"] - sum(row["amount"] for row in rows if row["status"] == "active"))
        await partner.control("POST", "clock", {"advance_s": DAY_S})
    assert len(gaps) == 1


async def test_truth_names_the_movement_of_each_row(partner: Partner) -> None:
    """The control API lists the same rows as the partner's, each with its true movement."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    _, truth = await partner.control("GET", f"truth/{account_id}")
    rows = await partner.rows(customer_id, account_id)
    assert [(r["id"], r["status"], Decimal(r["amount"])) for r in truth["rows"]] == [
        (r["id"], r["status"], r["amount"]) for r in rows
    ]
    _, later = await partner.control("GET", f"truth/{account_id}?at=2026-03-05T06:00:00Z")
    tip = {r["movement"] for r in truth["rows"] if r["amount"] == "-42.00"}
    assert tip == {r["movement"] for r in later["rows"] if r["amount"] == "-50.40"}


async def test_made_row_lives_as_told(partner: Partner) -> None:
    """A hand-made row shows from the next aggregation on, then posts, is withdrawn and returns as told."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    account_id = linked["accounts"]["savings"]
    _, made = await partner.control(
        "POST",
        "transactions",
        {"accountId": account_id, "amount": "-20.00", "description": "LUNCH", "status": "pending"},
    )

    async def shown() -> list[tuple[int, str, Decimal]]:
        await partner.control("POST", "aggregate", {"loginId": linked["institutionLoginId"]})
        rows = await partner.rows(customer_id, account_id)
        return [(r["id"], r["status"], r["amount"]) for r in rows if r["description"] == "LUNCH"]

    assert [r for r in await partner.rows(customer_id, account_id) if r["description"] == "LUNCH"] == []
    assert await shown() == [(made["id"], "pending", Decimal("-20.00"))]
    change = {"status": "active", "amount": -24.5, "newId": True}
    _, posted = await partner.control("PATCH", f"transactions/{made['id']}", change)
    assert posted["id"] != made["id"]
    assert await shown() == [(posted["id"], "active", Decimal("-24.50"))]
    await partner.control("PATCH", f"transactions/{posted['id']}", {"withdraw": True})
    assert await shown() == []
    await partner.control("PATCH", f"transactions/{posted['id']}", {})
    assert await shown() == [(posted["id"], "active", Decimal("-24.50"))]


async def test_broken_login_keeps_its_last_data(partner: Partner) -> None:
    """While a login is broken, attempts move and carry the code, success and rows stand; mending brings all."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    account_id, login_id = linked["accounts"]["checking"], linked["institutionLoginId"]
    rows, (_, before) = await partner.rows(customer_id, account_id), await partner.account(customer_id, account_id)
    await partner.control("POST", f"logins/{login_id}/break", {"code": 103})
    await partner.control("POST", "clock", {"advance_s": DAY_S})
    _, broken = await partner.account(customer_id, account_id)
    assert broken["aggregationStatusCode"] == 103
    assert broken["aggregationAttemptDate"] > before["aggregationAttemptDate"]
    assert broken["aggregationSuccessDate"] == before["aggregationSuccessDate"]
    assert await partner.rows(customer_id, account_id) == rows
    path = f"/aggregation/v1/customers/{customer_id}/institutionLogins/{login_id}/accounts"
    status, body = await partner.call("POST", path)
    assert (status, body["code"]) == (500, 103)
    await partner.control("POST", f"logins/{login_id}/fix", {})
    assert (await partner.account(customer_id, account_id))[1]["aggregationStatusCode"] == 0
    assert await partner.rows(customer_id, account_id) != rows


async def test_refresh_aggregates_at_once(partner: Partner) -> None:
    """A refresh moves the attempt and success dates of its login, whatever the hour."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    path = f"/aggregation/v1/customers/{customer_id}/institutionLogins/{linked['institutionLoginId']}/accounts"
    (_, before), (status, after) = await partner.call("GET", path), await partner.call("POST", path)
    assert status == 200
    assert after["accounts"][0]["aggregationSuccessDate"] > before["accounts"][0]["aggregationSuccessDate"]


async def test_history_is_loaded_on_request(partner: Partner) -> None:
    """Loading an account's history shows 24 months of it, asks the bank, and leaves balance and other accounts as they are."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    accounts = f"/aggregation/v1/customers/{customer_id}/accounts"
    account_id, sibling_id = linked["accounts"]["checking"], linked["accounts"]["savings"]
    (_, before), rows = await partner.call("GET", accounts), await partner.rows(customer_id, account_id)
    sibling = await partner.rows(customer_id, sibling_id)
    assert (204, None) == await partner.call("POST", f"{accounts}/{account_id}/transactions/historic")
    (_, after), loaded = await partner.call("GET", accounts), await partner.rows(customer_id, account_id)
    assert len(loaded) > 4 * len(rows)
    assert {row["id"] for row in rows} <= {row["id"] for row in loaded}
    assert after["accounts"][0]["aggregationAttemptDate"] > before["accounts"][0]["aggregationAttemptDate"]
    assert [each["balance"] for each in before["accounts"]] == [each["balance"] for each in after["accounts"]]
    assert sibling == await partner.rows(customer_id, sibling_id)


@pytest.mark.parametrize(("code", "status"), [(185, 203), (187, 203), (103, 500)])
async def test_history_is_refused(partner: Partner, code: int, status: int) -> None:
    """A bank that asks a question answers 203, one that refuses 500 with the code."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    await partner.control("POST", f"logins/{linked['institutionLoginId']}/break", {"code": code})
    path = f"/aggregation/v1/customers/{customer_id}/accounts/{linked['accounts']['checking']}/transactions/historic"
    assert status == (await partner.call("POST", path))[0]


async def test_asynchronous_refresh_is_looked_up(partner: Partner) -> None:
    """A refresh asked for with 202 is found by its id, completed, with each account."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    path = f"/aggregation/customers/{customer_id}/transactions/refreshes"
    status, asked = await partner.call("POST", path, json={"institutionLoginId": str(linked["institutionLoginId"])})
    assert (status, asked["status"]) == (202, "NEW")
    _, done = await partner.call("GET", f"{path}/{asked['refreshId']}")
    assert (done["status"], done["successCount"], done["failedCount"]) == ("COMPLETED", 3, 0)
    assert (await partner.call("GET", f"{path}/other"))[0] == 404


async def test_deleted_account_is_not_there(partner: Partner) -> None:
    """A deleted account is refused with 38003, a login without accounts with 38007."""
    customer_id = await partner.add_customer()
    linked = await partner.link(customer_id)
    first, *others = linked["accountIds"]
    assert (await partner.call("DELETE", f"/aggregation/v1/customers/{customer_id}/accounts/{first}"))[0] == 204
    assert (await partner.account(customer_id, first))[1]["code"] == "38003"
    assert (await partner.account(customer_id, others[0]))[0] == 200
    path = f"/aggregation/v1/customers/{customer_id}/institutionLogins/{linked['institutionLoginId']}"
    assert (await partner.call("DELETE", path))[0] == 204
    assert (await partner.call("GET", f"{path}/accounts"))[1]["code"] == "38007"


async def test_relinked_login_has_the_same_movements(partner: Partner) -> None:
    """After deleting and linking again, the same movements are there under new account and row ids, same number."""
    customer_id = await partner.add_customer()
    first = await partner.link(customer_id)
    _, old_truth = await partner.control("GET", f"truth/{first['accounts']['checking']}")
    _, old = await partner.account(customer_id, first["accounts"]["checking"])
    await partner.control("DELETE", f"accounts/{first['accounts']['checking']}")
    second = await partner.link(customer_id)
    _, new_truth = await partner.control("GET", f"truth/{second['accounts']['checking']}")
    _, new = await partner.account(customer_id, second["accounts"]["checking"])
    assert new["number"] == old["number"]
    assert new["balance"] == old["balance"]
    assert {r["movement"] for r in new_truth["rows"]} == {r["movement"] for r in old_truth["rows"]}
    assert not {r["id"] for r in new_truth["rows"]} & {r["id"] for r in old_truth["rows"]}


async def test_cut_list_ends_in_an_error(partner: Partner) -> None:
    """A list that is told to break off gives half a page, then an error, and is whole the next time."""
    customer_id = await partner.add_customer()
    account_id = (await partner.link(customer_id))["accounts"]["checking"]
    whole = await partner.rows(customer_id, account_id)
    await partner.control("POST", "faults", {"cutTimes": 1})
    _, page = await partner.list_rows(customer_id, account_id)
    assert (page["displaying"], page["moreAvailable"]) == (len(whole) // 2, "true")
    status, _ = await partner.list_rows(customer_id, account_id, start=len(whole) // 2 + 1)
    assert status == 500
    assert await partner.rows(customer_id, account_id) == whole


async def test_told_failures_happen(partner: Partner) -> None:
    """The next calls fail with the status and code that were told, and the one after succeeds."""
    await partner.control("POST", "faults", {"failTimes": 2, "failStatus": 500, "failCode": 977})
    answers = [await partner.call("GET", "/aggregation/v1/customers") for _ in range(3)]
    assert [(status, body.get("code")) for status, body in answers] == [(500, 977), (500, 977), (200, None)]


async def test_ledgersync_events_follow_what_happens(tmp_path: Path, mailbox: Mailbox) -> None:
    """Linking, a night, mending and deleting are announced in LedgerSync's words, naming the accounts."""
    async with running(settings(tmp_path, **ledgersync(mailbox))) as partner:
        customer_id = await partner.add_customer()
        linked = await partner.link(customer_id)
        added = await mailbox.next_event()
        await partner.control("POST", "clock", {"advance_s": DAY_S})
        refreshed = await mailbox.next_event()
        await partner.control("POST", f"logins/{linked['institutionLoginId']}/fix", {})
        mended = await mailbox.next_event()
        await partner.control("DELETE", f"accounts/{linked['accounts']['savings']}")
        deleted = await mailbox.next_event()
        while deleted["eventType"] == "transactionsRefreshed":
            deleted = await mailbox.next_event()
    events = [added, refreshed, mended, deleted]
    assert [event["eventType"] for event in events] == [
        "accountAdded",
        "transactionsRefreshed",
        "mfaUpdated",
        "bankAccountDeleted",
    ]
    assert added["payload"]["accounts"] == str(linked["accountIds"])
    assert linked["accounts"]["checking"] in json.loads(refreshed["payload"]["accounts"])
    assert deleted["payload"]["accounts"] == f"[{linked['accounts']['savings']}]"
    assert len({event["eventId"] for event in events}) == 4


async def test_deletion_by_the_partner_is_not_announced(tmp_path: Path, mailbox: Mailbox) -> None:
    """What the partner deletes itself, it is not told of."""
    async with running(settings(tmp_path, **ledgersync(mailbox))) as partner:
        customer_id = await partner.add_customer()
        linked = await partner.link(customer_id)
        await mailbox.next_event()
        await partner.call("DELETE", f"/aggregation/v1/customers/{customer_id}/accounts/{linked['accountIds'][0]}")
        await partner.control("DELETE", f"accounts/{linked['accountIds'][1]}")
        event = await mailbox.next_event()
    assert event["payload"]["accounts"] == f"[{linked['accountIds'][1]}]"


async def test_finicity_events_are_signed(tmp_path: Path, mailbox: Mailbox) -> None:
    """Finicity's events carry a signature over the body as it arrives, and full account objects when added."""
    async with running(settings(tmp_path, **finicity(mailbox))) as partner:
        customer_id = await partner.add_customer()
        linked = await partner.link(customer_id)
        await partner.control("POST", "clock", {"advance_s": DAY_S})
        arrived = [await asyncio.wait_for(mailbox.arrived.get(), 10) for _ in range(3)]
    for body, signature in arrived:
        assert signature == hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    added, done, changed = (json.loads(body) for body, _ in arrived)
    assert [account["id"] for account in added["payload"]["accounts"]] == [str(i) for i in linked["accountIds"]]
    assert (done["eventType"], done["customerId"]) == ("done", customer_id)
    assert changed["eventType"] == "data-refresh.transaction.status-changed"
    assert changed["payload"]["institutionLoginId"] == str(linked["institutionLoginId"])


async def test_txpush_carries_the_changed_rows(tmp_path: Path, mailbox: Mailbox) -> None:
    """With TxPUSH a night sends created, modified and deleted records instead of a status change."""
    async with running(settings(tmp_path, **finicity(mailbox), txpush=True)) as partner:
        await partner.link(await partner.add_customer())
        await partner.control("POST", "clock", {"advance_s": DAY_S})
        events = [await mailbox.next_event() for _ in range(5)][2:]
    assert [event["event"]["type"] for event in events] == ["created", "modified", "deleted"]
    assert -63.17 in [record["amount"] for record in events[1]["event"]["records"]]


async def test_failed_webhooks_are_sent_again(tmp_path: Path, mailbox: Mailbox) -> None:
    """Anything but 200, another 2xx included, is tried again with the same body."""
    mailbox.statuses = [500, 202, 404]
    async with running(settings(tmp_path, **ledgersync(mailbox))) as partner:
        await partner.link(await partner.add_customer())
        bodies = [(await asyncio.wait_for(mailbox.arrived.get(), 10))[0] for _ in range(4)]
    assert len(set(bodies)) == 1


async def test_repeats_and_disorder_when_told(tmp_path: Path, mailbox: Mailbox) -> None:
    """Told to, the bank sends each event twice, with the same id, in another order."""
    async with running(settings(tmp_path, **finicity(mailbox))) as partner:
        await partner.control("POST", "announce", {"repeat": 2, "shuffle": True})
        await partner.link(await partner.add_customer())
        events = [await mailbox.next_event() for _ in range(4)]
    assert sorted(event["eventType"] for event in events) == ["added", "added", "done", "done"]
    assert len({event["eventId"] for event in events}) == 2


async def test_retrying_stops_when_told(tmp_path: Path, mailbox: Mailbox) -> None:
    """Told to stop, the bank gives up what is on its way, and counts it."""
    mailbox.statuses = [500] * 100
    async with running(settings(tmp_path, **ledgersync(mailbox))) as partner:
        await partner.link(await partner.add_customer())
        await mailbox.next_event()
        _, state = await partner.control("POST", "announce", {"stop": True})
        while state["outstanding"]:
            _, state = await partner.control("GET", "announcements")
    assert (state["delivered"], state["givenUp"]) == (0, 1)


async def test_dialect_changes_while_running(tmp_path: Path, mailbox: Mailbox) -> None:
    """The control API changes the dialect and the URL without a restart."""
    async with running(settings(tmp_path)) as partner:
        await partner.control("POST", "announce", {"dialect": "ledgersync", "ledgersyncUrl": mailbox.url})
        await partner.link(await partner.add_customer())
        assert (await mailbox.next_event())["eventType"] == "accountAdded"


async def test_quiet_nights_are_announced_when_told(tmp_path: Path, mailbox: Mailbox) -> None:
    """Set to announce always, an aggregation without changes is announced with all accounts of its login."""
    async with running(settings(tmp_path, **ledgersync(mailbox), announce=When.ALWAYS)) as partner:
        linked = await partner.link(await partner.add_customer())
        await mailbox.next_event()
        await partner.control("POST", "aggregate", {})
        assert (await mailbox.next_event())["payload"]["accounts"] == str(linked["accountIds"])


async def test_fast_nights_come_by_themselves(tmp_path: Path, mailbox: Mailbox) -> None:
    """At the fast pace the nights pass without anybody moving the clock."""
    fast = settings(tmp_path, **ledgersync(mailbox), clock=Pace.FAST, day_s=0.2)
    async with running(fast) as partner:
        await partner.link(await partner.add_customer())
        kinds = [(await mailbox.next_event())["eventType"] for _ in range(4)]
    assert kinds == ["accountAdded", *["transactionsRefreshed"] * 3]


async def test_wrong_control_bodies_are_refused_in_words(partner: Partner) -> None:
    """A body that cannot be read is refused naming the field."""
    status, body = await partner.control("POST", "transactions", {"accountId": "x", "amount": 1, "description": "y"})
    assert status == 400
    assert "accountId" in body["message"]


async def launch(folder: Path, **more: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start the real process and return it with its URL once it says that it is ready."""
    chosen = {
        "DATA": str(folder),
        "PORT": "0",
        "CLOCK": "manual",
        "START": "2026-03-01T15:00:00Z",
        "PARTNER_SECRET": SECRET,
        "APP_KEY": APP_KEY,
        "CONTROL_TOKEN": CONTROL,
    } | more
    environ = os.environ | {f"BANKFEED_FINBANK_{name}": text for name, text in chosen.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bankfeed.sandbox", env=environ, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    assert line.startswith("finbank.ready url=http://127.0.0.1:")
    return process, line.split()[1].removeprefix("url=")


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), 5)
    assert process.returncode is not None
    return process.returncode


async def test_killed_process_goes_on_where_it_was(tmp_path: Path) -> None:
    """After kill -9 and a restart the customer, accounts, rows, hand-made rows, token and clock are the same."""

    async def look(partner: Partner) -> list[Any]:
        return [
            await partner.call("GET", f"/aggregation/v1/customers/{customer_id}/accounts"),
            await partner.rows(customer_id, linked["accounts"]["checking"]),
            await partner.control("GET", "clock"),
        ]

    process, url = await launch(tmp_path)
    async with aiohttp.ClientSession(url) as session:
        partner = Partner(session=session, headers={})
        await partner.sign_in()
        customer_id = await partner.add_customer()
        linked = await partner.link(customer_id)
        made = {"accountId": linked["accounts"]["checking"], "amount": "-7.77", "description": "BY HAND"}
        await partner.control("POST", "transactions", made)
        await partner.control("POST", "clock", {"advance_s": 3 * DAY_S})
        before = await look(partner)
    await end(process, signal.SIGKILL)
    process, url = await launch(tmp_path)
    async with aiohttp.ClientSession(url) as session:
        again = Partner(session=session, headers=partner.headers)
        assert await look(again) == before
        assert "BY HAND" in [row["description"] for row in before[1]]
    await end(process, signal.SIGTERM)


async def test_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    """SIGTERM ends the process with 0 within two seconds, also while a webhook cannot be delivered."""
    nowhere = "http://127.0.0.1:9/hook"
    process, url = await launch(tmp_path, DIALECT="ledgersync", LEDGERSYNC_URL=nowhere)
    async with aiohttp.ClientSession(url) as session:
        partner = Partner(session=session, headers={})
        await partner.sign_in()
        await partner.link(await partner.add_customer())
        started_s = time.monotonic()
        assert await end(process, signal.SIGTERM) == 0
    assert time.monotonic() - started_s < 2


async def test_bad_settings_end_it_in_words() -> None:
    """Settings that cannot be used end the process with 2 and every problem on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bankfeed.sandbox",
        env={"BANKFEED_FINBANK_PORT": "eighty", "PATH": os.environ["PATH"]},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"expected BANKFEED_FINBANK_PORT to be an integer" in errors
    assert b"expected BANKFEED_FINBANK_APP_KEY to be set" in errors
