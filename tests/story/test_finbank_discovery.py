"""Finbank's discovery over HTTP: every row of FinBank's published table, from the form to linked accounts."""

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.finbank import FINBANK_ID, FinbankCaller, FinbankProcess, Reply, calling, filled, free_port

TOKEN_BANK, OAUTH_BANK, MISSING_BANK = 102241, 102176, 999_999
DISCOVER = f"/aggregation/v1/customers/{{c}}/institutions/{FINBANK_ID}/accounts"
ACTIVATE = f"/aggregation/v2/customers/{{c}}/institutions/{FINBANK_ID}/accounts"
SLOW_S = 1.5


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"), BANKFEED_FINBANK_SLOW_S=str(SLOW_S))
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def caller(process: FinbankProcess) -> AsyncIterator[FinbankCaller]:
    await process.wait_until_up()
    async with calling(process) as caller:
        yield caller


def kinds(reply: Reply) -> list[str]:
    assert 200 == reply.status, reply.body
    return [account["type"] for account in reply.body["accounts"]]


def picture(text: str) -> bytes:
    image = b64decode(text, validate=True)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    return image


def question(asked: Reply, kind: str) -> dict[str, Any]:
    """Return the one question of a challenge."""
    assert (203, kind) == (asked.status, asked.body["type"])
    assert len(asked.session) >= 43
    (only,) = asked.body["questions"]
    return dict(only)


async def test_finbank_shows_its_form(caller: FinbankCaller) -> None:
    """A form names its fields in order, masks the password, and has nothing filled in."""
    form = (await caller.call("GET", f"/aggregation/v1/institutions/{FINBANK_ID}/loginForm")).body["loginForm"]
    shown = [(each["id"], each["name"], each["mask"], each["displayOrder"], each["value"]) for each in form]
    assert [
        ("101732001", "Banking Userid", "false", 1, ""),
        ("101732002", "Banking Password", "true", 2, ""),
    ] == shown
    missing = await caller.call("GET", f"/aggregation/v1/institutions/{MISSING_BANK}/loginForm")
    assert (404, "14006") == missing.outcome
    assert (400, "14020") == (await caller.call("GET", f"/aggregation/v1/institutions/{OAUTH_BANK}/loginForm")).outcome


@pytest.mark.parametrize("username", ["demo", "ann@example.com"])
async def test_finbank_links_what_is_chosen(caller: FinbankCaller, username: str) -> None:
    """Any user with the password go gets accounts to choose from; the chosen ones keep id and number."""
    found = await caller.discover(username, "go")
    assert ["checking", "savings", "creditCard"] == kinds(found)
    assert {"pending"} == {account["status"] for account in found.body["accounts"]}
    assert [] == await caller.accounts()
    chosen = found.body["accounts"][1:]
    linked = (await caller.activate(chosen)).body["accounts"]
    assert [(each["id"], each["number"], "active") for each in chosen] == [
        (each["id"], each["number"], each["status"]) for each in linked
    ]
    assert 1 == len({each["institutionLoginId"] for each in linked})
    assert [each["id"] for each in linked] == [each["id"] for each in await caller.accounts()]


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        *[("demo", str(code), code) for code in (123, 125, 127, 128, 130)],
        ("invalid_user", "go", 103),
        ("demo", "a wrong one", 103),
    ],
)
async def test_finbank_fails_as_published(caller: FinbankCaller, username: str, password: str, code: int) -> None:
    """A failing row is HTTP 500 with its code as a number, and repeats nothing of what was typed."""
    refused = await caller.discover(username, password)
    assert (500, code) == refused.outcome
    assert "wrong one" not in str(refused.body)


async def test_finbank_tfa_text_asks_again_after_mfa(caller: FinbankCaller) -> None:
    """The answer mfa brings another challenge with a session of its own; any other answer lets in."""
    first = await caller.discover("tfa_text", "go")
    second = await caller.answer(first, "mfa")
    assert question(first, "TFA_TEXT") != question(second, "TFA_TEXT")
    assert first.session != second.session
    assert 3 == len(kinds(await caller.answer(second, "Rex")))


async def test_finbank_tfa_image_shows_a_picture(caller: FinbankCaller) -> None:
    """The question has a picture with a word; any answer lets in."""
    asked = await caller.discover("tfa_image", "go")
    assert len(picture(question(asked, "TFA_IMAGE")["image"])) > 100
    assert 3 == len(kinds(await caller.answer(asked, "RIVER")))


async def test_finbank_tfa_choice_fails_on_fail(caller: FinbankCaller) -> None:
    """One of several options is wrong (187), which ends the session; another lets in."""
    asked = await caller.discover("tfa_choice", "go")
    choices = question(asked, "TFA_CHOICE")["choices"]
    assert len(choices) >= 3
    assert "fail" in choices
    assert (500, 187) == (await caller.answer(asked, "fail")).outcome
    assert (408, 331) == (await caller.answer(asked, choices[0])).outcome
    again = await caller.discover("tfa_choice", "go")
    assert 3 == len(kinds(await caller.answer(again, choices[0])))


