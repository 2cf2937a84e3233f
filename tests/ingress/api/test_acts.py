"""A person's acts over the API: each answers what it left, is listed, is taken back, and is nobody else's."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.ingress.api.conftest import Person, make_key
from tests.ingress.api.feed import make_feed, play, play_steps
from tests.worker.histories import Stored

DENTIST, BILL, LUIGI, BAKERY, KIOSK, OTHER = range(1, 7)
HISTORY = """
pull 03-03
  a2 * 03-01 -33.00 DENTIST
  a3 * 03-01 -33.00 DENTIST BILL
  p1 ! 03-02 -20.00 LUIGI TRATTORIA
  a4 * 03-02 -9.00 BAKERY
pull 03-05
  a2 * 03-01 -33.00 DENTIST
  a3 * 03-01 -33.00 DENTIST BILL
  a9 * 03-04 -24.00 LUIGI TRATTORIA NYC
  a5 * 03-05 -1.00 KIOSK
"""
SECOND_ACCOUNT: list[dict[str, Any]] = [
    {"op": "account", "account": "b", "currency": "JPY"},
    {
        "op": "pull",
        "account": "b",
        "at": "2026-03-06T06:00:00Z",
        "kind": "full",
        "from": "2026-02-01",
        "to": "2026-03-06",
        "complete": True,
        "transactions": [
            {"id": "o1", "status": "active", "amount": "-500", "date": "2026-03-02", "description": "OTHER"}
        ],
    },
]

Case = tuple[int, str, dict[str, Any] | None, dict[str, Any], dict[str, Any]]
ACTS: dict[str, Case] = {
    "link": (LUIGI, "link", {"entry": "L1"}, {"ledgerEntries": ["L1"]}, {"ledgerEntries": []}),
    "reconcile": (LUIGI, "reconcile", None, {"isReconciled": True}, {"isReconciled": False}),
    "delete": (LUIGI, "delete", None, {"isInView": False}, {"isInView": True, "deletedAt": None}),
    "merge": (BILL, "merge", {"into": DENTIST}, {"mergedInto": DENTIST, "isInView": False}, {"mergedInto": None}),
    "split": (LUIGI, "split", {"amounts": ["-20", "-4.00"]}, {"splitInto": ["-20.00", "-4.00"]}, {"splitInto": []}),
    "confirm-shadow": (BAKERY, "confirm-shadow", None, {"shadowVerdict": "confirmed"}, {"shadowVerdict": None}),
    "reject-shadow": (BAKERY, "reject-shadow", None, {"shadowVerdict": "rejected"}, {"shadowVerdict": None}),
}
OPPOSITES = {
    "link": ("unlink", {"entry": "L1"}),
    "reconcile": ("unreconcile", None),
    "delete": ("restore", None),
    "merge": ("unmerge", None),
    "split": ("unsplit", None),
}
PATHS = ("link", "unlink", "reconcile", "unreconcile", "merge", "unmerge", "split", "unsplit", "delete", "restore")
BODIES: dict[str, dict[str, Any]] = {
    "link": {"entry": "L1"},
    "unlink": {"entry": "L1"},
    "merge": {"into": DENTIST},
    "split": {"amounts": ["-20.00", "-4.00"]},
}


@pytest.fixture
async def feed(api: Person) -> Stored:
    """Five rows of one account."""
    made = make_feed(api)
    await play(made, HISTORY)
    return made


def pick(row: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a row that another one has."""
    return {name: row[name] for name in like}


# ------------------------------------------------------------------------------------------------ acts


@pytest.mark.parametrize("case", ACTS)
async def test_an_act_answers_what_it_left_and_is_undone(api: Person, feed: Stored, case: str) -> None:
    """Each act answers its id and the transaction after it; undone, the transaction is as before."""
    row_id, path, body, after, before = ACTS[case]
    said = await api.post(f"/transactions/{row_id}/{path}", body)
    assert (200, row_id, after) == (said.status, said.body["transaction"]["id"], pick(said.body["transaction"], after))
    undone = await api.post(f"/acts/{said.body['actId']}/undo")
    assert (200, [row_id]) == (undone.status, undone.body["transactionIds"])
    row = (await api.get(f"/transactions/{row_id}")).body["transaction"]
    assert before == pick(row, before)
    again = await api.post(f"/acts/{said.body['actId']}/undo")
    assert (409, "act_refused") == (again.status, again.body["code"])


