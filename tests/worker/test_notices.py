"""Customers are told of the institutions where they have connections: each once, whoever is killed and whoever helps."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any

import asyncpg
import orjson
import pytest

from bankfeed.cursor import Position, read_cursor
from bankfeed.db import Database, institution_notice
from bankfeed.db.event import insert_events
from bankfeed.db.institution import find_institution_by_ref, mark_gone, mark_listed, upsert_institutions
from bankfeed.errors import Unavailable
from bankfeed.jobs import Waker
from bankfeed.model import EventType, ListedInstitution
from bankfeed.settings import Settings
from tests.db.made import make_connection, wait_until_blocked
from tests.seed import Sources, Tenant, make_endpoint, make_sources, make_tenant
from tests.worker.conftest import Bench
from worker import notices
from worker.context import Context
from worker.institutions import Listing
from worker.notices import tell_notices

BANK = ListedInstitution(ref="7", name="Harbor Bank")
UNTIL = date(2026, 9, 30)
RETIREMENT_ID = 102230  # at Finbank; no other test of this folder asks how it stands


class House:
    """Two customers with connections at one institution, and a worker that tells them."""

    def __init__(self, context: Context, superuser: asyncpg.Connection, sources: Sources) -> None:
        self.context, self.superuser, self.sources = context, superuser, sources
        self.tenants: list[Tenant] = []

    async def add_firm(self, connections: int = 1) -> Tenant:
        """Add a customer with open connections at the bank, and an endpoint."""
        tenant = await make_tenant(self.context.database, self.sources)
        for n in range(connections):
            await make_connection(self.context.database, self.sources, tenant, login_ref=f"{tenant.customer_id}-{n}")
        await make_endpoint(self.context.database, tenant, url="https://firm.example/hook")
        await self.superuser.execute(
            "UPDATE connections SET institution_id = (SELECT id FROM institutions WHERE aggregator_id = '7')"
        )
        return tenant

    async def list_as(self, status: str = "online", *, until: date | None = None) -> None:
        """Let the bank be listed as it stands now."""
        listed = replace(BANK, status=status, migrates_until=until)
        async with self.context.database.app() as conn:
            await upsert_institutions(conn, connector="finicity", listed=[listed])

    async def noted(self) -> list[tuple[str, date | None]]:
        """List the notices, the oldest first."""
        rows = await self.superuser.fetch("SELECT status, migrates_until FROM institution_notices ORDER BY id")
        return [tuple(row) for row in rows]

    async def told(self) -> list[tuple[int, str]]:
        """List who was told, about which connection and how it stands, in order."""
        rows = await self.superuser.fetch(
            "SELECT connection_id, body FROM events WHERE event_type = 'institutionNotice' ORDER BY id"
        )
        return [(row["connection_id"], orjson.loads(row["body"])["payload"]["institutionStatus"]) for row in rows]

    async def connection_ids(self, tenant: Tenant) -> list[int]:
        rows = await self.superuser.fetch(
            "SELECT id FROM connections WHERE customer_id = $1 ORDER BY id", tenant.customer_id
        )
        return [row["id"] for row in rows]

    async def left(self) -> int:
        count: int = await self.superuser.fetchval("SELECT count(*) FROM institution_notices WHERE finished_at IS NULL")
        return count


@pytest.fixture
async def house(
    database: Database, settings: Settings, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> House:
    """A worker without a bank, and an institution that is online."""
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    made = House(context, superuser, await make_sources(owner))
    await made.list_as()
    return made


# ------------------------------------------------------------------------------------------------ what is noted


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        (["online", "validated"], []),
        (["offline", "offline", "online"], ["offline", "online"]),
        (["maintenance", "offline"], ["maintenance", "offline"]),
        (["migrating", "gone"], ["migrating", "gone"]),
        (["another word"], []),
    ],
)
async def test_a_change_that_matters_is_noted(house: House, stands: list[str], expected: list[str]) -> None:
    """To or from offline, maintenance and migrating; each once, and nothing else."""
    for status in stands:
        await house.list_as(status)
    assert expected == [status for status, _ in await house.noted()]


async def test_another_day_is_noted(house: House) -> None:
    """A migration whose end moves is told again, and so is that it is over."""
    for until in (UNTIL, UNTIL, date(2026, 10, 31)):
        await house.list_as("migrating", until=until)
    await house.list_as("online")
    assert [("migrating", UNTIL), ("migrating", date(2026, 10, 31)), ("online", None)] == await house.noted()


async def test_an_institution_that_comes_new_is_no_news(house: House) -> None:
    """Nobody can have a connection there."""
    async with house.context.database.app() as conn:
        await upsert_institutions(conn, connector="finicity", listed=[replace(BANK, ref="8", status="offline")])
    assert [] == await house.noted()


async def test_one_that_goes_while_out_of_order_is_noted(house: House) -> None:
    """Whoever was told that it is away is told how that ended; one that was well just goes."""
    async with house.context.database.app() as conn:
        await upsert_institutions(conn, connector="finicity", listed=[replace(BANK, ref=str(n)) for n in range(8, 12)])
    async with house.context.database.app() as conn:
        await mark_listed(conn, connector="finicity", refs=[str(n) for n in range(7, 12)])
    await house.list_as("offline")
    async with house.context.database.app() as conn:
        await mark_listed(conn, connector="finicity", refs=["8", "9", "10"])
        assert 2 == await mark_gone(conn, connector="finicity")
    assert ["offline", "gone"] == [status for status, _ in await house.noted()]


# ------------------------------------------------------------------------------------------------ who is told


async def test_whoever_has_an_open_connection_there_is_told(house: House) -> None:
    """Each of every customer's, with the institution, its state and the day; not closed, deleted or other ones."""
    first, second = await house.add_firm(4), await house.add_firm()
    ids = await house.connection_ids(first)
    await house.superuser.execute("UPDATE connections SET state = 'closed' WHERE id = $1", ids[0])
    gone = await house.add_firm()
    await house.superuser.execute(
        "UPDATE clients SET deleted_at = now(), erase_at = now() WHERE customer_id = $1", gone.customer_id
    )
    await house.superuser.execute("UPDATE connections SET institution_id = NULL WHERE id = $1", ids[1])
    await house.list_as("migrating", until=UNTIL)
    assert 3 == await tell_notices(house.context)
    expected = [*ids[2:], *await house.connection_ids(second)]
    assert [(each, "migrating") for each in expected] == await house.told()
    body = orjson.loads(await house.superuser.fetchval("SELECT body FROM events ORDER BY id LIMIT 1"))
    known = await house.superuser.fetchval("SELECT id FROM institutions WHERE aggregator_id = '7'")
    payload = body["payload"]
    assert ("institutionNotice", ids[2], first.client_id, []) == (
        body["eventType"],
        payload["bankAccountId"],
        payload["clientId"],
        payload["accounts"],
    )
    assert (known, "Harbor Bank", "migrating", "2026-09-30") == tuple(
        payload[name] for name in ("institutionId", "institutionName", "institutionStatus", "signInAgainUntil")
    )
    assert first.client_id == read_cursor(payload["changesCursor"], Position).client_id
    assert 3 == await house.superuser.fetchval("SELECT count(*) FROM delivery_queue")


