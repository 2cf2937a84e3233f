"""One institution that fails does not hold the others: its slots, its breaker, and the lanes of a claim."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.connection import Lease, claim_connection, find_oldest_due_s, mark_failed, mark_handled
from bankfeed.db.institution_health import (
    BREAKER_FAILURES,
    BreakerCounts,
    count_breakers,
    note_answer,
    note_failure,
    note_success,
)
from tests.db.made import Ground

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
SLOTS = 4


@dataclass(slots=True, kw_only=True)
class Banks:
    """Connections at institutions 1, 2 ... that are all due, on a clock that stands at `now` until it is moved."""

    ground: Ground
    superuser: asyncpg.Connection
    now: datetime = AT

    @property
    def database(self) -> Database:
        return self.ground.database

    async def add(self, institution_id: int | None, count: int, *, waits_s: int = 60) -> None:
        """Add due connections of an institution; None is one that nobody knows yet."""
        await self.superuser.execute(
            """
            INSERT INTO institutions (id, connector, aggregator_id, name, time_zone) OVERRIDING SYSTEM VALUE
            SELECT $1::bigint, 'finicity', $1::bigint::text, 'Bank', 'America/Denver' WHERE $1::bigint IS NOT NULL
            ON CONFLICT DO NOTHING
            """,
            institution_id,
        )
        await self.superuser.execute(
            """
            INSERT INTO connections (customer_id, client_id, source_id, institution_id, aggregator_login_id, requested, due_at)
            SELECT $1, $2, $3, $4::bigint, concat_ws('-', $4::bigint, n, gen_random_uuid()), 1, $5::timestamptz
            FROM generate_series(1, $6) AS n
            """,
            self.ground.tenant.customer_id,
            self.ground.tenant.client_id,
            self.ground.sources.finicity,
            institution_id,
            self.now - timedelta(seconds=waits_s),
            count,
        )

    async def claim(self, *, lease_s: float = 60) -> Lease | None:
        async with self.database.queue_statement() as conn:
            return await claim_connection(conn, token=uuid4(), lease_s=lease_s, institution_slots=SLOTS, now=self.now)

    async def claim_all(self) -> list[int | None]:
        """Claim until nothing may be claimed; return the institutions, in their order."""
        claimed = []
        while (lease := await self.claim()) is not None:
            claimed.append(lease.institution_id)
        return claimed

    async def fail(self, lease: Lease) -> int | None:
        async with self.database.tenant(lease.customer_id) as conn:
            await mark_failed(conn, lease, delay_s=15, now=self.now)
        assert lease.institution_id is not None
        async with self.database.queue_statement() as conn:
            return await note_failure(conn, lease.institution_id, claimed_at=lease.claimed_at, now=self.now)

    async def succeed(self, lease: Lease) -> None:
        async with self.database.tenant(lease.customer_id) as conn:
            await mark_handled(conn, lease, next_update_at=self.now + timedelta(days=1), now=self.now)
        assert lease.institution_id is not None
        async with self.database.queue_statement() as conn:
            await note_success(conn, lease.institution_id)

    async def break_down(self, institution_id: int) -> None:
        """Let refreshes fail there, one after the other, until its breaker trips."""
        for _ in range(BREAKER_FAILURES):
            lease = await self.claim()
            assert lease is not None
            assert lease.institution_id == institution_id
            await self.fail(lease)

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def banks(ground: Ground, superuser: asyncpg.Connection) -> Banks:
    return Banks(ground=ground, superuser=superuser)


async def test_an_institution_gets_its_slots_and_no_more(banks: Banks) -> None:
    """Those that are due longest go first, up to the slots of each; connections of no known institution have no limit."""
    await banks.add(1, SLOTS + 2, waits_s=300)
    await banks.add(2, 2, waits_s=200)
    await banks.add(None, SLOTS + 1, waits_s=100)
    assert [1] * SLOTS + [2] * 2 + [None] * (SLOTS + 1) == await banks.claim_all()


async def test_claims_at_the_same_moment_share_the_slots(banks: Banks) -> None:
    """However many ask at once, an institution's slots are given once, and none of the others' work is missed for it."""
    await banks.add(1, 10, waits_s=300)
    leases = await asyncio.gather(*(banks.claim() for _ in range(8)))
    assert SLOTS == sum(lease is not None for lease in leases)


async def test_a_slot_is_free_again_with_the_end_of_its_refresh_or_of_its_lease(banks: Banks) -> None:
    """What succeeds, fails or is abandoned gives its slot back."""
    await banks.add(1, SLOTS + 3)
    leases = [await banks.claim(lease_s=30) for _ in range(SLOTS)]
    assert await banks.claim() is None
    assert leases[0] is not None
    assert leases[1] is not None
    await banks.succeed(leases[0])
    await banks.fail(leases[1])
    assert [1, 1] == await banks.claim_all()
    banks.pass_s(31)
    assert [1, 1] == await banks.claim_all()


async def test_an_institution_that_fails_waits_and_the_others_go_on(banks: Banks) -> None:
    """After five failures in a row nothing is refreshed there, whatever is due longest; elsewhere all is as ever."""
    await banks.add(1, 50, waits_s=300)
    await banks.break_down(1)
    await banks.add(2, 2)
    await banks.add(None, 1)
    assert [2, 2, None] == sorted(await banks.claim_all(), key=lambda each: each or 9)


async def test_the_pause_doubles_and_one_probe_at_a_time_ends_it(banks: Banks) -> None:
    """A minute, doubling to half an hour; then one is tried, and another only when that one has failed or ended."""
    await banks.add(1, 60, waits_s=300)
    await banks.break_down(1)
    for minutes in (1, 2, 4, 8, 16, 30, 30):
        banks.pass_s(60 * minutes - 1)
        assert await banks.claim() is None
        banks.pass_s(1)
        probe = await banks.claim()
        assert probe is not None
        assert await banks.claim() is None
        await banks.fail(probe)
    banks.pass_s(1800)
    probe = await banks.claim()
    assert probe is not None
    assert probe.institution_failures == BREAKER_FAILURES + 7
    await banks.succeed(probe)
    assert [1] * SLOTS == await banks.claim_all()


async def test_what_was_claimed_before_the_pause_does_not_lengthen_it(banks: Banks) -> None:
    """Refreshes that ran as the breaker tripped and failed then say nothing new."""
    await banks.add(1, 20)
    for _ in range(BREAKER_FAILURES - 1):
        lease = await banks.claim()
        assert lease is not None
        await banks.fail(lease)
    running = [lease for lease in [await banks.claim() for _ in range(SLOTS)] if lease is not None]
    assert [BREAKER_FAILURES, None, None, None] == [await banks.fail(lease) for lease in running]
    banks.pass_s(60)
    assert await banks.claim() is not None


async def test_a_success_between_failures_begins_anew(banks: Banks) -> None:
    """Only failures in a row trip the breaker."""
    await banks.add(1, 30)
    for _ in range(3):
        for _ in range(BREAKER_FAILURES - 1):
            lease = await banks.claim()
            assert lease is not None
            await banks.fail(lease)
        lease = await banks.claim()
        assert lease is not None
        await banks.succeed(lease)
    assert await banks.claim() is not None


async def test_a_bank_that_answers_a_person_is_refreshed_again(banks: Banks) -> None:
    """What a bank said at a person's click is fetched at once, also while its breaker is open."""
    await banks.add(1, 10)
    lease = await banks.claim()
    assert lease is not None
    await banks.fail(lease)
    for _ in range(BREAKER_FAILURES - 1):
        again = await banks.claim()
        assert again is not None
        await banks.fail(again)
    assert await banks.claim() is None
    async with banks.database.queue() as conn:
        assert await note_answer(conn, lease.customer_id, lease.connection_id)
        assert not await note_answer(conn, lease.customer_id, banks.ground.connection_id)
    assert await banks.claim() is not None


