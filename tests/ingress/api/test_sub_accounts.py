"""/sub-accounts: balances, what a person changes, and what hiding means for the feed of changes."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from bankfeed.accounts_command import unhide
from bankfeed.db.client import insert_client
from bankfeed.model import AccountId
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.rows import Book

AT = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


@pytest.fixture
async def account_id(book: Book) -> int:
    """An account of the owner's client."""
    return await book.add_account()


async def change(person: Person, account_id: int, **body: Any) -> Said:
    return await person.patch(f"/sub-accounts/{account_id}", body)


async def add_ledger_account(book: Book, client_id: int, *, code: str = "1000", archived: bool = False) -> int:
    made: int = await book.superuser.fetchval(
        """
        INSERT INTO ledger_accounts (customer_id, client_id, code, name, archived_at)
        VALUES ($1, $2, $3, 'Bank', CASE WHEN $4 THEN now() END) RETURNING id
        """,
        book.person.customer_id,
        client_id,
        code,
        archived,
    )
    return made


async def read_feed(person: Person, cursor: str | None = None) -> dict[str, Any]:
    said = await person.get("/transactions/changes", clientId=person.client_id, cursor=cursor)
    assert 200 == said.status, said.text
    return said.body


def coming(page: dict[str, Any]) -> set[int]:
    return {row["id"] for row in (*page["added"], *page["updated"])}


async def test_an_account_says_what_is_known_of_it(api: Person, book: Book) -> None:
    """Names, number, balance and its day, the gap and its reason, how far back, and when it was pulled and attempted."""
    bank_account_id = await book.add_bank_account()
    account_id = await book.add_account(
        bank_account_id,
        name="Everyday",
        own_name="Payroll",
        type="creditCard",
        balance=Decimal("-12.50"),
        balance_on=date(2026, 3, 1),
        balance_gap=Decimal("0.5"),
        balance_reason="one row twice would explain it",
        history_from_on=date(2025, 9, 1),
        last_pulled_at=AT,
        last_attempted_at=AT,
    )
    said = await api.get(f"/sub-accounts/{account_id}")
    shown = said.body["subAccount"]
    assert (bank_account_id, api.client_id, "open") == (shown["bankAccountId"], shown["clientId"], shown["state"])
    assert ("Payroll", "Everyday", "1234", "creditCard", "USD") == (
        shown["name"],
        shown["bankName"],
        shown["numberDisplay"],
        shown["type"],
        shown["currency"],
    )
    assert ("-12.50", "2026-03-01", "0.5", "one row twice would explain it") == (
        shown["balance"],
        shown["balanceOn"],
        shown["balanceGap"],
        shown["balanceReason"],
    )
    assert ("2025-09-01", "2026-03-02T06:00:00Z", "2026-03-02T06:00:00Z") == (
        shown["historyFrom"],
        shown["lastPulledAt"],
        shown["lastAttemptedAt"],
    )
    assert '"1"' == said.headers["ETag"]


async def test_they_are_listed_by_client(api: Person, book: Book, account_id: int) -> None:
    """All, or those of one client, by page; one that is another by now is not among them."""
    async with api.database.tenant(api.customer_id) as conn:
        second = await insert_client(conn, api.customer_id, username="second", name="Second")
    other_id = await book.add_account(client_id=second)
    await book.add_account(state="closed", adopted_into=account_id)
    for query, expected in (({}, [account_id, other_id]), ({"clientId": second}, [other_id])):
        said = await api.get("/sub-accounts", **query)
        assert expected == [each["id"] for each in said.body["subAccounts"]]
    said = await api.get("/sub-accounts", limit=1)
    assert [account_id] == [each["id"] for each in said.body["subAccounts"]]
    said = await api.get("/sub-accounts", limit=1, cursor=said.body["nextCursor"])
    assert ([other_id], None) == ([each["id"] for each in said.body["subAccounts"]], said.body["nextCursor"])
    assert 404 == (await api.get("/sub-accounts", clientId=99_999)).status


async def test_it_is_its_customers(other: Person, account_id: int) -> None:
    """Another customer does not see it, and cannot change, refresh or delete it."""
    path = f"/sub-accounts/{account_id}"
    assert 404 == (await other.get(path)).status
    assert 404 == (await change(other, account_id, name="x")).status
    assert 404 == (await other.post(f"{path}/refresh")).status
    assert 404 == (await other.delete(path)).status
    assert [] == (await other.get("/sub-accounts")).body["subAccounts"]


async def test_names_are_a_persons(api: Person, account_id: int) -> None:
    """What is given changes and the rest stays; an empty name is the bank's again."""
    shown = (await change(api, account_id, name=" Payroll ", memo="ask Ann")).body["subAccount"]
    assert ("Payroll", "Checking", "ask Ann", 2) == (
        shown["name"],
        shown["bankName"],
        shown["memo"],
        shown["version"],
    )
    shown = (await change(api, account_id, name="")).body["subAccount"]
    assert ("Checking", "ask Ann") == (shown["name"], shown["memo"])


