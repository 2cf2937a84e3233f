"""Events that name what is not known: who is asked for it, how long, and who waits meanwhile (nobody)."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.db import inbox
from bankfeed.errors import AggregatorError, LeaseLost
from bankfeed.model import EventType
from tests.db.made import claim_events
from tests.finbank import FinbankProcess
from tests.seed import Tenant, make_tenant
from tests.worker.conftest import Bench
from worker import listings
from worker.inbox import MOST_ENDS, MOST_TRIES, _commit_plain, _hand_over, take_inbox

STRAY = 999_999_999
REFRESHED = EventType.TRANSACTIONS_REFRESHED


@pytest.fixture(autouse=True)
async def calm(finbank: FinbankProcess) -> AsyncIterator[None]:
    """Let the next test begin with a bank that answers."""
    yield
    await finbank.control("POST", "faults", failTimes=0, slow_ms=0)


async def states(bench: Bench) -> list[tuple[str, str]]:
    rows = await bench.superuser.fetch("SELECT state::text, reason FROM inbox ORDER BY id")
    return [tuple(row) for row in rows]


async def linked(bench: Bench) -> int:
    """Link a checking account and load it; return its id at the bank."""
    account_id = (await bench.link("checking")).accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    await bench.superuser.execute("DELETE FROM inbox")
    return account_id


async def fail_listings(bench: Bench, times: int, *, status: int = 503, tenant: Tenant | None = None) -> None:
    """Let Finbank refuse so many listings of accounts; of one client's, where one is given."""
    path = f"customers/{tenant.customer_ref}/accounts" if tenant else "/accounts"
    await bench.finbank.control("POST", "faults", failTimes=times, failStatus=status, failCode=99, failPath=path)


async def make_due(bench: Bench) -> None:
    await bench.superuser.execute("UPDATE inbox SET due_at = now() WHERE state = 'waiting'")


# ------------------------------------------------------------------------------------------------ batches


async def test_a_batch_is_handed_over_at_once(bench: Bench) -> None:
    """Events of known connections share a transaction; each asks for its own refresh, and one refresh serves them all."""
    account_id = await linked(bench)
    before = await bench.one("SELECT requested FROM connections")
    for n in range(3):
        await bench.receive(REFRESHED, account_id, event_id=f"n{n}")
    assert await take_inbox(bench.context)
    assert [("done", "")] * 3 == await states(bench)
    assert 1 == await bench.one("SELECT count(DISTINCT finished_at) FROM inbox")
    assert bench.tenant.customer_id == await bench.one("SELECT min(customer_id) FROM inbox")
    assert before + 3 == await bench.one("SELECT requested FROM connections")
    await bench.work()
    assert 2 == await bench.one("SELECT count(*) FROM pulls")


