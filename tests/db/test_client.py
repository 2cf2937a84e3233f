"""Clients and their change counters: change numbers commit in order, without gaps."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from bankfeed.db.client import (
    Enrolment,
    UsernameTaken,
    find_client_by_username,
    insert_client,
    list_enrolments,
    mark_deleted,
    mark_restored,
    take_change_numbers,
    upsert_enrolment,
)
from bankfeed.removal import delete_client, note_enrolment
from tests.db.made import Ground, wait_until_blocked
from tests.db.rows import list_names
from tests.seed import make_tenant


async def take(ground: Ground, count: int) -> int:
    async with ground.app() as conn:
        return await take_change_numbers(conn, ground.tenant.customer_id, ground.tenant.client_id, count=count)


async def test_change_numbers_begin_with_one_and_follow_each_other(ground: Ground) -> None:
    """Each taking returns the first of its numbers."""
    assert [1, 4, 5] == [await take(ground, count) for count in (3, 1, 10)]


async def test_a_second_writer_waits_until_the_first_commits(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Who has seen number n has seen all below it: a later number cannot commit before an earlier one."""
    async with ground.app() as conn:
        assert 1 == await take_change_numbers(conn, ground.tenant.customer_id, ground.tenant.client_id, count=2)
        second = asyncio.create_task(take(ground, 1))
        await wait_until_blocked(superuser)
        assert not second.done()
    assert 3 == await second


async def test_numbers_of_a_rollback_are_given_again(ground: Ground) -> None:
    """What did not commit leaves no gap."""
    with suppress(ZeroDivisionError):
        async with ground.app() as conn:
            await take_change_numbers(conn, ground.tenant.customer_id, ground.tenant.client_id, count=7)
            raise ZeroDivisionError
    assert 1 == await take(ground, 1)


async def test_many_writers_leave_no_gap(ground: Ground) -> None:
    """Writers at once take ranges that touch and do not overlap."""
    counts = [1, 2, 3, 4] * 5
    firsts = await asyncio.gather(*(take(ground, count) for count in counts))
    taken = [first + n for first, count in zip(firsts, counts, strict=True) for n in range(count)]
    assert list(range(1, sum(counts) + 1)) == sorted(taken)


async def test_clients_count_apart(ground: Ground) -> None:
    """One client's writer never waits for another's."""
    async with ground.app() as conn:
        other = await insert_client(conn, ground.tenant.customer_id, username="other", name="Other")
    async with ground.app() as conn:
        await take_change_numbers(conn, ground.tenant.customer_id, ground.tenant.client_id, count=1)
        async with ground.app() as second:
            assert 1 == await take_change_numbers(second, ground.tenant.customer_id, other, count=1)


async def test_a_username_is_one_customers_own(ground: Ground) -> None:
    """Two customers may have clients of the same username; one customer may not."""
    other = await make_tenant(ground.database, ground.sources)
    async with ground.app() as conn:
        client_id = await insert_client(conn, ground.tenant.customer_id, username="same", name="x")
        assert client_id == await find_client_by_username(conn, ground.tenant.customer_id, "same")
    async with ground.database.tenant(other.customer_id) as conn:
        assert await find_client_by_username(conn, other.customer_id, "same") is None
        await insert_client(conn, other.customer_id, username="same", name="x")
    with pytest.raises(UsernameTaken):
        async with ground.app() as conn:
            await insert_client(conn, ground.tenant.customer_id, username="same", name="x")


async def test_an_aggregators_customer_is_one_client(ground: Ground) -> None:
    """Nobody can enrol as an aggregator's customer that is somebody else; one's own may change, and be repeated."""
    other = await make_tenant(ground.database, ground.sources)
    for ref in ("new", "new"):
        async with ground.app() as conn:
            await upsert_enrolment(
                conn,
                ground.tenant.customer_id,
                ground.tenant.client_id,
                source_id=ground.sources.finicity,
                customer_ref=ref,
            )
    with pytest.raises(asyncpg.UniqueViolationError, match="aggregator_customer_is_one_client"):
        async with ground.database.tenant(other.customer_id) as conn:
            await upsert_enrolment(
                conn, other.customer_id, other.client_id, source_id=ground.sources.finicity, customer_ref="new"
            )


async def test_a_client_that_is_deleted_meanwhile_is_not_enrolled(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """Who enrols it waits for whoever deletes it; what was made of it at the aggregator is to be deleted there, once."""
    tenant, source_id = ground.tenant, ground.sources.finicity

    async def note() -> bool:
        async with ground.app() as conn:
            return await note_enrolment(
                conn, tenant.customer_id, tenant.client_id, source_id=source_id, customer_ref="late"
            )

    async with ground.app() as conn:
        await mark_deleted(conn, tenant.customer_id, tenant.client_id, erase_days=1)
        noting = asyncio.create_task(note())
        await wait_until_blocked(superuser)
    assert not await noting
    assert not await note()
    assert [tenant.customer_ref] == await list_names(superuser, "SELECT aggregator_customer_id FROM enrolments")
    assert [("customer", "late", "waiting")] == [
        tuple(row) for row in await superuser.fetch("SELECT kind, aggregator_customer_id, state FROM removals")
    ]


async def test_who_deletes_a_client_that_is_just_enrolled_removes_it(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """The other way round the deletion waits, and finds what was noted."""
    tenant = ground.tenant

    async def delete() -> None:
        async with ground.app() as conn:
            await delete_client(conn, tenant.customer_id, tenant.client_id, erase_days=1)

    async with ground.app() as conn:
        assert await note_enrolment(
            conn, tenant.customer_id, tenant.client_id, source_id=ground.sources.finicity, customer_ref="late"
        )
        deleting = asyncio.create_task(delete())
        await wait_until_blocked(superuser)
    await deleting
    assert ["late"] == await list_names(superuser, "SELECT aggregator_customer_id FROM removals")


async def test_enrolments_are_listed_newest_first(ground: Ground) -> None:
    """All of a source, of one customer, or the one with a ref; bounded."""
    newer = await make_tenant(ground.database, ground.sources)
    source = ground.sources.finicity
    both = [
        Enrolment(customer_id=each.customer_id, client_id=each.client_id, customer_ref=each.customer_ref)
        for each in (newer, ground.tenant)
    ]
    async with ground.database.queue() as conn:
        assert both == list(await list_enrolments(conn, source, customer_id=None, customer_ref=None, limit=9))
        assert both[:1] == list(await list_enrolments(conn, source, customer_id=None, customer_ref=None, limit=1))
        for customer_id, ref in ((ground.tenant.customer_id, None), (None, ground.tenant.customer_ref)):
            found = await list_enrolments(conn, source, customer_id=customer_id, customer_ref=ref, limit=9)
            assert both[1:] == list(found)
        assert () == await list_enrolments(
            conn, source, customer_id=newer.customer_id, customer_ref=ground.tenant.customer_ref, limit=9
        )


async def test_a_deleted_client_is_not_listed(ground: Ground) -> None:
    """Nobody looks for accounts of a client that is deleted; restored it is listed again."""
    source = ground.sources.finicity
    async with ground.app() as conn:
        await mark_deleted(conn, ground.tenant.customer_id, ground.tenant.client_id, erase_days=1)
    async with ground.database.queue() as conn:
        assert () == await list_enrolments(conn, source, customer_id=None, customer_ref=None, limit=9)
    async with ground.app() as conn:
        await mark_restored(conn, ground.tenant.customer_id, ground.tenant.client_id)
    async with ground.database.queue() as conn:
        assert 1 == len(await list_enrolments(conn, source, customer_id=None, customer_ref=None, limit=9))
