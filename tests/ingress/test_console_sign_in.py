"""Signing in to the console, as a person, a curious neighbour and an attacker do it."""

import asyncio
from datetime import timedelta
from hashlib import sha256

import pytest
from argon2 import PasswordHasher

from bankfeed.errors import Unavailable
from ingress import passwords
from ingress.console import throttle
from ingress.console.door import COOKIE
from ingress.console.sign_in import SESSION_S
from ingress.console.throttle import MOST_TRIES, WINDOW_S, Throttle
from ingress.passwords import Passwords
from tests.ingress.visitor import CHEAP, EMAIL, PASSWORD, Visitor


async def test_the_right_password_begins_a_session(visitor: Visitor) -> None:
    """Signing in answers with a token that opens the page, and keeps only the token's hash, for twelve hours."""
    page = await visitor.sign_in(email=f" {EMAIL.upper()} ")
    assert (303, "/console") == (page.status, page.headers["Location"])
    token = page.cookie.partition("=")[2].partition(";")[0]
    assert 200 == (await visitor.get("/console", token)).status
    row = await visitor.superuser.fetchrow(
        "SELECT token_sha256, extract(epoch FROM expires_at - now())::int AS left_s FROM sessions"
    )
    assert sha256(token.encode()).digest() == row["token_sha256"]
    assert SESSION_S - 60 < row["left_s"] <= SESSION_S


async def test_the_cookie_is_for_us_alone(visitor: Visitor) -> None:
    """The cookie is out of scripts' and other sites' reach, and over https it never travels in the clear."""
    flags = set((await visitor.sign_in()).cookie.split("; ")[1:])
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SESSION_S}"} == flags
    behind_tls = await visitor.sign_in(X_Forwarded_Proto="https")
    assert flags | {"Secure"} == set(behind_tls.cookie.split("; ")[1:])


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(visitor: Visitor) -> None:
    """Nobody learns from the answer which addresses exist."""
    wrong = await visitor.sign_in(password="wrong")
    unknown = await visitor.sign_in(email="bob@firm.example")
    assert 401 == wrong.status == unknown.status
    assert wrong.text.replace(EMAIL, "?") == unknown.text.replace("bob@firm.example", "?")
    assert "" == wrong.cookie == unknown.cookie


async def test_who_is_locked_or_has_not_come_is_refused_alike(visitor: Visitor) -> None:
    """The right password of somebody who is locked, and any of one who was only invited, get the answer of a wrong one."""
    wrong = await visitor.sign_in(password="wrong")
    token = await visitor.begin_session()
    await visitor.superuser.execute("UPDATE users SET locked_at = now()")
    locked = await visitor.sign_in()
    assert 303 == (await visitor.get("/console", token)).status
    await visitor.superuser.execute(
        "UPDATE users SET locked_at = NULL, password_hash = NULL, invite_sha256 = sha256(''), invite_expires_at = now()"
    )
    invited = await visitor.sign_in()
    assert [(401, wrong.text, "")] * 2 == [(page.status, page.text, page.cookie) for page in (locked, invited)]


async def test_an_account_of_the_other_environment_is_told_so(visitor: Visitor) -> None:
    """A live firm does not sign in to a sandbox; only who knows the password learns why, and an earlier session is none."""
    token = await visitor.begin_session()
    await visitor.superuser.execute("UPDATE customers SET environment = 'live'")
    assert "This is sandbox" not in (await visitor.sign_in(password="wrong")).text
    page = await visitor.sign_in()
    assert (401, "") == (page.status, page.cookie)
    assert "This is sandbox; your account is one of live." in page.text
    assert 303 == (await visitor.get("/console", token)).status


async def test_signing_in_is_written_down(visitor: Visitor) -> None:
    """The audit log says who came, and from where."""
    await visitor.sign_in(password="wrong")
    await visitor.sign_in()
    lines = await visitor.superuser.fetch("SELECT actor, action, remote FROM audit_log")
    user_id = await visitor.superuser.fetchval("SELECT id FROM users")
    assert [(f"user:{user_id}", "person.signed_in", "127.0.0.1")] == [tuple(line) for line in lines]


async def test_an_unknown_address_costs_a_password_check_too() -> None:
    """Where there is no user, a hash as costly as those that are made today is checked, and never fits."""
    checked = Passwords()
    assert await checked.verify(CHEAP.hash(PASSWORD), PASSWORD)
    assert not await checked.verify(None, PASSWORD)
    made_today = PasswordHasher().hash(PASSWORD)
    assert made_today.split("$")[:4] == checked._decoy.split("$")[:4]


