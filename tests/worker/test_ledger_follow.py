"""Entries follow their transactions through pulls and a person's acts, written where the rows are, in one transaction."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.acts.books import Wanted, WantedPart, book
from bankfeed.acts.reviews import accept_review, undo_entry
from bankfeed.db import Database
from bankfeed.db.history import Cause
from bankfeed.db.plan import write_changes
from bankfeed.errors import ActRefused
from bankfeed.ledger.follow import ReviewKind
from bankfeed.model import AccountId, TransactionId, Values
from bankfeed.reconcile import Change, ChangeKind, Changes, Rule, Verdict
from bankfeed.replay.steps import read_steps
from bankfeed.settings import Settings
from tests.worker.books import Books, make_books
from tests.worker.histories import ACTOR

PENDING = """
pull 03-03
  p1 ! 03-02 -20.00 LUIGI TRATTORIA
  a1 * 03-01 -9.00 BAKERY
"""
POSTED = """
pull 03-05
  p1 * 03-04 -24.00 LUIGI TRATTORIA
  a1 * 03-01 -9.00 BAKERY
"""


@pytest.fixture
async def books(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> Books:
    """A tenant with three ledger accounts."""
    return await make_books(database, owner, superuser, settings)


async def test_a_draft_follows_posts_and_is_corrected(books: Books) -> None:
    """Pending: a draft; a tip: it follows; posted: it is posted; the bank corrects: it stays, is asked and corrected."""
    await books.read(PENDING)
    entry = await books.book("LUIGI")
    assert ("draft", "03-02", ["-20.00", "20.00"]) == await books.entry(entry)
    await books.read("pull 03-04\n  p1 ! 03-03 -22.00 LUIGI TRATTORIA\n  a1 * 03-01 -9.00 BAKERY")
    assert ("draft", "03-03", ["-22.00", "22.00"]) == await books.entry(entry)
    await books.read(POSTED)
    posted = ("posted", "03-04", ["-24.00", "24.00"])
    assert posted == await books.entry(entry)
    assert [] == await books.reviews()
    await books.read("pull 03-06\n  p1 * 03-04 -42.00 LUIGI TRATTORIA\n  a1 * 03-01 -9.00 BAKERY")
    assert posted == await books.entry(entry)
    assert [(entry, "differs")] == await books.reviews()
    [correction] = await books.answer("accept")
    assert ("posted", "03-04", ["-18.00", "18.00"]) == await books.entry(correction)
    assert posted == await books.entry(entry)
    assert {"bank": "-42.00", "meals": "42.00"} == await books.balance()
    await books.read("pull 03-07\n  p1 * 03-04 -42.00 LUIGI TRATTORIA\n  a1 * 03-01 -9.00 BAKERY PARIS")
    assert [] == await books.reviews()


async def test_an_active_transaction_is_posted_at_once(books: Books) -> None:
    """Its entry never is a draft, and the row says that a person works with it."""
    await books.read(PENDING)
    entry = await books.book("BAKERY")
    assert ("posted", "03-01", ["-9.00", "9.00"]) == await books.entry(entry)
    assert f"entry-{entry}" == await books.superuser.fetchval(
        "SELECT e.reference FROM ledger_entries e JOIN transactions t ON t.id = e.transaction_id"
    )
    with pytest.raises(ActRefused, match=f"undo entry {entry} first"):
        await books.book("BAKERY")


async def test_an_entry_follows_its_movement_through_a_claim(books: Books) -> None:
    """The posting comes under another id and amount, days later; the draft goes along and is posted."""
    await books.read(PENDING)
    entry = await books.book("LUIGI")
    await books.read("pull 03-04\n  a1 * 03-01 -9.00 BAKERY")
    assert "void" == (await books.entry(entry))[0]
    assert [(entry, "vanished")] == await books.reviews()
    await books.read("pull 03-06\n  x9 * 03-04 -20.00 LUIGI TRATTORIA NYC\n  a1 * 03-01 -9.00 BAKERY")
    assert ("posted", "03-04", ["-20.00", "20.00"]) == await books.entry(entry)
    assert [] == await books.reviews()


async def test_what_a_person_agreed_is_gone_comes_back_by_a_person(books: Books) -> None:
    """The draft stays void when its transaction returns, until its return is accepted."""
    await books.read(PENDING)
    entry = await books.book("LUIGI")
    await books.read("pull 03-04\n  a1 * 03-01 -9.00 BAKERY")
    assert () == await books.answer("accept")
    await books.read(POSTED)
    assert "void" == (await books.entry(entry))[0]
    assert [(entry, "returned")] == await books.reviews()
    assert () == await books.answer("accept")
    assert ("posted", "03-04", ["-24.00", "24.00"]) == await books.entry(entry)


async def test_a_withdrawn_posted_row_is_asked_about(books: Books) -> None:
    """Its entry stays; accepted, it is reversed on its day; back again, it is asked and booked again."""
    await books.read(PENDING)
    entry = await books.book("BAKERY")
    gone = "pull 03-0{}\n  p1 ! 03-02 -20.00 LUIGI TRATTORIA"
    await books.read(gone.format(4))
    assert [(entry, "vanished")] == await books.reviews()
    [reversal] = await books.answer("accept")
    assert ("posted", "03-01", ["9.00", "-9.00"]) == await books.entry(reversal)
    assert {"bank": "0.00", "meals": "0.00"} == await books.balance()
    await books.read(gone.format(5) + "\n  a1 * 03-01 -9.00 BAKERY")
    assert [(entry, "returned")] == await books.reviews()
    await books.answer("accept")
    assert {"bank": "-9.00", "meals": "9.00"} == await books.balance()


async def test_a_person_who_says_it_did_happen_is_believed(books: Books) -> None:
    """A rejected shadow row counts for the books, and nothing is asked about its entry any more."""
    await books.read(PENDING)
    entry = await books.book("BAKERY")
    await books.read("pull 03-04\n  p1 ! 03-02 -20.00 LUIGI TRATTORIA")
    assert [(entry, "vanished")] == await books.reviews()
    await acts.reject_shadow(books.database, books.customer_id, await books.find("BAKERY"), actor=ACTOR)
    assert [] == await books.reviews()
    assert {"bank": "-9.00", "meals": "9.00"} == await books.balance()


async def test_what_is_dismissed_is_not_asked_again(books: Books) -> None:
    """The corrected amount is let be, through later pulls that change the text; another amount is asked."""
    await books.read(PENDING)
    await books.book("BAKERY")
    row = "pull 03-0{}\n  a1 * 03-01 {} BAKERY{}\n  p1 ! 03-02 -20.00 LUIGI TRATTORIA"
    await books.read(row.format(4, "-8.00", ""))
    assert () == await books.answer("dismiss")
    await books.read(row.format(5, "-8.00", " PARIS"))
    await acts.link(books.database, books.customer_id, await books.find("BAKERY"), "own-1", actor=ACTOR)
    assert [] == await books.reviews()
    await books.read(row.format(6, "-7.00", " PARIS"))
    assert ["differs"] == [kind for _, kind in await books.reviews()]


async def test_a_reconciled_row_keeps_its_values_in_the_books(books: Books) -> None:
    """Entries follow what people see, and a lock keeps that."""
    await books.read(PENDING)
    entry = await books.book("LUIGI")
    await acts.mark_reconciled(books.database, books.customer_id, await books.find("LUIGI"), actor=ACTOR)
    await books.read(POSTED)
    assert ("posted", "03-02", ["-20.00", "20.00"]) == await books.entry(entry)


async def test_a_split_draft_is_held_until_its_parts_are_right(books: Books) -> None:
    """With a tip the parts are resized, which is asked before the entry is posted."""
    await books.read(PENDING)
    entry = await books.book("LUIGI", "-15.00", "-5.00")
    await books.read(POSTED)
    assert ("draft", "03-04", ["-24.00", "18.00", "6.00"]) == await books.entry(entry)
    assert [(entry, "differs")] == await books.reviews()
    assert () == await books.answer("accept")
    assert ("posted", "03-04", ["-24.00", "18.00", "6.00"]) == await books.entry(entry)


async def test_undo_of_a_draft_and_of_a_posted_entry(books: Books) -> None:
    """The one is void, the other reversed and kept; both transactions can be booked anew, and undo is done once."""
    await books.read(PENDING)
    draft, posted = await books.book("LUIGI"), await books.book("BAKERY")
    for entry in (draft, posted):
        await undo_entry(books.database, books.customer_id, entry, actor=ACTOR)
        with pytest.raises(ActRefused, match="taken back"):
            await undo_entry(books.database, books.customer_id, entry, actor=ACTOR)
    assert ["void", "posted"] == [(await books.entry(entry))[0] for entry in (draft, posted)]
    assert {"bank": "0.00", "meals": "0.00"} == await books.balance()
    again = [await books.book("LUIGI"), await books.book("BAKERY")]
    await books.read(POSTED)
    assert ["posted", "posted"] == [(await books.entry(entry))[0] for entry in again]
    assert {"bank": "-33.00", "meals": "33.00"} == await books.balance()
    assert "void" == (await books.entry(draft))[0]


async def test_undo_takes_a_question_along(books: Books) -> None:
    """What was asked about an entry that a person takes back is moot, and its correction is reversed too."""
    await books.read(PENDING)
    entry = await books.book("BAKERY")
    row = "pull 03-0{}\n  a1 * 03-01 {} BAKERY\n  p1 ! 03-02 -20.00 LUIGI TRATTORIA"
    await books.read(row.format(4, "-8.00"))
    [correction] = await books.answer("accept")
    with pytest.raises(ActRefused, match=f"corrects entry {entry}"):
        await undo_entry(books.database, books.customer_id, correction, actor=ACTOR)
    await books.read(row.format(5, "-7.00"))
    await undo_entry(books.database, books.customer_id, entry, actor=ACTOR)
    assert [] == await books.reviews()
    assert {"bank": "0.00", "meals": "0.00"} == await books.balance()


async def test_merged_rows_are_booked_once_and_parted_again(books: Books) -> None:
    """The entry of the row that was merged away is asked about or void, and stands again when the rows are parted."""
    await books.read("pull 03-03\n  a1 * 03-01 -9.00 BAKERY\n  a2 * 03-01 -9.00 PATISSERIE")
    first, second = await books.book("BAKERY"), await books.book("PATISSERIE")
    keep, drop = await books.find("BAKERY"), await books.find("PATISSERIE")
    await acts.merge(books.database, books.customer_id, keep, drop, actor=ACTOR)
    assert [(second, "vanished")] == await books.reviews()
    await acts.unmerge(books.database, books.customer_id, drop, actor=ACTOR)
    assert [] == await books.reviews()
    await acts.merge(books.database, books.customer_id, keep, drop, actor=ACTOR)
    await books.answer("accept")
    assert {"bank": "-9.00", "meals": "9.00"} == await books.balance()
    assert ["posted", "posted"] == [(await books.entry(entry))[0] for entry in (first, second)]


async def test_an_entry_goes_where_a_doubt_is_decided(books: Books) -> None:
    """Where two postings tie it is posted from the row that it stayed on; decided, it is the other one's, unchanged."""
    await books.read("pull 03-03\n  p1 ! 03-02 -20.00 CORNER CAFE")
    entry = await books.book("CORNER")
    await books.read("pull 03-05\n  a1 * 03-04 -20.00 CORNER CAFE EAST\n  a2 * 03-04 -20.00 CORNER CAFE WEST")
    posted = ("posted", "03-04", ["-20.00", "20.00"])
    assert posted == await books.entry(entry)
    [doubt] = await acts.list_doubts(books.database, books.customer_id)
    [choice] = {await books.find("CORNER CAFE EAST"), await books.find("CORNER CAFE WEST")} - {doubt.transaction_id}
    await acts.decide(books.database, books.customer_id, doubt.id, choice, actor=ACTOR)
    where = await books.superuser.fetchval("SELECT transaction_id FROM ledger_entries WHERE id = $1", entry)
    assert (choice, posted, []) == (where, await books.entry(entry), await books.reviews())


