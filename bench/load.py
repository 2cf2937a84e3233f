"""`python -m bench.load`: the load generator, a process of its own. Posts distinct events over keep-alive connections.

Each connection has one request on its way: the next one leaves when the answer is there. Only loopback addresses. It
prints one line of JSON, the fields of `Load`.
"""

import argparse
import asyncio
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import cast

import orjson
import uvloop

HOST = "127.0.0.1"
CONNECTIONS = 64
BODY_BYTES = 300
SETTLE_S = 15.0
_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"Content-Length: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it: `rate` counts the 200s between warm-up and end, `accepted` all of them from the first request on.

    `cpu_share` is how much of one core the generator itself used; near 1 it measures itself.
    """

    rate: float
    accepted: int
    refused: int
    p50_ms: float
    p99_ms: float
    cpu_share: float


def make_body(n: int) -> bytes:
    """Make a LedgerSync event of 300 bytes with an id of its own.

    >>> len(make_body(0)), len(make_body(10**12 - 1))
    (300, 300)
    """
    return _HEAD + b"%012d" % n + _TAIL


_HEAD = b'{"eventType":"transactionsRefreshed","eventId":"5f1d7a84-00aa-4cfe-8b1e-'
_TAIL = b'","timestamp":"2026-11-02T13:07:07.727Z","payload":{"accounts":[' + b",".join(
    b"5011648%03d" % n for n in range(13)
)
_TAIL += b" " * (BODY_BYTES - len(_HEAD) - 12 - len(_TAIL) - 3) + b"]}}"


class Run:
    """One run: how many requests may still leave, and what came back."""

    def __init__(self, path: str, *, first: int, most: int) -> None:
        self.next = first
        self.last = first + most
        self.is_open = True
        self.accepted = 0
        self.refused = 0
        self.times_s: list[float] = []
        self.idle = 0
        self.is_idle = asyncio.Event()
        head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        self._head = f"{head}Content-Length: {BODY_BYTES}\r\n\r\n".encode()

    def take_request(self) -> bytes | None:
        """Return the next request, None where no more may leave."""
        if not self.is_open or self.next >= self.last:
            return None
        self.next += 1
        return self._head + make_body(self.next)

    def note_idle(self) -> None:
        """Note that a connection has nothing more to do."""
        self.idle += 1
        if self.idle == CONNECTIONS:
            self.is_idle.set()


class Sender(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._came = b""
        self._began_at = 0.0  # of the request on its way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are of no asyncio class
        self._send()

    def data_received(self, chunk: bytes) -> None:
        """Count an answer once all of it is there, and send the next request."""
        self._came += chunk
        end = self._came.find(_END_OF_HEADERS)
        if end < 0 or len(self._came) < end + len(_END_OF_HEADERS) + _body_bytes(self._came):
            return
        run = self._run
        if self._came.startswith(b"HTTP/1.1 200"):
            run.accepted += 1
            run.times_s.append(perf_counter() - self._began_at)
        else:
            run.refused += 1
        self._came = b""
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """End the run's wait: a server that closes has no more answers."""
        self._run.note_idle()

    def _send(self) -> None:
        request = self._run.take_request()
        if request is None:
            self._transport.close()
            return
        self._began_at = perf_counter()
        self._transport.write(request)


def _body_bytes(answer: bytes) -> int:
    at = answer.index(_LENGTH) + len(_LENGTH)
    return int(answer[at : answer.index(b"\r", at)])


async def run_load(
    run: Run, port: int, *, warm_s: float, measured_s: float, make_sender: Callable[[], Sender] | None = None
) -> Load:
    """Send until the time or the events are used up, then wait for the answers on their way."""
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(make_sender or (lambda: Sender(run)), HOST, port)
    await _wait(run, warm_s)
    began, cpu_began, accepted = perf_counter(), _cpu_s(), run.accepted
    run.times_s.clear()
    await _wait(run, measured_s)
    seconds, cpu_s, accepted = perf_counter() - began, _cpu_s() - cpu_began, run.accepted - accepted
    times_s = sorted(run.times_s)
    run.is_open = False
    await _wait(run, SETTLE_S)
    return Load(
        rate=accepted / seconds,
        accepted=run.accepted,
        refused=run.refused,
        p50_ms=_percentile(times_s, 50) * 1000,
        p99_ms=_percentile(times_s, 99) * 1000,
        cpu_share=cpu_s / seconds,
    )


async def _wait(run: Run, seconds: float) -> None:
    try:
        await asyncio.wait_for(run.is_idle.wait(), seconds)
    except TimeoutError:
        return


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else float("nan")


def make_parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """Make the parser of what every generator is told."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=text)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--most", type=int, default=1_000_000, help="events at most")
    parser.add_argument("--warm-s", type=float, default=0.5)
    parser.add_argument("--measured-s", type=float, default=3.0)
    return parser


def main() -> None:
    """Read the arguments, run, print."""
    asked = make_parser("bench.load", __doc__).parse_args()

    async def start() -> Load:
        run = Run(asked.path, first=asked.first, most=asked.most)
        return await run_load(run, asked.port, warm_s=asked.warm_s, measured_s=asked.measured_s)

    print(orjson.dumps(asdict(uvloop.run(start()))).decode())


if __name__ == "__main__":
    main()