@pytest.mark.parametrize("case", OPPOSITES)
async def test_an_act_has_its_opposite(api: Person, feed: Stored, case: str) -> None:
    """What was done can be done the other way round, as an act of its own."""
    row_id, path, body, _, before = ACTS[case]
    first = await api.post(f"/transactions/{row_id}/{path}", body)
    opposite, body = OPPOSITES[case]
    second = await api.post(f"/transactions/{row_id}/{opposite}", body)
    assert (200, before) == (second.status, pick(second.body["transaction"], before))
    assert second.body["actId"] > first.body["actId"]


async def test_a_match_is_undone(api: Person, feed: Stored, superuser: asyncpg.Connection) -> None:
    """The pending row leaves view, and what it was matched with stands alone."""
    said = await api.post(f"/transactions/{LUIGI}/undo-match")
    assert (200, "removed") == (said.status, said.body["transaction"]["status"])
    assert 1 == await superuser.fetchval(
        "SELECT count(*) FROM transactions WHERE description = 'LUIGI TRATTORIA NYC' AND state = 'active'"
    )


async def test_what_does_not_fit_is_refused(api: Person, feed: Stored) -> None:
    """A merge with itself, parts that do not add up, an entry that another row has: 409, and nothing is written."""
    await api.post(f"/transactions/{DENTIST}/link", {"entry": "L1"})
    for row_id, path, body in (
        (LUIGI, "merge", {"into": LUIGI}),
        (LUIGI, "split", {"amounts": ["-20.00", "-4.01"]}),
        (LUIGI, "link", {"entry": "L1"}),
        (LUIGI, "confirm-shadow", None),
        (KIOSK, "undo-match", None),
    ):
        said = await api.post(f"/transactions/{row_id}/{path}", body)
        assert (409, "act_refused") == (said.status, said.body["code"]), path
    assert 1 == len((await api.get("/acts")).body["acts"])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("link", {"entry": ""}, "entry"),
        ("link", {"entry": "   "}, "entry"),
        ("link", {"entry": "L\u00001"}, "entry"),
        ("link", {"entry": "L" * 129}, "entry"),
        ("link", {}, "entry"),
        ("merge", {"into": 0}, "into"),
        ("merge", {"into": 2**63}, "into"),
        ("split", {"amounts": ["-24.00"]}, "amounts"),
        ("split", {"amounts": ["-0.01"] * 101}, "amounts"),
        ("split", {"amounts": ["-20.001", "-3.999"]}, "amounts"),
        ("split", {"amounts": ["1" * 19, "-1"]}, "amounts[0]"),
        ("split", {"amounts": ["1e3", "-1"]}, "amounts[0]"),
        ("split", {"amounts": ["NaN", "-1"]}, "amounts[0]"),
        ("split", {"amounts": [-20.0, -4.0]}, "amounts[0]"),
    ],
)
async def test_what_cannot_be_is_named(api: Person, feed: Stored, path: str, body: dict[str, Any], field: str) -> None:
    """A value out of range, too many or too few, an amount that is no decimal string: 422 naming the field."""
    said = await api.post(f"/transactions/{LUIGI}/{path}", body)
    assert (422, field) == (said.status, said.body["field"])


async def test_parts_have_the_decimals_of_the_currency(api: Person, feed: Stored) -> None:
    """A yen has none."""
    await play_steps(feed, SECOND_ACCOUNT)
    said = await api.post(f"/transactions/{OTHER}/split", {"amounts": ["-499.50", "-0.50"]})
    assert (422, "amounts") == (said.status, said.body["field"])
    said = await api.post(f"/transactions/{OTHER}/split", {"amounts": ["-499", "-1.0"]})
    assert ["-499", "-1"] == said.body["transaction"]["splitInto"]


# ------------------------------------------------------------------------------------------------ many at once


