"""What a refresh means for the schedule and for its institution: when the next one is, and whether the bank is well."""

from datetime import datetime

from bankfeed.aggregators.finicity_wire import find_zone
from bankfeed.db import institution_health
from bankfeed.db.connection import Lease
from bankfeed.db.institution_health import BREAKER_FAILURES
from bankfeed.errors import Unavailable
from bankfeed.logs import get_logger
from bankfeed.night import find_next_update
from worker.context import Context


def plan_next_update(context: Context, lease: Lease) -> datetime:
    """Say when a connection whose refresh ends now is updated next, in the night of its institution."""
    settings = context.settings
    return find_next_update(
        lease.connection_id,
        refreshed_at=lease.claimed_at,
        update_hours=settings.update_hours,
        night=settings.night,
        zone=find_zone(lease.time_zone),
    )


async def note_bank(context: Context, lease: Lease, *, is_well: bool | None) -> None:
    """Note how a lease's institution took its refresh; None where that says nothing of it.

    One that is well and had no failure costs nothing. Nothing is lost where Postgres is away: the next refresh tells as much.
    """
    institution_id = lease.institution_id
    if institution_id is None or is_well is None or (is_well and not lease.institution_failures):
        return
    try:
        async with context.database.queue_statement() as conn:
            if is_well:
                if await institution_health.note_success(conn, institution_id):
                    get_logger().info("institution.back", institution_id=institution_id)
                return
            failures = await institution_health.note_failure(conn, institution_id, claimed_at=lease.claimed_at)
    except Unavailable as error:
        get_logger().warning("institution.not_noted", institution_id=institution_id, reason=str(error))
        return
    if failures is not None and failures >= BREAKER_FAILURES:
        get_logger().warning("institution.paused", institution_id=institution_id, failures=failures)
