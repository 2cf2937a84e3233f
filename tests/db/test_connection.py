"""Connections: requested, claimed, handled. One refresh at a time, and no request lost."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db.connection import (
    Lease,
    claim_connection,
    close_connection_without_accounts,
    count_due_connections,
    get_refresh_target,
    give_back,
    hint_repaired,
    lock_leased,
    mark_failed,
    mark_handled,
    renew_lease,
    request_due_updates,
    request_refreshes,
    update_health,
    upsert_connection,
)
from bankfeed.errors import LeaseLost
from tests.db.made import LEASE_S, OVER_S, Ground, make_connection, wait_until_blocked

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


async def finish(ground: Ground, lease: Lease) -> None:
    async with ground.app() as conn:
        await mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)


async def counters(ground: Ground, superuser: asyncpg.Connection) -> tuple[int, int, int]:
    row = await ground.row(superuser)
    return row["requested"], row["claimed"], row["handled"]


# ------------------------------------------------------------------------------------------------ asking


async def test_nothing_asked_is_nothing_due(ground: Ground) -> None:
    """A new connection waits until somebody asks."""
    assert await ground.claim() is None


async def test_a_request_is_claimed_once(ground: Ground) -> None:
    """What was asked is due at once, is covered by the claim, and is over when it is handled."""
    lease = await ground.lease()
    assert (1, 0, "finicity") == (lease.claimed, lease.failures, lease.connector)
    assert await ground.claim() is None
    await finish(ground, lease)
    assert await ground.claim() is None


async def test_requests_that_wait_coalesce(ground: Ground) -> None:
    """Many requests before a claim are one refresh; all but the first say that they were coalesced."""
    assert [(1, 0), (1, 1), (1, 1)] == [await ground.request() for _ in range(3)]
    lease = await ground.claim()
    assert lease is not None
    assert 3 == lease.claimed
    await finish(ground, lease)
    assert await ground.claim() is None


async def test_requests_during_a_refresh_cause_exactly_one_more(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Not none, and not one for each: what is asked after the claim is handled by the next one."""
    first = await ground.lease()
    assert [(1, 0), (1, 1), (1, 1)] == [await ground.request() for _ in range(3)]
    assert await ground.claim() is None
    await finish(ground, first)
    assert (4, 1, 1) == await counters(ground, superuser)
    second = await ground.claim()
    assert second is not None
    assert second.token != first.token
    await finish(ground, second)
    assert (4, 4, 4) == await counters(ground, superuser)
    assert await ground.claim() is None


