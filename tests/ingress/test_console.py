"""The console, as a browser, a curious neighbour and an attacker meet it."""

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from html import unescape
from itertools import count
from typing import Any

import aiohttp
import asyncpg
import pytest
from argon2 import PasswordHasher

from bankfeed.db import Database
from bankfeed.db.console import ShownConnection
from bankfeed.db.customer import insert_customer
from bankfeed.db.session import insert_session
from bankfeed.db.source import find_source
from bankfeed.db.user import insert_user
from bankfeed.errors import Unavailable
from bankfeed.local import LocalPostgres
from bankfeed.model import ClientId, ConnectionId
from bankfeed.settings import Settings
from ingress import passwords
from ingress.app import Ingress
from ingress.console import throttle
from ingress.console.routes import COOKIE, HEADERS, SESSION_S
from ingress.console.throttle import MOST_TRIES, WINDOW_S, Throttle
from ingress.console.words import describe_standing, describe_update, write_amount
from ingress.passwords import Passwords
from tests.finbank import free_port
from tests.ingress.conftest import Door
from tests.seed import Sources, Tenant, make_tenant

EMAIL = "ann@firm.example"
PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_numbers = count(1)
PAGES = ("/", "/sign-in", "/console", "/console/rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def cookie(self) -> str:
        """The Set-Cookie line."""
        return self.headers.get("Set-Cookie", "")

    @property
    def rows(self) -> list[list[str]]:
        """What each line of the transactions' table says: date, description with account, state, amount."""
        lines = re.findall(r'data-row="transaction-\d+">(.*?)</tr>', self.text, re.DOTALL)
        return [[said(cell) for cell in re.findall(r"<td.*?</td>", line, re.DOTALL)] for line in lines]


def said(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A browser that keeps no cookies but the one it is given, and the database behind the pages."""

    door: Door
    database: Database
    superuser: asyncpg.Connection
    sources: Sources
    tenant: Tenant

    async def get(self, path: str, cookie: str = "") -> Page:
        """Get a page, following no redirect."""
        headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
        async with self.door.session.get(path, headers=headers, allow_redirects=False) as answer:
            return Page(status=answer.status, text=await answer.text(), headers=dict(answer.headers))

    async def post(self, path: str, body: object = None, **headers: str) -> Page:
        """Post a form."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.door.session.post(path, data=body, headers=named, allow_redirects=False) as answer:
            return Page(status=answer.status, text=await answer.text(), headers=dict(answer.headers))

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD, **headers: str) -> Page:
        """Send the sign-in form."""
        return await self.post("/sign-in", {"email": email, "password": password}, **headers)

    async def begin_session(self, tenant: Tenant | None = None, *, lasts: timedelta = timedelta(hours=1)) -> str:
        """Make a session of a customer's user without the form; return its token."""
        customer_id = (tenant or self.tenant).customer_id
        token = f"token-{next(_numbers)}"
        async with self.database.tenant(customer_id) as conn:
            user = await conn.fetchrow("SELECT id, password_hash FROM users ORDER BY id LIMIT 1")
            assert await insert_session(
                conn,
                customer_id,
                user_id=user["id"],
                password_hash=user["password_hash"],
                token_sha256=sha256(token.encode()).digest(),
                expires_at=datetime.now(UTC) + lasts,
            )
        return token

    async def look(self, path: str = "/console") -> Page:
        """Look at the page as the customer's user."""
        return await self.get(path, await self.begin_session())

    async def add_connection(self, tenant: Tenant | None = None, **columns: object) -> int:
        """Add a connection, up to date unless said otherwise."""
        owner = tenant or self.tenant
        return await self.insert(
            "connections",
            customer_id=owner.customer_id,
            client_id=owner.client_id,
            source_id=self.sources.finicity,
            aggregator_login_id=f"login {next(_numbers)}",
            **{"status_code": 0, "last_refresh_at": datetime.now(UTC)} | columns,
        )

    async def add_account(self, tenant: Tenant | None = None, **columns: object) -> int:
        """Add an account, with a connection unless one is given."""
        owner = tenant or self.tenant
        usual = {"name": "Checking", "type": "checking", "currency": "USD", "number_display": "1234"}
        connection_id = columns.pop("connection_id", None) or await self.add_connection(owner)
        return await self.insert(
            "accounts",
            customer_id=owner.customer_id,
            client_id=owner.client_id,
            connection_id=connection_id,
            source_id=self.sources.finicity,
            aggregator_id=f"account {next(_numbers)}",
            **usual | columns,
        )

    async def add_row(self, account_id: int, amount: str, tenant: Tenant | None = None, **columns: object) -> int:
        """Add a transaction, active unless said otherwise."""
        owner = tenant or self.tenant
        state = columns.get("state", "active")
        now = datetime.now(UTC)
        usual = {
            "state": state,
            "transacted_on": date(2026, 3, 2),
            "description": "COFFEE",
            "activated_at": now if state in ("active", "shadow") else None,
            "removed_at": now if state == "removed" else None,
        }
        empty = dict.fromkeys(("memo", "check_number", "kind", "raw_amount", "first_rule"), "")
        return await self.insert(
            "transactions",
            customer_id=owner.customer_id,
            client_id=owner.client_id,
            account_id=account_id,
            amount=Decimal(amount),
            first_pulled_at=now,
            first_pull_id=1,
            first_change_no=1,
            change_no=1,
            **empty | usual | columns,
        )

    async def insert(self, table: str, **columns: object) -> int:
        """Insert a row; return its id."""
        marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) RETURNING id"  # noqa: S608 - names of ours
        made: int = await self.superuser.fetchval(sql, *columns.values())
        return made


