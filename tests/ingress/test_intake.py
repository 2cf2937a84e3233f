"""The group commit, when Postgres misbehaves and senders leave."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.arrival import Arrival, Incoming
from bankfeed.errors import RefusedData
from bankfeed.jobs import QUEUE_NAME, Waker, open_redis
from bankfeed.local import LocalRedis
from bankfeed.model import EventType, SourceId
from ingress import intake
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_webhooks import event
from tests.seed import make_sources

FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it holds %', NEW; END $$;
CREATE TRIGGER failing BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION fail();
"""


@asynccontextmanager
async def slow_commits(superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold every commit until the block ends."""
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE received IN EXCLUSIVE MODE")
        yield


async def test_no_error_of_postgres_ends_the_door(
    door: Door, superuser: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that nobody foresaw is 503, logged without the row that its text quotes, and the next event is tried."""
    await superuser.execute(FAIL)
    answers = await asyncio.gather(*(door.post(LEDGERSYNC, event(f"quoted-{n}")) for n in range(5)))
    assert {503} == {status for status, _, _ in answers}
    log = capsys.readouterr().out
    assert "intake.broken" in log
    assert "P0001" in log
    assert "quoted-" not in log
    await superuser.execute("DROP TRIGGER failing ON inbox")
    assert 200 == (await door.post(LEDGERSYNC, event("quoted-1")))[0]


async def test_a_slow_commit_is_503_and_goes_on(
    door: Door, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender is not left waiting for a slow Postgres; what it sent is committed later all the same, and once."""
    monkeypatch.setattr(intake, "STORE_S", 0.05)
    async with slow_commits(superuser):
        assert 503 == (await door.post(LEDGERSYNC, event()))[0]
    monkeypatch.undo()
    assert 200 == (await door.post(LEDGERSYNC, event()))[0]
    assert 1 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_waiting_bytes_are_bounded(
    door: Door, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound of waiting bytes a sender is told to come back; once there is room again it is heard."""
    await door.post(LEDGERSYNC, event("first"))
    monkeypatch.setattr(intake, "WAITING_BYTES", 5_000)
    async with slow_commits(superuser):
        sending = [asyncio.create_task(door.post(LEDGERSYNC, event(f"e{n}", pad="x" * 900))) for n in range(40)]
        done, _ = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        assert {503} == {task.result()[0] for task in done}
        assert door.ingress._intake is not None
        assert door.ingress._intake._waiting_bytes <= 5_000
    statuses = [(await task)[0] for task in sending]
    assert {200, 503} == set(statuses)
    assert statuses.count(200) + 1 == await superuser.fetchval("SELECT count(*) FROM inbox")
    assert 0 == door.ingress._intake._waiting_bytes
    assert 200 == (await door.post(LEDGERSYNC, event("last")))[0]


@pytest.mark.parametrize(
    "sent", [b"Content-Length: 100\r\n\r\nhalf a body", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhalf "]
)
async def test_a_sender_that_leaves_is_no_error(door: Door, caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    """A connection that breaks in the middle of a body is counted as gone, and nobody logs a traceback."""
    caplog.set_level(logging.WARNING)
    _, writer = await asyncio.open_connection("127.0.0.1", door.ingress.settings.port)
    writer.write(f"POST {LEDGERSYNC} HTTP/1.1\r\nHost: x\r\n".encode() + sent)
    while not door.ingress.webhooks.busy:
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    while door.ingress.webhooks.busy:
        await asyncio.sleep(0)
    assert 'outcome="gone"' in (await door.get("/metrics"))[1]
    assert [] == caplog.records


def incoming(source_id: SourceId, event_id: str, *, name: str = "transactionsRefreshed") -> Incoming:
    return Incoming(
        source_id=source_id,
        name=name,
        event_type=EventType.TRANSACTIONS_REFRESHED,
        event_id=event_id,
        customer_ref=None,
        login_refs=(),
        account_refs=("1",),
        body=event_id.encode(),
    )


async def test_one_bad_row_fails_alone(door: Door, superuser: asyncpg.Connection) -> None:
    """Of a batch that Postgres refuses, only the row that it cannot store is refused; the others are committed."""
    group_commit = door.ingress._intake
    assert group_commit is not None
    source_id = await superuser.fetchval("SELECT id FROM sources WHERE slug = 'ledgersync'")
    batch = [incoming(source_id, f"e{n}", name="a\x00b" if n == 13 else "added") for n in range(30)]
    became = await asyncio.gather(*map(group_commit.store, batch), return_exceptions=True)
    assert [13] == [n for n, each in enumerate(became) if isinstance(each, RefusedData)]
    assert {Arrival.ACCEPTED} == {each for n, each in enumerate(became) if n != 13}
    assert 29 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_a_commit_goes_on_when_the_sender_leaves(door: Door, superuser: asyncpg.Connection) -> None:
    """What a sender has sent is committed though nobody waits for the answer any more."""
    body = event("left")
    async with slow_commits(superuser):
        _, writer = await asyncio.open_connection("127.0.0.1", door.ingress.settings.port)
        head = f"POST {LEDGERSYNC} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        while not await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
        writer.transport.abort()
    while door.ingress.webhooks.busy:
        await asyncio.sleep(0)
    assert ["left"] == [row["event_id"] for row in await superuser.fetch("SELECT event_id FROM inbox")]


async def test_replicas_with_the_same_events_do_not_deadlock(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Two replicas that are sent the same events in different orders commit each once, and refuse none."""
    source_id = (await make_sources(owner)).ledgersync
    replicas = [intake.Intake(database, Waker(None), most_waiting=2_000) for _ in range(2)]
    committing = [asyncio.create_task(replica.run()) for replica in replicas]
    for first in range(0, 1_000, 100):
        events = [incoming(source_id, f"e{n:04d}") for n in range(first, first + 100)]
        orders = (events, events[::-1])
        arrivals = await asyncio.gather(
            *(replica.store(each) for replica, order in zip(replicas, orders, strict=True) for each in order)
        )
        assert {Arrival.ACCEPTED: 100, Arrival.REPEATED: 100} == Counter(arrivals)
    assert 1_000 == await superuser.fetchval("SELECT count(*) FROM inbox")
    for task in committing:
        task.cancel()
    await asyncio.wait(committing)


async def test_one_wake_is_outstanding(door: Door, redis: LocalRedis) -> None:
    """However many batches are committed, at most one wake-up is on its way, and no answer waits for it."""
    client = open_redis(redis.url())
    await client.flushall()
    door.ingress._intake._waker = waker = Waker(client)  # type: ignore[union-attr]
    for n in range(30):
        assert 200 == (await door.post(LEDGERSYNC, event(f"e{n}")))[0]
        assert len(waker._sending) <= 1
    while waker._sending:
        await asyncio.sleep(0)
    assert 1 <= await client.zcard(QUEUE_NAME) <= 30
    await waker.close()
