"""How processes end: everybody in flight is answered, and nobody waits for a Postgres that does not answer."""

import asyncio
import os
import signal
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import asyncpg
import pytest

from bankfeed.db import Database, database
from bankfeed.local import LocalPostgres
from bankfeed.settings import Settings
from ingress import app, intake
from tests.conftest import Urls
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_intake import slow_commits
from tests.ingress.test_sources import count_waiting
from tests.ingress.test_webhooks import event
from tests.processes import Process
from tests.seed import make_sources

Connection = tuple[StreamReader, StreamWriter]


@pytest.fixture
async def ingress(tmp_path: Path, urls: Urls, owner: asyncpg.Connection) -> AsyncIterator[Process]:
    """Ingress as a process of its own."""
    await make_sources(owner)
    process = Process("ingress", tmp_path / "ingress.log", urls.environ())
    await process.start()
    yield process
    process.kill()


async def send(connection: Connection, body: bytes, *, sent: int | None = None) -> None:
    """Send an event, or the first bytes of its body, on a connection that stays open."""
    head = f"POST {LEDGERSYNC} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection[1].write(head + body[:sent])
    await connection[1].drain()


async def read_answer(connection: Connection) -> tuple[int, bool]:
    """Return the status, and whether the connection is to be closed."""
    head = await connection[0].readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await connection[0].readexactly(length)
    return int(head.split()[1]), b"connection: close" in head.lower()


async def connect(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port)


async def close(connections: list[Connection]) -> None:
    for _, writer in connections:
        writer.close()


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """Stop processes in their tracks: their connections stay open, and nobody answers."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def list_servers(postgres: LocalPostgres, superuser: asyncpg.Connection) -> list[int]:
    """Name Postgres' main process and those that serve our pools."""
    assert postgres.pid is not None
    rows = await superuser.fetch(
        "SELECT pid FROM pg_stat_activity WHERE usename IN ('bankfeed_app', 'bankfeed_queue')"
        " AND datname = current_database()"
    )
    return [postgres.pid, *(row["pid"] for row in rows)]


async def is_claiming_a_refresh(superuser: asyncpg.Connection) -> bool:
    """Tell whether a worker's claim waits for a lock."""
    is_waiting: bool = await superuser.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%claim_connection%')"
    )
    return is_waiting


async def is_listening(port: int) -> bool:
    try:
        await close([await connect(port)])
    except ConnectionError:
        return False
    return True


async def test_sigterm_answers_what_is_in_flight(ingress: Process, superuser: asyncpg.Connection) -> None:
    """At SIGTERM nobody new is let in; events already sent are committed and answered 200, and then it ends."""
    connections = [await connect(ingress.port) for _ in range(30)]
    for number, each in enumerate(connections):
        await send(each, event(f"before-{number}"))
        assert (200, False) == await read_answer(each)
    async with slow_commits(superuser):
        for number, each in enumerate(connections):
            await send(each, event(f"during-{number}"))
        while not await count_waiting(superuser):
            await asyncio.sleep(0)
        stopping = asyncio.create_task(ingress.stop())
        while await is_listening(ingress.port):
            await asyncio.sleep(0)
    answers = [await read_answer(each) for each in connections]
    assert {(200, True)} == set(answers)
    assert 0 == await stopping
    assert 60 == await superuser.fetchval("SELECT count(*) FROM inbox")
    await close(connections)


async def test_sigterm_ends_a_busy_ingress_without_a_broken_answer(ingress: Process) -> None:
    """Senders that never pause have an answer to each event they sent: the last one says that the connection closes."""

    async def keep_sending(name: str) -> int:
        connection = await connect(ingress.port)
        count = 0
        is_last = False
        while not is_last:
            await send(connection, event(f"{name}-{count}"))
            status, is_last = await read_answer(connection)
            assert 200 == status
            count += 1
            started.set()
        await close([connection])
        return count

    started = asyncio.Event()
    senders = [asyncio.create_task(keep_sending(f"sender-{number}")) for number in range(20)]
    await started.wait()
    assert 0 == await ingress.stop()
    assert all(await asyncio.gather(*senders))


