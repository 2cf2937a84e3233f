"""How fast and how soon events reach subscribers, and what one that never answers does to the others.

The worker and the subscribers are processes, and every attempt is recorded and committed. Events come from this process
through the product's own statement and its own wake-ups. One clock measures: on one machine `perf_counter` is the same in
every process.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle, islice
from statistics import median
from time import perf_counter
from typing import Any

from bankfeed.db.delivery import end_deliveries
from bankfeed.db.event import OutboundEvent
from bench.ground import CHECKOUT, Ground
from bench.results import Benchmark, Result, make_result
from bench.subscribers import Subscribers, Target, describe_cpu, prepare
from bench.sync import percentile

ENDPOINTS = 100
LEAST_RATIO = 0.40
EDGE_SHARE = 0.1  # of the deliveries, at the beginning and at the end: starting up, and the last ones trickling in

RATE = 100
WARM_EVENTS = RATE
P50_MS = 50
P99_MS = 250
FLOOR_ROUNDS = 100
SETTLE_S = 30.0
ASK_S = 0.05

MOST_SLOWER = 1.2
BAD_RATE = 10
BAD_BACKLOG = 1_000


async def measure_rate(ground: Ground, benchmark: Benchmark, *, deliveries: int) -> Result:
    """Let deliveries wait, start one worker, and see how fast it gets them recorded; before and after, the bare client."""
    async with prepare(ground, endpoints=ENDPOINTS) as world:
        events = await world.lay(deliveries)
        floors = [await _post_bare(world, events)]
        async with world.worker() as worker:
            before, early = world.read_cpu(worker), await world.count_receipts()
            await world.wait_for(deliveries)
            await world.wait_until_recorded()
            used = describe_cpu(before, world.read_cpu(worker), deliveries=deliveries - early)
        rate = count_steady(await _read_finished(world, deliveries))
        await world.take_receipts()
        floors.append(await _post_bare(world, events))
    ground.say(
        f"  recorded {rate:,.0f} deliveries/s; bare client {' and '.join(f'{floor:,.0f}/s' for floor in floors)}; "
        f"{used}; load {os.getloadavg()[0]:.1f}"
    )
    floor = sum(floors) / len(floors)
    return make_result(
        benchmark, rate, unit="deliveries/s", floor=floor, floor_text="bare aiohttp client", least=LEAST_RATIO
    )


def count_steady(times_s: Sequence[float]) -> float:
    """Return how many come in a second, the first and the last tenth left out.

    >>> count_steady([0.0, *(10 + n / 4 for n in range(18)), 99.0])
    4.0
    """
    edge = max(int(len(times_s) * EDGE_SHARE), 1)
    steady = sorted(times_s)[edge:-edge]
    return (len(steady) - 1) / (steady[-1] - steady[0])


async def _post_bare(world: Subscribers, events: Sequence[OutboundEvent]) -> float:
    """Let a bare client post the bodies of these events; return how many a second the subscribers took."""
    bodies = world.ground.folder / "bodies.txt"
    bodies.write_bytes(b"\n".join(event.body for event in events))
    options = {
        "--port": world.sink_port,
        "--bodies": bodies,
        "--at-once": world.urls.settings.delivery_slots,
        "--endpoints": len(world.targets),
    }
    words = [str(word) for pair in options.items() for word in pair]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.posting", *words, cwd=CHECKOUT)
    if await process.wait() != 0:
        raise RuntimeError(f"the bare client ended with {process.returncode}")
    receipts = await world.take_receipts()
    if len(receipts) != len(events):
        raise RuntimeError(f"expected the bare client to post {len(events)} bodies, got {len(receipts)}")
    return count_steady([receipt.at_s for receipt in receipts])


async def _read_finished(world: Subscribers, deliveries: int) -> list[float]:
    """Read when each delivery was recorded, in seconds. Raises where one is without its attempt, or was not taken."""
    rows = await world.conn.fetch(
        """
        SELECT extract(epoch FROM d.finished_at)::float8 AS at_s FROM deliveries d
        JOIN attempts a ON a.customer_id = d.customer_id AND a.delivery_id = d.id AND a.delivery_created_at = d.created_at
        WHERE d.state = 'delivered' AND a.status = 200
        """
    )
    if len(rows) != deliveries:
        raise RuntimeError(f"expected {deliveries} deliveries with an attempt each, got {len(rows)}")
    return [row["at_s"] for row in rows]


async def measure_first_attempt(ground: Ground, benchmark: Benchmark, *, seconds: int) -> Result:
    """Commit events at a steady pace whatever becomes of them, and time each from its commit's return to its receipt."""
    async with prepare(ground, endpoints=ENDPOINTS) as world, world.worker() as worker:
        await _time_events(world, _in_turn(world.targets, WARM_EVENTS))
        floors = await _measure_floor(world)
        before = world.read_cpu(worker)
        times_ms = await _time_events(world, _in_turn(world.targets, RATE * seconds))
        used = describe_cpu(before, world.read_cpu(worker), deliveries=len(times_ms))
        floors += await _measure_floor(world)
    ground.say(f"  {_describe(times_ms)}; {used}; load {os.getloadavg()[0]:.1f}")
    p50_ms, p99_ms = percentile(times_ms, 50), percentile(times_ms, 99)
    return Result(
        name=benchmark.name,
        value=p50_ms,
        unit=f"ms, p99 {p99_ms:,.0f} ms",
        size=benchmark.size,
        floor=median(floors),
        floor_text="ms: one row and one POST",
        target=f"<= {P50_MS} ms, p99 {P99_MS} ms",
        ok=p50_ms <= P50_MS and p99_ms <= P99_MS,
    )


