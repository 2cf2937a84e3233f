"""A night of scheduled refreshes, on a clock that is driven: thousands of connections, some of their institutions down.

The schedule, the claims, the slots, the breaker and the back-off are the product's, on a real Postgres; the aggregator is
a latency and a list of outages. Time passes in steps between which nothing happens, so a night takes as long as its statements.
"""

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from statistics import mean, median
from time import perf_counter
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg

from bankfeed.db import Database
from bankfeed.db.connection import Lease, claim_connection, mark_failed, mark_handled, request_due_updates
from bankfeed.db.institution_health import note_failure, note_success
from bankfeed.night import find_next_update
from bankfeed.settings import Settings
from bench.ground import Ground, fresh_database
from bench.results import Benchmark, Result
from worker.backoff import delay_s

ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")
NOON = datetime(2026, 6, 1, 17, tzinfo=UTC)  # of the day before the night, everywhere in ZONES
DOWN = (1, 2)  # institutions, in Postgres' count
DOWN_FROM = datetime(2026, 6, 2, 4, tzinfo=UTC)
DOWN_UNTIL = datetime(2026, 6, 2, 9, 30, tzinfo=UTC)  # while their night lasts, in the east
STEP_S = 5  # between two sweeps
WELL_S = (0.5, 4.0)  # that a refresh takes
DOWN_S = 15.0  # until one fails
WORKERS = 2
LATE_S = 60  # past its moment, or the end of its night, is not on time
MOST_PEAK = 2.0
MOST_CAUGHT_UP_MINUTES = 40  # half an hour's pause, and the connections themselves, four at a time


@dataclass(frozen=True, slots=True, order=True)
class Running:
    """A refresh that ends at `ends_at`."""

    ends_at: datetime
    number: int
    lease: Lease = field(compare=False)


