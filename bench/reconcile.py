"""How fast a pull becomes committed rows, and how little a pull without news costs.

From a Pull in memory through worker/commit.py: known rows read, plan made, rows, change numbers, events and the pull's
record written in one transaction. The floor is COPY of the very same rows into the same table with its indexes and CHECKs,
as the superuser: under row-level security COPY is refused to every other role.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from time import perf_counter
from uuid import uuid4

import asyncpg

from bankfeed.aggregators import ListedAccount
from bankfeed.db import Database
from bankfeed.db.client import insert_client, upsert_enrolment
from bankfeed.db.connection import (
    Lease,
    RefreshTarget,
    claim_connection,
    get_refresh_target,
    request_refreshes,
    upsert_connection,
)
from bankfeed.db.customer import insert_customer
from bankfeed.db.source import upsert_platform_source
from bankfeed.jobs import Waker
from bankfeed.model import FeedKind, Known, Pull, Reported, TransactionId, TransactionState, Values
from bankfeed.reconcile import Past, Verdict, reconcile
from bench.ground import Ground, Urls, fresh_database
from bench.results import Benchmark, Result
from worker.commit import commit_pull
from worker.context import Context

TO_ON = date(2026, 11, 1)
DAYS = 180
AT = datetime(2026, 11, 1, 6, tzinfo=UTC)
RUNS = 5
LEASE_S = 3600
MERCHANTS = ("GROCERY OUTLET", "CITY TRANSIT", "HARBOR COFFEE", "NORTHWIND ENERGY", "ACME PAYROLL", "MAPLE PHARMACY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A database, and a connection in it that we hold the lease of."""

    urls: Urls
    context: Context
    lease: Lease
    target: RefreshTarget

    async def commit(self, listed: ListedAccount, pull: Pull) -> float:
        """Commit a pull as the worker does; return the seconds it took."""
        began = perf_counter()
        await commit_pull(self.context, self.lease, self.target, listed, pull, finish=None)
        return perf_counter() - began


