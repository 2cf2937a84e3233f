"""Deleting: closed here at once, deleted at the bank soon, and nothing but adding it brings it back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed import metrics, removal
from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.errors import AggregatorError, NotFound
from bankfeed.model import AccountId, ConnectionId, CustomerId, EventType, Pull
from tests.conftest import Urls
from tests.db.made import wait_until_blocked
from tests.finbank import FinbankProcess, Link
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench
from worker.inbox import take_inbox
from worker.removal import MOST_TRIES, take_removal, wait_s

ADDED, REFRESHED = EventType.ACCOUNT_ADDED, EventType.TRANSACTIONS_REFRESHED


@pytest.fixture(autouse=True)
async def calm(finbank: FinbankProcess) -> AsyncIterator[None]:
    """Let the next test begin with a bank that answers."""
    yield
    await finbank.control("POST", "faults", failTimes=0, slowMs=0)


async def link(bench: Bench, *kinds: str) -> Link:
    """Link accounts and load them."""
    link = await bench.link(*kinds)
    await bench.receive(ADDED, *link.accounts.values())
    await bench.work()
    return link


async def find_id(bench: Bench, account_ref: int) -> AccountId:
    found: AccountId = await bench.one("SELECT id FROM accounts WHERE aggregator_id = $1", str(account_ref))
    return found


async def delete_account(bench: Bench, account_ref: int) -> None:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await removal.delete_sub_account(conn, bench.tenant.customer_id, await find_id(bench, account_ref))


async def delete_login(bench: Bench) -> None:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        connection_id: ConnectionId = await bench.one("SELECT id FROM connections")
        await removal.delete_bank_account(conn, bench.tenant.customer_id, connection_id)


async def delete_client(bench: Bench) -> None:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await removal.delete_client(conn, bench.tenant.customer_id, bench.tenant.client_id, erase_days=30)


async def restore_client(bench: Bench) -> bool:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        return await removal.restore_client(conn, bench.tenant.customer_id, bench.tenant.client_id)


async def remove(bench: Bench) -> None:
    """Do all removals that are due."""
    while await take_removal(bench.context):
        pass


async def removals(bench: Bench) -> list[tuple[str, str]]:
    rows = await bench.superuser.fetch("SELECT kind::text, state::text FROM removals ORDER BY id")
    return [tuple(row) for row in rows]


async def standing(bench: Bench) -> dict[str, tuple[str, bool]]:
    """Return the state of each account, and whether it is deleted, by the aggregator's id."""
    rows = await bench.superuser.fetch(
        "SELECT aggregator_id, state::text, deleted_at IS NOT NULL AS is_deleted FROM accounts WHERE adopted_into IS NULL"
    )
    return {row["aggregator_id"]: (row["state"], row["is_deleted"]) for row in rows}


async def at_bank(bench: Bench) -> list[str]:
    """List the ids of the accounts that the bank has of the client."""
    listed = await bench.context.connectors["finicity"].list_accounts(bench.tenant.customer_ref)
    return sorted(each.account_ref for each in listed)


async def refresh(bench: Bench) -> None:
    """Refresh the connection as a schedule would, once more than was asked for."""
    await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    await bench.work()


def told(subscriber: Subscriber, event_type: EventType) -> list[list[int]]:
    return [each["payload"]["accounts"] for each in subscriber.events if each["eventType"] == event_type]


# ------------------------------------------------------------------------------------------------ deleting


async def test_an_account_is_closed_here_and_gone_there(bench: Bench, subscriber: Subscriber) -> None:
    """It is closed at once and told of, and the worker deletes it at the bank; the others of its login stay at both."""
    made = await link(bench, "checking", "savings")
    checking, savings = (str(made.accounts[kind]) for kind in ("checking", "savings"))
    await delete_account(bench, made.accounts["checking"])
    assert {checking: ("closed", True), savings: ("open", False)} == await standing(bench)
    assert [("account", "waiting")] == await removals(bench)
    assert sorted([checking, savings]) == await at_bank(bench)
    await remove(bench)
    assert [("account", "gone")] == await removals(bench)
    assert [savings] == await at_bank(bench)
    await bench.work()
    assert [[await find_id(bench, int(checking))]] == told(subscriber, EventType.BANK_ACCOUNT_DELETED)
    assert "active" == await bench.one("SELECT state::text FROM connections")


