"""GET /transactions and /transactions/{id}: what is in view, in which order, page by page and as a stream."""

import itertools
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest

from bankfeed import acts
from bankfeed.db import movement
from bankfeed.db.change import CHANGE, list_changes
from bankfeed.db.client import insert_client
from bankfeed.db.movement import FATE, MOVEMENT, STEP
from bankfeed.model import AccountId, Known, ShadowPolicy, ShadowVerdict, TransactionId, TransactionState, Values
from bankfeed.reconcile.policy import is_shown
from ingress.api.transactions import Transaction, TransactionDetail, TransactionStep
from tests.ingress.api.conftest import Person, Said
from tests.ingress.api.rows import Book

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def book(api: Person, superuser: asyncpg.Connection) -> Book:
    """The owner's rows."""
    return Book(person=api, superuser=superuser)


async def look(person: Person, **query: Any) -> Said:
    return await person.get("/transactions", clientId=person.client_id, **query)


async def ids(person: Person, **query: Any) -> list[int]:
    said = await look(person, **query)
    assert 200 == said.status, said.text
    return [row["id"] for row in said.body["transactions"]]


async def walk(person: Person, **query: Any) -> list[int]:
    """Follow the cursor to the end."""
    found, cursor = [], None
    while True:
        said = await look(person, cursor=cursor, **query)
        found += [row["id"] for row in said.body["transactions"]]
        cursor = said.body["nextCursor"]
        if cursor is None:
            return found


async def test_a_row_says_all_that_is_known_of_it(api: Person, book: Book) -> None:
    """Each field has the row's own value: amounts as they are stored, days as days, times in UTC, entries in order."""
    bank_account = await book.add_bank_account()
    account = await book.add_account(bank_account, currency="EUR")
    row = await book.add_row(
        account,
        "-12.50",
        posted_on=date(2026, 3, 4),
        memo="a memo",
        check_number="1042",
        kind="check",
        aggregator_id="agg-1",
        reconciled_at=AT,
        split_into=[Decimal("-12.00"), Decimal("-0.50")],
        shadow_verdict="rejected",
        changed_at=datetime(2026, 3, 5, 6, 7, 8, tzinfo=UTC),
    )
    await book.add_entry(row, "L2", link_no=1)
    await book.add_entry(row, "L1", link_no=0)
    await book.add_entry(row, "L0", link_no=2, state="void", voided_at=AT)
    [got] = (await look(api)).body["transactions"]
    assert {
        "id": row,
        "bankAccountId": bank_account,
        "subAccountId": account,
        "status": "active",
        "amount": "-12.50",
        "currency": "EUR",
        "transactedOn": "2026-03-02",
        "postedOn": "2026-03-04",
        "description": "COFFEE",
        "memo": "a memo",
        "checkNumber": "1042",
        "kind": "check",
        "isReconciled": True,
        "splitInto": ["-12.00", "-0.50"],
        "ledgerEntries": ["L1", "L2"],
        "shadowVerdict": "rejected",
        "aggregatorId": "agg-1",
        "changedAt": "2026-03-05T06:07:08Z",
        "changeNo": 1,
    } == got


def test_rows_and_structs_have_the_same_order() -> None:
    """Rows become structs by their place: columns and fields are the same list."""
    assert MOVEMENT == Transaction.__struct_fields__
    assert MOVEMENT + FATE == TransactionDetail.__struct_fields__
    assert STEP == TransactionStep.__struct_fields__


async def test_statements_have_the_columns_they_say(api: Person, book: Book) -> None:
    """Each statement that gives movements names its columns as the list has them."""
    account = await book.add_account()
    row = await book.add_row(account)
    async with api.database.tenant(api.customer_id) as conn:
        wanted, policy = movement.Wanted(), ShadowPolicy.HIDE
        for order in (
            movement.open_newest(conn, api.customer_id, [account], wanted, policy=policy, before=None, limit=1),
            movement.open_oldest(conn, api.customer_id, [account], wanted, policy=policy, after=None, limit=1),
        ):
            [found] = [each async for each in await order]
            assert MOVEMENT == tuple(found.keys())
        [change] = await list_changes(conn, api.customer_id, api.client_id, after=0, since=0, limit=1)
        assert CHANGE == tuple(change.keys())
        detail = await movement.get_movement(conn, api.customer_id, row)
        assert MOVEMENT + FATE == tuple(detail.keys())


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages_follow_the_days_over_all_accounts(api: Person, book: Book, order: str) -> None:
    """Rows of several accounts come in one order, by day and then by id, each once however small the pages are."""
    accounts = [await book.add_account() for _ in range(3)]
    days = [date(2026, 3, day) for day in (5, 1, 5, 9, 1, 5, 3)]
    rows = [(day, await book.add_row(accounts[n % 3], transacted_on=day)) for n, day in enumerate(days)]
    expected = [row for _, row in sorted(rows, reverse=order == "newest")]
    for limit in (1, 2, 3, 7, 8):
        assert expected == await walk(api, order=order, limit=limit)


