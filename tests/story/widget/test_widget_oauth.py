"""Banks with a page of their own: the way there and back, a refusal, a stranger's answer, the same login again, a migration."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from bankfeed.health import read_code
from tests.story.widget.browser import Browser
from tests.story.widget.conftest import ACCOUNTS, Desk

WEST, HERITAGE = 102176, 102252
LINK = "Link these accounts"
GO = "Go to FinBank West"


async def count_connections(desk: Desk) -> int:
    found: int = await desk.superuser.fetchval("SELECT count(*) FROM connections")
    return found


async def test_widget_links_at_the_banks_own_page(desk: Desk) -> None:
    """The page has a link, no form; who agrees there comes back to the accounts, and links what is chosen of them."""
    page = await desk.add(WEST)
    assert ("Sign in at FinBank West's own page", "Sign in") == (page.title, page.now)
    assert {} == page.labels
    assert f"{urlsplit(page.url).path}/go" == page.links[GO]
    page = await desk.consent("allow", "checking", "savings")
    assert ("Choose accounts", "Accounts") == (page.title, page.now)
    assert 2 == page.text.count("\N{HORIZONTAL ELLIPSIS}")
    page = await desk.browser.press(LINK)
    assert "FinBank West is linked." in page.text
    await desk.work()
    assert ("active", 0) == await desk.standing(await desk.newest())
    assert [("added", None), ("refreshed", 0)] == await desk.history(await desk.newest())


async def test_widget_takes_a_refusal_for_no_link(desk: Desk) -> None:
    """Who declines at the bank is told that the sign-in was not finished, and can begin again or leave with nothing."""
    await desk.add(WEST)
    page = await desk.consent("decline")
    assert read_code(10814).words in page.text
    page = await desk.browser.press("Try again")
    assert GO in page.links
    assert 0 == await count_connections(desk)
    assert "Choose accounts" == (await desk.consent()).title


async def test_widget_goes_on_once_for_each_way_back(desk: Desk) -> None:
    """What comes back counts once and with its own state; with another one, or later, it opens nobody's page."""
    await desk.add(WEST)
    link, at = desk.browser.page.links[GO], desk.browser.page.url
    back = await desk.browser.decide(link, "allow", *ACCOUNTS)
    parts = urlsplit(back)
    [state] = parse_qs(parts.query)["state"]
    async with aiohttp.ClientSession() as elsewhere:  # a browser that never went to the bank
        page = await Browser(elsewhere).open(back)
    assert (404, "This page leads nowhere") == (page.status, page.title)
    assert state not in at
    altered = state[:-1] + ("0" if state[-1] != "0" else "1")
    for wrong in (back.replace(state, altered), back.replace(state, ""), back.replace(state, at.rpartition("/")[2])):
        page = await desk.browser.open(wrong)
        assert (404, "This page leads nowhere") == (page.status, page.title)
    assert "Sign in at FinBank West's own page" == (await desk.browser.open(at)).title
    await desk.browser.open(back)
    page = await desk.browser.wait()
    assert (at, "Choose accounts") == (page.url, page.title)
    page = await desk.browser.open(back)
    assert (410, "That was done already") == (page.status, page.title)
    assert at.rpartition("/")[2] not in page.source + page.url
    assert "Choose accounts" == (await desk.browser.open(at)).title


async def test_widget_takes_no_code_that_the_bank_did_not_give(desk: Desk) -> None:
    """A code that somebody made up is refused by the bank, and the page says so."""
    await desk.add(WEST)
    back = await desk.browser.decide(desk.browser.page.links[GO], "allow", *ACCOUNTS)
    [code] = parse_qs(urlsplit(back).query)["code"]
    await desk.browser.open(back.replace(code, "made-up"))
    page = await desk.browser.wait()
    assert read_code(12003).words in page.text
    assert 0 == await count_connections(desk)