async def test_a_login_goes_with_its_last_account(bench: Bench) -> None:
    """When the last open account is deleted the connection is closed, and the login is deleted at the bank."""
    made = await link(bench, "checking", "savings")
    await delete_account(bench, made.accounts["checking"])
    await delete_account(bench, made.accounts["savings"])
    row = await bench.superuser.fetchrow("SELECT state::text, deleted_at, requested - handled AS due FROM connections")
    assert ("closed", True, 0) == (row["state"], row["deleted_at"] is not None, row["due"])
    assert [("account", "waiting"), ("login", "waiting")] == await removals(bench)
    await remove(bench)
    assert [("account", "gone"), ("login", "gone")] == await removals(bench)
    assert [] == await at_bank(bench)


async def test_a_login_is_deleted_with_all_its_accounts(bench: Bench, subscriber: Subscriber) -> None:
    """One event names all that were open, one removal does it, and a second deletion finds nothing."""
    made = await link(bench)
    ids = sorted([await find_id(bench, ref) for ref in made.accounts.values()])
    await delete_login(bench)
    with pytest.raises(NotFound):
        await delete_login(bench)
    with pytest.raises(NotFound):
        await delete_account(bench, made.accounts["checking"])
    await remove(bench)
    await bench.work()
    assert [("login", "gone")] == await removals(bench)
    assert [] == await at_bank(bench)
    assert [ids] == told(subscriber, EventType.BANK_ACCOUNT_DELETED)


async def test_a_client_is_deleted_with_its_customer_there(bench: Bench, subscriber: Subscriber) -> None:
    """All its logins are closed and told of; the bank's customer goes, and enrols nobody from then on."""
    first, second = await link(bench, "checking"), await link(bench, "savings")
    await delete_client(bench)
    assert {("closed", True)} == set((await standing(bench)).values())
    assert 2 == await bench.one("SELECT count(*) FROM connections WHERE state = 'closed' AND deleted_at IS NOT NULL")
    await remove(bench)
    await bench.work()
    assert [("customer", "gone")] == await removals(bench)
    assert 0 == await bench.one("SELECT count(*) FROM enrolments")
    ids = [await find_id(bench, each) for made in (first, second) for each in made.accounts.values()]
    assert [[each] for each in ids] == told(subscriber, EventType.BANK_ACCOUNT_DELETED)


async def test_nobody_deletes_what_is_another_customers(bench: Bench) -> None:
    """Another customer's ids are not found, and nothing happens to them."""
    made = await link(bench, "checking")
    other = CustomerId(bench.tenant.customer_id + 1)
    account_id = await find_id(bench, made.accounts["checking"])
    connection_id = await bench.one("SELECT id FROM connections")
    for delete in (
        lambda conn: removal.delete_sub_account(conn, other, account_id),
        lambda conn: removal.delete_bank_account(conn, other, connection_id),
        lambda conn: removal.delete_client(conn, other, bench.tenant.client_id, erase_days=0),
        lambda conn: removal.restore_client(conn, other, bench.tenant.client_id),
    ):
        with pytest.raises(NotFound):
            async with bench.database.tenant(other) as conn:
                await delete(conn)
    assert {str(made.accounts["checking"]): ("open", False)} == await standing(bench)


async def test_the_feed_of_changes_tells_of_deleted_rows(bench: Bench) -> None:
    """Each row in view of a deleted account has a new change number, so that the feed tells that it is gone."""
    made = await link(bench, "checking")
    before = await bench.one("SELECT last_change_no FROM change_counters")
    rows = await bench.one("SELECT count(*) FROM transactions WHERE state <> 'removed'")
    await delete_login(bench)
    assert rows == await bench.one("SELECT count(*) FROM transactions WHERE change_no > $1", before)
    assert made.accounts


