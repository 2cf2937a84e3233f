"""`python -m bench`: run the benchmarks, print one table, write bench/results.json."""

import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import structlog
from rich.console import Console

from bankfeed.local import LocalPostgres, LocalRedis, erase
from bankfeed.runtime import collect_rarely
from bench import api, api_institutions, deliver, growth, ingress, night, reconcile, simulated, sync, waiting
from bench.ground import Ground, lay_ground
from bench.machine import describe_machine, find_commit, measure_commit_ms
from bench.results import Benchmark, Result, make_table, write_results

BENCHMARKS: tuple[Benchmark, ...] = (
    *ingress.BENCHMARKS,
    *reconcile.BENCHMARKS,
    *growth.BENCHMARKS,
    *simulated.BENCHMARKS,
    *sync.BENCHMARKS,
    *night.BENCHMARKS,
    *deliver.BENCHMARKS,
    *waiting.BENCHMARKS,
    *api.BENCHMARKS,
    *api_institutions.BENCHMARKS,
)
FILE_COLUMNS = 140  # of the table in a file or a pipe
RESULTS_FILE = Path(__file__).with_name("results.json")


@click.command()
@click.option("--full", "is_full", is_flag=True, help="Also the benchmarks at full size, which take longer.")
@click.option("--only", metavar="NAME", help="Only the benchmarks whose name is this or begins with it.")
def main(*, is_full: bool, only: str | None) -> None:
    """Measure, each benchmark beside its floor, and print one table.

    Everything runs on this machine, on loopback addresses, with a Postgres that really syncs (fsync on).
    """
    chosen = choose(BENCHMARKS, only, is_full=is_full)
    console = _console()
    # a benchmark's progress is told by the benchmark
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    collect_rarely()  # as the processes do whose code is measured in here
    folder = Path(tempfile.mkdtemp(prefix="bankfeed-bench-"))
    try:
        with LocalPostgres(folder) as postgres, LocalRedis(folder) as redis:
            asyncio.run(_run(chosen, Ground(folder=folder, postgres=postgres, redis=redis, say=console.print), console))
    finally:
        erase(folder)


def choose(benchmarks: Sequence[Benchmark], only: str | None, *, is_full: bool) -> list[Benchmark]:
    """Return the benchmarks to run. Raises UsageError (exit 2) that says which there are."""
    wanted = [each for each in benchmarks if only is None or each.name.startswith(only)]
    if not wanted:
        names = ", ".join(each.name for each in benchmarks)
        raise click.UsageError(f"expected --only to be one of these or the beginning of one: {names}; got {only!r}")
    return [each for each in wanted if is_full or not each.is_full or each.name == only]


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=FILE_COLUMNS)


async def _run(chosen: Sequence[Benchmark], ground: Ground, console: Console) -> None:
    machine = describe_machine()
    if machine["load_1m"] > machine["cores"] / 2:
        console.print(
            f"the machine is busy (load {machine['load_1m']} on {machine['cores']} cores): expect low figures"
        )
    await lay_ground(ground)
    commit_ms = await measure_commit_ms(ground)
    console.print(f"one row committed: {commit_ms:.2f} ms")
    results: list[Result] = []
    for benchmark in chosen:
        console.print(f"{benchmark.name}: {benchmark.text} ({benchmark.size})")
        results.append(await benchmark.measure(ground, benchmark, commit_ms))
    machine["commit_ms"] = round(commit_ms, 3)
    write_results(RESULTS_FILE, results, machine=machine, commit=find_commit())
    console.print(make_table(results))
    console.print(f"written to {RESULTS_FILE}")


if __name__ == "__main__":
    main()