async def test_many_are_reconciled_at_once(api: Person, feed: Stored, superuser: asyncpg.Connection) -> None:
    """One act for each sub-account, which is undone as one."""
    await play_steps(feed, SECOND_ACCOUNT)
    said = await api.post("/transactions/reconcile", {"transactionIds": [OTHER, KIOSK, LUIGI, LUIGI]})
    assert (200, [LUIGI, KIOSK, OTHER]) == (said.status, said.body["transactionIds"])
    assert 2 == len(said.body["actIds"])
    locked = "SELECT array_agg(id ORDER BY id) FROM transactions WHERE reconciled_at IS NOT NULL"
    assert [LUIGI, KIOSK, OTHER] == await superuser.fetchval(locked)
    undone = await api.post(f"/acts/{said.body['actIds'][0]}/undo")
    assert [LUIGI, KIOSK] == undone.body["transactionIds"]
    assert [OTHER] == await superuser.fetchval(locked)


@pytest.mark.parametrize(("stray", "status"), [(999, 404), (BILL, 409)])
async def test_all_are_reconciled_or_none(
    api: Person, feed: Stored, superuser: asyncpg.Connection, stray: int, status: int
) -> None:
    """One that is not there, or that does not fit, refuses them all."""
    await play_steps(feed, SECOND_ACCOUNT)
    await api.post(f"/transactions/{BILL}/merge", {"into": DENTIST})
    said = await api.post("/transactions/reconcile", {"transactionIds": [LUIGI, OTHER, stray]})
    assert status == said.status
    assert 0 == await superuser.fetchval("SELECT count(*) FROM transactions WHERE reconciled_at IS NOT NULL")
    assert 1 == await superuser.fetchval("SELECT count(*) FROM acts")


@pytest.mark.parametrize("ids", [[], list(range(1, 502)), [0], ["x"]])
async def test_how_many_at_once_is_bounded(api: Person, ids: list[Any]) -> None:
    """One to 500."""
    assert 422 == (await api.post("/transactions/reconcile", {"transactionIds": ids})).status


async def test_many_who_reconcile_at_once_end_one_after_the_other(api: Person, feed: Stored) -> None:
    """Whatever the order in which they name rows of several accounts, nobody waits in a ring."""
    await play_steps(feed, SECOND_ACCOUNT)
    orders = ([LUIGI, OTHER], [OTHER, LUIGI]) * 4
    said = await asyncio.gather(*(api.post("/transactions/reconcile", {"transactionIds": ids}) for ids in orders))
    assert [200] * 8 == [each.status for each in said]


async def test_accounts_are_locked_by_id_and_counters_by_client(
    api: Person, feed: Stored, superuser: asyncpg.Connection
) -> None:
    """Where a later client has the earlier account, its counter is taken last all the same."""
    await play_steps(feed, SECOND_ACCOUNT)
    later = await superuser.fetchval(
        "INSERT INTO clients (customer_id, username, name) VALUES ($1, 'later', 'Later') RETURNING id", api.customer_id
    )
    await superuser.execute("INSERT INTO change_counters VALUES ($1, $2, 100)", api.customer_id, later)
    await superuser.execute("UPDATE accounts SET client_id = $1 WHERE id = (SELECT min(id) FROM accounts)", later)
    await superuser.execute("UPDATE transactions SET client_id = $1 WHERE id < $2", later, OTHER)
    said = await api.post("/transactions/reconcile", {"transactionIds": [LUIGI, OTHER]})
    rows = await superuser.fetch(
        "SELECT c.client_id FROM acts a JOIN accounts c ON c.id = a.account_id WHERE a.id = ANY ($1) ORDER BY a.id",
        said.body["actIds"],
    )
    assert [api.client_id, later] == [row["client_id"] for row in rows]


# ------------------------------------------------------------------------------------------------ the list


async def test_acts_are_listed_newest_first(api: Person, feed: Stored) -> None:
    """With what they did, who did it, and which act took them back; in pages that neither skip nor repeat."""
    linked = (await api.post(f"/transactions/{LUIGI}/link", {"entry": "L1"})).body["actId"]
    merged = (await api.post(f"/transactions/{BILL}/merge", {"into": DENTIST})).body["actId"]
    undone = (await api.post(f"/acts/{linked}/undo")).body["actId"]
    found = (await api.get("/acts")).body["acts"]
    assert [undone, merged, linked] == [row["id"] for row in found]
    assert [linked, None, None] == [row["undid"] for row in found]
    assert [None, None, undone] == [row["undoneBy"] for row in found]
    assert ("link", [LUIGI], "L1", f"user:{api.user_id}") == tuple(
        found[2][name] for name in ("kind", "transactionIds", "entry", "actor")
    )
    first = await api.get("/acts", limit=2)
    assert [undone, merged] == [row["id"] for row in first.body["acts"]]
    second = await api.get("/acts", limit=2, cursor=first.body["nextCursor"])
    assert ([linked], None) == ([row["id"] for row in second.body["acts"]], second.body["nextCursor"])