async def test_a_page_stays_where_it_is_under_writes(api: Person, book: Book) -> None:
    """Rows that come and go before the cursor move nothing: the next page has what it would have had."""
    account = await book.add_account()
    rows = [await book.add_row(account, transacted_on=date(2026, 3, day)) for day in range(1, 7)]
    first = await look(api, limit=2)
    await book.add_row(account, transacted_on=date(2026, 3, 20))
    await book.superuser.execute("UPDATE transactions SET deleted_at = now() WHERE id = ANY ($1)", rows[4:])
    second = await look(api, limit=2, cursor=first.body["nextCursor"])
    assert [rows[3], rows[2]] == [row["id"] for row in second.body["transactions"]]
    async with api.session.get(first.body["links"]["next"], headers={"Authorization": f"Bearer {api.token}"}) as answer:
        assert second.body["transactions"] == (await answer.json())["transactions"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"from": "2026-03-03"}, "cd"),
        ({"to": "2026-03-02"}, "ab"),
        ({"from": "2026-03-02", "to": "2026-03-03"}, "bc"),
        ({"status": "pending"}, "d"),
        ({"status": "pending,active"}, "abcd"),
        ({"text": "cOfFeE"}, "a"),
        ({"text": "50%_off"}, "b"),
        ({"text": "_"}, "b"),
        ({"text": "memo c"}, "c"),
        ({"minAmount": "-2.50"}, "abd"),
        ({"minAmount": "-2.50", "maxAmount": "-1"}, "ab"),
        ({"maxAmount": "-3"}, "c"),
        ({"checkNumber": "77"}, "c"),
        ({"checkNumber": "7"}, ""),
    ],
)
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_filters(api: Person, book: Book, query: dict[str, str], expected: str, order: str) -> None:
    """Each filter takes what fits, bounds included, and texts literally whatever their case; also page by page."""
    account = await book.add_account()
    rows = {
        "a": await book.add_row(account, "-1.00", transacted_on=date(2026, 3, 1), description="COFFEE"),
        "b": await book.add_row(account, "-2.50", transacted_on=date(2026, 3, 2), description="50%_OFF"),
        "c": await book.add_row(
            account, "-3.00", transacted_on=date(2026, 3, 3), description="X", memo="a Memo C", check_number="77"
        ),
        "d": await book.add_row(account, "4.00", transacted_on=date(2026, 3, 4), description="Y", state="pending"),
    }
    wanted = [rows[name] for name in (reversed(expected) if order == "newest" else expected)]
    assert wanted == await ids(api, order=order, **query)
    assert wanted == await walk(api, order=order, limit=1, **query)


async def test_accounts_are_chosen(api: Person, book: Book) -> None:
    """One bank account, some sub-accounts, or both together."""
    login = await book.add_bank_account()
    first, second, third = await book.add_account(login), await book.add_account(login), await book.add_account()
    a, b, c = await book.add_row(first), await book.add_row(second), await book.add_row(third)
    assert [c, b, a] == await ids(api)
    assert [b, a] == await ids(api, bankAccountId=login)
    assert [c, a] == await ids(api, subAccountId=f"{first},{third}")
    assert [a] == await ids(api, bankAccountId=login, subAccountId=f"{first},{third}")


