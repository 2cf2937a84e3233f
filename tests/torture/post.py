"""The way of events to ingress: repeated, delayed, out of order, through either replica; and the account of each.

Events come from Finbank, which announces to the relay here, and from the run itself, which makes up hints. Every event
is tried until it is answered 200, as a sender would; some hints are given up.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4

import aiohttp
import orjson
from aiohttp import web

from bankfeed.signing import build_headers
from tests.seed import PATH_SECRET
from tests.torture.account import Sent

SIGNED_SECRET = "whsec_" + "c2lnbmVkLWJ5LXRoZS10b3J0dXJlLXN1aXRl"
PATHS = {
    "ledgersync": f"/webhooks/ledgersync/{PATH_SECRET}",
    "finicity": "/webhooks/finicity",
    "signed": "/webhooks/signed",
}
TRY_S = 8.0  # senders give up after some 5 to 10 s
AT_ONCE = 48
EXPECTED = {200, 503}
REPEATED, DELAYED, LEFT = 0.15, 0.2, 0.3  # shares of events; of the hints that fail, those that are not tried again


@dataclass(slots=True, kw_only=True)
class Event:
    """An event on its way, and what became of it so far."""

    door: str
    body: bytes
    headers: Callable[[], Mapping[str, str]]
    has_id: bool
    is_announced: bool = False
    is_forged: bool = False
    tries: int = 0
    accepted: int = 0

    @property
    def key(self) -> str:
        """Return what the event is known by."""
        return key_of(self.body)

    def sent(self) -> Sent:
        """Return the event as the account takes it."""
        return Sent(
            key=self.key, has_id=self.has_id, tries=self.tries, accepted=self.accepted, is_forged=self.is_forged
        )


def key_of(body: bytes) -> str:
    """Return the name of a body."""
    return sha256(body).hexdigest()[:16]


@dataclass(slots=True)
class Post:
    """Takes events in and sends them. `ingresses` are the replicas' addresses."""

    ingresses: Sequence[str]
    rng: random.Random
    events: dict[str, Event] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    relay_url: str = ""
    is_quick: bool = False  # no more delays: the run comes to its end
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def start(self) -> None:
        """Listen for what Finbank announces."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TRY_S), trust_env=False)
        app = web.Application()
        app.router.add_post("/{door}", self._relay)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.relay_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Give up what is on its way."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    @property
    def outstanding(self) -> int:
        """How many events are on their way."""
        return len(self._tasks)

    @property
    def accepted(self) -> int:
        """How many events were answered 200."""
        return sum(event.accepted > 0 for event in self.events.values())

    def hint(self, accounts: Sequence[int]) -> None:
        """Send an event of the run's own: that these accounts changed; it says so in one of three ways."""
        now = datetime.now(UTC)
        body = orjson.dumps(
            {
                "eventType": "transactionsRefreshed",
                "eventId": str(uuid4()),
                "timestamp": now.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
                "payload": {"accounts": str(list(accounts))},
            }
        )
        match self.rng.randrange(8):
            case 0:
                self._send(_signed(body, off=timedelta(hours=self.rng.choice((-1, 1)))))
            case 1 | 2:
                self._send(_signed(body, off=timedelta()))
            case _:
                self._send(Event(door="ledgersync", body=body, headers=dict, has_id=True))

    async def _relay(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {
            name: text for name, text in request.headers.items() if name.lower().startswith(("x-", "content-ty"))
        }
        event = Event(
            door=request.match_info["door"],
            body=body,
            headers=lambda: headers,
            has_id=b'"eventId"' in body,
            is_announced=True,
        )
        self._send(event)
        return web.Response()

    def _send(self, event: Event) -> None:
        event = self.events.setdefault(event.key, event)
        copies = 1 + (self.rng.random() < REPEATED) * self.rng.randint(1, 3)
        for _ in range(copies):
            wait_s = self.rng.uniform(0.2, 6.0) if self.rng.random() < DELAYED and not self.is_quick else 0.0
            task = asyncio.create_task(self._deliver(event, wait_s))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, event: Event, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        wait_s = 0.05
        while True:
            async with self._slots:
                status = await self._try(event)
            if status == 200 or (event.is_forged and status == 401):
                return
            if not event.is_announced and self.rng.random() < LEFT:
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 1.0)

    async def _try(self, event: Event) -> int:
        assert self._session is not None
        event.tries += 1
        url = self.rng.choice(self.ingresses) + PATHS[event.door]
        try:
            async with self._session.post(
                url, data=event.body, headers=event.headers(), allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        self.answers[status] += 1
        event.accepted += status == 200
        if status not in EXPECTED | {0} | ({401} if event.is_forged else set()):
            self.complaints.append(f"ingress answered {status} to event {event.key} at {event.door}")
        return status


def _signed(body: bytes, *, off: timedelta) -> Event:
    """Make an event that is signed anew for each try, by a clock that is off."""

    def headers() -> Mapping[str, str]:
        made = build_headers([SIGNED_SECRET], message_id=key_of(body), at=datetime.now(UTC) + off, body=body)
        return {**made, "Content-Type": "application/json"}

    return Event(door="signed", body=body, headers=headers, has_id=True, is_forged=bool(off))
