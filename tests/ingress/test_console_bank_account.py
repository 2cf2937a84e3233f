"""The console's page of one bank account: standing, accounts, history, the open case, and what to say on the telephone."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from ingress.console.bank_accounts import MOST_LINES
from tests.ingress.visitor import Visitor, add_user, said
from tests.seed import make_tenant

BEGAN_AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


async def add_institution(visitor: Visitor, **columns: object) -> int:
    """Add an institution."""
    usual = {"connector": "finicity", "aggregator_id": "7", "name": "First Bank", "phone": "1-208-555-0132"}
    return await visitor.insert("institutions", **usual | columns)


async def add_lines(visitor: Visitor, connection_id: int, *lines: tuple[str, int | None]) -> None:
    """Write lines of a history, each three hours after the one before; a repair mends what broke just before."""
    for number, (kind, code) in enumerate(lines):
        at = BEGAN_AT + number * timedelta(hours=3)
        await visitor.insert(
            "connection_history",
            customer_id=visitor.tenant.customer_id,
            connection_id=connection_id,
            at=at,
            kind=kind,
            status_code=code,
            broken_since=at - timedelta(hours=3) if kind == "reconnected" else None,
        )


@pytest.fixture
async def broken(visitor: Visitor) -> int:
    """A bank account whose password is another one now."""
    institution = await add_institution(visitor)
    return await visitor.add_connection(state="needs_person", status_code=103, institution_id=institution)


async def test_the_page_says_how_it_stands_and_what_to_do(visitor: Visitor, broken: int) -> None:
    """State, cause, code, next step, who acts and how the bank is reached are there, with the buttons."""
    page = await visitor.look(f"/console/bank-accounts/{broken}")
    text = said(page.text)
    for words in (
        "Bankfeed First Bank",
        "needs you The bank refused the user name or password; enter them again. Code 103, invalid credentials",
        "What to do Check that they work at the bank's own site, then enter them in the bank account's repair.",
        "Who acts The account holder acts: sign in to the bank here.",
        "1-208-555-0132",
        "Open the repair Delete",
    ):
        assert words in text
    assert "support case" not in text.lower()


async def test_the_page_of_a_bank_that_is_well_says_so(visitor: Visitor) -> None:
    """All Data Received is all that there is to say of one that works; it has no code and nobody acts."""
    text = said((await visitor.look(f"/console/bank-accounts/{await visitor.add_connection()}")).text)
    assert "How it stands All Data Received Client" in text
    assert "Who acts" not in text


async def test_the_history_is_a_timeline_with_the_time_to_repair(visitor: Visitor, broken: int) -> None:
    """Each line says when, what and why, the newest first; a repair says how long it was broken."""
    await add_lines(
        visitor,
        broken,
        *(
            ("added", None),
            ("refreshed", 0),
            ("broken", 103),
            ("reconnected", 0),
            ("needs_mfa", 185),
            ("deleted", None),
        ),
    )
    page = await visitor.look(f"/console/bank-accounts/{broken}")
    [timeline] = re.findall(r'<ol class="timeline".*?</ol>', page.text, re.DOTALL)
    assert [
        "2026-03-02 00:00 UTC Deleted The bank account is no longer linked; its history is kept.",
        "2026-03-01 21:00 UTC Needs MFA The bank asks a security question or code; answer it. Code 185, security question or code",
        "2026-03-01 18:00 UTC Reconnected All Data Received Time to repair: 3 hours.",
        "2026-03-01 15:00 UTC Broken The bank refused the user name or password; enter them again. Code 103, invalid credentials",
        "2026-03-01 12:00 UTC Refreshed All Data Received",
        "2026-03-01 09:00 UTC Added The bank account was linked.",
    ] == [said(line) for line in re.findall(r"<li>.*?</li>", timeline, re.DOTALL)]
    assert "Repaired 1 time, on average after 3 hours." in said(page.text)


async def test_a_long_history_is_shown_in_pages(visitor: Visitor, broken: int) -> None:
    """The newest lines are shown, and a link leads to the older ones, none of them twice."""
    await add_lines(visitor, broken, ("added", None), *[("refreshed", 0)] * MOST_LINES)
    page = await visitor.look(f"/console/bank-accounts/{broken}")
    assert (MOST_LINES, 0) == (page.text.count("<strong>Refreshed"), page.text.count("<strong>Added"))
    [older] = re.findall(r'href="([^"]+)#history">Older', page.text)
    page = await visitor.look(older)
    assert (0, 1) == (page.text.count("<strong>Refreshed"), page.text.count("<strong>Added"))
    assert ">Older<" not in page.text


async def test_accounts_are_listed_with_their_state(visitor: Visitor, broken: int) -> None:
    """Closed and hidden accounts are here too, and say so."""
    await visitor.add_account(connection_id=broken, name="Open")
    await visitor.add_account(connection_id=broken, name="Hidden", is_hidden=True)
    await visitor.add_account(connection_id=broken, name="Closed", state="closed", closed_at=BEGAN_AT)
    text = said((await visitor.look(f"/console/bank-accounts/{broken}")).text)
    for words in (
        "Open 1234 checking open",
        "Hidden 1234 checking open, hidden for good",
        "Closed 1234 checking closed",
    ):
        assert words in text


async def test_the_script_has_the_banks_name_and_leads_on(visitor: Visitor, broken: int) -> None:
    """What to say begins with the bank's own site, names the bank, and each answer leads to a step that is on the page."""
    page = await visitor.look(f"/console/bank-accounts/{broken}")
    sentences = [said(each) for each in re.findall(r"<q>.*?</q>", page.text, re.DOTALL)]
    assert sentences[0].startswith("Before we change anything here: please open First Bank's own site")
    assert all("First Bank" in each for each in sentences)
    assert "Yes, I can: go to 2" in said(page.text)
    targets = re.findall(r'href="#([^"]+)"', page.text)
    assert targets
    assert all(f'id="{target}"' in page.text for target in targets)


