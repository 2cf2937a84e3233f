"""Entries over the API: link, import, reconcile, post; one or many, taken back, exported."""

import asyncio
import csv
from typing import Any

import asyncpg
import pytest

from tests.ingress.api.books import Ledger, amounts, link_bank
from tests.ingress.api.conftest import Person, make_key
from tests.ingress.api.rows import Book

PENDING = "p1 pending 02 -20.00 LUIGI"
BAKERY = "a1 active 01 -9.00 BAKERY"


@pytest.fixture
async def ledger(api: Person) -> Ledger:
    """A linked account with a pending and an active row, and a chart."""
    ledger = await link_bank(api)
    await ledger.pull(PENDING, BAKERY)
    await ledger.set_up()
    return ledger


async def test_link_import_reconcile_post(api: Person, owner: asyncpg.Connection) -> None:
    """From a linked bank to exported books: the draft follows, is posted, is corrected, and the export says it all."""
    ledger = await link_bank(api)
    await ledger.pull(PENDING, BAKERY)
    refused = await api.post("/entries", {"transactionId": await ledger.find("BAKERY"), "ledgerAccountId": 1})
    assert (409, f"PATCH /sub-accounts/{ledger.sub_account_id}") == (
        refused.status,
        refused.body["message"].partition(" by ")[2],
    )
    await ledger.set_up()
    draft, posted = await ledger.book("LUIGI", memo="=dinner"), await ledger.book("BAKERY")
    assert [("draft", ["-20.00", "20.00"]), ("posted", ["-9.00", "9.00"])] == [
        (entry["state"], amounts(entry)) for entry in (draft, posted)
    ]
    await ledger.pull("p1 active 04 -24.00 LUIGI", BAKERY)
    after = await ledger.get(draft["id"])
    assert ("posted", "2026-03-04", ["-24.00", "24.00"]) == (after["state"], after["enteredOn"], amounts(after))
    row_id = await ledger.find("LUIGI")
    assert 200 == (await api.post(f"/transactions/{row_id}/reconcile")).status
    await ledger.pull("p1 active 04 -42.00 LUIGI", "a1 active 01 -8.00 BAKERY")
    [review] = (await api.get("/reviews", clientId=api.client_id)).body["reviews"]
    assert ("differs", posted["id"]) == (review["kind"], review["entryId"])  # the reconciled row keeps its values
    [offer] = review["offer"]
    accepted = await api.post(f"/reviews/{review['id']}/accept")
    [correction] = accepted.body["corrections"]
    assert (["1.00", "-1.00"], offer["lines"]) == (amounts(correction), correction["lines"])
    assert after == await ledger.get(draft["id"])
    said = await api.get("/entries/export", clientId=api.client_id)
    assert "text/csv" in said.headers["Content-Type"]
    rows = list(csv.DictReader(said.text.splitlines()))
    assert [
        ("2026-03-01", "1000", "", "9.00"),
        ("2026-03-01", "6100", "9.00", ""),
        ("2026-03-01", "1000", "1.00", ""),
        ("2026-03-01", "6100", "", "1.00"),
        ("2026-03-04", "1000", "", "24.00"),
        ("2026-03-04", "6100", "24.00", ""),
    ] == [(row["date"], row["code"], row["debit"], row["credit"]) for row in rows]
    assert {"", "'=dinner", f"Correction of {posted['reference']}"} == {row["memo"] for row in rows}


async def test_parts(ledger: Ledger) -> None:
    """A split entry has a line against each part; parts that do not fit name what is wrong, and nothing is made."""
    api, row_id = ledger.person, await ledger.find("BAKERY")
    meals, travel = ledger.accounts["6100"], ledger.accounts["6200"]

    async def book(*parts: tuple[int, str]) -> Any:
        lines = [{"ledgerAccountId": account, "amount": amount} for account, amount in parts]
        return await api.post("/entries", {"transactionId": row_id, "lines": lines})

    for parts, field in (
        ([(meals, "-5.00"), (travel, "-3.00")], "lines"),
        ([(meals, "-9.00"), (travel, "0.00")], "lines[1].amount"),
        ([(meals, "-8.999"), (travel, "-0.001")], "lines[0].amount"),
        ([(meals, "x")], "lines[0].amount"),
        ([(ledger.accounts["1000"], "-9.00")], "ledgerAccountId"),
    ):
        said = await book(*parts)
        assert (422, field) == (said.status, said.body["field"]), said.body
    assert 404 == (await book((999, "-9.00"))).status
    made = await book((meals, "-10.00"), (travel, "1.00"))
    assert (201, ["-9.00", "10.00", "-1.00"]) == (made.status, amounts(made.body["entry"]))
    assert 409 == (await book((meals, "-9.00"))).status


