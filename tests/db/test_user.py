"""People and their sessions: guarded transitions, and what two at once leave."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.customer import insert_customer
from bankfeed.db.session import (
    delete_expired_sessions,
    delete_sessions,
    find_session_customer,
    insert_session,
)
from bankfeed.db.user import (
    Invitation,
    find_invitation,
    find_person,
    find_user,
    insert_invited_user,
    insert_user,
    list_active_owners,
    list_people,
    mark_user_accepted,
    mark_user_invited,
    mark_user_locked,
    mark_user_unlocked,
    update_password,
    update_person,
)
from bankfeed.model import CustomerId
from tests.db.made import wait_until_blocked

HASH = "$argon2id$v=19$one"
NEW_HASH = "$argon2id$v=19$two"
TOKEN = bytes(32)


@pytest.fixture
async def customer_id(database: Database) -> CustomerId:
    """A live customer."""
    async with database.app() as conn:
        return await insert_customer(conn, name="Firm", environment="live")


async def add(database: Database, customer_id: CustomerId, name: str = "ann", role: str = "owner") -> int:
    async with database.tenant(customer_id) as conn:
        user_id = await insert_user(
            conn, customer_id, email=f"{name}@firm.example", password_hash=HASH, name=name, role=role
        )
    assert user_id is not None
    return user_id


def later(days: int = 7) -> Invitation:
    return Invitation(token_sha256=TOKEN, expires_at=datetime.now(UTC) + timedelta(days=days))


async def begin(database: Database, customer_id: CustomerId, user_id: int, *, password_hash: str = HASH) -> bool:
    async with database.tenant(customer_id) as conn:
        return await insert_session(
            conn,
            customer_id,
            user_id=user_id,
            password_hash=password_hash,
            token_sha256=TOKEN,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )


async def test_a_user_is_found_before_it_is_known_whose(database: Database, customer_id: CustomerId) -> None:
    """By address in any case of letters, with role, lock and the customer's environment."""
    user_id = await add(database, customer_id, role="reader")
    async with database.tenant(customer_id) as conn:
        await mark_user_locked(conn, customer_id, user_id)
    async with database.app() as conn:
        user = await find_user(conn, "ANN@firm.example")
        assert await find_user(conn, "nobody@firm.example") is None
    assert user is not None
    assert (customer_id, user_id, HASH, "reader", True, "live") == (
        *(user.customer_id, user.id, user.password_hash),
        *(user.role, user.is_locked, user.environment),
    )


async def test_an_address_is_one_person_among_all_customers(database: Database, customer_id: CustomerId) -> None:
    """Neither a second user nor an invited one with an address that anybody has is made, in whatever letters."""
    await add(database, customer_id)
    async with database.app() as conn:
        other = await insert_customer(conn, name="Other")
        assert await insert_user(conn, other, email="Ann@Firm.example", password_hash=HASH) is None
        made = await insert_invited_user(
            conn, other, email="ANN@firm.example", name="", role="reader", invitation=later()
        )
        assert made is None
        assert () == await list_people(conn, other, after_id=0, limit=10)


async def test_an_invitation_counts_once_and_in_time(database: Database, customer_id: CustomerId) -> None:
    """Whom it is for is found by its hash without a tenant, until it is used, over, replaced, or the user is locked."""
    async with database.tenant(customer_id) as conn:
        user_id = await insert_invited_user(
            conn, customer_id, email="bob@firm.example", name="Bob", role="employee", invitation=later()
        )
    assert user_id is not None

    async def find() -> int | None:
        async with database.app() as conn:
            invited = await find_invitation(conn, TOKEN)
        return invited.id if invited else None

    async def accept() -> int | None:
        async with database.tenant(customer_id) as conn:
            return await mark_user_accepted(conn, customer_id, token_sha256=TOKEN, password_hash=HASH, name="Bob")

    assert user_id == await find()
    async with database.tenant(customer_id) as conn:
        await mark_user_locked(conn, customer_id, user_id)
        assert not await mark_user_invited(conn, customer_id, user_id, later())
    assert (None, None) == (await find(), await accept())
    async with database.tenant(customer_id) as conn:
        await mark_user_unlocked(conn, customer_id, user_id)
        assert await mark_user_invited(conn, customer_id, user_id, later(days=-1))
    assert (None, None) == (await find(), await accept())
    async with database.tenant(customer_id) as conn:
        assert await mark_user_invited(conn, customer_id, user_id, later())
    assert sorted([user_id, 0, 0]) == sorted(each or 0 for each in await asyncio.gather(accept(), accept(), accept()))
    assert await find() is None


async def test_an_invitation_is_the_customers_own(database: Database, customer_id: CustomerId) -> None:
    """A hash that is another customer's invitation accepts nobody of one's own."""
    async with database.tenant(customer_id) as conn:
        await insert_invited_user(conn, customer_id, email="b@firm.example", name="", role="reader", invitation=later())
    async with database.app() as conn:
        other = await insert_customer(conn, name="Other")
        made = await mark_user_accepted(conn, other, token_sha256=TOKEN, password_hash=HASH, name="")
        assert made is None


