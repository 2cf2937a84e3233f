"""Clients over the API: added, found, changed, locked, deleted and restored; and what is still to go at the aggregator."""

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from bankfeed.db.connection import upsert_connection
from bankfeed.model import ClientId
from tests.ingress.api.conftest import Person, Said, make_key

NEW = {
    "username": "acme",
    "name": "Acme Ltd",
    "email": "office@acme.example",
    "phone": "+1 555 0100",
    "preferences": {"colour": "green", "copies": 2, "rate": 1.5, "isVip": True, "note": None},
}
NONE_LINKED = {"bankAccounts": 0, "subAccounts": 0, "bankAccountsWithErrors": 0}


async def add(api: Person, **changes: Any) -> dict[str, Any]:
    said = await api.post("/clients", NEW | changes)
    assert 201 == said.status, said.text
    client: dict[str, Any] = said.body["client"]
    return client


async def usernames(api: Person, **query: Any) -> list[str]:
    said = await api.get("/clients", **query)
    assert 200 == said.status, said.text
    return [each["username"] for each in said.body["clients"]]


def refusal(said: Said) -> tuple[int, str | None, str | None]:
    return said.status, said.body.get("code"), said.body.get("field")


async def make_linked(api: Person, superuser: asyncpg.Connection, client_id: int, *states: str) -> list[int]:
    """Make a connection in each state with two open accounts and a closed one; return the ids."""
    ids: list[int] = []
    for number, state in enumerate(states):
        async with api.database.tenant(api.customer_id) as conn:
            connection_id = await upsert_connection(
                conn,
                api.customer_id,
                ClientId(client_id),
                source_id=api.sources.finicity,
                login_ref=f"{client_id}-{number}",
            )
        await superuser.execute("UPDATE connections SET state = $2 WHERE id = $1", connection_id, state)
        await superuser.execute(
            """
            INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, type, currency,
                                  state, closed_at)
            SELECT customer_id, client_id, id, source_id, id || '-' || n, 'Checking', 'checking', 'USD',
                   CASE n WHEN 3 THEN 'closed'::account_state ELSE 'open' END, CASE n WHEN 3 THEN now() END
            FROM connections, generate_series(1, 3) AS n WHERE id = $1
            """,
            connection_id,
        )
        ids.append(connection_id)
    return ids


# ------------------------------------------------------------------------------------------------ adding, changing


async def test_a_client_is_added_as_given(api: Person) -> None:
    """It comes back as it was given, with nothing linked, and is found under its id."""
    client = await add(api)
    assert NEW | NONE_LINKED | {"isLocked": False, "lockedAt": None, "version": 1} == {
        name: value for name, value in client.items() if name not in ("id", "createdAt")
    }
    shown = await api.get(f"/clients/{client['id']}")
    assert client == shown.body["client"]
    assert '"1"' == shown.headers["ETag"]


async def test_only_a_username_and_a_name_are_needed(api: Person) -> None:
    """What is not given is empty."""
    said = await api.post("/clients", {"username": "short", "name": "Short"})
    client = said.body["client"]
    assert ("", "", {}) == (client["email"], client["phone"], client["preferences"])


async def test_a_username_is_one_clients(api: Person, other: Person) -> None:
    """Another client's is 409 on the field, also when changed or restored; another customer may have it."""
    first, second = await add(api), await add(api, username="second")
    assert (409, "conflict", "username") == refusal(await api.post("/clients", NEW))
    assert (409, "conflict", "username") == refusal(await api.patch(f"/clients/{second['id']}", {"username": "acme"}))
    await add(other)
    assert 202 == (await api.delete(f"/clients/{first['id']}")).status
    await add(api)
    assert (409, "conflict", "username") == refusal(await api.post(f"/clients/{first['id']}/restore"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", "with blank"),
        ("username", "x" * 201),
        ("name", "  "),
        ("name", "a\x00b"),
        ("email", "nobody"),
        ("phone", "5" * 51),
        ("preferences", []),
        ("preferences", {"deep": {"er": 1}}),
        ("preferences", {"": 1}),
        ("preferences", {"n": 10**16}),
        ("preferences", {f"key {n}": n for n in range(51)}),
        ("preferences", {f"key {n}": "x" * 1_000 for n in range(5)}),
    ],
)
async def test_what_does_not_fit_is_named(api: Person, field: str, value: Any) -> None:
    """422 with the field, and nothing is added."""
    said = await api.post("/clients", NEW | {field: value})
    assert (422, field) == (said.status, str(said.body["field"]).split(".")[0].split("[")[0])
    assert "acme" not in await usernames(api)