# ------------------------------------------------------------------------------------------------ at the aggregator


@pytest.mark.parametrize("what", ["accounts", "logins", "customer"])
async def test_what_is_gone_already_counts_as_gone(bench: Bench, what: str) -> None:
    """That the bank says there is no such account, login or customer is what was wanted."""
    made = await link(bench, "checking", "savings")
    connector = bench.context.connectors["finicity"]
    if what == "accounts":
        await connector.delete_account(bench.tenant.customer_ref, str(made.accounts["checking"]))
        await delete_account(bench, made.accounts["checking"])
    elif what == "logins":
        await connector.delete_login(bench.tenant.customer_ref, str(made.login_id))
        await delete_login(bench)
    else:
        await connector.delete_customer(bench.tenant.customer_ref)
        await delete_client(bench)
    await remove(bench)
    assert ["gone"] == [state for _, state in await removals(bench)]


async def test_a_bank_that_is_away_is_asked_again_later(bench: Bench) -> None:
    """A failed try is counted with its reason and waits a minute, then two; the next one that succeeds ends it."""
    made = await link(bench, "checking")
    await delete_login(bench)
    await bench.finbank.control(
        "POST", "faults", failTimes=2, failStatus=503, failCode=99, failPath="institutionLogins"
    )
    for tries, seconds in ((1, 60), (2, 120)):
        assert await take_removal(bench.context)
        assert not await take_removal(bench.context)
        row = await bench.superuser.fetchrow(
            "SELECT state::text, tries, reason, lease_token, extract(epoch FROM due_at - now())::int AS wait_s FROM removals"
        )
        assert ("waiting", tries, None) == (row["state"], row["tries"], row["lease_token"])
        assert seconds - 5 <= row["wait_s"] <= seconds
        assert "503" in row["reason"]
        assert [str(made.accounts["checking"])] == await at_bank(bench)
        await bench.superuser.execute("UPDATE removals SET due_at = now()")
    await remove(bench)
    assert [("login", "gone")] == await removals(bench)
    assert [] == await at_bank(bench)


async def test_the_waits_grow_to_six_hours(bench: Bench) -> None:
    """All tries together last some five days, and none waits longer than six hours."""
    waits = [wait_s(tries) for tries in range(1, MOST_TRIES)]
    assert waits == sorted(waits)
    assert (60, 6 * 3600) == (waits[0], waits[-1])
    assert 5 * 86_400 < sum(waits) < 6 * 86_400


async def test_it_is_never_given_up_in_silence(bench: Bench) -> None:
    """After the last try it is given up with the reason, counted, and not tried again."""
    await link(bench, "checking")
    await delete_login(bench)
    await bench.superuser.execute("UPDATE removals SET tries = $1", MOST_TRIES - 1)
    await bench.finbank.control(
        "POST", "faults", failTimes=1, failStatus=400, failCode=50016, failPath="institutionLogins"
    )
    counted = metrics.REMOVALS.labels("login", "given_up")._value.get()
    assert await take_removal(bench.context)
    assert not await take_removal(bench.context)
    row = await bench.superuser.fetchrow("SELECT state::text, tries, reason, finished_at FROM removals")
    assert ("given_up", MOST_TRIES) == (row["state"], row["tries"])
    assert "50016" in row["reason"]
    assert row["finished_at"] is not None
    assert counted + 1 == metrics.REMOVALS.labels("login", "given_up")._value.get()


async def test_a_worker_that_dies_leaves_it_to_the_next(bench: Bench) -> None:
    """A claim that nobody ended is due again when its lease is over, and is not a try."""
    await link(bench, "checking")
    await delete_login(bench)
    await bench.superuser.execute(
        "UPDATE removals SET lease_token = gen_random_uuid(), lease_until = now() - interval '1 s', due_at = now()"
    )
    await remove(bench)
    row = await bench.superuser.fetchrow("SELECT state::text, tries FROM removals")
    assert ("gone", 1) == tuple(row)


