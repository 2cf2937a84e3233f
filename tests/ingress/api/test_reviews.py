"""Review items over the API: what is offered, accepted once, dismissed, and nobody else's."""

import asyncio
from typing import Any

import pytest

from tests.ingress.api.books import Ledger, amounts, link_bank
from tests.ingress.api.conftest import Person


@pytest.fixture
async def ledger(api: Person) -> Ledger:
    """A linked account with two active rows that are booked, and a pending one."""
    ledger = await link_bank(api)
    await ledger.pull("a1 active 01 -9.00 BAKERY", "a2 active 01 -5.00 KIOSK", "p1 pending 02 -20.00 LUIGI")
    await ledger.set_up()
    for name in ("BAKERY", "KIOSK", "LUIGI"):
        await ledger.book(name)
    return ledger


async def list_reviews(person: Person, **query: Any) -> list[dict[str, Any]]:
    said = await person.get("/reviews", **query)
    assert 200 == said.status, said.body
    reviews: list[dict[str, Any]] = said.body["reviews"]
    return reviews


async def test_each_kind_with_its_offer(ledger: Ledger) -> None:
    """A day that moved takes two entries, a withdrawal one, a void draft none; kinds and pages are asked apart."""
    api = ledger.person
    await ledger.pull("a1 active 02 -8.00 BAKERY")
    differs, *others = await list_reviews(api, clientId=api.client_id)
    assert [
        ("2026-03-01", ["9.00", "-9.00"]),
        ("2026-03-02", ["-8.00", "8.00"]),
    ] == [(each["enteredOn"], amounts(each)) for each in differs["offer"]]
    assert ["vanished", "vanished"] == [each["kind"] for each in others]
    assert [[], [["5.00", "-5.00"]]] == sorted([amounts(entry) for entry in each["offer"]] for each in others)
    assert "the bank no longer has the transaction" in others[0]["reason"]
    assert [differs] == await list_reviews(api, kind="differs")
    said = await api.get("/reviews", limit=2)
    rest = await api.get("/reviews", limit=2, cursor=said.body["nextCursor"])
    assert [differs, *others] == [*said.body["reviews"], *rest.body["reviews"]]
    assert rest.body["nextCursor"] is None


async def test_an_item_is_answered_once(ledger: Ledger) -> None:
    """Of two that accept one makes the corrections; who did is kept, and the item is not open any more."""
    api = ledger.person
    await ledger.pull("a1 active 02 -8.00 BAKERY", "a2 active 01 -5.00 KIOSK", "p1 pending 02 -20.00 LUIGI")
    [item] = await list_reviews(api)
    said = await asyncio.gather(*(api.post(f"/reviews/{item['id']}/accept") for _ in range(2)))
    done, refused = sorted(said, key=lambda each: each.status)
    assert [200, 409] == [done.status, refused.status]
    assert (f"user:{api.user_id}", 2) == (done.body["review"]["closedBy"], len(done.body["corrections"]))
    assert done.body["corrections"][-1]["id"] == done.body["review"]["correctingEntryId"]
    assert [] == await list_reviews(api)


async def test_dismissed_the_books_stay(ledger: Ledger) -> None:
    """Nothing is booked; the same again is not asked, another amount is."""
    api = ledger.person
    rest = ("a2 active 01 -5.00 KIOSK", "p1 pending 02 -20.00 LUIGI")
    await ledger.pull("a1 active 01 -8.00 BAKERY", *rest)
    [item] = await list_reviews(api)
    said = await api.post(f"/reviews/{item['id']}/dismiss")
    assert (None, []) == (said.body["review"]["correctingEntryId"], said.body["corrections"])
    await ledger.pull("a1 active 01 -8.00 BAKERY PARIS", *rest)
    assert [] == await list_reviews(api)
    await ledger.pull("a1 active 01 -7.00 BAKERY PARIS", *rest)
    assert 1 == len(await list_reviews(api))
    assert 3 == len((await api.get("/entries", clientId=api.client_id)).body["entries"])


@pytest.mark.parametrize(("word", "corrections"), [("accept", 1), ("dismiss", 0)])
async def test_an_item_of_a_deleted_sub_account_is_answered(ledger: Ledger, word: str, corrections: int) -> None:
    """The books outlive the bank's account."""
    api = ledger.person
    await ledger.pull("a1 active 01 -8.00 BAKERY", "a2 active 01 -5.00 KIOSK", "p1 pending 02 -20.00 LUIGI")
    assert 200 == (await api.delete(f"/sub-accounts/{ledger.sub_account_id}")).status
    [item] = await list_reviews(api)
    said = await api.post(f"/reviews/{item['id']}/{word}")
    assert (200, corrections) == (said.status, len(said.body["corrections"]))
    assert [] == await list_reviews(api)


async def test_others_have_none_of_it(ledger: Ledger, other: Person, reader: Person) -> None:
    """Another customer sees no item and answers none; who may only look does."""
    await ledger.pull("a1 active 01 -8.00 BAKERY", "a2 active 01 -5.00 KIOSK", "p1 pending 02 -20.00 LUIGI")
    [item] = await list_reviews(ledger.person)
    assert [] == await list_reviews(other)
    assert 404 == (await other.get("/reviews", clientId=ledger.person.client_id)).status
    for word in ("accept", "dismiss"):
        assert 404 == (await other.post(f"/reviews/{item['id']}/{word}")).status
        assert 403 == (await reader.post(f"/reviews/{item['id']}/{word}")).status
    assert [item] == await list_reviews(reader)
