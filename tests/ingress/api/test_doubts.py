"""Doubts over the API: what there is to choose from, and a person's answers."""

from typing import Any

import asyncpg
import pytest

from tests.ingress.api.conftest import Person
from tests.ingress.api.feed import make_feed, play, play_steps
from tests.pure.history import read_history
from tests.worker.histories import Stored

TIE = """
pull 03-03
  p1 ! 03-02 -20.00 CORNER CAFE
link L1 -20.00
pull 03-05
  a1 * 03-04 -20.00 CORNER CAFE EAST
  a2 * 03-04 -20.00 CORNER CAFE WEST
"""
LISTED = """
pull 03-03
  a2 * 03-01 -33.00 DENTIST
  a5 * 03-02 -1.00 KIOSK
"""


@pytest.fixture
async def tie(api: Person) -> dict[str, Any]:
    """A link on a pending row, and two postings that may be its own."""
    await play(make_feed(api), TIE)
    [asked] = (await api.get("/doubts")).body["doubts"]
    found: dict[str, Any] = asked
    return found


@pytest.fixture
async def relinked(api: Person) -> dict[str, Any]:
    """An account that may be an earlier one: no number says so."""
    feed = make_feed(api)
    opening, listed = read_history(f"\n\n{LISTED}").steps
    opening |= {"institution": "i", "type": "checking"}
    again = {**listed, "at": "2026-03-06T06:00:00Z", "to": "2026-03-06"}
    await play_steps(feed, [opening, listed, {"op": "unlink", "account": "a"}, opening, again])
    [asked] = (await api.get("/doubts")).body["doubts"]
    found: dict[str, Any] = asked
    return found


async def test_a_doubt_says_what_there_is_to_choose_from(api: Person, tie: dict[str, Any]) -> None:
    """Amount, date and text of each candidate, and what the person worked with."""
    assert ("tie", api.client_id, None) == (tie["rule"], tie["clientId"], tie["earlierSubAccount"])
    assert ["CORNER CAFE EAST", "CORNER CAFE WEST"] == sorted(row["description"] for row in tie["candidates"])
    assert {("-20.00", "2026-03-04", "active")} == {
        (row["amount"], row["transactedOn"], row["status"]) for row in tie["candidates"]
    }
    assert ("CORNER CAFE", ["L1"]) == (tie["before"]["description"], tie["before"]["ledgerEntries"])


async def test_a_doubt_is_decided(api: Person, tie: dict[str, Any]) -> None:
    """The acts go to the choice; the doubt is answered, and open again when the act is taken back."""
    choice = next(row["id"] for row in tie["candidates"] if row["id"] != tie["transaction"]["id"])
    said = await api.post(f"/doubts/{tie['id']}/decide", {"choice": choice})
    assert (200, choice, ["L1"]) == (
        said.status,
        said.body["transaction"]["id"],
        said.body["transaction"]["ledgerEntries"],
    )
    assert [] == (await api.get("/doubts")).body["doubts"]
    assert 404 == (await api.post(f"/doubts/{tie['id']}/decide", {"choice": choice})).status
    await api.post(f"/acts/{said.body['actId']}/undo")
    assert [tie["id"]] == [row["id"] for row in (await api.get("/doubts")).body["doubts"]]


async def test_the_acts_may_stay(api: Person, tie: dict[str, Any]) -> None:
    """The transaction itself is a choice too."""
    own = tie["transaction"]["id"]
    said = await api.post(f"/doubts/{tie['id']}/decide", {"choice": own})
    assert (200, own, ["L1"]) == (
        said.status,
        said.body["transaction"]["id"],
        said.body["transaction"]["ledgerEntries"],
    )


async def test_only_a_candidate_is_chosen(api: Person, tie: dict[str, Any]) -> None:
    """A row that is no candidate, and answers that are for another kind of doubt, are refused."""
    assert 409 == (await api.post(f"/doubts/{tie['id']}/decide", {"choice": 999})).status
    assert 422 == (await api.post(f"/doubts/{tie['id']}/decide", {"choice": 0})).status
    for answer in ("adopt", "keep-apart"):
        assert 409 == (await api.post(f"/doubts/{tie['id']}/{answer}")).status
    assert 1 == len((await api.get("/doubts")).body["doubts"])


