"""What a refresh means for the schedule and for its institution, with a real Finbank."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.db import bank_account, bank_refresh
from bankfeed.db.institution_health import BREAKER_FAILURES
from bankfeed.errors import AggregatorError, BadAggregatorAnswer
from bankfeed.health import ESCALATED_AFTER
from bankfeed.model import ConnectionId, EventType, Pull
from tests.finbank import Link
from tests.worker.conftest import Bench
from worker.bank_refresh import take_bank_refresh
from worker.refresh import take_refresh
from worker.sweep import Sweeper


class Troubled:
    """The bank's connector; its lists of a login's accounts carry a code, or fail, and its pulls fail, as it is told."""

    def __init__(self, connector: Aggregator) -> None:
        self.connector = connector
        self.code: int | None = None
        self.error: AggregatorError | None = None
        self.breaks_pulls_with: AggregatorError | str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connector, name)

    async def list_login_accounts(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        if self.error is not None:
            raise self.error
        listed = await self.connector.list_login_accounts(customer_ref, login_ref)
        return listed if self.code is None else tuple(replace(each, status_code=self.code) for each in listed)

    async def pull(self, *args: Any, **window: Any) -> Pull:
        pulled = await self.connector.pull(*args, **window)
        if (fault := self.breaks_pulls_with) is None:
            return pulled
        error = fault if isinstance(fault, AggregatorError) else None
        return replace(pulled, is_complete=False, error=str(fault), failed_by=error)


@pytest.fixture
def troubled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Troubled:
    """The connector, which can be told to fail."""
    troubled = Troubled(bench.context.connectors["finicity"])
    monkeypatch.setitem(bench.context.connectors, "finicity", troubled)
    return troubled


@pytest.fixture
async def link(bench: Bench) -> Link:
    """A checking account, linked and pulled."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    return link


async def refresh(bench: Bench, times: int) -> None:
    """Refresh the connection that often, as soon as its back-off and a pause are over."""
    for _ in range(times):
        await bench.superuser.execute(
            "UPDATE connections SET requested = requested + 1, due_at = now() - interval '1 s'"
        )
        await bench.superuser.execute("UPDATE institution_health SET blocked_until = '-infinity'")
        assert await take_refresh(bench.context)


async def failures(bench: Bench) -> int:
    return int(await bench.one("SELECT coalesce(sum(failures), 0) FROM institution_health"))


async def test_the_next_update_is_in_the_institutions_night(bench: Bench, link: Link) -> None:
    """Also after the very first refresh, which is what learns where the institution is."""
    await bench.superuser.execute("UPDATE institutions SET time_zone = 'Asia/Tokyo'")
    await refresh(bench, 1)
    at, gap = await bench.superuser.fetchrow(
        "SELECT next_update_at AT TIME ZONE 'Asia/Tokyo', next_update_at - last_refresh_at FROM connections"
    )
    assert 1 <= at.hour < 6
    assert timedelta(hours=5, minutes=59) < gap <= timedelta(hours=30)


async def test_a_first_refresh_plans_by_the_clock_it_has_just_learnt(bench: Bench) -> None:
    """The institution's zone is known at the end of the refresh that found it."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    hour = await bench.one(
        "SELECT extract(hour FROM next_update_at AT TIME ZONE coalesce(i.time_zone, 'UTC'))::int"
        " FROM connections c JOIN institutions i ON i.id = c.institution_id"
    )
    assert 1 <= hour < 6


@pytest.mark.parametrize(
    "error",
    [
        AggregatorError("it could not be reached: TimeoutError"),
        AggregatorError("HTTP 500 with code 102", code=102),
        AggregatorError("HTTP 500 with code 900", code=900),
    ],
    ids=str,
)
async def test_failures_of_the_bank_pause_it(
    bench: Bench, link: Link, troubled: Troubled, error: AggregatorError
) -> None:
    """Five in a row, and its connections wait, also for an event's refresh; the first success ends it."""
    troubled.error = error
    with capture_logs() as lines:
        await refresh(bench, BREAKER_FAILURES)
    assert 1 == sum(line["event"] == "institution.paused" for line in lines)
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, link.accounts["checking"])
    troubled.error = None
    await bench.work()
    assert await bench.one("SELECT handled < requested AND lease_token IS NULL FROM connections")
    await refresh(bench, 1)
    assert 0 == await failures(bench)
    assert await bench.one("SELECT handled = requested FROM connections")


