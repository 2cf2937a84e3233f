"""An event's counts and cursor: what the feed of changes answers to it, over HTTP."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
import pytest

from bankfeed import acts
from bankfeed.db.client import insert_client
from tests.ingress.api.books import Ledger, link_bank
from tests.ingress.api.conftest import Person, Said

TOLL = "a2 active 02 -1.00 TOLL"
NO_ROWS = {"added": 0, "updated": 0, "posted": 0, "shadowed": 0, "removed": 0}


@pytest.fixture
async def ledger(api: Person) -> Ledger:
    """A linked account of which nothing is known yet, of a client that is not the customer's first."""
    async with api.database.tenant(api.customer_id) as conn:
        await insert_client(conn, api.customer_id, username="second", name="Second")
    return await link_bank(api)


async def list_events(superuser: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """List the events so far, the oldest first: type and payload."""
    bodies = [orjson.loads(row["body"]) for row in await superuser.fetch("SELECT body FROM events ORDER BY id")]
    return [(body["eventType"], body["payload"]) for body in bodies]


async def follow(ledger: Ledger, payload: dict[str, Any], **query: Any) -> Said:
    """Ask the feed of changes with an event's cursor."""
    said = await ledger.person.get(
        "/transactions/changes", clientId=payload["clientId"], cursor=payload["changesCursor"], **query
    )
    assert 200 == said.status, said.text
    return said


def texts(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["description"] for row in rows]


async def test_the_first_load_is_told_from_the_beginning(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """Both events of a pull count its rows, and their cursor answers them all as added."""
    await ledger.pull("p1 pending 02 -20.00 CAFE", "a1 active 02 -30.00 BOOKS")
    events = await list_events(superuser)
    assert ["accountAdded", "transactionsRefreshed"] == [event_type for event_type, _ in events]
    for _, payload in events:
        assert NO_ROWS | {"added": 2} == payload["transactions"]
        said = await follow(ledger, payload)
        assert (["BOOKS", "CAFE"], [], []) == (
            sorted(texts(said.body["added"])),
            said.body["updated"],
            said.body["removed"],
        )


async def test_a_cursor_answers_exactly_what_its_event_is_about(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """Added, posted, shadowed and removed rows of that pull, none of what was before; and what comes later, later."""
    before = ("p1 pending 02 -20.00 CAFE", "p2 pending 02 -9.00 FUEL", "a1 active 02 -30.00 BOOKS", TOLL)
    after = ("a3 active 03 -20.00 CAFE", TOLL, "a4 active 04 -7.00 FLOWERS")
    await ledger.pull(*before)
    await ledger.pull(*after)
    fuel, books = await ledger.find("FUEL"), await ledger.find("BOOKS")
    _, payload = (await list_events(superuser))[-1]
    assert NO_ROWS | {"added": 1, "posted": 1, "shadowed": 1, "removed": 1} == payload["transactions"]
    said = await follow(ledger, payload)
    assert (["FLOWERS"], ["CAFE"], {fuel, books}) == (
        texts(said.body["added"]),
        texts(said.body["updated"]),
        {*said.body["removed"]},
    )
    await ledger.pull(*after, "a5 active 05 -2.00 BREAD")
    later = await follow(ledger, payload)
    assert ["FLOWERS", "BREAD"] == texts(later.body["added"])
    _, last = (await list_events(superuser))[-1]
    said = await follow(ledger, last)
    assert (["BREAD"], [], []) == (texts(said.body["added"]), said.body["updated"], said.body["removed"])


async def test_pages_and_the_stream_take_it(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """It is a cursor like any other: a page ends with the next one, a stream goes on to the end."""
    await ledger.pull("a1 active 02 -30.00 BOOKS")
    await ledger.pull("a1 active 02 -30.00 BOOKS", "a2 active 03 -1.00 ONE", "a3 active 04 -2.00 TWO")
    _, payload = (await list_events(superuser))[-1]
    page = await follow(ledger, payload, limit=1)
    assert (1, True) == (len(page.body["added"]), page.body["hasMore"])
    rest = await follow(ledger, payload | {"changesCursor": page.body["nextCursor"]})
    assert ({"ONE", "TWO"}, False) == (
        {*texts(page.body["added"]), *texts(rest.body["added"])},
        rest.body["hasMore"],
    )
    lines = [orjson.loads(line) for line in (await follow(ledger, payload, stream="true")).text.splitlines()]
    assert ["added", "added", "cursor"] == [line["change"] for line in lines]


async def test_an_undone_pull_is_told_with_what_it_takes_back(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """A person's act counts as a pull does: nothing that changed is told of as nothing."""
    await ledger.pull("a1 active 02 -30.00 BOOKS")
    await ledger.pull("a1 active 02 -31.00 BOOKS", "a2 active 03 -1.00 TOLL")
    pull_id, toll = await superuser.fetchval("SELECT max(id) FROM pulls"), await ledger.find("TOLL")
    await acts.undo_pull(ledger.person.database, ledger.person.customer_id, pull_id, actor="user:1")
    event_type, payload = (await list_events(superuser))[-1]
    assert ("transactionsRefreshed", NO_ROWS | {"updated": 1, "removed": 1}) == (event_type, payload["transactions"])
    said = await follow(ledger, payload)
    assert (["BOOKS"], [toll]) == (texts(said.body["updated"]), said.body["removed"])


async def test_a_deleted_account_is_told_with_its_rows(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """The event counts no rows, since no pull is behind it; its cursor answers them as removed."""
    await ledger.pull("a1 active 02 -30.00 BOOKS", "a2 active 03 -1.00 TOLL")
    assert 200 == (await ledger.person.delete(f"/sub-accounts/{ledger.sub_account_id}")).status
    event_type, payload = (await list_events(superuser))[-1]
    assert ("bankAccountDeleted", NO_ROWS) == (event_type, payload["transactions"])
    rows = [await ledger.find("BOOKS"), await ledger.find("TOLL")]
    assert rows == (await follow(ledger, payload)).body["removed"]


async def test_after_a_restore_of_an_older_backup_a_cursor_is_refused(
    ledger: Ledger, superuser: asyncpg.Connection
) -> None:
    """It is of the epoch of its numbers, as every cursor is."""
    await superuser.execute("UPDATE change_counters SET epoch = 7")
    await ledger.pull("a1 active 02 -30.00 BOOKS")
    _, payload = (await list_events(superuser))[-1]
    assert ["BOOKS"] == texts((await follow(ledger, payload)).body["added"])
    await superuser.execute("UPDATE change_counters SET epoch = 8")
    said = await ledger.person.get(
        "/transactions/changes", clientId=payload["clientId"], cursor=payload["changesCursor"]
    )
    assert (409, "cursor_ahead") == (said.status, said.body["code"])
