"""Digests: who hears of banks that need somebody, how often, and of what not."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.jobs import Wake, Waker
from bankfeed.settings import Secret, Settings
from tests.seed import Sources, Tenant, make_sources, make_tenant
from worker.context import Context
from worker.notify import CLIENTS, tell_everybody

OFFICE = "office@firm.example"
ANN = "ann@client.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A worker's sweep, and the rows that it looks at."""

    context: Context
    sources: Sources
    tenant: Tenant
    superuser: asyncpg.Connection
    woken: list[Wake]

    async def wish(self, *, email: str = OFFICE, hours: int | None = 24, clients: int | None = None) -> None:
        """Choose what the firm hears."""
        await self.superuser.execute(
            "UPDATE customers SET notify_email = $2, notify_hours = $3, notify_clients_hours = $4 WHERE id = $1",
            self.tenant.customer_id,
            email,
            hours,
            clients,
        )

    async def client(self, name: str, email: str = ANN) -> int:
        """Add a client."""
        client_id: int = await self.superuser.fetchval(
            "INSERT INTO clients (customer_id, username, name, email) VALUES ($1, $2, $2, $3) RETURNING id",
            self.tenant.customer_id,
            name,
            email,
        )
        return client_id

    async def break_bank(self, client_id: int | None = None, bank: str = "FinBank", **changed: Any) -> int:
        """Add a connection that needs somebody."""
        number = await self.superuser.fetchval("SELECT count(*) FROM connections")
        institution_id = await self.superuser.fetchval(
            "INSERT INTO institutions (connector, aggregator_id, name) VALUES ('finicity', $1, $2) RETURNING id",
            str(number),
            bank,
        )
        connection_id: int = await self.superuser.fetchval(
            """
            INSERT INTO connections (customer_id, client_id, source_id, institution_id, aggregator_login_id, name, state,
                                     status_code, last_refresh_at, broken_since)
            VALUES ($1, $2, $3, $4, $5, 'Account 4711 of Ann', 'needs_person', 103, now(), '2026-03-02T10:00:00Z')
            RETURNING id
            """,
            self.tenant.customer_id,
            client_id or self.tenant.client_id,
            self.sources.finicity,
            institution_id,
            str(number),
        )
        for column, value in changed.items():
            await self.superuser.execute(f"UPDATE connections SET {column} = $2 WHERE id = $1", connection_id, value)  # noqa: S608 - columns of this file
        return connection_id

    async def tell(self) -> list[tuple[str, str]]:
        """Sweep; return recipient and subject of what came of it."""
        before = await self.superuser.fetchval("SELECT coalesce(max(id), 0) FROM mails")
        count = await tell_everybody(self.context)
        rows = await self.superuser.fetch("SELECT recipient, subject FROM mails WHERE id > $1 ORDER BY id", before)
        assert count == len(rows)
        return [tuple(row) for row in rows]

    async def body(self) -> str:
        """Return what the latest letter says."""
        body: str = await self.superuser.fetchval("SELECT body FROM mails ORDER BY id DESC LIMIT 1")
        return body

    async def go_on(self, hours: float) -> None:
        """Let time pass for whoever heard something."""
        for table in ("customers", "clients"):
            await self.superuser.execute(
                f"UPDATE {table} SET notified_at = notified_at - make_interval(secs => $1)",  # noqa: S608
                hours * 3600,
            )


