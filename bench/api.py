"""The API under load: a page of transactions out of millions, and the feed of changes to its end. One real ingress process.

A page is asked for with a token, at an even pace, each time by another tenant's client; beside it the very same with the
policies of row-level security switched off. The feed is read as a stream and page by page, by a reader that only counts; its
floor is COPY of the same rows out of Postgres.
"""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp
import asyncpg
import orjson

from bench.feed import cpu_s, peak_mb
from bench.ground import CHECKOUT, HOST, Ground, Urls, fresh_database, running
from bench.ingress import free_port
from bench.load import Load
from bench.results import Benchmark, Result
from bench.tenants import TOKEN, Size, fill

PAGE = 100
RATE = 200.0  # requests a second
RUNS = 3
MOST_P99_MS = 15.0
MOST_TIMES = 1.3
LEAST_ROWS = 50_000  # a second
MOST_GROWTH_MB = 20.0
FEED_PAGE = 1_000
CHUNK_BYTES = 256 * 1024
QUICK = Size(tenants=200, clients=2, rows=5_000)
FULL = Size(tenants=1_000, clients=2, rows=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One reading of the feed to its end. `grown_mb` is how much the ingress's peak grew after the first tenth of the rows."""

    rows: int
    seconds: float
    ingress_cpu_s: float
    grown_mb: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


async def measure_page(ground: Ground, benchmark: Benchmark, size: Size, *, measured_s: float) -> Result:
    """Ask for pages with and without policies, in turn. Raises where an answer was refused."""
    async with _serving(ground, size) as (urls, port, pid):
        paths = _write_paths(ground, size)
        await _ask(port, paths, measured_s=measured_s)  # caches and plans
        floors, loads = [], []
        for n in range(1, RUNS + 1):
            cpu_began_s = cpu_s(pid) or 0
            loads.append(await _ask(port, paths, measured_s=measured_s))
            cpu_ms = ((cpu_s(pid) or 0) - cpu_began_s) / loads[-1].accepted * 1000
            await _set_policies(urls, "DISABLE")
            floors.append(await _ask(port, paths, measured_s=measured_s))
            await _set_policies(urls, "ENABLE")
            ground.say(
                f"  run {n}: with policies p50 {loads[-1].p50_ms:.1f} ms, p99 {loads[-1].p99_ms:.1f} ms; "
                f"without p50 {floors[-1].p50_ms:.1f} ms, p99 {floors[-1].p99_ms:.1f} ms; "
                f"{cpu_ms:.1f} ms of ingress a request"
            )
    p99_ms, floor_ms = (median(load.p99_ms for load in each) for each in (loads, floors))
    return Result(
        name=benchmark.name,
        value=p99_ms,
        unit=f"ms p99 at {RATE:g}/s",
        size=benchmark.size,
        floor=floor_ms,
        floor_text="ms without policies",
        target=f"p99 <= {MOST_P99_MS:g} ms, ratio <= {MOST_TIMES:g}",
        ok=p99_ms <= MOST_P99_MS and p99_ms <= MOST_TIMES * floor_ms,
    )


async def measure_changes(ground: Ground, benchmark: Benchmark, size: Size) -> Result:
    """Read all of one client's feed, and COPY the same rows. Raises where not every row came."""
    streams, floors = [], []
    async with _serving(ground, size) as (urls, port, pid):
        await _stream(port, pid, size)
        for n in range(1, RUNS + 1):
            floors.append(await _copy(urls, size))
            streams.append(await _stream(port, pid, size))
            paged = await _page_through(port, pid, size)
            ground.say(
                f"  run {n}: streamed {streams[-1].rate:,.0f} rows/s ({_say_cpu(streams[-1])}), by pages of {FEED_PAGE:,} "
                f"{paged.rate:,.0f} rows/s ({_say_cpu(paged)}), COPY {floors[-1]:,.0f} rows/s"
            )
    rate, grown_mb = median(each.rate for each in streams), max(each.grown_mb for each in streams)
    return Result(
        name=benchmark.name,
        value=rate,
        unit=f"rows/s, memory grew {grown_mb:.1f} MB",
        size=benchmark.size,
        floor=median(floors),
        floor_text="rows/s COPY",
        target=f">= {LEAST_ROWS:,} rows/s, growth <= {MOST_GROWTH_MB:g} MB",
        ok=rate >= LEAST_ROWS and grown_mb <= MOST_GROWTH_MB,
    )


@asynccontextmanager
async def _serving(ground: Ground, size: Size) -> AsyncIterator[tuple[Urls, int, int]]:
    """Fill a database and run an ingress on it; yield the database, its port and its process id."""
    port = free_port()
    async with fresh_database(ground) as urls:
        began = perf_counter()
        await fill(urls, size)
        ground.say(f"  {size.text} were laid in {perf_counter() - began:.0f} s")
        environ = {**urls.environ, "BANKFEED_PORT": str(port), "BANKFEED_CALLS_PER_MINUTE": "1000000"}
        async with running(ground, "ingress", port=port, environ=environ) as process:
            yield urls, port, process.pid


def _write_paths(ground: Ground, size: Size) -> Path:
    """Write what is asked: the first page of a client, in no order, each with its tenant's token."""
    chance = random.Random(7)
    lines = []
    for _ in range(10 * size.tenants):
        tenant = chance.randint(1, size.tenants)
        client = (tenant - 1) * size.clients + chance.randint(1, size.clients)
        lines.append(f"/api/v1/transactions?clientId={client}&limit={PAGE} {TOKEN.format(tenant)}")
    file = ground.folder / "pages.txt"
    file.write_text("\n".join(lines))
    return file


async def _ask(port: int, paths: Path, *, measured_s: float) -> Load:
    options = {"--port": port, "--paths": paths, "--rate": RATE, "--warm-s": 2.0, "--measured-s": measured_s}
    words = [str(word) for pair in options.items() for word in pair]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.asking", *words, stdout=asyncio.subprocess.PIPE, cwd=CHECKOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    load = Load(**orjson.loads(said))
    if load.refused or not load.accepted:
        raise RuntimeError(f"expected answers of 200 only, got {load.refused} others and {load.accepted} of these")
    return load


async def _set_policies(urls: Urls, word: str) -> None:
    """Switch row-level security on or off for every table that has it, as the owner; with FORCE it would go on for her too."""
    owner = await asyncpg.connect(urls.owner)
    for row in await owner.fetch(
        """
        SELECT c.oid::regclass::text AS name FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
        ORDER BY 1
        """
    ):
        force = "FORCE" if word == "ENABLE" else "NO FORCE"
        await owner.execute(f"ALTER TABLE {row['name']} {word} ROW LEVEL SECURITY, {force} ROW LEVEL SECURITY")
    await owner.close()


async def _copy(urls: Urls, size: Size) -> float:
    """COPY the client's rows out, as the superuser; return rows a second."""
    conn = await asyncpg.connect(urls.superuser)
    came = 0

    async def take(chunk: bytes) -> None:
        nonlocal came
        came += len(chunk)

    began = perf_counter()
    await conn.copy_from_query("SELECT * FROM transactions WHERE client_id = 1 ORDER BY change_no", output=take)
    seconds = perf_counter() - began
    await conn.close()
    return size.rows / seconds if came else 0.0


@asynccontextmanager
async def _asking() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {TOKEN.format(1)}", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(headers=headers, read_bufsize=CHUNK_BYTES) as session:
        yield session


async def _stream(port: int, pid: int, size: Size) -> Read:
    """Read the feed as one stream, and count its lines."""
    rows, first_mb = 0, None
    url = f"http://{HOST}:{port}/api/v1/transactions/changes?clientId=1&stream=true"
    async with _asking() as session:
        began, cpu_began_s = perf_counter(), cpu_s(pid) or 0
        async with session.get(url) as answer:
            async for chunk in answer.content.iter_any():
                rows += chunk.count(b"\n") - chunk.count(b'{"change":"cursor"')
                if first_mb is None and rows > size.rows / 10:
                    first_mb = peak_mb(pid)
        seconds, used_s = perf_counter() - began, (cpu_s(pid) or 0) - cpu_began_s
    return _make_read(size, rows=rows, seconds=seconds, cpu=used_s, grown_mb=(peak_mb(pid) or 0) - (first_mb or 0))


async def _page_through(port: int, pid: int, size: Size) -> Read:
    """Read the feed page by page. A page is looked at for its cursor only: how fast a caller parses is not measured."""
    rows, cursor, has_more = 0, "", True
    async with _asking() as session:
        began, cpu_began_s = perf_counter(), cpu_s(pid) or 0
        while has_more:
            query = f"clientId=1&limit={FEED_PAGE}{cursor}"
            async with session.get(f"http://{HOST}:{port}/api/v1/transactions/changes?{query}") as answer:
                body = await answer.read()
            said: dict[str, Any] = orjson.loads(
                b"{" + body[body.rindex(b'"nextCursor"') : body.rindex(b',"links"')] + b"}"
            )
            rows, cursor, has_more = rows + _count_rows(body), f"&cursor={said['nextCursor']}", said["hasMore"]
        seconds, used_s = perf_counter() - began, (cpu_s(pid) or 0) - cpu_began_s
    return _make_read(size, rows=rows, seconds=seconds, cpu=used_s, grown_mb=0.0)


def _count_rows(body: bytes) -> int:
    """Count a page's rows: those in view, and the ids of the removed."""
    removed = body[body.rindex(b'"removed":[') + len(b'"removed":[') : body.rindex(b'],"nextCursor"')]
    return body.count(b'"changeNo":') + (removed.count(b",") + 1 if removed else 0)


def _make_read(size: Size, *, rows: int, seconds: float, cpu: float, grown_mb: float) -> Read:
    if rows != size.rows:
        raise RuntimeError(f"expected {size.rows:,} rows of the feed, got {rows:,}")
    return Read(rows=rows, seconds=seconds, ingress_cpu_s=cpu, grown_mb=grown_mb)


def _say_cpu(read: Read) -> str:
    return f"{read.ingress_cpu_s / read.rows * 1e6:.1f} us of ingress a row"


async def measure_page_quick(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Pages out of a million rows."""
    return await measure_page(ground, benchmark, QUICK, measured_s=6.0)


async def measure_page_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Pages out of ten million rows."""
    return await measure_page(ground, benchmark, FULL, measured_s=20.0)


async def measure_changes_quick(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """A feed of a hundred thousand rows."""
    return await measure_changes(ground, benchmark, Size(tenants=1, clients=1, rows=100_000))


async def measure_changes_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """A feed of a million rows."""
    return await measure_changes(ground, benchmark, Size(tenants=1, clients=1, rows=1_000_000))


_PAGES = "a page of a client's transactions, answered at the API"
_FEED = "a client's feed of changes, from the beginning to the end"
BENCHMARKS = (
    Benchmark(name="api.transactions_page", text=_PAGES, size=QUICK.text, measure=measure_page_quick),
    Benchmark(name="api.changes", text=_FEED, size="100,000 rows", measure=measure_changes_quick),
    Benchmark(name="api.transactions_page_full", text=_PAGES, size=FULL.text, measure=measure_page_full, is_full=True),
    Benchmark(name="api.changes_full", text=_FEED, size="1,000,000 rows", measure=measure_changes_full, is_full=True),
)