@pytest.mark.parametrize(
    ("code", "expected"), [(102, BREAKER_FAILURES), (905, BREAKER_FAILURES), (103, 0), (185, 0), (325, 0), (424242, 0)]
)
async def test_codes_of_accounts_count_where_they_are_the_banks(
    bench: Bench, link: Link, troubled: Troubled, code: int, expected: int
) -> None:
    """What a person has to mend, what is running and what nobody lists says nothing of the bank."""
    troubled.code = code
    await refresh(bench, BREAKER_FAILURES)
    assert expected == await failures(bench)


@pytest.mark.parametrize(
    "error",
    [
        AggregatorError("HTTP 500 with code 103", code=103, is_retryable=False),
        AggregatorError("our credentials were refused", is_retryable=False),
        AggregatorError("HTTP 500 with code 424242", code=424242),
        BadAggregatorAnswer("the answer is not as documented"),
    ],
    ids=str,
)
async def test_what_is_not_the_banks_pauses_nothing(
    bench: Bench, link: Link, troubled: Troubled, error: AggregatorError
) -> None:
    """A person's, ours, and what nobody lists are no reason to leave a bank alone."""
    troubled.error = error
    await refresh(bench, BREAKER_FAILURES)
    assert 0 == await failures(bench)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("row 3 cannot be read: expected amount", 0),
        ("there are more than 500 pages", 0),
        (BadAggregatorAnswer("the answer is longer than 67,108,864 bytes"), 0),
        (AggregatorError("HTTP 400 with code 10005", is_retryable=False), 0),
        (AggregatorError("HTTP 500 with code 424242", code=424242), 0),
        (AggregatorError("HTTP 503 without a code"), BREAKER_FAILURES),
        (AggregatorError("HTTP 500 with code 905", code=905), BREAKER_FAILURES),
    ],
    ids=str,
)
async def test_an_account_that_cannot_be_listed_counts_where_it_is_the_banks(
    bench: Bench, link: Link, troubled: Troubled, fault: AggregatorError | str, expected: int
) -> None:
    """What is wrong with one account's list would else keep everybody at that bank waiting; an outage they all meet."""
    troubled.breaks_pulls_with = fault
    await refresh(bench, BREAKER_FAILURES)
    assert expected == await failures(bench)
    troubled.breaks_pulls_with = None
    await refresh(bench, 1)
    assert ("active", 0) == tuple(await bench.superuser.fetchrow("SELECT state::text, failures FROM connections"))


async def test_a_client_without_an_enrolment_is_no_fault_of_the_bank(bench: Bench, link: Link) -> None:
    """Whoever is not enrolled cannot be asked for; others at that bank can."""
    await bench.superuser.execute("DELETE FROM enrolments")
    await refresh(bench, BREAKER_FAILURES)
    assert 0 == await failures(bench)


async def test_an_account_that_failed_says_nothing_of_a_repair(bench: Bench, link: Link, troubled: Troubled) -> None:
    """A login that needed a person needs one until its accounts have come through."""
    troubled.code = 103
    await refresh(bench, 1)
    troubled.code, troubled.breaks_pulls_with = None, "row 3 cannot be read: expected amount"
    await refresh(bench, 1)
    assert ("needs_person", 1) == tuple(await bench.superuser.fetchrow("SELECT state::text, failures FROM connections"))