async def test_an_event_that_breaks_its_batch_stops_no_other(bench: Bench) -> None:
    """Where a batch fails each event is taken by itself: the bad one is counted and waits, the others are done."""
    account_id = await linked(bench)
    await bench.superuser.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
        CREATE TRIGGER refuse BEFORE UPDATE ON inbox FOR EACH ROW
            WHEN (NEW.event_id = 'bad' AND NEW.state = 'done') EXECUTE FUNCTION refuse();
        """
    )
    before = await bench.one("SELECT requested FROM connections")
    for event_id in ("good", "bad", "better"):
        await bench.receive(REFRESHED, account_id, event_id=event_id)
    await take_inbox(bench.context)
    assert ["done", "waiting", "done"] == [state for state, _ in await states(bench)]
    assert 1 == await bench.one("SELECT tries FROM inbox WHERE event_id = 'bad'")
    assert before + 2 == await bench.one("SELECT requested FROM connections")


# ------------------------------------------------------------------------------------------------ nobody waits


async def test_what_is_known_does_not_wait_for_a_listing(bench: Bench) -> None:
    """Behind an event whose id is unknown, the others of the batch are done before the aggregator has answered."""
    account_id = await linked(bench)
    await bench.receive(REFRESHED, STRAY)
    await bench.receive(REFRESHED, account_id)
    await bench.finbank.control("POST", "faults", slow_ms=20_000)
    asking = asyncio.create_task(take_inbox(bench.context))
    async with asyncio.timeout(10):
        while await states(bench) != [("waiting", ""), ("done", "")]:
            await asyncio.sleep(0.01)
    assert not asking.done()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_listings_leave_a_slot_to_what_needs_none(bench: Bench) -> None:
    """While as many listings run as may, what needs one waits without holding a slot, and what needs none is done."""
    account_id = await linked(bench)
    await bench.receive(REFRESHED, STRAY)
    await bench.receive(REFRESHED, account_id)
    slots = bench.context.listings.slots
    async with slots, slots:
        assert await take_inbox(bench.context)
        assert not await take_inbox(bench.context)
        assert [("waiting", ""), ("done", "")] == await states(bench)
    await take_inbox(bench.context)
    assert "set_aside" == (await states(bench))[0][0]


async def test_a_listing_longer_than_the_lease_keeps_its_event(bench: Bench) -> None:
    """The lease is renewed from client to client: nobody else claims the event, and one listing ends it."""
    for _ in range(4):
        await make_tenant(bench.database, bench.sources)
    object.__setattr__(bench.context.settings, "lease_s", 1)
    await bench.finbank.control("POST", "faults", slow_ms=300)
    await bench.receive(REFRESHED, STRAY)
    asking = asyncio.create_task(take_inbox(bench.context))
    async with asyncio.timeout(10):
        while not await bench.one("SELECT needs_listing AND lease_token IS NOT NULL FROM inbox"):
            await asyncio.sleep(0.01)
        while not asking.done():
            assert [] == (await claim_events(bench.database, needs_listing=True))[1]
            await asyncio.sleep(0.05)
    assert [("set_aside", f"unknown at the aggregator: {STRAY}")] == await states(bench)


async def test_a_client_whose_listing_takes_too_long_is_asked_later(bench: Bench) -> None:
    """A listing that does not end within its share of the lease is given up, and the event tried again."""
    object.__setattr__(bench.context.settings, "lease_s", 0.5)
    await bench.finbank.control("POST", "faults", slow_ms=20_000)
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    assert [("waiting", "listing the accounts of a client took over 0.3 s")] == await states(bench)
    assert (0, True) == tuple(await bench.superuser.fetchrow("SELECT tries, due_at > now() FROM inbox"))


# ------------------------------------------------------------------------------------------------ one client of many


async def test_a_client_who_is_gone_hides_nobody(bench: Bench) -> None:
    """A client whom the aggregator no longer has owns none of the ids; the next one is asked."""
    await make_tenant(bench.database, bench.sources)
    account_id = (await bench.link("checking")).accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await take_inbox(bench.context)
    assert [("done", "")] == await states(bench)
    assert bench.tenant.customer_id == await bench.one("SELECT customer_id FROM connections")


@pytest.mark.parametrize("status", [400, 503])
async def test_a_client_who_cannot_be_listed_hides_nobody(bench: Bench, status: int) -> None:
    """An error in one client's listing matters only where the others do not have the ids either."""
    newest = await make_tenant(bench.database, bench.sources)
    account_id = (await bench.link("checking")).accounts["checking"]
    await fail_listings(bench, 2, status=status, tenant=newest)
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await take_inbox(bench.context)
    assert [("done", "")] == await states(bench)
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    assert ("set_aside" if status == 400 else "waiting") == (await states(bench))[1][0]


async def test_refusing_everybody_means_us(bench: Bench) -> None:
    """Where the aggregator answers for no client at all, as with refused credentials, no id counts as looked for."""
    await fail_listings(bench, 1, status=400)
    await bench.receive(EventType.ACCOUNT_ADDED, STRAY)
    await take_inbox(bench.context)
    assert "waiting" == (await states(bench))[0][0]


# ------------------------------------------------------------------------------------------------ tries


async def test_an_outage_is_waited_for(bench: Bench) -> None:
    """However often the aggregator fails to answer, the event waits for it, and is handed over when it does."""
    account_id = (await bench.link("checking")).accounts["checking"]
    await fail_listings(bench, MOST_TRIES + 2)
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    for _ in range(MOST_TRIES + 2):
        await make_due(bench)
        await take_inbox(bench.context)
        assert "waiting" == (await states(bench))[0][0]
    await make_due(bench)
    await take_inbox(bench.context)
    assert [("done", "")] == await states(bench)


@pytest.mark.parametrize(("age", "state"), [("2 days 23 hours", "waiting"), ("3 days", "set_aside")])
async def test_an_outage_is_waited_for_three_days(bench: Bench, age: str, state: str) -> None:
    """An event is tried hourly until three days after it came, and then set aside with what the aggregator said."""
    await fail_listings(bench, 1)
    await bench.receive(EventType.ACCOUNT_ADDED, STRAY)
    await bench.superuser.execute("UPDATE inbox SET received_at = now() - $1::text::interval", age)
    await take_inbox(bench.context)
    [(is_state, reason)] = await states(bench)
    assert state == is_state
    assert "HTTP 503" in reason
    delay_s = await bench.one("SELECT extract(epoch FROM due_at - now())::float8 FROM inbox WHERE state = 'waiting'")
    assert delay_s is None or 3590 < delay_s <= 3600


class _Broken:
    """An aggregator with a bug."""

    async def list_accounts(self, _: str) -> tuple[ListedAccount, ...]:
        raise ValueError("not \x00 storable \ud800")


