"""`bankfeed customers`: making a customer with its owner, where nobody may register, and listing those there are."""

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import click
from argon2 import PasswordHasher

from bankfeed.db import Connection, Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.customer import get_customer, insert_customer, list_customer_ids
from bankfeed.db.database import set_tenant
from bankfeed.db.user import insert_user, list_people
from bankfeed.errors import BadRequest
from bankfeed.model import CustomerId
from bankfeed.people import check_password, read_email
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings

T = TypeVar("T")
MOST_OWNERS = 1000
HEADS = ("ID", "ENVIRONMENT", "NAME", "OWNERS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A customer that was made, and its owner."""

    customer_id: CustomerId
    user_id: int
    environment: str


def run_add(*, name: str, email: str, reads_password: bool) -> None:
    """Make a customer with its owner and print what was made. Raises BadRequest, SettingsError and Unavailable.

    The password is the first line of standard input, or what is typed twice at the terminal; where neither is there one is
    made and printed, this once.
    """
    settings = Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})
    firm, address = name.strip(), read_email(email)
    if not firm:
        raise BadRequest("expected --name to be the firm's name, got nothing")
    given = _read_password(reads_password=reads_password)
    password = given or secrets.token_urlsafe(18)
    check_password(password, email=address)
    made = asyncio.run(
        _with_database(
            settings, lambda database: add_customer(database, settings, name=firm, email=address, password=password)
        )
    )
    lines = [f"made customer {made.customer_id} ({made.environment}): {firm}", f"its owner: {address}"]
    lines += [] if given else [f"password, shown only now: {password}"]
    click.echo("\n".join(lines))


def run_list() -> None:
    """Print the customers, a line each. Raises SettingsError and Unavailable."""
    settings = Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})
    rows = asyncio.run(_with_database(settings, list_customers))
    click.echo(_as_table(rows) if rows else "there are no customers")


async def add_customer(database: Database, settings: Settings, *, name: str, email: str, password: str) -> Made:
    """Make a customer of this deployment's environment with its owner. Raises BadRequest where the address is somebody's."""
    password_hash = PasswordHasher().hash(password)
    async with database.app() as conn:
        customer_id = await insert_customer(conn, name=name, environment=settings.environment)
        user_id = await insert_user(conn, customer_id, email=email, password_hash=password_hash, role="owner")
        if user_id is None:
            raise BadRequest(f"somebody has the e-mail address {email} already", field="email")
        await insert_audit(
            conn,
            customer_id,
            actor="system",
            action="customer.added",
            target=f"userId={user_id}",
            remote="",
            request_id=None,
        )
    return Made(customer_id=customer_id, user_id=user_id, environment=settings.environment)


async def list_customers(database: Database) -> list[tuple[str, ...]]:
    """List customers with their owners' addresses. One at a time: the app's role sees no two at once."""
    async with database.queue() as conn:
        ids = await list_customer_ids(conn)
    rows = []
    async with database.app() as conn:
        for customer_id in ids:
            await set_tenant(conn, customer_id)
            rows.append(await _describe(conn, customer_id))
    return rows


async def _describe(conn: Connection, customer_id: CustomerId) -> tuple[str, ...]:
    customer = await get_customer(conn, customer_id)
    people = await list_people(conn, customer_id, after_id=0, limit=MOST_OWNERS)
    owners = " ".join(person.email for person in people if person.role == "owner")
    return (str(customer.id), customer.environment, customer.name, owners)


async def _with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    database = await Database.connect(settings)
    try:
        return await work(database)
    finally:
        await database.close()


def _read_password(*, reads_password: bool) -> str:
    """Return the password that somebody gives, '' where one is to be made."""
    if reads_password:
        given = sys.stdin.readline().rstrip("\r\n")
        if not given:
            raise BadRequest("expected the password as a line of standard input, got nothing")
        return given
    if not sys.stdin.isatty():
        return ""
    typed: str = click.prompt(
        "Password (empty: one is made)", default="", show_default=False, hide_input=True, confirmation_prompt=True
    )
    return typed


def _as_table(rows: Sequence[tuple[str, ...]]) -> str:
    every = [HEADS, *rows]
    widths = [max(len(row[n]) for row in every) for n in range(len(HEADS) - 1)]
    return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in every)
