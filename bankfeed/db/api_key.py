"""API keys: what machines come with. A key is known by its hash only; `hint` is its last four characters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key that was not revoked. `last_used_at` is true to a minute, None before the first use."""

    id: int
    name: str
    hint: str
    scopes: Sequence[str]
    created_by: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


async def insert_api_key(
    conn: Connection,
    customer_id: CustomerId,
    *,
    name: str,
    key_sha256: bytes,
    hint: str,
    scopes: Sequence[str],
    created_by: int | None,
    expires_at: datetime | None,
) -> ApiKey | None:
    """Add a key; None where it would have expired already."""
    row = await conn.fetchrow(
        """
        INSERT INTO api_keys (customer_id, name, key_sha256, hint, scopes, created_by, expires_at)
        SELECT $1, $2, $3, $4, $5, $6, $7 WHERE coalesce($7 > now(), true)
        RETURNING id, name, hint, scopes, created_by, created_at, expires_at, last_used_at
        """,
        customer_id,
        name,
        key_sha256,
        hint,
        list(scopes),
        created_by,
        expires_at,
    )
    return ApiKey(**row) if row else None


async def list_api_keys(conn: Connection, customer_id: CustomerId, *, after_id: int, limit: int) -> tuple[ApiKey, ...]:
    """List keys that were not revoked by id, those after an id; expired ones are among them."""
    rows = await conn.fetch(
        """
        SELECT id, name, hint, scopes, created_by, created_at, expires_at, last_used_at
        FROM api_keys WHERE customer_id = $1 AND id > $2 AND revoked_at IS NULL ORDER BY id LIMIT $3
        """,
        customer_id,
        after_id,
        limit,
    )
    return tuple(ApiKey(**row) for row in rows)


async def mark_api_key_revoked(conn: Connection, customer_id: CustomerId, key_id: int) -> bool:
    """Let a key count no more; tell whether there was one that did."""
    done: bool | None = await conn.fetchval(
        """
        UPDATE api_keys SET revoked_at = now() WHERE customer_id = $1 AND id = $2 AND revoked_at IS NULL RETURNING true
        """,
        customer_id,
        key_id,
    )
    return done is not None
