"""Clients of a customer, their change counter, and who they are at the aggregator."""

from dataclasses import dataclass

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, CustomerId, SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A client as the aggregator's customer."""

    customer_id: CustomerId
    client_id: ClientId
    customer_ref: str


async def insert_client(conn: Connection, customer_id: CustomerId, *, username: str, name: str) -> ClientId:
    """Add a client with its change counter."""
    client_id: ClientId = await conn.fetchval(
        """
        WITH client AS (
            INSERT INTO clients (customer_id, username, name) VALUES ($1, $2, $3) RETURNING customer_id, id
        )
        INSERT INTO change_counters (customer_id, client_id) SELECT customer_id, id FROM client RETURNING client_id
        """,
        customer_id,
        username,
        name,
    )
    return client_id


async def find_client_by_username(conn: Connection, customer_id: CustomerId, username: str) -> ClientId | None:
    """Return the client with that username, None where there is none."""
    client_id: ClientId | None = await conn.fetchval(
        "SELECT id FROM clients WHERE customer_id = $1 AND username = $2", customer_id, username
    )
    return client_id


async def take_change_numbers(conn: Connection, customer_id: CustomerId, client_id: ClientId, *, count: int) -> int:
    """Take `count` change numbers, locking the counter until commit; return the first of them.

    The lock makes numbers commit in order: who has seen number n has seen all below it. It comes last in the lock order
    (connection, accounts by id, counter) and is held shortest.
    """
    last: int = await conn.fetchval(
        """
        UPDATE change_counters SET last_change_no = last_change_no + $3
        WHERE customer_id = $1 AND client_id = $2 RETURNING last_change_no
        """,
        customer_id,
        client_id,
        count,
    )
    return last - count + 1


async def upsert_enrolment(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, source_id: SourceId, customer_ref: str
) -> None:
    """Note which customer of the aggregator this client is. Safe to repeat."""
    await conn.execute(
        """
        INSERT INTO enrolments (customer_id, client_id, source_id, aggregator_customer_id) VALUES ($1, $2, $3, $4)
        ON CONFLICT (customer_id, source_id, client_id) DO UPDATE
            SET aggregator_customer_id = excluded.aggregator_customer_id
            WHERE enrolments.aggregator_customer_id <> excluded.aggregator_customer_id
        """,
        customer_id,
        client_id,
        source_id,
        customer_ref,
    )


async def list_enrolments(
    conn: Connection,
    source_id: SourceId,
    *,
    customer_id: CustomerId | None,
    customer_ref: str | None,
    limit: int,
) -> tuple[Enrolment, ...]:
    """List a source's clients, newest first, as the queue role; of one customer, or one customer there, if given."""
    rows = await conn.fetch(
        """
        SELECT customer_id, client_id, aggregator_customer_id AS customer_ref FROM enrolments
        WHERE source_id = $1 AND ($2::bigint IS NULL OR customer_id = $2)
          AND ($3::text IS NULL OR aggregator_customer_id = $3)
        ORDER BY created_at DESC, customer_id, client_id LIMIT $4
        """,
        source_id,
        customer_id,
        customer_ref,
        limit,
    )
    return tuple(Enrolment(**row) for row in rows)