async def test_acts_of_one(api: Person, feed: Stored) -> None:
    """Of a client, of a sub-account, of a transaction; one that changed nothing names what it was about."""
    await play_steps(feed, SECOND_ACCOUNT)
    merged = (await api.post(f"/transactions/{BILL}/merge", {"into": DENTIST})).body
    apart = (await api.post(f"/transactions/{OTHER}/unlink", {"entry": "L9"})).body
    every = (await api.get("/acts", clientId=api.client_id)).body["acts"]
    assert [(apart["actId"], [OTHER]), (merged["actId"], [DENTIST, BILL])] == [
        (row["id"], row["transactionIds"]) for row in every
    ]
    for query in ({"subAccountId": merged["transaction"]["subAccountId"]}, {"transactionId": BILL}):
        assert [merged["actId"]] == [row["id"] for row in (await api.get("/acts", **query)).body["acts"]]


async def test_a_machine_acts_in_its_own_name(api: Person, feed: Stored, superuser: asyncpg.Connection) -> None:
    """An act names the key that did it."""
    key = await make_key(api, "transactions:write")
    said = await key.post(f"/transactions/{LUIGI}/reconcile")
    assert 200 == said.status
    assert await superuser.fetchval("SELECT actor ~ '^key:[0-9]+$' FROM acts")


# ------------------------------------------------------------------------------------------------ whose


@pytest.mark.parametrize("path", [*PATHS, "confirm-shadow", "reject-shadow", "undo-match"])
async def test_anothers_transaction_is_not_there(api: Person, other: Person, feed: Stored, path: str) -> None:
    """An act on a row of another customer is 404, as on one that there is not."""
    for row_id in (BILL, 999):
        said = await other.post(f"/transactions/{row_id}/{path}", BODIES.get(path))
        assert (404, "not_found") == (said.status, said.body["code"])


async def test_anothers_acts_are_not_there(api: Person, other: Person, feed: Stored) -> None:
    """Neither to list, nor to take back, nor by whose they are."""
    act = (await api.post(f"/transactions/{LUIGI}/reconcile")).body
    assert 404 == (await other.post(f"/acts/{act['actId']}/undo")).status
    assert 404 == (await other.post("/transactions/reconcile", {"transactionIds": [LUIGI]})).status
    assert [] == (await other.get("/acts")).body["acts"]
    for query in (
        {"clientId": api.client_id},
        {"transactionId": LUIGI},
        {"subAccountId": act["transaction"]["subAccountId"]},
    ):
        assert 404 == (await other.get("/acts", **query)).status


@pytest.mark.parametrize("gone", ["clients", "accounts"])
async def test_what_was_deleted_is_not_there(
    api: Person, feed: Stored, superuser: asyncpg.Connection, gone: str
) -> None:
    """Rows of a deleted client, or of a deleted sub-account, cannot be acted on, and its acts are in no list."""
    act_id = (await api.post(f"/transactions/{LUIGI}/reconcile")).body["actId"]
    erase = ", erase_at = now()" if gone == "clients" else ""
    await superuser.execute(f"UPDATE {gone} SET deleted_at = now(){erase}")  # noqa: S608 - a word of this test
    assert 404 == (await api.post(f"/transactions/{LUIGI}/unreconcile")).status
    assert 404 == (await api.post(f"/acts/{act_id}/undo")).status
    assert 404 == (await api.post("/transactions/reconcile", {"transactionIds": [LUIGI]})).status
    assert 404 == (await api.get("/acts", transactionId=LUIGI)).status
    assert [] == (await api.get("/acts")).body["acts"]


async def test_a_reader_does_nothing(reader: Person, feed: Stored) -> None:
    """Who may only look sees the acts, and cannot act."""
    assert 403 == (await reader.post(f"/transactions/{LUIGI}/reconcile")).status
    assert 403 == (await reader.post("/transactions/reconcile", {"transactionIds": [LUIGI]})).status
    assert 200 == (await reader.get("/acts")).status
