"""Customers: the tenants."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bankfeed.db.change import touch_shadows
from bankfeed.db.database import Connection, set_tenant
from bankfeed.errors import NotFound
from bankfeed.model import CustomerId, ShadowPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A firm that registered. `environment` is sandbox or live, for good."""

    id: CustomerId
    name: str
    environment: str
    shadow_policy: str
    created_at: datetime
    version: int


async def insert_customer(
    conn: Connection, *, name: str, shadow_policy: str = "hide", environment: str = "sandbox"
) -> CustomerId:
    """Add a customer and make it the transaction's tenant."""
    customer_id = await _next_customer_id(conn)
    await set_tenant(conn, customer_id)
    await conn.execute(
        "INSERT INTO customers (id, name, shadow_policy, environment) VALUES ($1, $2, $3, $4)",
        customer_id,
        name,
        shadow_policy,
        environment,
    )
    return customer_id


async def _next_customer_id(conn: Connection) -> CustomerId:
    return CustomerId(await conn.fetchval("SELECT nextval(pg_get_serial_sequence('customers', 'id'))"))


async def list_customer_ids(conn: Connection) -> tuple[CustomerId, ...]:
    """List every customer, as the queue role."""
    return tuple(row["id"] for row in await conn.fetch("SELECT id FROM customers ORDER BY id"))


async def get_customer(conn: Connection, customer_id: CustomerId) -> Customer:
    """Return a customer. Raises NotFound."""
    row = await conn.fetchrow(
        "SELECT id, name, environment, shadow_policy, created_at, version FROM customers WHERE id = $1", customer_id
    )
    if row is None:
        raise NotFound(f"there is no customer {customer_id}")
    return Customer(**row)


async def list_redirect_uris(conn: Connection, customer_id: CustomerId) -> tuple[str, ...]:
    """List where a customer's widgets may lead back to."""
    return tuple(await conn.fetchval("SELECT redirect_uris FROM customers WHERE id = $1", customer_id) or ())


async def update_redirect_uris(conn: Connection, customer_id: CustomerId, uris: Sequence[str]) -> None:
    """Say where a customer's widgets may lead back to. Safe to repeat."""
    await conn.execute("UPDATE customers SET redirect_uris = $2 WHERE id = $1", customer_id, list(uris))


async def update_customer(
    conn: Connection,
    customer_id: CustomerId,
    *,
    name: str | None,
    shadow_policy: ShadowPolicy | None,
    version: int | None,
) -> bool:
    """Change what is not None, where the version is the one given (None: any); tell whether it was.

    Under another policy shadow rows are told of as changed; their values go, or not, from the next pull on.
    """
    has_other_policy: bool | None = await conn.fetchval(
        """
        UPDATE customers c SET name = coalesce($2, c.name), shadow_policy = coalesce($3, c.shadow_policy),
                               version = c.version + 1
        FROM (SELECT id, shadow_policy FROM customers WHERE id = $1 FOR UPDATE) before
        WHERE c.id = before.id AND c.version = coalesce($4, c.version)
        RETURNING c.shadow_policy <> before.shadow_policy
        """,
        customer_id,
        name,
        shadow_policy,
        version,
    )
    if has_other_policy:
        await touch_shadows(conn, customer_id)
    return has_other_policy is not None


async def update_shadow_policy(conn: Connection, customer_id: CustomerId, policy: ShadowPolicy) -> None:
    """Change what a customer sees of rows that the bank no longer reports; their values go, or not, from the next pull on.

    Shadow rows are told of as changed.
    """
    await conn.execute("UPDATE customers SET shadow_policy = $2 WHERE id = $1", customer_id, policy)
    await touch_shadows(conn, customer_id)
