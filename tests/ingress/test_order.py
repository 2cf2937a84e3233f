"""The order of checks at the door, each before anything that comes after it, and none that can be skipped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import aiohttp
import asyncpg
import pytest

from bankfeed import runtime
from bankfeed.settings import Settings
from ingress.app import Ingress
from tests.finbank import free_port
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_webhooks import SIGNED, event

LARGEST = 262_144


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send parts, never the end, and return what comes back until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
async def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The port of an ingress that waits for headers a quarter of a second."""
    monkeypatch.setattr(runtime, "HEADERS_S", 0.25)
    ingress = Ingress(replace(settings, port=free_port()))
    await ingress.listen()
    yield ingress.settings.port
    await ingress.close()


@pytest.mark.parametrize(
    "sent", [b"", b"POST /webhooks/led", b"POST /webhooks/ledgersync HTTP/1.1\r\nHost: x\r\nX-Drip: "]
)
async def test_a_dripping_header_is_cut_off(impatient: int, sent: bytes) -> None:
    """A connection whose headers do not come is closed without an answer, also where nothing was ever sent."""
    assert b"" == await asyncio.wait_for(exchange(impatient, sent), timeout=10)


async def test_dripping_does_not_prolong(impatient: int) -> None:
    """Another byte of a header now and then does not keep a connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient)
    writer.write(b"POST /webhooks/ledgersync HTTP/1.1\r\nX-Drip: ")

    async def drip() -> None:
        while not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    answer = b""
    with suppress(ConnectionResetError):  # closed while a byte was on its way
        answer = await asyncio.wait_for(reader.read(), timeout=10)
    assert b"" == answer
    dripping.cancel()
    writer.close()


async def test_the_size_is_seen_while_the_body_streams(door: Door) -> None:
    """A body is refused at the first byte too many, though its sender has announced no length and goes on."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = f"POST {LEDGERSYNC} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = await asyncio.wait_for(exchange(door.ingress.settings.port, head, *[chunk] * 4, b"1\r\nx\r\n"), timeout=10)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_announced_size_is_refused_unread(door: Door) -> None:
    """Who announces too much is refused before the body comes."""
    head = f"POST {LEDGERSYNC} HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGEST + 1}\r\n\r\n".encode()
    answer = await asyncio.wait_for(exchange(door.ingress.settings.port, head), timeout=10)
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * (LARGEST + 1), {}, 413),
        (b"x", {"Content-Encoding": "gzip"}, 415),
        (b"x", {"Content-Encoding": "br, identity"}, 415),
        (b"not json", {}, 401),
        (b"not json", {"X-Finicity-Signature": "0" * 64}, 401),
    ],
)
async def test_the_signature_comes_after_the_size_and_before_the_json(
    door: Door, superuser: asyncpg.Connection, body: bytes, headers: dict[str, str], status: int
) -> None:
    """An unsigned body that is too large or encoded is refused for that; one that is no JSON for its signature."""
    assert status == (await door.post(SIGNED, body, headers))[0]
    assert 0 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_no_second_encoding_slips_through(door: Door) -> None:
    """The header may stand there twice; each of them counts."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{door.ingress.settings.port}{LEDGERSYNC}"
        headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
        async with session.post(url, data=event(), headers=headers, skip_auto_headers={"Content-Encoding"}) as answer:
            assert 415 == answer.status
