"""Keeping a lease while its work runs, and stopping the work before the lease ends where it cannot be kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bankfeed import metrics
from bankfeed.db import connection
from bankfeed.db.connection import Lease
from bankfeed.errors import LeaseLost, Unavailable
from worker.context import Context

_MARGIN = 0.9  # of the lease: what cannot be renewed by then is aborted
_LAST_COMMIT_S = 0.2  # a renewal that waited behind the final commit finds the lease gone too; let that one return


@asynccontextmanager
async def kept(context: Context, lease: Lease) -> AsyncIterator[None]:
    """Renew a lease every third of its time while the body runs. Raises LeaseLost, after cancelling the body's HTTP."""
    lease_s = context.settings.lease_s
    heartbeat: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(lease_s * _MARGIN) as limit:
            heartbeat = asyncio.create_task(_renew(context, lease, limit), name="lease heartbeat")
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        metrics.LEASES_EXPIRED.labels("refresh").inc()
        raise LeaseLost(f"the lease on connection {lease.connection_id} could not be renewed") from error
    finally:
        if heartbeat is not None:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeat


async def _renew(context: Context, lease: Lease, limit: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    lease_s = context.settings.lease_s
    while True:
        await asyncio.sleep(lease_s / 3)
        asked_at = loop.time()
        try:
            async with context.database.queue() as conn:
                is_kept = await connection.renew_lease(conn, lease, lease_s=lease_s)
        except Unavailable:
            continue  # the limit stands: without a renewal the work stops before the lease ends
        if limit.expired():
            return
        limit.reschedule(asked_at + lease_s * _MARGIN if is_kept else loop.time() + _LAST_COMMIT_S)
        if not is_kept:
            return
