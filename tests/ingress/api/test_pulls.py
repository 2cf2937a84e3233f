"""Pulls over the API: what came of each, taking one back, and accepting what the balance check found."""

import asyncpg
import pytest

from tests.ingress.api.conftest import Person
from tests.ingress.api.feed import make_feed, play, play_steps
from tests.ingress.api.test_acts import HISTORY, LUIGI
from tests.worker.histories import Stored


@pytest.fixture
async def feed(api: Person) -> Stored:
    """Two pulls of one account."""
    made = make_feed(api)
    await play(made, HISTORY)
    return made


async def find_account(superuser: asyncpg.Connection) -> int:
    account_id: int = await superuser.fetchval("SELECT min(id) FROM accounts")
    return account_id


async def test_pulls_are_listed_newest_first(api: Person, feed: Stored, superuser: asyncpg.Connection) -> None:
    """When, of which days, what came of it; in pages."""
    account_id = await find_account(superuser)
    said = await api.get("/pulls", subAccountId=account_id, limit=1)
    [newest] = said.body["pulls"]
    assert ("full", "applied", "2026-01-31", "2026-03-05") == tuple(
        newest[name] for name in ("kind", "outcome", "fromOn", "toOn")
    )
    assert {"reported": 4, "added": 1, "posted": 1, "shadowed": 1, "updated": 0, "returned": 0, "removed": 0} == newest[
        "counts"
    ]
    second = await api.get("/pulls", subAccountId=account_id, limit=1, cursor=said.body["nextCursor"])
    assert (["2026-03-03"], None) == (
        [row["toOn"] for row in second.body["pulls"]],
        second.body["nextCursor"],
    )


async def test_a_pull_is_taken_back(api: Person, feed: Stored, superuser: asyncpg.Connection) -> None:
    """All that it changed, once, the last one first; the act is in the list."""
    account_id = await find_account(superuser)
    second, first = [row["id"] for row in (await api.get("/pulls", subAccountId=account_id)).body["pulls"]]
    assert 409 == (await api.post(f"/pulls/{first}/undo")).status
    said = await api.post(f"/pulls/{second}/undo")
    assert (200, {"id": second, "subAccountId": account_id, "changedTransactions": 3}) == (
        said.status,
        said.body["pull"],
    )
    assert "pending" == await superuser.fetchval("SELECT state::text FROM transactions WHERE id = $1", LUIGI)
    assert 409 == (await api.post(f"/pulls/{second}/undo")).status
    [act] = (await api.get("/acts")).body["acts"]
    assert (said.body["actId"], "undo_pull", second) == (act["id"], act["kind"], act["pullId"])
    assert (await api.get("/pulls", subAccountId=account_id)).body["pulls"][0]["undoneAt"] is not None


async def test_anothers_pulls_are_not_there(
    api: Person, other: Person, reader: Person, feed: Stored, superuser: asyncpg.Connection
) -> None:
    """To list and to take back; a reader may list."""
    account_id = await find_account(superuser)
    pull_id = await superuser.fetchval("SELECT max(id) FROM pulls")
    assert 404 == (await other.get("/pulls", subAccountId=account_id)).status
    assert 404 == (await other.post(f"/pulls/{pull_id}/undo")).status
    assert 404 == (await other.post(f"/sub-accounts/{account_id}/accept-balance-gap", {})).status
    assert 200 == (await reader.get("/pulls", subAccountId=account_id)).status
    assert 403 == (await reader.post(f"/pulls/{pull_id}/undo")).status
    assert 422 == (await api.get("/pulls")).status


# ------------------------------------------------------------------------------------------------ the balance

ROW = {"id": "1", "status": "active", "amount": "-1.00", "date": "2026-03-02", "description": "KIOSK"}


def stated(day: int, balance: str) -> dict[str, object]:
    """A pull that states a balance and moves nothing."""
    return {
        "op": "pull",
        "account": "a",
        "at": f"2026-03-{day:02}T06:00:00Z",
        "kind": "full",
        "from": "2026-02-01",
        "to": f"2026-03-{day:02}",
        "complete": True,
        "balance": balance,
        "transactions": [ROW],
    }


async def test_a_gap_is_accepted(api: Person, superuser: asyncpg.Connection) -> None:
    """The bank's balance is the new start: later checks begin there. The gap is the one that was seen, and that is final."""
    feed = make_feed(api)
    opening = {"op": "account", "account": "a", "currency": "USD"}
    await play_steps(feed, [opening, stated(3, "100.00"), stated(4, "112.34")])
    path = f"/sub-accounts/{await find_account(superuser)}/accept-balance-gap"
    assert 409 == (await api.post(path, {"gap": "12.00"})).status
    assert 422 == (await api.post(path, {"gap": "much"})).status
    said = await api.post(path, {"gap": "12.34"})
    assert (200, "112.34", 0.0) == (said.status, said.body["balance"]["amount"], float(said.body["balance"]["gap"]))
    assert 409 == (await api.post(path, {})).status
    assert 409 == (await api.post(f"/acts/{said.body['actId']}/undo")).status
    await play_steps(feed, [opening, stated(5, "112.34")])
    assert await superuser.fetchval("SELECT balance_gap = 0 AND balance_reason = '' FROM accounts")
    await play_steps(feed, [opening, stated(6, "113.34")])
    assert await superuser.fetchval("SELECT balance_gap = 1 FROM accounts")
    assert 200 == (await api.post(path, {})).status
