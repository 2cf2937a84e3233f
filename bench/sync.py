"""How soon an event's rows are visible, and how a backlog of events is worked off: ingress, worker, Redis, all for real.

A row is visible when its transaction is committed. A trigger of the benchmark's own tells that moment (NOTIFY reaches its
listener after the commit, never before), so that nobody polls, and one clock measures: that of the process that sends.
"""

import asyncio
import os
import random
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg

from bench.feed import Feed, cpu_s, peak_mb, prepare
from bench.ground import Ground
from bench.results import Benchmark, Result

RATE = 50
ROWS = 100
P50_MS = 100
P99_MS = 500
CONNECTIONS = 200
FLOOR_ROUNDS = 100
SETTLE_S = 60.0

MOST_SLOWER = 1.5
MOST_MB = 200
TENTHS = 10
BACKLOG_ROWS = 20
ARRIVING_SHARE = 10  # one in ten comes in through ingress, whose memory is that of a process that has worked
SENDERS = 32


@dataclass(slots=True, kw_only=True)
class Watch:
    """Which marks are on their way for each account, and how long the others took. A later mark shows an earlier one."""

    sent: dict[int, dict[str, float]] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)
    accepted_ms: list[float] = field(default_factory=list)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)
    expected: int = 0

    def note_sent(self, number: int, mark: str) -> None:
        """Note that an event leaves now."""
        self.sent.setdefault(number, {})[mark] = perf_counter()

    def hear(self, *said: Any) -> None:
        """Take one notification: connection, pid, channel, payload."""
        self.note_visible(said[-1])

    def note_visible(self, mark: str) -> None:
        """Note that rows with this mark, and with those sent before it for the account, are there now."""
        now = perf_counter()
        waiting = self.sent[int(mark.partition("-")[0])]
        for each in [each for each in waiting if each <= mark]:
            self.times_ms.append((now - waiting.pop(each)) * 1000)
        if len(self.times_ms) == self.expected:
            self.is_done.set()


