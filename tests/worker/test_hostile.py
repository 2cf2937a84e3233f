"""A feed of hostile input is refused or taken for that account only; its siblings go on, and in good time."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.db.connection import get_refresh_target, upsert_connection
from bankfeed.model import EventType, FeedKind, Pull, Reported, TransactionState, Values
from bankfeed.reconcile import Verdict
from tests.worker.conftest import Bench
from tests.worker.test_refresh import claim
from worker.commit import commit_pull
from worker.inbox import take_inbox

SPOILED: dict[str, tuple[dict[str, Any], bool]] = {  # what is changed in each row, and whether the account is taken
    "an amount of 30 digits": ({"amount": Decimal("9" * 30)}, False),
    "not a number": ({"amount": Decimal("NaN")}, False),
    "without end": ({"amount": Decimal("-Infinity")}, False),
    "the last day": ({"transacted_on": date.max, "posted_on": date.max}, True),
    "the first day": ({"transacted_on": date.min, "posted_on": date.min}, True),
    "a million blanks": ({"description": " " * 1_000_000}, True),
    "a million letters": ({"description": "x" * 1_000_000}, True),
    "written from right to left": ({"description": "\u202eOOF\u202c \u200fBAR"}, True),
    "half a character": ({"description": "\ud800"}, False),
    "a byte of zero": ({"memo": "a\x00b"}, False),
}


class Hostile(Finicity):
    """The real connector, which puts values into every row that it pulls of one account."""

    spoil_ref = ""
    values: dict[str, Any]

    async def pull(self, customer_ref: str, account: ListedAccount, **window: Any) -> Pull:
        pull = await super().pull(customer_ref, account, **window)
        if account.account_ref != self.spoil_ref:
            return pull
        rows = [replace(row, values=replace(row.values, **self.values)) for row in pull.rows]
        return replace(pull, rows=tuple(rows))


@pytest.fixture
async def hostile(bench: Bench) -> AsyncIterator[Hostile]:
    """The worker's connector, for now without spoiling."""
    connector = Hostile(bench.finbank.config())
    real = bench.context.connectors["finicity"]
    object.__setattr__(bench.context, "connectors", {"finicity": connector})
    yield connector
    await connector.close()
    await real.close()


@pytest.mark.parametrize("kind", SPOILED)
async def test_a_hostile_account_stays_alone(bench: Bench, hostile: Hostile, kind: str) -> None:
    """Values that nobody can mean, in every row of one account, twice."""
    hostile.values, is_taken = SPOILED[kind]
    link = await bench.link("checking", "savings")
    hostile.spoil_ref = str(link.accounts["checking"])
    for _ in range(2):
        await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
        await take_inbox(bench.context)
        await bench.superuser.execute("UPDATE connections SET due_at = now()")
        await bench.work()
    assert [] != await bench.visible(link.accounts["savings"])
    assert is_taken == ([] != await bench.visible(link.accounts["checking"]))
    assert (0 if is_taken else 2) == await bench.one("SELECT failures FROM connections")


# ------------------------------------------------------------------------------------------------ many alike


def make_alike(rows: int, *, prefix: str | None, state: TransactionState = TransactionState.ACTIVE) -> Pull:
    """Make a list of rows that are equal in all but their ids."""
    values = Values(amount=Decimal("-4.50"), transacted_on=date(2026, 3, 2), description="DAILY ROAST")
    return Pull(
        at=datetime(2026, 3, 3, 6, tzinfo=UTC),
        kind=FeedKind.FULL,
        from_on=date(2026, 2, 1),
        to_on=date(2026, 3, 3),
        is_complete=True,
        rows=tuple(
            Reported(aggregator_id=None if prefix is None else f"{prefix}{n}", state=state, values=values)
            for n in range(rows)
        ),
    )


@pytest.mark.parametrize(
    ("prefix", "later", "state", "rows"),
    [
        ("a", "a", TransactionState.ACTIVE, 5_000),
        ("a", "b", TransactionState.ACTIVE, 5_000),
        (None, None, TransactionState.ACTIVE, 50_000),
        ("p", "a", TransactionState.PENDING, 5_000),
    ],
    ids=["the same", "all ids new", "no ids", "pending, then posted"],
)
async def test_rows_that_are_all_alike(
    bench: Bench, prefix: str | None, later: str | None, state: TransactionState, rows: int
) -> None:
    """Thousands of equal rows are as many rows, and found again; work that grew with their square would not end in time."""
    tenant = bench.tenant
    async with bench.database.tenant(tenant.customer_id) as conn:
        await upsert_connection(
            conn, tenant.customer_id, tenant.client_id, source_id=bench.sources.finicity, login_ref="1"
        )
    await bench.superuser.execute("UPDATE connections SET requested = 1")
    lease = await claim(bench)
    async with bench.database.tenant(tenant.customer_id) as conn:
        target = await get_refresh_target(conn, lease)
    listed = ListedAccount(account_ref="1", login_ref="1", institution_ref="1", name="Checking", type="checking")
    first = make_alike(rows, prefix=prefix, state=state)
    second = replace(make_alike(rows, prefix=later), at=first.at + timedelta(hours=1))
    for pull in (first, second):
        changes = await commit_pull(bench.context, lease, target, listed, pull, finish=None, now=pull.at)
        assert Verdict.APPLIED == changes.verdict
    assert [(rows, "active")] == [
        tuple(row)
        for row in await bench.superuser.fetch("SELECT count(*), state::text FROM transactions GROUP BY state")
    ]
