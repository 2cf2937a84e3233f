"""Sends Finbank's webhooks, in order, and again while the receiver does not answer 200.

Letters wait in memory: those not delivered when the process dies are lost, as they are with senders that give up.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from uuid import uuid4

import aiohttp

from bankfeed.sandbox.dialects import Letter, Stamp, finicity_letters, ledgersync_letters, txpush_letters
from bankfeed.sandbox.news import News, NewsKind
from bankfeed.sandbox.settings import DialectName

FIRST_RETRY_S, RETRY_FACTOR, LONGEST_RETRY_S, RETRIES = 0.012, 6, 30.0, 9
TIMEOUT = aiohttp.ClientTimeout(total=10)
REMEMBERED = 200


@dataclass(slots=True, kw_only=True)
class Post:
    """One copy of a letter on its way: where to, how often tried, and what came back (0: no answer)."""

    url: str
    letter: Letter
    tries: int = 0
    status: int = 0

    @property
    def is_delivered(self) -> bool:
        """Tell whether the receiver took it: 200 itself, not another 2xx."""
        return self.status == 200


@dataclass(slots=True, kw_only=True)
class Announcer:
    """Turns news into letters and sends them; the first fields are knobs that may change while it runs.

    `repeat` sends each letter that many times, `is_shuffled` disorders the letters of one batch of news,
    `delay_s` holds each batch back.
    """

    dialect: DialectName
    txpush: bool
    ledgersync_url: str
    finicity_url: str
    secret: str = field(repr=False)
    repeat: int = 1
    is_shuffled: bool = False
    delay_s: float = 0.0
    given_up: int = 0
    delivered: int = 0
    recent: deque[Post] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _batches: asyncio.Queue[list[Post]] = field(default_factory=asyncio.Queue)
    _retries: set[asyncio.Task[None]] = field(default_factory=set)
    _rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311  disorder, nothing secret
    _unsent: int = 0

    @property
    def outstanding(self) -> int:
        """Return how many posts are neither delivered nor given up."""
        return self._unsent

    def tell(self, news: Sequence[News]) -> None:
        """Queue what there is to say; returns at once."""
        posts = [post for one in news for post in self._posts(one)]
        if self.is_shuffled:
            self._rng.shuffle(posts)
        if posts:
            self._unsent += len(posts)
            self._batches.put_nowait(posts)

    def stop_retrying(self) -> None:
        """Give up everything that is on its way."""
        for task in tuple(self._retries):
            task.cancel()
        while not self._batches.empty():
            self._give_up(len(self._batches.get_nowait()))

    async def run(self) -> None:
        """Send until cancelled: each batch in order, failed posts again beside it."""
        async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=False) as session:
            try:
                while True:
                    posts = await self._batches.get()
                    await asyncio.sleep(self.delay_s)
                    for post in posts:
                        await self._send(session, post)
            finally:
                for task in self._retries:
                    task.cancel()
                await asyncio.gather(*self._retries, return_exceptions=True)

    def _posts(self, news: News) -> Iterator[Post]:
        for url, letter in self._letters(news):
            for _ in range(self.repeat):
                post = Post(url=url, letter=letter)
                self.recent.append(post)
                yield post

    def _letters(self, news: News) -> Iterator[tuple[str, Letter]]:
        stamp = Stamp(at=datetime.now(UTC), new_uuid=uuid4)
        match self.dialect:
            case DialectName.LEDGERSYNC:
                yield from ((self.ledgersync_url, letter) for letter in ledgersync_letters(news, stamp))
            case DialectName.FINICITY if self.txpush and news.kind is NewsKind.REFRESHED:
                yield from ((self.finicity_url, letter) for letter in txpush_letters(news, secret=self.secret))
            case DialectName.FINICITY:
                yield from ((self.finicity_url, letter) for letter in finicity_letters(news, stamp, secret=self.secret))
            case DialectName.NONE:
                return

    async def _send(self, session: aiohttp.ClientSession, post: Post) -> None:
        if not await self._try(session, post):
            task = asyncio.create_task(self._retry(session, post))
            self._retries.add(task)
            task.add_done_callback(self._end_retry)

    async def _retry(self, session: aiohttp.ClientSession, post: Post) -> None:
        wait_s = FIRST_RETRY_S
        for _ in range(RETRIES):
            await asyncio.sleep(wait_s)
            if await self._try(session, post):
                return
            wait_s = min(wait_s * RETRY_FACTOR, LONGEST_RETRY_S)
        self._give_up(1)

    def _end_retry(self, task: asyncio.Task[None]) -> None:
        self._retries.discard(task)
        if task.cancelled():
            self._give_up(1)

    async def _try(self, session: aiohttp.ClientSession, post: Post) -> bool:
        post.tries += 1
        try:
            async with session.post(
                post.url, data=post.letter.body, headers=post.letter.headers, allow_redirects=False
            ) as answer:
                post.status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            post.status = 0
        if post.is_delivered:
            self.delivered += 1
            self._unsent -= 1
        return post.is_delivered

    def _give_up(self, posts: int) -> None:
        self.given_up += posts
        self._unsent -= posts
