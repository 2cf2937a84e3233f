"""One HTTP try of a delivery: signed, bounded in time and size, not redirected, to addresses that are allowed."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Self

import aiohttp

from bankfeed import __version__
from bankfeed.db.delivery import Attempt, Parcel
from bankfeed.settings import Settings
from bankfeed.signing import build_headers
from worker.guard import AddressRefused, Network, guarded_socket

CONNECT_S = 5
ANSWER_BYTES = 65_536
KEPT_CHARS = 500


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
        headers = build_headers([parcel.secret], message_id=str(parcel.event_id), at=at, body=parcel.body)
        session = self._sessions["https" if parcel.url.startswith("https:") else "http"]
        try:
            async with session.post(parcel.url, data=parcel.body, headers=headers, allow_redirects=False) as response:
                answer = await response.content.read(ANSWER_BYTES)
                return response.status, "", _readable(answer)
        except AddressRefused as error:
            return None, str(error), ""
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


def _readable(answer: bytes) -> str:
    """Keep the first part of an answer as text; Postgres takes no NUL."""
    return answer[: 4 * KEPT_CHARS].decode(errors="replace").replace("\x00", "")[:KEPT_CHARS]


def _reason(error: BaseException) -> str:
    """Say in one line what went wrong; the guard's refusal stands inside the client's error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AddressRefused):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}"[:KEPT_CHARS].replace("\x00", "")
