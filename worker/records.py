"""Group commit of attempts: those that ended while the last batch was on its way are recorded together.

Hand-over (c): an attempt and its delivery's next state in one transaction; many of them share it. An endpoint that has only
failed for five days is disabled here, with its event in the same transaction.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from bankfeed import metrics
from bankfeed.db import delivery, endpoint, event
from bankfeed.db.delivery import Health, Outcome
from bankfeed.errors import RefusedData, Unavailable
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import CustomerId, EndpointId
from bankfeed.outbox import make_disabled_event
from worker.context import Context

BATCH_OUTCOMES: Final = 500
DISABLED_AFTER: Final = timedelta(days=5)
DISABLED_FAILURES: Final = 15  # at the least: two failures five days apart are no five days of failures
FAILED_FOR_LONG: Final = "every delivery has failed for five days"
GONE: Final = 410
IS_GONE: Final = "it answered 410 Gone"


class Records:
    """Records what became of deliveries. `record` returns once it is committed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[tuple[Outcome, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._disabling: set[asyncio.Task[None]] = set()

    async def record(self, outcome: Outcome) -> None:
        """Record one, with whatever others end now. Raises what the database says; then nothing of it is written."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="record deliveries")
        await done

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_OUTCOMES))]
                await self._write_batch(batch)
        finally:  # no await since the last look at what waits: whoever comes after it begins anew
            self._writer = None

    async def _write_batch(self, batch: Sequence[tuple[Outcome, asyncio.Future[None]]]) -> None:
        error: Exception | None = None
        outcomes = [outcome for outcome, _ in batch]
        try:
            moved = await self._write(outcomes)
            self._look_at(moved, outcomes)
        except RefusedData as refused:
            if len(batch) > 1:  # one of them is at fault: the others are recorded without it
                for each in batch:
                    await self._write_batch([each])
                return
            error = refused
        except Exception as failed:  # noqa: BLE001 - each of those who wait is told
            error = failed
        for _, done in batch:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    async def _write(self, outcomes: Sequence[Outcome]) -> tuple[Health, ...]:
        """Record a batch; once more where that failed, as the other one of a deadlock is through by then."""
        try:
            return await write_outcomes(self._context, outcomes)
        except Unavailable:
            return await write_outcomes(self._context, outcomes)

    def _look_at(self, moved: Sequence[Health], outcomes: Sequence[Outcome]) -> None:
        """Begin to disable the endpoints that these say are done for: whoever holds such a row holds up no record."""
        if doomed := find_doomed(moved, outcomes):
            task = asyncio.create_task(self._disable(doomed), name="disable endpoints")
            self._disabling.add(task)
            task.add_done_callback(self._disabling.discard)

    async def _disable(self, doomed: Sequence["Doomed"]) -> None:
        try:
            for each in doomed:
                await disable(self._context, each)
        except Unavailable as error:  # the next failure says so again
            get_logger().warning("endpoint.not_disabled", reason=str(error))
        except Exception:  # noqa: BLE001 - a bug here must not go unseen
            get_logger().exception("endpoint.disabling_broken")

    async def close(self) -> None:
        """Wait for what was begun."""
        await asyncio.gather(*self._disabling, return_exceptions=True)


async def write_outcomes(
    context: Context, outcomes: Sequence[Outcome], *, now: datetime | None = None
) -> tuple[Health, ...]:
    """Record outcomes in one transaction; return the endpoints whose health moved."""
    async with context.database.queue_statement() as conn:
        return await delivery.record_outcomes(conn, outcomes, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doomed:
    """An endpoint that is to be disabled, and why; `url` is the one that said so, None for whatever it is."""

    customer_id: CustomerId
    endpoint_id: EndpointId
    reason: str
    at: datetime
    url: str | None = field(default=None, repr=False)


def find_doomed(moved: Sequence[Health], outcomes: Sequence[Outcome]) -> list[Doomed]:
    """Find the endpoints that are to be disabled, among those of which something was recorded."""
    at = max(outcome.claimed.claimed_at for outcome in outcomes)
    doomed = [
        Doomed(customer_id=each.customer_id, endpoint_id=each.endpoint_id, reason=FAILED_FOR_LONG, at=at)
        for each in moved
        if has_failed_for_long(each, at=at)
    ]
    recorded = {(each.customer_id, each.endpoint_id) for each in moved}
    gone = {
        (outcome.claimed.customer_id, outcome.claimed.endpoint_id, outcome.claimed.url)
        for outcome in outcomes
        if outcome.claimed.is_disabled_by_gone and outcome.attempt is not None and outcome.attempt.status == GONE
    }
    return doomed + [
        Doomed(customer_id=customer_id, endpoint_id=endpoint_id, reason=IS_GONE, at=at, url=url)
        for customer_id, endpoint_id, url in sorted(gone)
        if (customer_id, endpoint_id) in recorded
    ]


def has_failed_for_long(health: Health, *, at: datetime) -> bool:
    """Tell whether an endpoint is to be disabled: nothing but failures for five days, and not a few of them."""
    since = health.failing_since
    return since is not None and health.failures >= DISABLED_FAILURES and at - since >= DISABLED_AFTER


async def disable(context: Context, doomed: Doomed) -> None:
    """Disable an endpoint, and tell those of the customer that want to hear of it. Safe to repeat."""
    customer_id, endpoint_id, reason = doomed.customer_id, doomed.endpoint_id, doomed.reason
    async with context.database.tenant(customer_id) as conn:
        if not await endpoint.disable_endpoint(conn, customer_id, endpoint_id, reason=reason, url=doomed.url):
            return
        made = make_disabled_event(endpoint_id, reason=reason, at=doomed.at)
        await event.insert_events(conn, customer_id, [made])
    metrics.ENDPOINTS_DISABLED.inc()
    get_logger().warning("endpoint.disabled", customer_id=customer_id, endpoint_id=endpoint_id, reason=reason)
    context.waker.wake(Wake.DELIVER)
