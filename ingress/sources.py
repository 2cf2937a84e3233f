"""Which source a webhook came through: looked up by slug, and kept for some seconds."""

import asyncio
import re
from collections import OrderedDict
from time import monotonic
from typing import Any, Final

from bankfeed.db import Database
from bankfeed.db.source import Source, find_source
from bankfeed.errors import NotFound, RefusedData, Unavailable

KEPT_S: Final = 15
KEPT_SOURCES: Final = 1024
KEPT_STRANGERS: Final = 4096
LOOK_UP_S: Final = 1.0  # with what a commit may take, a sender has its answer within five seconds
LOOK_UPS_AT_ONCE: Final = 2  # strangers who try addresses must not take the connections that commits need
LOOK_UPS_WAITING: Final = 256
SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # the CHECK of schema.sql


class Sources:
    """Finds sources by slug, and keeps them for some seconds. While Postgres is away the kept ones go on serving.

    Slugs without a source are kept apart, so that whoever tries many drives out no source. Each slug is looked up once
    at a time, however many ask for it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[str, tuple[float, Source]] = OrderedDict()
        self._strangers: OrderedDict[str, float] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Source | None]] = {}
        self._slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)
        self._kept_slots = asyncio.Semaphore(LOOK_UPS_AT_ONCE)  # keys are renewed, however many strangers come

    def find_kept(self, slug: str) -> Source | None:
        """Return a source that was looked up some seconds ago at most, None where it has to be looked up."""
        kept = self._kept.get(slug)
        return kept[1] if kept is not None and monotonic() - kept[0] <= KEPT_S else None

    async def get(self, slug: str) -> Source:
        """Return the source with that slug. Raises NotFound, or Unavailable where it cannot be looked up."""
        if (known := self.find_kept(slug)) is not None:
            return known
        _, kept = self._kept.get(slug, (0.0, None))
        if not SLUG.fullmatch(slug) or monotonic() - self._strangers.get(slug, float("-inf")) <= KEPT_S:
            raise NotFound("there is no such source")
        try:
            source = await self._find(slug)
        except Unavailable:
            if kept is None:
                raise
            source = kept
        if source is None:
            raise NotFound("there is no such source")
        return source

    async def _find(self, slug: str) -> Source | None:
        """Wait, not for long, for the look-up of a slug, which goes on when nobody waits any more."""
        task = self._looking.get(slug) or self._start(slug)
        done, _ = await asyncio.wait({task}, timeout=LOOK_UP_S)
        if not done:
            raise Unavailable("the source was not found in time")
        return task.result()

    def _start(self, slug: str) -> asyncio.Task[Source | None]:
        if len(self._looking) >= LOOK_UPS_WAITING:
            raise Unavailable(f"{LOOK_UPS_WAITING} sources are being looked up already")
        task = asyncio.create_task(self._look_up(slug), name="source look-up")
        self._looking[slug] = task
        task.add_done_callback(lambda ended: self._end(slug, ended))
        return task

    def _end(self, slug: str, ended: asyncio.Task[Source | None]) -> None:
        del self._looking[slug]
        if not ended.cancelled():
            ended.exception()  # whoever still waits raises it; with nobody there it is no news

    async def _look_up(self, slug: str) -> Source | None:
        slots = self._kept_slots if slug in self._kept else self._slots
        try:
            async with slots, self._database.queue_statement() as conn:
                source = await find_source(conn, slug)
        except RefusedData:
            source = None
        if source is None:
            self._kept.pop(slug, None)
            _keep(self._strangers, slug, monotonic(), most=KEPT_STRANGERS)
        else:
            self._strangers.pop(slug, None)
            _keep(self._kept, slug, (monotonic(), source), most=KEPT_SOURCES)
        return source


def _keep(kept: OrderedDict[str, Any], slug: str, value: Any, *, most: int) -> None:
    kept[slug] = value
    kept.move_to_end(slug)
    while len(kept) > most:
        kept.popitem(last=False)