async def test_too_many_checks_at_a_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Password checks wait in a bounded line."""
    monkeypatch.setattr(passwords, "MOST_WAITING", 1)
    checked = Passwords()
    first = asyncio.create_task(checked.verify(CHEAP.hash(PASSWORD), PASSWORD))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await checked.verify(None, "")
    assert await first


@pytest.mark.parametrize("email", ["\x00", "", "a" * 300, "<script>alert(1)</script>", "ann@firm.example'--"])
async def test_a_strange_address_is_nobodys(visitor: Visitor, email: str) -> None:
    """Whatever is typed as an address is looked up, not found and shown back as text."""
    page = await visitor.sign_in(email=email)
    assert 401 == page.status
    assert "<script>" not in page.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"email=a&password=" + b"x" * 5000, {"Content_Type": "application/x-www-form-urlencoded"}),
        (b"a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9", {"Content_Type": "application/x-www-form-urlencoded"}),
        (b"email=\xff", {"Content_Type": "application/x-www-form-urlencoded"}),
        (b'{"email": "a"}', {"Content_Type": "application/json"}),
        (b"x", {"Content_Type": "application/x-www-form-urlencoded", "Content_Encoding": "gzip"}),
    ],
)
async def test_what_is_no_small_form_is_refused(visitor: Visitor, body: bytes, headers: dict[str, str]) -> None:
    """The door reads small forms and nothing else."""
    assert 400 == (await visitor.post("/sign-in", body, **headers)).status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
async def test_another_sites_form_is_refused(visitor: Visitor, headers: dict[str, str]) -> None:
    """A form that another site sends neither signs in nor signs out, right password or not."""
    assert 403 == (await visitor.sign_in(**headers)).status
    token = await visitor.begin_session()
    assert 403 == (await visitor.post("/sign-out", Cookie=f"{COOKIE}={token}", **headers)).status
    assert 200 == (await visitor.get("/console", token)).status


async def test_our_own_form_is_accepted(visitor: Visitor) -> None:
    """What a browser says of our own page's form lets it in, also behind a proxy that ends TLS."""
    host = f"127.0.0.1:{visitor.door.ingress.settings.port}"
    assert 303 == (await visitor.sign_in(Sec_Fetch_Site="same-origin", Origin="null")).status
    assert 303 == (await visitor.sign_in(Origin=f"http://{host}")).status
    assert 303 == (await visitor.sign_in(Origin=f"https://{host}")).status


async def test_ten_failures_close_the_door_for_a_while(visitor: Visitor) -> None:
    """After ten failures even the right password waits, the answer says how long, and others' words are not kept."""
    answers = await asyncio.gather(*(visitor.sign_in(password=str(number)) for number in range(MOST_TRIES + 5)))
    assert [401] * MOST_TRIES + [429] * 5 == sorted(answer.status for answer in answers)
    late = await visitor.sign_in()
    assert 429 == late.status
    assert 0 < int(late.headers["Retry-After"]) <= WINDOW_S
    assert 0 == await visitor.superuser.fetchval("SELECT count(*) FROM sessions")


def test_the_throttle_counts_each_name_over_five_minutes() -> None:
    """Ten tries of a name are let through, then none until the oldest is five minutes old; other names are free."""
    now = 1000.0
    gate = Throttle(clock=lambda: now)
    assert [0] * 10 == [gate.take("ann", f"from {number}") for number in range(10)]
    now += 60
    assert 240 == gate.take("ann", "from elsewhere")
    assert 0 == gate.take("bob", "from elsewhere")
    now += 240
    assert 0 == gate.take("ann", "from elsewhere")


def test_success_is_no_failure() -> None:
    """Signing in often locks nobody out."""
    gate = Throttle(clock=lambda: 0.0)
    for _ in range(50):
        assert 0 == gate.take("ann", "here")
        gate.give_back("ann", "here")
    assert not gate._tries


def test_the_throttle_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of made-up addresses costs bounded memory."""
    monkeypatch.setattr(throttle, "MOST_NAMES", 3)
    gate = Throttle(clock=lambda: 0.0)
    for number in range(100):
        gate.take(f"name {number}")
    assert ["name 97", "name 98", "name 99"] == list(gate._tries)


async def test_signing_out_ends_the_session(visitor: Visitor) -> None:
    """After signing out the token opens nothing, whoever kept it; signing out twice is fine."""
    token = await visitor.begin_session()
    for _ in range(2):
        page = await visitor.post("/sign-out", Cookie=f"{COOKIE}={token}")
        assert (303, "/sign-in") == (page.status, page.headers["Location"])
        assert "Max-Age=0" in page.cookie
    assert 303 == (await visitor.get("/console", token)).status
    assert 0 == await visitor.superuser.fetchval("SELECT count(*) FROM sessions")


async def test_signing_in_forgets_sessions_that_ended(visitor: Visitor) -> None:
    """Expired sessions do not pile up."""
    await visitor.begin_session(lasts=timedelta(hours=-1))
    await visitor.sign_in()
    assert 1 == await visitor.superuser.fetchval("SELECT count(*) FROM sessions")