async def add_user(database: Database, tenant: Tenant, email: str) -> None:
    async with database.tenant(tenant.customer_id) as conn:
        await insert_user(conn, tenant.customer_id, email=email, password_hash=CHEAP.hash(PASSWORD))


@pytest.fixture
async def visitor(door: Door, database: Database, superuser: asyncpg.Connection) -> Visitor:
    """A firm with one client and one user, and nothing linked."""
    async with database.queue() as conn:
        finicity, ledgersync = await find_source(conn, "finicity"), await find_source(conn, "ledgersync")
    assert finicity is not None
    assert ledgersync is not None
    sources = Sources(finicity=finicity.id, ledgersync=ledgersync.id)
    tenant = await make_tenant(database, sources)
    await add_user(database, tenant, EMAIL)
    return Visitor(door=door, database=database, superuser=superuser, sources=sources, tenant=tenant)


# ---------------------------------------------------------------------------------------------------------- signing in


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


# ------------------------------------------------------------------------------------------------------ who sees what


async def test_home_leads_where_one_can_go(visitor: Visitor) -> None:
    """The bare address leads to the page, or to the form where nobody is signed in."""
    token = await visitor.begin_session()
    assert "/sign-in" == (await visitor.get("/")).headers["Location"]
    assert "/console" == (await visitor.get("/", token)).headers["Location"]
    assert "/console" == (await visitor.get("/sign-in", token)).headers["Location"]


@pytest.mark.parametrize("cookie", ["", "made-up", "%00", "\u00e9"])
async def test_without_a_session_nothing_is_shown(visitor: Visitor, cookie: str) -> None:
    """No token or a made-up one opens nothing."""
    await visitor.add_row(await visitor.add_account(), "-20")
    page = await visitor.get("/console", cookie)
    assert (303, "/sign-in") == (page.status, page.headers["Location"])
    rows = await visitor.get("/console/rows", cookie)
    assert 401 == rows.status
    assert "COFFEE" not in page.text + rows.text


