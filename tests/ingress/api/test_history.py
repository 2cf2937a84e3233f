"""The history of a bank account at the API, and which institutions are out of order, with whom that concerns."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed.client import Bankfeed
from bankfeed.db.client import insert_client
from bankfeed.db.institution import upsert_institutions
from bankfeed.model import ClientId, ListedInstitution
from tests.ingress.api.conftest import Person, make_key
from tests.ingress.api.rows import Book

UNTIL = date(2026, 9, 30)


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


@pytest.fixture
async def account_id(book: Book) -> int:
    """A bank account that was linked, broke, was asked for a code, and was repaired after an hour."""
    made = await book.add_bank_account()
    await book.superuser.execute(
        """
        INSERT INTO connection_history (customer_id, connection_id, at, kind, status_code, broken_since)
        SELECT $1, $2, now() + make_interval(mins => m), kind::history_kind, code,
               CASE WHEN kind = 'reconnected' THEN now() END
        FROM (VALUES (0, 'broken', 103), (30, 'needs_mfa', 185), (60, 'reconnected', 0), (61, 'refreshed', 0)) AS v (m, kind, code)
        """,
        book.person.customer_id,
        made,
    )
    return made


# ------------------------------------------------------------------------------------------------ history


async def test_the_history_is_read_newest_first(api: Person, account_id: int) -> None:
    """Each line with its time, its code, what that meant, and how long a repair took."""
    said = await api.get(f"/bank-accounts/{account_id}/history")
    lines = said.body["history"]
    assert [
        ("refreshed", 0, "All Data Received", None),
        ("reconnected", 0, "All Data Received", 3600.0),
        ("needs_mfa", 185, "The bank asks a security question or code; answer it.", None),
        ("broken", 103, "The bank refused the user name or password; enter them again.", None),
        ("added", None, "The bank account was linked.", None),
    ] == [(line["kind"], line["code"], line["message"], line["timeToRepairS"]) for line in lines]
    times = [datetime.fromisoformat(line["at"]) for line in lines]
    assert times == sorted(times, reverse=True)
    assert said.body["nextCursor"] is None


async def test_the_history_comes_in_pages(api: Person, account_id: int) -> None:
    """No line twice and none left out, also where a new one comes meanwhile."""
    kinds: list[str] = []
    cursor = None
    while cursor is not None or not kinds:
        said = await api.get(f"/bank-accounts/{account_id}/history", limit=2, cursor=cursor)
        kinds += [line["kind"] for line in said.body["history"]]
        cursor = said.body["nextCursor"]
        async with api.database.tenant(api.customer_id) as conn:
            await conn.execute(
                "INSERT INTO connection_history (customer_id, connection_id, kind) VALUES ($1, $2, 'deleted')",
                api.customer_id,
                account_id,
            )
    assert ["refreshed", "reconnected", "needs_mfa", "broken", "added"] == kinds


async def test_a_summary_has_the_time_to_repair(api: Person, book: Book, account_id: int) -> None:
    """How many repairs, and how long they took on average; none has none."""
    untroubled = await book.add_bank_account()
    summaries = [(await api.get(f"/bank-accounts/{each}/summary")).body["summary"] for each in (account_id, untroubled)]
    assert [(1, 3600.0), (0, None)] == [(each["repairs"], each["meanTimeToRepairS"]) for each in summaries]


@pytest.mark.parametrize("query", [{"cursor": "nonsense"}, {"limit": 0}, {"limit": 1_001}])
async def test_a_page_that_does_not_fit_is_refused(api: Person, account_id: int, query: dict[str, Any]) -> None:
    """Bounds and cursors are checked."""
    assert (await api.get(f"/bank-accounts/{account_id}/history", **query)).status in (400, 422)


async def test_the_history_is_its_customers(api: Person, other: Person, reader: Person, account_id: int) -> None:
    """Another customer has no such bank account; a reader reads it, a key needs accounts:read."""
    path = f"/bank-accounts/{account_id}/history"
    assert 404 == (await other.get(path)).status
    assert 200 == (await reader.get(path)).status
    assert 403 == (await (await make_key(api, "clients:read")).get(path)).status
    assert 200 == (await (await make_key(api, "accounts:read")).get(path)).status
    assert 404 == (await api.get("/bank-accounts/999999/history")).status


async def test_a_deleted_bank_account_keeps_its_history(api: Person, other: Person, account_id: int) -> None:
    """It ends with its deletion, for its own customer only; with its client it goes."""
    path = f"/bank-accounts/{account_id}/history"
    assert 200 == (await api.delete(f"/bank-accounts/{account_id}")).status
    assert 404 == (await api.get(f"/bank-accounts/{account_id}")).status
    said = await api.get(path)
    assert ["deleted", "refreshed"] == [line["kind"] for line in said.body["history"]][:2]
    assert 404 == (await other.get(path)).status
    assert 202 == (await api.delete(f"/clients/{api.client_id}")).status
    assert 404 == (await api.get(path)).status


# ------------------------------------------------------------------------------------------------ notices


async def note(book: Book, ref: str, status: str, until: date | None = None) -> int:
    """Let an institution stand so; return its id."""
    listed = ListedInstitution(ref=ref, name=f"Bank {ref}", status=status, migrates_until=until, is_sandbox=True)
    async with book.person.database.app() as conn:
        await upsert_institutions(conn, connector="finicity", listed=[listed])
        found: int = await conn.fetchval("SELECT id FROM institutions WHERE aggregator_id = $1", ref)
    return found


async def link_at(book: Book, institution_id: int, client_id: ClientId | None = None) -> int:
    made = await book.add_bank_account(client_id)
    await book.superuser.execute("UPDATE connections SET institution_id = $2 WHERE id = $1", made, institution_id)
    return made


async def add_client(book: Book, username: str) -> ClientId:
    person = book.person
    async with person.database.tenant(person.customer_id) as conn:
        return await insert_client(conn, person.customer_id, username=username, name=username)


def read(body: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Read a page: institution, state, day, and each client with its bank accounts."""
    return [
        (
            each["institutionId"],
            each["status"],
            each["signInAgainUntil"],
            [(client["username"], client["bankAccountIds"]) for client in each["clients"]],
        )
        for each in body["notices"]
    ]


