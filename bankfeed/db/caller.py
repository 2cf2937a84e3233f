"""Whose a token or key is. One call both finds out and makes the rest of the transaction that customer's."""

from dataclasses import dataclass

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCaller:
    """A person (`user_id`, `role`) or a machine's key (`key_id`, `scopes`); `environment` is the customer's."""

    customer_id: CustomerId
    user_id: int | None
    key_id: int | None
    role: str | None
    scopes: tuple[str, ...]
    environment: str


async def find_caller(conn: Connection, token_sha256: bytes) -> FoundCaller | None:
    """Return whose a live token or key is and set the tenant; None where it is nobody's, and no tenant is set."""
    row = await conn.fetchrow(
        "SELECT customer_id, user_id, key_id, role, scopes, environment FROM enter($1)", token_sha256
    )
    if row is None:
        return None
    return FoundCaller(
        customer_id=row["customer_id"],
        user_id=row["user_id"],
        key_id=row["key_id"],
        role=row["role"],
        scopes=tuple(row["scopes"] or ()),
        environment=row["environment"],
    )
