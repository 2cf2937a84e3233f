"""The whole way on this machine: an aggregator, one ingress and one worker as processes, and connections that are known.

What both benchmarks of bench/sync.py stand on. No measuring here.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import asyncpg

from bankfeed.db import Database
from bankfeed.db.client import insert_client, upsert_enrolment
from bankfeed.db.connection import request_refreshes, upsert_connection
from bankfeed.db.customer import insert_customer
from bankfeed.db.source import upsert_platform_source
from bankfeed.model import SourceId
from bench.ground import HOST, Ground, Urls, fresh_database, running
from bench.ingress import PATH_SECRET, free_port

CONNECTIONS_OF_A_TENANT = 20
ASK_S = 0.1
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A tenant's world in a fresh database: connection, client and account number n are the aggregator's number n."""

    ground: Ground
    urls: Urls
    environ: Mapping[str, str]
    source_id: SourceId
    connections: int
    ingress_url: str
    ingress_pid: int
    aggregator_url: str
    conn: asyncpg.Connection
    http: aiohttp.ClientSession

    def worker(self) -> AbstractAsyncContextManager[Any]:
        """Run one worker."""
        port = free_port()
        environ = {**self.environ, "BANKFEED_WORKER_PORT": str(port)}
        return running(self.ground, "worker", port=port, environ=environ)

    async def change(self, number: int, mark: str) -> None:
        """Let two rows of an account change at the aggregator."""
        async with self.http.post(f"{self.aggregator_url}/bench/{number}/{mark}") as answer:
            answer.raise_for_status()

    async def announce(self, number: int, event_id: str) -> None:
        """Send the webhook about an account. Raises where it is not accepted."""
        async with self.http.post(self.ingress_url, data=make_event(number, event_id)) as answer:
            answer.raise_for_status()

    async def wait_until_handled(self) -> None:
        """Wait until no event waits and every connection has been refreshed. Raises after ten minutes."""
        until = monotonic() + LIMIT_S
        while not await self.conn.fetchval(
            """
            SELECT NOT EXISTS (SELECT FROM inbox WHERE state = 'waiting')
               AND NOT EXISTS (SELECT FROM connections WHERE handled < requested)
            """
        ):
            if monotonic() > until:
                raise RuntimeError(f"expected the work to be done within {LIMIT_S:.0f} s")
            await asyncio.sleep(ASK_S)


def make_event(number: int, event_id: str) -> bytes:
    """Make a LedgerSync event about one account.

    >>> make_event(7, "a").startswith(b'{"eventType":"transactionsRefreshed","eventId":"a"')
    True
    """
    head = f'{{"eventType":"transactionsRefreshed","eventId":"{event_id}","timestamp":"2026-11-02T13:07:07.727Z"'
    return f'{head},"payload":{{"accounts":[{number}]}}}}'.encode()


@asynccontextmanager
async def prepare(ground: Ground, *, connections: int, rows: int) -> AsyncIterator[Feed]:
    """Start the aggregator and ingress, and make connections whose rows are known: a worker has refreshed each once."""
    aggregator_port, ingress_port = free_port(), free_port()
    aggregator_url = f"http://{HOST}:{aggregator_port}"
    words = (str(aggregator_port), str(connections), str(rows))
    async with fresh_database(ground) as urls:
        environ = {**urls.environ, "BANKFEED_PORT": str(ingress_port), **_aggregator_environ(aggregator_url)}
        source_id = await _make_connections(urls, connections)
        async with (
            running(ground, "bench.aggregator", *words, port=aggregator_port, environ={}),
            running(ground, "ingress", port=ingress_port, environ=environ) as ingress,
            asyncpg.create_pool(urls.superuser, min_size=1, max_size=1) as pool,
            pool.acquire() as conn,
            aiohttp.ClientSession(raise_for_status=True) as http,
        ):
            feed = Feed(
                ground=ground,
                urls=urls,
                environ=environ,
                source_id=source_id,
                connections=connections,
                ingress_url=f"http://{HOST}:{ingress_port}/webhooks/ledgersync/{PATH_SECRET}",
                ingress_pid=ingress.pid,
                aggregator_url=aggregator_url,
                conn=conn,
                http=http,
            )
            async with feed.worker():
                await feed.wait_until_handled()
            await _require_rows(conn, connections * rows)
            yield feed


def _aggregator_environ(url: str) -> dict[str, str]:
    return {
        "BANKFEED_FINICITY_URL": url,
        "BANKFEED_FINICITY_PARTNER_ID": "1",
        "BANKFEED_FINICITY_PARTNER_SECRET": "benchmarks only",
        "BANKFEED_FINICITY_APP_KEY": "benchmarks only",
    }


async def _make_connections(urls: Urls, connections: int) -> SourceId:
    """Make tenants with clients of one connection each, all of them due; return the source that events come through."""
    owner = await asyncpg.connect(urls.owner)
    finicity = await upsert_platform_source(
        owner, slug="finicity", connector="finicity", dialect="finicity", verifier="finicity", secrets=[PATH_SECRET]
    )
    ledgersync = await upsert_platform_source(
        owner,
        slug="ledgersync",
        connector="finicity",
        dialect="ledgersync",
        verifier="path",
        secrets=[PATH_SECRET],
        bound_to=finicity,
    )
    await owner.close()
    database = await Database.connect(urls.settings)
    made = []
    for first in range(1, connections + 1, CONNECTIONS_OF_A_TENANT):
        async with database.app() as conn:
            customer_id = await insert_customer(conn, name=f"Firm {first}")
            for number in range(first, min(first + CONNECTIONS_OF_A_TENANT, connections + 1)):
                ref = str(number)
                client_id = await insert_client(conn, customer_id, username=ref, name=ref)
                await upsert_enrolment(conn, customer_id, client_id, source_id=finicity, customer_ref=ref)
                connection_id = await upsert_connection(conn, customer_id, client_id, source_id=finicity, login_ref=ref)
                made.append((customer_id, connection_id))
    async with database.queue() as conn:
        await request_refreshes(conn, made)
    await database.close()
    return ledgersync


async def _require_rows(conn: asyncpg.Connection, wanted: int) -> None:
    found = await conn.fetchval("SELECT count(*) FROM transactions WHERE state = 'active'")
    if found != wanted:
        raise RuntimeError(f"expected {wanted} rows before the measuring begins, got {found}")


def peak_mb(pid: int) -> float | None:
    """Return the most memory that a running process has had resident so far, in MB; None where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def cpu_s(pid: int) -> float | None:
    """Return the CPU seconds that a process and its children, gone ones too, have used; None where it cannot be told."""
    try:
        used = sum(_own_ticks(each) for each in (pid, *_children(pid)))
    except OSError:
        return None
    return used / os.sysconf("SC_CLK_TCK")


def _own_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
