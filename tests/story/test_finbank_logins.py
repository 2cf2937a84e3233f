"""Finbank's existing logins over HTTP: refreshed with and without their person, broken, and mended by what they do."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.finbank import FINBANK_ID, FinbankCaller, FinbankProcess, calling, filled

TOKEN_BANK, OAUTH_BANK = 102241, 102176
LOGIN = "/aggregation/v1/customers/{c}/institutionLogins"
CHALLENGED = [
    ("tfa_text", "go"),
    ("tfa_image", "go"),
    ("tfa_choice", "go"),
    ("tfa_multi", "go"),
    ("demo", "imagechoice"),
    ("demo", "imagechoice2"),
]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def caller(process: FinbankProcess) -> AsyncIterator[FinbankCaller]:
    await process.wait_until_up()
    async with calling(process) as caller:
        yield caller


async def codes(caller: FinbankCaller) -> set[int]:
    """Return the codes that the customer's accounts show."""
    return {account["aggregationStatusCode"] for account in await caller.accounts()}


async def break_login(caller: FinbankCaller, login_id: int, code: int) -> None:
    await caller.finbank.control("POST", f"logins/{login_id}/break", code=code)


@pytest.mark.parametrize(("username", "password"), [*CHALLENGED, ("discovertimeout", "go")])
async def test_finbank_control_links_every_user(caller: FinbankCaller, username: str, password: str) -> None:
    """The control API links any user of the table that gets in, at once and without questions."""
    link = await caller.linked(username, password)
    assert {"checking", "savings", "creditCard"} == set(link.accounts)
    assert {0} == await codes(caller)


@pytest.mark.parametrize(("username", "password"), CHALLENGED)
async def test_finbank_asks_its_challenged_users(caller: FinbankCaller, username: str, password: str) -> None:
    """With the person present a refresh asks, and the answer refreshes; with nobody there it fails with 185."""
    login_id = (await caller.linked(username, password)).login_id
    assert (500, 185) == (await caller.refresh(login_id)).outcome
    assert {185} == await codes(caller)
    asked = await caller.refresh(login_id, Interactive="true")
    assert 203 == asked.status
    answered = await caller.answer(asked, "anything", login_id=login_id)
    assert (200, 3) == (answered.status, len(answered.body["accounts"]))
    assert {0} == await codes(caller)
    assert 203 == (await caller.refresh(login_id, Interactive="true")).status


async def test_finbank_nights_ask_nobody(caller: FinbankCaller) -> None:
    """The nightly batch goes by without questions, until a refresh without its person met one."""
    login_id = (await caller.linked("tfa_text")).login_id
    await caller.finbank.pass_nights()
    assert {0} == await codes(caller)
    await caller.refresh(login_id)
    await caller.finbank.pass_nights()
    assert {185} == await codes(caller)


async def test_finbank_other_refreshes_have_nobody_there(caller: FinbankCaller) -> None:
    """A customer's refresh and one by request fail with 185; older history is 203 and breaks nothing."""
    link = await caller.linked("tfa_text")
    history = f"/aggregation/v1/customers/{{c}}/accounts/{link.accounts['checking']}/transactions/historic"
    assert 203 == (await caller.call("POST", history)).status
    assert {0} == await codes(caller)
    wanted = {"institutionLoginId": str(link.login_id)}
    asked = await caller.call("POST", "/aggregation/customers/{c}/transactions/refreshes", wanted)
    done = await caller.call("GET", f"/aggregation/customers/{{c}}/transactions/refreshes/{asked.body['refreshId']}")
    assert {185} == {account["code"] for account in done.body["accounts"]}
    await caller.finbank.control("POST", f"logins/{link.login_id}/fix")
    await caller.call("POST", "/aggregation/v1/customers/{c}/accounts")
    assert {185} == await codes(caller)


async def test_finbank_wrong_answers_stay_with_the_login(caller: FinbankCaller) -> None:
    """A wrong answer (187) and none (185) are what all accounts of the login show, until one is right."""
    login_id = (await caller.linked("tfa_choice")).login_id
    for answer, code in (("fail", 187), ("", 185)):
        asked = await caller.refresh(login_id, Interactive="true")
        assert (500, code) == (await caller.answer(asked, answer, login_id=login_id)).outcome
        assert {code} == await codes(caller)
    asked = await caller.refresh(login_id, Interactive="true")
    assert 200 == (await caller.answer(asked, "A red kite", login_id=login_id)).status
    assert {0} == await codes(caller)


async def test_finbank_sessions_are_for_their_login(caller: FinbankCaller) -> None:
    """A session of one login answers for no other, and for no discovery."""
    first, second = [(await caller.linked("tfa_text")).login_id for _ in range(2)]
    asked = await caller.refresh(first, Interactive="true")
    assert (408, 331) == (await caller.answer(asked, "Rex", login_id=second)).outcome
    assert (408, 331) == (await caller.answer(asked, "Rex")).outcome
    assert 200 == (await caller.answer(asked, "Rex", login_id=first)).status
    assert (408, 331) == (await caller.answer(asked, "Rex", login_id=first)).outcome
    assert (400, "10005") == (await caller.call("POST", f"{LOGIN}/{first}/accounts/mfa", {})).outcome
    async with calling(caller.finbank) as other:
        assert (404, "38007") == (await other.refresh(first, Interactive="true")).outcome


@pytest.mark.parametrize("code", [108, 185, 187])
async def test_finbank_is_mended_by_presence(caller: FinbankCaller, code: int) -> None:
    """A prompt at the bank (108) is cleared by the person being there, a question (185, 187) by an answer."""
    login_id = (await caller.linked()).login_id
    await break_login(caller, login_id, code)
    assert (500, code) == (await caller.refresh(login_id)).outcome
    reply = await caller.refresh(login_id, Interactive="true")
    if code != 108:
        assert (203, "TFA_TEXT") == (reply.status, reply.body["type"])
        reply = await caller.answer(reply, "Rex", login_id=login_id)
    assert 200 == reply.status
    assert 200 == (await caller.refresh(login_id)).status


