"""The people of a customer: inviting, roles, locking, deleting, and the last owner."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import pytest

from tests.ingress.api.conftest import Person, Said, make_key, sign_in

NEW = {"email": "Bob@Firm.example", "name": "Bob", "role": "employee"}


async def invite(api: Person, **changes: str) -> dict[str, Any]:
    answer = await api.post("/users", NEW | changes)
    assert 201 == answer.status
    return answer.body


def refusal(answer: Said) -> tuple[int, str, str | None]:
    return answer.status, answer.body["code"], answer.body.get("field")


async def test_an_invitation_is_shown_once_and_lasts_a_week(api: Person, superuser: asyncpg.Connection) -> None:
    """The answer holds the token, of which only the hash is kept, and the person without a password."""
    made = await invite(api)
    user, invitation = made["user"], made["invitation"]
    assert ("bob@firm.example", "Bob", "employee", "invited", 1) == tuple(
        user[name] for name in ("email", "name", "role", "status", "version")
    )
    left = datetime.fromisoformat(invitation["expiresAt"]) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert invitation["token"].startswith("bfi_sandbox_")
    row = await superuser.fetchrow("SELECT invite_sha256, password_hash FROM users WHERE id = $1", user["id"])
    assert (sha256(invitation["token"].encode()).digest(), None) == tuple(row)
    assert invitation["token"] not in (await api.get("/users")).text
    line = await superuser.fetchrow("SELECT action, target FROM audit_log")
    assert ("inviteUser", f"userId={user['id']}") == tuple(line)


async def test_an_address_is_one_person_of_the_deployment(api: Person, other: Person) -> None:
    """An address that anybody has cannot be invited, and the answer does not say whose it is."""
    await invite(api)
    here, there = await api.post("/users", NEW), await other.post("/users", NEW)
    assert (409, "conflict", "email") == refusal(here) == refusal(there)
    assert here.body["message"] == there.body["message"]
    assert (422, "invalid", "email") == refusal(await api.post("/users", NEW | {"email": "bob"}))
    assert (422, "invalid", "role") == refusal(await api.post("/users", NEW | {"role": "king"}))


async def test_people_are_listed_page_by_page(api: Person, other: Person) -> None:
    """By id, each once, of one's own firm alone, and one by one."""
    for number in range(4):
        await invite(api, email=f"p{number}@firm.example")
    seen, cursor = [], None
    while True:
        page = await api.get("/users", limit=2, cursor=cursor)
        seen += [user["id"] for user in page.body["users"]]
        cursor = page.body["nextCursor"]
        if cursor is None:
            break
        assert 'rel="next"' in page.headers["Link"]
    assert sorted(set(seen)) == seen
    assert 5 == len(seen)
    assert seen[1] == (await api.get(f"/users/{seen[1]}")).body["user"]["id"]
    assert other.user_id not in seen
    assert 422 == (await api.get("/users", cursor="WzFd")).status


async def test_name_and_role_change_and_nothing_else(api: Person, employee: Person) -> None:
    """What is given changes, the rest stays; the role counts from the next request on."""
    assert 403 == (await employee.get("/users")).status
    path = f"/users/{employee.user_id}"
    answer = await api.patch(path, {"role": "owner"})
    assert (200, "owner", 2, '"2"') == (
        answer.status,
        answer.body["user"]["role"],
        answer.body["user"]["version"],
        answer.headers["ETag"],
    )
    assert 200 == (await employee.get("/users")).status
    answer = await api.patch(path, {"name": " Ann Lee "})
    assert ("Ann Lee", "owner", 3) == tuple(answer.body["user"][name] for name in ("name", "role", "version"))
    assert (400, "bad_request", None) == refusal(await api.patch(path, {}))
    assert 422 == (await api.patch(path, {"email": "x@firm.example"})).status


async def test_no_update_is_lost(api: Person, employee: Person) -> None:
    """Of two changes of one version, one is refused with the version there is."""
    path = f"/users/{employee.user_id}"
    answers = await asyncio.gather(*(api.patch(path, {"name": name, "version": 1}) for name in ("A", "B")))
    assert [200, 409] == sorted(answer.status for answer in answers)
    late = await api.patch(path, {"name": "C"}, headers={"If-Match": '"1"'})
    assert (409, "version_conflict", None) == refusal(late)
    assert "its version is 2" in late.body["message"]


