"""What must not go wrong with somebody's login: never another's credentials, never a second copy, nothing after leaving."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bankfeed.aggregators.finicity import Finicity
from bankfeed.aggregators.linking import Offer
from bankfeed.errors import AggregatorError
from ingress.widget import desk as widget_desk
from tests.story.widget.browser import Browser
from tests.story.widget.conftest import Desk

LINK = "Link these accounts"


def connector(desk: Desk) -> Finicity:
    return desk.ingress.widget._desk.parts.connectors["finicity"]  # type: ignore[return-value]


async def logins_at_the_bank(desk: Desk) -> set[str]:
    ref = await desk.superuser.fetchval("SELECT aggregator_customer_id FROM enrolments")
    return {each.login_ref for each in await desk.context.connectors["finicity"].list_accounts(ref)}


async def link_checking(desk: Desk, username: str) -> int:
    """Link the checking account of somebody alone."""
    await desk.add()
    page = await desk.sign_in(username, "go")
    form = page.form(LINK)
    form.values = {name: text for name, text in form.values.items() if name not in ("account-1", "account-2")}
    await desk.browser.press(LINK)
    await desk.work()
    return await desk.newest()


@pytest.mark.parametrize("digits", ["4321", ""])
async def test_widget_gives_no_login_the_credentials_of_another(
    desk: Desk, digits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people's checking accounts end alike, or are without a number: the person is asked, and both are linked in the end."""
    first = await link_checking(desk, "alice@example.com")
    await desk.superuser.execute("UPDATE accounts SET number_display = $1", digits)
    bank, changed = connector(desk), list[str]()
    discover, change = bank.discover, bank.change_credentials

    async def alike(*args: Any) -> Any:
        said = await discover(*args)
        assert isinstance(said, Offer)
        return Offer(
            accounts=tuple(
                replace(each, number_display=digits) if each.type == "checking" else each for each in said.accounts
            )
        )

    async def note(customer_ref: str, login_ref: str, credentials: Any) -> None:
        changed.append(login_ref)
        await change(customer_ref, login_ref, credentials)

    monkeypatch.setattr(bank, "discover", alike)
    monkeypatch.setattr(bank, "change_credentials", note)
    await desk.add()
    page = await desk.sign_in("bob@example.com", "go")
    if digits:
        assert "Is it the same sign-in?" in page.text
        page = await desk.browser.press("Add another sign-in")
        form = page.form(LINK)
        assert "account-0" not in form.values
        form.values["account-0"] = "on"
    await desk.browser.press(LINK)
    await desk.work()
    assert [] == changed
    assert (2, "active") == (
        await desk.superuser.fetchval("SELECT count(*) FROM connections"),
        (await desk.standing(first))[0],
    )
    assert 2 == len(await logins_at_the_bank(desk))


async def test_widget_links_once_what_two_openings_link_at_once(desk: Desk) -> None:
    """Both pages offer the accounts, both buttons are pressed in the same moment: one login, one bank account."""
    pages = []
    for _ in range(2):
        await desk.add()
        await desk.sign_in("demo", "go")
        pages.append(desk.browser.page.url)
    browsers = [Browser(desk.api.session) for _ in pages]
    for browser, url in zip(browsers, pages, strict=True):
        await browser.open(url)
    await asyncio.gather(*(browser.press(LINK) for browser in browsers))
    for browser in browsers:
        if LINK in browser.page.buttons:
            await browser.press(LINK)
    assert {"Done"} == {browser.page.title for browser in browsers}
    await desk.work()
    assert 1 == await desk.superuser.fetchval("SELECT count(*) FROM connections")
    assert 1 == len(await logins_at_the_bank(desk))


