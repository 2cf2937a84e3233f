"""The delivery lane: due deliveries are claimed, sent, and each attempt is recorded with what comes next.

Hand-over (c): an attempt and its delivery's next state in one transaction. The schedule is bankfeed/schedule.py's, asked
about the moment of the claim by Postgres' clock: nothing here reads a clock. A shutdown, a lost lease and a disabled
endpoint are no attempts. An attempt that a person asked for is beside the schedule: it uses up no slot, and what follows
is what would have followed anyway.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID, uuid4

from bankfeed import metrics
from bankfeed.db import delivery
from bankfeed.db.delivery import Attempt, ClaimedDelivery, Parcel
from bankfeed.failpoints import Failpoint, reach
from bankfeed.logs import get_logger
from bankfeed.schedule import RETRIES, is_over, next_due_at
from worker.context import Context
from worker.post import Post

BATCH_DELIVERIES = 10
ENDED_DELIVERIES = 1_000  # of a deleted endpoint, in one transaction
LEASE_MARGIN_S = 10  # a claim is not renewed: it lasts the attempt, and this for what is read before and written after


async def take_deliveries(context: Context, post: Post, *, now: datetime | None = None) -> bool:
    """Claim some due deliveries and attempt each; False where none was due. `now` None is Postgres' clock.

    Raises the first error of those that could not be recorded, once all have ended; their leases bring them back.
    """
    token = uuid4()
    async with context.database.queue() as conn:
        claimed = await delivery.claim_deliveries(
            conn,
            token=token,
            lease_s=context.settings.attempt_s + LEASE_MARGIN_S,
            limit=min(BATCH_DELIVERIES, context.settings.delivery_slots),  # the attempt's time runs from here for each
            now=now,
        )
        if claimed:
            reach(Failpoint.BEFORE_DELIVERY_CLAIM)
    if claimed:
        reach(Failpoint.AFTER_DELIVERY_CLAIM)
    try:
        tries = [_Try(context, post, each, parcel, token) for each, parcel in await _with_parcels(context, claimed)]
        ended = await asyncio.gather(*(each.run() for each in tries), return_exceptions=True)
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, claimed, token))
        raise
    for error in ended:
        if error is not None:
            raise error
    return bool(claimed)


async def _with_parcels(context: Context, claimed: Sequence[ClaimedDelivery]) -> list[tuple[ClaimedDelivery, Parcel]]:
    """Read what to send, one statement for each customer."""
    by_customer = sorted(claimed, key=lambda each: (each.customer_id, each.delivery_id))
    found: list[tuple[ClaimedDelivery, Parcel]] = []
    for customer_id, group in groupby(by_customer, key=lambda each: each.customer_id):
        own = {each.delivery_id: each for each in group}
        async with context.database.tenant(customer_id) as conn:
            parcels = await delivery.list_parcels(conn, customer_id, list(own.values()))
        found += [(own[parcel.delivery_id], parcel) for parcel in parcels]
    return found


async def _give_back(context: Context, claimed: Sequence[ClaimedDelivery], token: UUID) -> None:
    async with context.database.queue() as conn:
        for each in claimed:
            await delivery.give_back(conn, each, token=token)


class _Try:
    """One claimed delivery, until it is recorded what became of it."""

    def __init__(self, context: Context, post: Post, claimed: ClaimedDelivery, parcel: Parcel, token: UUID) -> None:
        self.context = context
        self.post = post
        self.claimed = claimed
        self.parcel = parcel
        self.token = token

    async def run(self) -> None:
        is_by_hand = self.claimed.is_by_hand and self.parcel.is_endpoint_active
        if self.parcel.is_endpoint_deleted:
            await self._end()
        elif not is_by_hand and (
            self.claimed.attempts > RETRIES or is_over(self.claimed.first_attempt_at, self.claimed.claimed_at)
        ):
            await self._record_failed(None, reason="the schedule is over")
        elif not self.parcel.is_endpoint_active:
            await self._skip()
        else:
            await self._record(await self.post.attempt(self.parcel))

    async def _record(self, attempt: Attempt) -> None:
        reach(Failpoint.BEFORE_ATTEMPT)
        due_at = self._next_due_at()
        if attempt.status is not None and 200 <= attempt.status < 300:
            outcome = "delivered"
            async with self.context.database.tenant(self.claimed.customer_id) as conn:
                await delivery.mark_delivered(conn, self.claimed, attempt, token=self.token)
            metrics.DELIVERY_ATTEMPT.observe(self.claimed.attempt_no)
        elif due_at is None or self.claimed.slots_used > RETRIES:
            outcome = "failed"
            await self._record_failed(attempt)
        else:
            outcome = "later"
            async with self.context.database.tenant(self.claimed.customer_id) as conn:
                await delivery.mark_waiting(conn, self.claimed, attempt, token=self.token, due_at=due_at)
        reach(Failpoint.AFTER_ATTEMPT)
        self._count(attempt, outcome)

    async def _record_failed(self, attempt: Attempt | None, *, reason: str = "") -> None:
        async with self.context.database.tenant(self.claimed.customer_id) as conn:
            await delivery.mark_failed(conn, self.claimed, attempt, token=self.token, reason=reason)

    async def _end(self) -> None:
        """Fail a delivery whose endpoint was deleted, and with it others of that endpoint; then hurry those left over."""
        reason = delivery.ENDPOINT_DELETED
        async with self.context.database.tenant(self.claimed.customer_id) as conn:
            await delivery.mark_failed(conn, self.claimed, None, token=self.token, reason=reason)
            await delivery.end_deliveries(
                conn, self.claimed.customer_id, self.claimed.endpoint_id, limit=ENDED_DELIVERIES, reason=reason
            )

    async def _skip(self) -> None:
        """Let a slot of a disabled endpoint pass: no attempt, and the next slot is looked at when it comes.

        A schedule that has not begun has no slots: the endpoint is looked at every 30 s, for three days after the event.
        """
        due_at = self._next_due_at()
        has_waited_long = self.claimed.is_first and is_over(self.claimed.created_at, self.claimed.claimed_at)
        if due_at is None or has_waited_long:
            await self._record_failed(None, reason="the endpoint was disabled")
            return
        async with self.context.database.queue() as conn:
            await delivery.give_back(conn, self.claimed, token=self.token, due_at=due_at)

    def _next_due_at(self) -> datetime | None:
        return next_due_at(self.claimed.first_attempt_at, self.claimed.claimed_at)

    def _count(self, attempt: Attempt, outcome: str) -> None:
        status_class = f"{attempt.status // 100}xx" if attempt.status is not None else "none"
        metrics.DELIVERIES.labels(outcome, status_class).inc()
        metrics.DELIVERY_SECONDS.observe(attempt.duration_ms / 1000)
        get_logger().info(
            "delivery.attempted",
            delivery_id=self.claimed.delivery_id,
            endpoint_id=self.claimed.endpoint_id,
            event_type=self.parcel.event_type,
            attempt=self.claimed.attempt_no,
            outcome=outcome,
            status=attempt.status,
            error=attempt.error,
            duration_ms=attempt.duration_ms,
        )
