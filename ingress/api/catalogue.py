"""The institutions that this deployment links, in memory: a sandbox's are the pretend banks, live's all others.

Read from Postgres when they are first asked for; from then on a look each minute brings in what changed. Made and indexed in
a thread, and swapped in as one value, so that a search sees one state and waits for none.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bankfeed.db import Database, institution
from bankfeed.db.institution import GONE, Institution
from bankfeed.errors import BankfeedError, Unavailable
from bankfeed.finding import Entry, Index, fold
from bankfeed.logs import get_logger
from bankfeed.settings import Settings

LOOK_S: Final = 60.0
BATCH_ROWS: Final = 1_000
OVERLAP: Final = timedelta(minutes=5)  # longer than a batch may take from its clock to its commit
_WORKING: Final = frozenset({"online", "validated", "beta", "testing", "migrating"})

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """One state: every institution by id, those that can be found in order of their names, and the index over them."""

    by_id: Mapping[int, Institution]
    keys: tuple[Key, ...]
    index: Index

    @classmethod
    def make(cls, by_id: Mapping[int, Institution]) -> "_View":
        there = [each for each in by_id.values() if each.status != GONE]
        return cls(
            by_id=by_id,
            keys=tuple(sorted((fold(each.name), each.id) for each in there)),
            index=Index(
                Entry(id=each.id, name=each.name, url=each.url, is_online=each.status in _WORKING) for each in there
            ),
        )


class Catalogue:
    """The institutions, searchable. `open` it with a database, and `close` it before that is closed."""

    def __init__(self, settings: Settings) -> None:
        self._is_sandbox = settings.environment == "sandbox"
        self._database: Database | None = None
        self._view: _View | None = None
        self._seen_at: datetime | None = None  # the latest change that was read
        self._reading = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    def open(self, database: Database) -> None:
        """Say where the institutions are. Nothing is read before somebody asks."""
        self._database = database

    async def close(self) -> None:
        """Stop looking for changes. Safe to repeat."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
            self._looking = None

    async def search(
        self, text: str, *, limit: int, skip: int = 0, accept: Callable[[Institution], bool] | None = None
    ) -> list[Institution]:
        """Return what a text finds, the best first: at most `limit` after the first `skip`. Gone ones are not found.

        Raises Unavailable where the institutions were never read and Postgres does not answer.
        """
        view = await self._get_view()
        by_id = view.by_id
        wanted = None if accept is None else (lambda found: accept(by_id[found]))
        return [by_id[found] for found in view.index.search(text, limit=skip + limit, accept=wanted)[skip:]]

    async def list_by_name(
        self, *, after: Key | None, limit: int, accept: Callable[[Institution], bool] | None = None
    ) -> list[Institution]:
        """Return institutions by name, following a key as `key_of` gives it. Gone ones are left out. Raises Unavailable."""
        view = await self._get_view()
        found: list[Institution] = []
        for at in range(0 if after is None else bisect_right(view.keys, after), len(view.keys)):
            each = view.by_id[view.keys[at][1]]
            if accept is None or accept(each):
                found.append(each)
                if len(found) == limit:
                    break
        return found

    async def get(self, institution_id: int) -> Institution | None:
        """Return one institution, also one that is gone; None where there is none of this deployment's kind.

        One that was noted a moment ago is read from Postgres. Raises Unavailable.
        """
        found = (await self._get_view()).by_id.get(institution_id)
        if found is None:
            async with self._get_database().app() as conn:
                found = await institution.find_institution(conn, institution_id)
        return found if found is not None and found.is_sandbox == self._is_sandbox else None

    async def refresh(self) -> None:
        """Read what changed since the last look, and swap it in. Safe to repeat. Raises Unavailable."""
        async with self._reading:
            known = self._view.by_id if self._view is not None else {}
            since = self._seen_at - OVERLAP if self._seen_at is not None else None
            by_id = dict(known)
            async for each in _read(self._get_database(), since):
                self._seen_at = max(each.changed_at, self._seen_at or each.changed_at)
                if each.is_sandbox == self._is_sandbox:
                    by_id[each.id] = each
                else:
                    by_id.pop(each.id, None)
            if self._view is None or by_id != known:
                self._view = await asyncio.to_thread(_View.make, by_id)

    async def _get_view(self) -> _View:
        if self._view is None:
            await self.refresh()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="look at institutions")
        assert self._view is not None
        return self._view

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.refresh()
            except BankfeedError as error:
                get_logger().info("catalogue.waits", reason=str(error))
            except Exception:  # noqa: BLE001 - one broken look must not end them all
                get_logger().exception("catalogue.broken")

    def _get_database(self) -> Database:
        if self._database is None:
            raise Unavailable("the institutions are not there yet")
        return self._database


def key_of(found: Institution) -> Key:
    """Return where an institution stands in the order of names."""
    return fold(found.name), found.id


async def _read(database: Database, since: datetime | None) -> AsyncIterator[Institution]:
    after_id = 0
    while True:
        async with database.app() as conn:
            batch = await institution.list_institutions(conn, changed_since=since, after_id=after_id, limit=BATCH_ROWS)
        for each in batch:
            yield each
        if len(batch) < BATCH_ROWS:
            return
        after_id = batch[-1].id
