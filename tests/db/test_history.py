"""The history: each change with its cause, nothing of what was erased, and a plan in a fixed number of statements."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import orjson
import pytest

from bankfeed.db import Database
from bankfeed.db.account import lock_account
from bankfeed.db.connection import get_refresh_target
from bankfeed.db.customer import update_shadow_policy
from bankfeed.db.history import Cause, list_lived
from bankfeed.db.plan import write_changes
from bankfeed.db.pull import insert_pull
from bankfeed.db.transaction import list_ids, list_rows
from bankfeed.jobs import Waker
from bankfeed.model import AccountId, FeedKind, Known, Pull, ShadowPolicy, TransactionState, Values
from bankfeed.reconcile import Change, ChangeKind, Changes, Doubt, Rule, Verdict
from bankfeed.replay.steps import read_steps
from bankfeed.settings import Settings
from tests.db.made import Ground
from tests.db.rows import list_names
from tests.pure.history import read_history
from tests.seed import make_sources, make_tenant
from tests.worker.histories import Stored
from worker.context import Context

AT = datetime(2026, 3, 31, 6, tzinfo=UTC)
COFFEE = Values(amount=Decimal("-20.00"), transacted_on=date(2026, 3, 10), description="Coffee")
WITHDRAWN = """

pull 03-03
  p1 ! 03-02 -739.53 BAKERY HOLD
  a1 * 03-01 -1.00 KIOSK
pull 03-05
  a2 * 03-04 -741.19 BAKERY HOLD CITY
  a1 * 03-01 -1.00 KIOSK
pull 03-06
  a1 * 03-01 -1.00 KIOSK
"""


@pytest.fixture
async def stored(database: Database, owner: asyncpg.Connection, settings: Settings) -> Stored:
    """A tenant without accounts."""
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    sources = await make_sources(owner)
    return Stored(context=context, sources=sources, tenant=await make_tenant(database, sources))


async def play(stored: Stored, text: str) -> None:
    for step in read_steps(b"\n".join(orjson.dumps(step) for step in read_history(text).steps)):
        await stored.play(step)


async def list_tables_with(superuser: asyncpg.Connection, text: str) -> list[str]:
    """Name the tables that have a row in which the text stands."""
    tables = await list_names(superuser, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    found = "SELECT EXISTS (SELECT FROM {} t WHERE t::text ILIKE $1)"
    return sorted([table for table in tables if await superuser.fetchval(found.format(table), f"%{text}%")])


async def test_what_is_erased_is_nowhere(stored: Stored, superuser: asyncpg.Connection) -> None:
    """Under `delete` no table has a withdrawn row's text or amounts any more: not the row, nor how it was before."""
    async with stored.database.tenant(stored.tenant.customer_id) as conn:
        await update_shadow_policy(conn, stored.tenant.customer_id, ShadowPolicy.DELETE)
    before, _, last = WITHDRAWN.rpartition("pull 03-06")
    await play(stored, before)
    assert ["transaction_changes", "transactions"] == await list_tables_with(superuser, "bakery hold")
    await play(stored, f"\n\npull 03-06{last}")
    assert [] == await list_tables_with(superuser, "bakery hold")
    assert [] == await list_tables_with(superuser, "739.53")
    assert [] == await list_tables_with(superuser, "741.19")
    assert 2 == await superuser.fetchval("SELECT count(*) FROM transaction_changes WHERE before IS NULL")


# ------------------------------------------------------------------------------------------------ plans


@pytest.fixture
async def account_id(ground: Ground) -> AccountId:
    """An account without rows."""
    lease = await ground.lease()
    async with ground.app() as conn:
        target = await get_refresh_target(conn, lease)
        locked = await lock_account(
            conn,
            lease,
            target,
            account_ref="5001",
            name="Checking",
            number_display="",
            type="checking",
            currency="USD",
        )
    return locked.id


def make_row(n: int) -> Known:
    values = replace(COFFEE, description=f"Coffee {n}")
    return Known(
        id=None,
        state=TransactionState.PENDING,
        values=values,
        bank_values=values,
        aggregator_ids=(f"p{n}",),
        first_pulled_at=AT,
    )


def post(row: Known) -> Known:
    values = replace(row.values, posted_on=date(2026, 3, 12))
    return replace(
        row, state=TransactionState.ACTIVE, values=values, bank_values=values, aggregator_ids=(*row.aggregator_ids, "a")
    )


