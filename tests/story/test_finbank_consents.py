"""Finbank's OAuth over HTTP: the page with its decision, the code, migration, and how institutions stand."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.finbank import FINBANK_ID, FinbankCaller, FinbankProcess, Link, Reply, calling

OAUTH_BANK, HERITAGE = 102176, 102252
BACK = "https://firm.example/back?client=7"


@pytest.fixture(scope="module")
def shared_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def caller(shared_process: FinbankProcess) -> AsyncIterator[FinbankCaller]:
    await shared_process.wait_until_up()
    async with calling(shared_process) as caller:
        yield caller


@pytest.fixture
async def fresh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FinbankCaller]:
    """Call a bank whose institutions may be changed."""
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"))
    process.start()
    try:
        await process.wait_until_up()
        async with calling(process) as caller:
            yield caller
    finally:
        process.stop()


def oauth_path(at: int) -> str:
    return f"/aggregation/v1/customers/{{c}}/institutions/{at}/oauth"


async def begin(caller: FinbankCaller, *, at: int = OAUTH_BANK, **more: Any) -> Reply:
    begun = await caller.call("POST", oauth_path(at), {"redirectUri": BACK, "state": "s7"} | more)
    assert 200 == begun.status, begun.body
    return begun


async def finish(caller: FinbankCaller, begun: Reply, code: str, *, at: int = OAUTH_BANK) -> Reply:
    return await caller.call("POST", f"{oauth_path(at)}/{begun.body['oauthSession']}", {"code": code})


async def visit(link: str, **form: Any) -> tuple[int, str, Any]:
    """Open the page as a browser without any token, or send its form; return status, text and headers."""
    async with aiohttp.ClientSession() as session:
        method = "POST" if form else "GET"
        async with session.request(method, link, data=form or None, allow_redirects=False) as page:
            return page.status, await page.text(), page.headers


async def decide(begun: Reply, decision: str, *accounts: str) -> dict[str, list[str]]:
    """Decide on the page; return the query of where the browser is sent."""
    status, _, headers = await visit(begun.body["link"], decision=decision, accounts=list(accounts))
    assert 303 == status
    assert headers["Location"].startswith("https://firm.example/back?client=7&")
    return parse_qs(urlsplit(headers["Location"]).query)


async def allow(begun: Reply, *accounts: str) -> str:
    query = await decide(begun, "allow", *(accounts or ("checking", "savings", "creditCard")))
    assert ["s7"] == query["state"]
    (code,) = query["code"]
    return code


async def codes(caller: FinbankCaller) -> set[int]:
    return {account["aggregationStatusCode"] for account in await caller.accounts()}


async def test_finbank_consent_links_what_is_ticked(caller: FinbankCaller) -> None:
    """The ticked accounts come back for the code, pending until they are chosen, and link without credentials."""
    begun = await begin(caller)
    found = await finish(caller, begun, await allow(begun, "checking", "creditCard"))
    assert ["checking", "creditCard"] == [account["type"] for account in found.body["accounts"]]
    assert {"pending"} == {account["status"] for account in found.body["accounts"]}
    assert [] == await caller.accounts()
    linked = await caller.activate(found.body["accounts"], at=OAUTH_BANK)
    assert [each["id"] for each in found.body["accounts"]] == [each["id"] for each in linked.body["accounts"]]
    assert 200 == (await caller.refresh(linked.body["accounts"][0]["institutionLoginId"])).status


async def test_finbank_consent_page_is_safe_and_plain(caller: FinbankCaller) -> None:
    """The page needs no token, runs no script, labels every box, shows last digits only, and closes when answered."""
    begun = await begin(caller)
    status, page, headers = await visit(begun.body["link"])
    assert 200 == status
    assert '<html lang="en">' in page
    assert "<h1>FinBank West: share your accounts?</h1>" in page
    assert 3 == page.count("<label>") == page.count('type="checkbox"')
    assert "<legend>" in page
    assert "<script" not in page
    policy = headers["Content-Security-Policy"]
    for rule in ("default-src 'none'", "form-action 'self' https://firm.example;", "frame-ancestors 'none'"):
        assert rule in policy
    assert ("no-store", "no-referrer") == (headers["Cache-Control"], headers["Referrer-Policy"])
    numbers = [account["number"] for account in (await finish(caller, begun, await allow(begun))).body["accounts"]]
    assert all(f"ending in {number[-4:]}" in page and number not in page for number in numbers)
    status, page, _ = await visit(begun.body["link"])
    assert (410, True) == (status, "no longer open" in page)
    assert 410 == (await visit(begun.body["link"], decision="allow", accounts="checking"))[0]


async def test_finbank_consent_page_says_what_is_missing(caller: FinbankCaller) -> None:
    """Allow without an account and a form without a decision are asked again; unknown addresses are closed."""
    begun = await begin(caller)
    status, page, _ = await visit(begun.body["link"], decision="allow")
    assert (400, True) == (status, 'role="alert">Tick at least one account' in page)
    assert 400 == (await visit(begun.body["link"], decision="allow", accounts="yacht"))[0]
    assert 400 == (await visit(begun.body["link"], decision="maybe"))[0]
    assert 410 == (await visit(begun.body["link"][:-1] + "~"))[0]
    assert 200 == (await visit(begun.body["link"]))[0]


async def test_finbank_consent_declined(caller: FinbankCaller) -> None:
    """A decline goes back with an error and no code, and the session has nothing to give."""
    begun = await begin(caller)
    assert {"client": ["7"], "state": ["s7"], "error": ["access_denied"]} == await decide(begun, "decline")
    assert (400, "10814") == (await finish(caller, begun, "")).outcome
    assert (408, 331) == (await finish(caller, begun, "")).outcome


async def test_finbank_consent_codes_are_good_once(caller: FinbankCaller) -> None:
    """No code before the decision, no wrong one, not for another customer or institution, and not twice."""
    begun = await begin(caller)
    assert (400, "12003") == (await finish(caller, begun, "")).outcome
    code = await allow(begun)
    assert (400, "12003") == (await finish(caller, begun, code + "x")).outcome
    async with calling(caller.finbank) as other:
        assert (408, 331) == (await finish(other, begun, code)).outcome
    assert (408, 331) == (await finish(caller, begun, code, at=FINBANK_ID)).outcome
    assert 200 == (await finish(caller, begun, code)).status
    assert (408, 331) == (await finish(caller, begun, code)).outcome
    ended = await begin(caller)
    await caller.finbank.control("POST", "faults", expireSessions=True)
    assert 410 == (await visit(ended.body["link"]))[0]


@pytest.mark.parametrize(
    ("at", "body", "outcome"),
    [
        (OAUTH_BANK, {}, (400, "10005")),
        (OAUTH_BANK, {"redirectUri": "javascript:alert(1)"}, (400, "10100")),
        (OAUTH_BANK, {"redirectUri": BACK, "state": "s" * 513}, (400, "10100")),
        (OAUTH_BANK, {"redirectUri": BACK, "institutionLoginId": 1}, (404, "38007")),
        (OAUTH_BANK, {"redirectUri": BACK, "institutionLoginId": "x"}, (404, "38007")),
        (OAUTH_BANK, {"redirectUri": 7}, (400, "14020")),
        (FINBANK_ID, {"redirectUri": BACK}, (400, "14020")),
        (1, {"redirectUri": BACK}, (404, "14006")),
    ],
)
async def test_finbank_refuses_odd_consents(
    caller: FinbankCaller, at: int, body: dict[str, Any], outcome: tuple[int, str]
) -> None:
    """A session begins only with a way back, for one's own login, at an institution that has a page."""
    assert outcome == (await caller.call("POST", oauth_path(at), body)).outcome


