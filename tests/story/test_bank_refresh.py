"""A person clicks refresh, with real processes: the bank is asked, and the new rows are there when the refresh is done."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.session import insert_session
from bankfeed.db.user import insert_user
from bankfeed.local import LocalRedis
from tests.conftest import Urls
from tests.finbank import FinbankProcess, Link
from tests.processes import Process
from tests.seed import PATH_SECRET, Tenant, make_sources, make_tenant

WAIT_S = 30
TOKEN = "bft_sandbox_a-person-with-a-mouse"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$q1Wxlt9gVqc"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Ingress, worker and Finbank as processes, and a person who is signed in."""

    ingress: Process
    worker: Process
    finbank: FinbankProcess
    tenant: Tenant
    superuser: asyncpg.Connection

    async def call(self, method: str, path: str, **query: Any) -> dict[str, Any]:
        """Call the API as the person; return the answer, which is no error."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
            session.request(method, f"{self.ingress.url}/api/v1{path}", params=query) as answer,
        ):
            said: dict[str, Any] = await answer.json()
            assert "OK" == said["status"], said
            return said

    async def link(self) -> tuple[Link, int]:
        """Link a checking account; return it with its bank account, once it is pulled."""
        link = await self.finbank.link(self.tenant.customer_ref, "checking")
        async with asyncio.timeout(WAIT_S):
            while not (found := (await self.call("GET", "/sub-accounts"))["subAccounts"]):
                await asyncio.sleep(0.02)
            while (await self.call("GET", f"/bank-accounts/{found[0]['bankAccountId']}"))["bankAccount"]["isUpdating"]:
                await asyncio.sleep(0.02)
        return link, found[0]["bankAccountId"]

    async def buy(self, link: Link, text: str) -> None:
        """Let something happen at the bank that nobody announces."""
        await self.finbank.control(
            "POST", "transactions", accountId=link.accounts["checking"], amount=-12.5, description=text
        )

    async def texts(self) -> list[str]:
        """List what the transactions say."""
        said = await self.call("GET", "/transactions", clientId=self.tenant.client_id, limit=1_000)
        return [row["description"] for row in said["transactions"]]

    async def finish(self, refresh_id: int) -> dict[str, Any]:
        """Wait for the end of a refresh, as a caller does."""
        async with asyncio.timeout(WAIT_S):
            while True:
                refresh: dict[str, Any] = (await self.call("GET", f"/refreshes/{refresh_id}", waitS=10))["refresh"]
                if refresh["finishedAt"] is not None:
                    return refresh


@pytest.fixture
async def house(
    tmp_path: Path,
    urls: Urls,
    database: Database,
    owner: asyncpg.Connection,
    superuser: asyncpg.Connection,
    redis: LocalRedis,
) -> AsyncIterator[House]:
    finbank = FinbankProcess(tmp_path / "finbank")
    environ = {
        **urls.environ(),
        **finbank.environ(),
        "BANKFEED_REDIS_URL": redis.url(),
        "BANKFEED_SWEEP_S": "1",
        "BANKFEED_LEASE_S": "3",
    }
    ingress = Process("ingress", tmp_path / "ingress.log", environ)
    worker = Process("worker", tmp_path / "worker.log", environ)
    finbank.start()
    sources = await make_sources(owner)
    await finbank.wait_until_up()
    door = f"{ingress.url}/webhooks/ledgersync/{PATH_SECRET}"
    await finbank.control("POST", "announce", dialect="ledgersync", ledgersyncUrl=door)
    connector = finbank.connector()
    customer_ref = await connector.create_customer("demo-client")
    await connector.close()
    tenant = await make_tenant(database, sources, customer_ref=customer_ref)
    await sign_in(database, tenant)
    await asyncio.gather(ingress.start(), worker.start())
    yield House(ingress=ingress, worker=worker, finbank=finbank, tenant=tenant, superuser=superuser)
    ingress.kill()
    worker.kill()
    finbank.stop()
    for log in (ingress.log, worker.log):
        assert "Traceback" not in log.read_text()


async def sign_in(database: Database, tenant: Tenant) -> None:
    async with database.tenant(tenant.customer_id) as conn:
        user_id = await insert_user(conn, tenant.customer_id, email="ann@firm.example", password_hash=HASH)
        assert user_id is not None
        await insert_session(
            conn,
            tenant.customer_id,
            user_id=user_id,
            password_hash=HASH,
            token_sha256=sha256(TOKEN.encode()).digest(),
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )


async def test_a_click_shows_what_is_new(house: House) -> None:
    """Click, wait, look: the purchase that the bank had not told of is there, and the summary says that all came."""
    link, bank_account_id = await house.link()
    await house.finbank.control("POST", "announce", stop=True, dialect="none")
    await house.buy(link, "BOUGHT A MOMENT AGO")
    assert "BOUGHT A MOMENT AGO" not in await house.texts()
    clicked = (await house.call("POST", f"/bank-accounts/{bank_account_id}/refresh"))["refresh"]
    done = await house.finish(clicked["id"])
    assert ("done", "All Data Received") == (done["state"], done["message"])
    assert "BOUGHT A MOMENT AGO" in await house.texts()
    summary = (await house.call("GET", f"/bank-accounts/{bank_account_id}/summary"))["summary"]
    assert ("active", "All Data Received") == (summary["status"], summary["message"])


async def test_a_killed_worker_loses_no_click(house: House) -> None:
    """Kill -9 while the bank is asked: the next worker asks again once the lease is over, and each row is there once."""
    link, bank_account_id = await house.link()
    await house.finbank.control("POST", "faults", slow_ms=3_000)
    await house.buy(link, "BEFORE THE KILL")
    clicked = (await house.call("POST", f"/bank-accounts/{bank_account_id}/refresh"))["refresh"]
    async with asyncio.timeout(WAIT_S):
        while "waiting" == (await house.call("GET", f"/refreshes/{clicked['id']}"))["refresh"]["state"]:
            await asyncio.sleep(0.02)
    house.worker.kill()
    await house.finbank.control("POST", "faults", slow_ms=0)
    await house.superuser.execute("UPDATE bank_refreshes SET due_at = now(), lease_until = now()")  # time passes
    await house.worker.start()
    assert "done" == (await house.finish(clicked["id"]))["state"]
    assert 1 == (await house.texts()).count("BEFORE THE KILL")


async def test_history_goes_on_when_the_caller_leaves(house: House) -> None:
    """24 months are asked for and nobody waits; later they are there, and a second click has nothing to wait for."""
    _, bank_account_id = await house.link()
    account = (await house.call("GET", "/sub-accounts"))["subAccounts"][0]
    clicked = (await house.call("POST", f"/bank-accounts/{bank_account_id}/refresh-historic"))["refresh"]
    async with asyncio.timeout(WAIT_S):
        while await house.superuser.fetchval("SELECT finished_at IS NULL FROM bank_refreshes"):
            await asyncio.sleep(0.02)
    again = (await house.call("POST", f"/bank-accounts/{bank_account_id}/refresh-historic"))["refresh"]
    assert (clicked["id"], "done") == (again["id"], again["state"])
    loaded = (await house.call("GET", f"/sub-accounts/{account['id']}"))["subAccount"]
    assert loaded["historyFrom"] < account["historyFrom"]
    assert loaded["lastAttemptedAt"] > account["lastAttemptedAt"]


async def test_a_refusal_reaches_the_person(house: House) -> None:
    """Where the bank refuses the password, refresh and summary say so in words, with the code and what to do."""
    link, bank_account_id = await house.link()
    await house.finbank.control("POST", f"logins/{link.login_id}/break", code=103)
    clicked = (await house.call("POST", f"/bank-accounts/{bank_account_id}/refresh"))["refresh"]
    failed = await house.finish(clicked["id"])
    assert ("failed", 103) == (failed["state"], failed["code"])
    async with asyncio.timeout(WAIT_S):
        while "needs_person" != (await house.call("GET", f"/bank-accounts/{bank_account_id}"))["bankAccount"]["state"]:
            await asyncio.sleep(0.02)
    summary = (await house.call("GET", f"/bank-accounts/{bank_account_id}/summary"))["summary"]
    assert (103, failed["message"], failed["whatToDo"]) == (summary["code"], summary["message"], summary["whatToDo"])