async def test_an_entry_follows_into_the_account_that_adopts_its_own(books: Books) -> None:
    """A person says that a re-linked account is the earlier one: the entry goes to the older row, and stays as posted."""
    row = '{"id":"%s","status":"active","amount":"-9.00","date":"2026-03-01","description":"BAKERY"}'
    pull = (
        '{"op":"pull","account":"a","at":"2026-03-0%sT06:00:00Z","kind":"full","from":"2026-02-01","to":"2026-03-05",'
        '"complete":true,"transactions":[%s]}'
    )
    opened = '{"op":"account","account":"a","institution":"i","type":"checking","number":"%s","currency":"USD"}'
    text = "\n".join(
        (
            opened % "4321",
            pull % (3, row % "a1"),
            '{"op":"unlink","account":"a","at":"2026-03-03T12:00:00Z"}',
            opened % "",
            pull % (4, row % "b1"),
        )
    )
    for step in read_steps(text.encode()):
        await books.stored.play(step)
    await books.superuser.execute("UPDATE accounts SET ledger_account_id = $1", books.bank)
    younger = await books.superuser.fetchval("SELECT max(id) FROM transactions")
    parts = (WantedPart(ledger_account_id=books.meals),)
    wanted = [Wanted(transaction_id=younger, parts=parts)]
    [entry] = await book(books.database, books.customer_id, wanted, actor=ACTOR)
    [doubt] = await acts.list_doubts(books.database, books.customer_id)
    await acts.adopt(books.database, books.customer_id, doubt.id, actor=ACTOR)
    moved = await books.superuser.fetchval("SELECT transaction_id FROM ledger_entries WHERE id = $1", entry.id)
    assert moved == await books.find("BAKERY") != younger
    assert ("posted", "03-01", ["-9.00", "9.00"]) == await books.entry(entry.id)
    assert [] == await books.reviews()


