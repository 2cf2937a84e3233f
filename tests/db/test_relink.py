"""Whether an account is one that was closed: what is asked, when that is no question any more, and what is refused."""

from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.db import Database
from bankfeed.db.change import list_changes
from bankfeed.db.relink import inherit_hiding
from bankfeed.errors import NotFound
from bankfeed.jobs import Waker
from bankfeed.model import AccountId
from bankfeed.settings import Settings
from tests.db.both import Both
from tests.db.made import Ground
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


# ------------------------------------------------------------------------------------------------ what a person set of them


async def read_accounts(both: Both) -> list[tuple[str, bool, str, str]]:
    """List state, hidden or not, own name and memo of the accounts that are not a part of another, the first one first."""
    tenant = both.stored.tenant
    async with both.stored.database.tenant(tenant.customer_id) as conn:
        rows = await conn.fetch(
            "SELECT state::text, is_hidden, own_name, memo FROM accounts WHERE adopted_into IS NULL ORDER BY id"
        )
    return [tuple(row) for row in rows]


async def set_newest(both: Both, change: str) -> None:
    """Let a person change the account that was added last."""
    tenant = both.stored.tenant
    async with both.stored.database.tenant(tenant.customer_id) as conn:
        await conn.execute(f"UPDATE accounts SET {change} WHERE id = (SELECT max(id) FROM accounts)")  # noqa: S608


async def test_what_was_set_before_the_first_rows_goes_over(both: Both) -> None:
    """Added again and still empty, it was hidden and named; with its rows it turns out to be the earlier one, which is so now."""
    await both.play([*UNSURE[:3], opened("b"), pulled("b", 5) | {"transactions": []}])
    await set_newest(both, "is_hidden = true, own_name = 'Petty cash', memo = 'locked'")
    await both.play([opened("b"), pulled("b", 6)])
    assert [("open", True, "Petty cash", "locked")] == await read_accounts(both)
    assert [] == [number for number, is_shown in (await read_shown(both, after=0)).values() if is_shown]


async def test_what_was_set_of_the_earlier_one_stays(both: Both) -> None:
    """Its name and memo are not replaced by the later one's, and it stays hidden though the later one is not."""
    await both.play(UNSURE[:3])
    await set_newest(both, "is_hidden = true, own_name = 'Till', memo = 'ours'")
    await both.play([opened("b"), pulled("b", 5) | {"transactions": []}])
    await set_newest(both, "is_hidden = false, own_name = 'Petty cash', memo = 'theirs'")
    await both.play([opened("b"), pulled("b", 6)])
    assert [("open", True, "Till", "ours")] == await read_accounts(both)


async def test_whom_a_person_adopts_names_the_earlier_one(both: Both) -> None:
    """The answer to the question takes name and hiding along."""
    await both.play(UNSURE)
    await set_newest(both, "is_hidden = true, own_name = 'Petty cash'")
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("adopt", doubt.id)
    assert [("open", True, "Petty cash", "")] == await read_accounts(both)


ALIKE: dict[str, Any] = {
    "number": " 4321 ",
    "type": "Checking",
    "currency": "USD",
    "institution": 1,
    "state": "closed",
    "hidden": True,
}


@pytest.mark.parametrize(
    ("earlier", "new", "wished"),
    [
        ({}, {}, (True, "Till")),
        ({"institution": 2}, {}, (True, "Till")),
        ({"hidden": False}, {}, (False, "Till")),
        ({"institution": 3}, {}, (False, "")),
        ({"institution": None}, {"institution": None}, (False, "")),
        ({"number": ""}, {"number": " "}, (False, "")),
        ({"number": "99"}, {}, (False, "")),
        ({"type": "savings"}, {}, (False, "")),
        ({"currency": "CAD"}, {}, (False, "")),
        ({"state": "open"}, {}, (False, "")),
        ({}, {"created_at": "now() - interval '1 day'"}, (False, "")),
    ],
)
async def test_a_new_account_is_hidden_as_an_earlier_one_without_rows_was(
    ground: Ground,
    superuser: asyncpg.Connection,
    earlier: dict[str, Any],
    new: dict[str, Any],
    wished: tuple[bool, str],
) -> None:
    """Of one institution or its equal, type, number and currency, and closed; a blank is nobody's, and only what is just added is."""
    await superuser.execute(
        """
        INSERT INTO institutions (id, connector, aggregator_id, name, same_as) OVERRIDING SYSTEM VALUE
            VALUES (1, 'finicity', '1', 'Bank', NULL), (2, 'finicity', '2', 'Same bank', 1), (3, 'finicity', '3', 'Other', NULL)
        """
    )
    async with superuser.transaction():
        await add_account(superuser, ground, "old", **(ALIKE | earlier))
        made = await add_account(
            superuser,
            ground,
            "new",
            **(ALIKE | {"number": "4321", "type": "checking", "state": "open", "hidden": None} | new),
        )
        await inherit_hiding(superuser, ground.tenant.customer_id, made)
    row = await superuser.fetchrow("SELECT is_hidden, own_name FROM accounts WHERE aggregator_id = 'new'")
    assert wished == tuple(row)


async def add_account(
    superuser: asyncpg.Connection,
    ground: Ground,
    ref: str,
    *,
    number: str,
    type: str,  # noqa: A002 - the schema's word
    currency: str,
    institution: int | None,
    state: str,
    hidden: bool | None,
    created_at: str = "now()",
) -> AccountId:
    """Add an account under a login of its own; `hidden` None is one that nobody has hidden or named."""
    made: AccountId = await superuser.fetchval(
        f"""
        WITH login AS (
            INSERT INTO connections (customer_id, client_id, source_id, aggregator_login_id, institution_id)
            VALUES ($1, $2, $3, $4, $5) RETURNING id)
        INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, number_display, type,
                              currency, state, closed_at, is_hidden, own_name, created_at)
        SELECT $1, $2, id, $3, $4, $4, $6, $7, $8, $9::account_state, CASE WHEN $9 = 'closed' THEN now() END,
               coalesce($10, false), CASE WHEN $10 IS NULL THEN '' ELSE 'Till' END, {created_at} FROM login RETURNING id
        """,  # noqa: S608 - our own words
        ground.tenant.customer_id,
        ground.tenant.client_id,
        ground.sources.finicity,
        ref,
        institution,
        number,
        type,
        currency,
        state,
        hidden,
    )
    return made