async def test_widget_knows_a_login_of_the_banks_own_page(desk: Desk) -> None:
    """Linked again it is renewed: by choice at once, and also where another sign-in was wanted and the same came."""
    bank_account_id = await desk.link(ref=WEST)
    page = await desk.add(WEST)
    assert "FinBank West is linked already" == page.title
    [renew] = [name for name in page.buttons if name.startswith("Renew FinBank West (")]
    await desk.browser.press(renew)
    page = await desk.consent()
    assert "its sign-in is renewed and everything else stays as it was" in page.text
    assert "updated" == (await desk.session())["outcome"]
    for ticked in (ACCOUNTS, ACCOUNTS[:1]):
        await desk.add(WEST)
        await desk.browser.press("Add another sign-in")
        page = await desk.consent("allow", *ticked)
        if ticked == ACCOUNTS:
            assert ["These accounts are linked already. Sign in at the bank once more to renew them."] == page.alerts
        else:
            assert "Some of these accounts look like ones that are linked already." in page.text
            await desk.browser.press(renew)
        assert "its sign-in is renewed" in (await desk.consent()).text
    await desk.work()
    assert (1, bank_account_id) == (await count_connections(desk), await desk.newest())
    assert ("active", 0) == await desk.standing(bank_account_id)


async def test_widget_adds_what_was_not_ticked_before(desk: Desk) -> None:
    """An account that was left out at first is added by another consent, and those that are linked are not offered."""
    await desk.add(WEST)
    await desk.consent("allow", "checking")
    await desk.browser.press(LINK)
    await desk.work()
    await desk.add(WEST)
    await desk.browser.press("Add another sign-in")
    await desk.consent()
    page = await desk.browser.press("Add another sign-in")
    assert ("Choose accounts", 1) == (page.title, page.text.count("looks like one that is linked already"))
    assert 2 == sum(name.startswith("account-") for name in page.form(LINK).values)
    await desk.browser.press(LINK)
    await desk.work()
    accounts = await desk.superuser.fetch("SELECT type FROM accounts WHERE state = 'open' ORDER BY type")
    assert ["checking", "creditCard", "savings"] == [row["type"] for row in accounts]


@pytest.mark.parametrize(("decision", "ticked"), [("decline", ACCOUNTS), ("allow", ("checking",))])
async def test_widget_needs_the_whole_consent_to_repair(desk: Desk, decision: str, ticked: tuple[str, ...]) -> None:
    """Who declines, or leaves an account out, has taken the consent away: the bank account says so, until it is given."""
    bank_account_id = await desk.link(ref=WEST)
    await desk.damage(bank_account_id, 947)
    await desk.fix(bank_account_id)
    await desk.browser.press("Go to the bank's own page")
    page = await desk.consent(decision, *ticked)
    assert read_code(945 if decision == "allow" else 10814).words in page.text
    await desk.work()
    assert ("needs_person", 945) == await desk.standing(bank_account_id)
    page = await desk.fix(bank_account_id)
    assert read_code(945).words in page.text
    await desk.browser.press("Go to the bank's own page")
    assert "FinBank West works again." in (await desk.consent()).text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    lines = [("broken", 947), ("broken", 945), ("reconnected", 0)]
    assert lines == (await desk.history(bank_account_id))[2:]


async def test_widget_renews_a_bank_that_migrates(desk: Desk) -> None:
    """A bank that moves to a page of its own: 948, and after the consent the same ids, rows, entries, names, hidden ones.

    It has moved for good: no other story is at this bank.
    """
    bank_account_id = await desk.link(ref=HERITAGE)
    await desk.own(bank_account_id)
    before = await desk.look()

    await desk.add(HERITAGE)  # the form is open when the bank moves
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}"
    await desk.finbank.control("POST", f"institutions/{HERITAGE}/migrate", until=until)
    page = await desk.sign_in("ann@example.com", "go")
    assert ("Sign in at FinBank Heritage's own page", [read_code(948).words]) == (page.title, page.alerts)
    await desk.browser.press("Leave")

    await desk.finbank.control("POST", "aggregate", loginId=await desk.login(bank_account_id))
    await desk.refresh(bank_account_id)
    assert ("needs_person", 948) == await desk.standing(bank_account_id)
    page = await desk.fix(bank_account_id)
    assert read_code(948).words in page.text
    await desk.browser.press("Go to the bank's own page")
    assert "FinBank Heritage works again." in (await desk.consent()).text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    assert [("broken", 948), ("reconnected", 0)] == (await desk.history(bank_account_id))[2:]
    assert before == await desk.look()
