"""Which days a refresh lists, and that nothing falls between two of them."""

from datetime import UTC, date, datetime, timedelta

import pytest

from bankfeed.model import EventType
from tests.worker.conftest import Bench


@pytest.fixture
async def account_id(bench: Bench) -> int:
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    return link.accounts["checking"]


async def refresh(bench: Bench, account_id: int) -> tuple[date, date, str]:
    """Refresh; return the window of the latest pull, and what came of it."""
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    row = await bench.superuser.fetchrow("SELECT from_on, to_on, outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    return row["from_on"], row["to_on"], row["outcome"]


async def test_the_first_window_is_all_history(bench: Bench, account_id: int) -> None:
    """A new account is asked for its history, up to a day after the bank's clock."""
    row = await bench.superuser.fetchrow("SELECT from_on, to_on FROM pulls")
    assert timedelta(days=181) == row["to_on"] - row["from_on"]


async def test_later_windows_are_what_banks_still_change(bench: Bench, account_id: int) -> None:
    """A refresh re-reads 30 days; more where the bank's clock is that far ahead of ours, as other tests may leave it."""
    last_at = await bench.superuser.fetchval("SELECT last_pulled_at FROM accounts")
    from_on, to_on, _ = await refresh(bench, account_id)
    assert min(to_on - timedelta(days=31), last_at.date() - timedelta(days=15)) == from_on


async def test_an_absence_leaves_no_gap(bench: Bench, account_id: int) -> None:
    """However long a connection was not pulled, the next window reaches back to before the last pull."""
    last_at = datetime.now(UTC) - timedelta(days=60)
    await bench.superuser.execute("UPDATE accounts SET last_pulled_at = $1, last_attempted_at = $1", last_at)
    from_on, _, outcome = await refresh(bench, account_id)
    assert (last_at.date() - timedelta(days=15), "applied") == (from_on, outcome)


async def test_a_window_reaches_to_the_oldest_pending_row(bench: Bench, account_id: int) -> None:
    """A pending row in view is always inside the window: only a list of its day can conclude that it went away."""
    day = date.today() - timedelta(days=50)  # noqa: DTZ011 - any day
    await bench.superuser.execute(
        "UPDATE transactions SET transacted_on = $1 WHERE id = (SELECT min(id) FROM transactions WHERE state = 'pending')",
        day,
    )
    from_on, _, _ = await refresh(bench, account_id)
    assert day == from_on


async def test_a_clock_that_went_back_loses_no_pull(bench: Bench, account_id: int) -> None:
    """Where Postgres' clock steps back, the next pull still counts as later than the last one."""
    await bench.finbank.pass_nights(2)
    await bench.superuser.execute("UPDATE accounts SET last_pulled_at = now() + interval '1 hour'")
    before = await bench.visible(account_id)
    _, _, outcome = await refresh(bench, account_id)
    assert "applied" == outcome
    assert before != await bench.visible(account_id)
