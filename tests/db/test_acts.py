"""A person's acts on Postgres: each and its undo as in memory, all or nothing, and one after the other."""

import asyncio
import os
import sys
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.db import Database
from bankfeed.errors import ActRefused, NotFound, RefusedData
from bankfeed.jobs import Waker
from bankfeed.model import ActId, CustomerId, DoubtId, PullId, ShadowPolicy, TransactionId
from bankfeed.settings import Settings
from tests.conftest import Urls
from tests.db.both import Both
from tests.db.made import wait_until_blocked
from tests.pure.history import read_history
from tests.seed import make_endpoint, make_sources, make_tenant
from tests.worker.histories import ACTOR, Stored
from worker.context import Context

DENTIST, BILL, LUIGI, BAKERY, KIOSK, OTHER = map(TransactionId, range(1, 7))
HISTORY = """
pull 03-03
  a2 * 03-01 -33.00 DENTIST
  a3 * 03-01 -33.00 DENTIST BILL
  p1 ! 03-02 -20.00 LUIGI TRATTORIA
  a4 * 03-02 -9.00 BAKERY
pull 03-05
  a2 * 03-01 -33.00 DENTIST
  a3 * 03-01 -33.00 DENTIST BILL
  a9 * 03-04 -24.00 LUIGI TRATTORIA NYC
  a5 * 03-05 -1.00 KIOSK
"""
NEXT_PULL = """
pull 03-21
  b2 * 03-01 -33.00 DENTIST
  a3 * 03-01 -33.00 DENTIST BILL
  a9 * 03-04 -24.00 LUIGI TRATTORIA NYC
  a5 * 03-05 -1.00 KIOSK
  a6 ! 03-20 -2.00 NEWS
"""

Acts = list[tuple[Any, ...]]
ACTS: dict[str, Acts] = {
    "link": [("link", LUIGI, "L1")],
    "a second link": [("link", LUIGI, "L2"), ("link", LUIGI, "L1")],
    "unlink": [("link", LUIGI, "L1"), ("link", LUIGI, "L2"), ("unlink", LUIGI, "L1")],
    "reconcile": [("mark_reconciled", LUIGI)],
    "unreconcile": [("mark_reconciled", LUIGI), ("unmark_reconciled", LUIGI)],
    "delete": [("link", LUIGI, "L1"), ("delete", LUIGI)],
    "restore": [("delete", LUIGI), ("restore", LUIGI)],
    "merge": [("link", DENTIST, "L2"), ("link", BILL, "L1"), ("merge", DENTIST, BILL)],
    "unmerge": [("link", BILL, "L1"), ("merge", DENTIST, BILL), ("unmerge", BILL)],
    "split": [("split", LUIGI, (Decimal("-23.5"), Decimal("-0.50")))],
    "unsplit": [("split", LUIGI, (Decimal("-20.00"), Decimal("-4.00"))), ("unsplit", LUIGI)],
    "confirm": [("confirm_shadow", BAKERY)],
    "reject": [("reject_shadow", BAKERY)],
    "an act that changes nothing": [("unlink", LUIGI, "L1")],
}
TIE = """
pull 03-03
  p1 ! 03-02 -20.00 CORNER CAFE
link L1 -20.00
pull 03-05
  a1 * 03-04 -20.00 CORNER CAFE EAST
  a2 * 03-04 -20.00 CORNER CAFE WEST
"""


@pytest.fixture
async def both(database: Database, owner: asyncpg.Connection, settings: Settings) -> Both:
    """Both stores, with nothing in them."""
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    sources = await make_sources(owner)
    return Both(stored=Stored(context=context, sources=sources, tenant=await make_tenant(database, sources)))


@pytest.mark.parametrize("case", ACTS)
async def test_an_act_and_its_undo(both: Both, case: str) -> None:
    """Each act leaves the rows as in memory, survives a pull, is undone once, and then nothing of it is left."""
    await both.read(HISTORY)
    act_id = 0
    before = {}
    for name, *words in ACTS[case]:
        before = await both.stands()
        act_id = await both.act(name, *words)
        await both.stands()
    await both.read(NEXT_PULL)
    await both.stands()
    await both.act("undo_act", act_id)
    after = await both.stands()
    await both.refuse("undo_act", act_id)
    acted = ("entries", "reconciled", "deleted", "merged_into", "split_into", "verdict")
    assert [{name: row.get(name) for name in acted} for row in before["transactions"]] == [
        {name: row.get(name) for name in acted} for row in after["transactions"] if row["description"] != "NEWS"
    ]


