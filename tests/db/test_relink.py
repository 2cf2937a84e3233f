"""Whether an account is one that was closed: what is asked, when that is no question any more, and what is refused."""

from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.db import Database
from bankfeed.db.change import list_changes
from bankfeed.errors import NotFound
from bankfeed.jobs import Waker
from bankfeed.settings import Settings
from tests.db.both import Both
from tests.seed import make_sources, make_tenant
from tests.worker.histories import ACTOR, Stored
from worker.context import Context

LEAVES = {"op": "unlink", "account": "a"}


@pytest.fixture
async def both(database: Database, owner: asyncpg.Connection, settings: Settings) -> Both:
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    sources = await make_sources(owner)
    return Both(stored=Stored(context=context, sources=sources, tenant=await make_tenant(database, sources)))


def opened(name: str, *, number: str = "4321") -> dict[str, Any]:
    return {
        "op": "account",
        "account": name,
        "institution": "i",
        "type": "checking",
        "number": number,
        "currency": "USD",
    }


def pulled(name: str, day: int) -> dict[str, Any]:
    """List three rows under ids of that account and day."""
    rows = [
        {
            "id": f"{name}{day}{n}",
            "status": "active",
            "amount": f"-{n}.00",
            "date": f"2026-03-0{n}",
            "description": "CAFE",
        }
        for n in (1, 2, 3)
    ]
    window = {"kind": "full", "from": "2026-02-01", "to": f"2026-03-{day:02d}", "complete": True}
    at = f"2026-03-{day:02d}T06:00:00Z"
    return {"op": "pull", "account": name, "at": at, **window, "transactions": rows}


UNSURE = [opened("a"), pulled("a", 4), LEAVES, opened("b", number=""), pulled("b", 5)]


async def count_open_doubts(both: Both) -> int:
    return len(await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id))


async def test_no_question_is_left_when_the_earlier_account_opens_again(both: Both) -> None:
    """The aggregator lists the earlier account again under its own id: then the later one is another, and stays it."""
    stored = both.stored
    await both.play(UNSURE[:2])
    of_its_own = stored.opened["a"]
    await both.play([opened("a"), *UNSURE[2:]])
    assert 1 == await count_open_doubts(both)
    stored.opened["a"] = of_its_own
    await both.play([opened("a"), pulled("a", 6)])
    assert 0 == await count_open_doubts(both)


async def test_an_account_that_opened_again_is_not_adopted_into(both: Both) -> None:
    """A question whose answer was taken back cannot be answered with an account that has become another one meanwhile."""
    await both.play(UNSURE)
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    act_id = await both.act("keep_apart", doubt.id)
    await both.play([opened("c"), pulled("c", 6)])
    await both.act("undo_act", act_id)
    await both.refuse("adopt", doubt.id)


async def test_an_account_is_adopted_once(both: Both) -> None:
    """Of two earlier accounts that one may be, the one chosen ends the question about the other."""
    others = [opened("o", number="77"), pulled("o", 4), {**LEAVES, "account": "o"}]
    await both.play([*others, *UNSURE])
    assert 2 == await count_open_doubts(both)
    first, second = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("adopt", first.id)
    await both.play([opened("b", number=""), pulled("b", 6)])
    assert [] == (await both.stands())["doubts"]
    with pytest.raises(NotFound):
        await acts.adopt(both.stored.database, both.stored.tenant.customer_id, second.id, actor=ACTOR)


async def test_an_account_that_leaves_later_is_asked_about(both: Both) -> None:
    """Linked anew before the old link left, both stand; the next pull asks, once, and a person makes them one."""
    await both.play([opened("a"), pulled("a", 4), opened("b"), pulled("b", 5)])
    assert 0 == await count_open_doubts(both)
    await both.play([opened("a"), LEAVES, opened("b"), pulled("b", 6), pulled("b", 7)])
    asked = await both.stands()
    assert ["b"] == [doubt["account"] for doubt in asked["doubts"]]
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("adopt", doubt.id)
    await both.play([opened("b"), pulled("b", 8)])
    rows = (await both.stands())["transactions"]
    assert ["-1.00", "-2.00", "-3.00"] == sorted(row["amount"] for row in rows if row["status"] == "active")


async def test_kept_apart_they_are_not_asked_about_again(both: Both) -> None:
    """The answer that they are two stands at the next pulls."""
    await both.play([opened("a"), pulled("a", 4), opened("b"), pulled("b", 5), LEAVES, pulled("b", 6)])
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("keep_apart", doubt.id)
    await both.play([opened("b"), pulled("b", 7)])
    assert [] == (await both.stands())["doubts"]


async def test_the_feed_tells_of_an_adoption(both: Both) -> None:
    """Who follows the changes ends with what is there: rows of the account that opens again, and none of the other."""
    listed = pulled("a", 4)
    old = {"id": "old", "status": "active", "amount": "-9.00", "date": "2026-01-15", "description": "RENT"}
    listed |= {"from": "2026-01-01", "transactions": [*listed["transactions"], old]}  # the other one never has this row
    await both.play([UNSURE[0], listed, *UNSURE[2:]])
    before = await read_shown(both, after=0)
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("adopt", doubt.id)
    told = await read_shown(both, after=max(number for number, _ in before.values()))
    followed = {row: is_shown for row, (_, is_shown) in (before | told).items()}
    assert {row: is_shown for row, (_, is_shown) in (await read_shown(both, after=0)).items()} == followed
    assert [True] * 4 == [is_shown for is_shown in followed.values() if is_shown]


async def read_shown(both: Both, *, after: int) -> dict[int, tuple[int, bool]]:
    """Read the feed: each row's number, and whether it is in view."""
    tenant = both.stored.tenant
    async with both.stored.database.tenant(tenant.customer_id) as conn:
        rows = await list_changes(conn, tenant.customer_id, tenant.client_id, after=after, since=0, limit=1_000)
    return {row["id"]: (row["change_no"], row["is_shown"]) for row in rows}
