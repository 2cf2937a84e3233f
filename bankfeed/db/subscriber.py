"""Endpoints as whoever runs this sees them: where they are, how they take what is sent, and how much waits.

Of a URL only its host: the path and the query may be secrets.
"""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.db.delivery import MOST_COUNTED
from bankfeed.model import CustomerId, EndpointId


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLine:
    """An endpoint that was not deleted. `state` is active, throttled (active, and nothing is sent for now) or disabled.

    `failures` are in a row. `waiting` is counted up to 100,000; `oldest_due_age_s` is None where nothing is due.
    """

    customer_id: CustomerId
    id: EndpointId
    host: str
    state: str
    reason: str
    state_since: datetime
    failures: int
    failing_since: datetime | None
    waiting: int
    oldest_due_age_s: float | None


async def list_endpoint_lines(conn: Connection, customer_id: CustomerId, *, limit: int) -> tuple[EndpointLine, ...]:
    """List a customer's endpoints, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT p.customer_id, p.id, substring(p.url FROM '^https?://(?:[^/?#@]*@)?([^/?#]+)') AS host,
               CASE WHEN p.state = 'active' AND h.blocked_until > now() THEN 'throttled' ELSE p.state::text END AS state,
               p.state_reason AS reason, p.state_since, h.failures, h.failing_since,
               (SELECT count(*) FROM (SELECT FROM delivery_queue q WHERE q.customer_id = $1 AND q.endpoint_id = p.id
                                      ORDER BY q.outbox_id LIMIT $3) counted) AS waiting,
               (SELECT extract(epoch FROM now() - q.due_at)::float8 FROM delivery_queue q
                WHERE q.customer_id = $1 AND q.endpoint_id = p.id AND q.due_at <= now()
                ORDER BY q.due_at LIMIT 1) AS oldest_due_age_s
        FROM endpoints p JOIN endpoint_health h ON h.customer_id = $1 AND h.endpoint_id = p.id
        WHERE p.customer_id = $1 AND p.deleted_at IS NULL ORDER BY p.id LIMIT $2
        """,
        customer_id,
        limit,
        MOST_COUNTED,
    )
    return tuple(EndpointLine(**row) for row in rows)


async def has_delivery(conn: Connection, customer_id: CustomerId, delivery_id: int) -> bool:
    """Tell whether a delivery is the customer's."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM deliveries WHERE customer_id = $1 AND id = $2)", customer_id, delivery_id
    )
    return found
