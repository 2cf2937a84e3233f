"""The widget in a browser, beside a real Finbank, Postgres, and a worker whose lanes are stepped by hand."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import count
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.connection import request_refreshes
from bankfeed.jobs import Waker
from bankfeed.model import ConnectionId
from bankfeed.settings import Secret, Settings
from ingress.app import Ingress
from tests.finbank import FINBANK_ID, FinbankProcess, free_port
from tests.ingress.api.conftest import Person, sign_in
from tests.seed import make_sources, make_tenant
from tests.story.widget.browser import Browser, Page
from worker.context import Context
from worker.institutions import Listing
from worker.refresh import take_refresh
from worker.removal import take_removal

SLOW_S = 2.5
HISTORY_DAYS = 30
BACK = "https://app.firm.example/banks"
CUSTOMERS_APART = 100
ACCOUNTS = ("checking", "savings", "creditCard")
_firsts = count(CUSTOMERS_APART, CUSTOMERS_APART)


@pytest.fixture(scope="session")
def slow_finbank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    """One Finbank for this test process; each test has clients of its own there."""
    process = FinbankProcess(
        tmp_path_factory.mktemp("finbank"),
        BANKFEED_FINBANK_SLOW_S=str(SLOW_S),
        BANKFEED_FINBANK_HISTORY_DAYS=str(HISTORY_DAYS),
    )
    process.start()
    yield process
    process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that a story of the widget holds in its hands."""

    api: Person
    browser: Browser
    context: Context
    ingress: Ingress
    finbank: FinbankProcess
    superuser: asyncpg.Connection

    async def institution(self, ref: int = FINBANK_ID) -> int:
        """Return our id of one of Finbank's institutions."""
        found: int = await self.superuser.fetchval("SELECT id FROM institutions WHERE aggregator_id = $1", str(ref))
        return found

    async def ask(self, operation: str, **body: Any) -> str:
        """Ask the API for a widget; return its address."""
        said = await self.api.post(f"/widgets/{operation}", body)
        assert 200 == said.status, said.text
        assert "OK" == said.body["status"]
        return str(said.body["widgetUrl"])

    async def add(self, ref: int = FINBANK_ID, **body: Any) -> Page:
        """Open the widget at an institution, up to what it asks for."""
        wanted = {"clientId": self.api.client_id, "institutionId": await self.institution(ref), **body}
        await self.browser.open(await self.ask("add-lite", **wanted))
        return await self.browser.wait()

    async def sign_in(self, *values: str) -> Page:
        """Fill in the bank's form, from top to bottom: at most banks username and password."""
        name = self.browser.page.title.removeprefix("Sign in to ")
        return await self.browser.press(f"Sign in at {name}", **{f"field-{n}": text for n, text in enumerate(values)})

    async def answer(self, *answers: str) -> Page:
        """Answer what the bank asks, in its order; a choice is named by its number."""
        return await self.browser.press("Answer", **{f"answer-{n}": text for n, text in enumerate(answers)})

    async def consent(self, decision: str = "allow", *accounts: str) -> Page:
        """Go to the bank's own page, decide there, and come back."""
        [link] = [link for words, link in self.browser.page.links.items() if words.startswith("Go to ")]
        await self.browser.open(await self.browser.decide(link, decision, *(accounts or ACCOUNTS)))
        return await self.browser.wait()

    async def link(self, username: str = "demo", password: str = "go", *, ref: int = FINBANK_ID) -> int:
        """Link a bank from beginning to end; return the bank account."""
        await self.add(ref)
        if self.browser.page.now == "Sign in" and "Go to" in self.browser.page.text:
            await self.consent()
        else:
            await self.sign_in(username, password)
        page = await self.browser.press("Link these accounts")
        assert "Done" == page.title, page.text
        await self.work()
        return await self.newest()

    async def refresh(self, bank_account_id: int) -> None:
        """Have the worker fetch what the aggregator has, as an event would."""
        wanted = [(self.api.customer_id, ConnectionId(bank_account_id))]
        async with self.context.database.queue() as conn:
            await request_refreshes(conn, wanted)
        await self.superuser.execute("UPDATE connections SET due_at = now()")
        await self.work()

    async def login(self, bank_account_id: int) -> int:
        """Return the login at Finbank."""
        ref = await self.superuser.fetchval(
            "SELECT aggregator_login_id FROM connections WHERE id = $1", bank_account_id
        )
        return int(ref)

    async def damage(self, bank_account_id: int, code: int) -> None:
        """Let the bank answer with a code from now on, and have it known here."""
        login_id = await self.login(bank_account_id)
        await self.finbank.control("POST", f"logins/{login_id}/break", code=code)
        await self.finbank.control("POST", "aggregate", loginId=login_id)
        await self.refresh(bank_account_id)

    async def look(self) -> list[list[tuple[Any, ...]]]:
        """Return what stays whatever is done with a login: connections, accounts, rows, and what these are booked to."""
        queries = (
            "SELECT id, name FROM connections WHERE state <> 'closed' ORDER BY id",
            "SELECT id, name, is_hidden FROM accounts WHERE state = 'open' ORDER BY id",
            "SELECT id, account_id, state::text, amount, reconciled_at FROM transactions WHERE state <> 'removed' ORDER BY id",
            "SELECT transaction_id, reference FROM ledger_entries ORDER BY id",
        )
        return [[tuple(row) for row in await self.superuser.fetch(query)] for query in queries]

    async def own(self, bank_account_id: int) -> None:
        """Do with a bank account what people do: name it and an account, hide one, book a row and reconcile one."""
        checking, hidden = await self.account("checking"), await self.account("savings")
        rows = await self.superuser.fetch(
            "SELECT id FROM transactions WHERE account_id = $1 AND state = 'active' ORDER BY id LIMIT 2", checking
        )
        acts = (
            await self.api.patch(f"/bank-accounts/{bank_account_id}", {"name": "House bank"}),
            await self.api.patch(f"/sub-accounts/{checking}", {"name": "For rent"}),
            await self.api.patch(f"/sub-accounts/{hidden}", {"isHidden": True}),
            await self.api.post(f"/transactions/{rows[0]['id']}/link", {"entry": "E-1"}),
            await self.api.post(f"/transactions/{rows[1]['id']}/reconcile"),
        )
        assert {200} == {each.status for each in acts}, [each.text for each in acts]

    async def account(self, kind: str) -> int:
        """Return the open account of a kind that was linked first."""
        found: int = await self.superuser.fetchval(
            "SELECT min(id) FROM accounts WHERE type = $1 AND state = 'open'", kind
        )
        return found

    async def events(self) -> list[str]:
        """Return the types of what subscribers were told, the first first."""
        rows = (await self.api.get("/events")).body["events"]
        return [row["eventType"] for row in reversed(rows)]

    async def fix(self, bank_account_id: int, **body: Any) -> Page:
        """Open the widget at a bank account."""
        await self.browser.open(await self.ask("fix", bankAccountId=bank_account_id, **body))
        return await self.browser.wait()

    async def newest(self) -> int:
        """Return the connection that was made last."""
        found: int = await self.superuser.fetchval("SELECT max(id) FROM connections")
        return found

    async def work(self) -> None:
        """Do every refresh that is due."""
        while await take_refresh(self.context):
            pass

    async def remove(self) -> None:
        """Delete at the aggregator what was deleted here."""
        while await take_removal(self.context):
            pass

    async def standing(self, bank_account_id: int) -> tuple[str, int | None]:
        """Return how a bank account stands, as the API says."""
        row = (await self.api.get(f"/bank-accounts/{bank_account_id}")).body["bankAccount"]
        return row["state"], row["code"]

    async def history(self, bank_account_id: int) -> list[tuple[str, int | None]]:
        """Return kind and code of what happened to a bank account, the first first."""
        rows = (await self.api.get(f"/bank-accounts/{bank_account_id}/history")).body["history"]
        return [(row["kind"], row["code"]) for row in reversed(rows)]

    async def session(self) -> asyncpg.Record:
        """Return the session that was made last."""
        return await self.superuser.fetchrow("SELECT * FROM widget_sessions ORDER BY created_at DESC LIMIT 1")


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """Settings that a test wants otherwise."""
    return {}


