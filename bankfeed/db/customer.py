"""Customers: the tenants."""

from bankfeed.db.database import Connection, set_tenant
from bankfeed.model import CustomerId, ShadowPolicy


async def insert_customer(conn: Connection, *, name: str, shadow_policy: str = "hide") -> CustomerId:
    """Add a customer and make it the transaction's tenant."""
    customer_id = await _next_customer_id(conn)
    await set_tenant(conn, customer_id)
    await conn.execute(
        "INSERT INTO customers (id, name, shadow_policy) VALUES ($1, $2, $3)", customer_id, name, shadow_policy
    )
    return customer_id


async def _next_customer_id(conn: Connection) -> CustomerId:
    return CustomerId(await conn.fetchval("SELECT nextval(pg_get_serial_sequence('customers', 'id'))"))


async def list_customer_ids(conn: Connection) -> tuple[CustomerId, ...]:
    """List every customer, as the queue role."""
    return tuple(row["id"] for row in await conn.fetch("SELECT id FROM customers ORDER BY id"))


async def update_shadow_policy(conn: Connection, customer_id: CustomerId, policy: ShadowPolicy) -> None:
    """Change what a customer sees of rows that the bank no longer reports, from the next pull on."""
    await conn.execute("UPDATE customers SET shadow_policy = $2 WHERE id = $1", customer_id, policy)
