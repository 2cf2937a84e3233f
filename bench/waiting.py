"""What a million deliveries that wait for a retry cost: the ones that come due, each claim, and the worker's memory.

They are laid straight into the tables, evenly on the endpoints: each event of a customer goes to all of its endpoints. Some
come due while a worker is watched, the others in an hour and later. Claims are timed in this process, on these tables and on
others where one delivery an endpoint waits, in turn.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from time import perf_counter
from typing import Any
from uuid import uuid4

from bankfeed.db import delivery
from bankfeed.db.delivery import Outcome
from bench.feed import peak_mb
from bench.ground import Ground
from bench.results import Benchmark, Result
from bench.subscribers import Subscribers, Target, describe_cpu, prepare
from bench.sync import percentile

ENDPOINTS = 1_000
DUE_RATE = 30  # a second
LEAD_S = 6  # from when they are given their times until the first is due: longer than a worker goes without looking
CLAIMS = 100
DUE_AT_A_CLAIM = 10
CLAIM_LIMIT = 50
LEASE_S = 25.0
LATER = timedelta(days=1)

MOST_LATE_S = 2.0
MOST_SLOWER = 1.5
MOST_MB = 200

EVENTS = """
INSERT INTO events (customer_id, created_at, event_id, event_type, client_id, connection_id, body)
    SELECT id, now(), gen_random_uuid(), 'transactionsRefreshed', 1, 1, $1 FROM customers, generate_series(1, $2::int)
"""
DELIVERIES = """
INSERT INTO deliveries (customer_id, created_at, endpoint_id, outbox_id)
    SELECT e.customer_id, e.created_at, p.id, e.id FROM events e JOIN endpoints p USING (customer_id)
"""
WAITING = """
INSERT INTO delivery_queue (customer_id, delivery_id, endpoint_id, outbox_id, created_at, due_at, attempts, first_attempt_at,
        urgent_at)
    SELECT customer_id, id, endpoint_id, outbox_id, created_at, now() + interval '1 hour' + random() * interval '2 days', 1,
           created_at, created_at + interval '2 days 20:16:00'
    FROM deliveries
"""
COMING_DUE = """
CREATE TABLE coming_due AS
    SELECT customer_id, delivery_id, now() + make_interval(secs => {lead_s} + row_number() OVER () / {rate}::float8) AS due_at
    FROM (SELECT customer_id, delivery_id FROM delivery_queue ORDER BY random() LIMIT {count}) q;
UPDATE delivery_queue q SET due_at = c.due_at FROM coming_due c
    WHERE q.customer_id = c.customer_id AND q.delivery_id = c.delivery_id
"""
ONE_EACH_IS_DUE = """
UPDATE delivery_queue q SET due_at = now()
FROM unnest($1::bigint[], $2::bigint[]) AS u (customer_id, endpoint_id) CROSS JOIN LATERAL (
    SELECT delivery_id FROM delivery_queue d WHERE d.customer_id = u.customer_id AND d.endpoint_id = u.endpoint_id
    ORDER BY due_at DESC LIMIT 1) chosen
