"""Bank refreshes: one of a kind at a time, claimed by lease, done with the refresh that fetches what the bank said."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import bank_refresh, connection
from bankfeed.db.bank_refresh import BankRefresh, ClaimedRefresh
from bankfeed.errors import RefusedData
from tests.db.made import LEASE_S, OVER_S, Ground, make_connection
from tests.seed import make_tenant

PERSON = "user:1"
DAY = timedelta(days=1)


async def ask(ground: Ground, kind: str = "current", *, by: str = PERSON) -> BankRefresh:
    async with ground.app() as conn:
        return await bank_refresh.insert_bank_refresh(
            conn, ground.tenant.customer_id, ground.connection_id, kind=kind, requested_by=by
        )


async def claim(ground: Ground, lease_s: float = LEASE_S) -> ClaimedRefresh | None:
    async with ground.database.queue() as conn:
        return await bank_refresh.claim_bank_refresh(conn, token=uuid4(), lease_s=lease_s)


async def claimed(ground: Ground, lease_s: float = LEASE_S) -> ClaimedRefresh:
    found = await claim(ground, lease_s)
    assert found is not None
    return found


async def find(ground: Ground, refresh_id: int) -> BankRefresh:
    async with ground.app() as conn:
        found = await bank_refresh.find_bank_refresh(conn, ground.tenant.customer_id, refresh_id)
    assert found is not None
    return found


async def hand_over(ground: Ground, held: ClaimedRefresh) -> int:
    """Note that the bank was asked; return the number of the refresh that fetches what it said."""
    async with ground.app() as conn:
        assert await bank_refresh.mark_running(conn, held) is not None
        refresh_no = await bank_refresh.request_fetch(conn, held)
        assert refresh_no is not None
        assert await bank_refresh.mark_asked(conn, held, refresh_no=refresh_no, status_code=0, limit_s=900)
    return refresh_no


async def handle(ground: Ground) -> tuple[int, ...]:
    """Refresh the connection; return the bank refreshes that are done with it."""
    lease = await ground.claim()
    assert lease is not None
    async with ground.app() as conn:
        return tuple(
            each.id for each in await connection.mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
        )


async def load_history(ground: Ground) -> int:
    """Have the history loaded, to the end; return the bank refresh."""
    asked = await ask(ground, "historic")
    await hand_over(ground, await claimed(ground))
    await handle(ground)
    return asked.id


async def insert_account(ground: Ground, superuser: asyncpg.Connection) -> int:
    account_id: int = await superuser.fetchval(
        """
        INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency,
                              history_from_on)
        SELECT customer_id, client_id, id, source_id, 'a-1', 'Checking', 'checking', 'USD', '2026-01-01' FROM connections
        WHERE id = $1 RETURNING id
        """,
        ground.connection_id,
    )
    return account_id


async def test_one_that_runs_is_not_doubled(ground: Ground) -> None:
    """Asking again while one waits or runs is answered with that one; each kind has its own."""
    first = await ask(ground)
    await claimed(ground)
    assert first.id == (await ask(ground)).id
    assert first.id != (await ask(ground, "historic")).id


async def test_many_clicks_at_once_are_one(ground: Ground) -> None:
    """Whoever asks at the same moment gets the same one."""
    asked = await asyncio.gather(*(ask(ground) for _ in range(8)))
    assert 1 == len({each.id for each in asked})


async def test_a_click_after_the_end_is_a_new_one(ground: Ground) -> None:
    """What has ended does not stand in the way."""
    first = await ask(ground)
    async with ground.app() as conn:
        await bank_refresh.mark_ended(conn, await claimed(ground), state="failed", status_code=103, message="No.")
    ended = await find(ground, first.id)
    assert ("failed", 103, "No.") == (ended.state, ended.status_code, ended.message)
    assert first.id != (await ask(ground)).id


@pytest.mark.parametrize("actor", ["system", "", "schedule"])
async def test_only_a_person_wishes(ground: Ground, actor: str) -> None:
    """The database itself refuses a bank refresh that no person and no key asked for: no schedule can make one."""
    with pytest.raises(RefusedData):
        await ask(ground, by=actor)


async def test_it_is_claimed_once(ground: Ground) -> None:
    """While a lease lasts nobody else gets it, and given back it is due at once."""
    await ask(ground)
    held = await claimed(ground)
    assert await claim(ground) is None
    async with ground.database.queue() as conn:
        await bank_refresh.give_back_bank_refresh(conn, held)
    assert "finicity" == (await claimed(ground)).connector


async def test_a_worker_that_died_is_followed(ground: Ground) -> None:
    """Once a lease is over the next claim has it, and the one before can write nothing any more."""
    asked = await ask(ground)
    lost = await claimed(ground, OVER_S)
    held = await claimed(ground)
    async with ground.app() as conn:
        assert await bank_refresh.mark_running(conn, lost) is None
        assert not await bank_refresh.mark_waiting(conn, lost, delay_s=0, is_asked=True)
        assert not await bank_refresh.mark_asked(conn, lost, refresh_no=1, status_code=0, limit_s=1)
        assert await bank_refresh.mark_ended(conn, lost, state="done") is None
        assert await bank_refresh.mark_running(conn, held) is not None
    assert "running" == (await find(ground, asked.id)).state


async def test_a_lease_is_renewed_by_its_holder(ground: Ground) -> None:
    """A lease that lasts can be made to last longer, one that is over cannot."""
    await ask(ground)
    over = await claimed(ground, OVER_S)
    held = await claimed(ground)
    async with ground.database.queue() as conn:
        assert not await bank_refresh.renew_bank_refresh(conn, over, lease_s=LEASE_S)
        assert await bank_refresh.renew_bank_refresh(conn, held, lease_s=LEASE_S)


async def test_a_try_reads_what_it_needs(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A try counts, and knows the login, the customer there, and the open accounts."""
    await insert_account(ground, superuser)
    await ask(ground)
    held = await claimed(ground)
    async with ground.app() as conn:
        errand = await bank_refresh.mark_running(conn, held)
    assert errand is not None
    assert ("login-1", ground.tenant.customer_ref, ("a-1",)) == (
        errand.login_ref,
        errand.customer_ref,
        errand.account_refs,
    )
    assert (1, False, None, False) == (errand.tries, errand.is_gone, errand.refresh_no, errand.has_arrived)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE connections SET state = 'closed'",
        "UPDATE connections SET deleted_at = now()",
        "UPDATE clients SET deleted_at = now(), erase_at = now()",
    ],
)
async def test_a_try_sees_that_it_is_gone(ground: Ground, superuser: asyncpg.Connection, sql: str) -> None:
    """What was closed or deleted after the click is not asked for."""
    await ask(ground)
    await superuser.execute(sql)
    held = await claimed(ground)
    async with ground.app() as conn:
        errand = await bank_refresh.mark_running(conn, held)
    assert errand is not None
    assert errand.is_gone


