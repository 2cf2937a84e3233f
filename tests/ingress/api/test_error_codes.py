"""/error-codes: what every code means, for programs and, as a page, for people."""

import re
from html import unescape

import aiohttp
import pytest

from bankfeed.health import CATALOGUES, Catalogue, list_meanings
from ingress.console.door import HEADERS
from tests.ingress.api.conftest import Person

COLUMNS = ["Error Code", "Description", "Error Message", "What you can do"]


@pytest.mark.parametrize("catalogue", Catalogue)
async def test_the_codes_are_everybodys(api: Person, catalogue: Catalogue) -> None:
    """Without a token each documented code of a catalogue is listed once, in words, with the next step and who acts."""
    said = await api.as_nobody().get("/error-codes", catalogue=catalogue.value)
    assert (200, catalogue.value) == (said.status, said.body["catalogue"])
    codes = said.body["errorCodes"]
    assert sorted(CATALOGUES[catalogue]) == [each["code"] for each in codes]
    assert "All Data Received" == codes[0]["message"]
    assert all(each["description"] and each["message"] and each["nextStep"] for each in codes)


async def test_a_code_says_who_acts_and_where(api: Person) -> None:
    """The catalogue is Finicity's where none is named."""
    said = await api.as_nobody().get("/error-codes")
    found = next(each for each in said.body["errorCodes"] if each["code"] == 103)
    assert {
        "code": 103,
        "state": "needs_person",
        "description": "Invalid credentials",
        "message": "The bank refused the user name or password; enter them again.",
        "nextStep": "Check that they work at the bank's own site, then enter them in the bank account's repair.",
        "whoActs": "person_credentials",
        "step": "credentials",
        "isRetryable": False,
        "isFixable": True,
    } == found


async def test_another_catalogue_is_refused(api: Person) -> None:
    """A name that is none is an error that names the parameter."""
    said = await api.as_nobody().get("/error-codes", catalogue="plaid")
    assert (422, "catalogue") == (said.status, said.body["field"])


async def test_the_page_has_every_code_with_what_to_do(api: Person) -> None:
    """Two tables with the four columns; each code is a row with an address of its own; everybody may read it."""
    url = f"http://127.0.0.1:{api.ingress.settings.port}/error-codes"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        assert (200, "text/html") == (answer.status, answer.content_type)
        assert HEADERS == {name: answer.headers[name] for name in HEADERS}
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    for table, catalogue, prefix in zip(tables, Catalogue, ("code", "yodlee"), strict=True):
        assert re.search(r"<caption>\S", table)
        assert COLUMNS == re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table)
        rows = re.findall(rf'id="{prefix}-(\d+)">(.*?)</tr>', table, re.DOTALL)
        assert [
            (code, [str(code), meaning.title, meaning.words, meaning.todo])
            for code, meaning in list_meanings(catalogue)
        ] == [(int(code), read_cells(row)) for code, row in rows]
        assert all('<th scope="row"' in row for _, row in rows)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", text)


def read_cells(row: str) -> list[str]:
    cells = re.findall(r"<(?:th|td)[^>]*>(.*?)</(?:th|td)>", row, re.DOTALL)
    return [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in cells]
