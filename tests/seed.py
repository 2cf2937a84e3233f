"""Rows that tests begin with."""

import os
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg

from bankfeed.db import Database
from bankfeed.db.client import insert_client, upsert_enrolment
from bankfeed.db.customer import insert_customer
from bankfeed.db.source import upsert_platform_source
from bankfeed.endpoints import NewEndpoint, add_endpoint
from bankfeed.model import ClientId, CustomerId, EndpointId, EventType, SourceId
from bankfeed.sealing import Sealer, read_keys

PATH_SECRET = "an-unguessable-part-of-a-path"
PARTNER_SECRET = "the-partner-secret-of-tests"
ENDPOINT_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
SECRET_KEYS = "tests:" + "QUJD" * 10 + "QUI="
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The platform's two doors: Finicity's own, and LedgerSync's bound to it."""

    finicity: SourceId
    ledgersync: SourceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer with one client, enrolled at the aggregator as `customer_ref`."""

    customer_id: CustomerId
    client_id: ClientId
    customer_ref: str


async def make_sources(owner: asyncpg.Connection) -> Sources:
    """Make the platform's sources."""
    async with owner.transaction():
        finicity = await upsert_platform_source(
            owner,
            slug="finicity",
            connector="finicity",
            dialect="finicity",
            verifier="finicity",
            secrets=[PARTNER_SECRET],
        )
        ledgersync = await upsert_platform_source(
            owner,
            slug="ledgersync",
            connector="finicity",
            dialect="ledgersync",
            verifier="path",
            secrets=[PATH_SECRET],
            bound_to=finicity,
        )
    return Sources(finicity=finicity, ledgersync=ledgersync)


async def make_tenant(database: Database, sources: Sources, *, customer_ref: str | None = None) -> Tenant:
    """Make a customer with a client that is enrolled."""
    number = next(_numbers)
    ref = customer_ref or f"90{number:04d}"
    async with database.app() as conn:
        customer_id = await insert_customer(conn, name=f"Firm {number}")
        client_id = await insert_client(conn, customer_id, username=f"client-{number}", name=f"Client {number}")
        await upsert_enrolment(conn, customer_id, client_id, source_id=sources.finicity, customer_ref=ref)
    return Tenant(customer_id=customer_id, client_id=client_id, customer_ref=ref)


def make_sealer() -> Sealer:
    """Make what opens the secrets of the tests' endpoints."""
    return Sealer(read_keys(SECRET_KEYS), random_bytes=os.urandom)


async def make_endpoint(database: Database, tenant: Tenant, *, url: str, **settings: Any) -> EndpointId:
    """Make an endpoint that wants everything, signed with ENDPOINT_SECRET; `settings` are others of NewEndpoint's."""
    asked: dict[str, Any] = {"event_types": tuple(EventType), "description": "tests", "secret": ENDPOINT_SECRET}
    async with database.tenant(tenant.customer_id) as conn:
        added = await add_endpoint(conn, make_sealer(), tenant.customer_id, NewEndpoint(url=url, **(asked | settings)))
    return added.id
