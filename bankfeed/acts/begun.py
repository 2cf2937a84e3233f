"""An act under way: its transaction, and the account under its lock. What the act is, the other files say."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from bankfeed.bodies import TransactionCounts, count_changes
from bankfeed.db import Connection, Tenants, account, act, history, plan_for_bulk, transaction
from bankfeed.db.account import ActedOn
from bankfeed.db.history import Cause
from bankfeed.db.plan import write_changes
from bankfeed.errors import ActRefused, NotFound
from bankfeed.model import AccountId, ActId, CustomerId, EventType, Known, TransactionId
from bankfeed.outbox import News, tell
from bankfeed.reconcile import Changes
from bankfeed.reconcile.changes import ActKind
from bankfeed.reconcile.undo import Lived


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An act in its transaction. `at` is when the person acted."""

    conn: Connection
    customer_id: CustomerId
    account: ActedOn
    actor: str
    at: datetime

    async def get_row(self, row_id: TransactionId) -> Known:
        """Read a row of the account as it is now. Raises NotFound."""
        rows = await transaction.list_rows(self.conn, self.customer_id, self.account.id, [row_id])
        if not rows:
            raise _missing(row_id)
        return rows[0]

    async def list_rows(self, row_ids: Sequence[TransactionId]) -> tuple[Known, ...]:
        """Read rows of the account as they are now, in order of id. Raises NotFound."""
        rows = await transaction.list_rows(self.conn, self.customer_id, self.account.id, row_ids)
        if missing := sorted({*row_ids} - {row.id for row in rows}):
            raise _missing(missing[0])
        return rows

    async def get_standing(self, row_id: TransactionId) -> Known:
        """Read the row that one stands in now: itself, or the one that it was merged into. Raises NotFound."""
        row = await self.get_row(row_id)
        while row.merged_into is not None:
            row = await self.get_row(row.merged_into)
        return row

    async def get_lived(self, row_id: TransactionId) -> Lived:
        """Read a row of the account with what happened to it. Raises NotFound."""
        lives = await history.list_lived(self.conn, self.customer_id, self.account.id, [row_id])
        if not lives:
            raise _missing(row_id)
        return lives[0]

    async def record(self, kind: ActKind, changes: Changes, **detail: int | str) -> ActId:
        """Keep the act and write what it changes; `detail` is ids and references, never values."""
        act_id = await act.insert_act(
            self.conn, self.customer_id, self.account.id, kind=kind, at=self.at, actor=self.actor, detail=detail
        )
        await write_changes(
            self.conn,
            self.customer_id,
            self.account.client_id,
            self.account.id,
            changes,
            cause=Cause(at=self.at, act_id=act_id),
        )
        return act_id

    async def tell(self, event_type: EventType, account_id: AccountId, changes: Changes | None = None) -> None:
        """Tell subscribers about an account, with what is written here; `changes` are those of its rows that are told of."""
        counts = count_changes(changes) if changes is not None else TransactionCounts()
        await tell(
            self.conn,
            self.customer_id,
            [News(event_type=event_type, accounts=(account_id,), counts=counts)],
            client_id=self.account.client_id,
            connection_id=self.account.connection_id,
            at=self.at,
        )


@asynccontextmanager
async def begin(
    database: Tenants, customer_id: CustomerId, *row_ids: TransactionId, actor: str, at: datetime | None
) -> AsyncIterator[Begun]:
    """Open the transaction of an act on rows of one account, under its lock. Raises NotFound, ActRefused."""
    async with database.tenant(customer_id) as conn:
        homes = await account.list_accounts_of(conn, customer_id, row_ids)
        if missing := [row_id for row_id in row_ids if row_id not in homes]:
            raise NotFound(f"there is no transaction {missing[0]}")
        if len(set(homes.values())) > 1:
            raise ActRefused(f"expected rows of one account, got {', '.join(map(str, row_ids))}")
        yield await lock(conn, customer_id, homes[row_ids[0]], actor=actor, at=at)


async def lock(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, *, actor: str, at: datetime | None
) -> Begun:
    """Begin an act in an open transaction, under the account's lock. Raises NotFound."""
    await plan_for_bulk(conn)
    locked = await account.lock_acted_on(conn, customer_id, account_id)
    return Begun(conn=conn, customer_id=customer_id, account=locked, actor=actor, at=at or locked.locked_at)


def _missing(row_id: TransactionId) -> NotFound:
    return NotFound(f"there is no transaction {row_id} on that account")
