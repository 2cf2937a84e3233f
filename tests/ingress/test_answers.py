"""What the door answers, byte by byte: 200 from a mould, and when it must not be."""

import asyncio
import doctest
from email.utils import parsedate_to_datetime

import pytest

from ingress import answers
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.ingress.test_webhooks import event


def request(n: int, version: str = "1.1", *more: str) -> bytes:
    body = event(f"e{n}")
    head = [f"POST {LEDGERSYNC} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-1])}
    return head[0], headers, await reader.readexactly(int(headers["content-length"]))


def test_the_mould_is_as_written() -> None:
    """The answer's example runs."""
    assert doctest.testmod(answers).failed == 0


async def test_each_of_many_on_one_connection_is_answered(door: Door) -> None:
    """Requests that follow each other without waiting are answered in order, with a date, on an open connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.ingress.settings.port)
    writer.write(b"".join(request(n) for n in range(40)))
    for _ in range(40):
        status, headers, body = await read_answer(reader)
        assert ("HTTP/1.1 200 OK", "application/json", b'{"status":"OK"}') == (status, headers["content-type"], body)
        assert parsedate_to_datetime(headers["date"]).year >= 2024
        assert "connection" not in headers
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("version", "more", "connection"),
    [("1.1", ["Connection: close"], "close"), ("1.0", [], None), ("1.0", ["Connection: keep-alive"], "keep-alive")],
)
async def test_a_sender_that_closes_is_told(door: Door, version: str, more: list[str], connection: str | None) -> None:
    """Where the connection ends with the answer, or the version is an old one, the answer says what it has to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.ingress.settings.port)
    writer.write(request(1, version, *more))
    status, headers, body = await read_answer(reader)
    assert (f"HTTP/{version} 200 OK", connection, b'{"status":"OK"}') == (status, headers.get("connection"), body)
    if connection != "keep-alive":
        assert b"" == await reader.read()
    writer.close()
    await writer.wait_closed()
