"""Bankfeed's own processes, started and killed for real."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from tests.finbank import ROOT, free_port

START_LIMIT_S = 20


class Process:
    """`python -m ingress` or `python -m worker` on a port of its own, logging to a file."""

    def __init__(self, module: str, log: Path, environ: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._module = module
        port_setting = "BANKFEED_PORT" if module == "ingress" else "BANKFEED_WORKER_PORT"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BANKFEED_")}
        self._environ = {**inherited, **environ, port_setting: str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._process = self._spawn()
        async with asyncio.timeout(START_LIMIT_S):
            while not await self.is_ready():
                assert self._process.poll() is None, self.log.read_text()[-2000:]
                await asyncio.sleep(0.02)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self._module], cwd=ROOT, env=self._environ, stdout=log, stderr=log
            )

    async def is_ready(self) -> bool:
        """Ask its readiness probe."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def metrics(self) -> str:
        """Return its metrics page."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            return await answer.text()

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal_number)
        return await asyncio.to_thread(self._process.wait, 30)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