@pytest.mark.parametrize(
    ("username", "password", "pictures"),
    [("tfa_multi", "go", 3), ("demo", "imagechoice", 3), ("demo", "imagechoice2", 6)],
)
async def test_finbank_has_pictures_to_choose(
    caller: FinbankCaller, username: str, password: str, pictures: int
) -> None:
    """Each option is a picture with the answer that it gives; any answer lets in."""
    asked = await caller.discover(username, password)
    choices = question(asked, "TFA_MULTI")["imageChoices"]
    assert pictures == len({picture(each["image"]) for each in choices}) == len({each["value"] for each in choices})
    assert 3 == len(kinds(await caller.answer(asked, choices[-1]["value"])))


async def test_finbank_discovertimeout_goes_on_when_hung_up(caller: FinbankCaller) -> None:
    """The slow user takes longer than a caller waits; asking again waits for the rest, and then not at all."""
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await caller.discover("discovertimeout", "go")
    assert [] == await caller.accounts()
    found = await caller.discover("discovertimeout", "go")
    assert SLOW_S <= time.monotonic() - began_s < 2 * SLOW_S
    again_s = time.monotonic()
    assert kinds(found) == kinds(await caller.discover("discovertimeout", "go"))
    assert time.monotonic() - again_s < SLOW_S
    assert 200 == (await caller.activate(found.body["accounts"])).status


async def test_finbank_asks_for_all_six_things(caller: FinbankCaller) -> None:
    """One institution wants name, URL, username, password, a token's code that ends, and two security answers."""
    form = (await caller.call("GET", f"/aggregation/v1/institutions/{TOKEN_BANK}/loginForm")).body["loginForm"]
    assert ["Name on the account", "Bank or credit card URL", "Banking Userid", "Banking Password"] == [
        each["name"] for each in form
    ]
    asked = await caller.discover("demo", "go", at=TOKEN_BANK, f3="Ann Lee", f4="token.finbank.example")
    assert "token" in question(asked, "TFA_TEXT")["text"]
    assert 60 < asked.body["expiresAt"] - time.time() <= 180
    secured = await caller.answer(asked, "123456", at=TOKEN_BANK)
    assert (203, 2, False) == (secured.status, len(secured.body["questions"]), "expiresAt" in secured.body)
    found = await caller.answer(secured, "Kim", "Elm Street", at=TOKEN_BANK)
    assert 200 == (await caller.activate(found.body["accounts"], at=TOKEN_BANK)).status
    lacking = await caller.discover("demo", "go", at=TOKEN_BANK, f3="Ann Lee")
    assert (400, "10005") == lacking.outcome
    assert "Bank or credit card URL" in lacking.body["message"]


async def test_finbank_token_comes_too_late(caller: FinbankCaller) -> None:
    """A token's code that has ended is 185, and the person starts again."""
    asked = await caller.discover("demo", "go", at=TOKEN_BANK, f3="Ann Lee", f4="token.finbank.example")
    await caller.finbank.control("POST", "faults", expireCodes=True)
    assert (500, 185) == (await caller.answer(asked, "123456", at=TOKEN_BANK)).outcome


async def test_finbank_sessions_end(caller: FinbankCaller) -> None:
    """Used, ended, unknown and another's sessions are 331 as HTTP 408; a missing header and answer are told apart."""
    asked = await caller.discover("tfa_text", "go")
    async with calling(caller.finbank) as other:
        assert (408, 331) == (await other.answer(asked, "Rex")).outcome
    assert (408, 331) == (await caller.answer(asked, "Rex", at=TOKEN_BANK)).outcome
    assert 200 == (await caller.answer(asked, "Rex")).status
    assert (408, 331) == (await caller.answer(asked, "Rex")).outcome
    ended = await caller.discover("tfa_text", "go")
    await caller.finbank.control("POST", "faults", expireSessions=True)
    assert (408, 331) == (await caller.answer(ended, "Rex")).outcome
    unanswered = await caller.discover("tfa_text", "go")
    assert (500, 185) == (await caller.answer(unanswered, " ")).outcome
    assert (400, "10005") == (await caller.call("POST", f"{DISCOVER}/mfa", {"questions": []})).outcome


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "10005"),
        ({"credentials": [{"id": "101732001", "value": "demo"}]}, "10005"),
        (filled(FINBANK_ID, "", "go"), "10005"),
        (filled(FINBANK_ID, "demo", ""), "10005"),
        (filled(FINBANK_ID, "demo", "go", f7="x"), "10100"),
        (filled(FINBANK_ID, "demo", "p" * 257), "10100"),
        ({"credentials": [{"id": "101732001", "value": "a"}, {"id": "101732001", "value": "b"}]}, "10100"),
        ({"credentials": "demo"}, "14020"),
        ({"credentials": [{"id": 101732001, "value": "demo"}]}, "14020"),
    ],
)
async def test_finbank_refuses_odd_forms(caller: FinbankCaller, body: Any, code: str) -> None:
    """A form that is not the institution's own is refused before the bank is asked."""
    assert (400, code) == (await caller.call("POST", DISCOVER, body)).outcome