async def test_a_client_goes_by_its_username_too(api: Person, book: Book) -> None:
    """A client is named by id or by username, one of the two; rows of another client are not among its own."""
    async with api.database.tenant(api.customer_id) as conn:
        await insert_client(conn, api.customer_id, username="second", name="Second")
    row = await book.add_row(await book.add_account())
    username = await book.superuser.fetchval("SELECT username FROM clients WHERE id = $1", api.client_id)
    named = await api.get("/transactions", username=username)
    assert [row] == [each["id"] for each in named.body["transactions"]]
    assert [] == (await api.get("/transactions", username="second")).body["transactions"]
    assert 404 == (await api.get("/transactions", username="nobody")).status
    for query in ({}, {"clientId": api.client_id, "username": username}):
        said = await api.get("/transactions", **query)
        assert (422, "clientId") == (said.status, said.body["field"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 1001}, "limit"),
        ({"limit": 0}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WzMsIngiXQ"}, "cursor"),
        ({"status": "removed"}, "status"),
        ({"minAmount": "NaN"}, "minAmount"),
        ({"maxAmount": "1e5"}, "maxAmount"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "to"),
        ({"from": "yesterday"}, "from"),
        ({"order": "up"}, "order"),
    ],
)
async def test_what_does_not_fit_is_named(api: Person, query: dict[str, Any], field: str) -> None:
    """A value out of bounds is 422 with the name of its field."""
    said = await look(api, **query)
    assert 422 == said.status
    assert said.body["field"].startswith(field)


async def test_what_is_anothers_is_not_there(api: Person, other: Person, book: Book) -> None:
    """Another customer's client, accounts and rows are 404, as if there were none."""
    login = await book.add_bank_account()
    account = await book.add_account(login)
    row = await book.add_row(account)
    assert 404 == (await other.get("/transactions", clientId=api.client_id)).status
    assert 404 == (await look(other, subAccountId=account)).status
    assert 404 == (await look(other, bankAccountId=login)).status
    assert 404 == (await other.get(f"/transactions/{row}")).status
    assert [] == await ids(other)


async def test_a_bank_account_without_sub_accounts_has_no_rows(api: Person, book: Book) -> None:
    """One that was just linked is there, and empty."""
    assert [] == await ids(api, bankAccountId=await book.add_bank_account())


async def test_accounts_out_of_view(api: Person, book: Book) -> None:
    """Hidden and closed accounts show nothing; a closed one does where it is asked for; a deleted one is not there."""
    hidden = await book.add_account(is_hidden=True)
    closed = await book.add_account(state="closed")
    gone = await book.add_account(state="closed", deleted_at=AT)
    rows = [await book.add_row(account) for account in (hidden, closed, gone)]
    assert [] == await ids(api)
    assert [] == await ids(api, subAccountId=hidden, includeClosed="true")
    assert [rows[1]] == await ids(api, includeClosed="true")
    assert [rows[1]] == await ids(api, subAccountId=closed, includeClosed="true")
    assert 404 == (await look(api, subAccountId=gone, includeClosed="true")).status
    assert 404 == (await api.get(f"/transactions/{rows[2]}")).status
    await book.superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now() WHERE id = $1", api.client_id)
    assert 404 == (await look(api)).status
    assert 404 == (await api.get(f"/transactions/{rows[1]}")).status


@pytest.mark.parametrize("policy", list(ShadowPolicy))
async def test_rows_in_view_are_those_of_the_policy(api: Person, book: Book, policy: ShadowPolicy) -> None:
    """Whatever became of a row and whatever a person did with it, lists, feed and detail show what the policy says."""
    account = await book.add_account()
    target = await book.add_row(account, state="removed")
    await book.set_policy(policy)
    expected, every = [], []
    for facts in itertools.product(TransactionState, (False, True), (None, *ShadowVerdict), *((False, True),) * 5):
        known, row = await add_kind(book, account, target, facts)
        every.append(row)
        if is_shown(known, policy):
            expected.append(row)
    assert 100 < len(expected) < len(every)
    for order in ("newest", "oldest"):
        assert sorted(expected) == sorted(await walk(api, order=order, limit=1000))
    said = await api.get("/transactions/changes", clientId=api.client_id)
    assert expected == [row["id"] for row in said.body["added"]]
    assert sorted({*every, target} - {*expected}) == sorted(said.body["removed"])
    async with api.database.tenant(api.customer_id) as conn:
        shown = [row for row in every if (await movement.get_movement(conn, api.customer_id, row))["is_in_view"]]
    assert expected == shown


