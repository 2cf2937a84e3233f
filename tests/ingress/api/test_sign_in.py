"""Coming in and going out, as people, guessers and two at once do it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher

from bankfeed.db.user import Invitation, insert_invited_user, insert_user
from ingress import passwords
from ingress.api import lines
from tests.ingress.api.conftest import Person, Said, make_key
from tests.seed import make_tenant

EMAIL = "ann@firm.example"
PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
FIRM = {"companyName": "Firm", "name": "Ann", "email": EMAIL, "password": PASSWORD}


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """Anybody may register."""
    return {"registration": "open"}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time."""
    monkeypatch.setattr(passwords, "PasswordHasher", lambda: CHEAP)


@pytest.fixture
async def nobody(api: Person) -> Person:
    """A caller without a token."""
    return api.as_nobody()


async def add_user(person: Person, email: str = EMAIL, password: str = PASSWORD) -> int:
    """Add an owner who has a password."""
    async with person.database.tenant(person.customer_id) as conn:
        user_id = await insert_user(
            conn, person.customer_id, email=email, password_hash=CHEAP.hash(password), name="Ann"
        )
    assert user_id is not None
    return user_id


async def authenticate(person: Person, password: str = PASSWORD, email: str = EMAIL) -> Said:
    return await person.post("/authenticate", {"email": email, "password": password})


def refusal(answer: Said) -> tuple[int, str, str | None]:
    return answer.status, answer.body["code"], answer.body.get("field")


# ------------------------------------------------------------------------------------------------ registering


async def test_a_firm_registers_and_its_owner_is_in(nobody: Person, superuser: asyncpg.Connection) -> None:
    """Registering makes a customer of this environment and its owner, and answers like signing in."""
    answer = await nobody.post("/register", FIRM | {"email": " Ann@Firm.Example "})
    assert 201 == answer.status
    assert {"status", "token", "expiresAt"} == set(answer.body)
    me = (await nobody.with_token(answer.body["token"]).get("/users/me")).body["user"]
    assert (EMAIL, "Ann", "owner", "active") == (me["email"], me["name"], me["role"], me["status"])
    firm = (await nobody.with_token(answer.body["token"]).get("/customer")).body["customer"]
    assert ("Firm", "sandbox") == (firm["name"], firm["environment"])
    assert ("user:" + str(me["id"]), "person.registered") == tuple(
        await superuser.fetchrow("SELECT actor, action FROM audit_log ORDER BY id LIMIT 1")
    )


async def test_an_address_is_one_person(nobody: Person, superuser: asyncpg.Connection) -> None:
    """Of several who register with one address at once, one does, and no firm of the others is left."""
    before = await superuser.fetchval("SELECT count(*) FROM customers")
    answers = await asyncio.gather(*(nobody.post("/register", FIRM) for _ in range(4)))
    assert [201, 409, 409, 409] == sorted(answer.status for answer in answers)
    assert (409, "conflict", "email") == refusal(await nobody.post("/register", FIRM))
    assert before + 1 == await superuser.fetchval("SELECT count(*) FROM customers")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "ann"}, "email"),
        ({"email": "ann@firm.example\u0000"}, "email"),
        ({"email": "a" * 250 + "@x.example"}, "email"),
        ({"password": "nine char"}, "password"),
        ({"password": "x" * 201}, "password"),
        ({"password": "Ann@Firm.example"}, "password"),
        ({"companyName": "  "}, "companyName"),
        ({"name": ""}, "name"),
    ],
)
async def test_what_does_not_fit_names_its_field(nobody: Person, change: dict[str, str], field: str) -> None:
    """An address that is none, a password that is too short, too long or the address itself, and blank names are refused."""
    assert (422, "invalid", field) == refusal(await nobody.post("/register", FIRM | change))


@pytest.mark.parametrize("changed_settings", [{"registration": "closed"}])
async def test_registration_can_be_closed(nobody: Person) -> None:
    """Where the deployment says so, nobody registers, whatever is sent."""
    assert (403, "registration_closed", None) == refusal(await nobody.post("/register", FIRM))


@pytest.mark.parametrize("changed_settings", [{"registration": "open", "environment": "live"}])
async def test_a_live_deployment_makes_live_firms(nobody: Person, superuser: asyncpg.Connection) -> None:
    """The customer and the token are of the deployment's environment."""
    answer = await nobody.post("/register", FIRM)
    assert answer.body["token"].startswith("bft_live_")
    assert "live" == await superuser.fetchval("SELECT environment::text FROM customers ORDER BY id DESC LIMIT 1")


# ------------------------------------------------------------------------------------------------ signing in


