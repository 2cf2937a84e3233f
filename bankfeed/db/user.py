"""Users: the people of a customer, and their sessions."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Someone who may sign in."""

    customer_id: CustomerId
    id: int
    password_hash: str


async def insert_user(conn: Connection, customer_id: CustomerId, *, email: str, password_hash: str) -> int:
    """Add a user; return its id. The e-mail address is unique among all customers."""
    user_id: int = await conn.fetchval(
        "INSERT INTO users (customer_id, email, password_hash) VALUES ($1, lower($2), $3) RETURNING id",
        customer_id,
        email,
        password_hash,
    )
    return user_id


async def find_user(conn: Connection, email: str) -> User | None:
    """Find a user by e-mail address, in any case of letters; needs no tenant."""
    row = await conn.fetchrow("SELECT customer_id, id, password_hash FROM find_user($1)", email)
    return User(**row) if row else None


async def insert_session(
    conn: Connection, customer_id: CustomerId, *, user_id: int, token_sha256: bytes, expires_at: datetime
) -> None:
    """Record that a user signed in; only the hash of the token is kept."""
    await conn.execute(
        "INSERT INTO sessions (customer_id, user_id, token_sha256, expires_at) VALUES ($1, $2, $3, $4)",
        customer_id,
        user_id,
        token_sha256,
        expires_at,
    )


async def find_session_customer(conn: Connection, token_sha256: bytes) -> CustomerId | None:
    """Return whose session it is, None where there is none or it has expired; needs no tenant."""
    customer_id: CustomerId | None = await conn.fetchval("SELECT customer_id FROM find_session($1)", token_sha256)
    return customer_id


async def delete_session(conn: Connection, customer_id: CustomerId, token_sha256: bytes) -> None:
    """Sign out. Safe to repeat."""
    await conn.execute("DELETE FROM sessions WHERE customer_id = $1 AND token_sha256 = $2", customer_id, token_sha256)


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