async def test_finbank_refuses_odd_places(caller: FinbankCaller) -> None:
    """Unknown customers and institutions are 404; a page of one's own takes no credentials."""
    body = filled(FINBANK_ID, "demo", "go")
    unknown = f"/aggregation/v1/customers/1/institutions/{FINBANK_ID}/accounts"
    assert (404, "14001") == (await caller.call("POST", unknown, body)).outcome
    assert (404, "14006") == (await caller.discover("demo", "go", at=MISSING_BANK)).outcome
    assert (400, "14020") == (await caller.discover("demo", "go", at=OAUTH_BANK)).outcome
    assert (404, "14006") == (
        await caller.call("PUT", ACTIVATE.replace("101732", "1"), {"accounts": [{"id": "1"}]})
    ).outcome


async def test_finbank_links_only_what_it_offered(caller: FinbankCaller) -> None:
    """Accounts of nobody's, another's and a used offer are 404; altered ones are refused; nothing is linked."""
    found = (await caller.discover("demo", "go")).body["accounts"]
    async with calling(caller.finbank) as other:
        assert (404, "38003") == (await other.activate(found)).outcome
    assert (404, "38003") == (await caller.activate(found, at=TOKEN_BANK)).outcome
    for altered, outcome in (
        (found[0] | {"id": "1"}, (404, "38003")),
        (found[0] | {"id": "x"}, (400, "10100")),
        (found[0] | {"number": "1"}, (400, "14020")),
        (found[0] | {"type": "yacht"}, (400, "10106")),
    ):
        assert outcome == (await caller.activate([altered])).outcome
    assert (400, "10005") == (await caller.call("PUT", ACTIVATE, {"accounts": []})).outcome
    assert [] == await caller.accounts()
    assert 200 == (await caller.activate(found[:1])).status
    assert (404, "38003") == (await caller.activate(found[1:])).outcome
    assert 1 == len(await caller.accounts())


async def announced(caller: FinbankCaller) -> list[str]:
    return [each["event"] for each in (await caller.finbank.control("GET", "announcements"))["recent"]]


async def test_finbank_tells_of_what_is_linked_and_mended(tmp_path: Path) -> None:
    """Linking what was discovered is announced, and an answered question that mends; discovering alone is not."""
    process = FinbankProcess(tmp_path)
    process.start()
    try:
        await process.wait_until_up()
        nowhere = f"http://127.0.0.1:{free_port()}/"
        await process.control("POST", "announce", dialect="ledgersync", ledgersyncUrl=nowhere)
        async with calling(process) as caller:
            found = await caller.answer(await caller.discover("tfa_text", "go"), "Rex")
            assert [] == await announced(caller)
            linked = await caller.activate(found.body["accounts"])
            assert ["accountAdded"] == await announced(caller)
            login_id = linked.body["accounts"][0]["institutionLoginId"]
            assert (500, 185) == (await caller.refresh(login_id)).outcome
            asked = await caller.refresh(login_id, Interactive="true")
            assert ["accountAdded"] == await announced(caller)
            await caller.answer(asked, "Rex", login_id=login_id)
            assert ["accountAdded", "mfaUpdated"] == (await announced(caller))[:2]
    finally:
        process.stop()


async def test_finbank_book_holds_no_credentials(tmp_path: Path) -> None:
    """Nothing that was typed is on the disk, during the questions and after them, but the published usernames."""
    process = FinbankProcess(tmp_path)
    process.start()
    try:
        await process.wait_until_up()
        async with calling(process) as caller:
            found = await caller.discover("ann@example.com", "go")
            asked = await caller.discover("demo", "imagechoice2")
            await caller.activate(found.body["accounts"])
            answered = await caller.answer(asked, "a-secret-answer")
            linked = await caller.activate(answered.body["accounts"])
            login_id = linked.body["accounts"][0]["institutionLoginId"]
            await caller.change_credentials(login_id, "bob@example.com", "a-secret-password")
        book = (tmp_path / "finbank.json").read_text()
        for secret in ("ann@", "bob@", '"go"', "imagechoice2", "a-secret-answer", "a-secret-password", asked.session):
            assert secret not in book
        assert '"imageChoice2"' in book
    finally:
        process.stop()
