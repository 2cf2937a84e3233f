"""Every row of FinBank's published test table through the widget: for a new login, and for one that exists.

A row that fails is shown with its words and the button that fits, leaves nothing behind where the login is new, and is the
state and the history of a login that exists, until its person repairs it.
"""

import base64
import struct
import zlib
from dataclasses import dataclass

import pytest

from bankfeed.health import read_code
from tests.story.widget.browser import Page
from tests.story.widget.conftest import Desk

TOKEN_BANK = 102241
EVERYTHING = ("Ann Smith", "https://token.finbank.example", "demo", "go")
AGAIN = "Sign in to the bank again"
LINK = "Link these accounts"
NEW_CODE = "Ask the bank for a new question or code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row that lets somebody in: what is typed, the answers page by page, and how many pictures the bank shows."""

    username: str
    password: str = "go"
    answers: tuple[str, ...] = ("anything",)
    pictures: int = 0


ROWS = {
    "demo": Row(username="demo", answers=()),
    "tfa_text": Row(username="tfa_text", answers=("mfa", "mfa", "Rex")),
    "tfa_image": Row(username="tfa_image", pictures=1),
    "tfa_choice": Row(username="tfa_choice", answers=("1",)),
    "tfa_multi": Row(username="tfa_multi", answers=("0",), pictures=3),
    "imagechoice": Row(username="demo", password="imagechoice", answers=("2",), pictures=3),
    "imagechoice2": Row(username="demo", password="imagechoice2", answers=("4",), pictures=6),
}


async def let_in(desk: Desk, row: Row) -> Page:
    """Sign in by a row, and answer whatever the bank asks on the way."""
    page = await desk.sign_in(row.username, row.password)
    for answer in row.answers:
        assert ("FinBank asks", "Confirm") == (page.title, page.now), page.text
        assert row.pictures == sum(map(is_picture, page.images)) == len(page.images)
        asked = page.text
        page = await desk.answer(answer)
        assert asked != page.text
    return page


