"""What tests of bankfeed/db begin with: a linked connection, and events at the door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg

from bankfeed.db import Connection, Database
from bankfeed.db.arrival import Incoming, insert_inbox
from bankfeed.db.connection import Lease, claim_connection, request_refreshes, upsert_connection
from bankfeed.db.inbox import Claimed, claim_inbox
from bankfeed.model import ConnectionId, EventType, SourceId
from tests.seed import Sources, Tenant, make_sources, make_tenant

LEASE_S = 60.0
OVER_S = 0.0  # a lease that has ended as soon as it is committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A tenant with one connection, and nothing asked of it yet."""

    database: Database
    sources: Sources
    tenant: Tenant
    connection_id: ConnectionId

    @asynccontextmanager
    async def app(self) -> AsyncIterator[Connection]:
        """Run a transaction of the tenant."""
        async with self.database.tenant(self.tenant.customer_id) as conn:
            yield conn

    async def request(self) -> tuple[int, int]:
        """Ask for one more refresh."""
        async with self.database.queue() as conn:
            return await request_refreshes(conn, [(self.tenant.customer_id, self.connection_id)])

    async def claim(self, lease_s: float = LEASE_S) -> Lease | None:
        """Claim what is due."""
        async with self.database.queue() as conn:
            return await claim_connection(conn, token=uuid4(), lease_s=lease_s)

    async def lease(self, lease_s: float = LEASE_S) -> Lease:
        """Ask for a refresh and claim it."""
        await self.request()
        lease = await self.claim(lease_s)
        assert lease is not None
        return lease

    async def row(self, superuser: asyncpg.Connection) -> Any:
        """Read the connection as it is."""
        return await superuser.fetchrow(
            "SELECT *, due_at - now() AS due_in, lease_until - now() AS lease_left FROM connections"
            " WHERE customer_id = $1 AND id = $2",
            self.tenant.customer_id,
            self.connection_id,
        )


async def make_ground(database: Database, owner: asyncpg.Connection) -> Ground:
    """Make the sources, a tenant and its connection."""
    sources = await make_sources(owner)
    tenant = await make_tenant(database, sources)
    connection_id = await make_connection(database, sources, tenant)
    return Ground(database=database, sources=sources, tenant=tenant, connection_id=connection_id)


async def make_connection(
    database: Database, sources: Sources, tenant: Tenant, *, login_ref: str = "login-1"
) -> ConnectionId:
    """Make one more connection of a tenant."""
    async with database.tenant(tenant.customer_id) as conn:
        return await upsert_connection(
            conn, tenant.customer_id, tenant.client_id, source_id=sources.finicity, login_ref=login_ref
        )


def make_incoming(source_id: SourceId, event_id: str | None = None, **changes: Any) -> Incoming:
    """Make an event as it comes through a door."""
    values: dict[str, Any] = {
        "name": "transactionsRefreshed",
        "event_type": EventType.TRANSACTIONS_REFRESHED,
        "customer_ref": None,
        "login_refs": (),
        "account_refs": ("1",),
        "body": b"{}",
    }
    return Incoming(source_id=source_id, event_id=event_id, **(values | changes))


async def receive(database: Database, *incoming: Incoming) -> list[str]:
    """Commit events; return what became of each."""
    async with database.queue() as conn:
        return [arrival.value for arrival in await insert_inbox(conn, incoming)]


async def claim_events(
    database: Database, *, lease_s: float = LEASE_S, limit: int = 50, needs_listing: bool = False
) -> tuple[Any, list[Claimed]]:
    """Claim due events under a new token; return the token and them."""
    token = uuid4()
    async with database.queue() as conn:
        return token, list(
            await claim_inbox(conn, token=token, lease_s=lease_s, limit=limit, needs_listing=needs_listing)
        )


async def wait_until_blocked(superuser: asyncpg.Connection, sessions: int = 1) -> None:
    """Return once so many sessions of this database wait for a lock."""
    while sessions > await superuser.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        pass