@pytest.fixture
async def desk(
    database: Database, settings: Settings, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> Desk:
    """A worker that may send mail, and one firm with one client."""
    settings = replace(settings, smtp_url=Secret("smtp://127.0.0.1:1"), mail_from="bankfeed@firm.example")
    sources = await make_sources(owner)
    woken: list[Wake] = []
    waker = Waker(None)
    waker.serve(Wake.MAIL, lambda: woken.append(Wake.MAIL))
    context = Context(database=database, connectors={}, waker=waker, settings=settings)
    tenant = await make_tenant(database, sources)
    await superuser.execute("UPDATE clients SET name = 'Demo Client' WHERE id = $1", tenant.client_id)
    return Desk(context=context, sources=sources, tenant=tenant, superuser=superuser, woken=woken)


async def test_a_firm_hears_as_often_as_it_chose_while_a_bank_is_broken(desk: Desk) -> None:
    """At once, again after its hours, and no more once the bank is well; then at once again, but never more often."""
    await desk.wish(hours=24)
    assert [] == await desk.tell()
    broken = await desk.break_bank()
    told = [(OFFICE, "Demo Client: FinBank needs you")]
    assert (told, [Wake.MAIL]) == (await desk.tell(), desk.woken)
    assert [] == await desk.tell()
    await desk.go_on(23.9)
    await desk.break_bank(bank="House Bank")
    assert [] == await desk.tell()
    await desk.go_on(0.2)
    assert [(OFFICE, "Demo Client: FinBank needs you, and 1 more")] == await desk.tell()
    await desk.go_on(25)
    await desk.superuser.execute("UPDATE connections SET state = 'active', broken_since = NULL")
    assert [] == await desk.tell()
    await desk.superuser.execute("UPDATE connections SET broken_since = now() WHERE id = $1", broken)
    assert told == await desk.tell()


async def test_a_letter_says_what_is_to_be_done_and_nothing_that_is_secret(desk: Desk) -> None:
    """Client, bank, since when, why, next step; not the account's name, no number, no address."""
    await desk.wish()
    await desk.break_bank()
    await desk.tell()
    body = await desk.body()
    assert "Demo Client: FinBank, since 2 March 2026\n" in body
    assert "The bank refused the user name or password" in body
    assert not any(word in body for word in ("4711", "Account", "http", "@", "103"))


async def test_clients_hear_of_their_own_banks_at_their_own_address(desk: Desk) -> None:
    """Each of its own, in the firm's name, as often as the firm chose for clients; who has no address, nothing."""
    ann, bob, eve = await desk.client("Ann"), await desk.client("Bob", "bob@x.example"), await desk.client("Eve", "")
    await desk.client("Well", "well@x.example")
    await desk.break_bank(ann)
    await desk.break_bank(bob, "House Bank")
    await desk.break_bank(eve)
    await desk.wish(email="", hours=None, clients=48)
    assert [
        (ANN, "Your bank FinBank needs you"),
        ("bob@x.example", "Your bank House Bank needs you"),
    ] == await desk.tell()
    assert "FinBank" not in await desk.body()
    firm = await desk.superuser.fetchval("SELECT name FROM customers")
    assert f"Hello Bob,\n\n{firm} gets no new data" in await desk.body()
    assert {ann, bob} == {row[0] for row in await desk.superuser.fetch("SELECT client_id FROM mails")}
    await desk.go_on(47)
    assert [] == await desk.tell()
    await desk.go_on(2)
    assert 2 == len(await desk.tell())


async def test_more_clients_than_one_transaction_takes(desk: Desk) -> None:
    """All of them hear, each once."""
    for number in range(CLIENTS + 1):
        await desk.break_bank(await desk.client(f"c{number}", f"c{number}@x.example"))
    await desk.wish(hours=None, clients=1)
    told = await desk.tell()
    assert (CLIENTS + 1, CLIENTS + 1) == (len(told), len({recipient for recipient, _ in told}))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE connections SET broken_since = NULL",
        "UPDATE connections SET state = 'closed', broken_since = NULL, deleted_at = now()",
        "UPDATE clients SET locked_at = now()",
        "UPDATE clients SET deleted_at = now(), erase_at = now()",
        "UPDATE customers SET notify_hours = NULL, notify_clients_hours = NULL",
    ],
)
async def test_who_needs_nothing_hears_nothing(change: str, desk: Desk) -> None:
    """Banks that are well or deleted, clients that are locked or deleted, firms that did not ask; and nobody is noted as told."""
    await desk.wish(clients=1)
    await desk.superuser.execute("UPDATE clients SET email = $1", ANN)
    await desk.break_bank()
    await desk.superuser.execute(change)
    assert [] == await desk.tell()
    assert None is await desk.superuser.fetchval(
        "SELECT max(at) FROM (SELECT notified_at AS at FROM customers UNION SELECT notified_at FROM clients) told"
    )


async def test_nothing_is_composed_where_mail_is_off(desk: Desk) -> None:
    """And nobody counts as told: the first letter comes once mail is on."""
    await desk.wish(clients=1)
    await desk.break_bank()
    off = replace(desk.context, settings=replace(desk.context.settings, smtp_url=Secret("")))
    assert 0 == await tell_everybody(off)
    assert 1 == len(await desk.tell())


async def test_many_workers_tell_once(desk: Desk) -> None:
    """Sweeps at the same moment do not double a letter, to firm or client."""
    await desk.wish(clients=1)
    await desk.superuser.execute("UPDATE clients SET email = $1", ANN)
    await desk.break_bank()
    counts = await asyncio.gather(*(tell_everybody(desk.context) for _ in range(8)))
    assert (2, 2) == (sum(counts), await desk.superuser.fetchval("SELECT count(*) FROM mails"))


async def test_firms_hear_of_their_own_clients_only(desk: Desk) -> None:
    """Each firm its letter; what one does not want does not hold up the other."""
    other = await make_tenant(desk.context.database, desk.sources)
    await desk.wish()
    await desk.superuser.execute(
        "UPDATE customers SET notify_email = 'b@other.example', notify_hours = 1 WHERE id = $1", other.customer_id
    )
    await desk.break_bank()
    await replace(desk, tenant=other).break_bank(bank="Other Bank")
    told = dict(await desk.tell())
    assert {OFFICE, "b@other.example"} == told.keys()
    assert "Demo Client: FinBank needs you" == told[OFFICE]
    assert told["b@other.example"].endswith(": Other Bank needs you")


async def test_names_of_several_lines_stay_on_one(desk: Desk) -> None:
    """A client or bank whose name was written with line ends writes no header and no line of the letter."""
    await desk.wish(clients=1)
    await desk.superuser.execute("UPDATE clients SET name = E'Ann\\r\\nBcc: eve@x.example', email = $1", ANN)
    await desk.break_bank(bank="Fin\nBank")
    assert [
        (OFFICE, "Ann Bcc: eve@x.example: Fin Bank needs you"),
        (ANN, "Your bank Fin Bank needs you"),
    ] == await desk.tell()
