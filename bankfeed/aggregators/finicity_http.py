"""Requests to Finicity: the shared token, one bounded exchange, and what its refusals mean. Knows no nouns of the bank.

Five failed authentications lock a partner until its support unlocks it. So a refused authentication is never repeated
blindly: it is remembered for 15 minutes, and after the third one this connector asks no more until it is built anew.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

import aiohttp
import msgspec

from bankfeed.aggregators.finicity_wire import CardSign, clean
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, NoSuchAccount, StillAsking
from bankfeed.health import MEANINGS, RUNNING

NO_SUCH_ACCOUNT: Final = frozenset({14001, 38003})
NO_ACCOUNTS: Final = frozenset({38003, 38006, 38007})

_TOKEN_LIFE_S: Final = 90 * 60  # a token is valid for two hours; the vendor says to renew it after 90 minutes
_STALE_TOKEN: Final = frozenset({10022, 10023})
_REFUSAL_REST_S: Final = 15 * 60
_MAX_REFUSALS: Final = 3
_MAX_FAULT_BYTES: Final = 64 * 1024
_PASSING: Final = frozenset({408, 425, 429})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinicityConfig:
    """How to reach Finicity, and how this deployment uses it.

    `customer_kind` decides whether clients become testing or billable active customers. `max_pages` bounds one pull.
    """

    base_url: str
    partner_id: str
    partner_secret: str = field(repr=False)
    app_key: str = field(repr=False)
    timeout_s: float = 60.0
    connect_s: float = 15.0
    bank_refresh_timeout_s: float = 180.0
    page_rows: int = 1_000
    max_pages: int = 500
    max_answer_bytes: int = 64 * 1024 * 1024
    card_sign: CardSign = CardSign.HOLDER
    customer_kind: Literal["testing", "active"] = "testing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. `to` says in words what it is for: "list the accounts". `path` is its segments.

    `goes_on`: what it asks for goes on there when we hang up.
    """

    to: str
    path: tuple[str, ...]
    method: Literal["GET", "POST", "DELETE"] = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] | None = field(default=None, repr=False)
    timeout_s: float | None = None
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, of any status, with the aggregator's code and message where it is a refusal."""

    ask: Ask
    status: int
    body: bytes
    code: int | None = None
    message: str = ""

    def is_refusal(self, status: int, codes: frozenset[int]) -> bool:
        """Tell whether this is the given HTTP status with one of the given codes."""
        return self.status == status and self.code in codes

    def check(self) -> None:
        """Raise AggregatorError for a refusal."""
        if not 200 <= self.status < 300:
            raise self._refusal()

    def read(self, shape: type[T]) -> T:
        """Return the body in its documented shape. Raises AggregatorError for a refusal or any other shape."""
        self.check()
        try:
            return msgspec.json.decode(self.body, type=shape)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BadAggregatorAnswer(f"Finicity's answer to {self.ask.to} is not as documented: {error}") from error

    def _refusal(self) -> AggregatorError:
        code = "without a code" if self.code is None else f"with code {self.code}"
        text = f"Finicity answered HTTP {self.status} {code} to {self.ask.to}: {self.message or 'no message'}"
        if 300 <= self.status < 400:
            return BadAggregatorAnswer(text)
        if self.is_refusal(404, NO_SUCH_ACCOUNT | NO_ACCOUNTS):
            return NoSuchAccount(text, code=self.code, is_retryable=False)
        if self.code in RUNNING and self.ask.goes_on:
            return StillAsking(text, code=self.code)
        return AggregatorError(text, code=self.code, is_retryable=self._is_retryable())

    def _is_retryable(self) -> bool:
        # An aggregation code comes inside HTTP 500 and says more than the status does.
        if self.code in MEANINGS:
            return MEANINGS[self.code].is_retryable
        return self.status >= 500 or self.status in _PASSING


class _TokenAnswer(msgspec.Struct):
    token: str


