"""The step of the sweeps that tells customers of the institutions where they have connections: out of order, migrating, back.

Who is to be told the queue lists, over all customers. What they are told, and how far the notice has come with it, is one
transaction of the customer: the app's role may advance a notice. So a worker killed anywhere tells nobody twice and misses
nobody, and of two workers at one notice the second finds it further on and leaves it.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Final

from bankfeed import metrics
from bankfeed.db import institution_notice
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.db.institution_notice import Affected, InstitutionNotice, NoticeText
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId, CustomerId, EventType
from bankfeed.outbox import News, make_event
from worker.context import Context

MOST_EVENTS: Final = 200
"""Events of one transaction."""


async def tell_notices(context: Context, *, most_events: int = MOST_EVENTS) -> int:
    """Tell all that is to be told, the oldest notice first; return how many connections were told of. Safe to repeat."""
    told = 0
    while True:
        async with context.database.queue() as conn:
            notice = await institution_notice.find_notice_to_tell(conn)
            if notice is None:
                return told
            waiting = await institution_notice.list_to_tell(conn, notice, limit=most_events)
            if not waiting:
                await institution_notice.mark_finished(conn, notice)
        for customer_id, group in groupby(waiting, key=itemgetter(0)):
            connection_ids = [connection_id for _, connection_id in group]
            count = await _tell_customer(context, notice, customer_id, connection_ids)
            if count is None:  # another worker tells it
                return told
            told += count
            notice = replace(notice, told_customer_id=customer_id, told_connection_id=connection_ids[-1])


async def _tell_customer(
    context: Context, notice: InstitutionNotice, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]
) -> int | None:
    """Commit the events about some connections of a customer, and that they are told; None where somebody else did that."""
    last_id = connection_ids[-1]
    async with context.database.tenant(customer_id) as conn:
        said = await institution_notice.mark_told(conn, notice, customer_id=customer_id, connection_id=last_id)
        if said is None:
            return None
        affected = await institution_notice.list_affected(conn, customer_id, connection_ids)
        waiting = await insert_events(conn, customer_id, [_make_event(said, each) for each in affected])
    metrics.NOTICES_TOLD.inc(len(affected))
    get_logger().info(
        "institution.told",
        institution_id=said.institution_id,
        status=said.status,
        customer_id=customer_id,
        connections=len(affected),
    )
    if waiting:
        context.waker.wake(Wake.DELIVER)
    return len(affected)


def _make_event(said: NoticeText, affected: Affected) -> OutboundEvent:
    until = said.migrates_until
    extra = {
        "institutionId": said.institution_id,
        "institutionName": said.institution,
        "institutionStatus": said.status,
        "signInAgainUntil": None if until is None else until.isoformat(),
    }
    return make_event(
        News(event_type=EventType.INSTITUTION_NOTICE, accounts=affected.accounts, extra=extra),
        client_id=affected.client_id,
        connection_id=affected.connection_id,
        at=said.told_at,
        counter=affected.counter,
    )
