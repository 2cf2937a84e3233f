"""`python -m bench.sink PORT`: the subscribers beside the benchmarks of deliveries, a process of its own.

It answers 200 to every POST at once, and notes which path got which message and when. What begins with /silent/ gets no answer until
it is told to heal. It reads HTTP by hand, as little of it as aiohttp's client writes, because a server that takes more than
a tenth of a millisecond for a request would be measured itself.
"""

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import orjson
import uvloop

from bankfeed.runtime import wait_for_stop
from bench.load import HOST

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SILENT = "/silent/"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([!-~]+)", re.IGNORECASE)


@dataclass(slots=True)
class Book:
    """What came, as (path, message id or "", seconds of this machine's monotonic clock), and who waits for an answer."""

    receipts: list[tuple[str, str, float]] = field(default_factory=list)
    held: list[asyncio.Transport] = field(default_factory=list)
    is_healed: bool = False

    def answer(self, head: bytes, transport: asyncio.Transport) -> None:
        """Answer a request, or hold it."""
        method, path, *_ = head.partition(b"\r\n")[0].decode().split(" ")
        match method, path:
            case "GET", "/receipts":
                transport.write(_write_json(self._take_receipts()))
            case "GET", "/count":
                transport.write(_write_json(len(self.receipts)))
            case "GET", _:
                transport.write(OK)
            case _, "/heal":
                transport.write(_write_json(self._heal()))
            case _:
                self._receive(path, head, transport)

    def _receive(self, path: str, head: bytes, transport: asyncio.Transport) -> None:
        found = _ID.search(head)
        self.receipts.append((path, found[1].decode() if found else "", perf_counter()))
        if path.startswith(SILENT) and not self.is_healed:
            self.held.append(transport)
        else:
            transport.write(OK)

    def _take_receipts(self) -> list[tuple[str, str, float]]:
        taken, self.receipts = self.receipts, []
        return taken

    def _heal(self) -> int:
        """Answer whoever waits, gone or not; return how many those were."""
        held, self.held, self.is_healed = self.held, [], True
        for transport in held:
            transport.write(OK)
        return len(held)


class Reader(asyncio.Protocol):
    """One connection: each whole request is handed to `answer`, its body thrown away."""

    def __init__(self, answer: Callable[[bytes, asyncio.Transport], None]) -> None:
        self._answer = answer
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take what is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            del self._buffer[:whole]
            self._answer(head, self._transport)


def _write_json(said: object) -> bytes:
    body = orjson.dumps(said)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def main(port: int) -> None:
    """Serve until stopped."""
    book = Book()
    await asyncio.get_running_loop().create_server(lambda: Reader(book.answer), HOST, port, backlog=1024)
    await wait_for_stop()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