async def test_a_cookie_that_is_no_text_is_none(visitor: Visitor) -> None:
    """Bytes that no browser sends are a made-up token and no bug."""
    port = visitor.door.ingress.settings.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cookie = COOKIE.encode() + b"=\xff\xfe"
    writer.write(b"GET /console/rows HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: " + cookie + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"HTTP/1.1 401 Unauthorized" == answer.partition(b"\r\n")[0]


async def test_an_expired_session_is_none(visitor: Visitor) -> None:
    """A session ends by Postgres' clock."""
    token = await visitor.begin_session(lasts=timedelta(seconds=-1))
    assert 303 == (await visitor.get("/console", token)).status
    assert 401 == (await visitor.get("/console/rows", token)).status


async def test_a_customer_sees_its_own_rows_only(visitor: Visitor) -> None:
    """Each customer's page has its own banks, accounts and movements and nothing of another's."""
    other = await make_tenant(visitor.database, visitor.sources)
    await add_user(visitor.database, other, "eve@other.example")
    await visitor.add_row(await visitor.add_account(name="Ours"), "-1", description="OUR COFFEE")
    theirs = await visitor.add_account(other, name="Theirs")
    await visitor.add_row(theirs, "-2", other, description="THEIR COFFEE")
    mine = await visitor.get("/console", await visitor.begin_session())
    hers = await visitor.get("/console", await visitor.begin_session(other))
    for page, shown, kept_back in ((mine, "OUR", "THEIR"), (hers, "THEIR", "OUR")):
        assert f"{shown} COFFEE" in page.text
        assert f"{shown.title()}s" in page.text
        assert f"{kept_back} COFFEE" not in page.text
        assert 1 == len(page.rows)


# --------------------------------------------------------------------------------------------------------- the page


async def test_before_a_bank_is_linked_the_page_says_so(visitor: Visitor) -> None:
    """An empty page says what will appear on it."""
    assert "No bank is linked yet" in (await visitor.look()).text


async def test_a_bank_being_linked_appears_before_its_accounts(visitor: Visitor) -> None:
    """A connection is shown from its first moment, and says that the first update has not finished."""
    await visitor.add_connection(status_code=None, last_refresh_at=None, requested=1)
    text = said((await visitor.look()).text)
    assert "New bank linking The first update from the bank has not finished yet." in text
    assert "not updated yet; an update is under way" in text


async def test_rows_are_shown_with_state_and_exact_amount(visitor: Visitor) -> None:
    """Each movement is there with its date, words, account, state and amount, newest first."""
    account = await visitor.add_account(balance=Decimal("1234567.8"), balance_on=date(2026, 3, 2))
    await visitor.add_row(account, "-20", state="pending")
    await visitor.add_row(account, "1500.5", description="PAYROLL", transacted_on=date(2026, 3, 1))
    page = await visitor.look()
    assert [
        ["2026-03-02", "COFFEE Checking 1234", "pending", "-20.00 USD"],
        ["2026-03-01", "PAYROLL Checking 1234", "active", "1500.50 USD"],
    ] == page.rows
    assert "Checking 1234 checking 1234567.80 USD" in said(page.text)


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [
        ("USD", "-20", "-20.00"),
        ("JPY", "500.00", "500"),
        ("KWD", "1.234", "1.234"),
        ("USD", "0", "0.00"),
        ("USD", "-0.005", "-0.005"),
        ("USD", "999999999999999999", "999999999999999999.00"),
        ("USD", "0.10000000000000000001", "0.10000000000000000001"),
    ],
)
async def test_amounts_lose_nothing(visitor: Visitor, currency: str, amount: str, shown: str) -> None:
    """An amount has its currency's decimals, and all of its own where the bank gave more."""
    await visitor.add_row(await visitor.add_account(currency=currency), amount)
    assert [f"{shown} {currency}"] == [row[3] for row in (await visitor.look()).rows]