def is_picture(source: str) -> bool:
    """Tell whether a source is a whole PNG: its size is said, and as many bytes of it are there."""
    kind, _, text = source.partition(";base64,")
    content = base64.b64decode(text, validate=True)
    width, height, depth, colours = struct.unpack(">IIBB", content[16:26])
    at, packed = 8, b""
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        packed += content[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        at += length + 12
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    return (
        kind == "data:image/png"
        and content.startswith(b"\x89PNG\r\n\x1a\n")
        and len(zlib.decompress(packed)) == height * (1 + (width * samples * depth + 7) // 8)
    )


async def is_untouched(desk: Desk) -> bool:
    """Tell whether nothing is linked, here and at the bank."""
    connector = desk.context.connectors["finicity"]
    enrolled = await desk.superuser.fetchval("SELECT max(aggregator_customer_id) FROM enrolments")
    listed = () if enrolled is None else await connector.list_accounts(enrolled)
    return await desk.superuser.fetchval("SELECT count(*) FROM connections") == 0 and not listed


def shows(page: Page, code: int) -> bool:
    """Tell whether a page says what a code means: as what is wrong, or as the reason why a form is shown again."""
    return read_code(code).words in page.text and (
        f"Code {code}" in page.text or [read_code(code).words] == page.alerts
    )


@pytest.mark.parametrize("name", ROWS)
async def test_widget_lets_in_and_repairs(desk: Desk, name: str) -> None:
    """A row that lets somebody in links; a new password breaks that login, and the row's own repairs it."""
    row = ROWS[name]
    page = await desk.add()
    assert ("Sign in to FinBank", ["Banking Userid", "Banking Password"]) == (page.title, list(page.labels.values()))
    page = await let_in(desk, row)
    assert "Choose accounts" == page.title, page.text
    assert await is_untouched(desk)
    page = await desk.browser.press(LINK)
    assert "FinBank is linked." in page.text
    await desk.work()
    bank_account_id = await desk.newest()
    assert ("active", 0) == await desk.standing(bank_account_id)

    await desk.fix(bank_account_id)
    await desk.browser.press(AGAIN)
    page = await desk.sign_in(row.username, "an old one")
    assert ("Sign in to FinBank", [read_code(103).words]) == (page.title, page.alerts)
    await desk.work()
    assert ("needs_person", 103) == await desk.standing(bank_account_id)
    page = await desk.fix(bank_account_id)
    assert shows(page, 103)
    await desk.browser.press("Sign in again")
    page = await let_in(desk, row)
    assert "FinBank works again." in page.text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    lines = [("added", None), ("refreshed", 0), ("broken", 103), ("reconnected", 0)]
    assert lines == await desk.history(bank_account_id)
    assert bank_account_id == await desk.newest()


@pytest.mark.parametrize("code", [103, 123, 125, 127, 128, 130])
async def test_widget_shows_what_fails(desk: Desk, code: int) -> None:
    """A row that fails says why and what helps; nothing of it is kept for a new login, and all of it for one that exists."""
    wrong = ("invalid_user", "go") if code == 103 else ("demo", str(code))
    meaning = read_code(code)
    await desk.add()
    page = await desk.sign_in(*wrong)
    assert shows(page, code)
    assert ("Sign in at FinBank" if code == 103 else "Try again") in page.buttons
    assert await is_untouched(desk)
    if code != 103:
        assert meaning.todo in page.text
        assert shows(await desk.browser.press("Try again"), code)
        await desk.add()
    page = await desk.sign_in("demo", "go")
    await desk.browser.press(LINK)
    await desk.work()
    bank_account_id = await desk.newest()

    await desk.fix(bank_account_id)
    await desk.browser.press(AGAIN)
    assert shows(await desk.sign_in(*wrong), code)
    await desk.work()
    assert (meaning.state, code) == await desk.standing(bank_account_id)
    page = await desk.fix(bank_account_id)
    assert shows(page, code)
    assert meaning.todo in page.text
    await desk.browser.press("Sign in again" if code == 103 else AGAIN)
    assert "FinBank works again." in (await desk.sign_in("demo", "go")).text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    broken = [("broken", 103), ("reconnected", 0)] if code == 103 else []
    assert [("added", None), ("refreshed", 0), *broken] == await desk.history(bank_account_id)


async def test_widget_shows_a_wrong_answer(desk: Desk) -> None:
    """The answer "fail" is 187, here and there; the question comes again, and the right answer goes on."""
    await desk.add()
    await desk.sign_in("tfa_choice", "go")
    page = await desk.answer("3")
    assert shows(page, 187)
    assert await is_untouched(desk)
    page = await desk.browser.press("Answer the bank's question")
    assert "FinBank asks" == page.title
    await desk.answer("0")
    await desk.browser.press(LINK)
    await desk.work()
    bank_account_id = await desk.newest()

    await desk.fix(bank_account_id)
    assert "FinBank asks" == (await desk.browser.press("Ask the bank now")).title
    assert shows(await desk.answer("3"), 187)
    await desk.work()
    assert ("needs_person", 187) == await desk.standing(bank_account_id)
    assert shows(await desk.fix(bank_account_id), 187)
    await desk.browser.press("Answer the bank's question")
    assert "FinBank works again." in (await desk.answer("1")).text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    lines = [("added", None), ("refreshed", 0), ("needs_mfa", 187), ("reconnected", 0)]
    assert lines == await desk.history(bank_account_id)


async def test_widget_waits_for_a_slow_bank(desk: Desk) -> None:
    """While a bank takes its time the page says so, offers nothing twice, and goes on by itself."""
    await desk.add()
    page = await desk.browser.send("Sign in at FinBank", **{"field-0": "discovertimeout", "field-1": "go"})
    assert "FinBank is being asked. Most banks answer in seconds, some take up to three minutes." in page.text
    assert ["Leave"] == page.buttons
    page = await desk.browser.wait()
    assert ("Choose accounts", "Accounts") == (page.title, page.now)
    await desk.browser.press(LINK)
    await desk.work()
    assert [("added", None), ("refreshed", 0)] == await desk.history(await desk.newest())


async def test_widget_asks_for_everything(desk: Desk) -> None:
    """Name on the account, bank URL, username, password, token ID with the time left, and security answers."""
    page = await desk.add(TOKEN_BANK)
    form = ["Name on the account", "Bank or credit card URL", "Banking Userid", "Banking Password"]
    assert form == list(page.labels.values())
    page = await desk.sign_in(*EVERYTHING)
    assert ["Enter the token ID that your device shows now."] == list(page.labels.values())
    assert "The code is good for another 2 min 5" in page.text or "The code is good for another 3 min 0" in page.text
    await desk.finbank.control("POST", "faults", expireCodes=True)
    page = await desk.answer("123456")
    assert shows(page, 185)
    page = await desk.browser.press("Answer the bank's question")
    assert ["Enter the token ID that your device shows now."] == list(page.labels.values())
    page = await desk.answer("123456")
    asked = ["What is the first name of your oldest cousin?", "On which street did you grow up?"]
    assert asked == list(page.labels.values())
    assert "good for another" not in page.text
    await desk.answer("Kim", "Elm Street")
    await desk.browser.press(LINK)
    await desk.work()
    bank_account_id = await desk.newest()
    assert ("active", 0) == await desk.standing(bank_account_id)

    await desk.fix(bank_account_id)
    await desk.browser.press(AGAIN)
    await desk.sign_in(*EVERYTHING)
    await desk.finbank.control("POST", "faults", expireCodes=True)
    assert shows(await desk.answer("123456"), 185)
    await desk.work()
    assert ("needs_person", 185) == await desk.standing(bank_account_id)
    await desk.fix(bank_account_id)
    await desk.browser.press("Answer the bank's question")
    await desk.answer("123456")
    assert "FinBank Token & Questions works again." in (await desk.answer("Kim", "Elm Street")).text
    await desk.work()
    lines = [("added", None), ("refreshed", 0), ("needs_mfa", 185), ("reconnected", 0)]
    assert lines == await desk.history(bank_account_id)


async def test_widget_asks_the_bank_for_a_new_code(desk: Desk) -> None:
    """Whoever has no code yet has the bank ask anew, with what was typed; the page counts the time left."""
    await desk.add(TOKEN_BANK)
    page = await desk.sign_in(*EVERYTHING)
    assert 'data-until="' in page.source
    page = await desk.browser.press(NEW_CODE)
    assert ("FinBank Token & Questions asks", "Confirm") == (page.title, page.now)
    assert "The code is good for another" in page.text
    await desk.answer("123456")
    assert "Choose accounts" == (await desk.answer("Kim", "Elm Street")).title