@pytest.mark.parametrize(
    "refused",
    [
        ("merge", LUIGI, LUIGI),
        ("split", LUIGI, (Decimal("-20.00"), Decimal("-4.01"))),
        ("confirm_shadow", LUIGI),
        ("unmerge", LUIGI),
        ("undo_match", KIOSK),
        ("undo_pull", 1),
        ("link", BILL, "L1"),
    ],
    ids=lambda refused: refused[0],
)
async def test_what_does_not_fit_is_refused(both: Both, refused: tuple[Any, ...]) -> None:
    """A merge with itself, parts that do not add up, an entry that another row has, a pull that others came after."""
    await both.read(HISTORY)
    await both.act("link", LUIGI, "L1")
    await both.refuse(*refused)


async def test_an_undone_match_and_an_undone_pull(both: Both, superuser: asyncpg.Connection) -> None:
    """What was matched stands apart, subscribers are told, and the next pull applies what the bank lists then."""
    await both.read(HISTORY)
    await make_endpoint(both.stored.database, both.stored.tenant, url="http://127.0.0.1:1/hook")
    await both.act("link", LUIGI, "L1")
    await both.act("undo_match", LUIGI)
    await both.stands()
    await both.read(NEXT_PULL)
    await both.stands()
    await both.act("undo_pull", 3)
    await both.stands()
    await both.refuse("undo_pull", 3)
    await both.read(NEXT_PULL.replace("03-21", "03-22"))
    await both.stands()
    told = await superuser.fetchval("SELECT count(*) FROM delivery_queue WHERE created_at < '2026-03-21'")
    assert 2 == told
    undone = await superuser.fetch("SELECT undone_at IS NOT NULL AS is_undone FROM pulls ORDER BY id LIMIT 3")
    assert [False, False, True] == [row["is_undone"] for row in undone]


async def test_a_pull_is_undone_whole(both: Both) -> None:
    """Rows that it added leave, rows that it posted are pending again, and those it took for withdrawn are back."""
    await both.read(HISTORY)
    await both.act("undo_pull", 2)
    found = {row["description"]: row["status"] for row in (await both.stands())["transactions"]}
    assert {"LUIGI TRATTORIA": "pending", "BAKERY": "active", "KIOSK": "removed"}.items() <= found.items()


async def test_a_doubt_is_decided_and_open_again(both: Both) -> None:
    """The acts go to the row chosen; undone, they are back and the question is asked again."""
    await both.read(TIE)
    asked = await both.stands()
    assert ["L1"] == [doubt["entry"] for doubt in asked["doubts"]]
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    choice = next(row for row in doubt.candidates if row != doubt.transaction_id)
    await both.refuse("decide", doubt.id, 999)
    act_id = await both.act("decide", doubt.id, choice)
    assert [] == (await both.stands())["doubts"]
    await both.act("undo_act", act_id)
    again = await both.stands()
    assert asked["doubts"] == again["doubts"]
    await both.act("decide", doubt.id, doubt.transaction_id)
    assert [] == (await both.stands())["doubts"]


async def test_two_accounts_are_one(both: Both) -> None:
    """A person says that an account is an earlier one: rows join as in memory, pulls go on, a join can be undone."""
    opening, *pulls = read_history(f"\n\n{HISTORY}").steps
    opening |= {"institution": "i", "type": "checking"}  # and no number
    await both.play([opening, *pulls])
    await both.act("link", DENTIST, "L1")
    await both.play([opening, {"op": "unlink", "account": "a"}, opening])
    _, again, *_ = read_history(f"\n\n{NEXT_PULL}").steps
    await both.play([opening, again])
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.refuse("decide", doubt.id, DENTIST)
    act_id = await both.act("adopt", doubt.id)
    assert [] == (await both.stands())["doubts"]
    await both.refuse("undo_act", act_id)
    await both.play([opening, {**again, "at": "2026-03-22T06:00:00Z", "to": "2026-03-22"}])
    await both.stands()
    await both.act("undo_match", DENTIST)
    await both.stands()


async def test_a_doubt_goes_with_its_act(both: Both) -> None:
    """Taken off, nobody is asked; undone, all are again; merged away, the answer moves the act from where it is."""
    await both.read(TIE + "  a3 * 03-04 -20.00 SOMETHING ELSE")
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    choice = next(row for row in doubt.candidates if row != doubt.transaction_id)
    other = next(row for row in (1, 2, 3, 4) if row not in doubt.candidates)
    taken_off = await both.act("unlink", doubt.transaction_id, "L1")
    assert [] == (await both.stands())["doubts"]
    await both.act("undo_act", taken_off)
    assert ["L1"] == [each["entry"] for each in (await both.stands())["doubts"]]
    await both.act("merge", other, doubt.transaction_id)
    await both.stands()
    answered = await both.act("decide", doubt.id, choice)
    assert [["L1"]] == [row["entries"] for row in (await both.stands())["transactions"] if row["row"] == choice]
    await both.act("undo_act", answered)
    assert 1 == len((await both.stands())["doubts"])


