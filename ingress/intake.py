"""Group commit: concurrent events share one INSERT, and each is answered after its commit.

There is no linger: what arrives while the INSERTs are on their way goes into the next. Three may be on their way, so that
one is prepared while the others wait for the disk. The queue is bounded in events and bytes; past a bound an event is
refused at once. A commit does not depend on whoever sent the event: it goes on when the sender left, and when it took too
long and the sender was told to come back, who then repeats what is stored already.
"""

import asyncio
from collections import deque
from time import monotonic
from traceback import extract_tb
from typing import Final, NamedTuple

from bankfeed.db import Database
from bankfeed.db.arrival import Arrival, Incoming, insert_inbox
from bankfeed.errors import RefusedData, Unavailable
from bankfeed.failpoints import Failpoint, reach
from bankfeed.jobs import Wake, Waker
from bankfeed.logs import get_logger

COMMITS_AT_ONCE: Final = 3
BATCH_EVENTS: Final = 256
BATCH_BYTES: Final = 8_000_000
WAITING_BYTES: Final = 64_000_000  # the largest bodies, as many as may wait, would be 500 MB: more than a small pod has
STORE_S: Final = 4.0  # senders give up after some 5 to 10 s; they are to have an answer before that


class _Waiting(NamedTuple):
    incoming: Incoming
    key: tuple[int, str, bytes]
    answer: asyncio.Future[Arrival]


class Intake:
    """Stores events for whoever awaits `store`. Runs while `run` runs."""

    def __init__(self, database: Database, waker: Waker, *, most_waiting: int) -> None:
        self._database = database
        self._waker = waker
        self._most_waiting = most_waiting
        self._queue: deque[_Waiting] = deque()
        self._unanswered: deque[tuple[float, asyncio.Future[Arrival]]] = deque()
        self._waiting_bytes = 0
        self._has_some = asyncio.Event()
        self._count = 0

    def store(self, incoming: Incoming) -> asyncio.Future[Arrival]:
        """Take an event; what is returned tells what became of it, once that is committed.

        Raises, at once or when awaited, Unavailable where Postgres is away or slow or too much waits, and RefusedData where
        it cannot be stored at all.
        """
        if len(self._queue) >= self._most_waiting:
            raise Unavailable(f"{self._most_waiting} events wait already")
        if self._waiting_bytes + len(incoming.body) > WAITING_BYTES:
            raise Unavailable(f"{self._waiting_bytes} bytes wait already")
        waiting = _Waiting(incoming, self._key(incoming), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._unanswered.append((monotonic(), waiting.answer))
        self._waiting_bytes += len(incoming.body)
        self._has_some.set()
        return waiting.answer

    def _key(self, incoming: Incoming) -> tuple[int, str, bytes]:
        """Order events alike in all replicas, and find the same event twice in a batch."""
        if incoming.event_id is None:
            self._count += 1
            return (incoming.source_id, "", self._count.to_bytes(8, "big"))
        return (incoming.source_id, incoming.event_id, incoming.body)

    async def run(self) -> None:
        """Commit batches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._refuse_late(), name="late commits")
            for _ in range(COMMITS_AT_ONCE):
                tasks.create_task(self._commit_batches(), name="group commit")

    async def _refuse_late(self) -> None:
        """Answer for commits that take too long; they go on. One timer for all: one for each costs a tenth of the rate."""
        while True:
            await asyncio.sleep(STORE_S / 8)
            late = monotonic() - STORE_S
            while self._unanswered and (self._unanswered[0][1].done() or self._unanswered[0][0] < late):
                _, answer = self._unanswered.popleft()
                if not answer.done():
                    answer.set_exception(Unavailable(f"no commit within {STORE_S} s"))

    async def _commit_batches(self) -> None:
        while True:
            await self._has_some.wait()
            if batch := self._take_batch():
                await self._commit(batch)

    def close(self) -> None:
        """Refuse what still waits, and whatever comes."""
        self._most_waiting = 0
        while self._queue:
            _refuse(self._take_batch(), Unavailable("ingress stops"))

    def _take_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._queue and len(batch) < BATCH_EVENTS and size_bytes < BATCH_BYTES:
            waiting = self._queue.popleft()
            size_bytes += len(waiting.incoming.body)
            batch.append(waiting)
        self._waiting_bytes -= size_bytes
        if not self._queue:
            self._has_some.clear()
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        first: dict[tuple[int, str, bytes], _Waiting] = {}
        for waiting in batch:
            first.setdefault(waiting.key, waiting)
        await self._commit_distinct([first[key] for key in sorted(first)])
        for waiting in batch:
            if waiting is not first[waiting.key]:
                _follow(waiting, first[waiting.key])
        self._waker.wake(Wake.INBOX)

    async def _commit_distinct(self, ordered: list[_Waiting]) -> None:
        try:
            arrivals = await self._insert([waiting.incoming for waiting in ordered])
        except RefusedData as error:
            await self._commit_one_by_one(ordered, error)
        except Unavailable as error:
            _refuse(ordered, error)
        except asyncio.CancelledError:
            _refuse(ordered, Unavailable("ingress stops"))
            raise
        except Exception as error:  # noqa: BLE001 - one batch that fails must not end the door for all that follow
            get_logger().error("intake.broken", **_describe(error), events=len(ordered))
            _refuse(ordered, Unavailable(f"the commit failed: {type(error).__name__}"))
        else:
            for waiting, arrival in zip(ordered, arrivals, strict=True):
                _answer(waiting, arrival)

    async def _commit_one_by_one(self, ordered: list[_Waiting], error: RefusedData) -> None:
        """Find the one row that Postgres refuses; the others must not fail with it."""
        if len(ordered) == 1:
            _refuse(ordered, error)
            return
        for waiting in ordered:
            await self._commit_distinct([waiting])

    async def _insert(self, incoming: list[Incoming]) -> tuple[Arrival, ...]:
        async with self._database.queue_statement() as conn:
            reach(Failpoint.BEFORE_INBOX_INSERT)
            arrivals = await insert_inbox(conn, incoming)
        reach(Failpoint.AFTER_INBOX_INSERT)
        return arrivals


def _describe(error: Exception) -> dict[str, str | None]:
    """Name an error and its place without its text: Postgres' texts quote the row."""
    place = extract_tb(error.__traceback__)[-1]
    return {
        "error": type(error).__name__,
        "sqlstate": getattr(error, "sqlstate", None),
        "at": f"{place.filename}:{place.lineno}",
    }


def _answer(waiting: _Waiting, arrival: Arrival) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(arrival)


def _refuse(refused: list[_Waiting], error: Exception) -> None:
    for waiting in refused:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _follow(waiting: _Waiting, first: _Waiting) -> None:
    """Answer an event that stood twice in one batch as the repeat that it is."""
    error = Unavailable("the first of two senders left") if first.answer.cancelled() else first.answer.exception()
    if isinstance(error, Exception):
        _refuse([waiting], error)
    else:
        _answer(waiting, Arrival.REPEATED)
