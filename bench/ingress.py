"""How many webhooks a second one ingress process accepts, and how soon: stored, committed and answered 200.

The floor is a bare aiohttp handler that reads and parses the body; generator, connections and body are the same, and the
two take turns. No worker runs: it would have a core of its own elsewhere. How soon is measured at half of the rate that was
just measured, with requests that leave when they are due, whatever became of those before them.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

import asyncpg
import orjson

from bankfeed.db.source import upsert_platform_source
from bench.ground import CHECKOUT, HOST, Ground, Urls, fresh_database, running
from bench.load import BODY_BYTES, CONNECTIONS, Load
from bench.results import Benchmark, Result, make_result

LEAST_RATIO = 0.60
MOST_P99_MS = 25.0
MOST_EVENTS = 1_000_000  # of one run; the time is over long before
PATH_SECRET = "an-unguessable-part-of-a-path"  # noqa: S105 - of a database that lives for minutes
PATH = f"/webhooks/ledgersync/{PATH_SECRET}"
BUSY_SHARE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often and how long is measured."""

    runs: int
    warm_s: float
    measured_s: float

    @property
    def text(self) -> str:
        """Say it for the table."""
        return f"{CONNECTIONS} connections, {BODY_BYTES} bytes, median of {self.runs} x {self.measured_s:g} s"


QUICK = Plan(runs=3, warm_s=1.0, measured_s=4.0)
PACED = Plan(runs=3, warm_s=1.0, measured_s=5.0)
FULL = Plan(runs=5, warm_s=3.0, measured_s=20.0)


async def measure_quick(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Measure for some seconds."""
    return await measure_accepting(ground, benchmark, QUICK)


async def measure_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Measure for minutes."""
    return await measure_accepting(ground, benchmark, FULL)


async def measure_latency(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Find the rate, then measure at half of it. Raises where an answer of 200 has no committed row."""
    async with _both_servers(ground) as (urls, floor_port, ingress_port):
        first = await _load(ingress_port, QUICK, 0)
        rate, floors, loads = first.rate / 2, [], []
        ground.say(f"  {first.rate:,.0f}/s were accepted; half of that is {rate:,.0f}/s")
        for n in range(1, PACED.runs + 1):
            floors.append(await _load(floor_port, PACED, n, "bench.pace", "--rate", str(rate)))
            loads.append(await _load(ingress_port, PACED, n, "bench.pace", "--rate", str(rate)))
            _say_turn(ground, n - 1, floors[-1], loads[-1])
        await _require_rows(urls, first.accepted + sum(load.accepted for load in loads))
    p99_ms = median(load.p99_ms for load in loads)
    return Result(
        name=benchmark.name,
        value=p99_ms,
        unit=f"ms p99 at {rate:,.0f}/s",
        size=benchmark.size,
        floor=median(load.p99_ms for load in floors),
        floor_text="ms bare aiohttp",
        target=f"p99 <= {MOST_P99_MS:g} ms",
        ok=p99_ms <= MOST_P99_MS,
    )


async def measure_accepting(ground: Ground, benchmark: Benchmark, plan: Plan) -> Result:
    """Load the bare handler and a real ingress in turn. Raises where an answer of 200 has no committed row."""
    async with _both_servers(ground) as (urls, floor_port, ingress_port):
        floors, loads = [], []
        for n in range(plan.runs):
            floors.append(await _load(floor_port, plan, n))
            loads.append(await _load(ingress_port, plan, n))
            _say_turn(ground, n, floors[-1], loads[-1])
        await _require_rows(urls, sum(load.accepted for load in loads))
    return make_result(
        benchmark,
        median(load.rate for load in loads),
        unit="events/s",
        floor=median(load.rate for load in floors),
        floor_text="bare aiohttp",
        least=LEAST_RATIO,
    )


@asynccontextmanager
async def _both_servers(ground: Ground) -> AsyncIterator[tuple[Urls, int, int]]:
    """Run the bare handler and a real ingress; yield the database and the ports of the two."""
    floor_port, ingress_port = free_port(), free_port()
    async with fresh_database(ground) as urls:
        await _make_source(urls)
        environ = {**urls.environ, "BANKFEED_PORT": str(ingress_port)}
        async with (
            running(ground, "bench.floor", str(floor_port), port=floor_port, environ={}),
            running(ground, "ingress", port=ingress_port, environ=environ),
        ):
            yield urls, floor_port, ingress_port


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _make_source(urls: Urls) -> None:
    owner = await asyncpg.connect(urls.owner)
    await upsert_platform_source(
        owner, slug="ledgersync", connector="finicity", dialect="ledgersync", verifier="path", secrets=[PATH_SECRET]
    )
    await owner.close()


async def _load(port: int, plan: Plan, n: int, module: str = "bench.load", *more: str) -> Load:
    options = {
        "--port": port,
        "--path": PATH,
        "--first": n * MOST_EVENTS,
        "--most": MOST_EVENTS,
        "--warm-s": plan.warm_s,
        "--measured-s": plan.measured_s,
    }
    words = [str(word) for pair in options.items() for word in pair]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words, *more, stdout=asyncio.subprocess.PIPE, cwd=CHECKOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return Load(**orjson.loads(said))


def _say_turn(ground: Ground, n: int, floor: Load, load: Load) -> None:
    ground.say(
        f"  run {n + 1}: bare {floor.rate:,.0f}/s (p99 {floor.p99_ms:.1f} ms), "
        f"ingress {load.rate:,.0f}/s (p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms, {load.refused} refused); "
        f"generator {floor.cpu_share:.0%} and {load.cpu_share:.0%} of a core"
    )
    if floor.cpu_share > BUSY_SHARE:
        ground.say("  the generator was busy all the time: the floor is higher than it could measure")


async def _require_rows(urls: Urls, accepted: int) -> None:
    conn = await asyncpg.connect(urls.superuser)
    rows = await conn.fetchval("SELECT count(*) FROM inbox")
    await conn.close()
    if rows != accepted:
        raise RuntimeError(f"expected a committed row for each answer of 200: {accepted} answers, {rows} rows")


BENCHMARKS = (
    Benchmark(
        name="ingress.accept_rate", text="webhooks accepted and committed", size=QUICK.text, measure=measure_quick
    ),
    Benchmark(
        name="ingress.accept_p99",
        text="the time that accepting takes, at half that rate",
        size=f"open loop, {PACED.text}",
        measure=measure_latency,
    ),
    Benchmark(
        name="ingress.accept_rate_full",
        text="the same, for longer",
        size=FULL.text,
        measure=measure_full,
        is_full=True,
    ),
)
