"""Users: the people of a customer, what each may do, and how they come in."""

from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Someone who may want to sign in. `password_hash` is None for one who was invited and has not come yet."""

    customer_id: CustomerId
    id: int
    password_hash: str | None
    role: str
    is_locked: bool
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Whom a live invitation is for."""

    customer_id: CustomerId
    id: int
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user as the customer's people see one. `invite_expires_at` is None where no invitation is open."""

    id: int
    email: str
    name: str
    role: str
    has_password: bool
    invite_expires_at: datetime | None
    locked_at: datetime | None
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A way in for someone without a password: the token's hash, and until when it counts."""

    token_sha256: bytes
    expires_at: datetime


# ------------------------------------------------------------------------------------------------ before it is known whose


async def find_user(conn: Connection, email: str) -> User | None:
    """Find a user by e-mail address, in any case of letters; needs no tenant."""
    row = await conn.fetchrow(
        "SELECT customer_id, id, password_hash, role, is_locked, environment FROM find_user($1)", email
    )
    return User(**row) if row else None


async def find_invitation(conn: Connection, token_sha256: bytes) -> Invited | None:
    """Return whom a live invitation is for; needs no tenant."""
    row = await conn.fetchrow("SELECT customer_id, id, environment FROM find_invitation($1)", token_sha256)
    return Invited(**row) if row else None


# ------------------------------------------------------------------------------------------------ people


async def insert_user(
    conn: Connection,
    customer_id: CustomerId,
    *,
    email: str,
    password_hash: str,
    name: str = "",
    role: str = "owner",
) -> int | None:
    """Add a user with a password; return its id, or None where somebody has that e-mail address already, anywhere."""
    user_id: int | None = await conn.fetchval(
        """
        INSERT INTO users (customer_id, email, password_hash, name, role) VALUES ($1, lower($2), $3, $4, $5)
        ON CONFLICT (email) DO NOTHING RETURNING id
        """,
        customer_id,
        email,
        password_hash,
        name,
        role,
    )
    return user_id


async def insert_invited_user(
    conn: Connection, customer_id: CustomerId, *, email: str, name: str, role: str, invitation: Invitation
) -> int | None:
    """Add a user who has yet to come; return its id, or None where somebody has that e-mail address already, anywhere."""
    user_id: int | None = await conn.fetchval(
        """
        INSERT INTO users (customer_id, email, name, role, invite_sha256, invite_expires_at)
        VALUES ($1, lower($2), $3, $4, $5, $6)
        ON CONFLICT (email) DO NOTHING RETURNING id
        """,
        customer_id,
        email,
        name,
        role,
        invitation.token_sha256,
        invitation.expires_at,
    )
    return user_id