async def measure_bad_neighbour(ground: Ground, benchmark: Benchmark, *, seconds: int) -> Result:
    """Time the deliveries of 99 endpoints without, with and without events for one that never answers."""
    async with prepare(ground, endpoints=ENDPOINTS, silent=1) as world, world.worker():
        *good, bad = world.targets
        chosen = _in_turn(good, RATE * seconds)
        await _time_events(world, _in_turn(good, WARM_EVENTS))
        before_ms = await _time_events(world, chosen)
        beside_ms = await _time_beside(world, chosen, bad)
        taken = await _end_silence(world, bad)
        after_ms = await _time_events(world, chosen)
    for words, times_ms in (("without", before_ms), ("with it", beside_ms), ("without", after_ms)):
        ground.say(f"  {words}: {_describe(times_ms)}")
    ground.say(f"  the silent one took {taken} attempts; load {os.getloadavg()[0]:.1f}")
    p99_ms, without_ms = percentile(beside_ms, 99), percentile(before_ms + after_ms, 99)
    return Result(
        name=benchmark.name,
        value=p99_ms,
        unit=f"ms p99; the silent one took {taken} attempts",
        size=benchmark.size,
        floor=without_ms,
        floor_text="ms p99 without it",
        target=f"<= {MOST_SLOWER} times",
        ok=p99_ms <= MOST_SLOWER * without_ms,
    )


async def _time_beside(world: Subscribers, chosen: Sequence[Target], bad: Target) -> list[float]:
    """Time deliveries while a backlog waits for the endpoint that never answers, and more comes in."""
    await world.commit(bad, [bad.make_event() for _ in range(BAD_BACKLOG)])
    more = asyncio.create_task(_commit_steadily(world, [bad] * len(chosen), rate=BAD_RATE))
    times_ms = await _time_events(world, chosen)
    more.cancel()
    with suppress(asyncio.CancelledError):
        await more
    return times_ms


async def _end_silence(world: Subscribers, bad: Target) -> int:
    """Throw away what waits for the silent endpoint and let it answer; return how many attempts it took."""
    async with world.database.tenant(bad.customer_id) as conn:
        await end_deliveries(conn, bad.customer_id, bad.endpoint_id, limit=1_000_000, reason="the measuring is over")
    taken = await world.heal()
    await world.wait_until_recorded()
    return taken


