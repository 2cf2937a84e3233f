"""What tests need, as the real thing: an embedded Postgres and Redis for each test process, a database for each test."""

import asyncio
import faulthandler
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from aiohttp import web

from bankfeed.db import Database
from bankfeed.db.schema import load_schema
from bankfeed.local import LocalPostgres, LocalRedis, erase
from bankfeed.runtime import collect_rarely
from bankfeed.settings import Settings
from tests.databases import Databases
from tests.finbank import free_port
from tests.seed import SECRET_KEYS
from tests.subscriber import Subscriber

ROLES = ("bankfeed_owner", "bankfeed_app", "bankfeed_queue")
PASSWORD = "tests only"
TEARDOWN_LIMIT_S = 150
STDERR = 2
TESTS = Path(__file__).parent
LONGEST_FIRST = ("contract", "story", "worker", "ingress", "db", "fuzz", "pure")


def pytest_sessionstart() -> None:
    """Collect garbage as the processes do, whose code runs in here."""
    collect_rarely()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that nobody is idle at the end."""
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """End a process whose loop waits for ever for a thread of a failed test, which pytest-timeout does not; say where it is."""
    faulthandler.dump_traceback_later(TEARDOWN_LIMIT_S, exit=True, file=STDERR)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """One database, as each role."""

    name: str
    superuser: str
    owner: str
    app: str
    queue: str

    def environ(self) -> dict[str, str]:
        """Say it in the environment of a process."""
        return {
            "BANKFEED_DATABASE_URL": self.app,
            "BANKFEED_QUEUE_DATABASE_URL": self.queue,
            "BANKFEED_SECRET_KEYS": SECRET_KEYS,
        }


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for this test process's servers, gone at the end."""
    path = Path(tempfile.mkdtemp(prefix="bankfeed-tests-"))
    yield path
    erase(path)


@pytest.fixture(scope="session")
def postgres(folder: Path) -> Iterator[LocalPostgres]:
    """A Postgres of our own; without fsync, because no test pulls the plug, and with passwords that are quick to check."""
    with LocalPostgres(folder, settings={"fsync": "off", "scram_iterations": "1"}) as server:
        yield server


@pytest.fixture(scope="session")
def redis(folder: Path) -> Iterator[LocalRedis]:
    """A Redis of our own."""
    with LocalRedis(folder) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: LocalPostgres) -> str:
    """Name a database with the schema, loaded by an owner who is not a superuser, to copy for each test."""

    async def make() -> None:
        conn = await asyncpg.connect(postgres.url())
        await conn.execute(f"CREATE ROLE bankfeed_owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        await conn.execute("CREATE DATABASE bankfeed_template OWNER bankfeed_owner")
        await conn.close()
        owner = await asyncpg.connect(postgres.url("bankfeed_owner", "bankfeed_template", PASSWORD))
        await load_schema(owner)
        for role in ("bankfeed_app", "bankfeed_queue"):
            await owner.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        await _drop_far_weeks(owner)
        await owner.close()

    asyncio.run(make())
    return "bankfeed_template"


async def _drop_far_weeks(owner: asyncpg.Connection) -> None:
    """Leave this week's partitions and the next one's: each test copies every file of this database."""
    for row in await owner.fetch(
        """
        SELECT relname FROM (
            SELECT c.relname, row_number() OVER (PARTITION BY i.inhparent ORDER BY c.relname) AS week
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND c.relname ~ '_\\d{4}w\\d{2}$'
        ) weeks WHERE week > 2
        """
    ):
        await owner.execute(f'DROP TABLE "{row["relname"]}"')


@pytest.fixture(scope="session")
async def databases(postgres: LocalPostgres, template: str) -> AsyncIterator[Databases]:
    """The databases that this test process has made."""
    made = Databases(postgres, template)
    yield made
    await made.close()


@pytest.fixture
async def urls(postgres: LocalPostgres, databases: Databases) -> AsyncIterator[Urls]:
    """A database with the schema and nothing in it."""
    name = await databases.take()
    yield Urls(
        name=name,
        superuser=postgres.url(database=name),
        owner=postgres.url("bankfeed_owner", name, PASSWORD),
        app=postgres.url("bankfeed_app", name, PASSWORD),
        queue=postgres.url("bankfeed_queue", name, PASSWORD),
    )
    await databases.give_back(name)


@pytest.fixture
def settings(urls: Urls) -> Settings:
    """Settings of a process on that database, without Redis."""
    return Settings.for_process({**urls.environ(), "BANKFEED_POOL_CONNECTIONS": "5"})


@pytest.fixture
async def database(settings: Settings, urls: Urls, databases: Databases) -> Database:
    """The two pools of that database; tests share them one after the other."""
    return await databases.made[urls.name].open(settings)


@pytest.fixture
async def owner(urls: Urls, databases: Databases) -> asyncpg.Connection:
    """A connection of the owner, who loads the schema and makes sources."""
    return await databases.made[urls.name].connect(urls.owner)


@pytest.fixture
async def superuser(urls: Urls, databases: Databases) -> asyncpg.Connection:
    """A connection that sees everything, to look at what the product did."""
    return await databases.made[urls.name].connect(urls.superuser)


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    """A subscriber's server."""
    port = free_port()
    made = Subscriber(f"http://127.0.0.1:{port}/hook")
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made
    await runner.cleanup()
