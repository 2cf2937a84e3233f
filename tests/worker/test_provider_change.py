"""Another aggregator for the same bank: what is linked anew through it goes on as what was linked before (rule 11)."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import orjson
import pytest

from bankfeed import acts, institutions_command
from bankfeed.db.arrival import Incoming, insert_inbox
from bankfeed.db.client import upsert_enrolment
from bankfeed.db.source import upsert_platform_source
from bankfeed.model import EventType, SourceId, TransactionId
from tests.finbank import FINBANK_ID, Link
from tests.worker.conftest import Bench


@pytest.fixture
async def second(bench: Bench, owner: asyncpg.Connection) -> AsyncIterator[tuple[Bench, SourceId]]:
    """The worker with a second aggregator, another way to the same bank, and the source of its events."""
    connector = bench.finbank.connector()
    source_id = await upsert_platform_source(
        owner, slug="second", connector="second", dialect="ledgersync", verifier="path", secrets=["x" * 16]
    )
    tenant = bench.tenant
    async with bench.database.tenant(tenant.customer_id) as conn:
        await upsert_enrolment(
            conn, tenant.customer_id, tenant.client_id, source_id=source_id, customer_ref=tenant.customer_ref
        )
    connectors = {**bench.context.connectors, "second": connector}
    yield replace(bench, context=replace(bench.context, connectors=connectors)), source_id
    await connector.close()


async def link_at(bench: Bench, source_id: SourceId) -> Link:
    """Link the checking account, announced through a source, and load it."""
    link = await bench.link("checking")
    refs = (str(link.accounts["checking"]),)
    incoming = Incoming(
        source_id=source_id,
        name=EventType.ACCOUNT_ADDED,
        event_type=EventType.ACCOUNT_ADDED,
        event_id=None,
        customer_ref=None,
        login_refs=(),
        account_refs=refs,
        body=orjson.dumps({"accounts": refs}),
    )
    async with bench.database.queue() as conn:
        await insert_inbox(conn, [incoming])
    await bench.work()
    return link


async def leave(bench: Bench, link: Link) -> None:
    """Let the account leave the first aggregator."""
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['checking']}")
    await bench.receive(EventType.BANK_ACCOUNT_DELETED, link.accounts["checking"])
    await bench.work()


async def find_institutions(bench: Bench) -> dict[str, int]:
    rows = await bench.superuser.fetch(
        "SELECT connector, id FROM institutions WHERE aggregator_id = $1", str(FINBANK_ID)
    )
    return {row["connector"]: row["id"] for row in rows}


async def know_both(bench: Bench) -> dict[str, int]:
    """Let the institution be known of both aggregators; return its ids."""
    await bench.superuser.execute(
        """
        INSERT INTO institutions (connector, aggregator_id, name, is_sandbox, time_zone)
        SELECT 'second', aggregator_id, name, is_sandbox, time_zone FROM institutions WHERE connector = 'finicity'
        """
    )
    return await find_institutions(bench)


@pytest.mark.parametrize("is_turned_round", [False, True])
async def test_an_account_goes_on_through_another_aggregator(
    second: tuple[Bench, SourceId], *, is_turned_round: bool
) -> None:
    """The same account with its rows, links, own name and hiding, under the new login; nothing doubles."""
    bench, source_id = second
    first = await link_at(bench, bench.sources.ledgersync)
    before = await bench.visible(first.accounts["checking"])
    row_id = TransactionId(min(row["id"] for row in await bench.rows(first.accounts["checking"])))
    await acts.link(bench.database, bench.tenant.customer_id, row_id, "L1", actor="user:1")
    await bench.superuser.execute("UPDATE accounts SET own_name = 'Payroll', is_hidden = true")
    known = await know_both(bench)
    pair = [known["second"], known["finicity"]]
    one, of = reversed(pair) if is_turned_round else pair
    await institutions_command.join(bench.database, institution_id=one, of_id=of)
    await leave(bench, first)
    again = await link_at(bench, source_id)
    [account] = await bench.superuser.fetch("SELECT * FROM accounts")
    assert ("open", source_id, str(again.accounts["checking"]), "Payroll", True) == tuple(
        account[name] for name in ("state", "source_id", "aggregator_id", "own_name", "is_hidden")
    )
    assert known["second"] == await bench.one(
        "SELECT institution_id FROM connections WHERE id = $1", account["connection_id"]
    )
    assert before == await bench.visible_of(account["id"])
    assert row_id == await bench.one("SELECT transaction_id FROM ledger_entries")


async def test_unless_noted_to_be_the_same_they_are_two_banks(second: tuple[Bench, SourceId]) -> None:
    """Nobody guesses by the name: the account is one of its own, and nobody is asked. Parted again they are two as well."""
    bench, source_id = second
    first = await link_at(bench, bench.sources.ledgersync)
    known = await know_both(bench)
    await institutions_command.join(bench.database, institution_id=known["second"], of_id=known["finicity"])
    assert await institutions_command.part(bench.database, institution_id=known["second"])
    await leave(bench, first)
    await link_at(bench, source_id)
    states = await bench.superuser.fetch("SELECT state::text, adopted_into FROM accounts ORDER BY id")
    assert [("closed", None), ("open", None)] == [tuple(row) for row in states]
    assert () == await acts.list_doubts(bench.database, bench.tenant.customer_id)


async def test_an_account_that_stays_at_both_is_asked_about(second: tuple[Bench, SourceId]) -> None:
    """Linked at the second one before it left the first: a person says whether they are one, and what was hidden stays so."""
    bench, source_id = second
    first = await link_at(bench, bench.sources.ledgersync)
    known = await know_both(bench)
    await institutions_command.join(bench.database, institution_id=known["second"], of_id=known["finicity"])
    await link_at(bench, source_id)
    await bench.superuser.execute(
        "UPDATE accounts SET is_hidden = true WHERE state = 'open' AND source_id = $1", source_id
    )
    await leave(bench, first)
    await bench.superuser.execute(
        "UPDATE connections SET requested = requested + 1, due_at = now() WHERE source_id = $1", source_id
    )
    await bench.finbank.pass_nights(1)
    await bench.work()
    [asked] = await acts.list_doubts(bench.database, bench.tenant.customer_id)
    await acts.adopt(bench.database, bench.tenant.customer_id, asked.id, actor="user:1")
    rows = await bench.superuser.fetch("SELECT state::text, is_hidden FROM accounts WHERE adopted_into IS NULL")
    assert [("open", True)] == [tuple(row) for row in rows]