def test_no_amount_is_written_with_an_exponent() -> None:
    """People do not read 1E+3."""
    assert ("1000.00", "1000", "0.0000001") == (
        write_amount(Decimal("1E+3"), "USD"),
        write_amount(Decimal("1E+3"), "JPY"),
        write_amount(Decimal("1E-7"), "USD"),
    )


async def test_a_hostile_text_stays_text(visitor: Visitor) -> None:
    """What a bank, a client or an aggregator writes is neither markup nor able to turn the text around it."""
    hostile = "<script>alert(1)</script> \u202eevil\" onload='x' &amp; {{ 7*7 }}"
    account = await visitor.add_account(name=hostile, number_display=hostile, type=hostile)
    await visitor.add_row(account, "-20", description=hostile)
    await visitor.superuser.execute("UPDATE clients SET name = $1", hostile)
    await visitor.superuser.execute("UPDATE customers SET name = $1", hostile)
    page = await visitor.look()
    assert "<script>" not in page.text
    assert "onload='" not in page.text
    assert f"{hostile} {hostile} {hostile}" == page.rows[0][1]
    assert page.text.count("\u202e") == len(re.findall(r"<bdi[^>]*>[^<]*\u202e", page.text)) + 2  # title; name + number
    assert "<title>&lt;script&gt;" in page.text


async def test_shadow_rows_follow_the_customers_rule(visitor: Visitor) -> None:
    """A customer who hides what the bank withdrew reads how many there are; one who does not sees them."""
    account = await visitor.add_account()
    await visitor.add_row(account, "-45.10", state="shadow", description="WITHDRAWN")
    await visitor.add_row(account, "-20")
    for policy, listed in (("hide", 1), ("show", 2), ("confirm", 2), ("delete", 1)):
        await visitor.superuser.execute("UPDATE customers SET shadow_policy = $1", policy)
        page = await visitor.get("/console", await visitor.begin_session())
        assert listed == len(page.rows)
        assert (listed == 1) == ("1 withdrawn by the bank (hidden)" in page.text)
        assert (listed == 2) == ("WITHDRAWN" in page.text)


async def test_a_shadow_row_with_a_persons_act_stays(visitor: Visitor) -> None:
    """Whatever the customer chose, a withdrawn row that a person worked with is listed; one said to be gone is not."""
    account = await visitor.add_account()
    await visitor.add_row(account, "-45.10", state="shadow", description="RECONCILED", reconciled_at=datetime.now(UTC))
    await visitor.add_row(account, "-46.10", state="shadow", description="DID HAPPEN", shadow_verdict="rejected")
    await visitor.add_row(account, "-47.10", state="shadow", description="IS GONE", shadow_verdict="confirmed")
    for policy in ("hide", "confirm", "delete"):
        await visitor.superuser.execute("UPDATE customers SET shadow_policy = $1", policy)
        page = await visitor.get("/console", await visitor.begin_session())
        assert (True, True, False) == tuple(name in page.text for name in ("RECONCILED", "DID HAPPEN", "IS GONE"))


async def test_a_customer_is_made_with_its_rule_for_shadow_rows(visitor: Visitor) -> None:
    """A new customer hides shadow rows unless it asks for something else."""
    async with visitor.database.app() as conn:
        usual = await insert_customer(conn, name="Usual")
        assert "hide" == await conn.fetchval("SELECT shadow_policy::text FROM customers WHERE id = $1", usual)
        other = await insert_customer(conn, name="Other", shadow_policy="show")
        assert "show" == await conn.fetchval("SELECT shadow_policy::text FROM customers WHERE id = $1", other)


