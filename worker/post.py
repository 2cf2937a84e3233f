"""One HTTP try of a delivery: signed, bounded in time and size, not redirected, to addresses that are allowed."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Self

import aiohttp

from bankfeed import __version__
from bankfeed.addresses import Network
from bankfeed.db.delivery import Attempt, Parcel
from bankfeed.settings import Settings
from bankfeed.signing import build_headers
from worker.guard import guarded_socket

CONNECT_S = 5
ANSWER_BYTES = 65_536
KEPT_CHARS = 1_000


class Post:
    """HTTP sessions for deliveries. `https` goes anywhere public, plain `http` only to networks the operator allows."""

    def __init__(self, settings: Settings) -> None:
        self._sessions = {
            "https": _session(settings, settings.outbound_allow, only_allowed=False),
            "http": _session(settings, settings.outbound_allow, only_allowed=True),
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def attempt(self, parcel: Parcel) -> Attempt:
        """Send an event once. Whatever goes wrong on the way is an Attempt with an error, never raised."""
        started_at = datetime.now(UTC)
        began = monotonic()
        status, error, answer = await self._send(parcel, started_at)
        return Attempt(
            started_at=started_at,
            duration_ms=round((monotonic() - began) * 1000),
            status=status,
            error=error,
            answer=answer,
        )

    async def _send(self, parcel: Parcel, at: datetime) -> tuple[int | None, str, str]:
        try:
            headers = build_headers(parcel.secrets, message_id=str(parcel.event_id), at=at, body=parcel.body)
        except ValueError:
            return None, "the endpoint's secret cannot be used", ""
        session = self._sessions["https" if parcel.url.startswith("https:") else "http"]
        try:
            async with session.post(parcel.url, data=parcel.body, headers=headers, allow_redirects=False) as response:
                return response.status, "", await _read_answer(response)
        except TimeoutError:
            return None, "no answer in time", ""
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, _reason(error), ""


def _session(settings: Settings, allow: Sequence[Network], *, only_allowed: bool) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=settings.delivery_slots, socket_factory=guarded_socket(allow, only_allowed=only_allowed)
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
    """Cut a text to what is kept of it; Postgres takes no NUL."""
    return text.replace("\x00", "")[:KEPT_CHARS]


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
