"""Endpoints: subscribers' URLs."""

from collections.abc import Sequence

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId, EndpointId, EventType


async def insert_endpoint(
    conn: Connection,
    customer_id: CustomerId,
    *,
    url: str,
    secret: str,
    event_types: Sequence[EventType],
    description: str,
) -> EndpointId:
    """Add an active endpoint."""
    endpoint_id: EndpointId = await conn.fetchval(
        """
        INSERT INTO endpoints (customer_id, url, secret, event_types, description)
        VALUES ($1, $2, $3, $4::event_type[], $5) RETURNING id
        """,
        customer_id,
        url,
        secret,
        list(event_types),
        description,
    )
    return endpoint_id


async def find_endpoint_by_description(
    conn: Connection, customer_id: CustomerId, description: str
) -> EndpointId | None:
    """Return the oldest endpoint described so, None where there is none."""
    endpoint_id: EndpointId | None = await conn.fetchval(
        "SELECT id FROM endpoints WHERE customer_id = $1 AND description = $2 ORDER BY id LIMIT 1",
        customer_id,
        description,
    )
    return endpoint_id


async def update_endpoint(
    conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, url: str, secret: str
) -> None:
    """Give an endpoint another URL and secret."""
    await conn.execute(
        "UPDATE endpoints SET url = $3, secret = $4 WHERE customer_id = $1 AND id = $2",
        customer_id,
        endpoint_id,
        url,
        secret,
    )