async def test_what_went_away_is_not_shown(visitor: Visitor) -> None:
    """Closed connections, closed and hidden accounts, deleted and merged rows are not there; a removed one is for a minute."""
    account = await visitor.add_account(name="Open")
    now = datetime.now(UTC)
    kept = await visitor.add_row(account, "-1", description="HOLD GIVEN UP", state="removed")
    await visitor.add_row(
        account, "-2", description="LONG GONE", state="removed", removed_at=now - timedelta(minutes=2)
    )
    await visitor.add_row(account, "-3", description="MERGED", state="removed", merged_into=kept)
    await visitor.add_row(account, "-4", description="DELETED", deleted_at=now)
    connection = await visitor.superuser.fetchval("SELECT id FROM connections")
    for name, columns in (("Closed", {"state": "closed", "closed_at": now}), ("Hidden", {"is_hidden": True})):
        await visitor.add_row(await visitor.add_account(connection_id=connection, name=name, **columns), "-5")
    ended = await visitor.add_connection(state="closed")
    await visitor.add_row(await visitor.add_account(connection_id=ended, name="Under a closed connection"), "-6")
    page = await visitor.look()
    assert [["HOLD GIVEN UP Open 1234", "removed"]] == [row[1:3] for row in page.rows]
    assert all(name not in page.text for name in ("Closed", "Hidden", "Under a closed"))


async def test_the_page_is_bounded(visitor: Visitor) -> None:
    """However much history there is, the newest hundred rows are shown, those of one day by their number."""
    account = await visitor.add_account()
    first = await visitor.add_row(account, "-1", transacted_on=date(2026, 3, 3))
    await visitor.superuser.execute(
        """
        INSERT INTO transactions (customer_id, client_id, account_id, state, amount, transacted_on, description, memo,
            check_number, kind, raw_amount, first_pulled_at, first_pull_id, first_rule, activated_at, first_change_no, change_no)
        SELECT customer_id, client_id, account_id, state, -n, '2026-03-02', 'ROW ' || n, '', '', '', '', now(), 1, '', now(),
               1, 1
        FROM transactions, generate_series(1, 300) n WHERE id = $1
        """,
        first,
    )
    shown = [row[1].removesuffix(" Checking 1234") for row in (await visitor.look()).rows]
    assert ["COFFEE", *(f"ROW {number}" for number in range(300, 201, -1))] == shown


async def test_the_rows_alone_are_the_pages_part(visitor: Visitor) -> None:
    """What the module reads again is the same part of the page, and stays the same while nothing changes."""
    await visitor.add_row(await visitor.add_account(), "-20")
    token = await visitor.begin_session()
    page = await visitor.get("/console", token)
    rows = await visitor.get("/console/rows", token)
    assert rows.text in page.text
    assert rows.text == (await visitor.get("/console/rows", token)).text


def connection(**changes: Any) -> ShownConnection:
    usual = ShownConnection(
        id=ConnectionId(1),
        client_id=ClientId(1),
        client="Client",
        institution="FinBank",
        state="active",
        status_code=0,
        failures=0,
        is_updating=False,
        age_s=10.0,
        next_s=3600.0,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("changes", "label", "sentence"),
    [
        ({}, "up to date", ""),
        ({"status_code": None, "age_s": None}, "linking", "The first update from the bank has not finished yet."),
        ({"failures": 2}, "up to date", "The latest update did not succeed; another try follows."),
        ({"state": "waiting", "status_code": 905}, "waiting", "The bank's site is down or under maintenance."),
        (
            {"state": "needs_person", "status_code": 103},
            "needs you",
            "The bank refused the user name or password; enter them again.",
        ),
        ({"state": "unsupported", "status_code": 950}, "not supported", "This bank or account cannot be connected."),
    ],
)
def test_a_connections_standing_is_said_in_words(changes: dict[str, object], label: str, sentence: str) -> None:
    """Each state has a label, and a sentence where somebody should know more."""
    standing = describe_standing(connection(**changes))
    assert (label, sentence) == (standing.label, standing.sentence)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "updated just now; next in 1 hour at the latest"),
        ({"age_s": 60.0, "next_s": 86_399.0}, "updated 1 minute ago; next in 23 hours at the latest"),
        ({"age_s": 172_800.0, "next_s": -5.0}, "updated 2 days ago; next in a moment at the latest"),
        ({"next_s": None}, "updated just now"),
        ({"age_s": None, "is_updating": True}, "not updated yet; an update is under way"),
    ],
)
def test_ages_are_said_roughly(changes: dict[str, object], words: str) -> None:
    """Ages and times ahead are said in the largest unit that fits."""
    assert words == describe_update(connection(**changes))


