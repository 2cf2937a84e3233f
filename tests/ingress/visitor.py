"""A browser at the console, and the database behind its pages."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from html import unescape
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
from argon2 import PasswordHasher

from bankfeed import cases
from bankfeed.cases import CaseRequest
from bankfeed.db import Database
from bankfeed.db.session import insert_session
from bankfeed.db.user import insert_user
from bankfeed.model import ConnectionId
from ingress.console.door import COOKIE
from tests.seed import Sources, Tenant

if TYPE_CHECKING:
    from tests.ingress.conftest import Door

EMAIL = "ann@firm.example"
PASSWORD = "correct horse"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_numbers = count(1)
PAGES = ("/", "/sign-in", "/console", "/console/rows", "/console/cases", "/console/banks", "/console/bank-accounts/1")


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

    door: "Door"
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

    async def press(self, path: str, **form: object) -> Page:
        """Press a button of the console as the customer's user: post its form."""
        return await self.post(path, form, Cookie=f"{COOKIE}={await self.begin_session()}")

    async def become(self, role: str) -> None:
        """Give the customer's user a role."""
        await self.superuser.execute("UPDATE users SET role = $1::text::user_role", role)

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

    async def open_case(self, connection_id: int, **columns: Any) -> int:
        """Open a support case about a connection, as the widget does."""
        wanted = CaseRequest(
            connection_id=ConnectionId(connection_id),
            opened_by=f"client:{self.tenant.client_id}",
            **{"telephone": "+1 555 0100"} | columns,
        )
        async with self.database.tenant(self.tenant.customer_id) as conn:
            return await cases.open_case(conn, self.door.ingress.settings, self.tenant.customer_id, wanted)

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
