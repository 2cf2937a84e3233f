"""The torture suite's own parts: the proxy does what its words say, and nothing outlives a driver that is killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bankfeed.local import erase
from tests.torture.plan import Plan, draw_blows
from tests.torture.proxy import FaultProxy

ROOT = Path(__file__).parents[2]
LIMIT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A client's connection through the proxy to a server that repeats what it hears."""

    proxy: FaultProxy
    heard: list[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    heard: list[bytes] = []

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            heard.append(chunk)
            writer.write(chunk)
        writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(repeat, "127.0.0.1", 0)
    proxy = FaultProxy(lambda: server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield Line(proxy=proxy, heard=heard, reader=reader, writer=writer)
    writer.close()
    await proxy.stop()
    server.close()


async def test_the_proxy_forwards_both_ways(line: Line) -> None:
    """Without a fault a proxy is not noticed."""
    line.writer.write(b"hello")
    assert b"hello" == await line.reader.read(100)


async def test_a_deaf_proxy_swallows_answers_only(line: Line) -> None:
    """The server hears what it is asked, the client hears nothing, and afterwards the connection is gone."""
    with line.proxy.deaf():
        line.writer.write(b"hello")
        async with asyncio.timeout(5):
            while not line.heard:
                await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.reader.read(100), 0.1)
    with pytest.raises(ConnectionResetError):
        await line.reader.read(100)


async def test_a_black_hole_swallows_everything(line: Line) -> None:
    """Nothing reaches the server, and new connections go through when it has ended."""
    line.writer.write(b"hello")
    assert b"hello" == await line.reader.read(100)
    with line.proxy.black_hole():
        line.writer.write(b"are you there")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.reader.read(100), 0.1)
    assert [b"hello"] == line.heard
    reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
    writer.write(b"again")
    assert b"again" == await reader.read(100)
    writer.close()


async def test_a_half_closed_line_still_answers(line: Line) -> None:
    """The server hears the end of what the client says, and what it then says arrives."""
    line.writer.write(b"hello")
    assert b"hello" == await line.reader.read(100)
    line.proxy.half_close()
    assert b"bye" == await line.reader.read(100)


async def test_a_cut_line_is_reset(line: Line) -> None:
    """A cut takes the connection away from both."""
    line.writer.write(b"hello")
    assert b"hello" == await line.reader.read(100)
    line.proxy.cut()
    with pytest.raises(ConnectionResetError):
        await line.reader.read(100)


def test_a_seed_draws_the_same_faults_again() -> None:
    """What a red run prints repeats it: the faults, their places, their order and their times."""

    def drawn(seed: int) -> list[object]:
        return [blow for blow, _ in zip(draw_blows(Plan(seed=seed, seconds=60)), range(200), strict=False)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def children(pid: int) -> set[int]:
    """List the processes that a process started, and theirs."""
    direct = {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return direct.union(*(children(child) for child in direct))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process can ask to end with its parent")
def test_nothing_outlives_a_killed_driver(tmp_path: Path) -> None:
    """Servers, Finbank and the product's processes end with the driver, even by kill -9."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.torture", "--short", "--seed", "7"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stderr is not None
    while "everything is up" not in (said := driver.stderr.readline()):
        assert said, "the driver ended before everything was up"
    started = children(driver.pid)
    assert 7 <= len(started)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stderr.close()
    until = time.monotonic() + LIMIT_S
    while left := {pid for pid in started if not is_gone(pid)}:
        assert time.monotonic() < until, left
        time.sleep(0.05)
    for folder in tmp_path.glob("bankfeed-torture-*"):
        erase(folder)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
