"""How long the next try has to wait, and what is forgotten after a day."""

import asyncio
from hashlib import sha256

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.schema import delete_old_requests
from bankfeed.db.sign_in import delete_failures, give_try_back, take_try

NAME = sha256(b"ann@firm.example").digest()
OTHER = sha256(b"bob@firm.example").digest()


async def try_once(database: Database, name: bytes = NAME) -> int:
    async with database.queue() as conn:
        return await take_try(conn, name)


async def read_block(superuser: asyncpg.Connection) -> float:
    """Return the seconds until the next try, and let them pass."""
    block_s: float = await superuser.fetchval(
        "UPDATE sign_in_failures f SET blocked_until = now() FROM sign_in_failures b WHERE b.name_sha256 = f.name_sha256"
        " RETURNING extract(epoch FROM b.blocked_until - now())::float8"
    )
    return max(0.0, round(block_s))


async def test_the_wait_doubles_up_to_a_quarter_of_an_hour(database: Database, superuser: asyncpg.Connection) -> None:
    """Three failures in a row cost nothing, the fourth a second, and each one more twice as much, 15 minutes at most."""
    waits = []
    for _ in range(17):
        assert 0 == await try_once(database)
        waits.append(await read_block(superuser))
    assert [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900] == waits


async def test_a_try_too_early_counts_nothing(database: Database, superuser: asyncpg.Connection) -> None:
    """Who is told to wait is told how long, and the wait does not grow by asking; others' addresses are free."""
    await superuser.execute("INSERT INTO sign_in_failures VALUES ($1, 9, now() + interval '32 s')", NAME)
    assert {31, 32} >= {await try_once(database) for _ in range(5)}
    assert 9 == await superuser.fetchval("SELECT failures FROM sign_in_failures")
    assert 0 == await try_once(database, OTHER)


@pytest.mark.parametrize("before", [0, 3])
async def test_many_at_once_get_no_more_tries(database: Database, superuser: asyncpg.Connection, before: int) -> None:
    """Of many at the same moment as many get through as one after the other, also where there was no row yet."""
    if before:
        await superuser.execute("INSERT INTO sign_in_failures VALUES ($1, $2, now())", NAME, before)
    waits = await asyncio.gather(*(try_once(database) for _ in range(30)))
    assert 4 - before == waits.count(0)
    assert set(waits) <= {0, 1}


async def test_success_clears_and_no_check_gives_back(database: Database, superuser: asyncpg.Connection) -> None:
    """The right password forgets the failures; a try at which nobody looked is one less, and does not block."""
    for _ in range(4):
        await try_once(database)
    async with database.queue() as conn:
        await give_try_back(conn, NAME)
    assert (3, 0) == (await superuser.fetchval("SELECT failures FROM sign_in_failures"), await read_block(superuser))
    async with database.queue() as conn:
        await delete_failures(conn, NAME)
        await delete_failures(conn, NAME)
    assert 0 == await superuser.fetchval("SELECT count(*) FROM sign_in_failures")


async def test_failures_without_end_stay_a_number(database: Database, superuser: asyncpg.Connection) -> None:
    """However long somebody guesses, the count stays bounded and the wait a quarter of an hour."""
    await superuser.execute("INSERT INTO sign_in_failures VALUES ($1, 1000, now())", NAME)
    assert 0 == await try_once(database)
    assert (1000, 900) == (
        await superuser.fetchval("SELECT failures FROM sign_in_failures"),
        await read_block(superuser),
    )


async def test_a_day_later_it_is_forgotten(database: Database, superuser: asyncpg.Connection) -> None:
    """Failures a day after their last block, and idempotency keys after a day, go, some at a time; younger ones stay."""
    await superuser.execute(
        "INSERT INTO sign_in_failures SELECT sha256(n::text::bytea), 9, now() - n * interval '10 hours'"
        " FROM generate_series(0, 5) n"
    )
    await superuser.execute(
        "INSERT INTO idempotency_keys (customer_id, key_sha256, request_sha256, created_at)"
        " SELECT n, sha256(''), sha256(''), now() - n * interval '10 hours' FROM generate_series(0, 5) n"
    )
    deleted = []
    for _ in range(4):
        async with database.queue() as conn:
            deleted.append(await delete_old_requests(conn, limit=2))
    assert [4, 2, 0, 0] == deleted
    assert (3, 3) == (
        await superuser.fetchval("SELECT count(*) FROM sign_in_failures"),
        await superuser.fetchval("SELECT count(*) FROM idempotency_keys"),
    )