@pytest.mark.parametrize("code", [103, 109, 945, 946, 947, 948])
async def test_finbank_is_mended_by_credentials(caller: FinbankCaller, code: int) -> None:
    """Presence does not help against these; right credentials do, and the refresh after them tells."""
    login_id = (await caller.linked()).login_id
    await break_login(caller, login_id, code)
    assert (500, code) == (await caller.refresh(login_id, Interactive="true")).outcome
    assert (204, None) == (await caller.change_credentials(login_id, "demo", "go")).outcome
    assert {code} == await codes(caller)
    assert 200 == (await caller.refresh(login_id)).status
    assert {0} == await codes(caller)


@pytest.mark.parametrize("code", [125, 185, 910])
async def test_finbank_credentials_do_not_mend_all(caller: FinbankCaller, code: int) -> None:
    """What is not about credentials stays when they are typed again."""
    login_id = (await caller.linked()).login_id
    await break_login(caller, login_id, code)
    assert 204 == (await caller.change_credentials(login_id, "demo", "go")).status
    assert (500, code) == (await caller.refresh(login_id)).outcome


@pytest.mark.parametrize(("password", "code"), [("a wrong one", 103), ("125", 125)])
async def test_finbank_wrong_credentials_fail_until_right(caller: FinbankCaller, password: str, code: int) -> None:
    """Wrong credentials are taken and fail every refresh, by night too, until right ones come."""
    login_id = (await caller.linked()).login_id
    assert 204 == (await caller.change_credentials(login_id, "demo", password)).status
    await caller.finbank.pass_nights()
    assert {code} == await codes(caller)
    assert (500, code) == (await caller.refresh(login_id, Interactive="true")).outcome
    assert 204 == (await caller.change_credentials(login_id, "demo", "go")).status
    assert 200 == (await caller.refresh(login_id)).status


async def test_finbank_other_user_other_questions(caller: FinbankCaller) -> None:
    """The credentials given last decide whether the person is asked; accounts and ids stay."""
    link = await caller.linked()
    await caller.change_credentials(link.login_id, "tfa_image", "go")
    asked = await caller.refresh(link.login_id, Interactive="true")
    assert (203, "TFA_IMAGE") == (asked.status, asked.body["type"])
    await caller.change_credentials(link.login_id, "demo", "go")
    assert 200 == (await caller.refresh(link.login_id)).status
    assert set(link.accounts.values()) == {int(account["id"]) for account in await caller.accounts()}


async def test_finbank_token_bank_asks_at_each_refresh(caller: FinbankCaller) -> None:
    """Where everything is asked for, an interactive refresh asks for token and security answers."""
    link = await caller.linked(at=TOKEN_BANK)
    form = await caller.call("GET", f"{LOGIN}/{link.login_id}/loginForm")
    assert [f"{TOKEN_BANK}00{n}" for n in (3, 4, 1, 2)] == [each["id"] for each in form.body["loginForm"]]
    token = await caller.refresh(link.login_id, Interactive="true")
    assert "expiresAt" in token.body
    await caller.finbank.control("POST", "faults", expireCodes=True)
    assert (500, 185) == (await caller.answer(token, "123456", login_id=link.login_id)).outcome
    token = await caller.refresh(link.login_id, Interactive="true")
    secured = await caller.answer(token, "123456", login_id=link.login_id)
    assert 200 == (await caller.answer(secured, "Kim", "Elm Street", login_id=link.login_id)).status


async def test_finbank_refuses_odd_credentials_of_a_login(caller: FinbankCaller) -> None:
    """Credentials that are not of the login's form change nothing, and another customer's login is not there."""
    link = await caller.linked()
    path = f"{LOGIN}/{link.login_id}"
    for body, code in (({}, "10005"), (filled(1, "demo", "go"), "10100"), (filled(FINBANK_ID, "demo", ""), "10005")):
        assert (400, code) == (await caller.call("PUT", path, body)).outcome
    async with calling(caller.finbank) as other:
        assert (404, "38007") == (await other.change_credentials(link.login_id, "demo", "x")).outcome
        assert (404, "38007") == (await other.call("GET", f"{path}/loginForm")).outcome
    assert 200 == (await caller.refresh(link.login_id)).status
    oauth = await caller.linked(at=OAUTH_BANK)
    assert (400, "14020") == (await caller.change_credentials(oauth.login_id, "demo", "go")).outcome


async def test_finbank_remembers_manners_across_a_restart(tmp_path: Path) -> None:
    """After a restart a challenged user is still asked, a standing institution stands, and sessions are gone."""
    process = FinbankProcess(tmp_path)
    process.start()
    try:
        await process.wait_until_up()
        async with calling(process) as caller:
            login_id = (await caller.linked("tfa_text")).login_id
            asked = await caller.refresh(login_id, Interactive="true")
            await process.control("PUT", f"institutions/{FINBANK_ID}/status", status="offline")
            process.stop()
            process.start()
            await process.wait_until_up()
            assert (408, 331) == (await caller.answer(asked, "Rex", login_id=login_id)).outcome
            again = await caller.refresh(login_id, Interactive="true")
            assert 200 == (await caller.answer(again, "Rex", login_id=login_id)).status
            shown = await caller.call("GET", f"/institution/v2/institutions/{FINBANK_ID}")
            assert "offline" == shown.body["institution"]["status"]
    finally:
        process.stop()