class FinicityHttp:
    """The HTTP session and the token that all requests share. Build it inside a running loop; `close` it at the end."""

    def __init__(self, config: FinicityConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._token_at = 0.0
        self._refusals = 0
        self._refused_at = 0.0

    async def send(self, ask: Ask) -> Answer:
        """Send a request with the shared token, and once more with a new one where the token is refused as stale.

        Raises AggregatorError where no answer came.
        """
        token = await self._get_token(stale=None)
        answer = await self._exchange(ask, token)
        if not answer.is_refusal(401, _STALE_TOKEN):
            return answer
        return await self._exchange(ask, await self._get_token(stale=token))

    async def close(self) -> None:
        """Close the session. Safe to repeat."""
        await self._session.close()

    async def _get_token(self, *, stale: str | None) -> str:
        # The lock makes one authentication of many callers; whoever waited finds the new token.
        async with self._lock:
            is_fresh = self._clock() - self._token_at < _TOKEN_LIFE_S
            if self._token is not None and self._token != stale and is_fresh:
                return self._token
            self._check_refusals()
            self._token = await self._authenticate()
            self._token_at = self._clock()
            return self._token

    def _check_refusals(self) -> None:
        if self._refusals >= _MAX_REFUSALS:
            raise _credentials_refused("not asking again before a restart, as the partner would be locked")
        if self._refusals and self._clock() - self._refused_at < _REFUSAL_REST_S:
            raise _credentials_refused("not asking again for 15 minutes, as the partner would be locked")

    async def _authenticate(self) -> str:
        credentials = {"partnerId": self._config.partner_id, "partnerSecret": self._config.partner_secret}
        path = ("aggregation", "v2", "partners", "authentication")
        answer = await self._exchange(Ask(to="authenticate", path=path, method="POST", body=credentials), None)
        if 400 <= answer.status < 500 and answer.status not in _PASSING:
            self._refusals += 1
            self._refused_at = self._clock()
            raise _credentials_refused(f"HTTP {answer.status}, code {answer.code}")
        token = answer.read(_TokenAnswer).token
        if not (token and token.isascii() and token.isprintable()):
            raise BadAggregatorAnswer("Finicity's answer to authenticate holds no usable token")
        self._refusals = 0
        return token

    async def _exchange(self, ask: Ask, token: str | None) -> Answer:
        try:
            async with self._session.request(
                ask.method,
                _url(self._config.base_url, ask),
                params=ask.query,
                headers=self._headers(token),
                data=None if ask.body is None else msgspec.json.encode(ask.body),
                timeout=aiohttp.ClientTimeout(
                    total=ask.timeout_s or self._config.timeout_s, sock_connect=self._config.connect_s
                ),
                allow_redirects=False,
            ) as response:
                return _read_answer(ask, response.status, await self._read_body(ask, response))
        except (aiohttp.ClientError, TimeoutError) as error:
            is_sent = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
            if is_sent and ask.goes_on:
                raise StillAsking(f"Finicity has not ended yet: it was asked to {ask.to}") from error
            raise AggregatorError(f"Finicity could not be reached to {ask.to}: {type(error).__name__}") from error

    def _headers(self, token: str | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Finicity-App-Key": self._config.app_key,
        }
        return headers if token is None else {**headers, "Finicity-App-Token": token}

    async def _read_body(self, ask: Ask, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._config.max_answer_bytes:
                limit = self._config.max_answer_bytes
                raise BadAggregatorAnswer(f"Finicity's answer to {ask.to} is longer than {limit:,} bytes")
        return bytes(body)


def _url(base_url: str, ask: Ask) -> str:
    # A ref may have come in by a webhook: one that is no plain word must not become another path.
    for segment in ask.path:
        if not (segment.isascii() and segment.replace("-", "").replace("_", "").isalnum()):
            raise AggregatorError(f"cannot {ask.to}: {segment[:40]!r} is no id of Finicity's", is_retryable=False)
    return "/".join((base_url.rstrip("/"), *ask.path))


def _read_answer(ask: Ask, status: int, body: bytes) -> Answer:
    if 200 <= status < 300:
        return Answer(ask=ask, status=status, body=body)
    code, message = _read_fault(body[:_MAX_FAULT_BYTES])
    return Answer(ask=ask, status=status, body=body, code=code, message=message)


def _read_fault(body: bytes) -> tuple[int | None, str]:
    """Return code and message of an error body: JSON with a code that is a number or text, or just text."""
    try:
        fault = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None, clean(body[:200].decode(errors="replace"), 200)
    if isinstance(fault, dict) and isinstance(errors := fault.get("Errors", fault.get("errors")), list) and errors:
        fault = errors[0]
    if not isinstance(fault, dict):
        return None, ""
    code, message = str(fault.get("code", "")), fault.get("message")
    is_number = code.isascii() and code.isdigit() and len(code) <= 9
    return int(code) if is_number else None, clean(message, 200) if isinstance(message, str) else ""


def _credentials_refused(reason: str) -> AggregatorError:
    return AggregatorError(f"Finicity refused our partner credentials: {reason}", is_retryable=False)