async def test_only_what_is_given_changes(api: Person) -> None:
    """A field that is left out stays; preferences are replaced as a whole; the version goes up."""
    client = await add(api)
    said = await api.patch(f"/clients/{client['id']}", {"phone": "", "preferences": {"colour": "red"}})
    assert client | {"phone": "", "preferences": {"colour": "red"}, "version": 2} == said.body["client"]
    assert '"2"' == said.headers["ETag"]


async def test_no_update_is_lost(api: Person) -> None:
    """A change of a version that is not the latest is 409, by the body or by If-Match; nothing changes then."""
    path = f"/clients/{(await add(api))['id']}"
    assert 200 == (await api.patch(path, {"name": "One", "version": 1})).status
    assert (409, "version_conflict") == refusal(await api.patch(path, {"name": "Two", "version": 1}))[:2]
    assert 409 == (await api.patch(path, {"name": "Three"}, headers={"If-Match": '"1"'})).status
    assert 200 == (await api.patch(path, {"name": "Four"}, headers={"If-Match": '"2"'})).status
    client = (await api.get(path)).body["client"]
    assert ("Four", 3) == (client["name"], client["version"])


async def test_a_repeated_post_adds_one(api: Person) -> None:
    """With the same Idempotency-Key the first answer comes again."""
    said = [await api.post("/clients", NEW, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [201, 201] == [each.status for each in said]
    assert said[0].body == said[1].body


# ------------------------------------------------------------------------------------------------ listing


async def test_clients_are_searched(api: Person, other: Person) -> None:
    """By a part of name, username or e-mail, in any case; signs of a pattern are only themselves; one's own only."""
    await add(api)
    await add(api, username="b%b", name="Baker", email="b@baker.example")
    await add(other, username="acme2")
    for text, found in (("ACME", ["acme"]), ("aker", ["b%b"]), ("@baker", ["b%b"]), ("%", ["b%b"]), ("_", [])):
        assert found == await usernames(api, search=text)
    assert ["acme"] == await usernames(api, username="acme")
    assert [] == await usernames(api, username="acm")
    assert [] == await usernames(api, username="acme2")


async def test_pages_follow_each_other(api: Person) -> None:
    """Each client is on one page, also when one is added meanwhile; the last page has no next one."""
    for number in range(4):
        await add(api, username=f"c{number}")
    first = await api.get("/clients", limit=2)
    await add(api, username="c4")
    second = await api.get("/clients", limit=2, cursor=first.body["nextCursor"])
    third = await api.get("/clients", limit=2, cursor=second.body["nextCursor"])
    found = [each["username"] for page in (first, second, third) for each in page.body["clients"]]
    assert ["c0", "c1", "c2", "c3", "c4"] == found[1:]
    assert third.body["nextCursor"] is None
    assert 422 == (await api.get("/clients", cursor="nonsense!")).status


async def test_what_is_linked_is_counted(api: Person, superuser: asyncpg.Connection) -> None:
    """Open logins, their open accounts and the logins with errors; of each client on the page its own."""
    one, two = await add(api), await add(api, username="two")
    await make_linked(api, superuser, one["id"], "active", "needs_person", "waiting", "unsupported", "closed")
    await make_linked(api, superuser, two["id"], "active")
    listed = {each["username"]: each for each in (await api.get("/clients")).body["clients"]}
    for name, counts in (("acme", (4, 10, 3)), ("two", (1, 2, 0))):
        assert counts == tuple(listed[name][count] for count in NONE_LINKED)
    shown = (await api.get(f"/clients/{one['id']}")).body["client"]
    assert listed["acme"] == shown


# ------------------------------------------------------------------------------------------------ locking


async def test_a_client_is_locked_and_unlocked(api: Person) -> None:
    """Each is safe to repeat, and is a new version once; a locked client can be read and changed."""
    path = f"/clients/{(await add(api))['id']}"
    for _ in range(2):
        locked = (await api.post(f"{path}/lock")).body["client"]
        assert (True, 2) == (locked["isLocked"], locked["version"])
    assert 200 == (await api.patch(path, {"name": "Other"})).status
    for _ in range(2):
        unlocked = (await api.post(f"{path}/unlock")).body["client"]
        assert (False, None, 4) == (unlocked["isLocked"], unlocked["lockedAt"], unlocked["version"])


# ------------------------------------------------------------------------------------------------ deleting


async def test_a_deleted_client_is_out_of_every_answer(api: Person, superuser: asyncpg.Connection) -> None:
    """It, and what it had linked, are not found from then on; when it will be erased is said."""
    client = await add(api)
    (connection_id,) = await make_linked(api, superuser, client["id"], "active")
    path = f"/clients/{client['id']}"
    said = await api.delete(path)
    assert 202 == said.status
    deleted_at, erase_at = (datetime.fromisoformat(said.body["client"][name]) for name in ("deletedAt", "eraseAt"))
    assert timedelta(days=30) == erase_at - deleted_at
    assert "acme" not in await usernames(api)
    for method, below in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/lock"),
        ("POST", "/unlock"),
    ):
        body: dict[str, str] | None = {} if method == "PATCH" else None
        assert 404 == (await api.ask(method, path + below, body)).status, (method, below)
    row = await superuser.fetchrow("SELECT state::text, deleted_at FROM connections WHERE id = $1", connection_id)
    assert ("closed", deleted_at) == tuple(row)


async def test_a_client_is_restored_until_its_time_has_come(api: Person, superuser: asyncpg.Connection) -> None:
    """It comes back with all that it was; after eraseAt, and for one that is not deleted, there is nothing to restore."""
    client = await add(api)
    path = f"/clients/{client['id']}"
    assert 404 == (await api.post(f"{path}/restore")).status
    await api.delete(path)
    restored = await api.post(f"{path}/restore")
    assert client | {"version": 3} == restored.body["client"]
    await api.delete(path)
    await superuser.execute("UPDATE clients SET erase_at = now() WHERE id = $1", client["id"])
    assert 404 == (await api.post(f"{path}/restore")).status


async def test_removals_are_listed(api: Person, other: Person, superuser: asyncpg.Connection) -> None:
    """The latest first, by client and by state; one that was given up has its reason; one's own only."""
    path = f"/clients/{api.client_id}"
    (connection_id, _) = await make_linked(api, superuser, api.client_id, "active", "active")
    assert connection_id
    await api.delete(path)
    said = await api.get("/removals")
    (removal,) = said.body["removals"]
    assert ("customer", "waiting", 0, api.client_id) == tuple(
        removal[name] for name in ("kind", "state", "tries", "clientId")
    )
    assert removal["dueAt"] is not None
    await superuser.execute("UPDATE removals SET state = 'given_up', finished_at = now(), tries = 30, reason = 'no'")
    (given_up,) = (await api.get("/removals", state="given_up", clientId=api.client_id)).body["removals"]
    assert ("no", 30, None) == (given_up["reason"], given_up["tries"], given_up["dueAt"])
    assert [] == (await api.get("/removals", state="waiting")).body["removals"]
    assert [] == (await other.get("/removals")).body["removals"]


# ------------------------------------------------------------------------------------------------ who may


async def test_another_customers_client_is_not_found(api: Person, other: Person) -> None:
    """Every route answers 404 for an id of another customer, and changes nothing."""
    client = await add(api)
    path = f"/clients/{client['id']}"
    for method, below in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/lock"),
        ("POST", "/unlock"),
        ("POST", "/restore"),
    ):
        body = {"name": "Mine"} if method == "PATCH" else None
        assert 404 == (await other.ask(method, path + below, body)).status, (method, below)
    assert client == (await api.get(path)).body["client"]


async def test_readers_only_look(api: Person, reader: Person, employee: Person) -> None:
    """A reader lists and is refused the rest; an employee may do all of it; a key what it was made for."""
    path = f"/clients/{(await add(api))['id']}"
    assert 200 == (await reader.get(path)).status
    key = await make_key(api, "clients:read")
    for caller in (reader, key):
        assert 200 == (await caller.get("/clients")).status
        for method, below in (("PATCH", ""), ("DELETE", ""), ("POST", "/lock"), ("POST", "/restore")):
            body = {"name": "Mine"} if method == "PATCH" else None
            assert 403 == (await caller.ask(method, path + below, body)).status, (method, below)
    assert 403 == (await key.get("/removals")).status
    assert 202 == (await employee.delete(path)).status


async def test_what_is_done_is_in_the_audit_log(api: Person) -> None:
    """Adding and deleting a client leave a line that names it by its id, and the line stays."""
    client = await add(api)
    await api.delete(f"/clients/{client['id']}")
    lines = (await api.get("/audit")).body["lines"]
    done = {(line["action"], line["target"]) for line in lines}
    assert {("addClient", f"clientId={client['id']}"), ("deleteClient", f"clientId={client['id']}")} <= done
