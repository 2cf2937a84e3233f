"""Idempotency keys: a POST that came with one is done once in 24 hours; its answer is committed with what it did."""

from dataclasses import dataclass

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a key. `answer` None: it carried a secret and was not kept."""

    request_sha256: bytes
    status: int | None
    answer: bytes | None


async def insert_key(conn: Connection, customer_id: CustomerId, key_sha256: bytes, *, request_sha256: bytes) -> bool:
    """Take a key; False where it is taken. Waits for a transaction that is taking it at this moment.

    One that is older than a day counts as never taken.
    """
    taken: int | None = await conn.fetchval(
        """
        INSERT INTO idempotency_keys AS k (customer_id, key_sha256, request_sha256) VALUES ($1, $2, $3)
        ON CONFLICT (customer_id, key_sha256) DO UPDATE
            SET request_sha256 = excluded.request_sha256, status = NULL, answer = NULL, created_at = now()
            WHERE k.created_at < now() - interval '24 hours'
        RETURNING 1
        """,
        customer_id,
        key_sha256,
        request_sha256,
    )
    return taken is not None


async def find_key(conn: Connection, customer_id: CustomerId, key_sha256: bytes) -> Kept | None:
    """Return what became of the request that took a key."""
    row = await conn.fetchrow(
        "SELECT request_sha256, status, answer FROM idempotency_keys WHERE customer_id = $1 AND key_sha256 = $2",
        customer_id,
        key_sha256,
    )
    return None if row is None else Kept(**row)


async def update_key(
    conn: Connection, customer_id: CustomerId, key_sha256: bytes, *, status: int, answer: bytes | None
) -> None:
    """Keep the answer of the request that took a key."""
    await conn.execute(
        "UPDATE idempotency_keys SET status = $3, answer = $4 WHERE customer_id = $1 AND key_sha256 = $2",
        customer_id,
        key_sha256,
        status,
        answer,
    )