async def test_a_change_is_of_one_version(database: Database, customer_id: CustomerId) -> None:
    """What is None stays; the wrong version changes nothing."""
    user_id = await add(database, customer_id)
    async with database.tenant(customer_id) as conn:
        assert await update_person(conn, customer_id, user_id, name=None, role="reader", version=1)
        assert not await update_person(conn, customer_id, user_id, name="Other", role=None, version=1)
        assert await update_person(conn, customer_id, user_id, name="Ann", role=None, version=None)
        person = await find_person(conn, customer_id, user_id)
    assert person is not None
    assert ("Ann", "reader", 3) == (person.name, person.role, person.version)


async def test_locking_again_changes_nothing(database: Database, customer_id: CustomerId) -> None:
    """A lock keeps its time and its version, and so does no lock."""
    user_id = await add(database, customer_id)
    seen = []
    for mark in (mark_user_unlocked, mark_user_locked, mark_user_locked, mark_user_unlocked, mark_user_unlocked):
        async with database.tenant(customer_id) as conn:
            await mark(conn, customer_id, user_id)
            person = await find_person(conn, customer_id, user_id)
        assert person is not None
        seen.append((person.locked_at is not None, person.version))
    assert [(False, 1), (True, 2), (True, 2), (False, 3), (False, 3)] == seen


async def test_owners_who_can_sign_in_are_held(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """Who asks second waits for the first, and sees what it left."""
    one, two = await add(database, customer_id, "one"), await add(database, customer_id, "two")
    locked = await add(database, customer_id, "three")
    await add(database, customer_id, "four", "employee")
    async with database.tenant(customer_id) as conn:
        await mark_user_locked(conn, customer_id, locked)
        await insert_invited_user(conn, customer_id, email="b@firm.example", name="", role="owner", invitation=later())

    async def ask() -> tuple[int, ...]:
        async with database.tenant(customer_id) as conn:
            return await list_active_owners(conn, customer_id)

    async with database.tenant(customer_id) as conn:
        assert (one, two) == await list_active_owners(conn, customer_id)
        second = asyncio.create_task(ask())
        await wait_until_blocked(superuser)
        await update_person(conn, customer_id, one, name=None, role="reader", version=None)
    assert (two,) == await second


# ------------------------------------------------------------------------------------------------ sessions


async def test_a_session_needs_the_password_that_was_checked(database: Database, customer_id: CustomerId) -> None:
    """Who is locked, or whose password is another by now, gets none."""
    user_id = await add(database, customer_id)
    assert not await begin(database, customer_id, user_id, password_hash=NEW_HASH)
    async with database.tenant(customer_id) as conn:
        await mark_user_locked(conn, customer_id, user_id)
    assert not await begin(database, customer_id, user_id)
    async with database.tenant(customer_id) as conn:
        await mark_user_unlocked(conn, customer_id, user_id)
    assert await begin(database, customer_id, user_id)
    async with database.app() as conn:
        assert customer_id == await find_session_customer(conn, TOKEN, environment="live")
        assert await find_session_customer(conn, TOKEN, environment="sandbox") is None
        assert await find_session_customer(conn, bytes(31) + b"x", environment="live") is None


async def test_no_session_survives_a_new_password(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """A sign-in that waits behind a password change is refused, and one that the change waits for is ended by it."""
    user_id = await add(database, customer_id)
    async with database.tenant(customer_id) as conn:
        assert await update_password(conn, customer_id, user_id, old_hash=HASH, new_hash=NEW_HASH)
        late = asyncio.create_task(begin(database, customer_id, user_id))
        await wait_until_blocked(superuser)
    assert not await late

    async def change() -> bool:
        async with database.tenant(customer_id) as conn:
            done = await update_password(conn, customer_id, user_id, old_hash=NEW_HASH, new_hash=HASH)
            await delete_sessions(conn, customer_id, user_id=user_id)
            return done

    async with database.tenant(customer_id) as conn:
        assert await insert_session(
            conn,
            customer_id,
            user_id=user_id,
            password_hash=NEW_HASH,
            token_sha256=TOKEN,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
        )
        changing = asyncio.create_task(change())
        await wait_until_blocked(superuser)
    assert await changing
    assert 0 == await superuser.fetchval("SELECT count(*) FROM sessions")


async def test_of_two_password_changes_one_counts(database: Database, customer_id: CustomerId) -> None:
    """The password that was checked has to be the one that is replaced."""
    user_id = await add(database, customer_id)

    async def change(new_hash: str) -> bool:
        async with database.tenant(customer_id) as conn:
            return await update_password(conn, customer_id, user_id, old_hash=HASH, new_hash=new_hash)

    assert [False, True] == sorted(await asyncio.gather(change(NEW_HASH), change(f"{NEW_HASH}two")))


async def test_expired_sessions_of_the_user_are_forgotten(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """A hundred at a time, live ones and others' stay."""
    one, two = await add(database, customer_id, "one"), await add(database, customer_id, "two")
    await superuser.execute(
        "INSERT INTO sessions (customer_id, token_sha256, user_id, expires_at) SELECT $1, sha256((u || ' ' || n)::bytea), u,"
        " now() + (n - 105) * interval '1 s' FROM generate_series(0, 109) n, unnest($2::bigint[]) AS t (u)",
        customer_id,
        [one, two],
    )
    left = []
    for _ in range(2):
        async with database.tenant(customer_id) as conn:
            await delete_expired_sessions(conn, customer_id, user_id=one)
        left.append(await superuser.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", one))
    assert left[0] == 10
    assert left[1] <= 4
    assert 110 == await superuser.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", two)
