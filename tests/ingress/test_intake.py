"""The group commit, when Postgres misbehaves and senders leave."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ingress import intake
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_webhooks import event

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