WHERE q.customer_id = u.customer_id AND q.delivery_id = chosen.delivery_id
"""
LATENESS = """
SELECT extract(epoch FROM a.started_at - c.due_at)::float8 AS late_s
FROM coming_due c JOIN attempts a USING (customer_id, delivery_id) ORDER BY late_s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How a worker took what came due: how late each attempt began, in seconds, and the most memory it had."""

    late_s: list[float]
    worker_mb: float
    used: str


async def measure_waiting(ground: Ground, benchmark: Benchmark, *, deliveries: int, seconds: int) -> Result:
    """Time claims with much and with little that waits; then let some come due while a worker runs."""
    async with prepare(ground, endpoints=ENDPOINTS) as few, prepare(ground, endpoints=ENDPOINTS) as many:
        await _lay(few, ENDPOINTS)
        await _lay(many, deliveries)
        few_ms, many_ms = await _time_claims(few, many)
        watched = await _watch(many, count=DUE_RATE * seconds)
    late_s, worker_mb = watched.late_s, watched.worker_mb
    claim_ms, floor_ms = median(many_ms), median(few_ms)
    ground.say(
        f"  a claim p50 {claim_ms:.2f} ms, p99 {percentile(many_ms, 99):.2f} ms; with {ENDPOINTS:,} waiting "
        f"p50 {floor_ms:.2f} ms, p99 {percentile(few_ms, 99):.2f} ms"
    )
    ground.say(
        f"  {len(late_s):,} came due: late by p50 {1000 * percentile(late_s, 50):.0f} ms, "
        f"p99 {1000 * percentile(late_s, 99):.0f} ms, most {1000 * late_s[-1]:.0f} ms; "
        f"{watched.used}; worker {worker_mb:.0f} MB; load {os.getloadavg()[0]:.1f}"
    )
    return Result(
        name=benchmark.name,
        value=claim_ms,
        unit=f"ms a claim; due ones {late_s[-1]:.2f} s late at most; worker {worker_mb:.0f} MB",
        size=benchmark.size,
        floor=floor_ms,
        floor_text=f"ms with {ENDPOINTS:,} waiting",
        target=f"<= {MOST_SLOWER} times, {MOST_LATE_S:g} s, {MOST_MB} MB",
        ok=claim_ms <= MOST_SLOWER * floor_ms and late_s[-1] <= MOST_LATE_S and worker_mb <= MOST_MB,
    )


async def _lay(world: Subscribers, deliveries: int) -> None:
    """Let so many deliveries wait for their first retry; foreign keys are not looked at meanwhile."""
    await world.conn.execute("SET session_replication_role = replica")
    body = world.targets[0].make_event().body
    await world.conn.execute(EVENTS, body, deliveries // len(world.targets))
    await world.conn.execute(DELIVERIES)
    await world.conn.execute(WAITING)
    await world.conn.execute("RESET session_replication_role")
    await world.conn.execute("VACUUM ANALYZE")
    waiting = await world.conn.fetchval("SELECT count(*) FROM delivery_queue")
    if waiting != deliveries:
        raise RuntimeError(f"expected {deliveries} deliveries to wait, got {waiting}")


async def _time_claims(few: Subscribers, many: Subscribers) -> tuple[list[float], list[float]]:
    """Return the ms of claims in both, taking turns; the same number of endpoints has one delivery due each time."""
    few_ms: list[float] = []
    many_ms: list[float] = []
    for n in range(CLAIMS):
        first = n * DUE_AT_A_CLAIM % ENDPOINTS
        for world, times_ms in ((few, few_ms), (many, many_ms)):
            times_ms.append(await _time_claim(world, world.targets[first : first + DUE_AT_A_CLAIM]))
    return few_ms, many_ms


async def _time_claim(world: Subscribers, targets: Sequence[Target]) -> float:
    """Return the ms of one claim as the worker makes it: the claim, and when the next one is due."""
    await world.conn.execute(
        ONE_EACH_IS_DUE, [each.customer_id for each in targets], [each.endpoint_id for each in targets]
    )
    token = uuid4()
    began = perf_counter()
    async with world.database.queue_statement() as conn:
        claimed = await delivery.claim_deliveries(conn, token=token, lease_s=LEASE_S, limit=CLAIM_LIMIT)
        await delivery.find_next_due_s(conn)
    took_ms = (perf_counter() - began) * 1000
    if len(claimed) != len(targets):
        raise RuntimeError(f"expected to claim {len(targets)} deliveries, got {len(claimed)}")
    back = [Outcome(claimed=each, token=token, state="given_back", due_at=each.claimed_at + LATER) for each in claimed]
    async with world.database.queue_statement() as conn:
        await delivery.record_outcomes(conn, back)
    return took_ms


async def _watch(world: Subscribers, *, count: int) -> Watched:
    """Let so many come due one after another while a worker runs. Raises where one was attempted before its time, or not at all."""
    async with world.worker() as worker:
        await world.conn.execute(COMING_DUE.format(lead_s=LEAD_S, rate=DUE_RATE, count=count))
        before = world.read_cpu(worker)
        await world.wait_for(count)
        used = describe_cpu(before, world.read_cpu(worker), deliveries=count)
        rows = await _read_lateness(world, count)
        worker_mb = peak_mb(worker.pid) or 0
    late_s = [float(row["late_s"]) for row in rows]
    if late_s[0] < 0:
        raise RuntimeError(f"expected no attempt before its time, got one {-late_s[0]:.3f} s early")
    return Watched(late_s=late_s, worker_mb=worker_mb, used=used)


async def _read_lateness(world: Subscribers, count: int) -> list[Any]:
    """Read how late each attempt began, the least first, once all are recorded."""
    for _ in range(100):
        rows: list[Any] = await world.conn.fetch(LATENESS)
        if len(rows) == count:
            return rows
        await asyncio.sleep(0.05)
    raise RuntimeError(f"expected {count} attempts, got {len(rows)}")


async def _waiting(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_waiting(ground, benchmark, deliveries=100_000, seconds=5)


async def _million_waiting(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_waiting(ground, benchmark, deliveries=1_000_000, seconds=60)


BENCHMARKS = (
    Benchmark(
        name="deliver.waiting",
        text="deliveries that wait for a retry, and some that come due",
        size=f"100,000 waiting, {ENDPOINTS:,} endpoints, {DUE_RATE}/s due for 5 s, {CLAIMS} claims",
        measure=_waiting,
    ),
    Benchmark(
        name="deliver.million_waiting",
        text="deliveries that wait for a retry, and some that come due",
        size=f"1,000,000 waiting, {ENDPOINTS:,} endpoints, {DUE_RATE}/s due for 60 s, {CLAIMS} claims",
        measure=_million_waiting,
        is_full=True,
    ),
)
