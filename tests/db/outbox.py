"""Events and claims for tests of the delivery queue."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg

from bankfeed.db.delivery import NOBODY, ClaimedDelivery, claim_deliveries
from bankfeed.db.event import OutboundEvent, insert_events
from bankfeed.model import ConnectionId, EventType
from tests.db.made import LEASE_S, Ground

BODY = b'{"eventType": "transactionsRefreshed", "n": 0.10}'


async def emit(ground: Ground, *types: EventType, count: int = 1, connection_id: ConnectionId | None = None) -> int:
    """Commit events; return how many deliveries wait."""
    wanted = types or (EventType.TRANSACTIONS_REFRESHED,) * count
    events = [
        OutboundEvent(
            event_id=uuid4(),
            event_type=event_type,
            client_id=ground.tenant.client_id,
            connection_id=connection_id or ground.connection_id,
            accounts=(),
            body=BODY,
            created_at=datetime.now(UTC),
        )
        for event_type in wanted
    ]
    async with ground.app() as conn:
        return await insert_events(conn, ground.tenant.customer_id, events)


async def claim(
    ground: Ground,
    *,
    lease_s: float = LEASE_S,
    limit: int = 10,
    most_of_one: int | None = None,
    after: tuple[int, int] | None = None,
    now: datetime | None = None,
) -> tuple[UUID, Sequence[ClaimedDelivery]]:
    """Claim what is due; return the token with it."""
    token = uuid4()
    async with ground.database.queue() as conn:
        return token, await claim_deliveries(
            conn, token=token, lease_s=lease_s, limit=limit, most_of_one=most_of_one, after=after or NOBODY, now=now
        )


async def rows(superuser: asyncpg.Connection, sql: str) -> list[tuple[object, ...]]:
    """Fetch rows as tuples."""
    return [tuple(row) for row in await superuser.fetch(sql)]