async def test_a_link_alone_stays_a_link(books: Books) -> None:
    """A reference without lines is no entry to post: it stays as it was made, whatever becomes of the row."""
    await books.read(PENDING)
    await acts.link(books.database, books.customer_id, await books.find("LUIGI"), "INV-7", actor=ACTOR)
    await books.read(POSTED)
    row = await books.superuser.fetchrow("SELECT state::text, to_char(entered_on, 'MM-DD') AS day FROM ledger_entries")
    assert ("draft", "03-02") == (row["state"], row["day"])
    assert [] == await books.reviews()


async def test_a_deleted_row_and_its_restoration(books: Books) -> None:
    """A person who deletes a booked row is asked what becomes of its entry; restored, nothing is asked."""
    await books.read(PENDING)
    entry = await books.book("BAKERY")
    row_id = await books.find("BAKERY")
    await acts.delete(books.database, books.customer_id, row_id, actor=ACTOR)
    assert [(entry, "vanished")] == await books.reviews()
    await acts.restore(books.database, books.customer_id, row_id, actor=ACTOR)
    assert [] == await books.reviews()


async def test_an_undone_pull_takes_the_entry_back_along(books: Books) -> None:
    """What the pull changed is as before; the entry that was posted by it stays, and is asked about."""
    await books.read(PENDING)
    entry = await books.book("LUIGI")
    await books.read(POSTED)
    pull_id = await books.superuser.fetchval("SELECT max(id) FROM pulls")
    await acts.undo_pull(books.database, books.customer_id, pull_id, actor=ACTOR)
    assert ("posted", "03-04", ["-24.00", "24.00"]) == await books.entry(entry)
    assert [(entry, "differs")] == await books.reviews()
    assert 2 == len(await books.answer("accept"))
    assert {"bank": "-20.00", "meals": "20.00"} == await books.balance()


