"""Accounts and transactions for tests of the API, written straight into the tables."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg

from bankfeed.db.client import take_change_numbers
from bankfeed.db.connection import upsert_connection
from bankfeed.model import AccountId, ClientId, TransactionId
from tests.ingress.api.conftest import Person

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A person's clients, and a connection that sees everything, to lay rows with."""

    person: Person
    superuser: asyncpg.Connection

    async def add_bank_account(self, client_id: ClientId | None = None) -> int:
        """Add a connection."""
        person = self.person
        async with person.database.tenant(person.customer_id) as conn:
            return await upsert_connection(
                conn,
                person.customer_id,
                client_id or person.client_id,
                source_id=person.sources.finicity,
                login_ref=f"login-{next(_numbers)}",
            )

    async def add_account(
        self, bank_account_id: int | None = None, client_id: ClientId | None = None, **columns: Any
    ) -> AccountId:
        """Add an account, open unless said otherwise; under a connection of its own where none is given."""
        usual: dict[str, Any] = {"name": "Checking", "number_display": "1234", "type": "checking", "currency": "USD"}
        if columns.get("state") == "closed":
            usual["closed_at"] = datetime.now(UTC)
        made = await self._insert(
            "accounts",
            customer_id=self.person.customer_id,
            client_id=client_id or self.person.client_id,
            connection_id=bank_account_id or await self.add_bank_account(client_id),
            source_id=self.person.sources.finicity,
            aggregator_id=f"account-{next(_numbers)}",
            **usual | columns,
        )
        return AccountId(made)

    async def add_row(self, account_id: int, amount: str = "-1.00", **columns: Any) -> TransactionId:
        """Add a transaction, active unless said otherwise, under the client's next change number."""
        state, now = columns.get("state", "active"), datetime.now(UTC)
        usual = {
            "transacted_on": date(2026, 3, 2),
            "description": "COFFEE",
            "state": state,
            "activated_at": now if state in ("active", "shadow") else None,
            "removed_at": now if state == "removed" else None,
        }
        empty = dict.fromkeys(("memo", "check_number", "kind", "raw_amount"), "")
        client_id = await self.superuser.fetchval("SELECT client_id FROM accounts WHERE id = $1", account_id)
        number = await take_change_numbers(self.superuser, self.person.customer_id, client_id, count=1)
        made = await self._insert(
            "transactions",
            customer_id=self.person.customer_id,
            client_id=client_id,
            account_id=account_id,
            amount=Decimal(amount),
            first_pulled_at=now,
            first_rule="new",
            first_change_no=number,
            change_no=number,
            **empty | usual | columns,
        )
        return TransactionId(made)

    async def add_entry(self, row_id: int, reference: str, **columns: Any) -> int:
        """Add a ledger entry made from a row."""
        client_id = await self.superuser.fetchval("SELECT client_id FROM transactions WHERE id = $1", row_id)
        return await self._insert(
            "ledger_entries",
            customer_id=self.person.customer_id,
            client_id=client_id,
            transaction_id=row_id,
            reference=reference,
            entered_on=date(2026, 3, 2),
            **columns,
        )

    async def set_policy(self, policy: str) -> None:
        """Choose what is seen of shadow rows, and nothing else."""
        await self.superuser.execute(
            "UPDATE customers SET shadow_policy = $2 WHERE id = $1", self.person.customer_id, policy
        )

    async def _insert(self, table: str, **columns: Any) -> int:
        marks = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) RETURNING id"  # noqa: S608 - names of ours
        made: int = await self.superuser.fetchval(sql, *columns.values())
        return made
