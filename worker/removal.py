"""The removal lane: what a person deleted is deleted at the aggregator too, and asked again until it answers that it is gone.

No transaction is open while the aggregator is asked. Deleting twice is harmless, so a worker may die at any moment: the
lease ends, and the next one asks again. What is given up is never silent: it has its reason, its count and its line.
"""

import asyncio
from typing import Final
from uuid import UUID, uuid4

from bankfeed import metrics
from bankfeed.aggregators import Aggregator
from bankfeed.db import removal
from bankfeed.db.removal import ClaimedRemoval, RemovalKind, RemovalState, RemovalTarget
from bankfeed.errors import AggregatorError, NoSuchAccount, Unavailable
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from worker.context import Context

MOST_TRIES: Final = 30  # some five and a half days
FIRST_WAIT_S: Final = 60
LONGEST_WAIT_S: Final = 6 * 3600
CALL_SHARE: Final = 0.8  # of the lease: the rest is for what is read before and written after

_OUTCOMES: Final = {
    RemovalState.WAITING: "later",
    RemovalState.GIVEN_UP: "given_up",
    RemovalState.WITHDRAWN: "withdrawn",
    None: "lost",
}


async def take_removal(context: Context) -> bool:
    """Claim the removal that is due the longest and try it; False where none was due."""
    token = uuid4()
    async with context.database.queue_statement() as conn:
        claimed = await removal.claim_removal(conn, token=token, lease_s=context.settings.lease_s)
    if claimed is None:
        return False
    try:
        await _try(context, claimed, token)
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, claimed, token))
        raise
    return True


def wait_s(tries: int) -> int:
    """Return the seconds to wait after so many tries (1 and up): doubling from a minute, at most six hours.

    >>> [wait_s(tries) for tries in (1, 2, 9, 10, 29)]
    [60, 120, 15360, 21600, 21600]
    """
    return min(FIRST_WAIT_S << min(tries - 1, 10), LONGEST_WAIT_S)


async def _try(context: Context, claimed: ClaimedRemoval, token: UUID) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        target = await removal.find_target(conn, claimed.customer_id, claimed.id, token=token)
    if target is None:
        context.waker.wake(Wake.REFRESH)  # of a client that was restored
        return
    try:
        async with asyncio.timeout(context.settings.lease_s * CALL_SHARE):
            await _delete(context.connectors[claimed.connector], claimed.kind, target)
    except NoSuchAccount as error:
        await _note_gone(context, claimed, token, said=str(error))
    except AggregatorError as error:
        await _note_failed(context, claimed, token, reason=str(error))
    except TimeoutError:
        await _note_failed(context, claimed, token, reason="the aggregator has not answered in time")
    except Unavailable:
        raise
    except Exception as error:
        await _note_failed(context, claimed, token, reason=f"a bug; the log has it: {type(error).__name__}")
        raise
    else:
        await _note_gone(context, claimed, token, said="")


async def _delete(aggregator: Aggregator, kind: RemovalKind, target: RemovalTarget) -> None:
    match kind:
        case RemovalKind.ACCOUNT:
            await aggregator.delete_account(target.customer_ref, target.ref)
        case RemovalKind.LOGIN:
            await aggregator.delete_login(target.customer_ref, target.ref)
        case RemovalKind.CUSTOMER:
            await aggregator.delete_customer(target.customer_ref)


async def _note_gone(context: Context, claimed: ClaimedRemoval, token: UUID, *, said: str) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        is_ours = await removal.mark_gone(conn, claimed.customer_id, claimed.id, token=token)
    _note(claimed, "gone" if is_ours else "lost", reason=said)


async def _note_failed(context: Context, claimed: ClaimedRemoval, token: UUID, *, reason: str) -> None:
    """Count a try that failed, and say when the next one is; after the last one a person has to look."""
    tries = claimed.tries + 1
    storable = "".join(letter if letter.isprintable() else " " for letter in reason[:500])
    async with context.database.tenant(claimed.customer_id) as conn:
        if tries >= MOST_TRIES:
            state = await removal.mark_given_up(conn, claimed.customer_id, claimed.id, token=token, reason=storable)
        else:
            state = await removal.mark_waiting(
                conn, claimed.customer_id, claimed.id, token=token, delay_s=wait_s(tries), reason=storable
            )
    _note(claimed, _OUTCOMES[state], reason=storable)
    if state is RemovalState.WITHDRAWN:
        context.waker.wake(Wake.REFRESH)


def _note(claimed: ClaimedRemoval, outcome: str, *, reason: str) -> None:
    metrics.REMOVALS.labels(claimed.kind, outcome).inc()
    log = get_logger().error if outcome == "given_up" else get_logger().info
    log(
        "removal.tried",
        removal_id=claimed.id,
        kind=claimed.kind,
        tries=claimed.tries + 1,
        outcome=outcome,
        reason=reason[:500],
    )


async def _give_back(context: Context, claimed: ClaimedRemoval, token: UUID) -> None:
    async with context.database.queue() as conn:
        await removal.give_back(conn, claimed, token=token)
