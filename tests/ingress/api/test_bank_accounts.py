"""/bank-accounts: what there is, how it stands, what to do, and what a person changes."""

from typing import Any

import asyncpg
import pytest

from bankfeed.db.client import insert_client
from tests.ingress.api.conftest import Person
from tests.ingress.api.rows import Book


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


@pytest.fixture
async def account_id(book: Book) -> int:
    """A bank account of the owner's client, at an institution, with its data received."""
    account_id = await book.add_bank_account()
    await book.superuser.execute(
        """
        WITH bank AS (
            INSERT INTO institutions (connector, aggregator_id, name) VALUES ('finicity', '101732', 'FinBank') RETURNING id)
        UPDATE connections SET institution_id = bank.id, status_code = 0, last_refresh_at = '2026-03-02T06:00:00Z',
            next_update_at = '2026-03-03T06:00:00Z'
        FROM bank WHERE connections.id = $1
        """,
        account_id,
    )
    return account_id


async def update(book: Book, account_id: int, change: str) -> None:
    await book.superuser.execute(f"UPDATE connections SET {change} WHERE id = $1", account_id)  # noqa: S608 - our own


async def list_ids(person: Person, **query: Any) -> list[int]:
    said = await person.get("/bank-accounts", **query)
    assert 200 == said.status, said.text
    return [each["id"] for each in said.body["bankAccounts"]]


async def summarise(person: Person, account_id: int) -> dict[str, Any]:
    said = await person.get(f"/bank-accounts/{account_id}/summary")
    assert 200 == said.status, said.text
    summary: dict[str, Any] = said.body["summary"]
    return summary


async def test_a_bank_account_says_what_is_known_of_it(api: Person, book: Book, account_id: int) -> None:
    """Its client, its institution, how it stands and when it is updated."""
    await book.add_account(account_id)
    await book.add_account(account_id, state="closed")
    said = await api.get(f"/bank-accounts/{account_id}")
    shown = said.body["bankAccount"]
    assert (api.client_id, "FinBank", "FinBank") == (shown["clientId"], shown["institutionName"], shown["name"])
    assert ("active", 0, "All Data Received") == (shown["state"], shown["code"], shown["message"])
    assert ("2026-03-02T06:00:00Z", "2026-03-03T06:00:00Z") == (shown["lastUpdateAt"], shown["nextUpdateAt"])
    assert (1, False, "", 1) == (shown["subAccounts"], shown["isUpdating"], shown["memo"], shown["version"])
    assert '"1"' == said.headers["ETag"]


async def test_they_are_listed_by_client(api: Person, book: Book, account_id: int) -> None:
    """All, or those of one client by its id or its username."""
    async with api.database.tenant(api.customer_id) as conn:
        second = await insert_client(conn, api.customer_id, username="second", name="Second")
    other_id = await book.add_bank_account(second)
    assert [account_id, other_id] == await list_ids(api)
    assert [account_id] == await list_ids(api, clientId=api.client_id)
    assert [other_id] == await list_ids(api, username="second")
    assert [] == await list_ids(api, username="second", state="closed")
    assert 404 == (await api.get("/bank-accounts", username="second", clientId=api.client_id)).status
    assert 404 == (await api.get("/bank-accounts", username="nobody")).status


async def test_they_are_listed_by_state(api: Person, book: Book, account_id: int) -> None:
    """Those of one state; a word that is none is named."""
    broken_id = await book.add_bank_account()
    await update(book, broken_id, "state = 'needs_person'")
    assert [broken_id] == await list_ids(api, state="needs_person")
    said = await api.get("/bank-accounts", state="broken")
    assert (422, "state") == (said.status, said.body["field"])


async def test_pages_lead_on(api: Person, book: Book) -> None:
    """Each page ends where the next one begins, and the last one says so."""
    ids = [await book.add_bank_account() for _ in range(5)]
    found, cursor = [], None
    for _ in range(3):
        said = await api.get("/bank-accounts", limit=2, cursor=cursor)
        found += [each["id"] for each in said.body["bankAccounts"]]
        cursor = said.body["nextCursor"]
    assert (ids, None) == (found, cursor)


@pytest.mark.parametrize(
    "gone",
    [
        "UPDATE connections SET state = 'closed', deleted_at = now()",
        "UPDATE clients SET deleted_at = now(), erase_at = now()",
    ],
)
async def test_what_was_deleted_is_not_there(api: Person, book: Book, account_id: int, gone: str) -> None:
    """A deleted bank account, and one of a deleted client, is in no list and 404 everywhere."""
    await book.superuser.execute(gone)
    assert [] == await list_ids(api)
    for path in ("", "/summary", "/sub-accounts"):
        assert 404 == (await api.get(f"/bank-accounts/{account_id}{path}")).status
    for path in ("/refresh", "/refresh-historic"):
        assert 404 == (await api.post(f"/bank-accounts/{account_id}{path}")).status
    assert 404 == (await api.patch(f"/bank-accounts/{account_id}", {"name": "x"})).status


async def test_it_is_its_customers(other: Person, account_id: int) -> None:
    """Another customer does not see it, and cannot change, refresh or delete it."""
    path = f"/bank-accounts/{account_id}"
    assert [] == await list_ids(other)
    assert 404 == (await other.get(path)).status
    assert 404 == (await other.patch(path, {"name": "x"})).status
    assert 404 == (await other.post(f"{path}/refresh")).status
    assert 404 == (await other.delete(path)).status