async def test_a_lock_ends_all_sessions(api: Person, employee: Person) -> None:
    """Who is locked is out at once, stays out after it, and comes in again by signing in only."""
    locked = await api.post(f"/users/{employee.user_id}/lock")
    assert (200, "locked") == (locked.status, locked.body["user"]["status"])
    assert 401 == (await employee.get("/users/me")).status
    again = await api.post(f"/users/{employee.user_id}/lock")
    assert locked.body["user"]["version"] == again.body["user"]["version"]
    unlocked = await api.post(f"/users/{employee.user_id}/unlock")
    assert (200, "active") == (unlocked.status, unlocked.body["user"]["status"])
    assert 401 == (await employee.get("/users/me")).status


async def test_who_is_locked_is_not_invited(api: Person, employee: Person) -> None:
    """An invitation would be a way around the lock."""
    await api.post(f"/users/{employee.user_id}/lock")
    assert (409, "conflict", None) == refusal(await api.post(f"/users/{employee.user_id}/invite"))


async def test_a_deleted_person_is_gone_and_the_log_stays(
    api: Person, employee: Person, superuser: asyncpg.Connection
) -> None:
    """The sessions end, the address is free, what the person did stays in the log."""
    await employee.get("/users/me")
    email = (await employee.get("/users/me")).body["user"]["email"]
    assert (200, {"status": "OK"}) == ((gone := await api.delete(f"/users/{employee.user_id}")).status, gone.body)
    assert 401 == (await employee.get("/users/me")).status
    assert 404 == (await api.delete(f"/users/{employee.user_id}")).status
    assert 2 == await superuser.fetchval("SELECT count(*) FROM audit_log WHERE actor = $1", f"user:{employee.user_id}")
    await invite(api, email=email)


Act = Callable[[Person, int], Awaitable[Said]]
TAKE_AWAY: dict[str, Act] = {
    "lock": lambda api, user_id: api.post(f"/users/{user_id}/lock"),
    "demote": lambda api, user_id: api.patch(f"/users/{user_id}", {"role": "reader"}),
    "delete": lambda api, user_id: api.delete(f"/users/{user_id}"),
}


@pytest.mark.parametrize("act", TAKE_AWAY.values(), ids=TAKE_AWAY)
async def test_the_last_owner_stays(api: Person, employee: Person, superuser: asyncpg.Connection, act: Act) -> None:
    """Neither an employee, nor an owner who is locked or never came, is an owner who could go on."""
    await invite(api, role="owner")
    locked = await sign_in(api, "owner")
    assert 200 == (await api.post(f"/users/{locked.user_id}/lock")).status
    refused = await act(api, api.user_id)
    assert (409, "conflict", None) == refusal(refused)
    assert "last owner" in refused.body["message"]
    assert 200 == (await api.get("/users")).status
    await api.post(f"/users/{locked.user_id}/unlock")
    assert 200 == (await act(api, api.user_id)).status


@pytest.mark.parametrize("act", TAKE_AWAY.values(), ids=TAKE_AWAY)
async def test_two_owners_at_once_leave_one(api: Person, superuser: asyncpg.Connection, act: Act) -> None:
    """Each takes the other away at the same moment: one owner is left, every time."""
    for _ in range(5):
        one, two = await sign_in(api, "owner"), await sign_in(api, "owner")
        await superuser.execute("UPDATE users SET role = 'reader' WHERE id <> ALL ($1)", [one.user_id, two.user_id])
        answers = await asyncio.gather(act(one, two.user_id), act(two, one.user_id))
        assert 200 in [answer.status for answer in answers]
        owners = await superuser.fetchval(
            "SELECT count(*) FROM users WHERE customer_id = $1 AND role = 'owner' AND locked_at IS NULL",
            api.customer_id,
        )
        assert 1 == owners


async def test_others_people_are_not_there(api: Person, other: Person) -> None:
    """Another firm's person is 404 to whatever is asked."""
    path = f"/users/{other.user_id}"
    answers = [
        await api.get(path),
        await api.patch(path, {"name": "Mine"}),
        *[await api.post(f"{path}/{act}") for act in ("lock", "unlock", "invite")],
        await api.delete(path),
    ]
    assert {(404, "not_found", None)} == {refusal(answer) for answer in answers}
    assert 200 == (await other.get("/users/me")).status


async def test_only_an_owner_governs_people(api: Person, employee: Person, reader: Person) -> None:
    """Everybody sees who they are; the rest is an owner's, and no machine's."""
    machine = await make_key(api, "clients:read", "clients:write")
    assert ["employee", "reader"] == [
        (await person.get("/users/me")).body["user"]["role"] for person in (employee, reader)
    ]
    for person in (employee, reader, machine):
        answers = [
            await person.get("/users"),
            await person.post("/users", NEW),
            await person.post(f"/users/{api.user_id}/lock"),
            await person.get("/keys"),
            await person.get("/audit"),
        ]
        assert [403] * 5 == [answer.status for answer in answers]
    assert 403 == (await machine.get("/users/me")).status