async def test_a_request_that_meets_the_end_of_a_refresh_is_not_lost(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """A request that waits for the lock of a finishing refresh causes one more."""
    lease = await ground.lease()
    async with ground.app() as conn:
        await lock_leased(conn, lease)
        asking = asyncio.create_task(ground.request())
        await wait_until_blocked(superuser)
        await mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
    assert (1, 0) == await asking
    assert (2, 1, 1) == await counters(ground, superuser)
    assert await ground.claim() is not None


async def test_two_that_ask_for_the_same_connections_do_not_deadlock(ground: Ground) -> None:
    """Connections are locked in one order, whatever the order they are named in, each counted as often as named."""
    customer_id = ground.tenant.customer_id
    named = [
        (
            customer_id,
            await make_connection(ground.database, ground.sources, ground.tenant, login_ref=f"more-{n}"),
        )
        for n in range(20)
    ]

    async def ask(order: int) -> tuple[int, int]:
        async with ground.database.queue() as conn:
            return await request_refreshes(conn, named[::order] * 2)

    assert {40} == {asked for asked, _ in await asyncio.gather(*(ask(order) for order in (1, -1) * 10))}


async def test_a_closed_connection_is_not_asked(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Nor is one that does not exist, or that is named with another customer's id."""
    async with ground.database.queue() as conn:
        assert (0, 0) == await request_refreshes(conn, [(ground.tenant.customer_id, 10**6)])  # type: ignore[list-item]
        assert (0, 0) == await request_refreshes(conn, [(10**6, ground.connection_id)])  # type: ignore[list-item]
        assert (0, 0) == await request_refreshes(conn, [])
    await superuser.execute("UPDATE connections SET state = 'closed'")
    assert (0, 0) == await ground.request()


# ------------------------------------------------------------------------------------------------ claims and leases


async def test_claims_skip_what_others_hold(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The longest due is claimed first; a claim not committed yet is passed over, not waited for."""
    other = await make_connection(ground.database, ground.sources, ground.tenant, login_ref="other")
    async with ground.database.queue() as conn:
        await request_refreshes(conn, [(ground.tenant.customer_id, id_) for id_ in (ground.connection_id, other)])
    await superuser.execute("UPDATE connections SET due_at = due_at - interval '1 min' WHERE id = $1", other)
    async with ground.database.queue() as conn:
        first = await claim_connection(conn, token=uuid4(), lease_s=LEASE_S)
        second = await ground.claim()
        assert await ground.claim() is None
    assert first is not None
    assert second is not None
    assert [other, ground.connection_id] == [first.connection_id, second.connection_id]


async def test_an_expired_lease_is_due_again_and_its_token_is_worth_nothing(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """A worker that lost its lease can read nothing and change nothing, whatever it tries."""
    old = await ground.lease(OVER_S)
    new = await ground.claim()
    assert new is not None
    before = await ground.row(superuser)
    async with ground.database.queue() as conn:
        assert not await renew_lease(conn, old, lease_s=60)
        await give_back(conn, old)
    for read in (get_refresh_target, lock_leased):
        with pytest.raises(LeaseLost):
            async with ground.app() as conn:
                await read(conn, old)
    async with ground.app() as conn:
        await mark_failed(conn, old, delay_s=0)
        await mark_handled(conn, old, next_update_at=old.claimed_at + DAY)
        await update_health(conn, old, state="needs_person", status_code=103, as_of=old.claimed_at)
    after = await ground.row(superuser)
    ages = ("due_in", "lease_left")
    assert {**before, **dict.fromkeys(ages)} == {**after, **dict.fromkeys(ages)}
    await finish(ground, new)


async def test_a_lease_is_renewed_while_it_lasts(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Renewing counts from now and moves the due time along; a lease that has ended is not renewed."""
    lease = await ground.lease(30)
    async with ground.database.queue() as conn:
        assert await renew_lease(conn, lease, lease_s=120)
    row = await ground.row(superuser)
    assert MINUTE < row["lease_left"] == row["due_in"] <= 2 * MINUTE
    await superuser.execute("UPDATE connections SET lease_until = now() - interval '1 s'")
    async with ground.database.queue() as conn:
        assert not await renew_lease(conn, lease, lease_s=120)


async def test_giving_back_is_no_failure(ground: Ground) -> None:
    """What is given back unfinished is due at once, with no failure counted; giving back again does nothing."""
    lease = await ground.lease()
    for _ in range(2):
        async with ground.database.queue() as conn:
            await give_back(conn, lease)
    again = await ground.claim()
    assert again is not None
    assert (0, 1) == (again.failures, again.claimed)


async def test_a_failure_waits_and_stays_due(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A failed refresh is due again after its delay, sooner by no request; success forgets the failures."""
    lease = await ground.lease()
    async with ground.app() as conn:
        await mark_failed(conn, lease, delay_s=3600)
    assert (1, 1, 0) == await counters(ground, superuser)
    await ground.request()
    assert await ground.claim() is None
    async with ground.database.queue() as conn:
        assert 1 == await count_due_connections(conn)
    await superuser.execute("UPDATE connections SET due_at = now()")
    again = await ground.claim()
    assert again is not None
    assert (1, 2) == (again.failures, again.claimed)
    await finish(ground, again)
    assert 0 == (await ground.row(superuser))["failures"]


async def test_a_commit_that_fails_handles_nothing(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The end of a refresh is in the transaction of its rows: both or neither."""
    lease = await ground.lease()
    with suppress(ZeroDivisionError):
        async with ground.app() as conn:
            await mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
            raise ZeroDivisionError
    assert (1, 1, 0) == await counters(ground, superuser)
    async with ground.app() as conn:
        await lock_leased(conn, lease)


# ------------------------------------------------------------------------------------------------ scheduled updates


async def test_scheduled_updates_are_asked_once(ground: Ground, superuser: asyncpg.Connection) -> None:
    """An update that is due is one request, and the next is its hours away."""
    await finish(ground, await ground.lease())
    await superuser.execute("UPDATE connections SET next_update_at = now()")
    async with ground.database.queue() as conn:
        asked = [await request_due_updates(conn, update_hours=24, limit=10) for _ in range(2)]
    assert [1, 0] == asked
    assert (2, 1, 1) == await counters(ground, superuser)
    assert await ground.claim() is not None


async def test_a_scheduled_update_adds_nothing_to_work_that_is_due(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """Where a refresh waits or runs already the schedule has nothing to ask; a closed connection is not asked."""
    await ground.request()
    await superuser.execute("UPDATE connections SET next_update_at = now()")
    async with ground.database.queue() as conn:
        await request_due_updates(conn, update_hours=24, limit=10)
    assert (1, 0, 0) == await counters(ground, superuser)
    await superuser.execute("UPDATE connections SET next_update_at = now(), state = 'closed'")
    async with ground.database.queue() as conn:
        assert 0 == await request_due_updates(conn, update_hours=24, limit=10)


async def test_replicas_share_scheduled_updates(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Two that look at once ask for each connection once, and for no more than their limit."""
    for n in range(5):
        await make_connection(ground.database, ground.sources, ground.tenant, login_ref=f"more-{n}")
    await superuser.execute("UPDATE connections SET next_update_at = now()")
    async with ground.database.queue() as one, ground.database.queue() as other:
        asked = [await request_due_updates(conn, update_hours=24, limit=4) for conn in (one, other)]
    assert [4, 2] == asked
    assert 6 == await superuser.fetchval("SELECT sum(requested) FROM connections")


# ------------------------------------------------------------------------------------------------ health and hints


async def test_status_since_moves_with_the_status_only(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The same state and code again keep their time."""
    lease = await ground.lease()
    times = []
    for state, code in (("waiting", 102), ("waiting", 102), ("waiting", 104), ("active", 0)):
        async with ground.app() as conn:
            await update_health(conn, lease, state=state, status_code=code, as_of=lease.claimed_at)
        times.append((await ground.row(superuser))["status_since"])
    assert times[0] == times[1] < times[2] < times[3]


async def hint(ground: Ground) -> None:
    named = [(ground.tenant.customer_id, ground.connection_id)]
    async with ground.database.queue() as conn:
        await request_refreshes(conn, named)
        await hint_repaired(conn, named)


async def is_hinted(ground: Ground, lease: Lease) -> bool:
    async with ground.app() as conn:
        return (await get_refresh_target(conn, lease)).is_repair_hinted


@pytest.mark.parametrize(("state", "kept"), [("active", 0), ("needs_person", 1)])
async def test_a_hint_stays_until_the_login_works(
    ground: Ground, superuser: asyncpg.Connection, state: str, kept: int
) -> None:
    """A hint of a repair is forgotten by the first success after it, and by nothing else."""
    await hint(ground)
    lease = await ground.claim()
    assert lease is not None
    async with ground.app() as conn:
        target = await get_refresh_target(conn, lease)
        assert target.is_repair_hinted
        await update_health(conn, lease, state=state, status_code=0, as_of=target.started_at)
    assert kept == await superuser.fetchval("SELECT count(repair_hinted_at) FROM connections")


async def test_a_hint_that_a_refresh_did_not_see_is_not_forgotten_by_it(
    ground: Ground, superuser: asyncpg.Connection
) -> None:
    """The hint's transaction began before the refresh read its connection, and wrote after: the next refresh sees it."""
    lease = await ground.lease()
    named = [(ground.tenant.customer_id, ground.connection_id)]
    async with ground.database.queue() as early:
        await early.execute("SELECT 1")
        async with ground.app() as conn:
            target = await get_refresh_target(conn, lease)
        assert not target.is_repair_hinted
        await request_refreshes(early, named)
        await hint_repaired(early, named)
    async with ground.app() as conn:
        await lock_leased(conn, lease)
        await update_health(conn, lease, state="active", status_code=0, as_of=target.started_at)
        await mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
    again = await ground.claim()
    assert again is not None
    assert await is_hinted(ground, again)


async def test_a_refresh_waits_for_a_hint_that_is_being_written(ground: Ground, superuser: asyncpg.Connection) -> None:
    """What was hinted before a refresh read its connection is seen by it."""
    lease = await ground.lease()
    named = [(ground.tenant.customer_id, ground.connection_id)]
    async with ground.database.queue() as conn:
        await request_refreshes(conn, named)
        await hint_repaired(conn, named)
        reading = asyncio.create_task(is_hinted(ground, lease))
        await wait_until_blocked(superuser)
    assert await reading


# ------------------------------------------------------------------------------------------------ opening and closing


async def test_a_login_is_one_connection(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Linking again is the same connection; a closed one opens, and any other state stays."""
    for state, expected in (("closed", "active"), ("needs_person", "needs_person")):
        await superuser.execute("UPDATE connections SET state = $1", state)
        async with ground.app() as conn:
            assert ground.connection_id == await upsert_connection(
                conn,
                ground.tenant.customer_id,
                ground.tenant.client_id,
                source_id=ground.sources.finicity,
                login_ref="login-1",
            )
            assert expected == await conn.fetchval(
                "SELECT state::text FROM connections WHERE id = $1", ground.connection_id
            )


async def test_a_connection_closes_with_its_last_account(ground: Ground, superuser: asyncpg.Connection) -> None:
    """One that never had an account stays, as does one with an open account; closing again is no news."""
    lease = await ground.lease()

    async def close() -> bool:
        async with ground.app() as conn:
            return await close_connection_without_accounts(conn, lease)

    assert not await close()
    await superuser.execute(
        "INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency)"
        " SELECT customer_id, client_id, id, source_id, n::text, '', '', 'USD' FROM connections, generate_series(1, 2) n"
    )
    closed = "UPDATE accounts SET state = 'closed', closed_at = now() WHERE aggregator_id = $1"
    await superuser.execute(closed, "1")
    assert not await close()
    await superuser.execute(closed, "2")
    assert [True, False] == [await close(), await close()]
