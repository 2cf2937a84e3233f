"""A person with a browser and nothing else: links a bank, breaks it on Finbank's page, and repairs it, all by clicking."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.db import Database
from bankfeed.jobs import Waker
from bankfeed.sandbox.accounts import AccountKind
from bankfeed.sandbox.app import Finbank, start
from bankfeed.sandbox.clock import Pace
from bankfeed.sandbox.settings import DialectName, FinbankSettings, SharesName
from bankfeed.settings import Secret, Settings
from ingress.app import Ingress
from tests.finbank import APP_KEY, FINBANK_ID, PARTNER_ID, free_port
from tests.ingress.visitor import EMAIL, PASSWORD, add_user
from tests.seed import PARTNER_SECRET, PATH_SECRET, make_sources, make_tenant
from tests.story.widget.browser import Browser, Page
from worker.bank_refresh import take_bank_refresh
from worker.context import Context
from worker.inbox import take_inbox
from worker.institutions import Listing
from worker.refresh import take_refresh

DESK_KEY = "known-to-who-started-it"
WAIT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Street:
    """Bankfeed and Finbank, each behind its pages, a browser, and a worker whose lanes are stepped by hand."""

    browser: Browser
    finbank: Finbank
    context: Context

    async def sign_in(self) -> Page:
        """Sign in to the console."""
        await self.browser.open("/sign-in")
        return await self.browser.press("Sign in", email=EMAIL, password=PASSWORD)

    async def look(self) -> Page:
        """Let everything that was announced arrive, and look at the console."""
        async with asyncio.timeout(WAIT_S):
            while self.finbank.announcer.outstanding:
                await asyncio.sleep(0.005)
        for lane in (take_inbox, take_bank_refresh, take_inbox, take_refresh):
            while await lane(self.context):
                pass
        return await self.browser.open("/console")

    async def at_finbank(self, button: str) -> Page:
        """Press a button on Finbank's page, and look at the console a moment later."""
        await self.browser.open(f"{self.finbank.url}/finbank/desk/{DESK_KEY}")
        page = await self.browser.press(button)
        assert 200 == page.status, page.text
        return await self.look()

    async def link(self) -> Page:
        """Link a bank from the console's button to transactions."""
        await self.browser.open("/console")
        await self.browser.press("Link a bank")
        page = await self.browser.press("Search", q="finbank")
        await self.browser.press(next(name for name in page.buttons if name.startswith("FinBank finbank.example")))
        await self.fill_in("Sign in at FinBank")
        page = await self.browser.press("Link these accounts")
        assert "Done" == page.title, page.text
        return await self.look()

    async def fill_in(self, button: str) -> Page:
        """Give the credentials that Finbank takes."""
        return await self.browser.press(button, **{"field-0": "demo", "field-1": "go"})

    async def repair(self) -> Page:
        """Press the console's button; return the widget's first page."""
        await self.browser.open("/console")
        return await self.browser.press("Repair")

    async def consent(self) -> None:
        """Allow everything on the bank's own page."""
        page = await self.browser.press("Go to the bank's own page")
        link = next(url for url in page.links.values() if url.endswith("/go"))
        await self.browser.open(await self.browser.decide(link, "allow", *AccountKind))
        page = await self.browser.wait()
        assert "FinBank works again." in page.text


def list_rows(page: Page) -> set[str]:
    """List the transactions that a page of the console shows."""
    return set(re.findall(r'data-row="(transaction-\d+)"', page.source))


def make_finbank(data: Path, **settings: Any) -> FinbankSettings:
    """Say how Finbank runs here: on a free port, with a page whose key is known."""
    usual = FinbankSettings(
        data=data,
        partner_id=PARTNER_ID,
        partner_secret=PARTNER_SECRET,
        app_key=APP_KEY,
        control_token="nobody has it here",
        desk_key=DESK_KEY,
        port=0,
        clock=Pace.MANUAL,
        shares=SharesName.CALM,
    )
    return replace(usual, **settings)


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Finbank]:
    """Finbank alone, which tells nobody anything."""
    finbank = await start(make_finbank(tmp_path))
    yield finbank
    await finbank.close()


