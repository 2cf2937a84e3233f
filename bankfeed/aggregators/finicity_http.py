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

from bankfeed.aggregators.finicity_wire import CardSign, Unreadable, clean
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, NoSuchAccount, StillAsking
from bankfeed.health import MEANINGS, RUNNING

NO_SUCH_ACCOUNT: Final = frozenset({14001, 38003})
NO_ACCOUNTS: Final = frozenset({38003, 38006, 38007})

_TOKEN_LIFE_S: Final = 90 * 60  # a token is valid for two hours; the vendor says to renew it after 90 minutes
_STALE_TOKEN: Final = frozenset({10022, 10023})
_REFUSAL_REST_S: Final = 15 * 60
_MAX_REFUSALS: Final = 3
_MAX_FAULT_BYTES: Final = 64 * 1024
_AGGREGATION_FAILED: Final = 500
_PASSING: Final = frozenset({408, 425, 429})
_SESSION_HEADER: Final = "MFA-Session"

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinicityConfig:
    """How to reach Finicity, and how this deployment uses it.

    `customer_kind` decides whether clients become testing or billable active customers. `max_pages` bounds one pull.
    `has_own_widget`: people link in Connect; False where they do in our widget, which takes the calls that were before it.
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
    has_own_widget: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. `to` says in words what it is for: "list the accounts". `path` is its segments.

    `goes_on`: what it asks for goes on there when we hang up. `is_private`: it carries what a person typed, or a session,
    which no error may show; therefore none shows Finicity's message, which may repeat it, or has a cause. `max_bytes`
    and `timeout_s` are the connector's own where None.
    """

    to: str
    path: tuple[str, ...] = field(repr=False)
    method: Literal["GET", "POST", "PUT", "DELETE"] = "GET"
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    timeout_s: float | None = None
    max_bytes: int | None = None
    goes_on: bool = False
    is_private: bool = False

    def cause(self, error: Exception) -> Exception | None:
        """Return what an error of this request may name as its cause."""
        return None if self.is_private else error


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, of any status, with the aggregator's code and message where it is a refusal.

    `session` is what the header MFA-Session names, "" where there is none.
    """

    ask: Ask
    status: int
    body: bytes = field(repr=False)
    session: str = field(default="", repr=False)
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
            text = f"Finicity's answer to {self.ask.to} is not as documented: {error}"
            raise BadAggregatorAnswer(text) from self.ask.cause(error)

    def read_into(self, shape: type[T], read: Callable[[T], R]) -> R:
        """Return the body as what `read` makes of its documented shape, raising Unreadable where it cannot.

        Raises AggregatorError for a refusal, for any other shape, and for what cannot be read.
        """
        try:
            return read(self.read(shape))
        except Unreadable as error:
            text = f"Finicity's answer to {self.ask.to} cannot be read: {error}"
            raise BadAggregatorAnswer(text) from self.ask.cause(error)

    def _refusal(self) -> AggregatorError:
        with_code = "without a code" if self.code is None else f"with code {self.code}"
        text = f"Finicity answered HTTP {self.status} {with_code} to {self.ask.to}: {self.message or 'no message'}"
        if 300 <= self.status < 400:
            return BadAggregatorAnswer(text)
        if self.is_refusal(404, NO_SUCH_ACCOUNT | NO_ACCOUNTS):
            return NoSuchAccount(text, is_retryable=False)
        code = self._find_status_code()
        if code in RUNNING and self.ask.goes_on:
            return StillAsking(text, code=code)
        is_passing = self.status >= 500 or self.status in _PASSING
        is_retryable = MEANINGS[code].is_retryable if code in MEANINGS else is_passing
        return AggregatorError(text, code=code, is_retryable=is_retryable)

    def _find_status_code(self) -> int | None:
        """Return the aggregation code, which says how a login stands; None for an API's own code, which does not.

        It comes inside HTTP 500, listed or not; elsewhere it is a listed one that does not just repeat the HTTP status.
        """
        is_of_login = "customers" in self.ask.path
        is_status_code = self.status == _AGGREGATION_FAILED or (self.code in MEANINGS and self.code != self.status)
        return (self.code or None) if is_of_login and is_status_code else None


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
                headers={**self._headers(token), **ask.headers},
                data=None if ask.body is None else msgspec.json.encode(ask.body),
                timeout=aiohttp.ClientTimeout(
                    total=ask.timeout_s or self._config.timeout_s, sock_connect=self._config.connect_s
                ),
                allow_redirects=False,
            ) as response:
                return _read_answer(ask, response, await self._read_body(ask, response))
        except (aiohttp.ClientError, TimeoutError) as error:
            is_sent = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
            if is_sent and ask.goes_on:
                raise StillAsking(f"Finicity has not ended yet: it was asked to {ask.to}") from ask.cause(error)
            text = f"Finicity could not be reached to {ask.to}: {type(error).__name__}"
            raise AggregatorError(text) from ask.cause(error)

    def _headers(self, token: str | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Finicity-App-Key": self._config.app_key,
        }
        return headers if token is None else {**headers, "Finicity-App-Token": token}

    async def _read_body(self, ask: Ask, response: aiohttp.ClientResponse) -> bytes:
        body, limit = bytearray(), ask.max_bytes or self._config.max_answer_bytes
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise BadAggregatorAnswer(f"Finicity's answer to {ask.to} is longer than {limit:,} bytes")
        return bytes(body)


def _url(base_url: str, ask: Ask) -> str:
    # A ref may have come in by a webhook: one that is no plain word must not become another path.
    for segment in ask.path:
        if not (segment.isascii() and segment.replace("-", "").replace("_", "").isalnum()):
            shown = "what was given" if ask.is_private else repr(segment[:40])
            raise AggregatorError(f"cannot {ask.to}: {shown} is no id of Finicity's", is_retryable=False)
    return "/".join((base_url.rstrip("/"), *ask.path))


def _read_answer(ask: Ask, response: aiohttp.ClientResponse, body: bytes) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(ask=ask, status=status, body=body, session=response.headers.get(_SESSION_HEADER, ""))
    code, message = _read_fault(body[:_MAX_FAULT_BYTES])
    shown = "its message is not shown" if ask.is_private else message
    return Answer(ask=ask, status=status, body=body, code=code, message=shown)


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