@pytest.mark.parametrize("body", [{}, {"ledgerAccountId": 1, "lines": [{"ledgerAccountId": 1, "amount": "1.00"}]}])
async def test_one_account_or_lines(ledger: Ledger, body: dict[str, Any]) -> None:
    """Not both, and not none of them."""
    said = await ledger.person.post("/entries", {"transactionId": await ledger.find("BAKERY"), **body})
    assert (422, "ledgerAccountId") == (said.status, said.body["field"])


async def test_a_reference_is_the_clients_once(ledger: Ledger) -> None:
    """Given, it is the link of the transaction; a second entry of that reference is refused, also where it is a link."""
    api = ledger.person
    made = await ledger.book("BAKERY", reference="INV-1")
    assert "INV-1" == made["reference"]
    body = {"transactionId": await ledger.find("LUIGI"), "ledgerAccountId": ledger.accounts["6100"]}
    assert 409 == (await api.post("/entries", {**body, "reference": "INV-1"})).status
    await api.post(f"/transactions/{body['transactionId']}/link", {"entry": "own"})
    assert 409 == (await api.post("/entries", {**body, "reference": "own"})).status
    assert 201 == (await api.post("/entries", body)).status


async def test_an_archived_ledger_account_is_booked_to_no_more(ledger: Ledger) -> None:
    """The refusal names it."""
    account = ledger.accounts["6100"]
    await ledger.person.post(f"/ledger-accounts/{account}/archive")
    said = await ledger.person.post(
        "/entries", {"transactionId": await ledger.find("BAKERY"), "ledgerAccountId": account}
    )
    assert (409, True) == (said.status, str(account) in said.body["message"])


async def test_what_is_gone_is_not_booked(ledger: Ledger) -> None:
    """A withdrawn row stands for nothing until a person says that it did happen."""
    api, row_id = ledger.person, await ledger.find("BAKERY")
    await ledger.pull(PENDING)
    body = {"transactionId": row_id, "ledgerAccountId": ledger.accounts["6100"]}
    assert 409 == (await api.post("/entries", body)).status
    await api.post(f"/transactions/{row_id}/reject-shadow")
    said = await api.post("/entries", body)
    assert (201, "posted") == (said.status, said.body["entry"]["state"])


async def test_many_at_once(ledger: Ledger) -> None:
    """Five hundred in one request, in its order; one that does not fit is named with its index, and none is made."""
    api, meals = ledger.person, ledger.accounts["6100"]
    await ledger.pull(PENDING, BAKERY, *(f"b{n} active 02 -{n}.00 SHOP {n}" for n in range(1, 501)))
    async with api.database.tenant(api.customer_id) as conn:
        ids = [row["id"] for row in await conn.fetch("SELECT id FROM transactions WHERE description LIKE 'SHOP%'")]
    items = [{"transactionId": row_id, "ledgerAccountId": meals} for row_id in reversed(ids)]
    for wrong, status, name in (
        ({"transactionId": 10**9, "ledgerAccountId": meals}, 404, "items[7]"),
        ({"transactionId": items[3]["transactionId"], "ledgerAccountId": meals}, 422, "items[7]"),
        ({**items[7], "ledgerAccountId": 10**9}, 404, "items[7]"),
        ({**items[7], "reference": "entry-1", "ledgerAccountId": ledger.accounts["1000"]}, 422, "items[7]"),
    ):
        said = await api.post("/entries/bulk", {"items": [*items[:7], wrong, *items[8:]]})
        assert (status, True) == (said.status, said.body["message"].startswith(name)), said.body
    assert [] == (await api.get("/entries", clientId=api.client_id)).body["entries"]
    said = await api.post("/entries/bulk", {"items": items})
    assert 201 == said.status, said.body
    assert list(reversed(ids)) == [entry["transactionId"] for entry in said.body["entries"]]
    assert {"posted"} == {entry["state"] for entry in said.body["entries"]}
    assert 422 == (await api.post("/entries/bulk", {"items": [*items, items[0]]})).status
    exported = await api.get("/entries/export", clientId=api.client_id)
    assert 1 + 2 * 500 == len(exported.text.splitlines())