# ------------------------------------------------------------------------------------------------ it stays deleted


async def test_a_listing_does_not_bring_an_account_back(bench: Bench, subscriber: Subscriber) -> None:
    """While the bank lists it still, a refresh of its login passes it over: no pull, no row, no event."""
    made = await link(bench, "checking", "savings")
    await delete_account(bench, made.accounts["checking"])
    pulls = await bench.one("SELECT count(*) FROM pulls")
    await bench.finbank.pass_nights()
    await refresh(bench)
    assert ("closed", True) == (await standing(bench))[str(made.accounts["checking"])]
    assert ("open", False) == (await standing(bench))[str(made.accounts["savings"])]
    assert pulls + 1 == await bench.one("SELECT count(*) FROM pulls")
    assert 2 == len(told(subscriber, ADDED))


@pytest.mark.parametrize("names", ["account", "login"])
async def test_news_of_it_does_not_bring_it_back(bench: Bench, names: str) -> None:
    """Late events that name a deleted account or login are done with, and nothing is asked for."""
    made = await link(bench, "checking")
    await delete_login(bench)
    if names == "account":
        await bench.receive(REFRESHED, made.accounts["checking"], event_id="late")
        await bench.receive(EventType.MFA_UPDATED, made.accounts["checking"], event_id="later")
    else:
        await bench.receive(REFRESHED, event_id="late", login_ref=made.login_id)
    await bench.work()
    assert [("closed", True)] == list((await standing(bench)).values())
    assert 0 == await bench.one("SELECT count(*) FROM inbox WHERE state <> 'done'")
    assert 0 == await bench.one("SELECT requested - handled FROM connections")


async def test_an_older_announcement_does_not_bring_it_back(bench: Bench) -> None:
    """An accountAdded that came before the deletion, and is handed over after it, is older news."""
    made = await link(bench, "checking")
    await bench.receive(ADDED, made.accounts["checking"], event_id="before")
    await delete_login(bench)
    await bench.work()
    assert [("closed", True)] == list((await standing(bench)).values())
    assert 0 == await bench.one("SELECT count(*) FROM inbox WHERE state <> 'done'")


async def test_adding_it_brings_it_back(bench: Bench, subscriber: Subscriber) -> None:
    """An accountAdded after the deletion opens it with its rows, is told of, and takes the removal back."""
    made = await link(bench, "checking")
    before = await bench.visible(made.accounts["checking"])
    await delete_login(bench)
    await bench.receive(ADDED, made.accounts["checking"], event_id="again")
    await bench.work()
    assert {str(made.accounts["checking"]): ("open", False)} == await standing(bench)
    assert before == await bench.visible(made.accounts["checking"])
    assert [("login", "withdrawn")] == await removals(bench)
    assert 2 == len(told(subscriber, ADDED))
    await remove(bench)
    assert [str(made.accounts["checking"])] == await at_bank(bench)


async def test_adding_one_account_leaves_the_others_deleted(bench: Bench) -> None:
    """Of a deleted login the account that is named comes back; the others are deleted at the bank one by one."""
    made = await link(bench, "checking", "savings")
    checking, savings = (str(made.accounts[kind]) for kind in ("checking", "savings"))
    await delete_login(bench)
    await bench.receive(ADDED, checking, event_id="again", login_ref=made.login_id)
    await bench.work()
    assert {checking: ("open", False), savings: ("closed", True)} == await standing(bench)
    assert [("login", "withdrawn"), ("account", "waiting")] == await removals(bench)
    await remove(bench)
    assert [checking] == await at_bank(bench)
    await refresh(bench)
    assert {checking: ("open", False), savings: ("closed", True)} == await standing(bench)