async def test_a_locked_client_holds_up_no_lane(banks: Banks) -> None:
    """What waits for an unlocking is passed over, in the first look and in the lanes."""
    await banks.add(1, SLOTS, waits_s=500)
    await banks.add(2, 1)
    await banks.superuser.execute("UPDATE clients SET locked_at = now()")
    assert [] == await banks.claim_all()
    await banks.superuser.execute("UPDATE clients SET locked_at = NULL")
    assert [1] * SLOTS + [2] == await banks.claim_all()


async def test_a_claim_says_where_its_connection_is(banks: Banks) -> None:
    """The institution's time zone comes with the claim, for the schedule."""
    await banks.add(1, 1)
    lease = await banks.claim()
    assert lease is not None
    assert ("America/Denver", 0, AT) == (lease.time_zone, lease.institution_failures, lease.claimed_at)


async def test_breakers_and_the_oldest_are_counted(banks: Banks) -> None:
    """What a sweep measures: open and half open breakers, and how long the oldest has been due."""
    banks.now = datetime.now(UTC)
    await banks.add(1, 10, waits_s=3600)
    await banks.break_down(1)
    async with banks.database.queue() as conn:
        assert BreakerCounts(open=1, half_open=0) == await count_breakers(conn)
        assert 3600 <= await find_oldest_due_s(conn) < 3700
    await banks.superuser.execute("UPDATE institution_health SET blocked_until = now()")
    async with banks.database.queue() as conn:
        assert BreakerCounts(open=0, half_open=1) == await count_breakers(conn)
