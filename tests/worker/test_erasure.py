"""The sweep that erases: a client that was linked, acted on and told of is gone with all of it, and no other is."""

import asyncio
from uuid import uuid4

from bankfeed import acts, cases, metrics, removal
from bankfeed.cases import CaseRequest
from bankfeed.db.client import insert_client, upsert_enrolment
from bankfeed.db.mail import NewMail, insert_mails
from bankfeed.model import ClientId, EventType, TransactionId
from tests.subscriber import Subscriber
from tests.worker.conftest import Bench
from worker.erasure import erase_clients
from worker.removal import take_removal

COUNTS = """
SELECT (SELECT count(*) FROM accounts WHERE client_id = $1) + (SELECT count(*) FROM transactions WHERE client_id = $1)
     + (SELECT count(*) FROM connections WHERE client_id = $1) + (SELECT count(*) FROM events WHERE client_id = $1)
     + (SELECT count(*) FROM ledger_entries WHERE client_id = $1) + (SELECT count(*) FROM enrolments WHERE client_id = $1)
     + (SELECT count(*) FROM support_cases WHERE client_id = $1) + (SELECT count(*) FROM mails WHERE client_id = $1)
"""


async def link(bench: Bench, customer_ref: str) -> dict[str, int]:
    """Link accounts for a customer of the bank and load them; return their ids there."""
    made = await bench.finbank.link(customer_ref, "checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *made.accounts.values())
    await bench.work()
    return made.accounts


async def make_second(bench: Bench) -> tuple[int, str]:
    """Make another client of the same customer, enrolled at the bank."""
    ref = await bench.context.connectors["finicity"].create_customer(f"client-{uuid4().hex[:12]}")
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        client_id = await insert_client(conn, bench.tenant.customer_id, username="second", name="Second")
        await upsert_enrolment(
            conn, bench.tenant.customer_id, client_id, source_id=bench.sources.finicity, customer_ref=ref
        )
    return client_id, ref


async def open_case(bench: Bench, client_id: int) -> None:
    """Open a support case about a client's login; it begins with two things to be done."""
    connection_id = await bench.one("SELECT id FROM connections WHERE client_id = $1", client_id)
    wanted = CaseRequest(connection_id=connection_id, telephone="+1 555 0100", opened_by="user:1")
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await cases.open_case(conn, bench.context.settings, bench.tenant.customer_id, wanted)


async def write_to(bench: Bench, client_id: int) -> None:
    """Queue a letter to a client."""
    letter = NewMail(recipient="ann@client.example", subject="s", body="b", client_id=ClientId(client_id))
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await insert_mails(conn, bench.tenant.customer_id, [letter])


async def delete(bench: Bench, *, erase_days: int) -> None:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await removal.delete_client(conn, bench.tenant.customer_id, bench.tenant.client_id, erase_days=erase_days)


async def test_a_client_is_erased_when_its_time_has_come(bench: Bench, subscriber: Subscriber) -> None:
    """All of it goes, in batches; a second client of the customer keeps every row, and what came about it its body."""
    second_id, second_ref = await make_second(bench)
    await link(bench, second_ref)
    accounts = await link(bench, bench.tenant.customer_ref)
    row = next(each for each in await bench.rows(accounts["checking"]) if each["state"] == "active")
    await acts.link(bench.database, bench.tenant.customer_id, TransactionId(row["id"]), "L1", actor="user:1")
    for client_id in (second_id, bench.tenant.client_id):
        await open_case(bench, client_id)
        await write_to(bench, client_id)
    kept = await bench.one(COUNTS, second_id)
    bodies = await bench.one("SELECT count(*) FROM inbox WHERE body <> ''")
    await delete(bench, erase_days=30)
    await bench.work()
    assert subscriber.events
    assert 0 == await erase_clients(bench.database)
    assert 0 < await bench.one(COUNTS, bench.tenant.client_id)
    await bench.superuser.execute("UPDATE clients SET erase_at = now() WHERE erase_at IS NOT NULL")
    counted = metrics.ERASED_ROWS._value.get()
    assert 1 == await erase_clients(bench.database, batch_rows=7, batch_events=1)
    assert 0 == await bench.one(COUNTS, bench.tenant.client_id)
    assert kept == await bench.one(COUNTS, second_id)
    assert counted < metrics.ERASED_ROWS._value.get()
    assert bodies - 1 == await bench.one("SELECT count(*) FROM inbox WHERE body <> ''")
    assert 2 == await bench.one("SELECT count(*) FROM case_actions")
    for table in ("acts", "pulls", "transaction_aliases"):
        assert 0 == await bench.one(
            f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.id = t.account_id)"  # noqa: S608
        )
    assert 0 == await bench.one(
        "SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT FROM events e WHERE e.id = d.outbox_id)"
    )
    assert 0 == await erase_clients(bench.database)


async def test_what_the_aggregator_was_not_told_is_told_after_it(bench: Bench) -> None:
    """A removal that waits outlives its client's rows: it holds all that the aggregator has to be told."""
    await link(bench, bench.tenant.customer_ref)
    await delete(bench, erase_days=0)
    assert 1 == await erase_clients(bench.database)
    assert await take_removal(bench.context)
    assert "gone" == await bench.one("SELECT state::text FROM removals")


async def test_two_workers_may_erase_at_once(bench: Bench) -> None:
    """They come to the same end, one batch after the other."""
    await link(bench, bench.tenant.customer_ref)
    await delete(bench, erase_days=0)
    await asyncio.gather(*(erase_clients(bench.database, batch_rows=5) for _ in range(2)))
    assert 0 == await bench.one(COUNTS, bench.tenant.client_id)
    assert 1 == await bench.one("SELECT count(*) FROM clients WHERE erased_at IS NOT NULL")


async def test_it_goes_on_after_a_stop(bench: Bench) -> None:
    """Stopped in the middle, as by a kill, it begins again and ends."""
    await link(bench, bench.tenant.customer_ref)
    await delete(bench, erase_days=0)
    erasing = asyncio.create_task(erase_clients(bench.database, batch_rows=1))
    while await bench.one("SELECT count(*) FROM events"):
        await asyncio.sleep(0)
    erasing.cancel()
    await asyncio.gather(erasing, return_exceptions=True)
    assert 0 < await bench.one(COUNTS, bench.tenant.client_id)
    await erase_clients(bench.database)
    assert 0 == await bench.one(COUNTS, bench.tenant.client_id)