async def test_a_sub_account_is_adopted(api: Person, relinked: dict[str, Any], superuser: asyncpg.Connection) -> None:
    """It is the earlier one, which opens again with the rows of both, each once; that is final."""
    earlier = relinked["earlierSubAccount"]
    assert ("closed", "open", None) == (earlier["state"], relinked["subAccount"]["state"], relinked["transaction"])
    assert 409 == (await api.post(f"/doubts/{relinked['id']}/decide", {"choice": 1})).status
    said = await api.post(f"/doubts/{relinked['id']}/adopt")
    assert (200, earlier["id"]) == (said.status, said.body["subAccountId"])
    assert [] == (await api.get("/doubts")).body["doubts"]
    assert ["open"] == [
        row["state"] for row in await superuser.fetch("SELECT state::text FROM accounts WHERE id = $1", earlier["id"])
    ]
    assert 2 == await superuser.fetchval(
        "SELECT count(*) FROM transactions WHERE account_id = $1 AND state = 'active'", earlier["id"]
    )
    assert 409 == (await api.post(f"/acts/{said.body['actId']}/undo")).status


async def test_a_sub_account_is_kept_apart(api: Person, relinked: dict[str, Any]) -> None:
    """It is another one; taken back, the question is asked again."""
    said = await api.post(f"/doubts/{relinked['id']}/keep-apart")
    assert (200, []) == (said.status, (await api.get("/doubts")).body["doubts"])
    await api.post(f"/acts/{said.body['actId']}/undo")
    assert 1 == len((await api.get("/doubts")).body["doubts"])


@pytest.mark.parametrize("answer", ["adopt", "keep-apart"])
async def test_a_deleted_sub_account_may_be_the_earlier_one(
    api: Person, relinked: dict[str, Any], superuser: asyncpg.Connection, answer: str
) -> None:
    """What is asked about one that a person deleted is answered too: it comes back, or stays deleted."""
    earlier_id = relinked["earlierSubAccount"]["id"]
    assert 200 == (await api.delete(f"/sub-accounts/{earlier_id}")).status
    assert [relinked["id"]] == [row["id"] for row in (await api.get("/doubts")).body["doubts"]]
    said = await api.post(f"/doubts/{relinked['id']}/{answer}")
    assert (200, earlier_id) == (said.status, said.body["subAccountId"])
    assert [] == (await api.get("/doubts")).body["doubts"]
    assert (200 if answer == "adopt" else 404) == (await api.get(f"/sub-accounts/{earlier_id}")).status
    left = await superuser.fetchval("SELECT count(*) FROM accounts WHERE state = 'open' AND deleted_at IS NULL")
    assert 1 == left


async def test_doubts_come_in_pages_oldest_first(api: Person) -> None:
    """Of all clients, or of one; a page goes on where the one before ended."""
    feed: Stored = make_feed(api)
    await play(feed, TIE)
    await play_steps(
        feed,
        [
            {**step, **({"account": "b"} if "account" in step else {}), **({"entry": "L2"} if "entry" in step else {})}
            for step in read_history(f"\n\n{TIE}").steps
        ],
    )
    first = await api.get("/doubts", limit=1, clientId=api.client_id)
    second = await api.get("/doubts", limit=1, clientId=api.client_id, cursor=first.body["nextCursor"])
    assert second.body["nextCursor"] is None
    [one], [two] = first.body["doubts"], second.body["doubts"]
    assert one["id"] < two["id"]
    assert ["L1", "L2"] == [each["before"]["ledgerEntries"][0] for each in (one, two)]


async def test_anothers_doubts_are_not_there(
    api: Person, other: Person, tie: dict[str, Any], superuser: asyncpg.Connection
) -> None:
    """Neither to list nor to answer; nor those of a deleted client."""
    assert [] == (await other.get("/doubts")).body["doubts"]
    assert 404 == (await other.get("/doubts", clientId=api.client_id)).status
    choice = {"choice": tie["transaction"]["id"]}
    assert 404 == (await other.post(f"/doubts/{tie['id']}/decide", choice)).status
    for answer in ("adopt", "keep-apart"):
        assert 404 == (await other.post(f"/doubts/{tie['id']}/{answer}")).status
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert [] == (await api.get("/doubts")).body["doubts"]
    assert 404 == (await api.post(f"/doubts/{tie['id']}/decide", choice)).status


async def test_a_reader_answers_nothing(reader: Person, tie: dict[str, Any]) -> None:
    """Who may only look sees what is open."""
    assert 1 == len((await reader.get("/doubts")).body["doubts"])
    assert 403 == (await reader.post(f"/doubts/{tie['id']}/decide", {"choice": 1})).status
    assert 403 == (await reader.post(f"/doubts/{tie['id']}/adopt")).status


async def test_nothing_is_answered_of_a_deleted_client(
    api: Person, relinked: dict[str, Any], superuser: asyncpg.Connection
) -> None:
    """Nobody is asked about its sub-accounts, and no answer is taken."""
    await superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert [] == (await api.get("/doubts")).body["doubts"]
    for answer in ("adopt", "keep-apart"):
        assert 404 == (await api.post(f"/doubts/{relinked['id']}/{answer}")).status
