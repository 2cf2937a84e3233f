"""One refresh at a time per connection, and no update lost."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from bankfeed.db import connection
from bankfeed.db.connection import Lease
from bankfeed.errors import LeaseLost
from bankfeed.model import EventType
from tests.worker.conftest import Bench
from worker.inbox import take_inbox
from worker.lease import kept
from worker.refresh import take_refresh

DAY = timedelta(days=1)


async def linked(bench: Bench) -> int:
    """Link a checking account and load it; return its id at the bank."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    return link.accounts["checking"]


async def claim(bench: Bench) -> Lease:
    async with bench.database.queue() as conn:
        lease = await connection.claim_connection(conn, token=uuid4(), lease_s=60)
    assert lease is not None
    return lease


async def steal(bench: Bench) -> Lease:
    """Claim a connection that is held; its holder may renew the lease in between, so this tries until it wins."""
    while True:
        await bench.superuser.execute("UPDATE connections SET due_at = now()")
        async with bench.database.queue() as conn:
            lease = await connection.claim_connection(conn, token=uuid4(), lease_s=60)
        if lease is not None:
            return lease


async def counters(bench: Bench) -> tuple[int, int, int]:
    row = await bench.superuser.fetchrow("SELECT requested, claimed, handled FROM connections")
    return row["requested"], row["claimed"], row["handled"]


async def test_events_during_a_refresh_cause_exactly_one_more(bench: Bench) -> None:
    """What arrives while a connection is claimed is served by one more refresh: not none, and not one for each."""
    account_id = await linked(bench)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    lease = await claim(bench)
    for _ in range(5):
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    assert not await take_refresh(bench.context)
    async with bench.database.tenant(lease.customer_id) as conn:
        await connection.mark_handled(conn, lease, next_update_at=lease.claimed_at + DAY)
    assert (7, 2, 2) == await counters(bench)
    pulls = await bench.one("SELECT count(*) FROM pulls")
    assert await take_refresh(bench.context)
    assert not await take_refresh(bench.context)
    assert (7, 7, 7) == await counters(bench)
    assert pulls + 1 == await bench.one("SELECT count(*) FROM pulls")


async def test_two_workers_on_one_account_end_as_one_after_the_other(bench: Bench) -> None:
    """Two workers that look for work at once do not both refresh the connection."""
    account_id = await linked(bench)
    await bench.finbank.pass_nights()
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    assert [False, True] == sorted(await asyncio.gather(take_refresh(bench.context), take_refresh(bench.context)))
    assert (2, 2, 2) == await counters(bench)


async def test_a_commit_under_a_lost_lease_writes_nothing(bench: Bench) -> None:
    """A worker whose lease another one took over cannot commit, whatever it pulled."""
    account_id = await linked(bench)
    await bench.finbank.pass_nights()
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    before = await bench.rows(account_id)
    await bench.finbank.control("POST", "faults", slow_ms=300)
    refreshing = asyncio.create_task(take_refresh(bench.context))
    while not await bench.one("SELECT lease_token IS NOT NULL FROM connections"):
        await asyncio.sleep(0.01)
    thief = await steal(bench)
    await refreshing
    await bench.finbank.control("POST", "faults", slow_ms=0)
    assert before == await bench.rows(account_id)
    async with bench.database.queue() as conn:
        await connection.give_back(conn, thief)
    await bench.work()
    assert before != await bench.rows(account_id)


