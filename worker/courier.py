"""The delivery lane: what is due is claimed as slots come free, and attempted, each in a task of its own.

One claim at a time goes to Postgres, for as many as there are free slots; attempts that end are recorded together
(worker/records.py). Between claims the courier sleeps until the next due time, a wake-up, or a free slot. A wake-up that is
lost costs nothing but the time to the next sweep.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from bankfeed.db import delivery
from bankfeed.db.delivery import ClaimedDelivery, Outcome
from bankfeed.errors import Unavailable
from bankfeed.failpoints import Failpoint, reach
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from worker.context import Context
from worker.deliver import deliver
from worker.post import Post
from worker.records import Records
from worker.secrets import Secrets

LEASE_MARGIN_S: Final = (
    10  # a claim is not renewed: it lasts the attempt, and this for what is read before and written after
)
LOOK_AGAIN_S: Final = 0.25  # at lanes that are due and gave nothing: their breaker, pause, rate or slots may let go
LINGER_S: Final = 0.02  # while all slots are busy: a claim for many costs little more than one for one
AFTER_TROUBLE_S: Final = 1.0


class Courier:
    """Delivers in at most `delivery_slots` tasks. Works like a Lane: `start`, `busy`, `close`."""

    def __init__(self, context: Context, post: Post) -> None:
        self.name: str = Wake.DELIVER
        self._context = context
        self._post = post
        self._secrets = Secrets(context.settings.sealer())
        self._records = Records(context)
        self._slots = context.settings.delivery_slots
        self._tries: set[asyncio.Task[None]] = set()
        self._called = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._after = delivery.NOBODY
        self._is_hungry = False  # the last claim took all that there were slots for: more may be due
        self._has_held = False  # something due was held back, by its endpoint's slots it may be
        self._is_open = True

    @property
    def busy(self) -> int:
        """How many attempts are under way."""
        return len(self._tries)

    def start(self) -> asyncio.Task[None] | None:
        """Look for what is due, now; None where no slot is free: it is looked for as soon as one is."""
        if not self._is_open:
            return None
        if not self._is_hungry:
            self._called.set()
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name="courier")
        return self._runner if self.busy < self._slots else None

    async def drain(self) -> None:
        """Look for what is due, now: nobody waits for attempts that others are under way with."""
        self.start()

    async def close(self, *, grace_s: float) -> None:
        """Claim nothing more; let attempts finish within the grace time, then give back what is left."""
        self._is_open = False
        self._called.set()
        begun = [*self._tries] if self._runner is None else [self._runner, *self._tries]
        if begun:
            await asyncio.wait(begun, timeout=grace_s)
            for task in self._tries:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)
        await self._records.close()

    async def _run(self) -> None:
        while self._is_open:
            self._called.clear()
            try:
                pause_s = await self._take() if self.busy < self._slots else LINGER_S
            except Unavailable as error:
                get_logger().warning("lane.waits", lane=self.name, reason=str(error))
                pause_s = AFTER_TROUBLE_S
            except Exception:  # noqa: BLE001 - a bug in one claim must not end the worker
                get_logger().exception("lane.broken", lane=self.name)
                pause_s = AFTER_TROUBLE_S
            await self._rest(pause_s)

    async def _take(self) -> float | None:
        """Claim for the free slots and begin; return how long to rest, None until something calls."""
        free = self._slots - self.busy
        token = uuid4()
        reach(Failpoint.BEFORE_DELIVERY_CLAIM)
        async with self._context.database.queue_statement() as conn:
            claimed = await delivery.claim_deliveries(
                conn,
                token=token,
                lease_s=lease_s(self._context),
                limit=free,
                most_of_one=free // 2,
                after=self._after,
            )
        if claimed:
            reach(Failpoint.AFTER_DELIVERY_CLAIM)
        if not self._is_open:
            await give_back(self._context, claimed, token)
            return None
        for each in claimed:
            self._begin(self._try(each, token))
        if claimed:
            self._after = find_last_turn(claimed, self._after)
        self._is_hungry = len(claimed) >= free
        if self._is_hungry:
            return LINGER_S
        async with self._context.database.queue_statement() as conn:
            next_due_s = await delivery.find_next_due_s(conn)
        self._has_held = next_due_s is not None and next_due_s <= 0
        return LOOK_AGAIN_S if self._has_held else next_due_s

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="delivery")
        self._tries.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tries.discard(task)
        free = self._slots - self.busy
        if free >= self._slots // 4 if self._is_hungry else self._has_held or free == 1:
            self._called.set()

    async def _try(self, claimed: ClaimedDelivery, token: UUID) -> None:
        try:
            outcome = await deliver(claimed, self._post, self._secrets, self._records.record, token=token)
            if outcome.state != "delivered":
                self._called.set()  # it may be due again sooner than the courier means to look
        except asyncio.CancelledError:
            await asyncio.shield(give_back(self._context, [claimed], token))
            raise
        except Unavailable as error:  # its lease brings it back
            get_logger().warning("delivery.unrecorded", delivery_id=claimed.delivery_id, reason=str(error))
        except Exception:  # noqa: BLE001 - a bug in one attempt must not end the worker; its lease brings it back
            get_logger().exception("delivery.broken", delivery_id=claimed.delivery_id)

    async def _rest(self, seconds: float | None) -> None:
        if not self._is_open:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._called.wait()
        except TimeoutError:
            pass


def find_last_turn(claimed: Sequence[ClaimedDelivery], after: tuple[int, int]) -> tuple[int, int]:
    """Return the endpoint whose turn was last in a claim that began behind `after`: those before it came round again."""
    lanes = ((each.customer_id, each.endpoint_id) for each in claimed)
    return max(lanes, key=lambda lane: (lane <= after, lane))


def lease_s(context: Context) -> float:
    """Return how long a claim lasts: an attempt, and what is read before it and written after it."""
    return context.settings.attempt_s + LEASE_MARGIN_S


async def give_back(context: Context, claimed: Sequence[ClaimedDelivery], token: UUID) -> None:
    """Give deliveries back without an attempt, due at once; a schedule that began with this claim has not begun."""
    async with context.database.queue_statement() as conn:
        await delivery.record_outcomes(
            conn, [Outcome(claimed=each, token=token, state="given_back") for each in claimed]
        )