async def test_its_sub_accounts_are_listed(api: Person, book: Book, account_id: int) -> None:
    """Open, closed and hidden ones of this bank account, by page; those of others are not among them."""
    first = await book.add_account(account_id)
    second = await book.add_account(account_id, state="closed", is_hidden=True)
    await book.add_account()
    said = await api.get(f"/bank-accounts/{account_id}/sub-accounts", limit=1)
    assert [first] == [each["id"] for each in said.body["subAccounts"]]
    said = await api.get(f"/bank-accounts/{account_id}/sub-accounts", cursor=said.body["nextCursor"])
    assert [(second, "closed", True)] == [
        (each["id"], each["state"], each["isHidden"]) for each in said.body["subAccounts"]
    ]


async def test_a_summary_of_what_is_well(api: Person, book: Book, account_id: int) -> None:
    """After a success it reads as people know it, and counts what there is by state; hidden and deleted rows do not count."""
    shown = await book.add_account(account_id)
    hidden = await book.add_account(account_id, is_hidden=True)
    for state in ("pending", "active", "active", "shadow", "removed"):
        await book.add_row(shown, state=state)
    await book.add_row(hidden)
    summary = await summarise(api, account_id)
    assert ("active", 0, "All Data Received") == (summary["status"], summary["code"], summary["message"])
    assert {"open": 2, "closed": 0, "hidden": 1} == summary["subAccounts"]
    assert {"pending": 1, "active": 2, "shadow": 1, "removed": 1} == summary["transactions"]
    assert ("nobody", False) == (summary["whoActs"], summary["isFixable"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("status_code = NULL", ("active", "All Data Received", "nobody", False)),
        (
            "status_code = NULL, last_refresh_at = NULL",
            ("active", "The first update from the bank has not finished yet.", "aggregator", False),
        ),
        (
            "state = 'needs_person', status_code = 103",
            (
                "needs_person",
                "The bank refused the user name or password; enter them again.",
                "person_credentials",
                True,
            ),
        ),
        (
            "state = 'waiting', status_code = 905",
            ("waiting", "The bank's site is down or under maintenance.", "institution", False),
        ),
        ("state = 'closed'", ("closed", "The bank account is no longer linked; its history is kept.", "nobody", False)),
    ],
)
async def test_a_summary_says_what_is_wrong(
    api: Person, book: Book, account_id: int, change: str, expected: tuple[object, ...]
) -> None:
    """A code is told in plain words, with who acts, whether the repair helps, and what to do."""
    await update(book, account_id, change)
    summary = await summarise(api, account_id)
    assert expected == (summary["status"], summary["message"], summary["whoActs"], summary["isFixable"])
    assert summary["whatToDo"].endswith(".")


async def test_a_name_and_a_memo_are_changed(api: Person, account_id: int) -> None:
    """What is given changes and the rest stays; an empty name is the institution's again."""
    path = f"/bank-accounts/{account_id}"
    shown = (await api.patch(path, {"name": "  Our bank "})).body["bankAccount"]
    assert ("Our bank", "", 2) == (shown["name"], shown["memo"], shown["version"])
    shown = (await api.patch(path, {"memo": "call first"})).body["bankAccount"]
    assert ("Our bank", "call first") == (shown["name"], shown["memo"])
    shown = (await api.patch(path, {"name": ""})).body["bankAccount"]
    assert ("FinBank", "call first") == (shown["name"], shown["memo"])


async def test_no_change_is_lost(api: Person, account_id: int) -> None:
    """Who changes what somebody changed since gets 409, by version or by If-Match, and nothing changes."""
    path = f"/bank-accounts/{account_id}"
    await api.patch(path, {"name": "first"})
    for said in (
        await api.patch(path, {"name": "second", "version": 1}),
        await api.patch(path, {"name": "second"}, headers={"If-Match": '"1"'}),
    ):
        assert (409, "version_conflict") == (said.status, said.body["code"])
    assert "first" == (await api.get(path)).body["bankAccount"]["name"]
    assert 200 == (await api.patch(path, {"name": "second"}, headers={"If-Match": '"2"'})).status


@pytest.mark.parametrize(
    ("body", "expected"),
    [({}, (400, None)), ({"name": "x" * 201}, (422, "name")), ({"state": "active"}, (422, "state"))],
)
async def test_a_change_that_does_not_fit_is_named(
    api: Person, account_id: int, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """Nothing to change, a text that is too long, a field that is not a person's: refused."""
    said = await api.patch(f"/bank-accounts/{account_id}", body)
    assert expected == (said.status, said.body.get("field"))


async def test_deleting_takes_it_out_at_once(api: Person, book: Book, account_id: int) -> None:
    """A deleted bank account is gone with its sub-accounts, and noted to be deleted at the aggregator."""
    part = await book.add_account(account_id)
    assert 200 == (await api.delete(f"/bank-accounts/{account_id}")).status
    assert 404 == (await api.get(f"/sub-accounts/{part}")).status
    assert ["login"] == [
        row["kind"] for row in await book.superuser.fetch("SELECT kind::text FROM removals ORDER BY id")
    ]
    assert 404 == (await api.delete(f"/bank-accounts/{account_id}")).status


async def test_a_reader_only_looks(reader: Person, account_id: int) -> None:
    """Who may only look changes, deletes and refreshes nothing."""
    path = f"/bank-accounts/{account_id}"
    assert 200 == (await reader.get(path)).status
    for said in (
        await reader.patch(path, {"name": "x"}),
        await reader.delete(path),
        await reader.post(f"{path}/refresh"),
        await reader.post(f"{path}/refresh-historic"),
    ):
        assert 403 == said.status