async def _time_events(world: Subscribers, targets: Sequence[Target]) -> list[float]:
    """Commit an event for each of these, and return the ms from each commit's return to its first attempt's receipt."""
    committed = await _commit_steadily(world, targets, rate=RATE)
    received: dict[str, float] = {}
    until = perf_counter() + SETTLE_S
    while not committed.keys() <= received.keys():
        if perf_counter() > until:
            missing = len(committed.keys() - received.keys())
            raise RuntimeError(f"expected {len(committed)} events at their endpoints, got all but {missing}")
        await asyncio.sleep(ASK_S)
        for receipt in await world.take_receipts():
            received.setdefault(receipt.message_id, receipt.at_s)
    return [1000 * (received[message_id] - at_s) for message_id, at_s in committed.items()]


async def _commit_steadily(world: Subscribers, targets: Sequence[Target], *, rate: float) -> dict[str, float]:
    """Commit at moments fixed beforehand: what is late does not make the next one late. Return when each commit was back."""
    committed: dict[str, float] = {}

    async def commit(target: Target) -> None:
        event = target.make_event()
        await world.commit(target, [event])
        committed[str(event.event_id)] = perf_counter()
        world.wake()

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for n, target in enumerate(targets):
            await asyncio.sleep(began + n / rate - loop.time())
            tasks.create_task(commit(target))
    return committed


async def _measure_floor(world: Subscribers) -> list[float]:
    """Return the ms of bare rounds: one row committed, and one POST to the subscribers."""
    await world.conn.execute("CREATE TABLE IF NOT EXISTS rounds (at timestamptz)")
    times_ms = []
    for _ in range(FLOOR_ROUNDS):
        began = perf_counter()
        await world.conn.execute("INSERT INTO rounds VALUES (now())")
        async with world.http.post(world.url("/to/0"), data=b"{}") as answer:
            await answer.read()
        times_ms.append((perf_counter() - began) * 1000)
    return times_ms


def _in_turn(targets: Sequence[Target], count: int) -> list[Target]:
    return list(islice(cycle(targets), count))


def _describe(times_ms: list[float]) -> str:
    return (
        f"{len(times_ms):,} events: p50 {percentile(times_ms, 50):.0f} ms, p90 {percentile(times_ms, 90):.0f} ms, "
        f"p99 {percentile(times_ms, 99):.0f} ms, longest {max(times_ms):.0f} ms"
    )


async def _rate(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_rate(ground, benchmark, deliveries=20_000)


async def _rate_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_rate(ground, benchmark, deliveries=200_000)


async def _first_attempt(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_first_attempt(ground, benchmark, seconds=6)


async def _first_attempt_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_first_attempt(ground, benchmark, seconds=60)


async def _bad_neighbour(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_bad_neighbour(ground, benchmark, seconds=5)


async def _bad_neighbour_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_bad_neighbour(ground, benchmark, seconds=60)


def _make(name: str, text: str, size: str, measure: Any) -> Benchmark:
    return Benchmark(name=name, text=text, size=size, measure=measure, is_full=name.endswith("_full"))


_FAST = "deliveries to subscribers, each attempt recorded"
_SOON = "from an event's commit to its first attempt"
_BESIDE = "the others beside an endpoint that never answers"
_PACE = f"{RATE} events/s for {{}} s, {ENDPOINTS} endpoints"
_TURNS = f"{RATE} events/s for 3 x {{}} s, 1 of {ENDPOINTS} endpoints bad"

BENCHMARKS = (
    _make("deliver.rate", _FAST, f"20,000 deliveries, {ENDPOINTS} endpoints, one worker", _rate),
    _make("deliver.first_attempt", _SOON, _PACE.format(6), _first_attempt),
    _make("deliver.bad_neighbour", _BESIDE, _TURNS.format(5), _bad_neighbour),
    _make("deliver.rate_full", _FAST, f"200,000 deliveries, {ENDPOINTS} endpoints, one worker", _rate_full),
    _make("deliver.first_attempt_full", _SOON, _PACE.format(60), _first_attempt_full),
    _make("deliver.bad_neighbour_full", _BESIDE, _TURNS.format(60), _bad_neighbour_full),
)
