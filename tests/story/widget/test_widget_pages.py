"""What holds of every page of the widget: who reads it, what is left when it is left, and what is done twice, too late or broken off."""

import asyncio

import pytest

from bankfeed.health import read_code
from tests.story.widget.browser import Browser, Page
from tests.story.widget.conftest import Desk

OAUTH_BANK, TOKEN_BANK = 102176, 102241
LINK = "Link these accounts"
TABLES = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"


def read(page: Page) -> tuple[str, str]:
    """See that everybody can read and use a page; return its title and which step it shows."""
    assert (200, "en", 1, []) == (page.status, page.language, page.titles, page.unlabelled), page.source
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page.source
    assert 1 == page.source.count('aria-current="step"')
    assert all(button.strip() for button in page.buttons)
    assert page.source.count("<img") == page.source.count('alt="')
    return page.title, page.now


async def test_widget_is_for_everybody(desk: Desk) -> None:
    """Each page has one heading, a language, a viewport, its step in the progress, and a label for whatever is typed."""
    browser = desk.browser
    assert ("Link a bank", "Bank") == read(await browser.open(await desk.ask("add", clientId=desk.api.client_id)))
    page = await browser.press("Search", q="nobody is called that")
    assert ("Link a bank", "Bank") == read(page)
    assert "No bank is called that. Try a shorter part of its name." in page.text
    page = await browser.press("Search", q="token")
    page = await browser.press(page.buttons[1])
    assert ("Sign in to FinBank Token & Questions", "Sign in") == read(page)
    assert ("Link a bank", "Bank") == read(await browser.press("Choose another bank"))
    page = await browser.press("Search", q="finbank west")
    page = await browser.press(page.buttons[1])
    assert ("Sign in at FinBank West's own page", "Sign in") == read(page)
    await browser.press("Choose another bank")
    page = await browser.press("Search", q="https://finbank.example")
    await browser.press(next(name for name in page.buttons if name.startswith("FinBank finbank.example")))
    assert ("FinBank did not let us in", "Sign in") == read(await desk.sign_in("demo", "123"))
    await browser.press("Try again")
    await browser.press("Choose another bank")
    for username, password in (("tfa_choice", "go"), ("tfa_image", "go"), ("demo", "imagechoice2"), ("tfa_text", "go")):
        await desk.add()
        assert ("FinBank asks", "Confirm") == read(await desk.sign_in(username, password))
    assert ("Choose accounts", "Accounts") == read(await desk.answer("Rex"))
    assert ("Done", "Done") == read(await browser.press(LINK))
    await desk.work()
    bank_account_id = await desk.newest()
    await desk.damage(bank_account_id, 103)
    assert ("FinBank", "What is wrong") == read(await desk.fix(bank_account_id))
    await browser.press("It still does not work")
    assert ("Let us find out what is wrong", "What is wrong") == read(browser.page)
    await desk.link(ref=OAUTH_BANK)
    assert ("FinBank West is linked already", "Bank") == read(await desk.add(OAUTH_BANK))


async def test_widget_leaves_nothing_where_it_is_left(desk: Desk) -> None:
    """Left on any page there is no connection, nothing at the aggregator, and an event; the page stays ended."""
    steps = {"credentials": (), "challenge": ("tfa_text", "go"), "accounts": ("demo", "go"), "trouble": ("demo", "123")}
    for step, typed in steps.items():
        page = await desk.add()
        if typed:
            page = await desk.sign_in(*typed)
        assert step == (await desk.session())["step"]
        kept = page.form("Leave")
        page = await desk.browser.press("Leave")
        assert ("Nothing was changed", []) == (page.title, page.forms)
        assert "You left before the end, and nothing of it was kept." in page.text
        session = await desk.session()
        assert ("left", "") == (session["outcome"], session["visit"])
        page.forms.append(kept)
        assert "Nothing was changed" == (await desk.browser.press("Leave")).title
    assert ["widgetEnded"] * len(steps) == await desk.events()
    payload = (await desk.api.get("/events")).body["events"][0]["body"]["payload"]
    assert ("left", 123) == (payload["outcome"], payload["statusCode"])
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM connections")
    ref = await desk.superuser.fetchval("SELECT aggregator_customer_id FROM enrolments")
    assert () == await desk.context.connectors["finicity"].list_accounts(ref)


