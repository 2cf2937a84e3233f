"""GET /checks: transactions with a check number, as far as they are in view."""

from datetime import date
from typing import Any

import asyncpg
import pytest

from ingress.api.checks import find_payee
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.rows import Book


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


async def look(person: Person, **query: Any) -> Said:
    said = await person.get("/checks", clientId=person.client_id, **query)
    assert 200 == said.status, said.text
    return said


async def test_a_check_says_number_payee_payment_and_account(api: Person, book: Book) -> None:
    """Each field has the row's own value, the account the name a person gave it."""
    login = await book.add_bank_account()
    account = await book.add_account(login, own_name="Household", number_display="9876")
    row = await book.add_row(
        account,
        "-250.00",
        check_number="1042",
        description="Acme Paper Supply",
        memo="invoice 7",
        kind="check",
        posted_on=date(2026, 3, 4),
    )
    await book.add_entry(row, "L1")
    said = await look(api)
    assert {
        "id": row,
        "number": "1042",
        "payee": "Acme Paper Supply",
        "date": "2026-03-02",
        "amount": "-250.00",
        "currency": "USD",
        "status": "active",
        "payment": {
            "kind": "check",
            "description": "Acme Paper Supply",
            "memo": "invoice 7",
            "postedOn": "2026-03-04",
            "isReconciled": False,
            "ledgerEntries": ["L1"],
        },
        "account": {"bankAccountId": login, "subAccountId": account, "name": "Household", "number": "9876"},
    } == said.body["checks"][0]
    assert (1, None) == (said.body["totalItems"], said.body["nextCursor"])


async def test_checks_are_those_in_view(api: Person, book: Book) -> None:
    """Rows without a number, out of view, or on an account out of view are none; shadow ones as the policy says."""
    account, hidden = await book.add_account(), await book.add_account(is_hidden=True)
    wanted = await book.add_row(account, check_number="1")
    await book.add_row(account)
    await book.add_row(account, check_number="2", state="removed")
    await book.add_row(account, check_number="3", merged_into=wanted)
    await book.add_row(hidden, check_number="4")
    shadow = await book.add_row(account, check_number="5", state="shadow")
    said = await look(api)
    assert ([wanted], 1) == ([check["id"] for check in said.body["checks"]], said.body["totalItems"])
    for policy, found in (("show", 2), ("confirm", 2), ("delete", 1)):
        await book.set_policy(policy)
        said = await look(api)
        assert (found, found) == (len(said.body["checks"]), said.body["totalItems"])
    await book.add_entry(shadow, "L1")
    assert 2 == (await look(api)).body["totalItems"]


async def test_pages_and_filters(api: Person, book: Book) -> None:
    """Newest first, page by page over all accounts; totalItems is of all pages, and of what was asked for."""
    accounts = [await book.add_account(), await book.add_account()]
    rows = [
        await book.add_row(accounts[n % 2], check_number=str(n // 2), transacted_on=date(2026, 3, 1 + n))
        for n in range(5)
    ]
    found, cursor = [], None
    while True:
        said = await look(api, limit=2, cursor=cursor)
        assert 5 == said.body["totalItems"]
        found += [check["id"] for check in said.body["checks"]]
        cursor = said.body["nextCursor"]
        if cursor is None:
            break
    assert rows[::-1] == found
    for query, expected in (
        ({"from": "2026-03-03"}, rows[2:]),
        ({"to": "2026-03-02"}, rows[:2]),
        ({"number": "1"}, rows[2:4]),
        ({"subAccountId": accounts[0]}, rows[::2]),
        ({"number": "1", "to": "2026-03-03"}, rows[2:3]),
    ):
        said = await look(api, **query)
        assert expected[::-1] == [check["id"] for check in said.body["checks"]]
        assert len(expected) == said.body["totalItems"]


async def test_what_is_anothers_is_not_there(api: Person, other: Person, book: Book) -> None:
    """Another customer's client has no checks here; whose they are has to be said."""
    account = await book.add_account()
    await book.add_row(account, check_number="1")
    assert 404 == (await other.get("/checks", clientId=api.client_id)).status
    assert 404 == (await other.get("/checks", clientId=other.client_id, subAccountId=account)).status
    assert 0 == (await look(other)).body["totalItems"]
    assert 422 == (await api.get("/checks")).status


@pytest.mark.parametrize(
    ("description", "payee"),
    [
        ("Acme Paper Supply", "Acme Paper Supply"),
        ("CHECK #1042", None),
        ("Check 1042", None),
        ("CHECK PAID #1042", None),
        ("Check Number 12", None),
        ("INCLEARING CHECK 0001042", None),
        ("[No description provided by institution]", None),
        ("", None),
        ("Check Into Cash", "Check Into Cash"),
        ("Checker Cab", "Checker Cab"),
        ("1st Avenue Florist", "1st Avenue Florist"),
    ],
)
def test_a_payee_is_not_the_word_check(description: str, payee: str | None) -> None:
    """What only says that it is a check names nobody."""
    assert payee == find_payee(description)
