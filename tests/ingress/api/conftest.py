"""Callers of the API: people and machines of two customers, each with a token of their own."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any

import aiohttp
import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.session import insert_session
from bankfeed.db.user import insert_user
from bankfeed.model import ClientId, CustomerId
from bankfeed.settings import Settings
from ingress.app import Ingress
from tests.finbank import free_port
from tests.seed import Sources, Tenant, make_sources, make_tenant

PREFIX = "/api/v1"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$q1Wxlt9gVqc"  # of nothing that anybody can type
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One answer. `body` is the JSON, {} where there is none; `text` what was on the wire."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A caller: whose it is, and its token ("" for nobody)."""

    session: aiohttp.ClientSession
    database: Database
    tenant: Tenant
    sources: Sources
    ingress: Ingress
    token: str
    user_id: int = 0

    @property
    def customer_id(self) -> CustomerId:
        """The caller's customer."""
        return self.tenant.customer_id

    @property
    def client_id(self) -> ClientId:
        """The client that the customer has from the beginning, enrolled at the aggregator."""
        return self.tenant.client_id

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> Said:
        """Make a request; a body that is not bytes is sent as JSON, a query value None is left out."""
        sent = dict(headers or {})
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        params = [(name, str(value)) for name, value in query.items() if value is not None]
        async with self.session.request(
            method, PREFIX + path, data=content, params=params, headers=sent, allow_redirects=False
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return Said(
                status=answer.status, body=json.loads(text) if is_json else {}, headers=answer.headers, text=text
            )

    async def get(self, path: str, **query: Any) -> Said:
        """GET a path; the query's names are those of the wire."""
        return await self.ask("GET", path, **query)

    async def post(self, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any) -> Said:
        """POST a body."""
        return await self.ask("POST", path, body, headers=headers, **query)

    async def patch(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Said:
        """PATCH what is given."""
        return await self.ask("PATCH", path, body, headers=headers)

    async def delete(self, path: str) -> Said:
        """DELETE it."""
        return await self.ask("DELETE", path)

    def as_nobody(self) -> "Person":
        """The same caller without a token."""
        return replace(self, token="")

    def with_token(self, token: str) -> "Person":
        """The same caller with another token."""
        return replace(self, token=token)


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """Settings that a test wants otherwise; override it in the test's file."""
    return {}


@pytest.fixture
async def api_ingress(
    settings: Settings, changed_settings: dict[str, Any], owner: asyncpg.Connection, database: Database
) -> AsyncIterator[tuple[Ingress, Sources]]:
    """A real ingress with both of the platform's sources, answering."""
    sources = await make_sources(owner)
    ingress = Ingress(
        replace(settings, **{"port": free_port(), "body_s": 1, "calls_per_minute": 100_000} | changed_settings)
    )
    await ingress.listen()
    await ingress.open(None if changed_settings else database)
    yield ingress, sources
    await ingress.close()


@pytest.fixture
async def api(api_ingress: tuple[Ingress, Sources], database: Database) -> AsyncIterator[Person]:
    """An owner of a customer with one client."""
    ingress, sources = api_ingress
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ingress.settings.port}") as session:
        tenant = await make_tenant(database, sources)
        nobody = Person(session=session, database=database, tenant=tenant, sources=sources, ingress=ingress, token="")
        yield await sign_in(nobody, "owner")


@pytest.fixture
async def other(api: Person) -> Person:
    """An owner of another customer."""
    return await sign_in(replace(api, tenant=await make_tenant(api.database, api.sources)), "owner")


@pytest.fixture
async def employee(api: Person) -> Person:
    """An employee of the first customer."""
    return await sign_in(api, "employee")


@pytest.fixture
async def reader(api: Person) -> Person:
    """Someone of the first customer who may only look."""
    return await sign_in(api, "reader")


async def sign_in(person: Person, role: str, *, lasts: timedelta = timedelta(hours=1)) -> Person:
    """Make a person of a customer with a role, signed in without the form."""
    number = next(_numbers)
    token = f"bft_sandbox_token-{number}"
    async with person.database.tenant(person.customer_id) as conn:
        user_id = await insert_user(conn, person.customer_id, email=f"{role}-{number}@firm.example", password_hash=HASH)
        assert user_id is not None
        await conn.execute("UPDATE users SET role = $2 WHERE id = $1", user_id, role)
        await insert_session(
            conn,
            person.customer_id,
            user_id=user_id,
            password_hash=HASH,
            token_sha256=sha256(token.encode()).digest(),
            expires_at=datetime.now(UTC) + lasts,
        )
    return replace(person, token=token, user_id=user_id)


async def make_key(person: Person, *scopes: str) -> Person:
    """Make a machine's key of the customer with scopes."""
    number = next(_numbers)
    token = f"bfk_sandbox_key-{number}"
    async with person.database.tenant(person.customer_id) as conn:
        await conn.execute(
            "INSERT INTO api_keys (customer_id, name, key_sha256, hint, scopes) VALUES ($1, 'tests', $2, 'abcd', $3)",
            person.customer_id,
            sha256(token.encode()).digest(),
            list(scopes),
        )
    return replace(person, token=token, user_id=0)