async def test_widget_takes_over_what_was_linked_without_an_answer(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The aggregator linked and its answer was lost: who tries again finds the accounts linked, once."""
    bank = connector(desk)
    link = bank.link

    async def lose(*args: Any) -> Any:
        await link(*args)
        raise AggregatorError("Finicity could not be reached to link accounts: TimeoutError")

    await desk.add()
    await desk.sign_in("demo", "go")
    monkeypatch.setattr(bank, "link", lose)
    page = await desk.browser.press(LINK)
    assert "could not be asked just now" in page.text
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM connections")
    monkeypatch.setattr(bank, "link", link)
    await desk.browser.press("Try again")
    await desk.sign_in("demo", "go")
    page = await desk.browser.press(LINK)
    assert "Done" == page.title
    await desk.work()
    assert (1, 3) == (
        await desk.superuser.fetchval("SELECT count(*) FROM connections"),
        await desk.superuser.fetchval("SELECT count(*) FROM accounts"),
    )
    assert 1 == len(await logins_at_the_bank(desk))


async def test_widget_knows_a_login_that_only_an_event_told_of(desk: Desk) -> None:
    """Before its first update nobody knows the bank of a login; the aggregator does, so that it is not linked twice."""
    await desk.add()
    await desk.sign_in("demo", "go")
    await desk.browser.press(LINK)
    await desk.superuser.execute("UPDATE connections SET institution_id = NULL")
    await desk.add()
    page = await desk.sign_in("demo", "go")
    assert "FinBank was linked already" in page.text
    await desk.work()
    assert 1 == len(await logins_at_the_bank(desk))


async def test_widget_does_nothing_more_for_who_has_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves while the bank is asked has changed nothing: the known login keeps its credentials."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 103)
    bank, entered, gate, changed = connector(desk), asyncio.Event(), asyncio.Event(), list[str]()
    discover = bank.discover

    async def slow(*args: Any) -> Any:
        entered.set()
        await gate.wait()
        return await discover(*args)

    async def note(customer_ref: str, login_ref: str, credentials: Any) -> None:
        changed.append(login_ref)

    monkeypatch.setattr(bank, "discover", slow)
    monkeypatch.setattr(bank, "change_credentials", note)
    monkeypatch.setattr(widget_desk, "GLANCE_S", 0.0)
    await desk.add()
    await desk.browser.send("Sign in at FinBank", **{"field-0": "demo", "field-1": "go"})
    await entered.wait()
    page = await desk.browser.press("Leave")
    assert "Nothing was changed" == page.title
    gate.set()
    await desk.ingress.widget.close(limit_s=10)
    assert [] == changed
    assert ("needs_person", 103) == await desk.standing(bank_account_id)


async def test_widget_address_is_not_used_up_by_looking(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEAD, as programs that look at mails make, opens nothing; nor does an opening that could not show anything."""
    url = await desk.ask("add-lite", clientId=desk.api.client_id, institutionId=await desk.institution())
    async with desk.api.session.head(url, allow_redirects=False) as answer:
        assert 405 == answer.status
    monkeypatch.setattr(widget_desk, "MOST_CALLS", 0)
    assert 503 == (await desk.browser.open(url)).status
    monkeypatch.undo()
    await desk.browser.open(url)
    assert "Sign in to FinBank" == (await desk.browser.wait()).title


async def test_widget_counts_tries_for_all_openings(desk: Desk) -> None:
    """Asking again counts too, and a new address begins with what was tried: the bank would lock the login."""
    await desk.add()
    await desk.sign_in("demo", "130")
    await desk.superuser.execute("UPDATE widget_sessions SET tries = 20")
    page = await desk.browser.press("Try again")
    assert ["That was tried too often. Try again in an hour, or tell your bookkeeper."] == page.alerts
    await desk.add()
    page = await desk.sign_in("demo", "go")
    assert ["That was tried too often. Try again in an hour, or tell your bookkeeper."] == page.alerts


async def test_widget_repairs_nothing_that_was_deleted(desk: Desk) -> None:
    """The bank account goes while its repair is open: the page ends, and nothing is linked by it."""
    bank_account_id = await desk.link()
    page = await desk.fix(bank_account_id)
    assert page.buttons
    assert 200 == (await desk.api.delete(f"/bank-accounts/{bank_account_id}")).status
    page = await desk.browser.open(page.url)
    assert ("Nothing was changed", []) == (page.title, page.forms)


async def test_widget_report_takes_any_letters(desk: Desk) -> None:
    """What no telephone has and Postgres does not take is left out of a report."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 103)
    await desk.fix(bank_account_id)
    await desk.superuser.execute("UPDATE widget_sessions SET step = 'support' WHERE ended_at IS NULL")
    await desk.browser.open(desk.browser.page.url)
    page = await desk.browser.press("Send to support", telephone="555\x00 0100", convenient_time="\x00", note="a\x00b")
    assert "Support has what it needs and will reach you." in page.text
    [listed] = (await desk.api.get("/cases")).body["cases"]
    case = (await desk.api.get(f"/cases/{listed['id']}")).body["case"]
    assert ("555 0100", "ab") == (case["telephone"], case["note"])


async def test_widget_leaves_nothing_of_who_was_deleted_while_enrolled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aggregator makes the customer, and the client is deleted before that is noted: the customer is deleted there too."""
    bank, made = connector(desk), list[str]()
    create = bank.create_customer

    async def make(name: str) -> str:
        made.append(await create(name))
        assert 202 == (await desk.api.delete(f"/clients/{desk.api.client_id}")).status
        return made[0]

    monkeypatch.setattr(bank, "create_customer", make)
    await desk.superuser.execute("DELETE FROM enrolments")
    await desk.add()
    page = await desk.sign_in("demo", "go")
    assert "cannot be linked at the moment" in page.text
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM enrolments")
    await desk.remove()
    rows = await desk.superuser.fetch("SELECT aggregator_customer_id, state::text FROM removals")
    assert [(made[0], "gone")] == [tuple(row) for row in rows]