# ------------------------------------------------------------------------------------------- headers, files, trouble


async def test_every_answer_carries_the_headers(visitor: Visitor) -> None:
    """Pages, refusals, redirects and files alike forbid framing, foreign code and guessing of types."""
    token = await visitor.begin_session()
    answers = [await visitor.get(path, cookie) for path in PAGES for cookie in ("", token)]
    answers += [await visitor.sign_in(), await visitor.sign_in(password="wrong"), await visitor.sign_in(Origin="null")]
    for page in answers:
        assert HEADERS == {name: page.headers[name] for name in HEADERS}
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/console/console.css", "/console/console.js"):
        page = await visitor.get(path)
        assert HEADERS | {"Cache-Control": "no-cache"} == {name: page.headers[name] for name in HEADERS}


async def test_the_page_needs_nothing_that_its_policy_forbids(visitor: Visitor) -> None:
    """No inline script or style is in the pages, and the two files come with their types."""
    await visitor.add_row(await visitor.add_account(), "-20")
    for page in (await visitor.look(), await visitor.get("/sign-in")):
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page.text)
    style, module = [await visitor.get(f"/console/console.{kind}") for kind in ("css", "js")]
    assert ("text/css; charset=utf-8", 200) == (style.headers["Content-Type"], style.status)
    assert ("text/javascript; charset=utf-8", 200) == (module.headers["Content-Type"], module.status)


@pytest.mark.parametrize("path", ["/console/", "/console/routes.py", "/console/rows.html", "/console/..%2fapp.py"])
async def test_no_other_file_is_served(visitor: Visitor, path: str) -> None:
    """There is no folder behind the console's files."""
    assert 404 == (await visitor.get(path, await visitor.begin_session())).status


async def test_until_the_database_is_open_pages_say_so(settings: Settings) -> None:
    """A process that still waits for Postgres answers 503 with Retry-After, and its files."""
    ingress = Ingress(replace(settings, port=free_port()))
    await ingress.listen()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ingress.settings.port}") as session:
        for path in PAGES:
            async with session.get(path) as answer:
                assert (503, "5", "text/html") == (answer.status, answer.headers["Retry-After"], answer.content_type)
        async with session.get("/console/console.css") as answer:
            assert 200 == answer.status
    await ingress.close()


async def test_without_postgres_pages_are_503_and_come_back(visitor: Visitor, postgres: LocalPostgres) -> None:
    """A lost Postgres is a plain page with Retry-After, costs nobody a try, and is forgotten when it is back."""
    token = await visitor.begin_session()
    name = await visitor.superuser.fetchval("SELECT current_database()")
    server = await asyncpg.connect(postgres.url())
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename LIKE 'bankfeed_%'", name
    )
    for page in [await visitor.get("/console", token), *[await visitor.sign_in() for _ in range(MOST_TRIES + 1)]]:
        assert (503, "5") == (page.status, page.headers["Retry-After"])
        assert "Not available" in page.text
        assert "asyncpg" not in page.text
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await server.close()
    while (await visitor.get("/console", token)).status == 503:
        pass
    assert 303 == (await visitor.sign_in()).status


async def test_a_bug_shows_no_traceback(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is a plain page; the traceback goes to the log."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr("ingress.console.routes.read_overview", fail)
    page = await visitor.look()
    assert 500 == page.status
    assert "Something went wrong" in page.text
    assert "secret reason" not in page.text
    assert "Traceback" not in page.text
