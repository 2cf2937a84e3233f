"""Group commit of attempts: those that ended while the last batch was on its way are recorded together.

Hand-over (c): an attempt and its delivery's next state in one transaction; many of them share it. An endpoint that has only
failed for five days is disabled here, with its event in the same transaction.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from bankfeed import metrics
from bankfeed.db import delivery, endpoint, event
from bankfeed.db.delivery import Health, Outcome
from bankfeed.errors import RefusedData
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import CustomerId, EndpointId
from bankfeed.outbox import make_disabled_event
from worker.context import Context

BATCH_OUTCOMES: Final = 500
DISABLED_AFTER: Final = timedelta(days=5)
DISABLED_FAILURES: Final = 15  # at the least: two failures five days apart are no five days of failures
FAILED_FOR_LONG: Final = "every delivery has failed for five days"
IS_GONE: Final = "it answered 410 Gone"


class Records:
    """Records what became of deliveries. `record` returns once it is committed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: deque[tuple[Outcome, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None

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
        try:
            await write_outcomes(self._context, [outcome for outcome, _ in batch])
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


async def write_outcomes(context: Context, outcomes: Sequence[Outcome], *, now: datetime | None = None) -> None:
    """Record outcomes in one transaction; then disable the endpoints that these say are done for."""
    async with context.database.queue_statement() as conn:
        moved = await delivery.record_outcomes(conn, outcomes, now=now)
    latest = max(outcome.claimed.claimed_at for outcome in outcomes)
    for each in moved:
        if has_failed_for_long(each, at=latest):
            await disable(context, each.customer_id, each.endpoint_id, reason=FAILED_FOR_LONG, at=latest)
    for outcome in outcomes:
        if outcome.claimed.is_disabled_by_gone and outcome.attempt is not None and outcome.attempt.status == 410:
            claimed = outcome.claimed
            await disable(context, claimed.customer_id, claimed.endpoint_id, reason=IS_GONE, at=latest)


def has_failed_for_long(health: Health, *, at: datetime) -> bool:
    """Tell whether an endpoint is to be disabled: nothing but failures for five days, and not a few of them."""
    since = health.failing_since
    return since is not None and health.failures >= DISABLED_FAILURES and at - since >= DISABLED_AFTER


async def disable(
    context: Context, customer_id: CustomerId, endpoint_id: EndpointId, *, reason: str, at: datetime
) -> None:
    """Disable an endpoint, and tell those of the customer that want to hear of it. Safe to repeat."""
    async with context.database.tenant(customer_id) as conn:
        if not await endpoint.disable_endpoint(conn, customer_id, endpoint_id, reason=reason):
            return
        await event.insert_events(conn, customer_id, [make_disabled_event(endpoint_id, reason=reason, at=at)])
    metrics.ENDPOINTS_DISABLED.inc()
    get_logger().warning("endpoint.disabled", customer_id=customer_id, endpoint_id=endpoint_id, reason=reason)
    context.waker.wake(Wake.DELIVER)
