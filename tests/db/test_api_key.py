"""API keys: when they count, and how their use is told."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.api_key import ApiKey, insert_api_key, list_api_keys, mark_api_key_revoked
from bankfeed.db.caller import find_caller
from bankfeed.db.customer import insert_customer
from bankfeed.model import CustomerId

HASHED = sha256(b"key").digest()


@pytest.fixture
async def customer_id(database: Database) -> CustomerId:
    """A customer."""
    async with database.app() as conn:
        return await insert_customer(conn, name="Firm")


async def make(
    database: Database, customer_id: CustomerId, *, key: bytes = b"key", lasts: timedelta | None = None
) -> ApiKey | None:
    async with database.tenant(customer_id) as conn:
        return await insert_api_key(
            conn,
            customer_id,
            name="export",
            key_sha256=sha256(key).digest(),
            hint="abcd",
            scopes=["clients:read"],
            created_by=7,
            expires_at=datetime.now(UTC) + lasts if lasts else None,
        )


async def test_a_key_that_is_over_is_not_made(database: Database, customer_id: CustomerId) -> None:
    """Its end has to be to come, by Postgres' clock; none is for ever."""
    assert await make(database, customer_id, lasts=timedelta(seconds=-1)) is None
    assert await make(database, customer_id, lasts=timedelta(hours=1)) is not None
    assert await make(database, customer_id, key=b"other") is not None


async def test_a_key_is_a_caller_with_its_scopes(database: Database, customer_id: CustomerId) -> None:
    """Its use is told, and the transaction is its customer's from then on."""
    made = await make(database, customer_id)
    assert made is not None
    async with database.app() as conn:
        caller = await find_caller(conn, HASHED)
        assert caller is not None
        assert (customer_id, None, made.id, None, ("clients:read",), "sandbox") == (
            *(caller.customer_id, caller.user_id, caller.key_id),
            *(caller.role, caller.scopes, caller.environment),
        )
        [key] = await list_api_keys(conn, customer_id, after_id=0, limit=10)
    assert key.last_used_at is not None
    assert await mark(database, customer_id, made.id)
    assert not await mark(database, customer_id, made.id)
    async with database.app() as conn:
        assert await find_caller(conn, HASHED) is None
        assert () == await list_api_keys(conn, customer_id, after_id=0, limit=10)


async def mark(database: Database, customer_id: CustomerId, key_id: int) -> bool:
    async with database.tenant(customer_id) as conn:
        return await mark_api_key_revoked(conn, customer_id, key_id)


async def test_use_is_told_once_a_minute(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """A busy key does not write its row with every request, and many at once do not wait for each other."""
    await make(database, customer_id)

    async def use() -> None:
        async with database.app() as conn:
            assert await find_caller(conn, HASHED) is not None

    async def read() -> tuple[datetime, str]:
        row = await superuser.fetchrow("SELECT last_used_at, ctid::text FROM api_keys")
        return row["last_used_at"], row["ctid"]

    await use()
    first = await read()
    await asyncio.gather(*(use() for _ in range(20)))
    assert first == await read()
    await superuser.execute("UPDATE api_keys SET last_used_at = now() - interval '61 s'")
    async with database.app() as holder:
        assert await find_caller(holder, HASHED) is not None  # holds the row until it ends
        await asyncio.wait_for(use(), 5)
    assert first[0] < (await read())[0]


async def test_a_key_of_another_customer_is_none(database: Database, customer_id: CustomerId) -> None:
    """It is neither listed nor revoked by others."""
    made = await make(database, customer_id)
    assert made is not None
    async with database.app() as conn:
        other = await insert_customer(conn, name="Other")
    assert not await mark(database, other, made.id)
    async with database.tenant(other) as conn:
        assert () == await list_api_keys(conn, other, after_id=0, limit=10)
