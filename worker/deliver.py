"""One delivery, from its claim to what is recorded of it.

The schedule is bankfeed/schedule.py's, asked about the moment of the claim by Postgres' clock: nothing here reads a clock. A
shutdown, a lost lease and a blocked endpoint are no attempts. An attempt that a person asked for is beside the schedule: it
uses up no slot, and what follows is what would have followed anyway.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from prometheus_client import Counter

from bankfeed import metrics
from bankfeed.db.delivery import Attempt, ClaimedDelivery, Outcome
from bankfeed.failpoints import Failpoint, reach
from bankfeed.logs import get_logger
from bankfeed.model import BodyFormat
from bankfeed.outbox import write_body
from bankfeed.schedule import DOCUMENTED, Schedule, is_over, next_due_at
from bankfeed.sealing import CannotOpen
from worker.post import Post
from worker.secrets import Secrets

PAUSING: Final = (429, 502, 504)
PAUSE_S: Final = 30.0  # of an endpoint that answers one of these and does not say how long
MOST_PAUSE_S: Final = (
    3_600.0  # of all that an endpoint gets; the delivery that was told to wait waits as long as it was told
)
UNOPENED: Final = timedelta(minutes=1)  # until an endpoint is looked at again whose secret no key at hand opens
SCHEDULE_OVER: Final = "the schedule is over"

Recorder = Callable[[Outcome], Awaitable[None]]


async def deliver(claimed: ClaimedDelivery, post: Post, secrets: Secrets, record: Recorder, *, token: UUID) -> Outcome:
    """Attempt a claimed delivery, record it and return what was recorded; one whose schedule is over fails without an attempt."""
    if not claimed.is_by_hand and _is_over(claimed):
        outcome = Outcome(claimed=claimed, token=token, state="failed", reason=SCHEDULE_OVER)
        await record(outcome)
        return outcome
    try:
        opened = secrets.open(claimed)
    except CannotOpen:  # the operator's to mend, not the subscriber's to be blamed for
        pause_until = claimed.claimed_at + UNOPENED
        outcome = Outcome(claimed=claimed, token=token, state="given_back", pause_until=pause_until)
        await record(outcome)
        metrics.UNOPENED_SECRETS.inc()
        get_logger().error("delivery.secret_unopened", delivery_id=claimed.delivery_id, endpoint_id=claimed.endpoint_id)
        return outcome
    body = write_body(claimed.body, BodyFormat(claimed.body_format))
    attempt = await post.attempt(claimed.url, opened, message_id=str(claimed.event_id), body=body)
    reach(Failpoint.BEFORE_ATTEMPT)
    outcome = make_outcome(claimed, attempt, token=token)
    await record(outcome)
    reach(Failpoint.AFTER_ATTEMPT)
    _count(outcome, attempt)
    return outcome


def make_outcome(claimed: ClaimedDelivery, attempt: Attempt, *, token: UUID) -> Outcome:
    """Say what follows from an attempt: delivered, due again at the next slot, or failed where there is none."""
    if attempt.is_success:
        return Outcome(claimed=claimed, token=token, state="delivered", attempt=attempt)
    schedule = read_schedule(claimed)
    pause_until, asked_until = _read_pause(claimed, attempt)
    due_at = next_due_at(claimed.first_attempt_at, claimed.claimed_at, schedule, not_before=asked_until)
    is_last = due_at is None or claimed.slots_used > schedule.retries
    return Outcome(
        claimed=claimed,
        token=token,
        state="failed" if is_last else "later",
        attempt=attempt,
        due_at=None if is_last else due_at,
        urgent_at=None if is_last else schedule.last_due_at(claimed.first_attempt_at),
        pause_until=pause_until,
    )


def read_schedule(claimed: ClaimedDelivery) -> Schedule:
    """Return the table of a delivery's retries: the documented one unless its endpoint has its own, with its jitter."""
    offsets_s = DOCUMENTED.offsets_s if claimed.retry_schedule is None else tuple(claimed.retry_schedule)
    return Schedule(offsets_s, claimed.jitter_percent, claimed.delivery_id)


def _read_pause(claimed: ClaimedDelivery, attempt: Attempt) -> tuple[datetime | None, datetime | None]:
    """Return until when the endpoint is left alone, and until when this delivery is, by the word of the receiver."""
    if attempt.pause_s is None:
        return (claimed.claimed_at + timedelta(seconds=PAUSE_S) if attempt.status in PAUSING else None), None
    ended_at = claimed.claimed_at + timedelta(milliseconds=attempt.duration_ms)
    asked_until = ended_at + timedelta(seconds=attempt.pause_s)
    return ended_at + timedelta(seconds=min(attempt.pause_s, MOST_PAUSE_S)), asked_until


def _is_over(claimed: ClaimedDelivery) -> bool:
    return claimed.attempts > read_schedule(claimed).retries or is_over(claimed.first_attempt_at, claimed.claimed_at)


def _count(outcome: Outcome, attempt: Attempt) -> None:
    """Count an attempt, and log one that did not deliver; those that did are thousands a second, and rows in Postgres."""
    claimed = outcome.claimed
    _counter(outcome.state, attempt.status).inc()
    metrics.DELIVERY_SECONDS.observe(attempt.duration_ms / 1000)
    if attempt.is_success:
        metrics.DELIVERY_ATTEMPT.observe(claimed.attempt_no)
        return
    get_logger().info(
        "delivery.not_delivered",
        delivery_id=claimed.delivery_id,
        endpoint_id=claimed.endpoint_id,
        event_type=claimed.event_type,
        attempt=claimed.attempt_no,
        outcome=outcome.state,
        status=attempt.status,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
    )


@cache
def _counter(state: str, status: int | None) -> Counter:
    return metrics.DELIVERIES.labels(state, "none" if status is None else f"{status // 100}xx")
