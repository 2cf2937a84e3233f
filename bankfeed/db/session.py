"""Sessions: who is signed in, on the pages or at the API. A token is known by its hash only."""

from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


async def insert_session(
    conn: Connection,
    customer_id: CustomerId,
    *,
    user_id: int,
    password_hash: str,
    token_sha256: bytes,
    expires_at: datetime,
) -> bool:
    """Record that a user signed in with the password of that hash; tell whether the user still may.

    The row of the user is held until commit: a password change or a lock that is under way comes before, and refuses
    this, or after, and ends it.
    """
    done: bool | None = await conn.fetchval(
        """
        WITH holder AS (
            SELECT customer_id, id FROM users
            WHERE customer_id = $1 AND id = $2 AND password_hash = $3 AND locked_at IS NULL FOR SHARE
        )
        INSERT INTO sessions (customer_id, user_id, token_sha256, expires_at)
        SELECT customer_id, id, $4, $5 FROM holder RETURNING true
        """,
        customer_id,
        user_id,
        password_hash,
        token_sha256,
        expires_at,
    )
    return done is not None


async def find_session_customer(conn: Connection, token_sha256: bytes, *, environment: str) -> CustomerId | None:
    """Return whose session it is, None where there is none here or it has expired; needs no tenant."""
    customer_id: CustomerId | None = await conn.fetchval(
        "SELECT customer_id FROM find_session($1) WHERE environment = $2", token_sha256, environment
    )
    return customer_id


async def delete_session(conn: Connection, customer_id: CustomerId, token_sha256: bytes) -> None:
    """Sign out. Safe to repeat."""
    await conn.execute("DELETE FROM sessions WHERE customer_id = $1 AND token_sha256 = $2", customer_id, token_sha256)


async def delete_sessions(conn: Connection, customer_id: CustomerId, *, user_id: int) -> None:
    """Sign a user out everywhere. Safe to repeat."""
    await conn.execute("DELETE FROM sessions WHERE customer_id = $1 AND user_id = $2", customer_id, user_id)


async def delete_expired_sessions(conn: Connection, customer_id: CustomerId, *, user_id: int) -> None:
    """Forget sessions of a user that have expired, some at a time. Safe to repeat."""
    await conn.execute(
        """
        DELETE FROM sessions WHERE customer_id = $1 AND token_sha256 IN (
            SELECT token_sha256 FROM sessions WHERE customer_id = $1 AND user_id = $2 AND expires_at <= now()
            ORDER BY expires_at, token_sha256 LIMIT 100)
        """,
        customer_id,
        user_id,
    )