@pytest.mark.parametrize("code", [103, 108, 185, 187, 945, 946, 947, 948])
async def test_finbank_consent_mends_a_login(caller: FinbankCaller, code: int) -> None:
    """Consenting anew clears what a person can clear; the login keeps its accounts and ids."""
    link = await caller.linked(at=OAUTH_BANK)
    await caller.finbank.control("POST", f"logins/{link.login_id}/break", code=code)
    assert (500, code) == (await caller.refresh(link.login_id)).outcome
    begun = await begin(caller, institutionLoginId=link.login_id)
    renewed = await finish(caller, begun, await allow(begun))
    assert 200 == renewed.status
    assert set(link.accounts.values()) == {int(account["id"]) for account in renewed.body["accounts"]}
    assert {0} == await codes(caller)


async def test_finbank_consent_does_not_mend_the_bank(caller: FinbankCaller) -> None:
    """What the institution has to repair is still there after a consent."""
    link = await caller.linked(at=OAUTH_BANK)
    await caller.finbank.control("POST", f"logins/{link.login_id}/break", code=910)
    begun = await begin(caller, institutionLoginId=str(link.login_id))
    assert (500, 910) == (await finish(caller, begun, await allow(begun))).outcome


async def migrate(caller: FinbankCaller) -> tuple[Any, datetime]:
    now = datetime.fromisoformat((await caller.finbank.control("GET", "clock"))["at"])
    until = now + timedelta(days=25)
    shown = await caller.finbank.control("POST", f"institutions/{HERITAGE}/migrate", until=until.isoformat())
    return shown["institution"], until


async def rows(caller: FinbankCaller, link: Link) -> list[int]:
    path = f"/aggregation/v4/customers/{{c}}/accounts/{link.accounts['checking']}/transactions"
    listed = await caller.call("GET", f"{path}?fromDate=0&toDate=4000000000&limit=1000&includePending=true")
    return [row["id"] for row in listed.body["transactions"]]