async def test_all_is_told_in_batches_and_in_order(house: House) -> None:
    """However few fit into a transaction, each connection is told of once for each notice, the older notice first."""
    firms = [await house.add_firm(3), await house.add_firm(2)]
    await house.list_as("offline")
    await house.list_as("online")
    assert 10 == await tell_notices(house.context, most_events=2)
    ids = [each for firm in firms for each in await house.connection_ids(firm)]
    assert [(each, status) for status in ("offline", "online") for each in ids] == await house.told()
    assert 0 == await tell_notices(house.context) == await house.left()


async def test_a_notice_for_nobody_ends(house: House) -> None:
    """Where nobody has a connection, it is told at once."""
    await house.list_as("offline")
    assert 0 == await tell_notices(house.context) == await house.left()


# ------------------------------------------------------------------------------------------------ killed, helped


@pytest.mark.parametrize("kills_at", [1, 2, 3])
async def test_nobody_is_missed_or_told_twice_after_a_crash(
    house: House, monkeypatch: pytest.MonkeyPatch, kills_at: int
) -> None:
    """A worker that is gone after it wrote the events, and before its commit, has told nothing; the next one goes on there."""
    firms = [await house.add_firm(2), await house.add_firm(2)]
    await house.list_as("offline")
    batches = 0

    async def die(*args: Any) -> int:
        nonlocal batches
        batches += 1
        count = await insert_events(*args)
        if batches == kills_at:
            raise Unavailable("killed")
        return count

    with monkeypatch.context() as patched:
        patched.setattr(notices, "insert_events", die)
        with pytest.raises(Unavailable):
            await tell_notices(house.context, most_events=1)
    assert kills_at - 1 == len(await house.told())
    assert 4 - (kills_at - 1) == await tell_notices(house.context, most_events=1)
    ids = [each for firm in firms for each in await house.connection_ids(firm)]
    assert [(each, "offline") for each in ids] == await house.told()


