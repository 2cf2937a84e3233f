"""A client whose bank is linked and listed, for tests of what is booked from it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from bankfeed.aggregators import ListedAccount
from bankfeed.db.connection import (
    Lease,
    claim_connection,
    get_refresh_target,
    request_refreshes,
    upsert_connection,
)
from bankfeed.jobs import Waker
from bankfeed.model import FeedKind, Pull, Reported, TransactionState, Values
from tests.ingress.api.conftest import Person
from worker.commit import commit_pull
from worker.context import Context

CSV = "code,name,kind\n1000,Checking,asset\n6100,Meals,expense\n6200,Travel,expense\n"
LISTED = ListedAccount(
    account_ref="5001",
    login_ref="login-1",
    institution_ref="1",
    name="Checking",
    number_display="4321",
    type="checking",
    currency="USD",
)


@dataclass(kw_only=True)
class Ledger:
    """A person, their client's linked account, and ledger accounts by code."""

    person: Person
    lease: Lease
    day: int = 3
    sub_account_id: int = 0
    accounts: dict[str, int] = field(default_factory=dict)

    async def pull(self, *rows: str) -> None:
        """Commit a complete list of the bank, a day later than the last: rows like "p1 pending 02 -20.00 CAFE"."""
        self.day += 1
        at = datetime(2026, 3, self.day, 6, tzinfo=UTC)
        pull = Pull(
            at=at,
            kind=FeedKind.FULL,
            from_on=date(2026, 2, 1),
            to_on=at.date(),
            is_complete=True,
            rows=tuple(_read_row(row) for row in rows),
        )
        person = self.person
        context = Context(database=person.database, connectors={}, waker=Waker(None), settings=person.ingress.settings)
        async with person.database.tenant(person.customer_id) as conn:
            target = await get_refresh_target(conn, self.lease)
        await commit_pull(context, self.lease, target, LISTED, pull, finish=None, now=at)
        async with person.database.tenant(person.customer_id) as conn:
            self.sub_account_id = await conn.fetchval("SELECT id FROM accounts")

    async def set_up(self) -> None:
        """Import the chart, and say where the sub-account books to."""
        said = await self.person.post("/ledger-accounts/import", {"clientId": self.person.client_id, "csv": CSV})
        assert 200 == said.status
        listed = await self.person.get("/ledger-accounts", clientId=self.person.client_id)
        self.accounts = {row["code"]: row["id"] for row in listed.body["ledgerAccounts"]}
        said = await self.person.patch(
            f"/sub-accounts/{self.sub_account_id}", {"ledgerAccountId": self.accounts["1000"]}
        )
        assert 200 == said.status

    async def find(self, description: str) -> int:
        """Find a transaction by its text."""
        async with self.person.database.tenant(self.person.customer_id) as conn:
            found: int = await conn.fetchval("SELECT min(id) FROM transactions WHERE description = $1", description)
            return found

    async def book(self, description: str, **more: Any) -> dict[str, Any]:
        """Book a transaction to meals; return the entry."""
        body = {"transactionId": await self.find(description), "ledgerAccountId": self.accounts["6100"], **more}
        said = await self.person.post("/entries", body)
        assert 201 == said.status, said.body
        entry: dict[str, Any] = said.body["entry"]
        return entry

    async def get(self, entry_id: int) -> dict[str, Any]:
        """Read an entry."""
        entry: dict[str, Any] = (await self.person.get(f"/entries/{entry_id}")).body["entry"]
        return entry


async def link_bank(person: Person) -> Ledger:
    """Link a bank for a person's client, with nothing listed yet."""
    tenant = person.tenant
    async with person.database.tenant(tenant.customer_id) as conn:
        connection_id = await upsert_connection(
            conn, tenant.customer_id, tenant.client_id, source_id=person.sources.finicity, login_ref="login-1"
        )
    async with person.database.queue() as conn:
        await request_refreshes(conn, [(tenant.customer_id, connection_id)])
        lease = await claim_connection(conn, token=uuid4(), lease_s=3600)
    assert lease is not None
    return Ledger(person=person, lease=lease)


def amounts(entry: dict[str, Any]) -> list[str]:
    """List the amounts of an entry's lines."""
    return [line["amount"] for line in entry["lines"]]


def _read_row(row: str) -> Reported:
    name, state, day, amount, description = row.split(" ", 4)
    values = Values(amount=Decimal(amount), transacted_on=date(2026, 3, int(day)), description=description)
    return Reported(aggregator_id=name, state=TransactionState(state), values=values, raw_amount=amount)
