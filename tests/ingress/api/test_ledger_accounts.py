"""The chart of accounts: one by one, from CSV, in versions, archived; and nobody else's."""

import asyncio
from typing import Any

import pytest

from tests.ingress.api.books import CSV, Ledger, link_bank
from tests.ingress.api.conftest import Person


async def add(api: Person, code: str = "6100", **more: Any) -> dict[str, Any]:
    said = await api.post("/ledger-accounts", {"clientId": api.client_id, "code": code, "name": "Meals", **more})
    assert 201 == said.status, said.body
    added: dict[str, Any] = said.body["ledgerAccount"]
    return added


async def import_csv(api: Person, text: str) -> Any:
    return await api.post("/ledger-accounts/import", {"clientId": api.client_id, "csv": text})


async def test_add_and_read(api: Person) -> None:
    """What was added is answered, listed and read alike; the same code again is in the way."""
    added = await add(api, kind="income")
    assert ("6100", "Meals", "income", None, 1) == tuple(
        added[name] for name in ("code", "name", "kind", "archivedAt", "version")
    )
    said = await api.get(f"/ledger-accounts/{added['id']}")
    assert (added, '"1"') == (said.body["ledgerAccount"], said.headers["ETag"])
    assert [added] == (await api.get("/ledger-accounts", clientId=api.client_id)).body["ledgerAccounts"]
    again = await api.post("/ledger-accounts", {"clientId": api.client_id, "code": " 6100 ", "name": "x"})
    assert (409, "conflict", "code") == (again.status, again.body["code"], again.body["field"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"code": ""}, "code"),
        ({"code": "   "}, "code"),
        ({"code": "x" * 65}, "code"),
        ({"name": "a\u0000b"}, "name"),
        ({"kind": "thing"}, "kind"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_does_not_fit_names_its_field(api: Person, body: dict[str, str], field: str) -> None:
    """422, and nothing is added."""
    said = await api.post("/ledger-accounts", {"clientId": api.client_id, "code": "1", "name": "a", **body})
    assert (422, field) == (said.status, said.body["field"])
    assert [] == (await api.get("/ledger-accounts", clientId=api.client_id)).body["ledgerAccounts"]


async def test_a_change_is_of_a_version(api: Person) -> None:
    """What is given changes, the version goes up, and an old version is refused with the present one."""
    added = await add(api)
    path = f"/ledger-accounts/{added['id']}"
    said = await api.patch(path, {"name": "Food"}, headers={"If-Match": '"1"'})
    assert ("Food", "6100", 2) == tuple(said.body["ledgerAccount"][name] for name in ("name", "code", "version"))
    late = await api.patch(path, {"kind": "asset", "version": 1})
    assert (409, "version_conflict") == (late.status, late.body["code"])
    assert 422 == (await api.patch(path, {})).status
    other = await add(api, "6200")
    taken = await api.patch(f"/ledger-accounts/{other['id']}", {"code": "6100"})
    assert (409, "act_refused") == (taken.status, taken.body["code"])


async def test_two_changes_at_once_lose_none(api: Person) -> None:
    """Of two that read the same version one is done."""
    path = f"/ledger-accounts/{(await add(api))['id']}"
    said = await asyncio.gather(*(api.patch(path, {"name": name, "version": 1}) for name in "ab"))
    assert [200, 409] == sorted(each.status for each in said)


async def test_archive_and_back(api: Person) -> None:
    """Archived once however often it is asked; listed apart."""
    path = f"/ledger-accounts/{(await add(api))['id']}"
    first = await api.post(f"{path}/archive")
    assert first.body["ledgerAccount"] == (await api.post(f"{path}/archive")).body["ledgerAccount"]
    assert first.body["ledgerAccount"]["archivedAt"] is not None
    for wanted, count in (("true", 1), ("false", 0), (None, 1)):
        said = await api.get("/ledger-accounts", clientId=api.client_id, isArchived=wanted)
        assert count == len(said.body["ledgerAccounts"])
    back = await api.post(f"{path}/unarchive")
    assert (None, 3) == (back.body["ledgerAccount"]["archivedAt"], back.body["ledgerAccount"]["version"])


async def test_what_a_sub_account_books_to_is_not_archived(api: Person) -> None:
    """The sub-account is named; set to another one, it may be."""
    ledger: Ledger = await link_bank(api)
    await ledger.pull("a1 active 01 -9.00 BAKERY")
    await ledger.set_up()
    path = f"/ledger-accounts/{ledger.accounts['1000']}/archive"
    said = await api.post(path)
    assert (409, "conflict") == (said.status, said.body["code"])
    assert str(ledger.sub_account_id) in said.body["message"]
    await api.patch(f"/sub-accounts/{ledger.sub_account_id}", {"ledgerAccountId": None})
    assert 200 == (await api.post(path)).status


async def test_an_import_again_changes_nothing(api: Person) -> None:
    """Added, then unchanged, then what differs is brought up to date; archived ones stay so."""
    texts = (CSV, CSV, CSV.replace("Meals", "Food") + "7000,Fees,expense\n")
    counts = [(await import_csv(api, text)).body["imported"] for text in texts]
    assert [(3, 0, 0), (0, 0, 3), (1, 1, 2)] == [(each["added"], each["updated"], each["unchanged"]) for each in counts]
    listed = (await api.get("/ledger-accounts", clientId=api.client_id)).body["ledgerAccounts"]
    assert [("1000", 1), ("6100", 2), ("6200", 1), ("7000", 1)] == [(row["code"], row["version"]) for row in listed]
    await api.post(f"/ledger-accounts/{listed[0]['id']}/archive")
    await import_csv(api, CSV.replace("Checking", "Bank"))
    said = await api.get(f"/ledger-accounts/{listed[0]['id']}")
    assert "Bank" == said.body["ledgerAccount"]["name"]
    assert said.body["ledgerAccount"]["archivedAt"] is not None


async def test_an_import_is_all_or_nothing(api: Person) -> None:
    """A wrong kind in the last line is named with line and column, and the lines before it are not there."""
    said = await import_csv(api, CSV + "8000,Odd,thing\n")
    assert (422, "csv") == (said.status, said.body["field"])
    assert said.body["message"].startswith("line 5, column kind: ")
    assert [] == (await api.get("/ledger-accounts", clientId=api.client_id)).body["ledgerAccounts"]


async def test_pages_by_code(api: Person) -> None:
    """Every ledger account once, in order of code, with a row that comes in between."""
    await import_csv(api, "code,name,kind\n" + "".join(f"{n:02},a,asset\n" for n in range(7)))
    first = await api.get("/ledger-accounts", clientId=api.client_id, limit=3)
    await add(api, "03a")
    codes = [row["code"] for row in first.body["ledgerAccounts"]]
    cursor = first.body["nextCursor"]
    while cursor:
        said = await api.get("/ledger-accounts", clientId=api.client_id, limit=3, cursor=cursor)
        codes += [row["code"] for row in said.body["ledgerAccounts"]]
        cursor = said.body["nextCursor"]
    assert ["00", "01", "02", "03", "03a", "04", "05", "06"] == codes
    assert 422 == (await api.get("/ledger-accounts", clientId=api.client_id, cursor="WzFd")).status


async def test_others_have_none_of_it(api: Person, other: Person, reader: Person) -> None:
    """Another customer's is 404 whatever is asked of it; who may only look does."""
    path = f"/ledger-accounts/{(await add(api))['id']}"
    assert [404, 404, 404, 404] == [
        (await other.get(path)).status,
        (await other.patch(path, {"name": "x"})).status,
        (await other.post(f"{path}/archive")).status,
        (await other.get("/ledger-accounts", clientId=api.client_id)).status,
    ]
    for body in ({"code": "1", "name": "x"}, {"csv": CSV}):
        where = "/ledger-accounts" + ("/import" if "csv" in body else "")
        assert 404 == (await other.post(where, {"clientId": api.client_id, **body})).status
    assert 200 == (await reader.get(path)).status
    assert 403 == (await reader.patch(path, {"name": "x"})).status
