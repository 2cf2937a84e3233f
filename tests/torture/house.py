"""The parts of a run, all real: Postgres with fsync, Redis, Finbank, the product's processes, and proxies between them."""

import asyncio
import os
import random
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bankfeed.db import Database
from bankfeed.db.client import insert_client, upsert_enrolment
from bankfeed.db.customer import insert_customer
from bankfeed.db.schema import load_schema
from bankfeed.db.source import upsert_platform_source
from bankfeed.endpoints import NewEndpoint, add_endpoint
from bankfeed.local import LocalPostgres, LocalRedis, erase
from bankfeed.model import EventType
from bankfeed.settings import Settings
from tests.finbank import FinbankProcess
from tests.seed import ENDPOINT_SECRET, SECRET_KEYS, make_sources
from tests.torture.facts import JOURNAL
from tests.torture.listener import Listener
from tests.torture.plan import Plan
from tests.torture.post import SIGNED_SECRET, Post
from tests.torture.proxy import FaultProxy
from tests.torture.slot import Slot

PASSWORD = "torture only"
CUSTOMERS = 2
# Short, so that what a kill left behind is taken up within the run.
LEASE_S = 3
SWEEP_S = 1
ATTEMPT_S = 2
DATABASE_S = 3


class SteadyRedis(LocalRedis):
    """A Redis that keeps its password, so that whoever knew it comes back to it after a restart."""

    def _prepare(self) -> None:
        if not self.password:
            super()._prepare()


@dataclass(slots=True, kw_only=True)
class House:
    """Everything that runs. `customers` are the aggregator's refs of the clients."""

    plan: Plan
    folder: Path
    postgres: LocalPostgres
    redis: SteadyRedis
    finbank: FinbankProcess
    proxies: dict[str, FaultProxy]
    post: Post
    listener: Listener
    ingresses: list[Slot] = field(default_factory=list)
    workers: list[Slot] = field(default_factory=list)
    customers: list[str] = field(default_factory=list)

    @property
    def slots(self) -> Sequence[Slot]:
        """All processes of the product."""
        return (*self.ingresses, *self.workers)

    async def connect(self) -> asyncpg.Connection:
        """Connect to Postgres itself, as somebody who sees everything."""
        return await asyncpg.connect(self.postgres.url(database="bankfeed"), timeout=5, command_timeout=60)

    async def stop_postgres(self) -> None:
        """Stop Postgres at once, as a power cut would as far as it knows; its log is replayed at the next start."""
        await self._end(self.postgres.pid, signal.SIGQUIT)

    async def kill_redis(self) -> None:
        """Kill Redis; the next one is empty."""
        await self._end(self.redis.pid, signal.SIGKILL)

    async def _end(self, pid: int | None, signal_number: signal.Signals) -> None:
        server = self.postgres if pid == self.postgres.pid else self.redis
        if pid is not None:
            os.kill(pid, signal_number)
            while server.pid is not None:
                await asyncio.sleep(0.01)

    def keep_logs(self, *differences: str) -> Path:
        """Copy the logs to where they outlive the run, with what differs; return the folder."""
        kept = Path(tempfile.mkdtemp(prefix="bankfeed-torture-logs-"))
        for log in (*self.folder.glob("*.log"), self.postgres.home / "postgres.log"):
            shutil.copy(log, kept)
        (kept / "differences.txt").write_text("\n".join(differences))
        return kept

    def complaints(self) -> list[str]:
        """List what went wrong that no fault explains."""
        by_slots = [text for slot in self.slots for text in (*slot.complaints, *slot.list_bugs())]
        return [*self.post.complaints, *self.listener.complaints, *by_slots]


@asynccontextmanager
async def open_house(plan: Plan) -> AsyncIterator[House]:
    """Start everything but the product's processes; stop and delete everything at the end."""
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bankfeed-torture-"))
        stack.callback(erase, folder)
        postgres = stack.enter_context(LocalPostgres(folder, settings={"max_connections": "200"}))
        redis = stack.enter_context(SteadyRedis(folder))
        finbank = FinbankProcess(
            folder / "finbank", BANKFEED_FINBANK_SEED=str(plan.seed), BANKFEED_FINBANK_HISTORY_DAYS="30"
        )
        finbank.start()
        stack.callback(finbank.stop)
        proxies = {
            "postgres": FaultProxy(lambda: postgres.port),
            "redis": FaultProxy(lambda: redis.port),
            "finbank": FaultProxy(lambda: finbank.port),
        }
        for proxy in proxies.values():
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        listener = Listener()
        await listener.start()
        stack.push_async_callback(listener.stop)
        house = House(
            plan=plan,
            folder=folder,
            postgres=postgres,
            redis=redis,
            finbank=finbank,
            proxies=proxies,
            post=Post((), random.Random(plan.seed)),  # noqa: S311 - faults, nothing secret
            listener=listener,
        )
        stack.push_async_callback(house.post.stop)
        await _furnish(house)
        yield house


