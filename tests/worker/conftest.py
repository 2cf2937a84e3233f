"""A worker whose lanes are stepped by hand, beside a real Finbank, Postgres and subscriber."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from bankfeed.db import Database
from bankfeed.db.arrival import Incoming, insert_inbox
from bankfeed.jobs import Waker
from bankfeed.model import EventType
from bankfeed.settings import Settings
from tests.finbank import FinbankProcess, Link
from tests.seed import Sources, Tenant, make_endpoint, make_sources, make_tenant
from tests.subscriber import Subscriber
from tests.worker.dispatch import take_deliveries
from worker.context import Context
from worker.inbox import take_inbox
from worker.post import Post
from worker.refresh import take_refresh

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture(scope="session")
def finbank_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    """One Finbank for this test process; each test has customers of its own there."""
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def finbank(finbank_process: FinbankProcess) -> FinbankProcess:
    """Finbank, up."""
    await finbank_process.wait_until_up()
    return finbank_process


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Everything a worker test holds in its hands."""

    context: Context
    post: Post
    database: Database
    finbank: FinbankProcess
    sources: Sources
    tenant: Tenant
    superuser: asyncpg.Connection

    async def link(self, *kinds: str) -> Link:
        """Link a bank at Finbank, for the tenant's client."""
        return await self.finbank.link(self.tenant.customer_ref, *kinds)

    async def receive(
        self, event_type: EventType, *account_refs: int | str, event_id: str | None = None, login_ref: int | None = None
    ) -> None:
        """Put an event of the LedgerSync door into the inbox; of a login, if given."""
        refs = tuple(str(ref) for ref in account_refs)
        incoming = Incoming(
            source_id=self.sources.ledgersync,
            name=event_type,
            event_type=event_type,
            event_id=event_id,
            customer_ref=None,
            login_refs=() if login_ref is None else (str(login_ref),),
            account_refs=refs,
            body=orjson.dumps({"accounts": refs}),
        )
        async with self.database.queue() as conn:
            await insert_inbox(conn, [incoming])

    async def work(self) -> None:
        """Do everything that is due."""
        while await take_inbox(self.context) or await take_refresh(self.context):
            pass
        while await take_deliveries(self.context, self.post):
            pass

    async def rows(self, account_ref: int) -> list[asyncpg.Record]:
        """List an account's rows, removed ones included, oldest first."""
        rows: list[asyncpg.Record] = await self.superuser.fetch(
            """
            SELECT t.* FROM transactions t JOIN accounts a ON (a.customer_id, a.id) = (t.customer_id, t.account_id)
            WHERE a.aggregator_id = $1 ORDER BY t.id
            """,
            str(account_ref),
        )
        return rows

    async def visible(self, account_ref: int) -> list[tuple[str, str, str]]:
        """List state, amount and text of what is pending or active, sorted."""
        rows = await self.rows(account_ref)
        return sorted(
            (row["state"], str(row["amount"]), row["description"])
            for row in rows
            if row["state"] in ("pending", "active")
        )

    async def visible_of(self, account_id: int) -> list[tuple[str, str, str]]:
        """List the same of an account by our own id."""
        rows = await self.superuser.fetch("SELECT * FROM transactions WHERE account_id = $1", account_id)
        return sorted(
            (row["state"], str(row["amount"]), row["description"])
            for row in rows
            if row["state"] in ("pending", "active")
        )

    async def one(self, query: str, *args: object) -> Any:
        """Fetch one value as somebody who sees everything."""
        return await self.superuser.fetchval(query, *args)


@pytest.fixture
async def bench(
    database: Database,
    settings: Settings,
    owner: asyncpg.Connection,
    superuser: asyncpg.Connection,
    finbank: FinbankProcess,
    subscriber: Subscriber,
) -> AsyncIterator[Bench]:
    """A worker with one tenant, enrolled at Finbank, whose subscriber listens."""
    settings = replace(settings, outbound_allow=LOOPBACK)
    connector = finbank.connector()
    sources = await make_sources(owner)
    customer_ref = await connector.create_customer(f"client-{uuid4().hex[:12]}")
    tenant = await make_tenant(database, sources, customer_ref=customer_ref)
    await make_endpoint(database, tenant, url=subscriber.url)
    context = Context(database=database, connectors={"finicity": connector}, waker=Waker(None), settings=settings)
    async with Post(settings) as post:
        yield Bench(
            context=context,
            post=post,
            database=database,
            finbank=finbank,
            sources=sources,
            tenant=tenant,
            superuser=superuser,
        )
    await connector.close()