async def test_a_login_that_is_linked_anew_goes_on_with_its_rows(bench: Bench) -> None:
    """Linked again under new ids, the account goes on as it was, with the rows that were there."""
    first = await link(bench, "checking")
    before = await bench.visible(first.accounts["checking"])
    await delete_login(bench)
    await remove(bench)
    second = await link(bench, "checking")
    assert {str(second.accounts["checking"]): ("open", False)} == await standing(bench)
    assert before == await bench.visible(second.accounts["checking"])


class Interrupted(Finicity):
    """The real connector, which lets something happen in the middle of a pull, or of the deletion of a customer."""

    meanwhile: Callable[[], Awaitable[object]] | None = None
    is_deleting = True
    failure: Exception | None = None

    async def delete_customer(self, customer_ref: str) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        if self.is_deleting:
            await super().delete_customer(customer_ref)
        if self.failure is not None:
            raise self.failure

    async def pull(
        self,
        customer_ref: str,
        account: ListedAccount,
        *,
        at: datetime,
        from_on: date,
        to_on: date,
        time_zone: str | None = None,
    ) -> Pull:
        pull = await super().pull(customer_ref, account, at=at, from_on=from_on, to_on=to_on, time_zone=time_zone)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return pull


@pytest.fixture
async def interrupted(bench: Bench) -> AsyncIterator[Interrupted]:
    connector = Interrupted(bench.finbank.config())
    real = bench.context.connectors["finicity"]
    object.__setattr__(bench.context, "connectors", {"finicity": connector})
    yield connector
    await connector.close()
    await real.close()


@pytest.mark.parametrize("kind", ["checking", "savings"])
async def test_a_pull_under_way_does_not_bring_an_account_back(
    bench: Bench, interrupted: Interrupted, kind: str
) -> None:
    """Deleted while it, or the one before it, is pulled: nothing of it is committed, and the refresh is done all the same."""
    made = await link(bench, "checking", "savings")
    await bench.finbank.pass_nights()
    doomed = made.accounts[kind]
    interrupted.meanwhile = lambda: delete_account(bench, doomed)
    pulls = await bench.one("SELECT count(*) FROM pulls")
    await refresh(bench)
    assert interrupted.meanwhile is None
    (other,) = set(made.accounts.values()) - {doomed}
    assert {str(doomed): ("closed", True), str(other): ("open", False)} == await standing(bench)
    assert pulls + 1 == await bench.one("SELECT count(*) FROM pulls")
    assert (0, 0) == tuple(await bench.superuser.fetchrow("SELECT requested - handled, failures FROM connections"))


async def test_a_pull_under_way_does_not_bring_a_login_back(bench: Bench, interrupted: Interrupted) -> None:
    """A refresh whose login is deleted meanwhile has lost its lease: it writes nothing."""
    await link(bench, "checking", "savings")
    await bench.finbank.pass_nights()
    interrupted.meanwhile = lambda: delete_login(bench)
    counts = "SELECT (SELECT count(*) FROM pulls), (SELECT count(*) FROM transactions)"
    before = await bench.superuser.fetchrow(counts)
    await refresh(bench)
    assert interrupted.meanwhile is None
    assert {("closed", True)} == set((await standing(bench)).values())
    assert before == await bench.superuser.fetchrow(counts)
    assert "closed" == await bench.one("SELECT state::text FROM connections")


async def test_a_first_pull_under_way_does_not_bring_a_client_back(bench: Bench, interrupted: Interrupted) -> None:
    """A client that is deleted while its first account is pulled has no account afterwards."""
    made = await bench.link("checking")
    await bench.receive(ADDED, made.accounts["checking"])
    interrupted.meanwhile = lambda: delete_client(bench)
    await bench.work()
    assert interrupted.meanwhile is None
    assert {} == await standing(bench)
    assert ("closed", True) == tuple(
        await bench.superuser.fetchrow("SELECT state::text, deleted_at IS NOT NULL FROM connections")
    )


