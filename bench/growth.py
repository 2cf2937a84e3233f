"""What a refresh costs on a long account, and that a row costs no more in a long list than in a short one.

`python -m bench.growth ROWS` is the child that measures memory: a process of its own, so that its peak is the pull's. It
is told the database in the environment, makes an account of so many rows, refreshes all of it and prints one line.
"""

import asyncio
import logging
import os
import resource
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from statistics import median

import orjson
import structlog

from bankfeed.model import Reported
from bench.ground import CHECKOUT, Ground, Urls, fresh_database
from bench.reconcile import AT, RUNS, TO_ON, Bench, join, make_account, make_pull, make_rows, prepare
from bench.results import Benchmark, Result

REFRESHED_ROWS = 300
REFRESHED_DAYS = 4
REFRESH_MS = 40
MOST_MB = 300
MOST_GROWTH = 1.5  # of the time per row, from the shortest list to the longest; more is no noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What a list of so many rows cost: microseconds a row when new and when refreshed, and the process's peak."""

    rows: int
    new_us: float
    refresh_us: float
    peak_mb: float


async def measure_refresh(ground: Ground, benchmark: Benchmark, commit_ms: float) -> Result:
    """Refresh the last days of a long account: most rows as they were, the others new, and as many withdrawn."""
    listed, reported = make_account(1), make_rows(10_000, seed=1)
    from_on = TO_ON - timedelta(days=REFRESHED_DAYS)
    same = [row for row in reported if row.values.transacted_on >= from_on]
    times_ms = []
    async with prepare(ground) as bench:
        await bench.commit(listed, make_pull(reported, at=AT))
        for n in range(RUNS * 2):
            fresh = _fresh(REFRESHED_ROWS - len(same), seed=n + 2)
            pull = make_pull((*same, *fresh), at=AT + timedelta(hours=n + 1), from_on=from_on)
            times_ms.append(1000 * await bench.commit(listed, pull))
    ground.say(f"  {len(times_ms)} runs: {min(times_ms):.1f} to {max(times_ms):.1f} ms")
    return Result(
        name=benchmark.name,
        value=median(times_ms),
        unit="ms",
        size=benchmark.size,
        floor=commit_ms,
        floor_text="ms: one row committed",
        target=f"<= {REFRESH_MS} ms",
        ok=median(times_ms) <= REFRESH_MS,
    )


def _fresh(rows: int, *, seed: int) -> tuple[Reported, ...]:
    return tuple(
        replace(row, values=replace(row.values, transacted_on=TO_ON, description=f"NOT SEEN BEFORE {seed}"))
        for row in make_rows(rows, seed=seed)
    )


async def measure_growth(ground: Ground, benchmark: Benchmark, sizes: tuple[int, ...]) -> Result:
    """Pull and refresh ever longer lists, each in a fresh process; the longest may cost no more a row."""
    found = []
    for rows in sizes:
        grown = await _measure_child(ground, rows)
        ground.say(
            f"  {rows:,} rows: {grown.new_us:.0f} us a row new, {grown.refresh_us:.0f} us refreshed, {grown.peak_mb:.0f} MB"
        )
        found.append(grown)
    growth = max(found[-1].new_us / found[0].new_us, found[-1].refresh_us / found[0].refresh_us)
    return Result(
        name=benchmark.name,
        value=growth,
        unit=f"times a row's time, {found[-1].peak_mb:.0f} MB",
        size=benchmark.size,
        target=f"<= {MOST_GROWTH}, {MOST_MB} MB",
        ok=growth <= MOST_GROWTH and found[-1].peak_mb <= MOST_MB,
    )


async def _measure_child(ground: Ground, rows: int) -> Grown:
    async with fresh_database(ground) as urls:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.growth", str(rows), urls.owner),
            cwd=CHECKOUT,
            env={**os.environ, **urls.environ},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"expected the child that pulls {rows} rows to end well, got {process.returncode}")
    return Grown(**orjson.loads(output))


async def _grow(rows: int, urls: Urls) -> Grown:
    """Pull a new account of so many rows, and all of it again under new ids of one row in ten."""
    listed, reported = make_account(1), make_rows(rows, seed=1)
    async with join(urls) as bench:
        await _warm_up(bench)
        new_s = await bench.commit(listed, make_pull(reported, at=AT))
        changed = tuple(
            replace(row, aggregator_id=f"again {row.aggregator_id}") if n % 10 == 0 else row
            for n, row in enumerate(reported)
        )
        refresh_s = await bench.commit(listed, make_pull(changed, at=AT + timedelta(hours=1)))
    return Grown(
        rows=rows,
        new_us=1e6 * new_s / rows,
        refresh_us=1e6 * refresh_s / rows,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


async def _warm_up(bench: Bench) -> None:
    """Let a first pull prepare every statement."""
    for n in range(2):
        await bench.commit(make_account(2), make_pull(make_rows(10, seed=2), at=AT + timedelta(hours=n)))


async def _growth(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_growth(ground, benchmark, (1_000, 10_000))


async def _growth_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_growth(ground, benchmark, (1_000, 10_000, 100_000))


BENCHMARKS = (
    Benchmark(
        name="reconcile.refresh_300_on_10k",
        text="a refresh of the last days of a long account, committed",
        size=f"{REFRESHED_ROWS} rows on 10,000, median of {2 * RUNS}",
        measure=measure_refresh,
    ),
    Benchmark(
        name="reconcile.growth",
        text="a row's time, new and refreshed, in ever longer lists",
        size="1,000 to 10,000 rows",
        measure=_growth,
    ),
    Benchmark(
        name="reconcile.growth_full",
        text="a row's time, new and refreshed, in ever longer lists",
        size="1,000 to 100,000 rows",
        measure=_growth_full,
        is_full=True,
    ),
)


def main() -> None:
    """Measure in this process, and print what was found."""
    rows, owner = int(sys.argv[1]), sys.argv[2]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    urls = Urls(superuser="", owner=owner, environ=dict(os.environ))
    print(orjson.dumps(asyncio.run(_grow(rows, urls))).decode())


if __name__ == "__main__":
    main()
