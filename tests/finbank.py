"""Finbank as a process of its own, and the hand that drives it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.local.server import end_with_parent
from tests.seed import PARTNER_SECRET

ROOT = Path(__file__).parents[1]
CONTROL_TOKEN = "tests-drive-the-bank"
APP_KEY = "tests-app-key"
PARTNER_ID = "1234567"
FINBANK_ID = 101732
DAY_S = 86_400
START_LIMIT_S = 20


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A login as Finbank made it."""

    login_id: int
    accounts: dict[str, int]


class FinbankProcess:
    """`python -m bankfeed.sandbox` on a clock that tests move."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BANKFEED_")},
            "BANKFEED_FINBANK_PORT": str(self.port),
            "BANKFEED_FINBANK_DATA": str(folder),
            "BANKFEED_FINBANK_CLOCK": "manual",
            "BANKFEED_FINBANK_START": f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}T15:00:00Z",
            "BANKFEED_FINBANK_SHARES": "calm",
            "BANKFEED_FINBANK_PARTNER_ID": PARTNER_ID,
            "BANKFEED_FINBANK_PARTNER_SECRET": PARTNER_SECRET,
            "BANKFEED_FINBANK_APP_KEY": APP_KEY,
            "BANKFEED_FINBANK_CONTROL_TOKEN": CONTROL_TOKEN,
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; `wait_until_up` says when it answers. It ends with this one."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bankfeed.sandbox"],
            cwd=ROOT,
            env=self._environ,
            stdout=subprocess.DEVNULL,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call
        )

    async def wait_until_up(self) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(START_LIMIT_S):
            while not await self._answers():
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/healthz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def connector(self) -> Finicity:
        """Make the product's connector to it."""
        return Finicity(self.config())

    def hasty_connector(self, *, timeout_s: float) -> Finicity:
        """Make one that hangs up on a bank that takes longer."""
        return Finicity(replace(self.config(), bank_refresh_timeout_s=timeout_s))

    def config(self) -> FinicityConfig:
        """Say how a connector reaches it."""
        return FinicityConfig(base_url=self.url, partner_id=PARTNER_ID, partner_secret=PARTNER_SECRET, app_key=APP_KEY)

    def environ(self) -> dict[str, str]:
        """Say how to reach it, in the environment of a worker."""
        return {
            "BANKFEED_FINICITY_URL": self.url,
            "BANKFEED_FINICITY_PARTNER_ID": PARTNER_ID,
            "BANKFEED_FINICITY_PARTNER_SECRET": PARTNER_SECRET,
            "BANKFEED_FINICITY_APP_KEY": APP_KEY,
        }

    async def control(self, method: str, path: str, **body: Any) -> Any:
        """Make something happen at the bank; return what it answers."""
        headers = {"Authorization": f"Bearer {CONTROL_TOKEN}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/finbank/{path}", headers=headers, json=body) as answer,
        ):
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text}"
            return await answer.json() if text else None

    async def link(self, customer_ref: str, *kinds: str) -> Link:
        """Link a login with accounts of these kinds."""
        linked = await self.control(
            "POST",
            "link",
            customerId=int(customer_ref),
            institutionId=FINBANK_ID,
            username="demo",
            password="go",
            accounts=list(kinds or ("checking", "savings", "creditCard")),
        )
        return Link(login_id=linked["institutionLoginId"], accounts=linked["accounts"])

    async def pass_nights(self, count: int = 1) -> None:
        """Let bank days pass, each with its nightly aggregation."""
        for _ in range(count):
            await self.control("POST", "clock", advance_s=DAY_S)

    async def truth(self, account_id: int) -> Any:
        """Return what the bank lists now."""
        return await self.control("GET", f"truth/{account_id}")