async def find_person(conn: Connection, customer_id: CustomerId, user_id: int) -> Person | None:
    """Return one user of the customer."""
    row = await conn.fetchrow(
        """
        SELECT id, email, name, role, password_hash IS NOT NULL AS has_password, invite_expires_at, locked_at,
               created_at, version
        FROM users WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        user_id,
    )
    return Person(**row) if row else None


async def list_people(conn: Connection, customer_id: CustomerId, *, after_id: int, limit: int) -> tuple[Person, ...]:
    """List users of the customer by id, those after an id."""
    rows = await conn.fetch(
        """
        SELECT id, email, name, role, password_hash IS NOT NULL AS has_password, invite_expires_at, locked_at,
               created_at, version
        FROM users WHERE customer_id = $1 AND id > $2 ORDER BY id LIMIT $3
        """,
        customer_id,
        after_id,
        limit,
    )
    return tuple(Person(**row) for row in rows)


async def list_active_owners(conn: Connection, customer_id: CustomerId) -> tuple[int, ...]:
    """Lock the owners who can sign in, until commit, and list their ids.

    Whoever takes an owner away asks first, so two that do so at once come one after the other, and the second sees what
    the first left.
    """
    rows = await conn.fetch(
        """
        SELECT id FROM users
        WHERE customer_id = $1 AND role = 'owner' AND locked_at IS NULL AND password_hash IS NOT NULL
        ORDER BY id FOR UPDATE
        """,
        customer_id,
    )
    return tuple(row["id"] for row in rows)


async def update_person(
    conn: Connection,
    customer_id: CustomerId,
    user_id: int,
    *,
    name: str | None,
    role: str | None,
    version: int | None,
) -> bool:
    """Change what is not None, where the version is the one given (None: any); tell whether it was."""
    done: bool | None = await conn.fetchval(
        """
        UPDATE users SET name = coalesce($3, name), role = coalesce($4, role), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND version = coalesce($5, version) RETURNING true
        """,
        customer_id,
        user_id,
        name,
        role,
        version,
    )
    return done is not None


async def mark_user_invited(conn: Connection, customer_id: CustomerId, user_id: int, invitation: Invitation) -> bool:
    """Put a new invitation in the place of the one before, for anybody who is not locked; tell whether there was one."""
    done: bool | None = await conn.fetchval(
        """
        UPDATE users SET invite_sha256 = $3, invite_expires_at = $4, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND locked_at IS NULL RETURNING true
        """,
        customer_id,
        user_id,
        invitation.token_sha256,
        invitation.expires_at,
    )
    return done is not None


async def mark_user_accepted(
    conn: Connection, customer_id: CustomerId, *, token_sha256: bytes, password_hash: str, name: str
) -> int | None:
    """Give the one whom a live invitation is for a password, once; return the id, None where it is used or over."""
    user_id: int | None = await conn.fetchval(
        """
        UPDATE users SET password_hash = $3, name = $4, invite_sha256 = NULL, invite_expires_at = NULL,
                         version = version + 1
        WHERE customer_id = $1 AND invite_sha256 = $2 AND invite_expires_at > now() AND locked_at IS NULL
        RETURNING id
        """,
        customer_id,
        token_sha256,
        password_hash,
        name,
    )
    return user_id


async def mark_user_locked(conn: Connection, customer_id: CustomerId, user_id: int) -> None:
    """Keep a user out from now on. Safe to repeat: a lock keeps its time."""
    await conn.execute(
        """
        UPDATE users SET locked_at = now(), version = version + 1
        WHERE customer_id = $1 AND id = $2 AND locked_at IS NULL
        """,
        customer_id,
        user_id,
    )


async def mark_user_unlocked(conn: Connection, customer_id: CustomerId, user_id: int) -> None:
    """Let a user in again. Safe to repeat."""
    await conn.execute(
        """
        UPDATE users SET locked_at = NULL, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND locked_at IS NOT NULL
        """,
        customer_id,
        user_id,
    )


async def delete_user(conn: Connection, customer_id: CustomerId, user_id: int) -> bool:
    """Delete a user with all sessions; tell whether there was one."""
    done: bool | None = await conn.fetchval(
        "DELETE FROM users WHERE customer_id = $1 AND id = $2 RETURNING true", customer_id, user_id
    )
    return done is not None


# ------------------------------------------------------------------------------------------------ passwords


async def find_password(conn: Connection, customer_id: CustomerId, user_id: int) -> tuple[str, str | None] | None:
    """Return a user's e-mail address and password hash."""
    row = await conn.fetchrow(
        "SELECT email, password_hash FROM users WHERE customer_id = $1 AND id = $2", customer_id, user_id
    )
    return (row["email"], row["password_hash"]) if row else None


async def update_password(
    conn: Connection, customer_id: CustomerId, user_id: int, *, old_hash: str, new_hash: str
) -> bool:
    """Put a new password in the place of the one that was checked; tell whether it was still that one."""
    done: bool | None = await conn.fetchval(
        """
        UPDATE users SET password_hash = $4, invite_sha256 = NULL, invite_expires_at = NULL, version = version + 1
        WHERE customer_id = $1 AND id = $2 AND password_hash = $3 RETURNING true
        """,
        customer_id,
        user_id,
        old_hash,
        new_hash,
    )
    return done is not None