async def test_what_breaks_is_set_aside_with_any_reason(bench: Bench) -> None:
    """A breakage is tried so many times, whatever letters its text has, and claims before it were no tries."""
    bench.context.connectors["finicity"] = _Broken()  # type: ignore[index]
    await bench.receive(EventType.ACCOUNT_ADDED, STRAY)
    for _ in range(MOST_TRIES + 1):
        await claim_events(bench.database)  # a worker that was killed
        await make_due(bench)
    for tries in range(1, MOST_TRIES + 1):
        await make_due(bench)
        await take_inbox(bench.context)
        assert tries == await bench.one("SELECT tries FROM inbox")
    assert [("set_aside", "ValueError: not   storable  ")] == await states(bench)


async def test_what_ends_its_worker_each_time_is_set_aside(bench: Bench) -> None:
    """An event that so many workers did not survive is set aside with the number, and another one is handed over."""
    await bench.receive(EventType.ACCOUNT_ADDED, STRAY)
    for _ in range(MOST_ENDS):
        await claim_events(bench.database)  # a worker that was killed
        await make_due(bench)
    await bench.receive(REFRESHED)
    while await take_inbox(bench.context):
        pass
    assert [("done", "names nothing"), ("set_aside", f"{MOST_ENDS} workers ended while they held it")] == sorted(
        await states(bench)
    )


# ------------------------------------------------------------------------------------------------ listings that are saved


async def test_an_event_that_names_nothing_is_done(bench: Bench) -> None:
    """It asks for nothing, and the aggregator is not asked either."""
    await fail_listings(bench, 1)
    await bench.receive(REFRESHED)
    await take_inbox(bench.context)
    assert [("done", "names nothing")] == await states(bench)


async def test_a_stray_id_is_looked_for_once_in_a_while(bench: Bench) -> None:
    """Events that repeat an id which a listing did not find are set aside without another; but not an announcement."""
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    await fail_listings(bench, 1)  # whoever lists now will wait
    await bench.receive(REFRESHED, STRAY)
    await bench.receive(EventType.ACCOUNT_ADDED, STRAY)
    await take_inbox(bench.context)
    unknown = f"unknown at the aggregator: {STRAY}"
    found = await states(bench)
    assert [("set_aside", unknown)] * 2 == found[:2]
    assert "waiting" == found[2][0]


async def test_a_miss_is_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some minutes a stray id is looked for again."""
    monkeypatch.setattr(listings, "MISS_S", 0.0)
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    await fail_listings(bench, 1)
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    assert ["set_aside", "waiting"] == [state for state, _ in await states(bench)]


async def test_what_failed_is_no_miss(bench: Bench) -> None:
    """Only a complete listing makes an id one that was looked for in vain."""
    await fail_listings(bench, 1)
    await bench.receive(REFRESHED, STRAY)
    await take_inbox(bench.context)
    account_id = (await bench.link("checking")).accounts["checking"]
    await bench.superuser.execute("UPDATE inbox SET account_refs = ARRAY[$1]", str(account_id))
    await make_due(bench)
    await take_inbox(bench.context)
    assert [("done", "")] == await states(bench)


async def test_an_account_announced_after_a_miss_is_found(bench: Bench) -> None:
    """A miss does not hide what comes a moment later; and what is found is no miss any more."""
    customer_ref = await bench.context.connectors["finicity"].create_customer(f"late-{bench.tenant.customer_ref}")
    account_id = (await bench.finbank.link(customer_ref, "checking")).accounts["checking"]
    await bench.receive(REFRESHED, account_id)
    await take_inbox(bench.context)
    await make_tenant(bench.database, bench.sources, customer_ref=customer_ref)
    for event_type in (EventType.ACCOUNT_ADDED, REFRESHED):
        await bench.receive(event_type, account_id)
        await take_inbox(bench.context)
    assert ["set_aside", "done", "done"] == [state for state, _ in await states(bench)]


async def test_a_connection_that_closes_meanwhile_loses_no_event(bench: Bench) -> None:
    """An event whose connection was open when it was looked up, and is closed when it is asked for, is looked up again."""
    account_id = await linked(bench)
    await bench.receive(REFRESHED, account_id)
    token = uuid4()
    async with bench.database.queue() as conn:
        (event,) = await inbox.claim_inbox(conn, token=token, lease_s=60, limit=1)
        (named,) = await inbox.list_named_connections(conn, [event])
    await bench.superuser.execute("UPDATE connections SET state = 'closed'")
    with pytest.raises(AggregatorError, match="closed"):
        await _hand_over(bench.context, event, token, named=named, missing=frozenset())
    with pytest.raises(LeaseLost, match="closed"):
        await _commit_plain(bench.context, [(event, named)], token)
    assert [("waiting", "")] == await states(bench)