async def test_notices_name_whom_they_concern(api: Person, other: Person, book: Book) -> None:
    """Institutions out of order or migrating where there are open bank accounts, with their clients; nobody else's."""
    zoe = await add_client(book, "zoe")
    moving = await note(book, "1", "migrating", UNTIL)
    down = await note(book, "2", "offline")
    well = await note(book, "3", "online")
    await note(book, "4", "maintenance")
    theirs = [await link_at(book, moving, zoe) for _ in range(2)]
    both = await link_at(book, down, zoe)
    mine = await link_at(book, down)
    await link_at(book, well)
    closed = await link_at(book, down)
    await book.superuser.execute("UPDATE connections SET state = 'closed' WHERE id = $1", closed)
    await link_at(Book(person=other, superuser=book.superuser), down)
    said = await api.get("/institutions/notices")
    username = await book.superuser.fetchval(
        "SELECT username FROM clients WHERE customer_id = $1 AND id = $2", api.customer_id, api.client_id
    )
    assert [
        (moving, "migrating", "2026-09-30", [("zoe", theirs)]),
        (down, "offline", None, [(username, [mine]), ("zoe", [both])]),
    ] == read(said.body)
    shown = (await api.get(f"/institutions/{moving}")).body["institution"]
    assert ("migrating", "2026-09-30") == (shown["status"], shown["signInAgainUntil"])


async def test_an_institution_that_is_well_again_concerns_nobody(api: Person, book: Book) -> None:
    """Nor does a client that was deleted."""
    down = await note(book, "2", "offline")
    await link_at(book, down, await add_client(book, "gone"))
    assert 1 == len((await api.get("/institutions/notices")).body["notices"])
    await book.superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now() WHERE username = 'gone'")
    assert [] == (await api.get("/institutions/notices")).body["notices"]
    await link_at(book, down)
    await note(book, "2", "online")
    assert [] == (await api.get("/institutions/notices")).body["notices"]


async def test_an_institution_with_many_clients_goes_on_at_the_next_page(api: Person, book: Book) -> None:
    """A page bounds the clients; each comes once, and the Python client reads to the end."""
    down = await note(book, "2", "offline")
    also = await note(book, "5", "maintenance")
    for n in range(3):
        client_id = await add_client(book, f"c{n}")
        await link_at(book, down, client_id)
        await link_at(book, also, client_id)
    pages: list[list[str]] = []
    cursor = None
    while cursor is not None or not pages:
        said = await api.get("/institutions/notices", limit=2, cursor=cursor)
        cursor = said.body["nextCursor"]
        pages.append([f"{n['institutionName']} {c['username']}" for n in said.body["notices"] for c in n["clients"]])
    assert [["Bank 2 c0", "Bank 2 c1"], ["Bank 2 c2", "Bank 5 c0"], ["Bank 5 c1", "Bank 5 c2"]] == pages
    async with Bankfeed(f"http://127.0.0.1:{api.ingress.settings.port}", api.token) as feeds:
        notices = [each async for each in feeds.institution_notices()]
    assert [("Bank 2", 3), ("Bank 5", 3)] == [(each.institution_name, len(each.clients)) for each in notices]


async def test_the_python_client_reads_a_history(api: Person, account_id: int) -> None:
    """Typed, to its end."""
    async with Bankfeed(f"http://127.0.0.1:{api.ingress.settings.port}", api.token) as feeds:
        lines = [line async for line in feeds.history(account_id)]
    assert ["refreshed", "reconnected", "needs_mfa", "broken", "added"] == [line.kind for line in lines]
    assert 3600.0 == lines[1].time_to_repair_s
