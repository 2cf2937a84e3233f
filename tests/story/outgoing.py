"""A customer with an endpoint, and events for it, as the commands on webhooks out meet them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from bankfeed.db import Database
from bankfeed.db.event import insert_events
from bankfeed.model import ConnectionId, EndpointId, EventType
from bankfeed.outbox import News, make_event
from tests.seed import Tenant, make_endpoint, make_sources, make_tenant

SECRET_PATH = "/a-path-that-is-a-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    """A customer and its endpoint."""

    database: Database
    superuser: asyncpg.Connection
    tenant: Tenant
    endpoint_id: EndpointId

    async def emit(self, *types: EventType) -> list[str]:
        """Commit events about the customer's client; return their ids."""
        events = [
            make_event(
                News(event_type=each),
                client_id=self.tenant.client_id,
                connection_id=ConnectionId(1),
                at=datetime.now(UTC),
            )
            for each in types
        ]
        async with self.database.tenant(self.tenant.customer_id) as conn:
            await insert_events(conn, self.tenant.customer_id, events)
        return [str(event.event_id) for event in events]

    async def fail_all(self) -> list[int]:
        """Let all that waits have failed after one attempt; return the deliveries' ids."""
        await self.superuser.execute(
            """
            WITH gone AS (DELETE FROM delivery_queue RETURNING customer_id, delivery_id, created_at), tried AS (
                INSERT INTO attempts (customer_id, delivery_id, attempt_no, started_at, delivery_created_at, duration_ms,
                    status, answer)
                SELECT customer_id, delivery_id, 1, now(), created_at, 12, 502, E'bad\\x1b[2J\\ngateway' FROM gone)
            UPDATE deliveries d SET state = 'failed', finished_at = now(), first_attempt_at = now(), reason = 'the schedule is over'
            FROM gone WHERE d.id = gone.delivery_id
            """
        )
        return [row["id"] for row in await self.superuser.fetch("SELECT id FROM deliveries ORDER BY id")]

    async def audited(self) -> list[tuple[str, str]]:
        """Return what the operator did by the customer's audit log."""
        lines = await self.superuser.fetch(
            "SELECT action, target FROM audit_log WHERE actor = 'system' AND customer_id = $1 ORDER BY at, id",
            self.tenant.customer_id,
        )
        return [tuple(line) for line in lines]


async def make_firm(database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection, **asked: Any) -> Firm:
    """Make a customer with an endpoint that wants everything."""
    tenant = await make_tenant(database, await make_sources(owner))
    url = f"https://books.firm.example:8443{SECRET_PATH}"
    endpoint_id = await make_endpoint(database, tenant, url=url, **asked)
    return Firm(database=database, superuser=superuser, tenant=tenant, endpoint_id=endpoint_id)
