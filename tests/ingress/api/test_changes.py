"""GET /transactions/changes: pages, cursors and the stream. What writers do meanwhile is in tests/db/test_change.py."""

import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed import acts
from bankfeed.db.change import touch_rows
from bankfeed.db.client import insert_client
from ingress.api import changes
from ingress.api.pages import write_cursor
from tests.ingress.api.books import Ledger, link_bank
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.rows import Book

ACTOR = "user:1"


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


async def read(person: Person, cursor: str | None = None, **query: Any) -> Said:
    return await person.get("/transactions/changes", clientId=person.client_id, cursor=cursor, **query)


def told(said: Said) -> tuple[list[int], list[int], list[int]]:
    assert 200 == said.status, said.text
    body = said.body
    return [row["id"] for row in body["added"]], [row["id"] for row in body["updated"]], body["removed"]


async def test_a_reader_follows_what_happens(api: Person, book: Book) -> None:
    """First everything is added; then a cursor tells what came, what changed and what went, and nothing twice."""
    account = await book.add_account()
    first, second, third = [await book.add_row(account) for _ in range(3)]
    said = await read(api)
    assert ([first, second, third], [], []) == told(said)
    assert said.body["hasMore"] is False
    cursor = said.body["nextCursor"]
    assert ([], [], []) == told(await read(api, cursor))
    assert cursor == (await read(api, cursor)).body["nextCursor"]

    await acts.mark_reconciled(api.database, api.customer_id, second, actor=ACTOR)
    await acts.delete(api.database, api.customer_id, first, actor=ACTOR)
    fourth = await book.add_row(account)
    said = await read(api, cursor)
    assert ([fourth], [second], [first]) == told(said)
    assert said.body["updated"][0]["isReconciled"] is True
    await acts.restore(api.database, api.customer_id, first, actor=ACTOR)
    assert ([], [first], []) == told(await read(api, said.body["nextCursor"]))
    assert ([fourth], [second, first], []) == told(await read(api, cursor))


async def test_a_feed_row_is_what_the_list_shows(api: Person, book: Book) -> None:
    """The same transaction looks the same in both."""
    row = await book.add_row(await book.add_account(), "-12.50", memo="a memo", check_number="7", aggregator_id="a")
    await book.add_entry(row, "L1")
    listed = await api.get("/transactions", clientId=api.client_id)
    assert listed.body["transactions"] == (await read(api)).body["added"]


async def list_rows(person: Person) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await person.get("/transactions", clientId=person.client_id)).body["transactions"]
    return rows


@pytest.fixture
async def ledger(api: Person) -> Ledger:
    """Two pending rows of a linked account, each booked."""
    ledger = await link_bank(api)
    await ledger.pull("p1 pending 02 -20.00 LUIGI", "p2 pending 02 -20.00 LUIGI AGAIN")
    await ledger.set_up()
    for name in ("LUIGI", "LUIGI AGAIN"):
        await ledger.book(name)
    return ledger


async def test_a_void_entry_is_in_neither(ledger: Ledger) -> None:
    """Of merged rows the second one's draft is void: neither feed nor list names it."""
    api = ledger.person
    keep, drop = await ledger.find("LUIGI"), await ledger.find("LUIGI AGAIN")
    assert 200 == (await api.post(f"/transactions/{drop}/merge", {"into": keep})).status
    assert ["entry-1"] == (await list_rows(api))[0]["ledgerEntries"]
    assert await list_rows(api) == (await read(api)).body["added"]


@pytest.mark.parametrize(("word", "updated"), [("accept", 1), ("dismiss", 0)])
async def test_what_an_answer_does_to_a_rows_entries_is_told(ledger: Ledger, word: str, updated: int) -> None:
    """A draft that is there again by a person's answer changes what its row shows, and the feed tells of it."""
    api = ledger.person
    await ledger.pull("p2 pending 02 -20.00 LUIGI AGAIN")
    [gone] = (await api.get("/reviews")).body["reviews"]
    assert 200 == (await api.post(f"/reviews/{gone['id']}/accept")).status
    await ledger.pull("p1 pending 02 -20.00 LUIGI", "p2 pending 02 -20.00 LUIGI AGAIN")
    [returned] = (await api.get("/reviews", kind="returned")).body["reviews"]
    before, cursor = await list_rows(api), (await read(api)).body["nextCursor"]
    assert 200 == (await api.post(f"/reviews/{returned['id']}/{word}")).status
    changed = [row for row in await list_rows(api) if row not in before]
    assert updated == len(changed)
    assert changed == (await read(api, cursor)).body["updated"]


