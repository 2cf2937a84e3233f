"""`bankfeed listen` as a subscriber's server: a real process, real HTTP, real signatures."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from bankfeed.signing import build_headers
from tests.finbank import ROOT, free_port

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
OTHER_SECRET = "whsec_AAAA9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
BODY = b'{"eventType":"transactionsRefreshed","eventId":"evt-1","payload":{"accounts":[7,8]}}'


class Listener:
    """One `bankfeed listen`, and what it said."""

    def __init__(self, *words: str) -> None:
        self.port = free_port()
        environ = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bankfeed.cli", "listen", "--port", str(self.port), *words],
            cwd=ROOT,
            env={**environ, "BANKFEED_LISTEN_SECRET": SECRET, "BANKFEED_DATA": "/nonexistent"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        assert self.process.stderr.readline().startswith(f"listening on http://127.0.0.1:{self.port}/")

    def line(self) -> str:
        """Read the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def send(self, headers: dict[str, str], body: bytes = BODY) -> int:
        """Post an event; return the status of the answer."""

        async def post() -> int:
            url = f"http://127.0.0.1:{self.port}/any/path"
            async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
                return answer.status

        return asyncio.run(post())

    def end(self) -> int:
        """Stop it as Ctrl-C does; return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(2)
        self.process.communicate(timeout=10)
        return self.process.returncode


def signed(body: bytes = BODY, *, secret: str = SECRET, message_id: str = "evt-1", age_s: int = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    return build_headers([secret], message_id=message_id, at=at, body=body)


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    """One that takes what the tests send, in order."""
    running = Listener()
    yield running
    assert running.end() == 0


def test_a_verified_event_is_shown_and_answered_204(listener: Listener) -> None:
    """A right signature is 204, and the line says what arrived."""
    assert listener.send(signed(message_id="evt-shown")) == 204
    assert listener.line().split()[1:] == ["✓", "transactionsRefreshed", "accounts", "7,", "8", "evt-shown"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (lambda: signed(secret=OTHER_SECRET), "no signature of the message was made with a known secret"),
        (lambda: signed(b"another body"), "no signature of the message was made with a known secret"),
        (lambda: signed(age_s=3_600), "expected webhook-timestamp to be within 300 s of now"),
        (dict, "the header webhook-id is missing"),
    ],
)
def test_what_is_not_verified_is_refused_with_its_reason(
    listener: Listener, headers: Callable[[], dict[str, str]], reason: str
) -> None:
    """A wrong key, a changed body, an old event and an unsigned one are 401, and the line says why."""
    assert listener.send(headers()) == 401
    assert f"REFUSED {reason}" in listener.line()


def test_a_repeat_is_told(listener: Listener) -> None:
    """The same event id again is accepted again, and shown as the repeat that it is."""
    assert [listener.send(signed(message_id="evt-again")) for _ in range(2)] == [204, 204]
    assert "again" not in listener.line().removesuffix("evt-again")
    assert listener.line().endswith("evt-again  again, time 2")


def test_a_stranger_cannot_move_the_cursor(listener: Listener) -> None:
    """What an event holds is printed without control characters, also where it is no event at all."""
    body = b'{"eventType":"\\u001b[2Jgone","payload":{"accounts":["\\u0007"]}}'
    assert listener.send(signed(body, message_id="evt-hostile"), body) == 204
    assert "\x1b" not in (line := listener.line())
    assert "?[2Jgone  accounts ?" in line
    assert listener.send(signed(b"\xff\xfe", message_id="evt-no-json"), b"\xff\xfe") == 204
    assert "not an event" in listener.line()


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            b'{"eventType":"transactionsRefreshed","payload":{"accounts":[7],"transactions":{"added":3,"updated":0,"posted":1}}}',
            "transactionsRefreshed  accounts 7  3 added, 1 posted  ",
        ),
        (
            b'{"eventType":"connectionBroken","payload":{"accounts":[7],"message":"Sign in again."}}',
            "connectionBroken  accounts 7  Sign in again.  ",
        ),
        (b'{"eventType":"endpointDisabled","payload":{"reason":"it is gone"}}', "endpointDisabled  it is gone  "),
        (b'{"eventType":"mfaUpdated","payload":{"accounts":"[7, 8]"},"test":true}', "accounts 7, 8  a test  "),
        (b'{"eventType":"mfaUpdated","payload":{"transactions":{"\\u0007":1,"x":"y"}}}', "mfaUpdated  1 ?  "),
        (b'{"eventType":"mfaUpdated","payload":[]}', "mfaUpdated  "),
    ],
)
def test_what_an_event_says_is_shown(listener: Listener, body: bytes, shown: str) -> None:
    """Counts, words, LedgerSync's text of accounts, and that it is a test; of a stranger's only what can be shown."""
    assert listener.send(signed(body, message_id="evt-told"), body) == 204
    assert f"  {shown}" in listener.line()


def test_once_ends_after_that_many() -> None:
    """With --once and --json a program gets one object an event, and the exit status says whether all were verified."""
    listener = Listener("--once", "2", "--json")
    assert [listener.send(signed()), listener.send({})] == [204, 401]
    first, second = (msgspec.json.decode(listener.line()) for _ in range(2))
    assert listener.process.wait(10) == 1
    listener.end()
    assert (first["verified"], first["eventId"], first["accounts"], first["problem"]) == (
        True,
        "evt-1",
        ["7", "8"],
        None,
    )
    assert (second["verified"], second["status"]) == (False, 401)


def test_fail_answers_with_that_status() -> None:
    """With --fail a verified event is answered so, for the sender to try again."""
    listener = Listener("--fail", "503", "--once", "1")
    assert listener.send(signed()) == 503
    assert listener.line().endswith("evt-1  answered 503")
    assert listener.process.wait(10) == 0
    listener.end()


def test_a_taken_port_is_a_clear_error() -> None:
    """A port that is taken is refused by the names it can be changed with."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "bankfeed.cli", "listen", "--port", str(port), "--secret", SECRET]
        refused = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
    assert "set BANKFEED_LISTEN_PORT (or --port) to a free port" in refused.stderr
