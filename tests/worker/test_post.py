"""One HTTP try: what becomes of the answers and failures that subscribers' servers come up with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from bankfeed.db.delivery import Attempt
from bankfeed.settings import Settings
from tests.seed import ENDPOINT_SECRET
from worker.post import Post, read_retry_after
from worker.secrets import Opened

MESSAGE_ID = "0b5c1c9e-6f0e-4d57-9f3c-1f1f2a1d9d10"
BODY = b"{}"
TLS_HELLO = b"\x16\x03\x01"
SETTINGS = Settings.from_environ({"BANKFEED_OUTBOUND_ALLOW": "127.0.0.0/8", "BANKFEED_ATTEMPT_S": "1"})


async def attempt(url: str, *, secret: str = ENDPOINT_SECRET) -> Attempt:
    async with Post(SETTINGS) as post:
        return await post.attempt(url, Opened(secrets=(secret,)), message_id=MESSAGE_ID, body=BODY)


@asynccontextmanager
async def answering(answer: bytes, *, is_closed: bool = True, request_end: bytes = BODY) -> AsyncIterator[str]:
    """Serve these bytes to whoever asks, then hang up, or hold the line."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(request_end)
        writer.write(answer)
        if not is_closed:
            await reader.read()  # until the other side hangs up
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://h.example:99999/s3cret-path", "the endpoint's URL cannot be used"),
        ("https://u:s3cret@[::1/x", "the endpoint's URL cannot be used"),
        ("https:///s3cret", "the endpoint's URL cannot be used"),
        (f"https://{'s3cret' * 20}.example/", "the endpoint's URL cannot be used"),
        ("http://u:s3cret@127.0.0.1:9/s3cret?t=s3cret", "no connection to 127.0.0.1:9: Connection refused"),
        ("https://10.0.0.1/s3cret", "no connection to 10.0.0.1:443: deliveries may not go to 10.0.0.1"),
    ],
)
async def test_a_failure_is_named_without_the_url(url: str, error: str) -> None:
    """A URL's path, query and user may be secrets of the subscriber, so at most its host and port are kept."""
    assert error == (await attempt(url)).error


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the connection ended without an answer"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "the answer is not HTTP"),
    ],
)
async def test_what_is_no_answer_has_no_status(answer: bytes, error: str) -> None:
    """A server that hangs up or speaks something else did not take the event."""
    async with answering(answer) as url:
        ended = await attempt(url + "s3cret")
    assert (None, error) == (ended.status, ended.error)


async def test_a_silent_server_is_given_up() -> None:
    """An attempt ends in its time."""
    async with answering(b"", is_closed=False) as url:
        ended = await attempt(url)
    assert (None, "no answer in time") == (ended.status, ended.error)


async def test_a_server_without_tls_is_said_to_be_so() -> None:
    """What goes wrong with TLS is named with the host and port."""
    async with answering(b"HTTP/1.1 400 X\r\n\r\n", is_closed=False, request_end=TLS_HELLO) as url:
        ended = await attempt(url.replace("http:", "https:") + "s3cret")
    assert ended.error.startswith("no TLS with 127.0.0.1:")
    assert "s3cret" not in ended.error


@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("status", [200, 500])
async def test_the_status_is_the_answer_whatever_becomes_of_its_body(status: int, is_closed: bool) -> None:  # noqa: FBT001 - pytest's
    """A body that breaks off or never comes takes nothing back: who answered 200 has the event."""
    async with answering(b"HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\n" % status, is_closed=is_closed) as url:
        ended = await attempt(url)
    assert (status, "", "") == (ended.status, ended.error, ended.answer)


async def test_the_first_part_of_an_answer_is_kept() -> None:
    """As text that Postgres takes, whatever its bytes."""
    async with answering(b"HTTP/1.1 400 X\r\nContent-Length: 9000\r\n\r\n" + b"a\x00\xff" * 3000) as url:
        ended = await attempt(url)
    assert ("a\ufffd" * 500, 400) == (ended.answer, ended.status)


async def test_secrets_in_an_answer_are_not_kept() -> None:
    """A receiver that echoes what it got, or says more than it should, fills nobody's log with it."""
    said = b'{"error":"bad signature","authorization":"Bearer abc.def.ghi","mail":"ann@firm.example"}'
    async with answering(b"HTTP/1.1 401 X\r\nContent-Length: %d\r\n\r\n" % len(said) + said) as url:
        ended = await attempt(url)
    assert "bad signature" in ended.answer
    assert "abc.def" not in ended.answer
    assert "ann@" not in ended.answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999", 259_200.0),
        ("Mon, 02 Mar 2026 06:01:00 GMT", 60.0),
        ("Mon, 02 Mar 2026 05:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2126 05:00:00 GMT", 259_200.0),
        *((text, None) for text in ("", "-5", "1.5", "soon", "\u0661", "9" * 10, "Mon, 99 Mar 2026 06:01:00 GMT")),
        ("Mon, 02 Mar 2026 00:01:00 +99999999999999", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """Whatever else a receiver says there is nothing said."""
    assert seconds == read_retry_after(text, now=datetime(2026, 3, 2, 6, 0, tzinfo=UTC))


@pytest.mark.parametrize("secret", ["whsec_" + "!" * 40, "whsec_" + "A" * 32 * 4])
async def test_a_secret_that_cannot_sign_is_an_error(secret: str) -> None:
    """Nothing is sent unsigned, and the secret is not repeated."""
    ended = await attempt("http://127.0.0.1:9/", secret=secret)
    assert (None, "the endpoint's secret cannot be used") == (ended.status, ended.error)