async def test_it_is_done_with_the_refresh_that_fetches(ground: Ground) -> None:
    """A refresh that was claimed before the bank answered leaves it running; the one after it ends it, in its own commit."""
    asked = await ask(ground)
    held = await claimed(ground)
    await ground.request()
    before = await ground.claim()
    assert before is not None
    refresh_no = await hand_over(ground, held)
    async with ground.app() as conn:
        assert () == await connection.mark_handled(conn, before, next_update_at=before.claimed_at + DAY)
    assert ("running", refresh_no) == ((await find(ground, asked.id)).state, before.claimed + 1)
    assert (asked.id,) == await handle(ground)
    ended = await find(ground, asked.id)
    assert ("done", 0) == (ended.state, ended.status_code)
    assert ended.finished_at is not None


async def test_a_fetch_ends_a_back_off(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A connection that waits after a failure is refreshed at once when the bank has answered: somebody waits."""
    await ground.request()
    await superuser.execute("UPDATE connections SET due_at = now() + interval '1 hour'")
    await ask(ground)
    await hand_over(ground, await claimed(ground))
    assert await ground.claim() is not None


async def test_a_closed_connection_is_not_fetched(ground: Ground, superuser: asyncpg.Connection) -> None:
    """What is closed gets no refresh more."""
    await ask(ground)
    held = await claimed(ground)
    await superuser.execute("UPDATE connections SET state = 'closed'")
    async with ground.app() as conn:
        assert await bank_refresh.request_fetch(conn, held) is None


async def test_a_loaded_history_is_found(ground: Ground, superuser: asyncpg.Connection) -> None:
    """A history that was loaded with success answers the next wish, until an account comes that it was not loaded for."""
    loaded_id = await load_history(ground)
    async with ground.app() as conn:
        found = await bank_refresh.find_loaded_history(conn, ground.tenant.customer_id, ground.connection_id)
    assert found is not None
    assert loaded_id == found.id
    await insert_account(ground, superuser)
    async with ground.app() as conn:
        assert not await bank_refresh.find_loaded_history(conn, ground.tenant.customer_id, ground.connection_id)


async def test_a_history_with_a_refusal_is_not_loaded(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Where the bank refused a part, the next wish asks again."""
    await load_history(ground)
    await superuser.execute("UPDATE bank_refreshes SET status_code = 185")
    async with ground.app() as conn:
        assert not await bank_refresh.find_loaded_history(conn, ground.tenant.customer_id, ground.connection_id)


async def test_histories_are_asked_for_again(ground: Ground, superuser: asyncpg.Connection) -> None:
    """The accounts named forget how far their history was listed, and no other."""
    await insert_account(ground, superuser)
    await ask(ground, "historic")
    held = await claimed(ground)
    for refs, expected in ((["b-1"], False), (["a-1"], True)):
        async with ground.app() as conn:
            await bank_refresh.clear_histories(conn, held, refs)
        assert expected == await superuser.fetchval("SELECT history_from_on IS NULL FROM accounts")


async def test_a_refresh_is_its_customers(ground: Ground) -> None:
    """Another customer finds nothing under its number."""
    asked = await ask(ground)
    other = await make_tenant(ground.database, ground.sources)
    await make_connection(ground.database, ground.sources, other, login_ref="login-2")
    async with ground.database.tenant(other.customer_id) as conn:
        assert await bank_refresh.find_bank_refresh(conn, other.customer_id, asked.id) is None