async def test_an_account_that_moved_to_another_login_stays_deleted(bench: Bench) -> None:
    """Listed under another login of the client, a deleted account is not taken for one of that login's."""
    made = await link(bench, "checking", "savings")
    doomed = str(made.accounts["checking"])
    await delete_account(bench, made.accounts["checking"])
    await bench.superuser.execute(  # as if it had been under a login of its own
        """
        WITH home AS (
            INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id, state, deleted_at)
            SELECT customer_id, client_id, source_id, 'another', 'closed', now() FROM connections RETURNING id
        )
        UPDATE accounts SET connection_id = home.id FROM home WHERE aggregator_id = $1
        """,
        doomed,
    )
    await bench.superuser.execute(
        "UPDATE connections SET requested = requested + 1, due_at = now() WHERE state = 'active'"
    )
    await bench.work()
    assert ("closed", True) == (await standing(bench))[doomed]
    assert 0 == await bench.one("SELECT max(failures) FROM connections")


async def test_nothing_is_looked_for_at_a_deleted_client(bench: Bench) -> None:
    """An accountAdded of a deleted client's bank is set aside: its accounts are not listed, and nothing is made."""
    await link(bench, "checking")
    await delete_client(bench)
    second = await bench.link("savings")
    await bench.receive(ADDED, second.accounts["savings"])
    await take_inbox(bench.context)
    await bench.work()
    assert 1 == await bench.one("SELECT count(*) FROM connections")
    assert "set_aside" == await bench.one("SELECT state::text FROM inbox ORDER BY id DESC LIMIT 1")


# ------------------------------------------------------------------------------------------------ restoring, locking


async def test_a_client_restored_at_once_goes_on(bench: Bench) -> None:
    """Before the bank was asked to delete it, it is not asked any more, and a refresh opens what it still lists."""
    made = await link(bench, "checking")
    before = await bench.visible(made.accounts["checking"])
    await delete_client(bench)
    assert await restore_client(bench)
    assert [("customer", "withdrawn")] == await removals(bench)
    await remove(bench)
    await bench.work()
    assert {str(made.accounts["checking"]): ("open", False)} == await standing(bench)
    assert before == await bench.visible(made.accounts["checking"])


async def test_a_client_is_restored_in_the_order_of_locks(bench: Bench, urls: Urls) -> None:
    """Who waits for its connection holds none of its accounts yet."""
    await link(bench, "checking")
    await delete_client(bench)
    refresher = await asyncpg.connect(urls.superuser)
    async with refresher.transaction():
        await refresher.execute("SELECT FROM connections FOR UPDATE")
        restoring = asyncio.create_task(restore_client(bench))
        await wait_until_blocked(bench.superuser)
        await refresher.execute("SELECT FROM accounts FOR UPDATE NOWAIT")
    assert await restoring
    await refresher.close()


async def test_what_was_deleted_at_the_bank_does_not_come_back(bench: Bench) -> None:
    """A client restored after that has its accounts closed, with their rows; linked again they go on."""
    made = await link(bench, "checking")
    rows = await bench.visible(made.accounts["checking"])
    await delete_client(bench)
    await remove(bench)
    assert not await restore_client(bench)
    await bench.work()
    assert {str(made.accounts["checking"]): ("closed", False)} == await standing(bench)
    assert rows == await bench.visible(made.accounts["checking"])
    assert "closed" == await bench.one("SELECT state::text FROM connections")


@pytest.mark.parametrize("is_deleting", [False, True])
async def test_a_client_restored_while_a_try_fails_goes_on(
    bench: Bench, interrupted: Interrupted, *, is_deleting: bool
) -> None:
    """It is not tried again, and a refresh finds what is left: all of it, or nothing where only the answer was lost."""
    made = await link(bench, "checking")
    rows = await bench.visible(made.accounts["checking"])
    interrupted.meanwhile = lambda: restore_client(bench)
    interrupted.is_deleting, interrupted.failure = is_deleting, AggregatorError("away", is_retryable=True)
    await delete_client(bench)
    await remove(bench)
    assert [("customer", "withdrawn")] == await removals(bench)
    await bench.work()
    state = "closed" if is_deleting else "open"
    assert {str(made.accounts["checking"]): (state, False)} == await standing(bench)
    assert rows == await bench.visible(made.accounts["checking"])


