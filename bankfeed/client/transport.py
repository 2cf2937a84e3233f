"""Requests that arrive once: retried where that is safe, with an idempotency key where it would not be; errors in words."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import aiohttp
import msgspec

PREFIX: Final = "/api/v1"
RETRIES: Final = 4
FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
RETRIED: Final = frozenset({408, 429, 502, 503, 504})


class ApiError(Exception):
    """The API's answer was an error: its HTTP status, its code, a sentence, the field that it names, the request's id."""

    def __init__(self, status: int, code: str, message: str, *, field: str | None, request_id: str | None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.request_id = request_id


class Transport:
    """One base URL and one token over one session of connections."""

    def __init__(self, url: str, token: str | None, *, timeout_s: float, retries: int = RETRIES) -> None:
        self._url = url.rstrip("/") + PREFIX
        self._token = token
        self._retries = retries
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        version: int | None = None,
    ) -> bytes:
        """Make a request and return the body of its answer.

        A POST carries an idempotency key, so that every method may be tried again: where nobody answers, where the answer
        is 429 or 503, growing pauses apart, and as long as Retry-After says. Raises ApiError for what the API refuses,
        aiohttp.ClientError or TimeoutError where nobody answers after the last try.
        """
        headers = self._headers(method, body, version)
        content = None if body is None else msgspec.json.encode(body)
        params = [(name, _write(value)) for name, value in (query or {}).items() if value is not None]
        for n in range(self._retries + 1):
            is_last = n == self._retries
            pause_s = min(FIRST_S * 2**n, LONGEST_S) * random.uniform(0.5, 1)  # noqa: S311 - spreads, guards nothing
            try:
                async with self._open().request(
                    method, self._url + path, params=params, data=content, headers=headers, allow_redirects=False
                ) as answer:
                    raw = await answer.read()
                    if answer.status not in RETRIED or is_last:
                        return _check(answer.status, raw)
                    pause_s = max(pause_s, _retry_after_s(answer.headers))
            except (aiohttp.ClientConnectionError, TimeoutError):
                if is_last:
                    raise
            await asyncio.sleep(min(pause_s, LONGEST_S))
        raise AssertionError("the last try ended without an answer")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self._session

    def _headers(self, method: str, body: Any, version: int | None) -> dict[str, str]:
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid4())
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        return headers


class _Refused(msgspec.Struct, rename="camel"):
    code: str = "unknown"
    message: str = ""
    field: str | None = None
    request_id: str | None = None


def _check(status: int, raw: bytes) -> bytes:
    if 200 <= status < 300:
        return raw
    try:
        refused = msgspec.json.decode(raw, type=_Refused)
    except msgspec.MsgspecError:  # a proxy's page
        refused = _Refused(message=raw[:200].decode(errors="replace"))
    raise ApiError(status, refused.code, refused.message, field=refused.field, request_id=refused.request_id)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