@pytest.fixture
async def street(
    settings: Settings,
    database: Database,
    owner: asyncpg.Connection,
    tmp_path: Path,
) -> AsyncIterator[Street]:
    """A firm with one client and an owner who knows a password; nothing is linked."""
    sources = await make_sources(owner)
    port = free_port()
    address = f"http://127.0.0.1:{port}/webhooks/ledgersync/{PATH_SECRET}"
    finbank = await start(make_finbank(tmp_path, dialect=DialectName.LEDGERSYNC, ledgersync_url=address))
    settings = replace(
        settings,
        port=port,
        outbound_allow=(ip_network("127.0.0.0/8"),),
        finicity_url=finbank.url,
        finicity_partner_id=PARTNER_ID,
        finicity_partner_secret=Secret(PARTNER_SECRET),
        finicity_app_key=Secret(APP_KEY),
        finicity_widget="own",
    )
    connector = Finicity(
        FinicityConfig(base_url=finbank.url, partner_id=PARTNER_ID, partner_secret=PARTNER_SECRET, app_key=APP_KEY)
    )
    context = Context(database=database, connectors={"finicity": connector}, waker=Waker(None), settings=settings)
    await Listing(context).run()
    ingress = Ingress(settings)
    await ingress.listen()
    await ingress.open()
    tenant = await make_tenant(database, sources)
    await add_user(database, tenant, EMAIL)
    async with database.tenant(tenant.customer_id) as conn:
        await conn.execute("DELETE FROM enrolments")
    jar = aiohttp.CookieJar(unsafe=True)  # which is what aiohttp calls a host that is an address
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as http:
        yield Street(browser=Browser(http), finbank=finbank, context=context)
    await ingress.close()
    await connector.close()
    await finbank.close()


async def test_finbank_is_linked_broken_and_repaired_by_clicking(street: Street) -> None:
    """Link, break, repair: each is a few clicks, and the console says at each moment how it stands and who acts."""
    page = await street.sign_in()
    assert "No bank is linked yet" in page.text
    page = await street.link()
    assert "FinBank All Data Received" in page.text
    assert "Repair" not in page.buttons
    page = await street.at_finbank("Break: password changed (103)")
    assert "FinBank needs you The bank refused the user name or password; enter them again." in page.text
    assert "The account holder acts: sign in to the bank here." in page.text
    assert "Refresh" not in page.buttons
    page = await street.repair()
    assert "The bank refused the user name or password" in page.text
    await street.browser.press("Sign in again")
    page = await street.fill_in("Sign in at FinBank")
    assert "FinBank works again." in page.text
    page = await street.look()
    assert "FinBank All Data Received" in page.text
    page = await street.browser.open(page.links["History"])
    said = [word for word in page.text.split("History", 1)[1].split() if word in ("Added", "Broken", "Reconnected")]
    assert ["Reconnected", "Broken", "Added"] == said
    assert "Time to repair: less than a minute." in page.text


async def test_finbank_breaks_in_every_way_and_each_is_mended(street: Street) -> None:
    """Each button of Finbank's page shows on the console as its own cause, with the buttons that help against it."""
    await street.sign_in()
    await street.link()
    page = await street.at_finbank("Break: asks a question (185)")
    assert "The bank asks a security question or code; answer it." in page.text
    assert ("Repair" in page.buttons, "Refresh" in page.buttons) == (True, False)
    await street.repair()
    page = await street.browser.press("Answer the bank's question")
    await street.browser.press(page.buttons[0], **{page.forms[0].inputs[0]: "anything"})
    assert "All Data Received" in (await street.look()).text

    page = await street.at_finbank("Break: message at the bank (108)")
    assert "A message waits at the bank" in page.text
    assert ("Repair" in page.buttons, "Refresh" in page.buttons) == (True, True)
    await street.repair()
    page = await street.browser.press("I have done that: ask the bank again")
    assert "All Data Received" in (await street.look()).text

    page = await street.at_finbank("Bank down")
    assert "waiting The bank's site is down or under maintenance. The bank acts" in page.text
    assert ("Repair" in page.buttons, "Refresh" in page.buttons) == (False, True)
    assert "All Data Received" in (await street.at_finbank("Bank up")).text

    page = await street.at_finbank("Migrate to OAuth")
    assert "The bank has a new sign-in; sign in again." in page.text
    await street.repair()
    await street.consent()
    assert "All Data Received" in (await street.look()).text

    page = await street.at_finbank("Break: consent ended (947)")
    assert "The consent at the bank has ended; sign in again." in page.text
    assert "All Data Received" in (await street.at_finbank("Mend")).text