async def test_an_adoption_stands_before_what_it_moved(both: Both) -> None:
    """Links from before an adoption are not undone through it."""
    opening, *pulls = read_history(f"\n\n{HISTORY}").steps
    opening |= {"institution": "i", "type": "checking"}  # and no number
    _, again, *_ = read_history(f"\n\n{NEXT_PULL}").steps
    await both.play([opening, *pulls, {"op": "unlink", "account": "a"}, opening, again])
    rows = (await both.stands())["transactions"]
    copy = next(row["row"] for row in rows if row["description"] == "DENTIST" and row["row"] != DENTIST)
    linked = [await both.act("link", DENTIST, "L1"), await both.act("link", copy, "L2")]
    [doubt] = await acts.list_doubts(both.stored.database, both.stored.tenant.customer_id)
    await both.act("adopt", doubt.id)
    for act_id in linked:
        await both.refuse("undo_act", act_id)


async def test_a_void_entry_is_in_nobodys_way(both: Both, superuser: asyncpg.Connection) -> None:
    """An act is undone on a row whose entry was voided since; the entry stays void, and off the row."""
    await both.read(HISTORY)
    database, customer_id = both.stored.database, both.stored.tenant.customer_id
    await acts.link(database, customer_id, LUIGI, "L1", actor=ACTOR)
    linked = await acts.link(database, customer_id, LUIGI, "L2", actor=ACTOR)
    parts = await acts.split(database, customer_id, LUIGI, (Decimal(-20), Decimal(-4)), actor=ACTOR)
    await superuser.execute(
        "UPDATE ledger_entries SET state = 'void', voided_at = now(), transaction_id = NULL WHERE reference = 'L1'"
    )
    for act_id in (parts, linked):
        await acts.undo_act(database, customer_id, act_id, actor=ACTOR)
    [row] = [life.row for life in (await both.stored.end(ShadowPolicy.HIDE)).lives if life.row.id == LUIGI]
    assert ((), ()) == (row.entries, row.split_into)


async def test_an_undo_erases_nothing_that_a_person_works_with(both: Both, superuser: asyncpg.Connection) -> None:
    """A row that was erased, came back and was locked keeps its values when its return is undone."""
    await superuser.execute("UPDATE customers SET shadow_policy = 'delete'")
    both.replay.book.policy = ShadowPolicy.DELETE
    other = "  a2 * 03-02 -5.00 KIOSK\n"
    listed = "  a1 * 03-02 -20.00 CAFE\n" + other
    await both.read(f"pull 03-03\n{listed}pull 03-04\n{other}pull 03-05\n{listed}")
    await both.act("mark_reconciled", 1)
    await both.act("undo_pull", 3)
    [row] = [row for row in (await both.stands())["transactions"] if row["row"] == 1]
    assert ("shadow", "-20.00") == (row["status"], row["amount"])


async def test_an_undone_pull_is_listed_anew(both: Both, superuser: asyncpg.Connection) -> None:
    """The next refresh asks for all history, and finds a booked row however late; pulls are undone last first."""
    await both.read(HISTORY)
    await both.act("link", KIOSK, "L1")
    await both.act("undo_pull", 2)
    await both.stands()
    assert await superuser.fetchval("SELECT history_from_on IS NULL FROM accounts")
    await both.act("undo_pull", 1)
    await both.stands()
    await both.read(NEXT_PULL.replace("03-21", "04-28"))
    [row] = [row for row in (await both.stands())["transactions"] if row["row"] == KIOSK]
    assert ("active", ["L1"]) == (row["status"], row["entries"])


async def test_a_delta_is_not_undone(both: Both) -> None:
    """What it brought is never listed again."""
    await both.read("pull 03-03 delta\n  a1 * 03-02 -20.00 CAFE\n")
    await both.refuse("undo_pull", 1)


async def test_a_life_in_words(both: Both) -> None:
    """The same words as in memory, from what is kept."""
    await both.read(HISTORY)
    await both.act("link", LUIGI, "L1")
    tenant = both.stored.tenant
    told = await acts.explain(both.stored.database, tenant.customer_id, LUIGI)
    [row] = [row for row in (await both.stands())["transactions"] if row["row"] == LUIGI]
    assert row["steps"] == list(told)
    assert "L1" in told[-1]