async def _furnish(house: House) -> None:
    """Make the database with its tenants, announce to the relay, and make the slots."""
    environ = await _make_database(house)
    house.ingresses = [_slot(house, "ingress", n, environ) for n in range(house.plan.ingresses)]
    house.workers = [_slot(house, "worker", n, environ) for n in range(house.plan.workers)]
    house.post.ingresses = [slot.url for slot in house.ingresses]
    await house.post.start()
    await house.finbank.wait_until_up()
    await house.finbank.control(
        "POST",
        "announce",
        dialect="ledgersync",
        ledgersyncUrl=f"{house.post.relay_url}/ledgersync",
        finicityUrl=f"{house.post.relay_url}/finicity",
    )
    await _make_tenants(house, environ)


def _slot(house: House, module: str, number: int, environ: dict[str, str]) -> Slot:
    return Slot(f"{module} {number + 1}", module, folder=house.folder, environ=environ)


async def _make_database(house: House) -> dict[str, str]:
    """Make roles, schema and the journal; return how the product's processes reach everything, through the proxies."""
    conn = await asyncpg.connect(house.postgres.url())
    await conn.execute(f"CREATE ROLE bankfeed_owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    await conn.execute("CREATE DATABASE bankfeed OWNER bankfeed_owner")
    await conn.close()
    owner = await asyncpg.connect(house.postgres.url("bankfeed_owner", "bankfeed", PASSWORD))
    await load_schema(owner)
    for role in ("bankfeed_app", "bankfeed_queue"):
        await owner.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    sources = await make_sources(owner)
    await upsert_platform_source(
        owner,
        slug="signed",
        connector="finicity",
        dialect="ledgersync",
        verifier="standard",
        secrets=[SIGNED_SECRET],
        bound_to=sources.finicity,
    )
    await owner.close()
    superuser = await house.connect()
    await superuser.execute(JOURNAL)
    await superuser.close()

    def through(name: str, url: str, port: int) -> str:
        return url.replace(f":{port}", f":{house.proxies[name].port}", 1)

    return {
        "BANKFEED_DATABASE_URL": through("postgres", _role_url(house, "app"), house.postgres.port),
        "BANKFEED_QUEUE_DATABASE_URL": through("postgres", _role_url(house, "queue"), house.postgres.port),
        "BANKFEED_REDIS_URL": through("redis", house.redis.url(), house.redis.port),
        **house.finbank.environ(),
        "BANKFEED_FINICITY_URL": f"http://127.0.0.1:{house.proxies['finbank'].port}",
        "BANKFEED_OUTBOUND_ALLOW": "127.0.0.0/8",
        "BANKFEED_SECRET_KEYS": SECRET_KEYS,
        "BANKFEED_LEASE_S": str(LEASE_S),
        "BANKFEED_SWEEP_S": str(SWEEP_S),
        "BANKFEED_ATTEMPT_S": str(ATTEMPT_S),
        "BANKFEED_DATABASE_S": str(DATABASE_S),
        "BANKFEED_POOL_CONNECTIONS": "6",
        "BANKFEED_GRACE_S": "10",
        "BANKFEED_REFRESH_SLOTS": "4",
    }


def _role_url(house: House, role: str) -> str:
    return house.postgres.url(f"bankfeed_{role}", "bankfeed", PASSWORD)


async def _make_tenants(house: House, environ: dict[str, str]) -> None:
    """Make customers, their subscribers, and clients who are enrolled at Finbank."""
    direct = {
        **environ,
        "BANKFEED_DATABASE_URL": _role_url(house, "app"),
        "BANKFEED_QUEUE_DATABASE_URL": _role_url(house, "queue"),
    }
    settings = Settings.for_process(direct)
    database = await Database.connect(settings)
    connector = house.finbank.connector()
    owner = await house.connect()
    source_id = await owner.fetchval("SELECT id FROM sources WHERE slug = 'finicity'")
    for number in range(CUSTOMERS):
        async with database.app() as conn:
            customer_id = await insert_customer(conn, name=f"Firm {number}")
            new = NewEndpoint(
                url=f"{house.listener.url}/{customer_id}", secret=ENDPOINT_SECRET, event_types=tuple(EventType)
            )
            await add_endpoint(conn, settings.sealer(), customer_id, new)
        for client in range(number, house.plan.clients, CUSTOMERS):
            ref = await connector.create_customer(f"client-{client}")
            async with database.tenant(customer_id) as conn:
                client_id = await insert_client(conn, customer_id, username=f"client-{client}", name=f"Client {client}")
                await upsert_enrolment(conn, customer_id, client_id, source_id=source_id, customer_ref=ref)
            house.customers.append(ref)
    await owner.close()
    await connector.close()
    await database.close()
