"""Plays a history of the replay format through worker and Postgres, beside the store in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

from bankfeed import acts
from bankfeed.aggregators import ListedAccount
from bankfeed.db import Database, account, history, transaction
from bankfeed.db.connection import (
    Lease,
    claim_connection,
    get_refresh_target,
    request_refreshes,
    update_institution,
    upsert_connection,
)
from bankfeed.db.doubt import OpenDoubt
from bankfeed.db.institution import find_institution_by_ref, upsert_institutions
from bankfeed.model import AccountId, Known, ListedInstitution, ShadowPolicy, TransactionId
from bankfeed.reconcile.changes import Doubt
from bankfeed.replay.play import Event, _order, find_row
from bankfeed.replay.report import Asked, AskedAccount, Ending, Life
from bankfeed.replay.steps import (
    CloseAccount,
    Delete,
    Link,
    Match,
    Merge,
    OpenAccount,
    Reconcile,
    Split,
    Step,
    TakePull,
)
from tests.seed import Sources, Tenant
from worker.commit import commit_pull
from worker.context import Context

ACTOR = "user:1"
LEASE_S = 3600


@dataclass(kw_only=True)
class Stored:
    """One tenant, whose accounts are those of a history. A name that is linked again is a new account at the bank."""

    context: Context
    sources: Sources
    tenant: Tenant
    leases: dict[str, Lease] = field(default_factory=dict)
    opened: dict[str, tuple[OpenAccount, str]] = field(default_factory=dict)
    names: dict[AccountId, tuple[str, str]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    at: datetime = datetime(1900, 1, 1, tzinfo=UTC)

    @property
    def database(self) -> Database:
        return self.context.database

    async def play(self, step: Step) -> None:
        """Take one step."""
        match step:
            case OpenAccount():
                known = self.opened.get(step.account)
                ref = f"{step.account} {step.line}" if known is None or known[1] == "" else known[1]
                self.opened[step.account] = (step, ref)
            case CloseAccount():
                await self._close(step.account, at=step.at or self.at)
            case TakePull():
                await self._pull(step)
            case _:
                await self._act(step)
        self.at = step.at or self.at

    async def _pull(self, step: TakePull) -> None:
        opened, ref = self.opened[step.account]
        if not ref:
            return  # it was unlinked; nobody pulls it
        lease = await self._lease(opened.identity.institution)
        async with self.database.tenant(self.tenant.customer_id) as conn:
            target = await get_refresh_target(conn, lease)
        listed = _list(step.account, opened, ref)
        beside = [
            _list(name, each, own)
            for name, (each, own) in self.opened.items()
            if own and each.identity.institution == opened.identity.institution
        ]
        changes = await commit_pull(
            self.context, lease, target, listed, step.pull, finish=None, beside=beside, now=step.pull.at
        )
        self.names[await self._find_account(ref)] = (step.account, opened.currency)
        self.events.append(Event(step=step, currency=opened.currency, at=step.at, changes=changes))

    async def _close(self, name: str, *, at: datetime) -> None:
        opened, ref = self.opened[name]
        self.opened[name] = (opened, "")
        account_id = await self._find_account(ref)
        async with self.database.tenant(self.tenant.customer_id) as conn:
            await account.mark_closed(conn, self.tenant.customer_id, [account_id], at=at)

    async def _act(self, step: Step) -> None:
        database, customer_id, at = self.database, self.tenant.customer_id, step.at or self.at
        match step:
            case Link():
                row = await self._find(step.account, step.match)
                await acts.link(database, customer_id, row, step.entry, actor=ACTOR, at=at)
            case Reconcile():
                row = await self._find(step.account, step.match)
                await acts.mark_reconciled(database, customer_id, row, actor=ACTOR, at=at)
            case Delete():
                row = await self._find(step.account, step.match)
                await acts.delete(database, customer_id, row, actor=ACTOR, at=at)
            case Split():
                row = await self._find(step.account, step.match)
                await acts.split(database, customer_id, row, step.into, actor=ACTOR, at=at)
            case Merge():
                keep = await self._find(step.account, step.keep)
                drop = await self._find(step.account, step.drop, besides=keep)
                await acts.merge(database, customer_id, keep, drop, actor=ACTOR, at=at)
            case _:
                raise TypeError(f"expected a step of the replay format, got {step!r}")

    async def _find(self, name: str, match: Match, *, besides: TransactionId | None = None) -> TransactionId:
        """Return the first row in view that matches."""
        [account_id] = [found for found, (newest, _) in self.names.items() if newest == name][-1:]
        rows = await self._rows(account_id)
        first = find_row(rows, match, besides=besides)
        assert first is not None
        assert first.id is not None
        return first.id

    async def _rows(self, account_id: AccountId) -> tuple[Known, ...]:
        async with self.database.tenant(self.tenant.customer_id) as conn:
            ids = await transaction.list_ids(conn, self.tenant.customer_id, account_id)
            return await transaction.list_rows(conn, self.tenant.customer_id, account_id, ids)

    async def _find_account(self, ref: str) -> AccountId:
        async with self.database.tenant(self.tenant.customer_id) as conn:
            found: AccountId = await conn.fetchval(
                "SELECT id FROM accounts WHERE aggregator_id = $1 AND adopted_into IS NULL", ref
            )
            return found

    async def _lease(self, institution: str) -> Lease:
        """Return the lease of our login at an institution; one that has no name is an institution nobody knows."""
        if institution in self.leases:
            return self.leases[institution]
        tenant = self.tenant
        async with self.database.tenant(tenant.customer_id) as conn:
            connection_id = await upsert_connection(
                conn, tenant.customer_id, tenant.client_id, source_id=self.sources.finicity, login_ref=institution
            )
        async with self.database.queue() as conn:
            await request_refreshes(conn, [(tenant.customer_id, connection_id)])
            lease = await claim_connection(conn, token=uuid4(), lease_s=LEASE_S)
        assert lease is not None
        assert connection_id == lease.connection_id
        if institution.strip():
            async with self.database.tenant(tenant.customer_id) as conn:
                named = ListedInstitution(ref=institution, name=institution)
                await upsert_institutions(conn, connector="finicity", listed=[named])
                found = await find_institution_by_ref(conn, connector="finicity", ref=institution)
                assert found is not None
                await update_institution(conn, lease, found.id)
        self.leases[institution] = lease
        return lease

    async def end(self, policy: ShadowPolicy) -> Ending:
        """Return where it stands, rows numbered as they came, as the store in memory numbers them."""
        lives = [life for account_id in self.names for life in await self._lives(account_id)]
        number = {row_id: n for n, row_id in enumerate(sorted(life.row.id or 0 for life in lives), start=1)}
        numbered = [_numbered(life, number) for life in lives]
        doubts = await acts.list_doubts(self.database, self.tenant.customer_id)
        return Ending(
            policy=policy,
            lives=tuple(sorted(numbered, key=lambda life: (life.account, *_order(life.row)))),
            asked=tuple([await self._asked(doubt) for doubt in doubts]),
            events=tuple(self.events),
        )

    async def _lives(self, account_id: AccountId) -> list[Life]:
        name, currency = self.names[account_id]
        customer_id = self.tenant.customer_id
        async with self.database.tenant(customer_id) as conn:
            ids = await transaction.list_ids(conn, customer_id, account_id)
            lives = await history.list_lived(conn, customer_id, account_id, ids)
        return [Life(account=name, currency=currency, row=life.row, steps=life.steps) for life in lives]

    async def _asked(self, doubt: OpenDoubt) -> Asked | AskedAccount:
        name, currency = self.names[doubt.account_id]
        if doubt.transaction_id is None:
            assert doubt.earlier_account_id is not None
            return AskedAccount(account=name, earlier=self.names[doubt.earlier_account_id][0])
        rows = {row.id: row for row in await self._rows(doubt.account_id)}
        asked = Doubt(
            transaction=doubt.before or rows[doubt.transaction_id],
            candidates=tuple(rows[row_id] for row_id in doubt.candidates),
            rule=doubt.rule,
            reason=doubt.reason,
        )
        return Asked(account=name, currency=currency, doubt=asked)


def _list(name: str, opened: OpenAccount, ref: str) -> ListedAccount:
    return ListedAccount(
        account_ref=ref,
        login_ref="1",
        institution_ref="1",
        name=name,
        number_display=opened.identity.number,
        type=opened.identity.type,
        currency=opened.currency,
    )


def _numbered(life: Life, number: Mapping[int, int]) -> Life:
    """Name rows by the order in which they came."""

    def rename(row: Known) -> Known:
        into = number[row.merged_into] if row.merged_into is not None else None
        own = TransactionId(number[row.id or 0])
        return replace(row, id=own, merged_into=None if into is None else TransactionId(into))

    steps = tuple(replace(step, before=step.before and rename(step.before)) for step in life.steps)
    return replace(life, row=rename(life.row), steps=steps)
