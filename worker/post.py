"""One HTTP try of a delivery: signed, bounded in time and size, not redirected, to addresses that are allowed."""

import asyncio
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final, Self

import aiohttp

from bankfeed import __version__
from bankfeed.addresses import Network
from bankfeed.db.delivery import Attempt
from bankfeed.redaction import redact
from bankfeed.settings import Settings
from bankfeed.signing import build_headers
from worker.guard import guarded_socket
from worker.resolver import Resolver
from worker.secrets import Opened

CONNECT_S: Final = 5
ANSWER_BYTES: Final = 65_536
KEPT_CHARS: Final = 1_000
MOST_PAUSE_S: Final = 3 * 86_400.0


class Post:
    """HTTP sessions for deliveries. `https` goes anywhere public, plain `http` only to networks the operator allows."""

    def __init__(self, settings: Settings) -> None:
        self._resolver = Resolver(threads=2 * settings.delivery_slots)
        self._sessions = {
            "https": _session(settings, self._resolver, settings.outbound_allow, only_allowed=False),
            "http": _session(settings, self._resolver, settings.outbound_allow, only_allowed=True),
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()
        await self._resolver.close()

    async def attempt(self, url: str, opened: Opened, *, message_id: str, body: bytes) -> Attempt:
        """Send a message once. Whatever goes wrong on the way is an Attempt with an error, never raised."""
        started_at = datetime.now(UTC)
        began = monotonic()
        status, error, answer, pause_s = await self._send(url, opened, message_id, body, started_at)
        return Attempt(
            started_at=started_at,
            duration_ms=round((monotonic() - began) * 1000),
            status=status,
            error=error,
            answer=answer,
            pause_s=pause_s,
        )

    async def _send(
        self, url: str, opened: Opened, message_id: str, body: bytes, at: datetime
    ) -> tuple[int | None, str, str, float | None]:
        try:
            signed = build_headers(
                opened.secrets, message_id=message_id, at=at, body=body, private_keys=opened.private_keys
            )
        except ValueError:
            return None, "the endpoint's secret cannot be used", "", None
        session = self._sessions["https" if url.startswith("https:") else "http"]
        headers = {**opened.headers, **signed}
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                is_taken = 200 <= response.status < 300
                pause_s = None if is_taken else read_retry_after(response.headers.get("Retry-After", ""), now=at)
                return response.status, "", await _read_answer(response), pause_s
        except TimeoutError:
            return None, "no answer in time", "", None
        except Exception as error:  # noqa: BLE001 - whatever a receiver makes go wrong here is its failed attempt
            return None, _reason(error), "", None


def read_retry_after(text: str, *, now: datetime) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3), as seconds up to three days; None for anything else.

    >>> read_retry_after("120", now=datetime(2026, 3, 2, tzinfo=UTC))
    120.0
    >>> read_retry_after("Mon, 02 Mar 2026 00:01:00 GMT", now=datetime(2026, 3, 2, tzinfo=UTC))
    60.0
    """
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        return min(float(text), MOST_PAUSE_S)
    try:
        at = parsedate_to_datetime(text)
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MOST_PAUSE_S)


def _session(
    settings: Settings, resolver: Resolver, allow: Sequence[Network], *, only_allowed: bool
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=settings.delivery_slots,
            socket_factory=guarded_socket(allow, only_allowed=only_allowed),
            resolver=resolver,
        ),
        timeout=aiohttp.ClientTimeout(total=settings.attempt_s, sock_connect=CONNECT_S),
        headers={"User-Agent": f"Bankfeed/{__version__}", "Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        loop=asyncio.get_running_loop(),
    )


async def _read_answer(response: aiohttp.ClientResponse) -> str:
    """Return the first part of an answer's body as text; "" where it does not come: the status has said it all."""
    try:
        answer = await response.content.read(ANSWER_BYTES)
    except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
        return ""
    return _readable(answer.decode(errors="replace"))


def _readable(text: str) -> str:
    """Cut a text to what is kept of it, without secrets and personal data; Postgres takes no NUL."""
    return redact(text.replace("\x00", ""))[:KEPT_CHARS]


def _reason(error: Exception) -> str:
    """Name the kind of failure, with the host and port at most: the rest of a URL may hold a subscriber's secret."""
    match error:
        case (
            aiohttp.ClientConnectorCertificateError(host=host, port=port, certificate_error=cause)
            | aiohttp.ClientConnectorSSLError(host=host, port=port, os_error=cause)
        ):
            return _readable(f"no TLS with {host}:{port}: {cause}")
        case aiohttp.ClientConnectorError(host=host, port=port, os_error=cause):
            return _readable(f"no connection to {host}:{port}: {_system_words(cause)}")
        case aiohttp.ClientConnectionError():
            return "the connection ended without an answer"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case ValueError():
            return "the endpoint's URL cannot be used"
        case _:
            return type(error).__name__


def _system_words(error: OSError) -> str:
    """Return what the system calls the error; the resolver's numbers are negative, the guard's refusal has none."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