async def test_the_right_password_gives_a_token(nobody: Person, superuser: asyncpg.Connection) -> None:
    """A token of this environment, of 43 letters that nobody guesses, kept as a hash, for the hours that are set."""
    user_id = await add_user(nobody)
    answer = await authenticate(nobody, email=EMAIL.upper())
    token = answer.body["token"]
    assert (200, "bft_sandbox_", 43) == (answer.status, token[:12], len(token) - 12)
    assert 200 == (await nobody.with_token(token).get("/users/me")).status
    row = await superuser.fetchrow("SELECT user_id, expires_at FROM sessions WHERE token_sha256 = $1", hashed(token))
    assert (user_id, datetime.fromisoformat(answer.body["expiresAt"])) == tuple(row)
    assert timedelta(hours=11, minutes=59) < row["expires_at"] - datetime.now(UTC) <= timedelta(hours=12)


async def test_every_refusal_is_the_same(nobody: Person, superuser: asyncpg.Connection) -> None:
    """An unknown address, a wrong password, somebody who is locked and somebody who never came get one answer."""
    await add_user(nobody)
    locked = await add_user(nobody, "locked@firm.example")
    await superuser.execute("UPDATE users SET locked_at = now() WHERE id = $1", locked)
    async with nobody.database.tenant(nobody.customer_id) as conn:
        invitation = Invitation(token_sha256=hashed("i"), expires_at=datetime.now(UTC) + timedelta(days=1))
        await insert_invited_user(
            conn, nobody.customer_id, email="new@firm.example", name="N", role="owner", invitation=invitation
        )
    answers = [
        await authenticate(nobody, "wrong password"),
        await authenticate(nobody, email="nobody@firm.example"),
        await authenticate(nobody, email="no address"),
        await authenticate(nobody, email="new@firm.example"),
        await authenticate(nobody, email="locked@firm.example"),
        await authenticate(nobody, "wrong password", email="locked@firm.example"),
    ]
    said = {
        (answer.status, answer.body["code"], answer.body["message"], answer.headers.get("WWW-Authenticate"))
        for answer in answers
    }
    assert 1 == len(said)
    assert 401 == answers[0].status
    assert 0 == await superuser.fetchval("SELECT count(*) FROM sessions WHERE user_id = $1", locked)


