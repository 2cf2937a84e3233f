"""The audit log's rows: committed with what they tell of, read page by page from an index."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.audit import AuditFilter, insert_audit, list_audit
from bankfeed.db.customer import insert_customer
from bankfeed.errors import RefusedData
from bankfeed.model import CustomerId
from tests.db.rows import list_names
from tests.db.test_statements import NOUNS

EVERY = AuditFilter()
FIRST = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
async def customer_id(database: Database) -> CustomerId:
    """A customer."""
    async with database.app() as conn:
        return await insert_customer(conn, name="Firm")


async def write(database: Database, customer_id: CustomerId, actor: str = "user:1") -> None:
    async with database.tenant(customer_id) as conn:
        await insert_audit(
            conn,
            customer_id,
            actor=actor,
            action="getClient",
            target="clientId=1",
            remote="192.0.2.1",
            request_id=uuid4(),
        )


async def test_a_line_is_committed_with_what_it_tells_of(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """It lies in its week's partition; where the rest is rolled back there is none."""

    async def write_and_fail() -> None:
        async with database.tenant(customer_id) as conn:
            await insert_audit(conn, customer_id, actor="user:1", action="x", target="", remote="", request_id=None)
            raise ZeroDivisionError

    await write(database, customer_id)
    with pytest.raises(ZeroDivisionError):
        await write_and_fail()
    [partition] = await list_names(superuser, "SELECT tableoid::regclass::text FROM audit_log")
    assert partition.startswith("audit_log_2")


@pytest.mark.parametrize("actor", ["", "ann", "user:", "root:1", " user:1"])
async def test_an_actor_is_named(database: Database, customer_id: CustomerId, actor: str) -> None:
    """A person, a key or the system, and nobody else."""
    with pytest.raises(RefusedData, match="audit_actor_is_named"):
        await write(database, customer_id, actor)
    for named in ("user:1", "key:1", "system"):
        await write(database, customer_id, named)


async def test_pages_go_on_behind_a_line(
    database: Database, superuser: asyncpg.Connection, customer_id: CustomerId
) -> None:
    """Newest first, each line once, also those of one moment."""
    await superuser.execute(
        "INSERT INTO audit_log (customer_id, at, actor, action) SELECT $1, $2::timestamptz + n / 3 * interval '1 h',"
        " 'system', n::text FROM generate_series(0, 9) n ORDER BY n",
        customer_id,
        FIRST,
    )
    seen: list[str] = []
    before = None
    async with database.tenant(customer_id) as conn:
        while page := await list_audit(conn, customer_id, EVERY, before=before, limit=4):
            seen += [line.action for line in page]
            before = (page[-1].at, page[-1].id)
        some = AuditFilter(since=FIRST + timedelta(hours=1), until=FIRST + timedelta(hours=2))
        chosen = await list_audit(conn, customer_id, some, before=None, limit=10)
    assert list("9876543210") == seen
    assert list("543") == [line.action for line in chosen]


async def test_a_page_is_read_from_an_index(database: Database, customer_id: CustomerId) -> None:
    """Also under the plan that fits every page, only the times' partitions are read, by index, backward from the line before."""
    [sql] = [each.sql for each in NOUNS if str(each) == "audit.list_audit"]
    async with database.tenant(customer_id) as conn:
        for setting in ("enable_seqscan = off", "enable_bitmapscan = off", "plan_cache_mode = force_generic_plan"):
            await conn.execute(f"SET LOCAL {setting}")
        await conn.execute(f"PREPARE page AS {sql}")
        execute = "EXPLAIN EXECUTE page (1, now(), 5, NULL, NULL, NULL, now(), now(), 10)"
        plan = "\n".join(await list_names(conn, execute))
        await conn.execute("DEALLOCATE page")
    assert "Seq Scan" not in plan
    assert "Subplans Removed: 2" in plan  # of the default, this week's and the next one's
    assert (
        1
        == plan.count("Index Scan Backward")
        == plan.count("Index Cond: ((customer_id = $1) AND (ROW(at, id) < ROW($2, $3)) AND (at >= $7) AND (at < $8))")
    )
