"""Plaid's public keys: asked for by id at Plaid's API, and kept for an hour.

Whoever sends a webhook names the key, so what is unknown is bounded in number, asked for seldom, and once at a time,
however many name it. A key that is kept is renewed past that limit. While Plaid does not answer nothing is known either
way: that is Unavailable, never a wrong signature.
"""

import asyncio
from collections import OrderedDict, deque
from time import monotonic
from typing import Any, Final

import aiohttp
import msgspec

from bankfeed.errors import Unavailable
from bankfeed.logs import get_logger
from bankfeed.settings import Settings
from bankfeed.signing import BadSignature, PlaidKey, read_plaid_key

KEPT_S: Final = 3600
KEPT_KEYS: Final = 64
STRANGER_S: Final = 60
ASKED_AT_MOST: Final = 10  # for ids that are not kept, in ASKED_WITHIN_S: Plaid changes its key every few months
ASKED_WITHIN_S: Final = 60
ANSWER_BYTES: Final = 65_536
UNKNOWN: Final = "INVALID_WEBHOOK_VERIFICATION_KEY_ID"


class PlaidKeys:
    """Finds Plaid's keys by id."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kept: OrderedDict[str, tuple[float, PlaidKey]] = OrderedDict()
        self._strangers: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[PlaidKey | None]] = {}
        self._asked: deque[float] = deque()
        self._session: aiohttp.ClientSession | None = None

    async def get(self, kid: str) -> PlaidKey:
        """Return a key. Raises BadSignature where Plaid has no such key, Unavailable where that cannot be known now."""
        kept_at, key = self._kept.get(kid, (float("-inf"), None))
        if key is not None and monotonic() - kept_at <= KEPT_S:
            return key
        if monotonic() - self._strangers.get(kid, float("-inf")) > STRANGER_S:
            # the look-up goes on for others when one who waits for it leaves
            key = await asyncio.shield(self._asking.get(kid) or self._start(kid))
            if key is not None:
                return key
        raise BadSignature("Plaid has no such key")

    def _start(self, kid: str) -> "asyncio.Task[PlaidKey | None]":
        if kid not in self._kept:
            self._count_stranger()
        task = asyncio.create_task(self._look_up(kid), name="Plaid's key")
        self._asking[kid] = task
        task.add_done_callback(lambda ended: self._end(kid, ended))
        return task

    def _count_stranger(self) -> None:
        while self._asked and monotonic() - self._asked[0] > ASKED_WITHIN_S:
            self._asked.popleft()
        if len(self._asked) >= ASKED_AT_MOST:
            raise Unavailable(f"{ASKED_AT_MOST} unknown keys were asked for within {ASKED_WITHIN_S} s")
        self._asked.append(monotonic())

    def _end(self, kid: str, ended: "asyncio.Task[PlaidKey | None]") -> None:
        del self._asking[kid]
        if not ended.cancelled():
            ended.exception()  # whoever still waits raises it; with nobody there it is no news

    async def _look_up(self, kid: str) -> PlaidKey | None:
        try:
            key = await self._ask(kid)
        except Unavailable as error:
            get_logger().warning("plaid_key.unavailable", reason=str(error))
            raise
        if key is None:
            self._kept.pop(kid, None)
            _keep(self._strangers, kid, monotonic(), most=KEPT_KEYS)
        else:
            _keep(self._kept, kid, (monotonic(), key), most=KEPT_KEYS)
        get_logger().info("plaid_key.fetched", is_known=key is not None)
        return key

    async def _ask(self, kid: str) -> PlaidKey | None:
        """Ask Plaid for a key; None where it says that there is none."""
        if not (self._settings.plaid_client_id and self._settings.plaid_secret):
            raise Unavailable("BANKFEED_PLAID_CLIENT_ID and BANKFEED_PLAID_SECRET are not set")
        request = {
            "client_id": self._settings.plaid_client_id,
            "secret": self._settings.plaid_secret.reveal(),
            "key_id": kid,
        }
        status, answer = await self._post(request)
        if status == 400 and answer.get("error_code") == UNKNOWN:
            return None
        try:
            key = read_plaid_key(answer["key"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(f"expected a key from Plaid, got status {status}") from error
        if key.kid != kid:
            raise Unavailable("expected the key that was asked for, got another")
        return key

    async def _post(self, request: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._settings.plaid_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        url = f"{self._settings.plaid_url.rstrip('/')}/webhook_verification_key/get"
        try:
            async with self._session.post(url, json=request, allow_redirects=False) as response:
                text = await response.content.read(ANSWER_BYTES)
                return response.status, msgspec.json.decode(text, type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # what is no JSON object is a ValueError
            raise Unavailable(f"Plaid does not answer: {type(error).__name__}") from error

    async def close(self) -> None:
        """Give up what is asked for, and close the session. Safe to repeat."""
        for task in self._asking.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()


def _keep(kept: OrderedDict[str, Any], kid: str, value: Any, *, most: int) -> None:
    kept[kid] = value
    kept.move_to_end(kid)
    while len(kept) > most:
        kept.popitem(last=False)