async def test_pages_and_filters(ledger: Ledger) -> None:
    """Every entry once by day; by state, range and transaction."""
    api = ledger.person
    await ledger.pull(PENDING, BAKERY, *(f"b{n} active 0{n} -{n}.00 SHOP {n}" for n in range(1, 6)))
    for name in ("LUIGI", "BAKERY", *(f"SHOP {n}" for n in range(1, 6))):
        await ledger.book(name)
    days, cursor = [], None
    while True:
        said = await api.get("/entries", clientId=api.client_id, limit=2, cursor=cursor)
        days += [entry["enteredOn"][-2:] for entry in said.body["entries"]]
        cursor = said.body["nextCursor"]
        if cursor is None:
            break
    assert ["01", "01", "02", "02", "03", "04", "05"] == days
    for query, count in (
        ({"state": "draft"}, 1),
        ({"from": "2026-03-02", "to": "2026-03-03"}, 3),
        ({"from": "2026-03-06"}, 0),
        ({"transactionId": await ledger.find("SHOP 3")}, 1),
    ):
        said = await api.get("/entries", clientId=api.client_id, **query)
        assert count == len(said.body["entries"]), query
    backwards = await api.get("/entries", clientId=api.client_id, **{"from": "2026-03-02", "to": "2026-03-01"})
    assert (422, "from") == (backwards.status, backwards.body["field"])
    assert 422 == (await api.get("/entries", clientId=api.client_id, cursor="WzFd")).status


async def test_the_export_goes_in_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, also within an entry, no line is lost or doubled; drafts are there only if asked for."""
    monkeypatch.setattr("ingress.api.entries.EXPORT_LINES", 3)
    api = ledger.person
    await ledger.pull(PENDING, BAKERY, *(f"b{n} active 02 -{n}.00 SHOP {n}" for n in range(1, 6)))
    for name in ("LUIGI", "BAKERY", *(f"SHOP {n}" for n in range(1, 6))):
        await ledger.book(name)
    rows = list(csv.DictReader((await api.get("/entries/export", clientId=api.client_id)).text.splitlines()))
    assert 12 == len({(row["entryId"], row["code"]) for row in rows}) == len(rows)
    drafts = await api.get("/entries/export", clientId=api.client_id, state="draft")
    assert 3 == len(drafts.text.splitlines())
    some = await api.get("/entries/export", clientId=api.client_id, **{"from": "2026-03-01", "to": "2026-03-01"})
    assert 3 == len(some.text.splitlines())


async def test_undo(ledger: Ledger) -> None:
    """A draft becomes void, a posted one is reversed, both stay; the transactions can be booked anew."""
    api = ledger.person
    draft, posted = await ledger.book("LUIGI"), await ledger.book("BAKERY")
    said = await api.post(f"/entries/{draft['id']}/undo")
    assert ("void", None, []) == (
        said.body["entry"]["state"],
        said.body["entry"]["transactionId"],
        said.body["reversals"],
    )
    said = await api.post(f"/entries/{posted['id']}/undo")
    [reversal] = said.body["reversals"]
    assert ("posted", ["9.00", "-9.00"], posted["id"]) == (
        reversal["state"],
        amounts(reversal),
        reversal["corrects"],
    )
    assert [reversal] == (await api.get(f"/entries/{posted['id']}")).body["corrections"]
    for entry in (draft, posted, reversal):
        assert 409 == (await api.post(f"/entries/{entry['id']}/undo")).status
    for name in ("LUIGI", "BAKERY"):
        await ledger.book(name)


async def test_an_idempotency_key_books_once(ledger: Ledger) -> None:
    """The same request again is answered as before, and there is one entry."""
    api = ledger.person
    body = {"transactionId": await ledger.find("BAKERY"), "ledgerAccountId": ledger.accounts["6100"]}
    said = [await api.post("/entries", body, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert said[0].body == said[1].body
    assert 1 == len((await api.get("/entries", clientId=api.client_id)).body["entries"])


async def test_many_callers_book_once(ledger: Ledger) -> None:
    """Of several that book the same transaction at once one does."""
    body = {"transactionId": await ledger.find("BAKERY"), "ledgerAccountId": ledger.accounts["6100"]}
    said = await asyncio.gather(*(ledger.person.post("/entries", body) for _ in range(4)))
    assert [201, 409, 409, 409] == sorted(each.status for each in said)


async def test_others_have_none_of_it(ledger: Ledger, other: Person, reader: Person) -> None:
    """Another customer's entry, transaction and client are 404; who may only look does."""
    made = await ledger.book("BAKERY")
    path, client_id = f"/entries/{made['id']}", ledger.person.client_id
    body = {"transactionId": await ledger.find("LUIGI"), "ledgerAccountId": ledger.accounts["6100"]}
    assert {404} == {
        (await other.get(path)).status,
        (await other.post(f"{path}/undo")).status,
        (await other.get("/entries", clientId=client_id)).status,
        (await other.get("/entries/export", clientId=client_id)).status,
        (await other.post("/entries", body)).status,
        (await other.post("/entries/bulk", {"items": [body]})).status,
    }
    assert [200, 403] == [(await reader.get(path)).status, (await reader.post(f"{path}/undo")).status]


