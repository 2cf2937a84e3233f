"""Endpoints in a fresh database, a process that answers for all of them, and events for each: what deliveries are measured on.

No measuring here. A customer has fifty endpoints at most. Each has a client of its own, whose events only it hears of: an
event is one delivery.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import aiohttp
import asyncpg

from bankfeed.db import Database
from bankfeed.db.customer import insert_customer
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.db.schema import make_partitions
from bankfeed.endpoints import NewEndpoint, add_endpoint
from bankfeed.jobs import Wake, Waker, open_redis
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, EndpointId, EventType
from bankfeed.outbox import News, make_event
from bench.feed import cpu_s
from bench.ground import HOST, Ground, Urls, fresh_database, running
from bench.ingress import free_port

ENDPOINTS_OF_A_CUSTOMER = 50
ROUNDS_AT_ONCE = 10
ASK_S = 0.05
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One endpoint; `number` counts from 1, and is its client's id too."""

    number: int
    customer_id: CustomerId
    endpoint_id: EndpointId
    path: str

    def make_event(self) -> OutboundEvent:
        """Make an event of its client."""
        number = self.number
        return make_event(
            News(event_type=EventType.TRANSACTIONS_REFRESHED, accounts=(AccountId(number),)),
            client_id=ClientId(number),
            connection_id=ConnectionId(number),
            at=datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the subscribers' process took: `message_id` is the event's, `at_s` by the clock of `perf_counter`."""

    path: str
    message_id: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribers:
    """The endpoints, and everything that leads to them but a worker."""

    ground: Ground
    urls: Urls
    environ: Mapping[str, str]
    targets: tuple[Target, ...]
    database: Database
    waker: Waker
    conn: asyncpg.Connection
    http: aiohttp.ClientSession
    sink_port: int
    sink_pid: int

    def worker(self) -> AbstractAsyncContextManager[Any]:
        """Run one worker."""
        port = free_port()
        return running(self.ground, "worker", port=port, environ={**self.environ, "BANKFEED_WORKER_PORT": str(port)})

    def url(self, path: str) -> str:
        """Return the address of a path at the subscribers' process."""
        return f"http://{HOST}:{self.sink_port}{path}"

    async def commit(self, target: Target, events: Sequence[OutboundEvent]) -> None:
        """Commit events of an endpoint's customer with their deliveries. No worker hears of it yet."""
        async with self.database.tenant(target.customer_id) as conn:
            await insert_events(conn, target.customer_id, events)

    async def lay(self, deliveries: int) -> list[OutboundEvent]:
        """Let so many deliveries wait, the same number at each endpoint; return their events."""
        laid: list[OutboundEvent] = []
        rounds = deliveries // len(self.targets)
        for first in range(0, rounds, ROUNDS_AT_ONCE):
            at_once = min(ROUNDS_AT_ONCE, rounds - first)
            for targets in self._by_customer():
                events = [target.make_event() for _ in range(at_once) for target in targets]
                await self.commit(targets[0], events)
                laid += events
        return laid

    def wake(self) -> None:
        """Tell the worker that there is something to deliver, as the product does after a commit."""
        self.waker.wake(Wake.DELIVER)

    async def take_receipts(self) -> list[Receipt]:
        """Return what came since this was last asked."""
        rows = await self._get("/receipts")
        return [Receipt(path=path, message_id=message_id, at_s=at_s) for path, message_id, at_s in rows]

    async def count_receipts(self) -> int:
        """Return how many came since they were last taken."""
        return int(await self._get("/count"))

    async def wait_for(self, receipts: int) -> None:
        """Wait until so many have come since they were last taken. Raises after ten minutes."""
        until = monotonic() + LIMIT_S
        while (came := await self.count_receipts()) < receipts:
            if monotonic() > until:
                raise RuntimeError(f"expected {receipts} deliveries within {LIMIT_S:.0f} s, got {came}")
            await asyncio.sleep(ASK_S)

    async def wait_until_recorded(self) -> None:
        """Wait until no delivery waits. Raises after ten minutes."""
        until = monotonic() + LIMIT_S
        while await self.conn.fetchval("SELECT EXISTS (SELECT FROM delivery_queue)"):
            if monotonic() > until:
                raise RuntimeError(f"expected every delivery to be recorded within {LIMIT_S:.0f} s")
            await asyncio.sleep(ASK_S)

    async def heal(self) -> int:
        """Let the silent endpoints answer, what they hold and what comes; return how many requests they left without."""
        async with self.http.post(self.url("/heal")) as answer:
            return int(await answer.json())

    def read_cpu(self, worker: Any) -> dict[str, float]:
        """Return the CPU seconds that each process used so far: on a busy machine they say more than the clock."""
        pids = {"worker": worker.pid, "Postgres": self.ground.postgres.pid or 0, "sink": self.sink_pid}
        return {name: cpu_s(pid) or 0 for name, pid in pids.items()}

    def _by_customer(self) -> list[tuple[Target, ...]]:
        firsts = range(0, len(self.targets), ENDPOINTS_OF_A_CUSTOMER)
        return [self.targets[first : first + ENDPOINTS_OF_A_CUSTOMER] for first in firsts]

    async def _get(self, path: str) -> Any:
        async with self.http.get(self.url(path)) as answer:
            return await answer.json()


@asynccontextmanager
async def prepare(ground: Ground, *, endpoints: int, silent: int = 0) -> AsyncIterator[Subscribers]:
    """Make a database with so many endpoints, the last `silent` of which never answer, and start their process."""
    port = free_port()
    async with (
        fresh_database(ground) as urls,
        running(ground, "bench.sink", str(port), port=port, environ={}) as sink,
        asyncpg.create_pool(urls.superuser, min_size=1, max_size=1) as pool,
        pool.acquire() as conn,
        aiohttp.ClientSession(raise_for_status=True) as http,
    ):
        environ = {**urls.environ, "BANKFEED_OUTBOUND_ALLOW": f"{HOST}/32"}
        database = await Database.connect(urls.settings)
        waker = Waker(open_redis(ground.redis.url()))
        try:
            async with database.queue() as queue:
                await make_partitions(queue, weeks_ahead=1)
            yield Subscribers(
                ground=ground,
                urls=urls,
                environ=environ,
                targets=await _make_targets(database, urls, port, endpoints, silent),
                database=database,
                waker=waker,
                conn=conn,
                http=http,
                sink_port=port,
                sink_pid=sink.pid,
            )
        finally:
            await waker.close()
            await database.close()


async def _make_targets(database: Database, urls: Urls, port: int, endpoints: int, silent: int) -> tuple[Target, ...]:
    sealer = urls.settings.sealer()
    made = []
    for first in range(1, endpoints + 1, ENDPOINTS_OF_A_CUSTOMER):
        async with database.app() as conn:
            customer_id = await insert_customer(conn, name=f"Firm {first}")
            for number in range(first, min(first + ENDPOINTS_OF_A_CUSTOMER, endpoints + 1)):
                path = f"/silent/{number}" if number > endpoints - silent else f"/to/{number}"
                new = NewEndpoint(url=f"http://{HOST}:{port}{path}", client_ids=(number,))
                added = await add_endpoint(conn, sealer, customer_id, new)
                made.append(Target(number=number, customer_id=customer_id, endpoint_id=added.id, path=path))
    return tuple(made)


def describe_cpu(before: Mapping[str, float], after: Mapping[str, float], *, deliveries: int) -> str:
    """Say what a delivery cost.

    >>> describe_cpu({"worker": 1.0}, {"worker": 2.5}, deliveries=1_000)
    'CPU ms a delivery: worker 1.50'
    """
    used = (f"{name} {1000 * (after[name] - before[name]) / deliveries:.2f}" for name in before)
    return f"CPU ms a delivery: {', '.join(used)}"