def percentile(times: list[float], percent: int) -> float:
    """Return the value that so many percent do not exceed.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 50), percentile([1.0, 2.0], 99)
    (3.0, 2.0)
    """
    return sorted(times)[min(len(times) * percent // 100, len(times) - 1)]


async def measure_latency(ground: Ground, benchmark: Benchmark, *, seconds: int) -> Result:
    """Send events at a steady rate whatever becomes of them, and time each from its request to its rows."""
    async with prepare(ground, connections=CONNECTIONS, rows=ROWS) as feed, feed.worker() as worker:
        floors = await _measure_floor(feed)
        watch = Watch(expected=RATE * seconds)
        await _watch_rows(feed.conn, watch)
        before, pulls_before = _read_cpu(feed, worker), await _count_pulls(feed.conn)
        await _send_steadily(feed, watch)
        try:
            await asyncio.wait_for(watch.is_done.wait(), SETTLE_S)
        except TimeoutError:
            raise RuntimeError(f"expected {watch.expected} events to show, got {len(watch.times_ms)}") from None
        pulls = await _count_pulls(feed.conn) - pulls_before
        used = f"{pulls:,} pulls; {_describe_cpu(before, _read_cpu(feed, worker), events=watch.expected)}"
        floors += await _measure_floor(feed)
        _say_latency(ground, watch, await _handed_over_ms(feed), used)
        await feed.conn.remove_listener("visible", watch.hear)
    p50_ms, p99_ms = percentile(watch.times_ms, 50), percentile(watch.times_ms, 99)
    return Result(
        name=benchmark.name,
        value=p50_ms,
        unit=f"ms, p99 {p99_ms:,.0f} ms",
        size=benchmark.size,
        floor=median(floors),
        floor_text="ms: the same HTTP and one row",
        target=f"<= {P50_MS} ms, p99 {P99_MS} ms",
        ok=p50_ms <= P50_MS and p99_ms <= P99_MS,
    )


async def _watch_rows(conn: asyncpg.Connection, watch: Watch) -> None:
    """Let Postgres tell of each row whose text changes, once its transaction is committed."""
    await conn.execute(
        """
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_notify(''visible'', NEW.description); RETURN NULL; END';
        CREATE TRIGGER tell AFTER UPDATE ON transactions FOR EACH ROW
            WHEN (OLD.description IS DISTINCT FROM NEW.description) EXECUTE FUNCTION tell();
        """
    )
    await conn.add_listener("visible", watch.hear)


async def _send_steadily(feed: Feed, watch: Watch) -> None:
    """Send at moments fixed beforehand: what is late does not make the next one late."""
    loop = asyncio.get_running_loop()
    numbers = _draw_numbers(feed.connections, watch.expected)
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for n, number in enumerate(numbers):
            await asyncio.sleep(began + n / RATE - loop.time())
            tasks.create_task(_send(feed, watch, number, f"{number:05d}-{n:06d}"))


def _draw_numbers(connections: int, count: int) -> list[int]:
    """Return account numbers, each account once a round, in another order every round."""
    draw = random.Random(1)
    rounds = -(-count // connections)
    return [n for _ in range(rounds) for n in draw.sample(range(1, connections + 1), connections)][:count]


async def _send(feed: Feed, watch: Watch, number: int, mark: str) -> None:
    await feed.change(number, mark)
    watch.note_sent(number, mark)
    began = perf_counter()
    await feed.announce(number, mark)
    watch.accepted_ms.append((perf_counter() - began) * 1000)


async def _measure_floor(feed: Feed) -> list[float]:
    """Return the ms of bare rounds: the two listings that a refresh asks for, and one row committed."""
    url = f"{feed.aggregator_url}/aggregation"
    paths = ("v1/customers/1/institutionLogins/1/accounts", "v4/customers/1/accounts/1/transactions")
    await feed.conn.execute("CREATE TABLE IF NOT EXISTS rounds (at timestamptz)")
    times_ms = []
    for _ in range(FLOOR_ROUNDS):
        began = perf_counter()
        for path in paths:
            async with feed.http.get(f"{url}/{path}") as answer:
                await answer.read()
        await feed.conn.execute("INSERT INTO rounds VALUES (now())")
        times_ms.append((perf_counter() - began) * 1000)
    return times_ms


async def _handed_over_ms(feed: Feed) -> float:
    seconds = await feed.conn.fetchval(
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - received_at)) FROM inbox"
    )
    return 1000 * float(seconds)


def _say_latency(ground: Ground, watch: Watch, handed_over_ms: float, used: str) -> None:
    times = watch.times_ms
    ground.say(
        f"  {len(times):,} events: p50 {percentile(times, 50):.0f} ms, p90 {percentile(times, 90):.0f} ms, "
        f"p99 {percentile(times, 99):.0f} ms, longest {max(times):.0f} ms; of it accepted {median(watch.accepted_ms):.1f} ms, "
        f"handed over {handed_over_ms:.1f} ms later (p50); {used}; load {os.getloadavg()[0]:.1f}"
    )


def _read_cpu(feed: Feed, worker: Any) -> dict[str, float]:
    """Return the CPU seconds used so far: on a busy machine they say more than the clock."""
    pids = {"ingress": feed.ingress_pid, "worker": worker.pid, "Postgres": feed.ground.postgres.pid or 0}
    return {name: cpu_s(pid) or 0 for name, pid in pids.items()}


def _describe_cpu(before: dict[str, float], after: dict[str, float], *, events: int) -> str:
    used = (f"{name} {1000 * (after[name] - before[name]) / events:.1f}" for name in before)
    return f"CPU ms an event: {', '.join(used)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How a backlog was worked off: events a second in all, and in its first and its last tenth."""

    rate: float
    first_rate: float
    last_rate: float

    @property
    def slower(self) -> float:
        """How many times longer an event of the last tenth took than one of the first."""
        return self.first_rate / self.last_rate


async def measure_backlog(ground: Ground, benchmark: Benchmark, *, events: int, connections: int) -> Result:
    """Lay events into the inbox, then start one worker and see how fast it hands them over, and on how much memory."""
    async with prepare(ground, connections=connections, rows=BACKLOG_ROWS) as feed:
        last_id = await feed.conn.fetchval("SELECT coalesce(max(id), 0) FROM inbox")
        await _lay_backlog(feed, events)
        before = await _count_pulls(feed.conn)
        began = perf_counter()
        async with feed.worker() as worker:
            cpu_before = _read_cpu(feed, worker)
            await feed.wait_until_handled()
            seconds = perf_counter() - began
            used = _describe_cpu(cpu_before, _read_cpu(feed, worker), events=events)
            peaks = [peak_mb(pid) for pid in (worker.pid, feed.ingress_pid)]
        pulls = await _count_pulls(feed.conn) - before
        drained = await _read_drained(feed.conn, events, after_id=last_id)
    worker_mb, ingress_mb = (peak or 0 for peak in peaks)
    ground.say(
        f"  handed over {drained.rate:,.0f} events/s (first tenth {drained.first_rate:,.0f}, last {drained.last_rate:,.0f}); "
        f"all rows there after {seconds:.1f} s, {pulls:,} pulls; {used}; load {os.getloadavg()[0]:.1f}"
    )
    return Result(
        name=benchmark.name,
        value=drained.rate,
        unit=f"events/s; the last tenth {drained.slower:.2f} times slower; worker {worker_mb:.0f}, ingress {ingress_mb:.0f} MB",
        size=benchmark.size,
        target=f"<= {MOST_SLOWER} times, {MOST_MB} MB each",
        ok=drained.slower <= MOST_SLOWER and max(worker_mb, ingress_mb) <= MOST_MB,
    )


async def _lay_backlog(feed: Feed, events: int) -> None:
    """Put events into the inbox while no worker runs: one in ten through ingress, the others straight into the table."""
    arriving = iter(range(events // ARRIVING_SHARE))

    async def send() -> None:
        for n in arriving:
            await feed.announce(n % feed.connections + 1, f"arrived-{n}")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SENDERS):
            tasks.create_task(send())
    await feed.conn.execute(
        """
        INSERT INTO inbox (source_id, name, event_type, event_id, account_refs, body)
        SELECT $1, 'transactionsRefreshed', 'transactionsRefreshed', 'laid-' || n, ARRAY[(n % $3 + 1)::text], '{}'
        FROM generate_series(1, $2) AS n
        """,
        feed.source_id,
        events - events // ARRIVING_SHARE,
        feed.connections,
    )


async def _count_pulls(conn: asyncpg.Connection) -> int:
    count: int = await conn.fetchval("SELECT count(*) FROM pulls")
    return count


async def _read_drained(conn: asyncpg.Connection, events: int, *, after_id: int) -> Drained:
    """Read from the events themselves when each tenth of them was handed over, by Postgres' clock."""
    rows = await conn.fetch(
        """
        SELECT tenth, count(*) AS events, extract(epoch FROM max(finished_at))::float8 AS ended_s,
               extract(epoch FROM min(finished_at))::float8 AS began_s
        FROM (SELECT finished_at, ntile($2) OVER (ORDER BY finished_at) AS tenth
              FROM inbox WHERE id > $1 AND state = 'done') AS done
        GROUP BY tenth ORDER BY tenth
        """,
        after_id,
        TENTHS,
    )
    if sum(row["events"] for row in rows) != events:
        raise RuntimeError(f"expected {events} events done, got {sum(row['events'] for row in rows)}")
    return Drained(
        rate=events / (rows[-1]["ended_s"] - rows[0]["began_s"]), first_rate=_rate(rows[0]), last_rate=_rate(rows[-1])
    )


def _rate(tenth: Any) -> float:
    return float(tenth["events"] / (tenth["ended_s"] - tenth["began_s"]))


async def _latency(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_latency(ground, benchmark, seconds=20)


async def _latency_full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_latency(ground, benchmark, seconds=60)


async def _backlog_10k(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_backlog(ground, benchmark, events=10_000, connections=CONNECTIONS)


async def _backlog_100k(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_backlog(ground, benchmark, events=100_000, connections=1_000)


BENCHMARKS = (
    Benchmark(
        name="sync.visible_latency",
        text="from an event's request to its rows visible",
        size=f"{RATE} events/s for 20 s, {CONNECTIONS} connections, {ROWS} rows, 2 changed",
        measure=_latency,
    ),
    Benchmark(
        name="sync.backlog_10k",
        text="a backlog worked off by one worker",
        size=f"10,000 events, {CONNECTIONS} connections",
        measure=_backlog_10k,
    ),
    Benchmark(
        name="sync.visible_latency_full",
        text="from an event's request to its rows visible",
        size=f"{RATE} events/s for 60 s, {CONNECTIONS} connections, {ROWS} rows, 2 changed",
        measure=_latency_full,
        is_full=True,
    ),
    Benchmark(
        name="sync.backlog_100k",
        text="a backlog worked off by one worker",
        size="100,000 events, 1,000 connections",
        measure=_backlog_100k,
        is_full=True,
    ),
)
