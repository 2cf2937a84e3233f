"""Endpoints: subscribers' URLs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.model import CustomerId, EndpointId, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint that was not deleted, without its secrets. `previous_secret_until` is None where one secret signs."""

    id: EndpointId
    url: str = field(repr=False)
    event_types: tuple[EventType, ...]
    description: str
    state: str
    previous_secret_until: datetime | None
    created_at: datetime
    version: int

    @property
    def is_active(self) -> bool:
        """Tell whether events are delivered to it."""
        return self.state == "active"


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
        """
        SELECT id FROM endpoints WHERE customer_id = $1 AND description = $2 AND deleted_at IS NULL ORDER BY id LIMIT 1
        """,
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


async def lock_endpoints(conn: Connection, customer_id: CustomerId) -> None:
    """Let nobody else add an endpoint of the customer until commit."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('bankfeed endpoints', $1))", customer_id)


async def count_endpoints(conn: Connection, customer_id: CustomerId) -> int:
    """Count the endpoints that were not deleted."""
    count: int = await conn.fetchval(
        "SELECT count(*) FROM endpoints WHERE customer_id = $1 AND deleted_at IS NULL", customer_id
    )
    return count


async def list_endpoints(
    conn: Connection, customer_id: CustomerId, *, after: int = 0, limit: int
) -> tuple[Endpoint, ...]:
    """List endpoints of ids above `after`, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT id, url, event_types::text[] AS event_types, description, state,
               CASE WHEN previous_secret_until > now() THEN previous_secret_until END AS previous_secret_until, created_at,
               version
        FROM endpoints WHERE customer_id = $1 AND id > $2 AND deleted_at IS NULL ORDER BY id LIMIT $3
        """,
        customer_id,
        after,
        limit,
    )
    return tuple(_read_endpoint(row) for row in rows)


async def get_endpoint(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> Endpoint:
    """Return one endpoint. Raises NotFound, also where it was deleted."""
    row = await conn.fetchrow(
        """
        SELECT id, url, event_types::text[] AS event_types, description, state,
               CASE WHEN previous_secret_until > now() THEN previous_secret_until END AS previous_secret_until, created_at,
               version
        FROM endpoints WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL
        """,
        customer_id,
        endpoint_id,
    )
    if row is None:
        raise NotFound(f"there is no webhook endpoint {endpoint_id}")
    return _read_endpoint(row)


async def is_known(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> bool:
    """Tell whether the customer has, or had, that endpoint."""
    found: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM endpoints WHERE customer_id = $1 AND id = $2)", customer_id, endpoint_id
    )
    return found


async def lock_endpoint(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> Endpoint:
    """Lock one endpoint until commit, against whoever else locks or changes it. Raises NotFound."""
    await conn.execute(
        "SELECT FROM endpoints WHERE customer_id = $1 AND id = $2 FOR NO KEY UPDATE", customer_id, endpoint_id
    )
    return await get_endpoint(conn, customer_id, endpoint_id)


async def update_subscription(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    *,
    version: int | None,
    url: str | None,
    event_types: Sequence[EventType] | None,
    description: str | None,
) -> bool:
    """Change what is given, None leaves as it is; False where there is no such endpoint, or not of that version."""
    updated = await conn.fetchval(
        """
        UPDATE endpoints SET url = coalesce($4, url), event_types = coalesce($5::event_type[], event_types),
            description = coalesce($6, description), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($3, version) RETURNING true
        """,
        customer_id,
        endpoint_id,
        version,
        url,
        None if event_types is None else list(event_types),
        description,
    )
    return bool(updated)


async def mark_state(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId, *, state: str) -> None:
    """Make an endpoint active or disabled. Safe to repeat."""
    await conn.execute(
        """
        UPDATE endpoints SET state = $3, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND state <> $3
        """,
        customer_id,
        endpoint_id,
        state,
    )


async def rotate_secret(
    conn: Connection,
    customer_id: CustomerId,
    endpoint_id: EndpointId,
    *,
    secret: str,
    overlap_hours: int,
    version: int | None,
) -> bool:
    """Give an endpoint another secret; the one before signs too for that long, and none before that.

    False where there is no such endpoint, or not of that version.
    """
    rotated = await conn.fetchval(
        """
        UPDATE endpoints SET secret = $3, previous_secret = CASE WHEN $4::int > 0 THEN secret END,
            previous_secret_until = CASE WHEN $4::int > 0 THEN now() + make_interval(hours => $4::int) END,
            version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL AND version = coalesce($5, version) RETURNING true
        """,
        customer_id,
        endpoint_id,
        secret,
        overlap_hours,
        version,
    )
    return bool(rotated)


async def mark_deleted(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> bool:
    """Delete an endpoint: nothing is delivered to it any more, and its earlier secret is forgotten. False where there is none."""
    deleted = await conn.fetchval(
        """
        UPDATE endpoints SET state = 'disabled', deleted_at = now(), previous_secret = NULL, previous_secret_until = NULL,
            version = version + 1
        WHERE customer_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING true
        """,
        customer_id,
        endpoint_id,
    )
    return bool(deleted)


def _read_endpoint(row: Any) -> Endpoint:
    return Endpoint(**dict(row) | {"event_types": tuple(EventType(each) for each in row["event_types"])})
