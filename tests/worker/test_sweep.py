"""Sweeps alone do all the work, and keep house."""

import asyncio

from bankfeed.model import EventType
from tests.worker.conftest import Bench
from worker.inbox import take_inbox
from worker.lane import Lane
from worker.refresh import take_refresh
from worker.sweep import Sweeper


async def test_without_any_wake_up_everything_is_done(bench: Bench) -> None:
    """No Redis, no wake-up: a sweep finds the event, and the refresh it asks for."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    lanes = [
        Lane("inbox", lambda: take_inbox(bench.context), slots=1),
        Lane("refresh", lambda: take_refresh(bench.context), slots=1),
    ]
    object.__setattr__(bench.context.settings, "sweep_s", 0.05)
    sweeping = asyncio.create_task(Sweeper(bench.context, lanes).run())
    async with asyncio.timeout(10):
        while not await bench.one("SELECT EXISTS (SELECT FROM connections WHERE handled = 1)"):
            await asyncio.sleep(0.02)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    for lane in lanes:
        await lane.close(grace_s=5)
    assert 0 < len(await bench.visible(link.accounts["checking"]))


async def test_a_connection_whose_update_is_due_is_pulled(bench: Bench) -> None:
    """Without any event a connection is pulled when its next update is due, and the time after that is set."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    await bench.finbank.pass_nights()
    await bench.superuser.execute("UPDATE connections SET next_update_at = now() - interval '1 second'")
    await Sweeper(bench.context, [])._sweep()
    await bench.work()
    assert 2 == await bench.one("SELECT handled FROM connections")
    assert await bench.one(
        "SELECT next_update_at BETWEEN now() + interval '5 h' AND now() + interval '30 h' FROM connections"
    )


async def test_the_house_is_kept(bench: Bench) -> None:
    """Partitions are made ahead, and event ids older than 14 days are forgotten."""
    await bench.superuser.execute(
        """
        INSERT INTO received (source_id, event_id, body_sha256, received_at)
        SELECT $1, n::text, sha256(''), now() - make_interval(days => n) FROM generate_series(1, 20) AS n
        """,
        bench.sources.finicity,
    )
    await Sweeper(bench.context, [])._keep_house()
    assert 14 >= await bench.one("SELECT max(event_id::int) FROM received")
    assert 8 <= await bench.one(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'inbox'::regclass AND inhrelid::regclass::text <> 'inbox_default'"
    )