async def test_a_lease_that_cannot_be_renewed_stops_the_work(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat finds the lease gone, and the body is cancelled before somebody else's commit."""
    account_id = await linked(bench)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    lease = await claim(bench)
    await bench.superuser.execute("UPDATE connections SET lease_token = gen_random_uuid()")
    object.__setattr__(bench.context.settings, "lease_s", 0.3)
    with pytest.raises(LeaseLost):
        async with kept(bench.context, lease):
            await asyncio.Event().wait()


async def test_a_shutdown_gives_the_lease_back(bench: Bench) -> None:
    """A cancelled refresh is due again at once, and is no failure."""
    account_id = await linked(bench)
    await bench.finbank.control("POST", "faults", slow_ms=2000)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await take_inbox(bench.context)
    refreshing = asyncio.create_task(take_refresh(bench.context))
    while not await bench.one("SELECT lease_token IS NOT NULL FROM connections"):
        await asyncio.sleep(0.01)
    refreshing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await refreshing
    await bench.finbank.control("POST", "faults", slow_ms=0)
    assert (True, 0) == tuple(
        await bench.superuser.fetchrow("SELECT lease_token IS NULL AND due_at <= now(), failures FROM connections")
    )
    await bench.work()
    assert (2, 2, 2) == await counters(bench)


async def test_the_same_list_again_writes_no_row(bench: Bench) -> None:
    """A refresh that finds nothing new changes no transaction, takes no change number, and tells nobody."""
    account_id = await linked(bench)
    before = await bench.rows(account_id)
    number = await bench.one("SELECT last_change_no FROM change_counters")
    events = await bench.one("SELECT count(*) FROM events")
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    assert before == await bench.rows(account_id)
    assert (number, events) == (
        await bench.one("SELECT last_change_no FROM change_counters"),
        await bench.one("SELECT count(*) FROM events"),
    )


async def test_an_aggregator_that_is_away_is_asked_later(bench: Bench) -> None:
    """A refresh that fails stays due after a growing delay; the rows stay as they are."""
    account_id = await linked(bench)
    await bench.finbank.control(
        "POST", "faults", failTimes=2, failStatus=503, failCode=325, failPath="institutionLogins"
    )
    for failures, delay_s in ((1, 15), (2, 30)):
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
        await bench.superuser.execute("UPDATE connections SET due_at = now()")
        await take_inbox(bench.context)
        await take_refresh(bench.context)
        row = await bench.superuser.fetchrow(
            "SELECT failures, extract(epoch FROM due_at - now())::float8 AS delay_s FROM connections"
        )
        assert failures == row["failures"]
        assert delay_s - 5 < row["delay_s"] <= delay_s
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.work()
    assert 0 == await bench.one("SELECT failures FROM connections")


async def test_an_event_reaches_only_its_own_sources_connections(bench: Bench) -> None:
    """Ids are resolved within the source they came through; a customer's own source never names another's account."""
    account_id = await linked(bench)
    other = await bench.one(
        "INSERT INTO sources (customer_id, slug, connector, dialect, verifier) "
        "SELECT id, 'own', 'finicity', 'ledgersync', 'path' FROM customers RETURNING id"
    )
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.superuser.execute("UPDATE inbox SET source_id = $1 WHERE state = 'waiting'", other)
    await take_inbox(bench.context)
    assert (1, 1, 1) == await counters(bench)
    assert "set_aside" == await bench.one("SELECT state::text FROM inbox ORDER BY id DESC LIMIT 1")


async def test_a_poison_event_is_set_aside_and_blocks_nobody(bench: Bench) -> None:
    """An event that breaks its handling is tried a bounded number of times, then kept with the reason; others pass."""
    account_id = await linked(bench)
    await bench.superuser.execute(
        "INSERT INTO sources (slug, connector, dialect, verifier) VALUES ('odd', 'nobody', 'ledgersync', 'path')"
    )
    await bench.superuser.execute(
        """
        INSERT INTO inbox (source_id, name, event_type, account_refs, body, tries)
        SELECT id, 'accountAdded', 'accountAdded', '{1}', '', 7 FROM sources WHERE slug = 'odd'
        """
    )
    await bench.superuser.execute(
        "INSERT INTO enrolments (customer_id, client_id, source_id, aggregator_customer_id) "
        "SELECT $1, $2, id, 'x' FROM sources WHERE slug = 'odd'",
        bench.tenant.customer_id,
        bench.tenant.client_id,
    )
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    assert (2, 2, 2) == await counters(bench)
    row = await bench.superuser.fetchrow("SELECT state::text, reason FROM inbox WHERE tries = 8")
    assert ("set_aside", "KeyError: 'nobody'") == tuple(row)


async def test_a_login_that_is_broken_from_the_start_stays_open(bench: Bench) -> None:
    """A connection whose accounts are listed and cannot be pulled yet is no connection without accounts: it waits."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=103)
    await bench.finbank.control("POST", "aggregate", loginId=link.login_id)
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    for requested in (2, 3):
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id, login_ref=link.login_id)
        await bench.work()
        assert (requested,) * 3 == await counters(bench)
        assert "needs_person" == await bench.one("SELECT state::text FROM connections")