async def write(ground: Ground, account_id: AccountId, *rows: Change, doubts: tuple[Doubt, ...] = ()) -> list[str]:
    """Write a plan as that of one more pull; return the statements that it took, in order."""
    said: list[str] = []
    tenant = ground.tenant
    async with ground.app() as conn:
        pulls = await conn.fetchval("SELECT count(*) FROM pulls")
        pull = Pull(
            at=AT.replace(hour=7 + pulls),
            kind=FeedKind.FULL,
            from_on=COFFEE.transacted_on,
            to_on=AT.date(),
            is_complete=True,
            rows=(),
        )
        pull_id = await insert_pull(
            conn, tenant.customer_id, account_id, pull=pull, outcome="applied", reason="", counts={}
        )
        changes = Changes(verdict=Verdict.APPLIED, rows=rows, doubts=doubts)
        with conn.query_logger(lambda record: said.append(record.query.split()[0])):
            await write_changes(
                conn,
                tenant.customer_id,
                tenant.client_id,
                account_id,
                changes,
                cause=Cause(at=pull.at, pull_id=pull_id),
            )
    return said


def added(row: Known) -> Change:
    return Change(kind=ChangeKind.ADDED, rule=Rule.NEW, before=None, after=row)


def posted(row: Known) -> Change:
    return Change(kind=ChangeKind.POSTED, rule=Rule.EQUAL_AMOUNT, before=row, after=post(row))


async def read_rows(ground: Ground, account_id: AccountId) -> tuple[Known, ...]:
    async with ground.app() as conn:
        ids = await list_ids(conn, ground.tenant.customer_id, account_id)
        return await list_rows(conn, ground.tenant.customer_id, account_id, ids)


async def test_statements_do_not_grow_with_rows(ground: Ground, account_id: AccountId) -> None:
    """A plan with one row of each kind, a doubt and an entry takes as many statements as one with two hundred."""
    counts = []
    for rows in (1, 2, 200):  # the first time the driver asks for types, too
        await write(ground, account_id, *(added(make_row(n)) for n in range(rows)))
        stored = [row for row in await read_rows(ground, account_id) if row.state is TransactionState.PENDING]
        news = [make_row(1000 + n) for n in range(rows)]
        doubts = tuple(
            Doubt(transaction=row, candidates=(new,), rule=Rule.TIE, reason="two alike")
            for row, new in zip(stored, news, strict=True)
        )
        booked = [replace(posted(row), after=replace(post(row), entries=(f"L{row.id}",))) for row in stored]
        said = await write(ground, account_id, *booked, *(added(new) for new in news), doubts=doubts)
        counts.append(len(said))
        left = [row for row in await read_rows(ground, account_id) if row.state is TransactionState.PENDING]
        await write(ground, account_id, *(posted(row) for row in left))
    assert counts[1] == counts[2] <= 12


async def test_candidates_are_kept_as_ids(ground: Ground, account_id: AccountId, superuser: asyncpg.Connection) -> None:
    """A candidate that the same plan adds is known by the id it got; of equal ones the first is meant."""
    await write(ground, account_id, added(make_row(1)))
    [row] = await read_rows(ground, account_id)
    new = make_row(2)
    doubt = Doubt(transaction=row, candidates=(row, new), rule=Rule.TIE, reason="two alike")
    await write(ground, account_id, posted(row), added(new), added(new), doubts=(doubt, doubt))
    ids = [each.id for each in await read_rows(ground, account_id)]
    assert [[ids[0], ids[1]]] == await list_names(superuser, "SELECT candidates FROM doubts")
    again = replace(doubt, candidates=(replace(new, id=ids[1]), row))
    await write(ground, account_id, doubts=(again,))
    assert 1 == await superuser.fetchval("SELECT count(*) FROM doubts")


async def test_how_a_row_was_comes_back_as_it_went(ground: Ground, account_id: AccountId) -> None:
    """Every field of the row before, exactly; the step that added it needs no row of its own."""
    await write(ground, account_id, added(make_row(1)))
    [row] = await read_rows(ground, account_id)
    acted = replace(
        row,
        split_into=(Decimal("-19.50"), Decimal("-0.50")),
        deleted_at=AT,
        is_reconciled=True,
        bank_values=replace(COFFEE, memo='"\\ ☕', posted_on=date(2026, 3, 11)),
        entries=("L1",),
    )
    await write(ground, account_id, replace(posted(row), after=acted))
    await write(ground, account_id, replace(posted(acted), after=row))
    async with ground.app() as conn:
        [lived] = await list_lived(conn, ground.tenant.customer_id, account_id, [row.id or 0])  # type: ignore[list-item]
    assert row == lived.row
    assert [None, row, acted] == [step.before for step in lived.steps]
    assert [ChangeKind.ADDED, ChangeKind.POSTED, ChangeKind.POSTED] == [step.kind for step in lived.steps]
    assert [Rule.NEW, Rule.EQUAL_AMOUNT, Rule.EQUAL_AMOUNT] == [step.rule for step in lived.steps]