async def test_each_try_costs_one_check(nobody: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever it is, one hash is checked: a person's own, or one of nobody's that is as costly."""
    checked: list[str | None] = []
    verify = passwords.Passwords.verify

    async def count(self: passwords.Passwords, password_hash: str | None, password: str) -> bool:
        checked.append(password_hash and password_hash[:10])
        return await verify(self, password_hash, password)

    monkeypatch.setattr(passwords.Passwords, "verify", count)
    await add_user(nobody)
    for email in (EMAIL, "nobody@firm.example", "no address"):
        await authenticate(nobody, "wrong password", email=email)
    assert ["$argon2id$", None, None] == checked


@pytest.mark.parametrize("email", [EMAIL, "nobody@firm.example"])
async def test_guessing_has_to_wait(nobody: Person, superuser: asyncpg.Connection, email: str) -> None:
    """After the fourth failure in a row the next try waits a second, whether or not anybody has the address."""
    await add_user(nobody)
    assert [401] * 4 == [(await authenticate(nobody, f"wrong {number}", email)).status for number in range(4)]
    await superuser.execute("UPDATE sign_in_failures SET blocked_until = now() + interval '50 s'")
    refused = await authenticate(nobody, email=email)
    assert (429, "locked_out", None) == refusal(refused)
    assert 48 <= int(refused.headers["Retry-After"]) <= 50
    assert 4 == await superuser.fetchval("SELECT failures FROM sign_in_failures")


async def test_guesses_at_once_are_no_way_around(nobody: Person, superuser: asyncpg.Connection) -> None:
    """Of many tries at the same moment no more are looked at than one after the other."""
    await add_user(nobody)
    answers = await asyncio.gather(*(authenticate(nobody, f"wrong {number}") for number in range(12)))
    assert [401] * 4 + [429] * 8 == sorted(answer.status for answer in answers)


async def test_the_right_password_clears_the_failures(nobody: Person, superuser: asyncpg.Connection) -> None:
    """Who comes in begins anew."""
    await add_user(nobody)
    for _ in range(3):
        await authenticate(nobody, "wrong password")
    assert 200 == (await authenticate(nobody)).status
    assert 0 == await superuser.fetchval("SELECT count(*) FROM sign_in_failures")


async def test_who_could_not_be_checked_has_lost_no_try(
    nobody: Person, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many wait to be checked already, the answer is 503, and it was no failure."""
    monkeypatch.setattr(passwords, "MOST_WAITING", 0)
    assert [503] * 6 == [(await authenticate(nobody)).status for _ in range(6)]
    assert 0 == await superuser.fetchval("SELECT failures FROM sign_in_failures")


async def test_the_other_environment_is_told_after_the_right_password(
    nobody: Person, superuser: asyncpg.Connection
) -> None:
    """A live account gets no token of a sandbox; a wrong password learns nothing of it."""
    await add_user(nobody)
    await superuser.execute("UPDATE customers SET environment = 'live' WHERE id = $1", nobody.customer_id)
    assert (401, "wrong_credentials", None) == refusal(await authenticate(nobody, "wrong password"))
    assert (401, "wrong_environment", None) == refusal(await authenticate(nobody))


async def test_signing_in_is_written_down_and_refusals_are_not(nobody: Person, superuser: asyncpg.Connection) -> None:
    """The audit line is the customer's, with the person, the address and the request."""
    user_id = await add_user(nobody)
    await authenticate(nobody, "wrong password")
    answer = await authenticate(nobody)
    lines = await superuser.fetch("SELECT customer_id, actor, action, target, remote, request_id::text FROM audit_log")
    who = f"user:{user_id}"
    request_id = answer.headers["X-Request-Id"]
    assert [(nobody.customer_id, who, "person.signed_in", f"userId={user_id}", "127.0.0.1", request_id)] == [
        tuple(line) for line in lines
    ]


async def test_a_token_is_never_given_twice(nobody: Person) -> None:
    """A repeat with the same Idempotency-Key is 409: the token was not kept."""
    await add_user(nobody)
    body = {"email": EMAIL, "password": PASSWORD}
    answers = [await nobody.post("/authenticate", body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [200, 409] == [answer.status for answer in answers]


async def test_a_flood_of_strangers_leaves_connections_to_callers(api: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """While more strangers wait for a password's check than there are connections, a caller with a token is answered."""
    checking, may_end = asyncio.Event(), asyncio.Event()

    async def verify(_: passwords.Passwords, password_hash: str | None, password: str) -> bool:
        checking.set()
        await may_end.wait()
        return False

    monkeypatch.setattr(passwords.Passwords, "verify", verify)
    flood = [
        asyncio.create_task(authenticate(api.as_nobody(), email=f"{number}@firm.example"))
        for number in range(api.ingress.settings.pool_connections * 3)
    ]
    await checking.wait()
    assert [200] * 5 == [(await asyncio.wait_for(api.get("/users/me"), 10)).status for _ in range(5)]
    may_end.set()
    assert {401} == {(await each).status for each in flood}


async def test_too_many_strangers_are_asked_to_come_again(nobody: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line before the public routes is bounded: who finds it full gets 503 with Retry-After, and lost no try."""
    monkeypatch.setattr(lines, "MOST_WAITING", 0)
    answer = await authenticate(nobody)
    assert (503, "5") == (answer.status, answer.headers["Retry-After"])


@pytest.mark.parametrize("changed_settings", [{"calls_per_minute": 3}])
async def test_made_up_tokens_are_no_allowance(nobody: Person) -> None:
    """At a public route requests count by where they come from, whatever token they carry."""
    answers = [await authenticate(nobody.with_token(f"bft_sandbox_{number}")) for number in range(4)]
    assert [401, 401, 401, 429] == [answer.status for answer in answers]


# ------------------------------------------------------------------------------------------------ going out, passwords


async def test_logout_ends_this_session_alone(nobody: Person) -> None:
    """The token counts no more; another of the same person still does."""
    await add_user(nobody)
    one, two = [nobody.with_token((await authenticate(nobody)).body["token"]) for _ in range(2)]
    assert (200, {"status": "OK"}) == ((out := await one.post("/logout")).status, out.body)
    assert (401, 200) == ((await one.get("/users/me")).status, (await two.get("/users/me")).status)


async def test_a_new_password_ends_every_session(nobody: Person) -> None:
    """All tokens end, this one too; the answer holds a new one; the old password counts no more."""
    await add_user(nobody)
    one, two = [nobody.with_token((await authenticate(nobody)).body["token"]) for _ in range(2)]
    answer = await one.post("/password", {"oldPassword": PASSWORD, "newPassword": "another password"})
    assert 200 == answer.status
    statuses = [(await each.get("/users/me")).status for each in (one, two, one.with_token(answer.body["token"]))]
    assert [401, 401, 200] == statuses
    assert [401, 200] == [(await authenticate(nobody, password)).status for password in (PASSWORD, "another password")]


async def test_a_stolen_token_does_not_guess_the_password(nobody: Person, superuser: asyncpg.Connection) -> None:
    """Wrong old passwords count as wrong passwords: after the fourth, the next try waits."""
    await add_user(nobody)
    person = nobody.with_token((await authenticate(nobody)).body["token"])
    change = {"oldPassword": "wrong password", "newPassword": "another password"}
    answers = [await person.post("/password", change) for _ in range(4)]
    assert {(422, "invalid", "oldPassword")} == {refusal(answer) for answer in answers}
    assert 4 == await superuser.fetchval("SELECT failures FROM sign_in_failures")
    await superuser.execute("UPDATE sign_in_failures SET blocked_until = now() + interval '50 s'")
    assert (429, "locked_out", None) == refusal(await person.post("/password", change | {"oldPassword": PASSWORD}))


@pytest.mark.parametrize("password", ["short", EMAIL])
async def test_a_new_password_keeps_the_rules(nobody: Person, password: str) -> None:
    """Whoever changes it chooses 10 to 200 characters that are not the address."""
    await add_user(nobody)
    person = nobody.with_token((await authenticate(nobody)).body["token"])
    answer = await person.post("/password", {"oldPassword": PASSWORD, "newPassword": password})
    assert (422, "invalid", "newPassword") == refusal(answer)


async def test_a_key_has_no_password(nobody: Person) -> None:
    """A machine neither signs out nor changes a password."""
    machine = await make_key(nobody, "clients:read")
    change = {"oldPassword": PASSWORD, "newPassword": "another password"}
    assert [403, 403] == [(await machine.post("/logout")).status, (await machine.post("/password", change)).status]


# ------------------------------------------------------------------------------------------------ invitations


async def invite(api: Person, **changes: str) -> dict[str, Any]:
    answer = await api.post("/users", {"email": EMAIL, "name": "Ann", "role": "employee"} | changes)
    assert 201 == answer.status
    return answer.body


async def test_an_invitation_lets_in_once(api: Person, nobody: Person) -> None:
    """The invited person comes with a name and a password, and the token counts no more."""
    made = await invite(api)
    body = {"token": made["invitation"]["token"], "name": "Ann Lee", "password": PASSWORD}
    answers = await asyncio.gather(*(nobody.post("/invitations/accept", body) for _ in range(3)))
    assert [200, 404, 404] == sorted(answer.status for answer in answers)
    token = next(answer.body["token"] for answer in answers if answer.status == 200)
    me = (await nobody.with_token(token).get("/users/me")).body["user"]
    assert ("Ann Lee", "employee", "active", None) == (me["name"], me["role"], me["status"], me["inviteExpiresAt"])
    assert 200 == (await authenticate(nobody)).status


async def test_an_invitation_that_is_over_lets_nobody_in(
    api: Person, nobody: Person, superuser: asyncpg.Connection
) -> None:
    """One that has expired, that was replaced, of somebody locked, or that never was, is none."""
    first = await invite(api)
    second = (await api.post(f"/users/{first['user']['id']}/invite")).body

    async def accept(token: str) -> tuple[int, str, str | None]:
        body = {"token": token, "name": "Ann", "password": PASSWORD}
        return refusal(await nobody.post("/invitations/accept", body))

    token = second["invitation"]["token"]
    none = (404, "not_found", None)
    assert [none, none] == [await accept(first["invitation"]["token"]), await accept("bfi_sandbox_guess")]
    await superuser.execute("UPDATE users SET locked_at = now() WHERE email = $1", EMAIL)
    assert none == await accept(token)
    await superuser.execute("UPDATE users SET locked_at = NULL, invite_expires_at = now() WHERE email = $1", EMAIL)
    assert none == await accept(token)
    await superuser.execute("UPDATE users SET invite_expires_at = now() + interval '1 day' WHERE email = $1", EMAIL)
    body = {"token": token, "name": "Ann", "password": "short"}
    assert (422, "invalid", "password") == refusal(await nobody.post("/invitations/accept", body))
    body["password"] = PASSWORD
    assert 200 == (await nobody.post("/invitations/accept", body)).status


async def test_who_forgot_the_password_is_invited_again(api: Person, nobody: Person) -> None:
    """Until the new invitation is accepted the old password counts; from then on it does not, and old sessions end."""
    user_id = await add_user(nobody)
    token = (await authenticate(nobody)).body["token"]
    made = (await api.post(f"/users/{user_id}/invite")).body
    assert 200 == (await nobody.with_token(token).get("/users/me")).status
    body = {"token": made["invitation"]["token"], "name": "Ann", "password": "another password"}
    assert 200 == (await nobody.post("/invitations/accept", body)).status
    assert 401 == (await nobody.with_token(token).get("/users/me")).status
    assert [401, 200] == [(await authenticate(nobody, password)).status for password in (PASSWORD, "another password")]


def hashed(token: str) -> bytes:
    return sha256(token.encode()).digest()


async def test_another_firms_people_sign_in_to_their_own(api: Person, nobody: Person) -> None:
    """The session is of the customer whose person it is."""
    elsewhere = replace(nobody, tenant=await make_tenant(api.database, api.sources))
    await add_user(elsewhere, "bob@other.example")
    token = (await authenticate(nobody, email="bob@other.example")).body["token"]
    assert elsewhere.customer_id == (await nobody.with_token(token).get("/customer")).body["customer"]["id"]