@dataclass(slots=True, kw_only=True)
class Night:
    """One night, and what was seen of it."""

    database: Database
    settings: Settings
    zones: dict[int, str]
    planned: dict[int, datetime]
    institutions: dict[int, int]
    now: datetime
    running: list[Running] = field(default_factory=list)
    pulled: dict[int, datetime] = field(default_factory=dict)
    failed: Counter[int] = field(default_factory=Counter)
    claims_ms: list[float] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    async def run(self, *, until: datetime) -> None:
        """Let time pass: sweeps ask for what is due, workers claim as long as they have slots, refreshes end."""
        while self.now < until and len(self.pulled) < len(self.planned):
            async with self.database.queue() as conn:
                await request_due_updates(conn, update_hours=self.settings.update_hours, limit=1_000, now=self.now)
            await self._claim_all()
            sweep_at = self.now + timedelta(seconds=STEP_S)
            while self.running and self.running[0].ends_at <= sweep_at:
                ended = heappop(self.running)
                self.now = max(self.now, ended.ends_at)
                await self._end(ended.lease)
                await self._claim_all()
            self.now = self._skip(sweep_at)

    def _skip(self, sweep_at: datetime) -> datetime:
        """Return the next sweep; before the first moment of all there is nothing to sweep for."""
        return sweep_at if self.pulled or self.failed or self.running else max(sweep_at, min(self.planned.values()))

    async def _claim_all(self) -> None:
        while len(self.running) < WORKERS * self.settings.refresh_slots:
            began = perf_counter()
            async with self.database.queue_statement() as conn:
                lease = await claim_connection(
                    conn,
                    token=uuid4(),
                    lease_s=self.settings.lease_s,
                    institution_slots=self.settings.institution_slots,
                    now=self.now,
                )
            if lease is None:
                return
            self.claims_ms.append((perf_counter() - began) * 1000)
            lasts_s = DOWN_S if self._is_down(lease) else self.draw.uniform(*WELL_S)
            heappush(self.running, Running(self.now + timedelta(seconds=lasts_s), lease.connection_id, lease))

    def _is_down(self, lease: Lease) -> bool:
        return lease.institution_id in DOWN and DOWN_FROM <= self.now < DOWN_UNTIL

    async def _end(self, lease: Lease) -> None:
        """Commit how a refresh ended, as the worker does: the connection, then its institution."""
        institution_id = self.institutions[lease.connection_id]
        if self._is_down(lease):
            self.failed[institution_id] += 1
            async with self.database.tenant(lease.customer_id) as conn:
                await mark_failed(conn, lease, delay_s=delay_s(lease.failures + 1), now=self.now)
            async with self.database.queue_statement() as conn:
                await note_failure(conn, institution_id, claimed_at=lease.claimed_at, now=self.now)
            return
        self.pulled[lease.connection_id] = self.now
        async with self.database.tenant(lease.customer_id) as conn:
            await mark_handled(conn, lease, next_update_at=self._plan(lease), now=self.now)
        if lease.institution_failures:
            async with self.database.queue_statement() as conn:
                await note_success(conn, institution_id)

    def _plan(self, lease: Lease) -> datetime:
        return plan(
            self.settings, lease.connection_id, lease.claimed_at, self.zones[self.institutions[lease.connection_id]]
        )

    def find_late(self) -> list[int]:
        """List connections of institutions that were well, and were not pulled by a minute after their moment."""
        return [
            number
            for number, planned_at in self.planned.items()
            if self.institutions[number] not in DOWN and self._lateness_s(number, planned_at) > LATE_S
        ]

    def count_outside(self) -> int:
        """Count connections of institutions that were well, and were not pulled within their night."""
        return sum(
            1 for number in self.planned if self.institutions[number] not in DOWN and not self._is_in_window(number)
        )

    def _is_in_window(self, number: int) -> bool:
        at = self.pulled.get(number)
        zone = ZoneInfo(self.zones[self.institutions[number]])
        begins_at, ends_at = self.settings.night.on(self.planned[number].astimezone(zone).date(), zone)
        return at is not None and begins_at <= at <= ends_at + timedelta(seconds=LATE_S)

    def _lateness_s(self, number: int, planned_at: datetime) -> float:
        at = self.pulled.get(number)
        return float("inf") if at is None else (at - planned_at).total_seconds()

    def find_peaks(self) -> Iterator[float]:
        """Say for each zone how many were pulled in its fullest minute, by the mean of its night."""
        for zone in ZONES:
            at = [
                at
                for n, at in self.pulled.items()
                if self.zones[self.institutions[n]] == zone and self.institutions[n] not in DOWN
            ]
            minutes = Counter(each.replace(second=0, microsecond=0) for each in at)
            with suppress(ValueError):
                yield max(minutes.values()) / mean(minutes.values())

    def caught_up_minutes(self) -> float:
        """Say how long after its return the last connection of an institution that was down was pulled, if it was due before."""
        late = [
            self.pulled.get(n, self.now)
            for n, at in self.planned.items()
            if self.institutions[n] in DOWN and at < DOWN_UNTIL
        ]
        return max(((at - DOWN_UNTIL).total_seconds() / 60 for at in late), default=0.0)


def plan(settings: Settings, connection_id: int, refreshed_at: datetime, zone: str) -> datetime:
    """Ask the schedule."""
    return find_next_update(
        connection_id,
        refreshed_at=refreshed_at,
        update_hours=settings.update_hours,
        night=settings.night,
        zone=ZoneInfo(zone),
    )


async def lay_connections(conn: asyncpg.Connection, *, connections: int, institutions: int) -> None:
    """Lay institutions and connections straight into the tables, refreshed at noon and with nothing due."""
    await conn.execute(
        """
        INSERT INTO institutions (connector, aggregator_id, name, time_zone)
        SELECT 'finicity', n::text, 'Bank ' || n, ($2::text[])[n % cardinality($2::text[]) + 1] FROM generate_series(1, $1) AS n
        """,
        institutions,
        list(ZONES),
    )
    await conn.execute(
        """
        WITH customer AS (INSERT INTO customers (name) VALUES ('Firm') RETURNING id),
        client AS (INSERT INTO clients (customer_id, username, name) SELECT id, 'client', 'Client' FROM customer RETURNING *),
        source AS (INSERT INTO sources (slug, connector, dialect, verifier) VALUES ('door', 'finicity', 'finicity', 'finicity')
                   RETURNING id)
        INSERT INTO connections (customer_id, client_id, source_id, institution_id, aggregator_login_id, status_code,
                                 last_refresh_at)
        SELECT client.customer_id, client.id, source.id, n % $2 + 1, n::text, 0, $3 FROM client, source, generate_series(1, $1) AS n
        """,
        connections,
        institutions,
        NOON,
    )