async def test_an_open_case_is_named(visitor: Visitor, broken: int) -> None:
    """The page leads to the case that is open about the bank account."""
    case_id = await visitor.open_case(broken)
    page = await visitor.look(f"/console/bank-accounts/{broken}")
    assert f'<a href="/console/cases#case-{case_id}">Case {case_id} is open</a>' in page.text


async def test_a_hostile_name_stays_text(visitor: Visitor) -> None:
    """What a bank and a client are called is neither markup nor able to turn the text around it."""
    hostile = "<script>alert(1)</script> \u202eevil\" onload='x' &amp; {{ 7*7 }}"
    institution = await add_institution(visitor, name=hostile, phone=hostile, url=hostile)
    await visitor.superuser.execute("UPDATE clients SET name = $1", hostile)
    connection_id = await visitor.add_connection(state="needs_person", status_code=103, institution_id=institution)
    await visitor.add_account(connection_id=connection_id, name=hostile)
    await visitor.open_case(connection_id, note=hostile, convenient_time=hostile)
    for path in (f"/console/bank-accounts/{connection_id}", "/console/cases", "/console/banks"):
        page = await visitor.look(path)
        assert 200 == page.status
        assert "<script>alert" not in page.text
        assert "onload='" not in page.text
        assert "49" not in said(page.text).replace("{{ 7*7 }}", "")
        assert unescape(page.text).count("{{ 7*7 }}") > 0 or path.endswith("banks")


@pytest.mark.parametrize("path", ["/console/bank-accounts/{}", "/console/bank-accounts/{}/delete"])
async def test_another_firms_bank_account_is_not_there(visitor: Visitor, broken: int, path: str) -> None:
    """Ids of others, of nothing and of no form are 404 alike; without a session it is the sign-in page."""
    other = await make_tenant(visitor.database, visitor.sources)
    await add_user(visitor.database, other, "eve@other.example")
    hers = await visitor.begin_session(other)
    answers = [await visitor.get(path.format(broken), hers)]
    answers += [await visitor.look(path.format(wrong)) for wrong in ("0", "x", "9" * 40, "%D9%A1", str(broken + 1))]
    assert [404] * 6 == [page.status for page in answers]
    assert 1 == len({page.text for page in answers})
    assert "/sign-in" == (await visitor.get(path.format(broken))).headers["Location"]
