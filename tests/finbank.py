"""Finbank as a process of its own, and the hand that drives it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

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
            "BANKFEED_FINICITY_WIDGET": "own",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What Finbank answered; `body` is None where there is none."""

    status: int
    body: Any
    session: str

    @property
    def outcome(self) -> tuple[int, Any]:
        """Return the status with the code of the body, None where it has none."""
        return self.status, (self.body or {}).get("code")


class FinbankCaller:
    """Calls the aggregator's API of a Finbank the way a connector does, for one customer."""

    def __init__(self, finbank: FinbankProcess, session: aiohttp.ClientSession, token: str, customer_id: str) -> None:
        self.finbank, self.session, self.customer_id = finbank, session, customer_id
        self.headers = {"Finicity-App-Key": APP_KEY, "Finicity-App-Token": token}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Call a path; `{c}` in it is the customer. A header's name has _ for -."""
        sent = self.headers | {name.replace("_", "-"): text for name, text in headers.items()}
        url = self.finbank.url + path.replace("{c}", self.customer_id)
        async with self.session.request(method, url, json=body, headers=sent) as answer:
            text = await answer.text()
            return Reply(
                status=answer.status,
                body=json.loads(text) if text else None,
                session=answer.headers.get("MFA-Session", ""),
            )

    async def discover(self, username: str, password: str, *, at: int = FINBANK_ID, **fields: str) -> Reply:
        """Sign in at an institution; `fields` are further values by the last digit of their id."""
        return await self.call(
            "POST",
            f"/aggregation/v1/customers/{{c}}/institutions/{at}/accounts",
            filled(at, username, password, **fields),
        )

    async def answer(self, asked: Reply, *answers: str, at: int = FINBANK_ID, login_id: int | None = None) -> Reply:
        """Answer the questions of a challenge, in their order."""
        place = f"institutionLogins/{login_id}" if login_id else f"institutions/{at}"
        pairs = zip(asked.body["questions"], answers, strict=True)
        questions = [{"text": question["text"], "answer": text} for question, text in pairs]
        path = f"/aggregation/v1/customers/{{c}}/{place}/accounts/mfa"
        return await self.call("POST", path, {"questions": questions}, MFA_Session=asked.session)

    async def activate(self, accounts: Sequence[dict[str, Any]], *, at: int = FINBANK_ID) -> Reply:
        """Link accounts as they were discovered."""
        chosen = [{name: account[name] for name in ("id", "number", "name", "type")} for account in accounts]
        path = f"/aggregation/v2/customers/{{c}}/institutions/{at}/accounts"
        return await self.call("PUT", path, {"accounts": chosen})

    async def refresh(self, login_id: int, **headers: str) -> Reply:
        """Refresh a login."""
        return await self.call(
            "POST", f"/aggregation/v1/customers/{{c}}/institutionLogins/{login_id}/accounts", **headers
        )

    async def change_credentials(self, login_id: int, username: str, password: str) -> Reply:
        """Give a login of FinBank other credentials."""
        path = f"/aggregation/v1/customers/{{c}}/institutionLogins/{login_id}"
        return await self.call("PUT", path, filled(FINBANK_ID, username, password))

    async def linked(self, username: str = "demo", password: str = "go", *, at: int = FINBANK_ID) -> Link:
        """Link a login by the control API."""
        made = await self.finbank.control(
            "POST",
            "link",
            customerId=int(self.customer_id),
            institutionId=at,
            username=username,
            password=password,
        )
        return Link(login_id=made["institutionLoginId"], accounts=made["accounts"])

    async def accounts(self) -> list[dict[str, Any]]:
        """List the customer's accounts."""
        listed: list[dict[str, Any]] = (await self.call("GET", "/aggregation/v1/customers/{c}/accounts")).body[
            "accounts"
        ]
        return listed


def filled(at: int, username: str, password: str, **fields: str) -> dict[str, Any]:
    """Fill in an institution's form: username and password, and `f3="..."` for the field whose id ends in 3."""
    values = {1: username, 2: password} | {int(name.removeprefix("f")): text for name, text in fields.items()}
    return {"credentials": [{"id": f"{at}{n:03d}", "name": "", "value": text} for n, text in values.items()]}


@asynccontextmanager
async def calling(finbank: FinbankProcess) -> AsyncIterator[FinbankCaller]:
    """Sign in as the partner, with a customer of its own."""
    async with aiohttp.ClientSession() as session:
        caller = FinbankCaller(finbank, session, "", "")
        credentials = {"partnerId": PARTNER_ID, "partnerSecret": PARTNER_SECRET}
        token = await caller.call("POST", "/aggregation/v2/partners/authentication", credentials)
        caller.headers["Finicity-App-Token"] = token.body["token"]
        customer = await caller.call("POST", "/aggregation/v2/customers/testing", {"username": f"c-{uuid4().hex}"})
        caller.customer_id = customer.body["id"]
        yield caller