async def prepare(conn: asyncpg.Connection, database: Database, settings: Settings) -> Night:
    """Plan every connection's next update as a refresh at noon would have."""
    zones = {row["id"]: row["time_zone"] for row in await conn.fetch("SELECT id, time_zone FROM institutions")}
    rows = await conn.fetch("SELECT id, institution_id FROM connections")
    institutions = {row["id"]: row["institution_id"] for row in rows}
    planned = {n: plan(settings, n, NOON, zones[institution]) for n, institution in institutions.items()}
    await conn.execute(
        """
        UPDATE connections SET next_update_at = u.at FROM unnest($1::bigint[], $2::timestamptz[]) AS u (id, at)
        WHERE connections.id = u.id
        """,
        list(planned),
        list(planned.values()),
    )
    await conn.execute("ANALYZE")
    return Night(
        database=database, settings=settings, zones=zones, planned=planned, institutions=institutions, now=NOON
    )


async def measure_night(ground: Ground, benchmark: Benchmark, *, connections: int, institutions: int) -> Result:
    """Let a night pass, with two institutions down for half of theirs, and judge what was pulled when."""
    async with fresh_database(ground) as urls:
        conn = await asyncpg.connect(urls.superuser)
        await lay_connections(conn, connections=connections, institutions=institutions)
        database = await Database.connect(urls.settings)
        try:
            night = await prepare(conn, database, urls.settings)
            began = perf_counter()
            await night.run(until=NOON + timedelta(days=1))
            took_s = perf_counter() - began
        finally:
            await database.close()
            await conn.close()
    late, outside, peak = len(night.find_late()), night.count_outside(), max(night.find_peaks())
    probes = " and ".join(str(night.failed[each]) for each in DOWN)
    caught_up = night.caught_up_minutes()
    claim_ms = median(night.claims_ms)
    ground.say(
        f"  {len(night.pulled):,} of {len(night.planned):,} pulled, {outside} outside their night, {late} late; in the fullest minute "
        f"{peak:.2f} times the mean; {probes} refreshes failed at the two that were down for "
        f"{(DOWN_UNTIL - DOWN_FROM).total_seconds() / 3600:g} h, caught up {caught_up:.0f} min after; a claim {claim_ms:.2f} ms (p50), "
        f"{sorted(night.claims_ms)[len(night.claims_ms) * 99 // 100]:.2f} ms (p99); took {took_s:.0f} s"
    )
    is_whole = len(night.pulled) == len(night.planned)
    return Result(
        name=benchmark.name,
        value=outside + late,
        unit=f"late or outside their night; peak {peak:.2f}; {probes} failed, caught up in {caught_up:.0f} min; claim {claim_ms:.2f} ms",
        size=benchmark.size,
        target=f"0, peak <= {MOST_PEAK:g}, {MOST_CAUGHT_UP_MINUTES} min",
        ok=is_whole and not outside and not late and peak <= MOST_PEAK and caught_up <= MOST_CAUGHT_UP_MINUTES,
    )


async def _quick(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_night(ground, benchmark, connections=2_000, institutions=40)


async def _full(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    return await measure_night(ground, benchmark, connections=10_000, institutions=200)


BENCHMARKS = (
    Benchmark(
        name="refresh.night",
        text="a night of scheduled refreshes, two institutions down",
        size="2,000 connections, 40 institutions",
        measure=_quick,
    ),
    Benchmark(
        name="refresh.night_full",
        text="a night of scheduled refreshes, two institutions down",
        size="10,000 connections, 200 institutions",
        measure=_full,
        is_full=True,
    ),
)