def make_rows(rows: int, *, seed: int) -> tuple[Reported, ...]:
    """Make the posted rows of an account, spread evenly over 180 days; another seed gives other ids."""
    return tuple(
        Reported(
            aggregator_id=f"{seed}{n:09d}",
            state=TransactionState.ACTIVE,
            values=_values(n, day=TO_ON - timedelta(days=DAYS * (rows - 1 - n) // rows)),
            raw_amount=f"-{n % 9000 / 100 + 1:.2f}",
            raw_transacted_at=1_780_000_000 + n,
        )
        for n in range(rows)
    )


def _values(n: int, *, day: date) -> Values:
    name = f"{MERCHANTS[n % len(MERCHANTS)]} #{n * 7919 % 1000:03d}"
    return Values(amount=-Decimal(n % 9000 + 100).scaleb(-2), transacted_on=day, posted_on=day, description=name)


def make_pull(rows: tuple[Reported, ...], *, at: datetime, from_on: date | None = None) -> Pull:
    """Make a complete listing of a window that ends on TO_ON."""
    return Pull(
        at=at,
        kind=FeedKind.FULL,
        from_on=from_on or TO_ON - timedelta(days=DAYS),
        to_on=TO_ON,
        is_complete=True,
        rows=rows,
        counted_rows=len(rows),
    )


@asynccontextmanager
async def prepare(ground: Ground) -> AsyncIterator[Bench]:
    """Make a tenant with one connection in a fresh database, and claim it."""
    async with fresh_database(ground) as urls, join(urls) as bench:
        yield bench


@asynccontextmanager
async def join(urls: Urls) -> AsyncIterator[Bench]:
    """Make a tenant with one connection, and claim it."""
    database = await Database.connect(urls.settings)
    try:
        lease = await _make_lease(urls, database)
        async with database.tenant(lease.customer_id) as conn:
            target = await get_refresh_target(conn, lease)
        context = Context(database=database, connectors={}, waker=Waker(None), settings=urls.settings)
        yield Bench(urls=urls, context=context, lease=lease, target=target)
    finally:
        await database.close()


async def _make_lease(urls: Urls, database: Database) -> Lease:
    owner = await asyncpg.connect(urls.owner)
    source_id = await upsert_platform_source(
        owner, slug="finicity", connector="finicity", dialect="finicity", verifier="finicity", secrets=["x" * 16]
    )
    await owner.close()
    async with database.app() as conn:
        customer_id = await insert_customer(conn, name="Firm")
        client_id = await insert_client(conn, customer_id, username="client", name="Client")
        await upsert_enrolment(conn, customer_id, client_id, source_id=source_id, customer_ref="1")
        connection_id = await upsert_connection(conn, customer_id, client_id, source_id=source_id, login_ref="1")
    async with database.queue() as conn:
        await request_refreshes(conn, [(customer_id, connection_id)])
        lease = await claim_connection(conn, token=uuid4(), lease_s=LEASE_S)
    assert lease is not None
    return lease


def make_account(n: int) -> ListedAccount:
    """Make a new account of the connection."""
    return ListedAccount(account_ref=f"{n}", login_ref="1", institution_ref="1", name=f"Account {n}", type="checking")


async def measure_new(ground: Ground, benchmark: Benchmark, *, rows: int) -> Result:
    """Pull new accounts, and COPY the rows of each into the table once more for another account."""
    async with prepare(ground) as bench:
        rates, floors = [], []
        for n in range(RUNS):
            account, twin = make_account(2 * n), make_account(2 * n + 1)
            await bench.commit(twin, make_pull((), at=AT))
            rates.append(rows / await bench.commit(account, make_pull(make_rows(rows, seed=n + 1), at=AT)))
            copied, seconds = await _copy(bench.urls, account.account_ref, twin.account_ref)
            _require_rows(copied, rows)
            floors.append(rows / seconds)
            ground.say(f"  run {n + 1}: committed {rates[-1]:,.0f} rows/s, COPY {floors[-1]:,.0f} rows/s")
    return Result(
        name=benchmark.name,
        value=median(rates),
        unit="rows/s",
        size=benchmark.size,
        floor=median(floors),
        floor_text="COPY as superuser",
    )


async def _copy(urls: Urls, from_ref: str, to_ref: str) -> tuple[int, float]:
    """COPY one account's rows as another's; return how many and the seconds, commit included."""
    conn = await asyncpg.connect(urls.superuser)
    twin = await conn.fetchval("SELECT id FROM accounts WHERE aggregator_id = $1", to_ref)
    found = await conn.fetch(
        "SELECT t.* FROM transactions t JOIN accounts a ON a.id = t.account_id WHERE a.aggregator_id = $1 ORDER BY t.id",
        from_ref,
    )
    columns = [name for name in (found[0].keys() if found else ()) if name != "id"]
    records = [tuple(twin if name == "account_id" else row[name] for name in columns) for row in found]
    began = perf_counter()
    await conn.copy_records_to_table("transactions", records=records, columns=columns)
    seconds = perf_counter() - began
    await conn.close()
    return len(records), seconds


def _require_rows(found: int, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"expected {wanted} committed rows, got {found}")


async def measure_same(ground: Ground, benchmark: Benchmark, commit_ms: float, *, rows: int) -> Result:
    """Pull an account's unchanged list again and again; not one transaction row may be written."""
    async with prepare(ground) as bench:
        listed, reported = make_account(1), make_rows(rows, seed=1)
        await bench.commit(listed, make_pull(reported, at=AT))
        before = await _row_versions(bench.urls)
        times_s = []
        for n in range(RUNS):
            times_s.append(await bench.commit(listed, make_pull(reported, at=AT + timedelta(hours=n + 1))))
            ground.say(f"  run {n + 1}: {times_s[-1]:.3f} s")
        if await _row_versions(bench.urls) != before or before[0] != rows:
            raise RuntimeError("expected that a list without news writes no transaction row")
    return Result(
        name=benchmark.name,
        value=median(times_s),
        unit="s",
        size=benchmark.size,
        floor=commit_ms / 1000,
        floor_text="s: one row committed",
    )


async def _row_versions(urls: Urls) -> tuple[int, int]:
    """Return how many transaction rows there are, and the newest transaction that wrote one."""
    conn = await asyncpg.connect(urls.superuser)
    row = await conn.fetchrow("SELECT count(*) AS n, max(xmin::text::bigint) AS newest FROM transactions")
    await conn.close()
    return row["n"], row["newest"]


async def measure_pure(ground: Ground, benchmark: Benchmark, commit_ms: float) -> Result:  # noqa: ARG001 - no commit here
    """Plan a window of 300 rows, some of them new, in an account of 10,000: no Postgres, no thread."""
    known = [_known(row, n) for n, row in enumerate(make_rows(10_000, seed=1))]
    from_on = TO_ON - timedelta(days=4)
    listed = [_reported(row) for row in known if row.values.transacted_on >= from_on]
    fresh = [
        replace(row, values=replace(row.values, transacted_on=TO_ON, description="NOT SEEN BEFORE"))
        for row in make_rows(300 - len(listed), seed=2)
    ]
    pull = make_pull((*listed, *fresh), at=AT, from_on=from_on)
    times_ms = []
    for _ in range(RUNS * 4):
        began = perf_counter()
        changes = reconcile(known, pull, now=AT, past=Past(last_at=AT - timedelta(hours=1)))
        times_ms.append((perf_counter() - began) * 1000)
        if changes.verdict is not Verdict.APPLIED or len(changes.rows) != len(fresh):
            raise RuntimeError(
                f"expected {len(fresh)} new rows, got {changes.verdict} with {len(changes.rows)} changes"
            )
    ground.say(f"  {len(times_ms)} runs: {min(times_ms):.1f} to {max(times_ms):.1f} ms")
    return Result(name=benchmark.name, value=median(times_ms), unit="ms", size=benchmark.size)


def _known(row: Reported, n: int) -> Known:
    return Known(
        id=TransactionId(n + 1),
        state=row.state,
        values=row.values,
        bank_values=row.values,
        aggregator_ids=(row.aggregator_id or "",),
        first_pulled_at=AT - timedelta(days=1),
    )


def _reported(row: Known) -> Reported:
    return Reported(aggregator_id=row.aggregator_ids[-1], state=row.state, values=row.values)


async def _new_10k(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_new(ground, benchmark, rows=10_000)


async def _new_100k(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_new(ground, benchmark, rows=100_000)


async def _same_10k(ground: Ground, benchmark: Benchmark, commit_ms: float) -> Result:
    return await measure_same(ground, benchmark, commit_ms, rows=10_000)


async def _same_100k(ground: Ground, benchmark: Benchmark, commit_ms: float) -> Result:
    return await measure_same(ground, benchmark, commit_ms, rows=100_000)


BENCHMARKS = (
    Benchmark(
        name="reconcile.new_10k",
        text="a pull of new rows, committed",
        size=f"10,000 rows, median of {RUNS}",
        measure=_new_10k,
    ),
    Benchmark(
        name="reconcile.same_10k",
        text="the same list again, nothing written",
        size=f"10,000 rows, median of {RUNS}",
        measure=_same_10k,
    ),
    Benchmark(
        name="reconcile.pure_300_on_10k",
        text="the plan alone",
        size=f"300 rows on 10,000 known, median of {4 * RUNS}",
        measure=measure_pure,
    ),
    Benchmark(
        name="reconcile.new_100k",
        text="a pull of new rows, committed",
        size=f"100,000 rows, median of {RUNS}",
        measure=_new_100k,
        is_full=True,
    ),
    Benchmark(
        name="reconcile.same_100k",
        text="the same list again, nothing written",
        size=f"100,000 rows, median of {RUNS}",
        measure=_same_100k,
        is_full=True,
    ),
)
