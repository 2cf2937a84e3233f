"""From an event in the inbox to reconciled rows and a delivered webhook, step by step."""

from collections import Counter
from decimal import Decimal

from bankfeed.model import EventType
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench


async def listed(bench: Bench, account_id: int) -> Counter[tuple[str, Decimal]]:
    truth = await bench.finbank.truth(account_id)
    return Counter((row["status"], Decimal(row["amount"])) for row in truth["rows"])


async def held(bench: Bench, account_id: int) -> Counter[tuple[str, Decimal]]:
    return Counter((state, Decimal(amount)) for state, amount, _ in await bench.visible(account_id))


async def test_account_added_loads_accounts_and_history(bench: Bench, subscriber: Subscriber) -> None:
    """An accountAdded for unknown accounts finds their login, and loads every account with its history."""
    link = await bench.link()
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values(), event_id="e1")
    await bench.work()
    assert 3 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    for account_id in link.accounts.values():
        assert await listed(bench, account_id) == await held(bench, account_id)
    assert "done" == await bench.one("SELECT state::text FROM inbox")
    assert Counter({"accountAdded": 3, "transactionsRefreshed": 3}) == Counter(
        e["eventType"] for e in subscriber.events
    )
    assert 0 == await bench.one("SELECT count(*) FROM delivery_queue")


async def test_nights_keep_rows_equal_to_the_bank(bench: Bench, subscriber: Subscriber) -> None:
    """Pendings post, change their amounts and go, rows are withdrawn and come back: what is shown is what is listed."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    states: set[str] = set()
    for _ in range(6):
        await bench.finbank.pass_nights()
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
        await bench.work()
        assert await listed(bench, account_id) == await held(bench, account_id)
        states |= {row["state"] for row in await bench.rows(account_id)}
    assert {"pending", "active", "shadow", "removed"} <= states


async def test_an_unknown_account_is_set_aside(bench: Bench) -> None:
    """An id that the aggregator does not list either is set aside with its reason, and asks for no refresh."""
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, 1542, 1367)
    await bench.work()
    row = await bench.superuser.fetchrow("SELECT state::text, reason FROM inbox")
    assert ("set_aside", "unknown at the aggregator: 1367, 1542") == tuple(row)


async def test_a_deletion_is_believed_when_the_aggregator_agrees(bench: Bench, subscriber: Subscriber) -> None:
    """bankAccountDeleted closes only the accounts that the aggregator no longer has, and the connection with the last."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["savings"])
    await bench.work()
    assert 2 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['savings']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, *link.accounts.values())
    await bench.work()
    assert ["checking"] == await bench.one("SELECT array_agg(type) FROM accounts WHERE state = 'open'")
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['checking']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["checking"])
    await bench.work()
    assert "closed" == await bench.one("SELECT state::text FROM connections")
    assert 0 < await bench.one("SELECT count(*) FROM transactions")
    assert 2 == [event["eventType"] for event in subscriber.events].count("bankAccountDeleted")


async def test_a_deleted_login_closes_with_all_its_accounts(bench: Bench) -> None:
    """A deletion that names only the login is about all of its accounts; still only the aggregator's word closes them."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, login_ref=link.login_id)
    await bench.work()
    assert 2 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    for account_id in link.accounts.values():
        await bench.finbank.control("DELETE", f"accounts/{account_id}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, login_ref=link.login_id)
    await bench.work()
    assert 0 == await bench.one("SELECT count(*) FROM accounts WHERE state = 'open'")
    assert "closed" == await bench.one("SELECT state::text FROM connections")


async def test_a_broken_login_needs_a_person_until_a_pull_succeeds(bench: Bench, subscriber: Subscriber) -> None:
    """A code for the account holder sets needs_person; only a successful pull clears it, and then subscribers hear of it."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    before = await bench.visible(account_id)
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=103)
    await bench.finbank.pass_nights()
    await bench.receive(EventType.MFA_UPDATED, account_id)
    await bench.work()
    assert "needs_person" == await bench.one("SELECT state::text FROM connections")
    assert before == await bench.visible(account_id)
    await bench.finbank.control("POST", f"logins/{link.login_id}/fix")
    await bench.receive(EventType.MFA_UPDATED, account_id)
    await bench.work()
    assert "active" == await bench.one("SELECT state::text FROM connections")
    assert 1 == [event["eventType"] for event in subscriber.events].count("mfaUpdated")


async def test_a_failed_page_removes_nothing_and_is_tried_again(bench: Bench) -> None:
    """A listing that breaks off is recorded as failed, changes no row, and leaves the refresh due."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    before = await bench.rows(account_id)
    await bench.finbank.control("POST", "faults", failTimes=1, failStatus=500, failCode=325, failPath="transactions")
    await bench.finbank.pass_nights(2)
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    assert before == await bench.rows(account_id)
    assert "failed" == await bench.one("SELECT outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    assert 1 == await bench.one("SELECT requested - handled FROM connections")
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.work()
    assert await listed(bench, account_id) == await held(bench, account_id)
    assert 0 == await bench.one("SELECT requested - handled FROM connections")


async def test_a_ledger_entry_follows_its_movement(bench: Bench) -> None:
    """Entries made from pending rows stand on the posted rows: same id, new id with a tip, listed beside, another text."""
    link = await bench.link("checking")
    account_id = link.accounts["checking"]
    await bench.receive(EventType.ACCOUNT_ADDED, account_id)
    await bench.work()
    booked = {
        "JUNIPER MARKET": Decimal("-63.17"),
        "TRATTORIA LUNA": Decimal("-42.00"),
        "PRAIRIE FUEL": Decimal("-1.00"),
        "MARGIN NOTES BOOKS": Decimal("-23.80"),
        "CITY HARDWARE": Decimal("-88.25"),
    }
    await bench.superuser.execute(
        """
        INSERT INTO ledger_entries (customer_id, client_id, transaction_id, reference, entered_on)
        SELECT customer_id, client_id, id, description, transacted_on FROM transactions
        WHERE state = 'pending' AND (description, amount) IN (SELECT * FROM unnest($1::text[], $2::numeric[]))
        """,
        list(booked),
        list(booked.values()),
    )
    for _ in range(3):
        await bench.finbank.pass_nights()
        await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
        await bench.work()
    rows = await bench.superuser.fetch(
        """
        SELECT e.reference, t.state::text, t.amount::text FROM ledger_entries e
        JOIN transactions t ON (t.customer_id, t.id) = (e.customer_id, e.transaction_id) ORDER BY e.reference
        """
    )
    assert [
        ("CITY HARDWARE", "active", "-88.25"),
        ("JUNIPER MARKET", "active", "-63.17"),
        ("MARGIN NOTES BOOKS", "active", "-23.80"),
        ("PRAIRIE FUEL", "active", "-47.13"),
        ("TRATTORIA LUNA", "active", "-50.40"),
    ] == [tuple(row) for row in rows]