async def test_finbank_migrates_to_oauth(fresh: FinbankCaller) -> None:
    """A migration fails logins with 948, refuses credentials, and a consent keeps accounts, ids and transactions."""
    link = await fresh.linked("tfa_text", at=HERITAGE)
    before = await rows(fresh, link)
    institution, until = await migrate(fresh)
    assert ("migrating", True, int(until.timestamp())) == (
        *(institution["status"], institution["oauthEnabled"], institution["migrationDate"]),
    )
    assert f"{until:%Y-%m-%d}" in institution["specialText"]
    for headers in ({}, {"Interactive": "true"}):
        assert (500, 948) == (await fresh.refresh(link.login_id, **headers)).outcome
    assert (500, 948) == (await fresh.discover("demo", "go", at=HERITAGE)).outcome
    login = f"/aggregation/v1/customers/{{c}}/institutionLogins/{link.login_id}"
    credentials = {"credentials": [{"id": f"{HERITAGE}001", "value": "demo"}]}
    assert (500, 948) == (await fresh.call("PUT", login, credentials)).outcome
    assert (500, 948) == (await fresh.call("GET", f"{login}/loginForm")).outcome
    assert {948} == await codes(fresh)
    begun = await begin(fresh, at=HERITAGE, institutionLoginId=link.login_id)
    renewed = await finish(fresh, begun, await allow(begun), at=HERITAGE)
    assert set(link.accounts.values()) == {int(account["id"]) for account in renewed.body["accounts"]}
    assert {link.login_id} == {account["institutionLoginId"] for account in renewed.body["accounts"]}
    assert set(before) <= set(await rows(fresh, link))
    assert 200 == (await fresh.refresh(link.login_id)).status


async def test_finbank_migration_lacks_consent(fresh: FinbankCaller) -> None:
    """A declined consent, and one that leaves an account out, is 945 until all of them are ticked."""
    link = await fresh.linked(at=HERITAGE)
    await migrate(fresh)
    declined = await begin(fresh, at=HERITAGE, institutionLoginId=link.login_id)
    await decide(declined, "decline")
    assert (400, "10814") == (await finish(fresh, declined, "", at=HERITAGE)).outcome
    assert {945} == await codes(fresh)
    partly = await begin(fresh, at=HERITAGE, institutionLoginId=link.login_id)
    assert (500, 945) == (await finish(fresh, partly, await allow(partly, "checking"), at=HERITAGE)).outcome
    whole = await begin(fresh, at=HERITAGE, institutionLoginId=link.login_id)
    assert 200 == (await finish(fresh, whole, await allow(whole), at=HERITAGE)).status
    assert {0} == await codes(fresh)


async def test_finbank_migration_ends_with_its_date(fresh: FinbankCaller) -> None:
    """After the date the institution is online with OAuth, and whoever did not consent still fails."""
    await fresh.linked(at=HERITAGE)
    await migrate(fresh)
    await fresh.finbank.control("POST", "clock", advance_s=26 * 86_400)
    shown = (await fresh.call("GET", f"/institution/v2/institutions/{HERITAGE}")).body["institution"]
    assert ("online", True, False) == (shown["status"], shown["oauthEnabled"], "migrationDate" in shown)
    assert {948} == await codes(fresh)


async def test_finbank_institutions_stand_as_told(fresh: FinbankCaller) -> None:
    """Each status is served in the object and in the list; migrating tells its date before anything changes."""
    path = f"institutions/{FINBANK_ID}/status"
    for status in ("offline", "maintenance", "online"):
        shown = await fresh.finbank.control("PUT", path, status=status)
        assert status == shown["institution"]["status"]
    told = await fresh.finbank.control("PUT", path, status="migrating", until="2099-09-30T00:00:00Z")
    assert ("migrating", False, 4_094_409_600) == (
        *(told["institution"][name] for name in ("status", "oauthEnabled", "migrationDate")),
    )
    listed = await fresh.call("GET", "/institution/v2/institutions?search=finbank")
    assert "migrating" == next(each["status"] for each in listed.body["institutions"] if each["id"] == FINBANK_ID)
    assert 200 == (await fresh.discover("demo", "go")).status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"PUT institutions/{FINBANK_ID}/status", {"status": "closed"}, 400),
        (f"PUT institutions/{FINBANK_ID}/status", {"status": "migrating"}, 400),
        (f"PUT institutions/{FINBANK_ID}/status", {"status": "online", "until": "2099-01-01T00:00:00Z"}, 400),
        (f"POST institutions/{HERITAGE}/migrate", {"until": "soon"}, 400),
        (f"POST institutions/{HERITAGE}/migrate", {"until": "2020-01-01T00:00:00Z"}, 400),
        (f"POST institutions/{HERITAGE}/migrate", {}, 400),
        (f"POST institutions/{OAUTH_BANK}/migrate", {"until": "2099-01-01T00:00:00Z"}, 400),
        ("POST institutions/1/migrate", {"until": "2099-01-01T00:00:00Z"}, 404),
    ],
)
async def test_finbank_refuses_odd_standings(caller: FinbankCaller, path: str, body: Any, status: int) -> None:
    """What an institution cannot become is refused."""
    method, _, rest = path.partition(" ")
    with pytest.raises(AssertionError, match=f"{rest}: {status} "):
        await caller.finbank.control(method, rest, **body)


async def test_finbank_standings_need_the_control_token(caller: FinbankCaller) -> None:
    """A partner's token does not change institutions."""
    body = {"until": "2099-01-01T00:00:00Z"}
    assert (401, "10021") == (await caller.call("POST", f"/finbank/institutions/{HERITAGE}/migrate", body)).outcome
