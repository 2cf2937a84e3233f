"""API keys: what a machine gets, and what it never can."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from ingress.api.caller import GRANTABLE
from tests.ingress.api.conftest import Person

NEW = {"name": "nightly export", "scopes": ["transactions:read", "clients:read"]}


async def make(api: Person, **changes: Any) -> dict[str, Any]:
    answer = await api.post("/keys", NEW | changes)
    assert 201 == answer.status
    return answer.body


async def test_a_key_is_shown_once(api: Person, superuser: asyncpg.Connection) -> None:
    """The answer holds the key, of which the hash and the last four characters are kept."""
    made = await make(api)
    secret, key = made["secret"], made["key"]
    assert ("bfk_sandbox_", 43) == (secret[:12], len(secret) - 12)
    assert (secret[-4:], ["clients:read", "transactions:read"], api.user_id, None) == (
        key["hint"],
        key["scopes"],
        key["createdBy"],
        key["lastUsedAt"],
    )
    assert sha256(secret.encode()).digest() == await superuser.fetchval("SELECT key_sha256 FROM api_keys")
    listed = await api.get("/keys")
    assert [key] == listed.body["keys"]
    assert secret not in listed.text
    assert f"keyId={key['id']}" == await superuser.fetchval("SELECT target FROM audit_log WHERE action = 'makeKey'")


async def test_a_key_acts_within_its_scopes(api: Person, superuser: asyncpg.Connection) -> None:
    """What it was not made for is 403; that it was used is seen to the minute."""
    made = await make(api)
    machine = api.with_token(made["secret"])
    assert 403 == (await machine.get("/users")).status
    [key] = (await api.get("/keys")).body["keys"]
    assert key["lastUsedAt"] is None  # what was refused is rolled back
    async with api.database.app() as conn:
        found = await conn.fetchrow("SELECT key_id, scopes FROM enter($1)", sha256(made["secret"].encode()).digest())
    assert (key["id"], key["scopes"]) == tuple(found)
    [key] = (await api.get("/keys")).body["keys"]
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(key["lastUsedAt"]) < timedelta(minutes=1)


@pytest.mark.parametrize("scope", ["people:read", "people:write", "audit:read", "self", "everything"])
async def test_a_key_governs_nobody(api: Person, scope: str) -> None:
    """People, keys, the audit log and one's own session are not for machines."""
    answer = await api.post("/keys", NEW | {"scopes": ["clients:read", scope]})
    assert (422, "invalid") == (answer.status, answer.body["code"])
    assert answer.body["field"].startswith("scopes")


async def test_every_other_scope_can_be_granted(api: Person) -> None:
    """Each scope that a key may have is taken, once however often it is named."""
    made = await make(api, scopes=[*GRANTABLE, *GRANTABLE])
    assert sorted(GRANTABLE) == made["key"]["scopes"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"scopes": []}, "scopes"), ({"name": " "}, "name"), ({"expiresAt": "2027-01-01T00:00:00"}, "expiresAt")],
)
async def test_what_does_not_fit_names_its_field(api: Person, changes: dict[str, Any], field: str) -> None:
    """A key without scopes or name, or with a time without zone, is refused."""
    answer = await api.post("/keys", NEW | changes)
    assert (422, field) == (answer.status, answer.body["field"])


async def test_a_key_may_end(api: Person, superuser: asyncpg.Connection) -> None:
    """It counts until its time, which has to be one to come; afterwards it is listed and counts no more."""
    late = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    answer = await api.post("/keys", NEW | {"expiresAt": late})
    assert (422, "expiresAt") == (answer.status, answer.body["field"])
    made = await make(api, expiresAt=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    machine = api.with_token(made["secret"])
    assert 403 == (await machine.get("/users")).status
    await superuser.execute("UPDATE api_keys SET expires_at = now()")
    assert 401 == (await machine.get("/users")).status
    assert 1 == len((await api.get("/keys")).body["keys"])


async def test_a_revoked_key_counts_no_more(api: Person, other: Person) -> None:
    """From the next request on; revoking again is 404, and so is another firm's key."""
    made = await make(api)
    machine = api.with_token(made["secret"])
    path = f"/keys/{made['key']['id']}"
    assert 404 == (await other.delete(path)).status
    assert 403 == (await machine.get("/users")).status
    assert [200, 404] == [(await api.delete(path)).status for _ in range(2)]
    assert 401 == (await machine.get("/users")).status
    assert [] == (await api.get("/keys")).body["keys"]


async def test_keys_are_listed_page_by_page(api: Person, other: Person) -> None:
    """By id, one's own firm's alone."""
    ids = [(await make(api, name=str(number)))["key"]["id"] for number in range(3)]
    first = await api.get("/keys", limit=2)
    second = await api.get("/keys", limit=2, cursor=first.body["nextCursor"])
    assert [ids[:2], ids[2:]] == [[key["id"] for key in page.body["keys"]] for page in (first, second)]
    assert second.body["nextCursor"] is None
    assert [] == (await other.get("/keys")).body["keys"]
