"""A TCP proxy that does to its connections what networks do: delay, cut, swallow, close one way. Knows no protocol."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536
CONNECT_S = 5.0
NO_LINGER = struct.pack("ii", 1, 0)


class _Pair:
    """One connection: the client's side and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server

    def abort(self) -> None:
        for side in (self.client, self.server):
            side.transport.abort()

    def reset(self) -> None:
        """End it so that both sides hear of an error, not of an end."""
        for side in (self.client, self.server):
            sock = side.get_extra_info("socket")  # None, or without a number, where it is closed already
            with suppress(OSError, ValueError):
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.abort()


class FaultProxy:
    """Forwards what comes in on `port` to where `find_port` says the server is now."""

    def __init__(self, find_port: Callable[[], int]) -> None:
        self.port = 0
        self._find_port = find_port
        self._delay_s = 0.0
        self._pairs: set[_Pair] = set()
        self._to_server = _open_gate()
        self._to_client = _open_gate()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen, on a free port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and cut what there is."""
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many connections go through here now."""
        return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection, whatever is on its way."""
        for pair in tuple(self._pairs):
            pair.reset()

    def half_close(self) -> None:
        """Tell the server of every connection that its client will say no more; its answers still come."""
        for pair in tuple(self._pairs):
            with suppress(OSError, RuntimeError):  # it is closing already
                pair.server.write_eof()

    @contextmanager
    def delayed(self, seconds: float) -> Iterator[None]:
        """Let every chunk wait, meanwhile."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Swallow what comes from either side, meanwhile; afterwards those connections are gone."""
        self._to_server.clear()
        with self.deaf():
            yield

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Swallow the answers only: the server does what it is asked, and nobody hears of it."""
        self._to_client.clear()
        try:
            yield
        finally:
            try:
                self.cut()
            finally:  # a proxy that stays shut would be a fault that never ends
                self._to_server.set()
                self._to_client.set()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                from_server, to_server = await asyncio.open_connection(HOST, self._find_port())
        except (OSError, TimeoutError):
            to_client.transport.abort()
            return
        pair = _Pair(to_client, to_server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(from_client, to_server, self._to_server), self._pump(from_server, to_client, self._to_client)
            )
        except (OSError, RuntimeError):
            pass  # one side is gone, or was told that nothing follows: so the other goes too
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await gate.wait()
            writer.write(chunk)
            await writer.drain()
        await gate.wait()
        with suppress(OSError, RuntimeError):
            writer.write_eof()


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate
