"""How right the engine is: simulated feeds with known truth, and written feed histories with known ends.

Nothing here is fast or slow: the figures follow from the seeds and the files, and are the same on every machine.
"""

import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from bankfeed.sandbox.simulate import run_all
from bankfeed.sandbox.simulation.history import Recipe
from bankfeed.sandbox.simulation.report import Figures
from bench.ground import Ground
from bench.results import Benchmark, Result

SEEDS = (1, 2, 3)
DAYS = 90
LEAST_PERCENT = 99.0
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "scenarios"
FOLDERS = (SHARED, ROOT / "tests" / "scenarios")
CHECK_LIMIT_S = 600


def judge(figures: Figures) -> bool:
    """Tell whether the promise is kept: exact after every pull, links right, and no wrong one that nobody was asked about.

    >>> judge(Figures(links=100, links_right=99)), judge(Figures(rows_missing=1))
    (True, False)
    """
    return figures.is_exact and figures.right_percent >= LEAST_PERCENT and not figures.links_wrong_undoubted


def describe(figures: Figures) -> str:
    """Say in words what was found besides the links that are right."""
    return (
        f"{figures.pulls:,} pulls: {figures.rows_too_many} rows too many, {figures.rows_missing} missing, "
        f"{figures.wrong_states} in a wrong state; {figures.links:,} links: {figures.links_wrong_doubted} wrong with a "
        f"doubt, {figures.links_wrong_undoubted} without; {figures.doubts} doubts"
    )


async def measure_simulated(ground: Ground, benchmark: Benchmark, *, accounts: int) -> Result:
    """Run simulated accounts through the engine and judge every pull."""
    began = perf_counter()
    chosen = [(seed, number) for seed in SEEDS for number in range(1, accounts + 1)]
    figures = run_all(chosen, Recipe(days=DAYS)).figures
    ground.say(f"  {describe(figures)} ({perf_counter() - began:.0f} s)")
    return Result(
        name=benchmark.name,
        value=figures.right_percent,
        unit="% of links right",
        size=f"{benchmark.size}: {describe(figures)}",
        target=f"exact, >= {LEAST_PERCENT:.0f} %, 0 without a doubt",
        ok=judge(figures),
    )


async def measure_scenarios(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Run the written histories through `bankfeed replay`, as their own checker does."""
    check = SHARED / "check.py"
    if not check.exists():
        reason = "skipped: no shared/scenarios beside the checkout"
        ground.say(f"  {reason}")
        return Result(name=benchmark.name, value=0, unit="right", size=reason)
    right = total = 0
    for folder in filter(Path.exists, FOLDERS):
        counts = _check(check, folder)
        ground.say(f"  {folder.parent.name}/{folder.name}: {counts[0]} of {counts[1]} right")
        right, total = right + counts[0], total + counts[1]
    return Result(
        name=benchmark.name,
        value=right,
        unit="right",
        size=f"{total} histories",
        target=f"{total} of {total}",
        ok=right == total > 0,
    )


def _check(check: Path, folder: Path) -> tuple[int, int]:
    """Return how many histories of a folder end right, and of how many."""
    command = [
        sys.executable,
        str(check),
        str(folder),
        str(Path(sys.executable).with_name("bankfeed")),
        "replay",
        "--json",
    ]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CHECK_LIMIT_S, check=False).stdout
    found = re.search(r"(\d+) of (\d+) right\s*$", said)
    if found is None:
        raise RuntimeError(f"expected the checker to end with 'N of M right', got {said[-200:]!r}")
    return int(found[1]), int(found[2])


async def _tenth(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_simulated(ground, benchmark, accounts=5)


async def _full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_simulated(ground, benchmark, accounts=50)


BENCHMARKS = (
    Benchmark(
        name="reconcile.scenarios",
        text="written feed histories, ending as they should",
        size="every history of two folders",
        measure=measure_scenarios,
    ),
    Benchmark(
        name="reconcile.simulated",
        text="simulated feeds against their truth, after every pull",
        size=f"5 accounts x {DAYS} days x {len(SEEDS)} seeds",
        measure=_tenth,
    ),
    Benchmark(
        name="reconcile.simulated_full",
        text="simulated feeds against their truth, after every pull",
        size=f"50 accounts x {DAYS} days x {len(SEEDS)} seeds",
        measure=_full,
        is_full=True,
    ),
)