async def test_a_link_alone_is_no_entry(ledger: Ledger) -> None:
    """A reference that somebody linked has no lines: it is neither listed nor taken back here."""
    api = ledger.person
    await api.post(f"/transactions/{await ledger.find('BAKERY')}/link", {"entry": "own"})
    assert [] == (await api.get("/entries", clientId=api.client_id)).body["entries"]
    async with api.database.tenant(api.customer_id) as conn:
        entry_id = await conn.fetchval("SELECT id FROM ledger_entries")
    assert [404, 404] == [
        (await api.get(f"/entries/{entry_id}")).status,
        (await api.post(f"/entries/{entry_id}/undo")).status,
    ]


async def test_only_its_undo_takes_an_entry_off(ledger: Ledger) -> None:
    """Unlinking, and undoing the act of booking, name the entry to undo; so no transaction is booked twice unnoticed."""
    api = ledger.person
    key = await make_key(api, "transactions:write", "transactions:read")
    for name in ("LUIGI", "BAKERY"):
        entry, row_id = await ledger.book(name), await ledger.find(name)
        [act] = (await key.get("/acts", transactionId=row_id)).body["acts"]
        for said in (
            await key.post(f"/transactions/{row_id}/unlink", {"entry": entry["reference"]}),
            await key.post(f"/acts/{act['id']}/undo"),
        ):
            assert (409, True) == (said.status, said.body["message"].endswith(f"undo entry {entry['id']} first"))
        assert entry == await ledger.get(entry["id"])
        assert 200 == (await api.post(f"/entries/{entry['id']}/undo")).status


async def test_the_act_of_booking_many_is_not_undone(ledger: Ledger) -> None:
    """The first of its entries is named, and all stay."""
    api, meals = ledger.person, ledger.accounts["6100"]
    items = [{"transactionId": await ledger.find(name), "ledgerAccountId": meals} for name in ("LUIGI", "BAKERY")]
    made = (await api.post("/entries/bulk", {"items": items})).body["entries"]
    [act] = (await api.get("/acts")).body["acts"]
    said = await api.post(f"/acts/{act['id']}/undo")
    assert (409, True) == (said.status, f"undo entry {made[0]['id']} first" in said.body["message"])
    assert made == [await ledger.get(entry["id"]) for entry in made]


async def test_an_entry_is_linked_only_where_its_bank_side_is(ledger: Ledger, superuser: asyncpg.Connection) -> None:
    """Not to a row of another currency or ledger account, and no correction at all; to one of its own account it is asked."""
    api, book = ledger.person, Book(person=ledger.person, superuser=superuser)
    entry = await ledger.book("BAKERY")
    [reversal] = (await api.post(f"/entries/{entry['id']}/undo")).body["reversals"]
    bank, meals = ledger.accounts["1000"], ledger.accounts["6100"]
    own = await ledger.find("LUIGI")
    others = [
        await book.add_row(await book.add_account(currency=currency, ledger_account_id=account))
        for currency, account in (("EUR", bank), ("USD", meals), ("USD", None))
    ]
    for row_id, name in (*((row_id, entry) for row_id in others), (own, reversal)):
        said = await api.post(f"/transactions/{row_id}/link", {"entry": name["reference"]})
        assert (409, "act_refused") == (said.status, said.body["code"])
        assert f"entry {name['id']}" in said.body["message"]
    assert 200 == (await api.post(f"/transactions/{own}/link", {"entry": entry["reference"]})).status
    [review] = (await api.get("/reviews")).body["reviews"]
    assert ("returned", entry["id"], own) == (review["kind"], review["entryId"], review["transactionId"])
    moved = {"ledgerAccountId": meals}
    assert 200 == (await api.patch(f"/sub-accounts/{ledger.sub_account_id}", moved)).status
    again = await api.post(f"/transactions/{own}/link", {"entry": entry["reference"]})
    assert (200, [entry["reference"]]) == (again.status, again.body["transaction"]["ledgerEntries"])


async def test_entries_of_a_deleted_sub_account_are_undone(ledger: Ledger) -> None:
    """The books outlive the bank's account: its draft is void, its posted entry is reversed."""
    api = ledger.person
    draft, posted = await ledger.book("LUIGI"), await ledger.book("BAKERY")
    assert 200 == (await api.delete(f"/sub-accounts/{ledger.sub_account_id}")).status
    undone = [await api.post(f"/entries/{entry['id']}/undo") for entry in (draft, posted)]
    assert [(200, "void", 0), (200, "posted", 1)] == [
        (said.status, said.body["entry"]["state"], len(said.body["reversals"])) for said in undone
    ]
    assert 409 == (await api.post(f"/entries/{posted['id']}/undo")).status
