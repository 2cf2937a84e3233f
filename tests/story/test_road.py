"""What the README promises, with real processes: link, pending, posted, shadow, delivered; and trouble in the middle."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from bankfeed.db import Database
from bankfeed.local import LocalRedis
from tests.conftest import Urls
from tests.finbank import FinbankProcess
from tests.processes import Process
from tests.seed import PATH_SECRET, Tenant, make_endpoint, make_sources, make_tenant
from tests.subscriber import Subscriber

WAIT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Ingress, worker and Finbank as processes, one tenant, and a subscriber."""

    ingress: Process
    worker: Process
    finbank: FinbankProcess
    tenant: Tenant
    superuser: asyncpg.Connection

    async def until(self, is_so: Callable[[], Awaitable[object]]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WAIT_S):
            while not await is_so():
                await asyncio.sleep(0.02)

    async def is_quiet(self) -> bool:
        """Tell whether the bank has announced all, and every announcement is worked off and delivered."""
        announced = await self.finbank.control("GET", "announcements")
        if announced["outstanding"]:
            return False
        quiet: bool = await self.superuser.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM inbox WHERE state = 'waiting')
               AND NOT EXISTS (SELECT FROM connections WHERE handled < requested)
               AND NOT EXISTS (SELECT FROM delivery_queue)
            """
        )
        return quiet

    async def shown(self, account_id: int) -> Counter[tuple[str, Decimal]]:
        """Count what is pending or active."""
        rows = await self.superuser.fetch(
            """
            SELECT t.state::text, t.amount FROM transactions t
            JOIN accounts a ON (a.customer_id, a.id) = (t.customer_id, t.account_id)
            WHERE a.aggregator_id = $1 AND t.state IN ('pending', 'active')
            """,
            str(account_id),
        )
        return Counter((row["state"], row["amount"]) for row in rows)

    async def listed(self, account_id: int) -> Counter[tuple[str, Decimal]]:
        """Count what the bank lists."""
        truth = await self.finbank.truth(account_id)
        return Counter((row["status"], Decimal(row["amount"])) for row in truth["rows"])

    async def states(self) -> dict[str, int]:
        """Count all rows by state."""
        rows = await self.superuser.fetch("SELECT state::text, count(*) FROM transactions GROUP BY state")
        return {row["state"]: row["count"] for row in rows}


@pytest.fixture
async def house(
    tmp_path: Path,
    urls: Urls,
    database: Database,
    owner: asyncpg.Connection,
    superuser: asyncpg.Connection,
    redis: LocalRedis,
    subscriber: Subscriber,
) -> AsyncIterator[House]:
    finbank = FinbankProcess(tmp_path / "finbank")
    environ = {
        **urls.environ(),
        **finbank.environ(),
        "BANKFEED_REDIS_URL": redis.url(),
        "BANKFEED_OUTBOUND_ALLOW": "127.0.0.0/8",
        "BANKFEED_SWEEP_S": "1",
        "BANKFEED_LEASE_S": "3",
        "BANKFEED_ATTEMPT_S": "1",
    }
    ingress = Process("ingress", tmp_path / "ingress.log", environ)
    worker = Process("worker", tmp_path / "worker.log", environ)
    finbank.start()
    sources = await make_sources(owner)
    await finbank.wait_until_up()
    await finbank.control(
        "POST", "announce", dialect="ledgersync", ledgersyncUrl=f"{ingress.url}/webhooks/ledgersync/{PATH_SECRET}"
    )
    connector = finbank.connector()
    customer_ref = await connector.create_customer("demo-client")
    await connector.close()
    tenant = await make_tenant(database, sources, customer_ref=customer_ref)
    await make_endpoint(database, tenant, url=subscriber.url)
    await asyncio.gather(ingress.start(), worker.start())
    yield House(ingress=ingress, worker=worker, finbank=finbank, tenant=tenant, superuser=superuser)
    ingress.kill()
    worker.kill()
    finbank.stop()
    for log in (ingress.log, worker.log):
        assert "Traceback" not in log.read_text()
        assert "broken" not in log.read_text()


async def test_a_bank_is_linked_and_followed(house: House, subscriber: Subscriber) -> None:
    """Linking brings accounts and history; nights post, change and withdraw; subscribers hear of all, signed, once each."""
    link = await house.finbank.link(house.tenant.customer_ref)
    await house.until(house.is_quiet)
    assert 7 <= (await house.states())["pending"]
    assert Counter({"accountAdded": 3, "transactionsRefreshed": 3}) == Counter(
        event["eventType"] for event in subscriber.events
    )
    seen: set[str] = set()
    for _ in range(4):
        await house.finbank.pass_nights()
        await house.until(house.is_quiet)
        seen |= (await house.states()).keys()
        for account_id in link.accounts.values():
            assert await house.listed(account_id) == await house.shown(account_id)
    assert {"pending", "active", "shadow", "removed"} == seen
    assert len(subscriber.events) == len({event["eventId"] for event in subscriber.events})
    ingress_metrics, worker_metrics = await house.ingress.metrics(), await house.worker.metrics()
    assert re.search(
        r'webhooks_received_total\{.*event="transactionsRefreshed",outcome="accepted"\} [1-9]', ingress_metrics
    )
    assert re.search(r'deliveries_total\{outcome="delivered",status_class="2xx"\} [1-9]', worker_metrics)
    assert re.search(r'transactions_total\{change="shadowed"\} [1-9]', worker_metrics)


async def test_trouble_in_the_middle_loses_nothing(house: House, redis: LocalRedis, subscriber: Subscriber) -> None:
    """SIGTERM, kill -9 and an emptied Redis in the middle of work: afterwards the rows are the bank's, each event once."""
    link = await house.finbank.link(house.tenant.customer_ref)
    assert 0 == await house.worker.stop()
    await house.finbank.pass_nights()
    await house.worker.start()
    await empty(redis)
    await house.finbank.pass_nights()
    house.worker.kill()
    house.ingress.kill()
    await asyncio.gather(house.ingress.start(), house.worker.start())
    await house.finbank.pass_nights()
    assert 0 == await house.ingress.stop(signal.SIGINT)
    await house.ingress.start()
    await empty(redis)
    await house.until(house.is_quiet)
    for account_id in link.accounts.values():
        assert await house.listed(account_id) == await house.shown(account_id)
    delivered = {event["eventId"] for event in subscriber.events}
    committed = {str(row["event_id"]) for row in await house.superuser.fetch("SELECT event_id FROM events")}
    assert committed == delivered


async def empty(server: LocalRedis) -> None:
    client = redis.asyncio.Redis.from_url(server.url())
    await client.flushall()
    await client.aclose()