async def add_kind(
    book: Book, account: AccountId, target: TransactionId, facts: tuple[Any, ...]
) -> tuple[Known, TransactionId]:
    """Add a row of one kind; return it as the engine knows it."""
    state, has_entry, verdict, is_reconciled, is_split, is_deleted, is_merged, is_erased = facts
    is_erased = is_erased and state is TransactionState.SHADOW
    parts = (Decimal(-1), Decimal(0)) if is_split else ()
    values = Values(amount=Decimal(0), transacted_on=date(2026, 3, 2), description="")
    known = Known(
        id=None, state=state, values=values, bank_values=values, aggregator_ids=(), first_pulled_at=AT,
        merged_into=target if is_merged else None, fingerprint="f" if is_erased else "",
        entries=("L",) if has_entry else (), is_reconciled=is_reconciled, deleted_at=AT if is_deleted else None,
        split_into=parts, shadow_verdict=verdict,
    )  # fmt: skip
    row = await book.add_row(
        account, "0", state=state, description="", merged_into=known.merged_into, fingerprint=known.fingerprint or None,
        reconciled_at=AT if is_reconciled else None, deleted_at=known.deleted_at, split_into=list(parts) or None,
        shadow_verdict=verdict,
    )  # fmt: skip
    if has_entry:
        await book.add_entry(row, f"L{row}")
    return known, row


async def test_a_stream_has_every_row(api: Person, book: Book) -> None:
    """All that fit come as JSON lines, in order, however many; each is what a page shows."""
    account, twin = await book.add_account(), await book.add_account()
    first = await book.add_row(account)
    await book.superuser.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_rule, activated_at, first_change_no, change_no)
        SELECT customer_id, client_id, CASE WHEN n % 2 = 0 THEN account_id ELSE $2 END, state, -n, '2026-03-02',
               'ROW ' || n, '', '', '', '', now(), '', now(), n, n
        FROM transactions, generate_series(2, 2500) n WHERE id = $1
        """,
        first,
        twin,
    )
    said = await look(api, stream="true")
    assert ("application/x-ndjson", 200) == (said.headers["Content-Type"], said.status)
    rows = [json.loads(line) for line in said.text.splitlines()]
    assert 2_500 == len(rows)
    page = await look(api, limit=1000)
    assert page.body["transactions"] == rows[:1000]
    rest = await look(api, stream="true", cursor=page.body["nextCursor"])
    assert rows[1000:] == [json.loads(line) for line in rest.text.splitlines()]
    assert [row["id"] for row in rows][::-1] == [
        json.loads(line)["id"] for line in (await look(api, stream="true", order="oldest")).text.splitlines()
    ]
    assert "" == (await look(api, stream="true", text="nothing like it")).text


async def test_one_row_is_explained(api: Person, book: Book) -> None:
    """One transaction comes with its life in words and its steps, in view or not, and who acted."""
    account = await book.add_account()
    row = await book.add_row(account, first_pull_id=await add_pull(book, account))
    act = await acts.delete(api.database, api.customer_id, row, actor="user:7")
    said = await api.get(f"/transactions/{row}")
    assert 200 == said.status
    got = said.body["transaction"]
    assert (row, "active", False, False) == (got["id"], got["status"], got["isInView"], got["isErased"])
    assert got["deletedAt"].endswith("Z")
    steps = [(step["changeNo"], step["kind"], step["rule"], step["actor"]) for step in said.body["changes"]]
    assert [(1, "added", "new", None), (2, "removed", "delete", "user:7")] == steps
    assert act == said.body["changes"][1]["actId"]
    assert 3 == len(said.body["explanation"])
    assert "deleted" in said.body["explanation"][1]
    msgspec.convert(got, TransactionDetail, strict=False)


async def add_pull(book: Book, account: int) -> int:
    made: int = await book.superuser.fetchval(
        """
        INSERT INTO pulls (customer_id, account_id, at, kind, from_on, to_on, outcome, reported_rows)
        VALUES ($1, $2, $3, 'full', '2026-01-01', '2026-03-03', 'applied', 1) RETURNING id
        """,
        book.person.customer_id,
        account,
        AT,
    )
    return made


async def test_an_unknown_row_is_404(api: Person) -> None:
    """An id that is nobody's is not found, one that is none is refused."""
    assert 404 == (await api.get("/transactions/999999")).status
    said = await api.get("/transactions/x")
    assert (422, "transactionId") == (said.status, said.body["field"])


async def test_a_reader_may_look(reader: Person) -> None:
    """Looking is enough to list."""
    assert [] == await ids(reader)