@pytest.fixture
async def desk(
    settings: Settings,
    changed_settings: dict[str, Any],
    database: Database,
    owner: asyncpg.Connection,
    superuser: asyncpg.Connection,
    slow_finbank: FinbankProcess,
) -> AsyncIterator[Desk]:
    """A firm with one client, whose banks are Finbank's."""
    await slow_finbank.wait_until_up()
    sources = await make_sources(owner)
    changed: dict[str, Any] = {
        "port": free_port(),
        "calls_per_minute": 100_000,
        "outbound_allow": (ip_network("127.0.0.0/8"),),
        "finicity_url": slow_finbank.url,
        "finicity_partner_id": slow_finbank.config().partner_id,
        "finicity_app_key": Secret(slow_finbank.config().app_key),
        "finicity_partner_secret": Secret(slow_finbank.config().partner_secret),
        "finicity_widget": "own",
    }
    settings = replace(settings, **changed | changed_settings)
    connector = slow_finbank.connector()
    context = Context(database=database, connectors={"finicity": connector}, waker=Waker(None), settings=settings)
    await Listing(context).run()
    ingress = Ingress(settings)
    await ingress.listen()
    await ingress.open(database)
    await superuser.execute("SELECT setval('customers_id_seq', $1)", next(_firsts))  # Finbank keeps whom it has met
    jar = aiohttp.CookieJar(unsafe=True)  # of addresses without a name too
    async with aiohttp.ClientSession(f"http://127.0.0.1:{settings.port}", cookie_jar=jar) as http:
        tenant = await make_tenant(database, sources)
        async with database.tenant(tenant.customer_id) as conn:
            await conn.execute("DELETE FROM enrolments")
        nobody = Person(session=http, database=database, tenant=tenant, sources=sources, ingress=ingress, token="")
        yield Desk(
            api=await sign_in(nobody, "owner"),
            browser=Browser(http),
            context=context,
            ingress=ingress,
            finbank=slow_finbank,
            superuser=superuser,
        )
    await ingress.close()
    await connector.close()