async def test_a_client_restored_while_it_is_deleted_comes_back_closed(bench: Bench, interrupted: Interrupted) -> None:
    """What the bank is told at that moment is done there, and told as done: accounts closed, nothing enrolled, all rows."""
    made = await link(bench, "checking")
    rows = await bench.visible(made.accounts["checking"])
    interrupted.meanwhile = lambda: restore_client(bench)
    await delete_client(bench)
    await remove(bench)
    await bench.work()
    assert [("customer", "gone")] == await removals(bench)
    assert 0 == await bench.one("SELECT count(*) FROM enrolments")
    assert {str(made.accounts["checking"]): ("closed", False)} == await standing(bench)
    assert rows == await bench.visible(made.accounts["checking"])


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_restored_client_is_not_removed_after_a_kill(bench: Bench, *, is_over: bool) -> None:
    """A worker that was killed before it asked leaves its lease; over at the restore or later, the client is kept."""
    made = await link(bench, "checking")
    await delete_client(bench)
    await bench.superuser.execute(
        "UPDATE removals SET lease_token = gen_random_uuid(), lease_until = now() + make_interval(secs => $1)",
        -1 if is_over else 60,
    )
    assert is_over == await restore_client(bench)
    await bench.superuser.execute("UPDATE removals SET due_at = now()")
    await remove(bench)
    assert [("customer", "withdrawn")] == await removals(bench)
    await bench.work()
    assert {str(made.accounts["checking"]): ("open", False)} == await standing(bench)


async def test_what_was_deleted_before_its_client_stays_deleted(bench: Bench) -> None:
    """Restoring a client brings back what went with it, and no account that was deleted by itself before."""
    made = await link(bench, "checking", "savings")
    await delete_account(bench, made.accounts["checking"])
    await delete_client(bench)
    await restore_client(bench)
    await bench.work()
    assert {
        str(made.accounts["checking"]): ("closed", True),
        str(made.accounts["savings"]): ("open", False),
    } == await standing(bench)


async def test_a_locked_client_is_not_refreshed(bench: Bench) -> None:
    """What is due of it waits, whoever asked, and is done once when it is unlocked."""
    made = await link(bench, "checking")
    pulls = await bench.one("SELECT count(*) FROM pulls")
    await bench.superuser.execute("UPDATE clients SET locked_at = now()")
    for number in range(2):
        await bench.receive(REFRESHED, made.accounts["checking"], event_id=f"n{number}")
    await refresh(bench)
    assert pulls == await bench.one("SELECT count(*) FROM pulls")
    assert 3 == await bench.one("SELECT requested - handled FROM connections")
    await bench.superuser.execute("UPDATE clients SET locked_at = NULL")
    await bench.work()
    assert pulls + 1 == await bench.one("SELECT count(*) FROM pulls")
    assert 0 == await bench.one("SELECT requested - handled FROM connections")


async def test_a_locked_client_holds_up_no_other(bench: Bench) -> None:
    """A claim passes over what is due of a locked client, however long it has been due."""
    await link(bench, "checking")
    await bench.superuser.execute("UPDATE clients SET locked_at = now()")
    other: Any = await bench.superuser.fetchrow(
        """
        WITH client AS (
            INSERT INTO clients (customer_id, username, name) VALUES ($1, 'free', 'Free') RETURNING customer_id, id
        )
        INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id, requested)
        SELECT client.customer_id, client.id, $2, 'free', 1 FROM client RETURNING id
        """,
        bench.tenant.customer_id,
        bench.sources.finicity,
    )
    await bench.superuser.execute(
        "UPDATE connections SET requested = handled + 1, due_at = now() - interval '1 day' WHERE id <> $1", other["id"]
    )
    await bench.work()
    assert 1 == await bench.one("SELECT failures FROM connections WHERE id = $1", other["id"])
    assert 1 == await bench.one("SELECT requested - claimed FROM connections WHERE id <> $1", other["id"])