async def test_an_unlisted_code_keeps_the_data_and_is_escalated_after_three(
    bench: Bench, link: Link, troubled: Troubled
) -> None:
    """The rows stay, the next cycle tries again, and the third in a row is told, once; another code counts anew."""
    before = await bench.rows(link.accounts["checking"])
    troubled.code = 424242
    for repeats in range(1, ESCALATED_AFTER + 2):
        with capture_logs() as lines:
            await refresh(bench, 1)
        told = [line for line in lines if line["event"] == "connection.unexplained"]
        assert (repeats == ESCALATED_AFTER) == bool(told)
        assert ("waiting", repeats, 0) == tuple(
            await bench.superuser.fetchrow("SELECT state::text, code_repeats, failures FROM connections")
        )
        assert await bench.one("SELECT handled = requested AND next_update_at > now() FROM connections")
    assert before == await bench.rows(link.accounts["checking"])
    troubled.code = 424243
    await refresh(bench, 1)
    assert 1 == await bench.one("SELECT code_repeats FROM connections")
    troubled.code = None
    await refresh(bench, 1)
    assert ("active", 0) == tuple(await bench.superuser.fetchrow("SELECT state::text, code_repeats FROM connections"))


async def trip(bench: Bench, troubled: Troubled) -> ConnectionId:
    """Let the bank fail until its breaker is open, with one refresh that waits."""
    troubled.error = AggregatorError("it could not be reached: TimeoutError")
    await refresh(bench, BREAKER_FAILURES)
    await bench.superuser.execute("UPDATE connections SET due_at = now()")
    troubled.error = None
    return ConnectionId(await bench.one("SELECT id FROM connections"))


async def test_a_click_is_not_held_and_what_the_bank_said_is_fetched(
    bench: Bench, link: Link, troubled: Troubled
) -> None:
    """A person's bank refresh asks the bank although its breaker is open, and a bank that answers closes it."""
    connection_id = await trip(bench, troubled)
    assert not await take_refresh(bench.context)
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        await bank_refresh.insert_bank_refresh(
            conn, bench.tenant.customer_id, connection_id, kind="current", requested_by="user:1"
        )
    assert await take_bank_refresh(bench.context)
    await bench.work()
    assert "done" == await bench.one("SELECT state::text FROM bank_refreshes")
    assert 0 == await failures(bench)


async def test_the_next_update_of_one_that_waits_is_when_it_is_tried(
    bench: Bench, link: Link, troubled: Troubled
) -> None:
    """While a bank is paused its connections show the end of the pause; afterwards the next night again."""
    connection_id = await trip(bench, troubled)

    async def shown() -> datetime | None:
        async with bench.database.tenant(bench.tenant.customer_id) as conn:
            found = await bank_account.find_bank_account(conn, bench.tenant.customer_id, connection_id)
        assert found is not None
        return found.next_update_at

    assert await bench.one("SELECT blocked_until FROM institution_health") == await shown()
    await refresh(bench, 1)
    assert await bench.one("SELECT next_update_at FROM connections") == await shown()


async def test_a_sweep_measures_the_breakers(bench: Bench, link: Link, troubled: Troubled) -> None:
    """How many institutions are paused, and how long the oldest refresh has been due."""
    troubled.error = AggregatorError("it could not be reached: TimeoutError")
    await refresh(bench, BREAKER_FAILURES)
    await bench.superuser.execute("UPDATE connections SET due_at = now() - interval '1 h'")
    await Sweeper(bench.context, [])._measure()
    states = [
        REGISTRY.get_sample_value("bankfeed_institution_breaker_state", {"state": s}) for s in ("open", "half_open")
    ]
    assert [1, 0] == states
    assert 3600 <= (REGISTRY.get_sample_value("bankfeed_connections_oldest_due_age_seconds") or 0) < 3700


def test_finicity_forbids_automated_bank_refreshes() -> None:
    """The connector declares it; a schedule of bank refreshes would have to ask."""
    assert not Finicity.may_automate_bank_refresh
