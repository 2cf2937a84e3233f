"""Finding the source of a webhook: kept for seconds, and safe from strangers who try addresses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.errors import NotFound, Unavailable
from ingress import sources
from ingress.sources import Sources
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.seed import make_sources


@pytest.fixture
async def found(database: Database, owner: asyncpg.Connection) -> Sources:
    """Sources of a database that has the platform's two."""
    await make_sources(owner)
    return Sources(database)


@asynccontextmanager
async def slow_look_ups(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold every look-up until the block ends."""
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE")
        yield


async def count_waiting(superuser: asyncpg.Connection) -> int:
    waiting: int = await superuser.fetchval(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE NOT granted AND datname = current_database()"
    )
    return waiting


@pytest.mark.parametrize(
    "slug", ["%00", "%00/secret", "LedgerSync", "-ledgersync", "led%20ger", "a" * 64, "ledgersync%0A", "%C3%BC", "%FF"]
)
async def test_what_cannot_be_a_slug_is_404_without_a_look_up(
    door: Door, superuser: asyncpg.Connection, slug: str
) -> None:
    """A slug that the schema would refuse never reaches Postgres, and looks like any other unknown address."""
    async with slow_look_ups(superuser):
        status, answer, _ = await door.post(f"/webhooks/{slug}", b"{}")
    assert (404, "there is no such source") == (status, answer["message"])


@pytest.mark.parametrize("target", [b"/webhooks/\xff", b"/webhooks/ledgersync/\xff\xfe", b"/webhooks/ledgersync/%00"])
async def test_any_bytes_in_the_path_are_answered(door: Door, target: bytes) -> None:
    """Bytes that are no text are a wrong address or a bad request, never an error of ours."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.ingress.settings.port)
    writer.write(b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    assert (await reader.readline()).split()[1] in {b"400", b"404"}
    writer.close()
    await writer.wait_closed()


async def test_strangers_drive_out_no_source(found: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many unknown slugs are tried, known sources stay kept, and the unknown ones kept are bounded."""
    monkeypatch.setattr(sources, "KEPT_STRANGERS", 3)
    monkeypatch.setattr(sources, "KEPT_SOURCES", 3)
    await found.get("ledgersync")
    for number in range(10):
        with pytest.raises(NotFound):
            await found.get(f"stranger-{number}")
    assert ["ledgersync"] == list(found._kept)
    assert ["stranger-7", "stranger-8", "stranger-9"] == list(found._strangers)


async def test_a_slug_is_looked_up_once_at_a_time(found: Sources, superuser: asyncpg.Connection) -> None:
    """Many who ask for the same slug at once wait for one look-up."""
    async with slow_look_ups(superuser):
        asking = [asyncio.create_task(found.get("ledgersync")) for _ in range(20)]
        while not await count_waiting(superuser):
            await asyncio.sleep(0)
        assert 1 == await count_waiting(superuser) == len(found._looking)
    assert 1 == len({(await task).id for task in asking})
    assert {} == found._looking


async def test_strangers_take_few_connections(
    found: Sources, database: Database, superuser: asyncpg.Connection
) -> None:
    """A flood of unknown slugs leaves connections for commits, and a key is still renewed."""
    async with slow_look_ups(superuser):
        flood = [asyncio.create_task(found.get(f"stranger-{number}")) for number in range(100)]
        while await count_waiting(superuser) < sources.LOOK_UPS_AT_ONCE:
            await asyncio.sleep(0)
        async with database.queue_statement() as conn:
            assert 1 == await conn.fetchval("SELECT 1")
        assert sources.LOOK_UPS_AT_ONCE == await count_waiting(superuser)
    assert {NotFound} == {type(each) for each in await asyncio.gather(*flood, return_exceptions=True)}


async def test_too_many_strangers_are_refused(found: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups that wait are bounded."""
    monkeypatch.setattr(sources, "LOOK_UPS_WAITING", 1)
    asking = [asyncio.create_task(found.get(slug)) for slug in ("one", "two")]
    assert [NotFound, Unavailable] == [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)]


async def test_a_slow_look_up_serves_what_is_kept(
    found: Sources, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Postgres does not answer in time a kept source goes on, one never seen is unavailable, and it recovers."""
    monkeypatch.setattr(sources, "KEPT_S", -1)
    monkeypatch.setattr(sources, "LOOK_UP_S", 0.05)
    kept = await found.get("ledgersync")
    async with slow_look_ups(superuser):
        assert kept is await found.get("ledgersync")
        with pytest.raises(Unavailable):
            await found.get("finicity")
        looking = set(found._looking.values())
    await asyncio.wait(looking)
    monkeypatch.setattr(sources, "KEPT_S", 15)
    assert "finicity" == (await found.get("finicity")).dialect
    assert kept is not await found.get("ledgersync")


async def test_a_source_that_is_gone_is_forgotten(
    found: Sources, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept source is looked up again after its seconds; one that was deleted is then unknown."""
    await found.get("ledgersync")
    await owner.execute("UPDATE sources SET slug = 'renamed' WHERE slug = 'ledgersync'")
    monkeypatch.setattr(sources, "KEPT_S", -1)
    with pytest.raises(NotFound):
        await found.get("ledgersync")
    assert [] == list(found._kept)


async def test_the_door_stays_open_while_look_ups_are_slow(door: Door, superuser: asyncpg.Connection) -> None:
    """An address that cannot be looked up in time is 503 with Retry-After."""
    async with slow_look_ups(superuser):
        status, _, headers = await door.post(LEDGERSYNC, b"{}")
    assert (503, "5") == (status, headers["Retry-After"])