async def test_no_change_is_lost(api: Person, book: Book, account_id: int) -> None:
    """Who changes what somebody changed since gets 409, and nothing changes, not even the feed."""
    row = await book.add_row(account_id)
    cursor = (await read_feed(api))["nextCursor"]
    await change(api, account_id, name="first")
    said = await change(api, account_id, isHidden=True, version=1)
    assert (409, "version_conflict") == (said.status, said.body["code"])
    page = await read_feed(api, cursor)
    assert (set(), []) == (coming(page), page["removed"])
    assert row in coming(await read_feed(api))


async def test_it_books_to_an_open_ledger_account_of_its_client(api: Person, book: Book, account_id: int) -> None:
    """A ledger account is set and taken off; another client's, an archived one and none at all are refused by name."""
    async with api.database.tenant(api.customer_id) as conn:
        second = await insert_client(conn, api.customer_id, username="second", name="Second")
    good = await add_ledger_account(book, api.client_id)
    wrong = [
        await add_ledger_account(book, second),
        await add_ledger_account(book, api.client_id, code="1001", archived=True),
        99_999,
    ]
    assert good == (await change(api, account_id, ledgerAccountId=good)).body["subAccount"]["ledgerAccountId"]
    for each in wrong:
        said = await change(api, account_id, ledgerAccountId=each)
        assert (422, "ledgerAccountId") == (said.status, said.body["field"])
    shown = (await change(api, account_id, name="x")).body["subAccount"]
    assert good == shown["ledgerAccountId"]
    assert None is (await change(api, account_id, ledgerAccountId=None)).body["subAccount"]["ledgerAccountId"]


async def test_a_hidden_account_leaves_the_feed(api: Person, book: Book, account_id: int) -> None:
    """Hidden, the rows in view are reported as removed; shown by the operator, they come again; other accounts' stay still."""
    rows = {await book.add_row(account_id), await book.add_row(account_id, state="pending")}
    await book.add_row(account_id, state="removed")
    await book.add_row(await book.add_account())
    cursor = (await read_feed(api))["nextCursor"]
    assert (await change(api, account_id, isHidden=True)).body["subAccount"]["isHidden"]
    hidden = await read_feed(api, cursor)
    assert (rows, set()) == (set(hidden["removed"]), coming(hidden))
    await unhide(api.database, account_id=AccountId(account_id), customer_id=None)
    shown = await read_feed(api, hidden["nextCursor"])
    assert ([], rows) == (shown["removed"], coming(shown))


async def test_nobody_shows_a_hidden_one_again(api: Person, book: Book, account_id: int) -> None:
    """409 for whoever asks, whatever else is asked with it, and nothing changes; of one that is not hidden it says nothing."""
    said = await change(api, account_id, isHidden=False, name="House")
    assert (False, "House") == (said.body["subAccount"]["isHidden"], said.body["subAccount"]["name"])
    await change(api, account_id, isHidden=True)
    said = await change(api, account_id, isHidden=False, name="x")
    assert (409, "conflict", "isHidden") == (said.status, said.body["code"], said.body["field"])
    shown = (await api.get(f"/sub-accounts/{account_id}")).body["subAccount"]
    assert (True, "House") == (shown["isHidden"], shown["name"])


async def test_hiding_the_hidden_moves_nothing(api: Person, book: Book, account_id: int) -> None:
    """A change that leaves it as it is gives no row a new number."""
    await book.add_row(account_id)
    await change(api, account_id, isHidden=True)
    cursor = (await read_feed(api))["nextCursor"]
    await change(api, account_id, isHidden=True)
    page = await read_feed(api, cursor)
    assert ([], set()) == (page["removed"], coming(page))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, None)),
        ({"isHidden": None}, (422, "isHidden")),
        ({"memo": "x" * 2_001}, (422, "memo")),
        ({"balance": "1.00"}, (422, "balance")),
    ],
)
async def test_a_change_that_does_not_fit_is_named(
    api: Person, account_id: int, body: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    """Nothing to change, a wrong value, a field that is the bank's: refused."""
    said = await api.patch(f"/sub-accounts/{account_id}", body)
    assert expected == (said.status, said.body.get("field"))


async def test_deleting_takes_it_out_at_once(api: Person, book: Book) -> None:
    """A deleted one is gone, and noted to be deleted at the aggregator; the others of its login stay."""
    bank_account_id = await book.add_bank_account()
    first, second = [await book.add_account(bank_account_id) for _ in range(2)]
    assert 200 == (await api.delete(f"/sub-accounts/{first}")).status
    assert 404 == (await api.get(f"/sub-accounts/{first}")).status
    assert 200 == (await api.get(f"/sub-accounts/{second}")).status
    assert ["account"] == [
        row["kind"] for row in await book.superuser.fetch("SELECT kind::text FROM removals ORDER BY id")
    ]


async def test_its_login_is_refreshed(api: Person, book: Book) -> None:
    """A refresh of a sub-account is its login's, and that of a sibling is the same one."""
    bank_account_id = await book.add_bank_account()
    first, second = [await book.add_account(bank_account_id) for _ in range(2)]
    one = await api.post(f"/sub-accounts/{first}/refresh")
    two = await api.post(f"/sub-accounts/{second}/refresh")
    assert (202, 202) == (one.status, two.status)
    assert bank_account_id == one.body["refresh"]["bankAccountId"]
    assert one.body == two.body
