"""Notifications: who is to hear, and how often, of banks that need somebody; and which banks do.

A firm or client is due at most every so many hours, while a connection of theirs is broken. Whoever tells them holds the row
that says when they last heard, so that two workers do not tell twice.
"""

from dataclasses import dataclass, field
from datetime import datetime

from bankfeed.db.database import Connection
from bankfeed.model import ClientId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a firm chose. `email` is "" for nowhere; hours are 1 to 720, None is never."""

    email: str
    every_hours: int | None
    clients_every_hours: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueFirm:
    """A firm that is to hear now. `broken` is how many connections of its clients are."""

    email: str = field(repr=False)
    every_hours: int
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DueClient:
    """A client that is to hear now, of its firm's name. `broken` is how many connections of its are."""

    client_id: ClientId
    email: str = field(repr=False)
    firm: str
    every_hours: int
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A connection that needs somebody. `bank` is "" where the aggregator named none."""

    client_id: ClientId
    client: str
    bank: str
    state: str
    status_code: int | None
    code_repeats: int
    is_received: bool
    broken_since: datetime


async def get_wishes(conn: Connection, customer_id: CustomerId) -> Wishes:
    """Return what a firm chose."""
    row = await conn.fetchrow(
        """
        SELECT notify_email AS email, notify_hours AS every_hours, notify_clients_hours AS clients_every_hours
        FROM customers WHERE id = $1
        """,
        customer_id,
    )
    return Wishes(**row)


async def update_wishes(conn: Connection, customer_id: CustomerId, wishes: Wishes) -> None:
    """Write what a firm chooses from now on. When somebody last heard stays as it is: more often begins from there."""
    await conn.execute(
        "UPDATE customers SET notify_email = $2, notify_hours = $3, notify_clients_hours = $4 WHERE id = $1",
        customer_id,
        wishes.email,
        wishes.every_hours,
        wishes.clients_every_hours,
    )


async def list_firms_to_tell(conn: Connection, *, after_id: int, limit: int) -> tuple[CustomerId, ...]:
    """List firms where somebody is to hear now, by id, as the queue role."""
    rows = await conn.fetch(
        """
        SELECT c.id FROM customers c
        WHERE c.id > $1 AND (c.notify_hours IS NOT NULL OR c.notify_clients_hours IS NOT NULL) AND EXISTS (
            SELECT FROM connections n JOIN clients cl ON cl.customer_id = n.customer_id AND cl.id = n.client_id
            WHERE n.customer_id = c.id AND n.broken_since IS NOT NULL AND n.deleted_at IS NULL
              AND cl.deleted_at IS NULL AND cl.locked_at IS NULL
              AND (c.notify_hours IS NOT NULL
                   AND coalesce(c.notified_at <= now() - make_interval(hours => c.notify_hours), true)
                   OR c.notify_clients_hours IS NOT NULL
                   AND coalesce(cl.notified_at <= now() - make_interval(hours => c.notify_clients_hours), true)))
        ORDER BY c.id LIMIT $2
        """,
        after_id,
        limit,
    )
    return tuple(CustomerId(row["id"]) for row in rows)


async def lock_due_firm(conn: Connection, customer_id: CustomerId) -> DueFirm | None:
    """Lock a firm that is to hear now until the end of the transaction; None where it is not, or another worker tells it.

    Banks of locked and of deleted clients need nobody.
    """
    row = await conn.fetchrow(
        """
        SELECT notify_email AS email, notify_hours AS every_hours,
               (SELECT count(*) FROM connections n
                JOIN clients cl ON cl.customer_id = $1 AND cl.id = n.client_id
                WHERE n.customer_id = $1 AND n.broken_since IS NOT NULL AND n.deleted_at IS NULL
                  AND cl.deleted_at IS NULL AND cl.locked_at IS NULL) AS broken
        FROM customers c
        WHERE id = $1 AND notify_hours IS NOT NULL
          AND (notified_at IS NULL OR notified_at <= now() - make_interval(hours => notify_hours))
        FOR NO KEY UPDATE SKIP LOCKED
        """,
        customer_id,
    )
    return DueFirm(**row) if row and row["broken"] else None


async def lock_due_clients(conn: Connection, customer_id: CustomerId, *, limit: int) -> tuple[DueClient, ...]:
    """Lock clients that are to hear now until the end of the transaction; none that another worker tells.

    Those without an e-mail address are among them: noted as told, they are looked at as seldom as the others.
    """
    rows = await conn.fetch(
        """
        SELECT cl.id AS client_id, cl.email, c.name AS firm, c.notify_clients_hours AS every_hours,
               (SELECT count(*) FROM connections n WHERE n.customer_id = $1 AND n.client_id = cl.id
                  AND n.broken_since IS NOT NULL AND n.deleted_at IS NULL) AS broken
        FROM clients cl JOIN customers c ON c.id = $1
        WHERE cl.customer_id = $1 AND cl.deleted_at IS NULL AND cl.locked_at IS NULL
          AND (cl.notified_at IS NULL OR cl.notified_at <= now() - make_interval(hours => c.notify_clients_hours))
          AND c.notify_clients_hours IS NOT NULL
          AND EXISTS (SELECT FROM connections n WHERE n.customer_id = $1 AND n.client_id = cl.id
                        AND n.broken_since IS NOT NULL AND n.deleted_at IS NULL)
        ORDER BY cl.id LIMIT $2 FOR NO KEY UPDATE OF cl SKIP LOCKED
        """,
        customer_id,
        limit,
    )
    return tuple(DueClient(**row) for row in rows)


async def list_broken(
    conn: Connection, customer_id: CustomerId, *, client_id: ClientId | None, limit: int
) -> tuple[Broken, ...]:
    """List connections that need somebody, the latest broken first; of one client where given."""
    rows = await conn.fetch(
        """
        SELECT n.client_id, coalesce(nullif(btrim(cl.name), ''), cl.username) AS client, coalesce(i.name, '') AS bank,
               n.state::text, n.status_code, greatest(n.code_repeats, n.failures) AS code_repeats,
               n.last_refresh_at IS NOT NULL AS is_received, n.broken_since
        FROM connections n
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = n.client_id
        LEFT JOIN institutions i ON i.id = n.institution_id
        WHERE n.customer_id = $1 AND n.broken_since IS NOT NULL AND n.deleted_at IS NULL
          AND cl.deleted_at IS NULL AND cl.locked_at IS NULL AND ($2::bigint IS NULL OR n.client_id = $2)
        ORDER BY n.broken_since DESC, n.id LIMIT $3
        """,
        customer_id,
        client_id,
        limit,
    )
    return tuple(Broken(**row) for row in rows)


async def mark_firm_told(conn: Connection, customer_id: CustomerId) -> None:
    """Note that a firm hears now."""
    await conn.execute("UPDATE customers SET notified_at = now() WHERE id = $1", customer_id)


async def mark_client_told(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> None:
    """Note that a client hears now."""
    await conn.execute(
        "UPDATE clients SET notified_at = now() WHERE customer_id = $1 AND id = $2", customer_id, client_id
    )