async def test_two_that_accept_at_once_correct_once(books: Books) -> None:
    """One makes the correcting entry, the other is told that it was answered."""
    await books.read(PENDING)
    await books.book("BAKERY")
    await books.read("pull 03-04\n  a1 * 03-01 -8.00 BAKERY\n  p1 ! 03-02 -20.00 LUIGI TRATTORIA")
    item_id = await books.superuser.fetchval("SELECT id FROM review_items")

    async def accept() -> str:
        try:
            await accept_review(books.database, books.customer_id, item_id, actor=ACTOR)
        except ActRefused:
            return "refused"
        return "done"

    assert ["done", "refused"] == sorted(await asyncio.gather(accept(), accept()))
    assert {"bank": "-8.00", "meals": "8.00"} == await books.balance()


async def test_two_that_book_at_once_book_once(books: Books) -> None:
    """The account's lock lets one after the other look."""
    await books.read(PENDING)
    parts = (WantedPart(ledger_account_id=books.meals),)
    wanted = [Wanted(transaction_id=await books.find("BAKERY"), parts=parts)]
    tries = [book(books.database, books.customer_id, wanted, actor=ACTOR) for _ in range(2)]
    found = await asyncio.gather(*tries, return_exceptions=True)
    assert ["ActRefused", "tuple"] == sorted(type(each).__name__ for each in found)
    assert {"bank": "-9.00", "meals": "9.00"} == await books.balance()