async def test_widget_keeps_and_logs_no_secret(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What was typed is in no table in clear while the session is under way, in no log line, and in no page after it."""
    secrets = ("Ann Holder-Typed", "ann.typed@example.com", "pass-typed-word", "code-typed-4711", "cousin-typed-Kim")
    holder, username, password, code, cousin = secrets
    bank = "https://token.finbank.example"
    shown = []
    await desk.add(TOKEN_BANK)
    shown.append(await desk.sign_in(holder, bank, username, password))
    assert ["Sign in to FinBank Token & Questions"] == [page.title for page in shown]
    shown.append(await desk.sign_in(holder, bank, username, "go"))
    await is_kept_secret(desk, secrets)
    shown.append(await desk.answer(code))
    assert (await desk.session())["visit"].startswith("sealed:")
    await is_kept_secret(desk, secrets)
    shown.append(await desk.answer(cousin, "fail"))
    await is_kept_secret(desk, secrets)
    await desk.finbank.control("POST", "faults", failTimes=9, failStatus=503, failCode=0, failPath="institutions")
    shown.append(await desk.browser.press("Answer the bank's question"))
    await desk.finbank.control("POST", "faults", failTimes=0)
    assert read_code(187).words in shown[3].text
    shown.append(await desk.browser.press("Try again"))
    await desk.answer(code)
    shown.append(await desk.answer(cousin, "Elm Street"))
    shown.append(await desk.browser.press(LINK))
    assert "Done" == shown[-1].title
    await desk.work()
    await is_kept_secret(desk, secrets)
    assert "" == (await desk.session())["visit"]
    logged = "".join(capsys.readouterr())
    assert "widget.no_answer" in logged
    for text in (logged, *(page.source + page.url for page in shown)):
        assert not [secret for secret in secrets if secret in text]


async def is_kept_secret(desk: Desk, secrets: tuple[str, ...]) -> None:
    """See that no row of any table shows one of these."""
    tables = [row[0] for row in await desk.superuser.fetch(TABLES)]
    rows = [await desk.superuser.fetch(f"SELECT t::text FROM {name} t") for name in tables]  # noqa: S608
    stored = "".join(row[0] for each in rows for row in each)
    assert not [secret for secret in secrets if secret in stored]


async def test_widget_does_nothing_twice(desk: Desk) -> None:
    """Of two posts of one page one counts, at once or later: one sign-in, one login, and the page as it is now."""
    await desk.add()
    filled = {"field-0": "tfa_text", "field-1": "go"}
    await twice(desk.browser, "Sign in at FinBank", **filled)
    assert 1 == (await desk.session())["tries"]
    assert "FinBank asks" == desk.browser.page.title
    asked = desk.browser.page
    assert "Choose accounts" == (await desk.answer("Rex")).title
    desk.browser.page = asked
    assert "Choose accounts" == (await desk.answer("Rex")).title
    assert 2 == (await desk.session())["tries"]
    await twice(desk.browser, LINK)
    assert "Done" == desk.browser.page.title
    await desk.work()
    assert 1 == await desk.superuser.fetchval("SELECT count(*) FROM connections")
    assert 3 == await desk.superuser.fetchval("SELECT count(*) FROM accounts")


async def twice(browser: Browser, button: str, **filled: str) -> None:
    """Press a button twice at once."""
    await asyncio.gather(browser.send(button, **filled), browser.send(button, **filled))
    await browser.wait()


async def test_widget_ends_the_guessing(desk: Desk) -> None:
    """After too many sign-ins of one session the bank is not asked any more, right as they may be."""
    await desk.add()
    await desk.superuser.execute("UPDATE widget_sessions SET tries = 19")
    page = await desk.sign_in("demo", "a guess")
    assert [read_code(103).words] == page.alerts
    page = await desk.sign_in("demo", "go")
    assert ["That was tried too often. Try again in an hour, or tell your bookkeeper."] == page.alerts
    page = await desk.browser.press("Try again")
    assert ["That was tried too often. Try again in an hour, or tell your bookkeeper."] == page.alerts


async def test_widget_is_not_for_locked_clients(desk: Desk) -> None:
    """No address is made for a locked client; one made before opens nothing, and a page that is open ends."""
    url = await desk.ask("add", clientId=desk.api.client_id)
    await desk.add()
    client = f"/clients/{desk.api.client_id}"
    assert 200 == (await desk.api.post(f"{client}/lock")).status
    assert 409 == (await desk.api.post("/widgets/add", {"clientId": desk.api.client_id})).status
    page = await desk.sign_in("demo", "go")
    assert ("Nothing was changed", []) == (page.title, page.forms)
    page = await desk.browser.open(url)
    assert (410, "This link is not good any more") == (page.status, page.title)
    assert 200 == (await desk.api.post(f"{client}/unlock")).status
    assert (410, "This link was used already") == ((await desk.browser.open(url)).status, desk.browser.page.title)
    assert 0 == await desk.superuser.fetchval("SELECT count(*) FROM enrolments")


async def test_widget_says_when_the_time_is_over(desk: Desk) -> None:
    """A page whose two hours have passed says so, before anybody sweeps it, and takes nothing any more."""
    await desk.add()
    await desk.superuser.execute("UPDATE widget_sessions SET expires_at = now()")
    page = await desk.sign_in("demo", "go")
    assert ("The time is over", []) == (page.title, page.forms)
    assert "expired" == (await desk.session())["outcome"]
    assert ["widgetEnded"] == await desk.events()


async def test_widget_offers_to_try_again_what_was_broken_off(desk: Desk) -> None:
    """A process that stops in the middle of a call says so on the page, and what was begun leaves nothing."""
    await desk.add()
    slow = {"field-0": "discovertimeout", "field-1": "go"}
    page = await desk.browser.send("Sign in at FinBank", **slow)
    assert "is being asked" in page.text
    await desk.ingress.widget.close(limit_s=0.01)
    page = await desk.browser.wait()
    assert ["That was interrupted. Nothing was lost: try again."] == page.alerts
    await desk.browser.press("Try again")
    assert "Choose accounts" == (await desk.sign_in("discovertimeout", "go")).title


async def test_widget_goes_on_after_a_process_that_was_killed(desk: Desk) -> None:
    """Where nobody ended a call its time runs out: the page has its form again, and a late answer changes nothing."""
    await desk.add()
    slow = {"field-0": "discovertimeout", "field-1": "go"}
    await desk.browser.send("Sign in at FinBank", **slow)
    [call] = [task for task in asyncio.all_tasks() if task.get_name() == "widget call"]
    await desk.superuser.execute("UPDATE widget_sessions SET work_until = now()")
    page = await desk.browser.open(desk.browser.page.url)
    assert ["That took too long or was interrupted. Nothing was lost: try again."] == page.alerts
    assert "FinBank asks" == (await desk.sign_in("tfa_text", "go")).title
    await call
    assert "FinBank asks" == (await desk.browser.open(page.url)).title
    assert "Choose accounts" == (await desk.answer("Rex")).title


async def test_widget_cannot_be_left_while_it_links(desk: Desk) -> None:
    """Linking is not taken back: while the aggregator links there is no way to leave, and after it all is linked."""
    await desk.add()
    await desk.sign_in("demo", "go")
    leave = desk.browser.page.form("Leave")
    await desk.finbank.control("POST", "faults", slow_ms=2_000)
    page = await desk.browser.send(LINK)
    await desk.finbank.control("POST", "faults", slow_ms=0)
    assert [] == page.buttons
    leave.values["version"] = str((await desk.session())["version"])
    page.forms.append(leave)
    page = await desk.browser.press("Leave")
    assert "FinBank is linked." in page.text
    assert "linked" == (await desk.session())["outcome"]
