"""The console's pages of open cases and of banks in trouble."""

import re
from datetime import date

import pytest

from bankfeed.repair import Answer, StepName, Tried
from ingress.console.cases import MOST_CASES
from tests.ingress.visitor import Visitor, add_user, said
from tests.seed import make_tenant


@pytest.fixture
async def bank(visitor: Visitor) -> int:
    """An institution."""
    return await visitor.insert(
        "institutions", connector="finicity", aggregator_id="7", name="First Bank", phone="1-208-555-0132"
    )


@pytest.fixture
async def broken(visitor: Visitor, bank: int) -> int:
    """A bank account whose password is another one now."""
    return await visitor.add_connection(state="needs_person", status_code=103, institution_id=bank)


async def test_no_case_is_said_in_words(visitor: Visitor) -> None:
    """An empty page says what will appear on it."""
    assert "No case is open." in (await visitor.look("/console/cases")).text


async def test_a_case_is_all_that_the_staff_needs(visitor: Visitor, broken: int) -> None:
    """Reason, what was tried, how the client is reached, the sentence to say with the bank's name, and who does what."""
    await visitor.open_case(
        broken,
        tried=(Tried(StepName.AT_BANK, Answer.YES), Tried(StepName.CHANGED, Answer.NO)),
        convenient_time="weekdays after 5 pm",
        note="Ring twice.",
    )
    text = said((await visitor.look("/console/cases")).text)
    for words in (
        "First Bank of Client",
        "Say: Our specialists are looking into First Bank, and call you on +1 555 0100, weekdays after 5 pm.",
        "Reason The bank refused the user name or password; enter them again. Code 103, invalid credentials",
        "Telephone +1 555 0100",
        "A good time weekdays after 5 pm",
        "Note Ring twice.",
        "Can you sign in at First Bank's own site? Yes, I can",
        "Do you have a new user name or password at First Bank since it was linked here? No, both are as they were",
        "Look into it: read the facts, and try the connection. support Mark done",
        "Be reachable at the number and time that you gave. the client Mark done",
    ):
        assert words in text


async def test_an_action_is_marked_done_and_the_case_closed(visitor: Visitor, broken: int) -> None:
    """What was done is shown as done, by whom it is known; a closed case is no longer listed, and its note is kept."""
    case_id = await visitor.open_case(broken)
    page = await visitor.look("/console/cases")
    first, second = re.findall(r'name="actionId" value="(\d+)"', page.text)
    assert 303 == (await visitor.press("/console/cases/done", caseId=case_id, actionId=first)).status
    page = await visitor.look("/console/cases")
    assert [second] == re.findall(r'name="actionId" value="(\d+)"', page.text)
    note = "\N{WAVING HAND SIGN}" * 1_990
    assert 303 == (await visitor.press("/console/cases/close", caseId=case_id, note=note)).status
    assert "No case is open." in (await visitor.look("/console/cases")).text
    row = await visitor.superuser.fetchrow("SELECT closed_by, closing_note FROM support_cases")
    user_id = await visitor.superuser.fetchval("SELECT id FROM users")
    assert (f"user:{user_id}", note) == tuple(row)
    again = await visitor.press("/console/cases/close", caseId=case_id, note="")
    assert 409 == again.status
    assert f"case {case_id} is closed" in again.text


async def test_too_long_a_note_is_refused(visitor: Visitor, broken: int) -> None:
    """A note beyond the limit is 400 and says how long it may be; the case stays open."""
    case_id = await visitor.open_case(broken)
    page = await visitor.press("/console/cases/close", caseId=case_id, note="x" * 2_001)
    assert 400 == page.status
    assert "at most 2000 characters, got 2001" in page.text
    assert f"case-{case_id}" in (await visitor.look("/console/cases")).text


async def test_many_cases_are_shown_in_pages(visitor: Visitor, bank: int) -> None:
    """The newest are shown, and a link leads to the older ones, none of them twice."""
    ids = [await visitor.open_case(await visitor.add_connection(institution_id=bank)) for _ in range(MOST_CASES + 1)]
    page = await visitor.look("/console/cases")
    shown = re.findall(r'<h2 id="case-(\d+)"', page.text)
    assert [str(each) for each in reversed(ids[1:])] == shown
    [older] = re.findall(r'href="([^"]+)">Older', page.text)
    assert [str(ids[0])] == re.findall(r'<h2 id="case-(\d+)"', (await visitor.look(older)).text)


async def test_no_bank_in_trouble_is_said_in_words(visitor: Visitor, broken: int) -> None:
    """Where each bank can be reached the page says so, whatever is wrong with a login."""
    assert "All banks of your clients can be reached" in said((await visitor.look("/console/banks")).text)


@pytest.mark.parametrize(
    ("status", "until", "words"),
    [
        ("offline", None, "First Bank cannot be reached There is nothing to do"),
        ("maintenance", None, "First Bank is under maintenance There is nothing to do"),
        (
            "migrating",
            date(2026, 5, 1),
            "First Bank moves to a new sign-in Its account holders have to sign in again until 2026-05-01.",
        ),
        ("gone", None, "First Bank is no longer there"),
        ("on_leave", None, "First Bank stands at on leave"),
    ],
)
async def test_a_bank_in_trouble_is_shown_with_whom_that_concerns(
    visitor: Visitor, bank: int, broken: int, status: str, until: date | None, words: str
) -> None:
    """An institution that is out of order or migrates is named once, with each client of the firm who has a login there."""
    other = await make_tenant(visitor.database, visitor.sources)
    await add_user(visitor.database, other, "eve@other.example")
    theirs = await visitor.add_connection(other, institution_id=bank)
    second = await visitor.add_connection(institution_id=bank)
    await visitor.superuser.execute("UPDATE institutions SET status = $1, migrates_until = $2", status, until)
    page = await visitor.look("/console/banks")
    assert words in said(page.text)
    assert [str(broken), str(second)] == re.findall(r'href="/console/bank-accounts/(\d+)"', page.text)
    hers = await visitor.get("/console/banks", await visitor.begin_session(other))
    assert [str(theirs)] == re.findall(r'href="/console/bank-accounts/(\d+)"', hers.text)


async def test_the_pages_lead_to_each_other(visitor: Visitor, broken: int) -> None:
    """Each page has the same links, and says which of them it is."""
    for path in ("/console", "/console/cases", "/console/banks"):
        page = await visitor.look(path)
        assert [path] == re.findall(r'<a href="([^"]+)" aria-current="page">', page.text)
        for leads_to in ("/console", "/console/cases", "/console/banks", "/error-codes"):
            assert f'<a href="{leads_to}"' in page.text
