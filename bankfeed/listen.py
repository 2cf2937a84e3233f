"""`bankfeed listen`: a subscriber's receiver that verifies what arrives and shows it, a line an event."""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from bankfeed.errors import SettingsError
from bankfeed.runenv import find_environ
from bankfeed.runtime import listen as serve
from bankfeed.runtime import wait_for_stop
from bankfeed.settings import LocalSettings
from bankfeed.signing import BadSignature, sign_v1, verify_standard

HOST: Final = "127.0.0.1"
MOST_BYTES: Final = 1_048_576
ACCEPTED: Final = 204
REFUSED: Final = 401
CLOSING: Final = 503
REMEMBERED: Final = 10_000  # event ids, to tell repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request. `problem` says why it was refused, "" where it was verified. `time_no` counts the same event id.

    `counts` is how many transactions the event is about, by what became of them, none of them 0. `text` is what it says in
    words: of a connection, or why an endpoint was disabled.
    """

    at: datetime
    problem: str
    event_type: str
    event_id: str
    accounts: tuple[str, ...]
    time_no: int
    status: int
    counts: Mapping[str, int] = field(default_factory=dict)
    cursor: str | None = None
    text: str = ""
    is_test: bool = False

    def line(self) -> str:
        """Write it for a person."""
        mark = f"REFUSED {self.problem}" if self.problem else "✓"
        accounts = f"  accounts {', '.join(self.accounts)}" if self.accounts else ""
        counts = f"  {', '.join(f'{count} {word}' for word, count in self.counts.items())}" if self.counts else ""
        text = f"  {self.text}" if self.text else ""
        test = "  a test" if self.is_test else ""
        again = f"  again, time {self.time_no}" if self.time_no > 1 else ""
        answered = "" if self.status in (ACCEPTED, REFUSED) else f"  answered {self.status}"
        told = f"{self.event_type}{accounts}{counts}{text}{test}"
        return f"{self.at.astimezone():%H:%M:%S}  {mark}  {told}  {self.event_id}{again}{answered}"

    def json(self) -> str:
        """Write it for a program."""
        return msgspec.json.encode(
            {
                "at": self.at,
                "verified": not self.problem,
                "problem": self.problem or None,
                "eventType": self.event_type,
                "eventId": self.event_id,
                "accounts": self.accounts,
                "transactions": self.counts,
                "changesCursor": self.cursor,
                "message": self.text or None,
                "test": self.is_test,
                "time": self.time_no,
                "status": self.status,
            }
        ).decode()


class Receiver:
    """Takes webhooks for one secret. `is_done` is set once `once` events have come (None: never)."""

    def __init__(self, secret: str, *, once: int | None, fail: int | None, as_json: bool) -> None:
        self._secret = secret
        self._left = once
        self._status = fail or ACCEPTED
        self._as_json = as_json
        self._times: Counter[str] = Counter()
        self.refused = 0
        self.is_done = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        """Verify one webhook, show it, and answer."""
        body = await request.read()
        if self._left == 0:
            return web.Response(status=CLOSING)  # not ours to take any more; the sender tries again
        arrival = self._judge(body, request.headers, at=datetime.now(UTC))
        print(arrival.json() if self._as_json else arrival.line(), flush=True)  # noqa: T201 - what the command is for
        self.refused += bool(arrival.problem)
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self.is_done.set()
        return web.Response(status=arrival.status)

    def _judge(self, body: bytes, headers: Mapping[str, str], *, at: datetime) -> Arrival:
        problem = ""
        try:
            event_id = verify_standard([self._secret], headers, body=body, now=at)
        except BadSignature as error:
            problem, event_id = str(error), headers.get("webhook-id", "without an id")
        event = _read(body)
        payload = event.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        cursor = payload.get("changesCursor")
        return Arrival(
            at=at,
            problem=problem,
            event_type=_printable(event.get("eventType", "not an event")),
            event_id=_printable(event_id),
            accounts=_accounts(payload),
            counts=_counts(payload),
            cursor=None if cursor is None else _printable(cursor),
            text=_printable(payload.get("message") or payload.get("reason") or ""),
            is_test=event.get("test") is True,
            time_no=1 if problem else self._count(event_id),
            status=REFUSED if problem else self._status,
        )

    def _count(self, event_id: str) -> int:
        if len(self._times) >= REMEMBERED and event_id not in self._times:
            self._times.pop(next(iter(self._times)))
        self._times[event_id] += 1
        return self._times[event_id]


def run_listen(*, port: int | None, secret: str | None, once: int | None, fail: int | None, as_json: bool) -> int:
    """Receive until a signal, or until `once` events came; return 1 where one of those was refused.

    Raises:
        SettingsError: The port is taken, or there is no secret that can be used.
    """
    local = LocalSettings.from_environ({name: text for name, text in find_environ().items() if text})
    key = secret or local.listen_secret.reveal()
    _check_secret(key)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # text files, whatever their encoding
    return asyncio.run(_listen(key, port=port or local.listen_port, once=once, fail=fail, as_json=as_json))


async def _listen(secret: str, *, port: int, once: int | None, fail: int | None, as_json: bool) -> int:
    receiver = Receiver(secret, once=once, fail=fail, as_json=as_json)
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/{path:.*}", receiver.take)
    runner = await serve(app, host=HOST, port=port, port_setting="BANKFEED_LISTEN_PORT (or --port)")
    print(f"listening on http://{HOST}:{port}/ ; Ctrl-C ends", file=sys.stderr, flush=True)  # noqa: T201 - for a person
    waits = [asyncio.ensure_future(wait_for_stop()), asyncio.ensure_future(receiver.is_done.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await runner.cleanup()
    return int(once is not None and receiver.refused > 0)


def _check_secret(secret: str) -> None:
    if not secret:
        raise SettingsError(
            "there is no secret to verify with: start `make run` first, or give --secret whsec_... of the endpoint"
        )
    try:
        sign_v1(secret, message_id="check", at=datetime.now(UTC), body=b"")
    except ValueError as error:
        raise SettingsError(f"{error}; an endpoint's secret looks like whsec_ and some 44 more characters") from error


def _read(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _accounts(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """List the accounts as they stand there: an array, or LedgerSync's text that holds one."""
    accounts = payload.get("accounts")
    if isinstance(accounts, str):
        accounts = [each.strip() for each in accounts.strip("[] ").split(",") if each.strip()]
    return tuple(_printable(each) for each in accounts) if isinstance(accounts, list) else ()


def _counts(payload: Mapping[str, Any]) -> dict[str, int]:
    counts = payload.get("transactions")
    if not isinstance(counts, dict):
        return {}
    return {_printable(word): count for word, count in counts.items() if isinstance(count, int) and count}


def _printable(value: object) -> str:
    """Return a stranger's text without what would move the terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in str(value))[:200]
