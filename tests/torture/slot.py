"""A place for one process of the product, which is started again whenever it dies."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import orjson

from bankfeed.local.server import end_with_parent
from bankfeed.settings import ROOT
from tests.finbank import free_port

POLL_S = 0.02
START_LIMIT_S = 60.0
STOP_S = 40.0
LOGGED_CHARS = 1500
MOST_BUGS = 5
HARMLESS = "Unclosed Pipeline client"  # redis-py, cancelled while it gives a connection back; its pool is closed next
KILLED = -signal.SIGKILL
PORT_SETTINGS = {"ingress": "BANKFEED_PORT", "worker": "BANKFEED_WORKER_PORT"}


class Slot:
    """`python -m ingress` or `python -m worker`, for as long as `keep` runs. It ends with this process."""

    def __init__(self, name: str, module: str, *, folder: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.module = module
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self.is_borrowed = False
        self.starts = 0
        self.complaints: list[str] = []
        inherited = {key: text for key, text in os.environ.items() if not key.startswith("BANKFEED_")}
        self._environ = {**inherited, **environ, PORT_SETTINGS[module]: str(self.port)}
        self._process: subprocess.Popen[bytes] | None = None
        self._died = asyncio.Event()

    def start(self, *, failpoint: str = "", off_s: float = 0.0) -> None:
        """Start the process: to kill itself at a failpoint, if one is named, and by a clock that is off, if it is."""
        environ = {
            **self._environ,
            "BANKFEED_FAILPOINT": failpoint,
            "BANKFEED_TEST_MODULE": self.module,
            "BANKFEED_TEST_CLOCK_OFF_S": str(off_s),
        }
        self.starts += 1
        self._died.clear()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.skewed" if off_s else self.module],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call
            )

    async def keep(self) -> None:
        """Start it whenever it is dead, until cancelled. Only being killed is a good reason to be dead."""
        while True:
            if self._process is None or (code := self._process.poll()) is not None:
                if self._process is not None and code != KILLED:
                    self.complaints.append(f"{self.name} ended by itself, with {code}; see {self.log}")
                self._died.set()
                self.start()
            await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def restart(self, *, failpoint: str = "", off_s: float = 0.0) -> None:
        """Kill it, and start it in another manner; when it dies next it starts as usual."""
        self.kill()
        self.start(failpoint=failpoint, off_s=off_s)

    async def wait_for_death(self, limit_s: float) -> bool:
        """Wait until it has died since its last start; False where it lives on."""
        try:
            await asyncio.wait_for(self._died.wait(), limit_s)
        except TimeoutError:
            return False
        return True

    async def wait_until_ready(self) -> None:
        """Wait until its probe says that it wants work."""
        async with asyncio.timeout(START_LIMIT_S), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                await asyncio.sleep(POLL_S)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    async def stop(self) -> None:
        """Ask it to end, and note where it does not end well. Nobody may `keep` it any more."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            code = await asyncio.to_thread(self._process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self.complaints.append(f"{self.name} does not end within {STOP_S:.0f} s of SIGTERM; see {self.log}")
            self.kill()
        else:
            if code:
                self.complaints.append(f"{self.name} ended with {code} after SIGTERM; see {self.log}")

    def list_bugs(self) -> list[str]:
        """List what its log says that no fault explains: errors, and what is no log line at all. Each kind once."""
        found: dict[str, str] = {}
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                said = orjson.loads(line)
            except orjson.JSONDecodeError:
                found.setdefault("", line)
                continue
            if said["level"] in ("error", "critical") and not said["event"].startswith(HARMLESS):
                found.setdefault(said["event"], line)
        return [f"{self.name} logged {line[:LOGGED_CHARS]}" for line in list(found.values())[:MOST_BUGS]]