async def test_two_workers_tell_each_once(house: House, superuser: asyncpg.Connection) -> None:
    """The second waits for the transaction of the first, finds the notice further on, and leaves it."""
    firm = await house.add_firm(2)
    await house.list_as("offline")
    database = house.context.database
    async with database.queue() as conn:
        notice = await institution_notice.find_notice_to_tell(conn)
        assert notice is not None
        [(customer_id, connection_id), _] = await institution_notice.list_to_tell(conn, notice, limit=9)
    async with database.tenant(customer_id) as conn:
        assert await institution_notice.mark_told(conn, notice, customer_id=customer_id, connection_id=connection_id)
        second = asyncio.create_task(tell_notices(house.context, most_events=1))
        await wait_until_blocked(superuser)
    assert 0 == await second
    async with database.queue() as conn:
        await institution_notice.mark_finished(conn, notice)  # as one who read it before
    assert 1 == await house.left()
    assert 1 == await tell_notices(house.context)
    assert [((await house.connection_ids(firm))[1], "offline")] == await house.told()


# ------------------------------------------------------------------------------------------------ from the wire


@pytest.fixture
async def migrating(bench: Bench) -> AsyncIterator[Bench]:
    """A worker that has listed Finbank's institutions, one of which can be let migrate; it is online again afterwards."""
    await Listing(bench.context).run()
    yield bench
    await bench.finbank.control("PUT", f"institutions/{RETIREMENT_ID}/status", status="online")


async def test_finbank_announces_a_migration(migrating: Bench) -> None:
    """Listed with the day until which people sign in again, in the bank's time zone, it is noted and told; so is its end."""
    bench = migrating
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    await bench.superuser.execute(
        "UPDATE connections SET institution_id = (SELECT id FROM institutions WHERE aggregator_id = $1)",
        str(RETIREMENT_ID),
    )
    status = f"institutions/{RETIREMENT_ID}/status"
    await bench.finbank.control("PUT", status, status="migrating", until="2031-03-01T02:00:00Z")
    for expected in (date(2031, 2, 28), None):  # in New York it is still the day before
        await bench.superuser.execute("UPDATE institutions SET listed_at = listed_at - interval '25 hours'")
        await Listing(bench.context).run()
        async with bench.database.app() as conn:
            found = await find_institution_by_ref(conn, connector="finicity", ref=str(RETIREMENT_ID))
        assert found is not None
        assert expected == found.migrates_until
        assert 1 == await tell_notices(bench.context)
        await bench.finbank.control("PUT", status, status="online")
    rows = await bench.superuser.fetch("SELECT body FROM events WHERE event_type = 'institutionNotice' ORDER BY id")
    payloads = [orjson.loads(row["body"])["payload"] for row in rows]
    assert [("migrating", "2031-02-28"), ("online", None)] == [
        (each["institutionStatus"], each["signInAgainUntil"]) for each in payloads
    ]
    assert 1 == len(payloads[0]["accounts"])