async def test_the_command_tells_a_life(both: Both, urls: Urls) -> None:
    """`bankfeed explain` prints it; a transaction that is not that customer's ends with 1 and one sentence."""
    await both.read(HISTORY)
    customer_id = both.stored.tenant.customer_id
    told = await acts.explain(both.stored.database, customer_id, LUIGI)
    assert (0, "\n".join((*told, "")), "") == await run_explain(urls, LUIGI, customer_id)
    assert (1, "", "bankfeed: there is no transaction 999\n") == await run_explain(urls, 999, customer_id)


async def run_explain(urls: Urls, row_id: int, customer_id: CustomerId) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bankfeed.cli", "explain", str(row_id), "--customer", str(customer_id)),
        env={**os.environ, **urls.environ()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


# ------------------------------------------------------------------------------------------------ whose rows


async def test_others_ids_are_not_found(both: Both) -> None:
    """To another customer a row, an act, a pull and a doubt do not exist."""
    await both.read(TIE)
    await both.act("link", 1, "L2")
    database = both.stored.database
    other = (await make_tenant(database, both.stored.sources)).customer_id
    doubt_id = DoubtId(1)
    for attempt in (
        acts.link(database, other, DENTIST, "L9", actor=ACTOR),
        acts.merge(database, other, DENTIST, BILL, actor=ACTOR),
        acts.undo_match(database, other, DENTIST, actor=ACTOR),
        acts.undo_act(database, other, ActId(1), actor=ACTOR),
        acts.undo_pull(database, other, PullId(1), actor=ACTOR),
        acts.decide(database, other, doubt_id, DENTIST, actor=ACTOR),
        acts.adopt(database, other, doubt_id, actor=ACTOR),
        acts.explain(database, other, DENTIST),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert () == await acts.list_doubts(database, other)


async def test_an_act_names_its_actor(both: Both) -> None:
    """Who acts is a user or the system."""
    await both.read(HISTORY)
    with pytest.raises(RefusedData, match="act_actor_is_named"):
        await acts.delete(both.stored.database, both.stored.tenant.customer_id, LUIGI, actor="")


# ------------------------------------------------------------------------------------------------ at once


async def test_an_entry_is_booked_once_though_two_try(both: Both, superuser: asyncpg.Connection) -> None:
    """Two links of one entry at once, to rows of two accounts: one is refused, and has written nothing."""
    await both.read(HISTORY)
    other = read_other_account()
    await both.play(other)
    database, customer_id = both.stored.database, both.stored.tenant.customer_id
    async with database.tenant(customer_id) as conn:  # both get as far as the first thing that both write
        await conn.execute("SELECT FROM change_counters FOR UPDATE")
        trying = [
            asyncio.create_task(acts.link(database, customer_id, row, "L1", actor=ACTOR)) for row in (LUIGI, OTHER)
        ]
        await wait_until_blocked(superuser, 2)
    ended = await asyncio.gather(*trying, return_exceptions=True)
    assert 1 == sum(isinstance(each, ActRefused) for each in ended)
    assert (1, 1) == tuple(
        await superuser.fetchrow(
            "SELECT (SELECT count(*) FROM acts), (SELECT count(transaction_id) FROM ledger_entries)"
        )
    )


def read_other_account() -> list[dict[str, Any]]:
    row = {"id": "o1", "status": "active", "amount": "-5.00", "date": "2026-03-02", "description": "OTHER"}
    return [
        {"op": "account", "account": "b", "currency": "USD"},
        {
            "op": "pull",
            "account": "b",
            "at": "2026-03-06T06:00:00Z",
            "kind": "full",
            "from": "2026-02-01",
            "to": "2026-03-06",
            "complete": True,
            "transactions": [row],
        },
    ]


async def test_an_act_waits_for_a_pull_of_its_account(both: Both, superuser: asyncpg.Connection) -> None:
    """An act during a pull is planned on the rows that the pull leaves."""
    await both.read(HISTORY)
    database, customer_id = both.stored.database, both.stored.tenant.customer_id
    async with database.tenant(customer_id) as conn:
        await conn.execute("SELECT FROM accounts FOR UPDATE")
        locking = asyncio.create_task(acts.mark_reconciled(database, customer_id, LUIGI, actor=ACTOR))
        await wait_until_blocked(superuser)
        await conn.execute("UPDATE transactions SET memo = 'written by the pull', change_no = 99 WHERE id = $1", LUIGI)
    await locking
    assert "written by the pull" == await superuser.fetchval("SELECT memo FROM transactions WHERE id = $1", LUIGI)
