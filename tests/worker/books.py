"""A tenant's books beside the accounts of a history, for tests of what follows from pulls and acts."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg
import orjson

from bankfeed.acts.books import Wanted, WantedPart, book
from bankfeed.acts.reviews import accept_review, dismiss_review
from bankfeed.db import Database
from bankfeed.db.ledger_account import insert_ledger_account
from bankfeed.jobs import Waker
from bankfeed.ledger.chart import ChartRow, LedgerKind
from bankfeed.ledger.follow import EntryId
from bankfeed.ledger.lines import LedgerAccountId
from bankfeed.model import TransactionId
from bankfeed.replay.steps import read_steps
from bankfeed.settings import Settings
from tests.pure.history import read_history
from tests.seed import make_sources, make_tenant
from tests.worker.histories import ACTOR, Stored
from worker.context import Context


@dataclass(kw_only=True)
class Books:
    """One tenant with a chart of accounts, whose accounts are those of a history."""

    stored: Stored
    superuser: asyncpg.Connection
    bank: LedgerAccountId
    meals: LedgerAccountId
    travel: LedgerAccountId
    begun: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.stored.database

    @property
    def customer_id(self) -> Any:
        return self.stored.tenant.customer_id

    async def read(self, text: str) -> None:
        """Take a history's steps through the worker's commit."""
        steps = read_history(f"\n\n{text}").steps
        self.begun.append(text)
        for step in read_steps(b"\n".join(orjson.dumps(each) for each in steps)):
            await self.stored.play(step)
            await self.superuser.execute("UPDATE accounts SET ledger_account_id = $1", self.bank)

    async def find(self, text: str) -> TransactionId:
        """Find the oldest row of that description."""
        return TransactionId(
            await self.superuser.fetchval("SELECT min(id) FROM transactions WHERE description LIKE $1", f"{text}%")
        )

    async def book(self, text: str, *parts: str) -> EntryId:
        """Book a row: whole to meals, or in parts to meals and travel."""
        sides = [WantedPart(ledger_account_id=self.meals)]
        if parts:
            accounts = (self.meals, self.travel)
            sides = [
                WantedPart(ledger_account_id=account, amount=Decimal(part))
                for account, part in zip(accounts, parts, strict=True)
            ]
        wanted = Wanted(transaction_id=await self.find(text), parts=tuple(sides))
        [made] = await book(self.database, self.customer_id, [wanted], actor=ACTOR)
        return made.id

    async def entry(self, entry_id: EntryId) -> tuple[str, str, list[str]]:
        """Return an entry's state, day and amounts."""
        row = await self.superuser.fetchrow(
            """
            SELECT state::text, to_char(entered_on, 'MM-DD') AS day,
                   ARRAY(SELECT amount::text FROM ledger_lines WHERE entry_id = e.id ORDER BY line_no) AS amounts
            FROM ledger_entries e WHERE id = $1
            """,
            entry_id,
        )
        return row["state"], row["day"], row["amounts"]

    async def reviews(self) -> list[tuple[int, str]]:
        """List the open review items: which entry's, and of what kind."""
        rows = await self.superuser.fetch(
            "SELECT entry_id, kind::text FROM review_items WHERE closed_at IS NULL ORDER BY id"
        )
        return [(row["entry_id"], row["kind"]) for row in rows]

    async def answer(self, word: str) -> tuple[EntryId, ...]:
        """Accept or dismiss the only open item; return the corrections."""
        item_id = await self.superuser.fetchval("SELECT id FROM review_items WHERE closed_at IS NULL")
        answer = {"accept": accept_review, "dismiss": dismiss_review}[word]
        answered = await answer(self.database, self.customer_id, item_id, actor=ACTOR)
        assert answered.item.closed_by == ACTOR
        return tuple(each.id for each in answered.corrections)

    async def balance(self) -> dict[str, str]:
        """Sum up what is posted by ledger account."""
        rows = await self.superuser.fetch(
            """
            SELECT a.code, sum(l.amount)::text AS amount FROM ledger_lines l
            JOIN ledger_entries e ON e.id = l.entry_id AND e.state = 'posted'
            JOIN ledger_accounts a ON a.id = l.ledger_account_id GROUP BY a.code ORDER BY a.code
            """
        )
        return {row["code"]: row["amount"] for row in rows}


async def make_books(
    database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> Books:
    """Make a tenant with three ledger accounts."""
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    sources = await make_sources(owner)
    tenant = await make_tenant(database, sources)
    ids = []
    async with database.tenant(tenant.customer_id) as conn:
        for code, kind in (("bank", LedgerKind.ASSET), ("meals", LedgerKind.EXPENSE), ("travel", LedgerKind.EXPENSE)):
            row = ChartRow(code=code, name=code, kind=kind)
            made = await insert_ledger_account(conn, tenant.customer_id, tenant.client_id, row)
            assert made is not None
            ids.append(made.id)
    stored = Stored(context=context, sources=sources, tenant=tenant)
    return Books(stored=stored, superuser=superuser, bank=ids[0], meals=ids[1], travel=ids[2])