async def test_the_row_that_an_entry_went_to_is_told(ledger: Ledger) -> None:
    """A question stays open while a merge takes its entry along; the answer changes what the other row shows."""
    api = ledger.person
    keep, drop = await ledger.find("LUIGI AGAIN"), await ledger.find("LUIGI")
    _, other = (await api.get("/entries", clientId=api.client_id)).body["entries"]
    assert 200 == (await api.post(f"/entries/{other['id']}/undo")).status
    await ledger.pull("p2 pending 02 -20.00 LUIGI AGAIN")
    [gone] = (await api.get("/reviews")).body["reviews"]
    assert 200 == (await api.post(f"/reviews/{gone['id']}/accept")).status
    await ledger.pull("p1 pending 02 -20.00 LUIGI", "p2 pending 02 -20.00 LUIGI AGAIN")
    assert 200 == (await api.post(f"/transactions/{drop}/merge", {"into": keep})).status
    [returned] = (await api.get("/reviews")).body["reviews"]
    cursor = (await read(api)).body["nextCursor"]
    assert 200 == (await api.post(f"/reviews/{returned['id']}/accept")).status
    assert [["entry-1"]] == [row["ledgerEntries"] for row in await list_rows(api)]
    assert await list_rows(api) == (await read(api, cursor)).body["updated"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_pages_lead_to_the_end(api: Person, book: Book, limit: int) -> None:
    """Each row comes on one page, in the order of its change; hasMore says when the reader is up to date."""
    account = await book.add_account()
    rows = [await book.add_row(account, state="removed" if n == 3 else "active") for n in range(5)]
    found, cursor, has_more, pages = [], None, True, 0
    while has_more:
        said = await read(api, cursor, limit=limit)
        added, updated, removed = told(said)
        assert [] == updated
        found += sorted(added + removed)
        cursor, has_more, pages = said.body["nextCursor"], said.body["hasMore"], pages + 1
    assert rows == found
    assert -(-5 // limit) == pages
    async with api.session.get(said.body["links"]["next"], headers={"Authorization": f"Bearer {api.token}"}) as answer:
        assert [] == (await answer.json())["added"]


async def test_a_page_asked_again(api: Person, book: Book) -> None:
    """The same cursor gives the same rows, less those changed since, which come later."""
    account = await book.add_account()
    rows = [await book.add_row(account) for _ in range(4)]
    first = await read(api, limit=2)
    again = await read(api, limit=2)
    assert first.body == again.body
    await acts.mark_reconciled(api.database, api.customer_id, rows[0], actor=ACTOR)
    changed = await read(api, limit=1)
    assert ([rows[1]], [], []) == told(changed)
    assert ([rows[2], rows[3], rows[0]], [], []) == told(await read(api, first.body["nextCursor"]))


async def test_a_cursor_of_long_ago_tells_of_removed_rows(api: Person, book: Book) -> None:
    """What was there at the cursor and is not now is removed, however it went: hidden, closed, merged, erased, removed."""
    accounts = [await book.add_account() for _ in range(3)]
    rows = [await book.add_row(accounts[n % 3]) for n in range(6)]
    cursor = (await read(api)).body["nextCursor"]
    await book.superuser.execute("UPDATE accounts SET is_hidden = true WHERE id = $1", accounts[0])
    await book.superuser.execute(
        "UPDATE accounts SET state = 'closed', closed_at = now(), deleted_at = now() WHERE id = $1", accounts[1]
    )
    async with api.database.tenant(api.customer_id) as conn:
        await touch_rows(conn, api.customer_id, api.client_id, accounts)
    await book.superuser.execute("UPDATE transactions SET merged_into = $1 WHERE id = $2", rows[0], rows[2])
    await book.superuser.execute(
        "UPDATE transactions SET state = 'shadow', fingerprint = 'f', amount = 0, description = '' WHERE id = $1",
        rows[5],
    )
    _, _, removed = told(await read(api, cursor))
    assert rows == sorted(removed)


async def test_a_stream_tells_the_same(api: Person, book: Book) -> None:
    """All that changed comes as JSON lines with a cursor after each batch and at the end, from which one goes on."""
    account = await book.add_account()
    rows = [await book.add_row(account, state="removed" if n % 4 == 3 else "active") for n in range(9)]
    page = (await read(api)).body
    said = await read(api, stream="true")
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert "application/x-ndjson" == said.headers["Content-Type"]
    assert page["added"] == [line["transaction"] for line in lines if line["change"] == "added"]
    assert page["removed"] == [line["id"] for line in lines if line["change"] == "removed"]
    assert {"change": "cursor", "nextCursor": page["nextCursor"], "hasMore": False} == lines[-1]
    await acts.mark_reconciled(api.database, api.customer_id, rows[0], actor=ACTOR)
    more = await read(api, lines[-1]["nextCursor"], stream="true")
    assert ["updated", "cursor"] == [json.loads(line)["change"] for line in more.text.splitlines()]


async def test_a_stream_goes_on_from_each_cursor(api: Person, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that breaks off is taken up at the last cursor that came, and nothing is missing or twice."""
    monkeypatch.setattr(changes, "STREAMED_ROWS", 2)
    account = await book.add_account()
    rows = [await book.add_row(account) for _ in range(5)]
    lines = [json.loads(line) for line in (await read(api, stream="true")).text.splitlines()]
    cursors = [line for line in lines if line["change"] == "cursor"]
    assert [True, True, False] == [line["hasMore"] for line in cursors]
    rest = await read(api, cursors[0]["nextCursor"], stream="true")
    assert rows[2:] == [
        each["transaction"]["id"] for each in map(json.loads, rest.text.splitlines()) if "transaction" in each
    ]
    assert lines[3:] == [json.loads(line) for line in rest.text.splitlines()]


async def test_cursors_that_do_not_fit(api: Person, book: Book) -> None:
    """Nonsense, another client's cursor, and one ahead of all that there is are refused, each in its own words."""
    await book.add_row(await book.add_account())
    async with api.database.tenant(api.customer_id) as conn:
        second = await insert_client(conn, api.customer_id, username="second", name="Second")
    client = api.client_id
    for cursor in ("x", write_cursor((client,)), write_cursor((second, 0, 0)), write_cursor((client, "1", 1))):
        said = await read(api, cursor)
        assert (422, "cursor") == (said.status, said.body["field"])
    for since, after in ((0, 2), (1, 0), (-1, 1), (0, 2**63)):
        said = await read(api, write_cursor((client, since, after)))
        assert (409, "cursor_ahead", "cursor") == (said.status, said.body["code"], said.body["field"])
    assert ([], [], []) == told(await read(api, write_cursor((client, 1, 1))))


async def test_what_is_anothers_is_not_there(api: Person, other: Person, book: Book) -> None:
    """Another customer's client has no feed here, with its own cursor or without; nor has one that was deleted."""
    await book.add_row(await book.add_account())
    cursor = (await read(api)).body["nextCursor"]
    assert 404 == (await other.get("/transactions/changes", clientId=api.client_id)).status
    assert 404 == (await other.get("/transactions/changes", clientId=api.client_id, cursor=cursor)).status
    assert ([], [], []) == told(await read(other))
    await book.superuser.execute(
        "UPDATE clients SET deleted_at = $2, erase_at = $2 WHERE id = $1", api.client_id, datetime.now(UTC)
    )
    assert 404 == (await read(api)).status


async def test_a_restored_backup_is_told_of(api: Person, book: Book) -> None:
    """A cursor of before a restore is refused for good, also when newer numbers have passed it; a new one works."""
    account = await book.add_account()
    await book.add_row(account)
    old = (await read(api, None)).body["nextCursor"]
    await book.superuser.execute("UPDATE change_counters SET epoch = 7")
    await book.add_row(account)
    said = await read(api, old)
    assert (409, "cursor_ahead") == (said.status, said.body["code"])
    anew = await read(api, None)
    assert 2 == len(anew.body["added"])
    assert 200 == (await read(api, anew.body["nextCursor"])).status