async def test_a_frozen_postgres_holds_up_nobody(
    ingress: Process, postgres: LocalPostgres, superuser: asyncpg.Connection
) -> None:
    """While Postgres says nothing at all, a sender is told 503 within seconds, also at SIGTERM, which ends it in time."""
    connections = [await connect(ingress.port) for _ in range(2)]
    await send(connections[0], event())
    assert (200, False) == await read_answer(connections[0])
    with frozen(await list_servers(postgres, superuser)):
        began = monotonic()
        for number, each in enumerate(connections):
            await send(each, event(f"frozen-{number}"))
        stopping = asyncio.create_task(ingress.stop())
        assert {(503, True)} == {await read_answer(each) for each in connections}
        assert monotonic() - began < 6
        assert 0 == await stopping
        assert monotonic() - began < 20
    await close(connections)


async def test_a_worker_ends_although_postgres_is_frozen(
    tmp_path: Path, urls: Urls, postgres: LocalPostgres, superuser: asyncpg.Connection, owner: asyncpg.Connection
) -> None:
    """SIGTERM ends a worker soon after its grace time, also where Postgres says nothing at all.

    It claims a refresh just then, which it sees through even when it is cancelled, to give back what it gets.
    """
    environ = urls.environ() | {"BANKFEED_SWEEP_S": "1", "BANKFEED_GRACE_S": "1"}
    worker = Process("worker", tmp_path / "worker.log", environ)
    await worker.start()
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE clients")
            while not await is_claiming_a_refresh(superuser):
                pass
            with frozen(await list_servers(postgres, superuser)):
                began = monotonic()
                assert 0 == await worker.stop()
                assert monotonic() - began < 20
    finally:
        worker.kill()
    assert "Traceback" not in worker.log.read_text()


async def test_what_waits_is_committed_whatever_ended_the_group_commit(
    door: Door, superuser: asyncpg.Connection
) -> None:
    """An event that was taken in is committed and answered at the end, even where no group commit runs any more."""
    assert door.ingress._committing is not None
    door.ingress._committing.cancel()
    await asyncio.wait({door.ingress._committing})
    sending = asyncio.create_task(door.post(LEDGERSYNC, event()))
    while not door.ingress.webhooks.busy:
        await asyncio.sleep(0)
    await door.ingress.close()
    assert 200 == (await sending)[0]
    assert 1 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_what_cannot_be_committed_is_refused_at_the_end(
    door: Door, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time to finish is over everybody who waits is told 503, queued or on the way."""
    monkeypatch.setattr(app, "FINISH_S", 0.1)
    monkeypatch.setattr(intake, "BATCH_EVENTS", 1)
    async with slow_commits(superuser):
        sending = [asyncio.create_task(door.post(LEDGERSYNC, event(f"e{n}"))) for n in range(9)]
        while door.ingress.webhooks.busy < 9:
            await asyncio.sleep(0)
        await door.ingress.close()
        assert {503} == {(await each)[0] for each in sending}


async def test_a_half_sent_body_is_refused_at_the_end(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive once ingress stops is told to come again."""
    monkeypatch.setattr("ingress.webhooks.LAST_BODY_S", 0.05)
    connection = await connect(door.ingress.settings.port)
    await send(connection, event(), sent=10)
    while not door.ingress.webhooks._reading:
        await asyncio.sleep(0)
    closing = asyncio.create_task(door.ingress.close())
    assert (503, True) == await read_answer(connection)
    await close([connection])
    await closing


async def test_a_cancelled_transaction_ends_at_once(
    database: Database, postgres: LocalPostgres, superuser: asyncpg.Connection
) -> None:
    """Who is cancelled is cancelled, whatever Postgres does; its connection is dropped and the pool goes on."""

    async def look() -> None:
        async with database.queue() as conn:
            entered.set()
            await conn.execute("SELECT pg_sleep(60)")

    entered = asyncio.Event()
    task = asyncio.create_task(look())
    await entered.wait()
    with frozen(await list_servers(postgres, superuser)):
        began = monotonic()
        task.cancel()
        late = asyncio.create_task(look())
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.wait({task, late})
        assert task.cancelled()
        assert late.cancelled()
        assert monotonic() - began < 2
    async with database.queue() as conn:
        assert 1 == await conn.fetchval("SELECT 1")


async def test_closing_the_pools_is_bounded(
    settings: Settings, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection in use holds up the end of its pool for a moment only; it is dropped."""
    monkeypatch.setattr(database, "CLOSE_S", 0.05)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bankfeed queue'"
    before = await superuser.fetchval(count)
    pools = await Database.connect(settings)
    await pools.queue_pool.acquire()
    began = monotonic()
    await pools.close()
    assert monotonic() - began < 5
    async with asyncio.timeout(10):
        while await superuser.fetchval(count) > before:
            await asyncio.sleep(0)