async def write(books: Books, *, is_booked: bool, rows: int) -> list[str]:
    """Give each of so many active rows, booked or not, another amount; return the statements that it took."""
    listed = "\n".join(f"  {rows}-{n} * 03-01 -9.00 BAKERY {n} {is_booked}" for n in range(rows))
    await books.read(f"pull 03-{len(books.begun) + 3:02} delta\n{listed}")
    [account_id] = await books.superuser.fetch("SELECT id FROM accounts")
    if is_booked:
        ids = await books.superuser.fetch("SELECT id FROM transactions WHERE aggregator_id LIKE $1", f"{rows}-%")
        parts = (WantedPart(ledger_account_id=books.meals),)
        wanted = [Wanted(transaction_id=TransactionId(row["id"]), parts=parts) for row in ids]
        await book(books.database, books.customer_id, wanted, actor=ACTOR)
    known = [
        row
        for row in await books.stored._rows(AccountId(account_id["id"]))
        if row.aggregator_ids and row.aggregator_ids[-1].startswith(f"{rows}-")
    ]
    said: list[str] = []
    async with books.database.tenant_in_bulk(books.customer_id) as conn:
        with conn.query_logger(lambda record: said.append(" ".join(record.query.split()[:4]))):
            await write_changes(
                conn,
                books.customer_id,
                books.stored.tenant.client_id,
                AccountId(account_id["id"]),
                Changes(verdict=Verdict.APPLIED, rows=tuple(_correct(row) for row in known)),
                cause=Cause(at=books.stored.at, pull_id=await conn.fetchval("SELECT max(id) FROM pulls")),
            )
    return said


def _correct(row: Any) -> Change:
    values: Values = replace(row.values, amount=Decimal("-8.00"))
    after = replace(row, values=values, bank_values=values)
    return Change(kind=ChangeKind.UPDATED, rule=Rule.CORRECTION, before=row, after=after)


async def test_following_costs_a_fixed_number_of_statements(books: Books) -> None:
    """Rows without entries cost none; two hundred booked ones as many as one."""
    await write(books, is_booked=True, rows=3)  # the first time the driver asks for types, too
    plain = await write(books, is_booked=False, rows=50)
    few, many = await write(books, is_booked=True, rows=2), await write(books, is_booked=True, rows=200)
    assert 200 + 2 + 3 == len(await books.reviews())
    assert len(few) == len(many)
    assert 4 == len(many) - len(plain)


def test_kinds_are_those_of_the_schema() -> None:
    """Python's words are Postgres'."""
    assert ["differs", "vanished", "returned"] == list(ReviewKind)
