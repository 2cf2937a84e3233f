"""Widget sessions as they begin and end: with an endpoint of their own where one was asked for, and the event that tells how."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from bankfeed.db import Connection, Database, endpoint, widget
from bankfeed.db.widget import NewSession, Outcome, Place, WidgetSession, WidgetStep
from bankfeed.endpoints import NewEndpoint, add_endpoint
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId, CustomerId, EventType
from bankfeed.outbox import NOBODY, News, tell
from bankfeed.sealing import Sealer

TOLD: Final = (
    EventType.WIDGET_ENDED,
    EventType.ACCOUNT_ADDED,
    EventType.MFA_UPDATED,
    EventType.TRANSACTIONS_REFRESHED,
)
"""What a session's own endpoint hears, of its client."""
IDLE_S: Final = 1_800
WEBHOOK_DAYS: Final = 4  # after a session's end: the last retry comes after three
BATCH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A session that was made. `webhook_secret` signs what its own endpoint gets, None where it has none."""

    id: UUID
    made_at: datetime
    expires_at: datetime
    webhook_secret: str | None


async def begin(conn: Connection, sealer: Sealer, customer_id: CustomerId, new: NewSession, *, webhook: str) -> Begun:
    """Make a session, with an endpoint for its client's events where a URL is given. The caller has checked the URL."""
    session_id, made_at, expires_at = await widget.insert_session(conn, customer_id, new)
    secret = None
    if webhook:
        wanted = NewEndpoint(url=webhook, event_types=TOLD, description="widget session", client_ids=(new.client_id,))
        added = await add_endpoint(conn, sealer, customer_id, wanted)
        await widget.bind_endpoint(conn, customer_id, session_id, added.id)
        secret = added.secret
    return Begun(id=session_id, made_at=made_at, expires_at=expires_at, webhook_secret=secret)


async def tell_ended(conn: Connection, session: WidgetSession, place: Place) -> int:
    """Commit the event that a session ended, with its end; return how many deliveries wait. Nothing where it goes on."""
    if place.outcome is None:
        return 0
    connection_id = place.connection_id or session.connection_id or ConnectionId(NOBODY)
    extra = {
        "widgetSessionId": str(session.id),
        "kind": session.kind,
        "outcome": place.outcome,
        "institutionId": place.institution_id or session.institution_id,
        "statusCode": place.status_code if place.status_code is not None else session.status_code,
    }
    news = News(event_type=EventType.WIDGET_ENDED, accounts=(), extra=extra)
    return await tell(
        conn, session.customer_id, [news], client_id=session.client_id, connection_id=connection_id, at=session.now
    )


async def end_left(database: Database) -> int:
    """End sessions that were left, or not opened in time, and log each: an unfinished connection leaves nothing behind.

    Endpoints of sessions that ended some days ago are deleted too. Returns how many events wait to be delivered.
    """
    async with database.queue() as conn:
        stale = await widget.list_stale_visits(conn, limit=BATCH)
        left = await widget.list_left(conn, idle_s=IDLE_S, limit=BATCH)
    for customer_id, session_id in stale:
        async with database.tenant(customer_id) as conn:
            await widget.forget_visit(conn, customer_id, session_id)
    waiting = 0
    for customer_id, session_id in left:
        async with database.tenant(customer_id) as conn:
            session = await widget.find_session(conn, customer_id, session_id)
            if session is None or session.is_working:
                continue
            outcome = Outcome.LEFT if session.opened_at is not None and not session.is_expired else Outcome.EXPIRED
            place = Place(step=WidgetStep.LEFT, outcome=outcome)
            if not await widget.move(conn, session, place):
                continue
            waiting += await tell_ended(conn, session, place)
        note_ended(session, outcome)
    async with database.queue() as conn:
        heard = await widget.list_ended_webhooks(conn, days=WEBHOOK_DAYS, limit=BATCH)
    for customer_id, session_id in heard:
        async with database.tenant(customer_id) as conn:
            endpoint_id = await widget.release_endpoint(conn, customer_id, session_id)
            if endpoint_id is not None:
                await endpoint.mark_deleted(conn, customer_id, endpoint_id)
    return waiting


def note_ended(session: WidgetSession, outcome: Outcome) -> None:
    """Log how a session ended."""
    get_logger().info(
        "widget.ended",
        session_id=str(session.id),
        kind=session.kind,
        step=session.step,
        outcome=outcome,
        institution_id=session.institution_id,
        connection_id=session.connection_id,
    )