async def test_finbank_purchase_is_on_the_console(street: Street) -> None:
    """What is bought on Finbank's page comes in by itself; a click on refresh is answered in the row."""
    await street.sign_in()
    before = await street.link()
    page = await street.at_finbank("New purchase")
    assert 1 == len(list_rows(page) - list_rows(before))
    page = await street.browser.press("Refresh")
    assert "The bank will be asked in a moment." in page.text
    assert "The bank was asked just now; it can be asked again in 4 minutes." in (await street.look()).text


async def test_finbank_page_lets_in_who_has_its_address(street: Street) -> None:
    """A guessed address is no page, neither to look at nor to act; the true one says so by no header, and runs no script."""
    guessed = f"{street.finbank.url}/finbank/desk/guessed"
    await street.sign_in()
    await street.link()
    login = next(iter(street.finbank.bank.pages.logins.values()))
    async with aiohttp.ClientSession() as http:
        for answer in (http.get(guessed), http.post(guessed, data={"act": "ask", "login": str(login.id)})):
            async with answer as said:
                assert 404 == said.status
                assert str(login.id) not in await said.text()
        async with http.get(f"{street.finbank.url}/finbank/desk/{DESK_KEY}") as said:
            text = await said.text()
            assert (200, "no-referrer") == (said.status, said.headers["Referrer-Policy"])
            assert "default-src 'none'" in said.headers["Content-Security-Policy"]
            assert "unsafe" not in said.headers["Content-Security-Policy"]
            assert "<script" not in text
            assert DESK_KEY not in text
    assert login == street.finbank.bank.pages.logins[login.id]


@pytest.mark.parametrize(
    "form",
    [
        {"act": "end_consent", "login": "LOGIN"},
        {"act": "take_down", "login": "LOGIN"},
        {"act": "ask", "login": "LOGIN0"},
        {"act": "ask", "login": "\u0661"},
        {"act": "ask", "login": "9" * 500},
        {"act": "burn", "login": "LOGIN"},
        {"act": "migrate", "institution": "1"},
        {"act": "ask", "login": "LOGIN", "padding": "x" * 1_000},
        {},
    ],
)
async def test_finbank_page_does_only_what_it_offers(bank: Finbank, form: dict[str, str]) -> None:
    """What no button of the page says, and a form that is none of its own, changes nothing and is no error."""
    customer = bank.bank.add_customer("somebody")
    login, _ = bank.bank.link(customer.id, FINBANK_ID, name="demo", kinds=tuple(AccountKind))
    sent = {name: value.replace("LOGIN", str(login.id)) for name, value in form.items()}
    address = f"{bank.url}/finbank/desk/{DESK_KEY}"
    async with aiohttp.ClientSession() as http, http.post(address, data=sent, allow_redirects=False) as answer:
        assert 303 == answer.status
    assert login == bank.bank.pages.logins[login.id]
    assert {} == bank.bank.pages.institutions


async def test_finbank_without_a_key_has_no_page(tmp_path: Path) -> None:
    """Where nobody chose a key there is no address that lets in."""
    finbank = await start(make_finbank(tmp_path, desk_key=""))
    async with aiohttp.ClientSession() as http:
        for path in ("/finbank/desk/", "/finbank/desk/x"):
            async with http.get(f"{finbank.url}{path}") as answer:
                assert 404 == answer.status
    await finbank.close()
