"""Whether the account of a first pull was linked before (rule 11): then it goes on as the old one, with all its rows.

In the transaction of hand-over (b), before the account's own lock. What nobody can tell becomes a doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bankfeed.aggregators import ListedAccount
from bankfeed.db import Connection, account, doubt, relink, transaction
from bankfeed.db.connection import Lease, RefreshTarget
from bankfeed.db.relink import Earlier
from bankfeed.model import AccountId, Pull, PullId
from bankfeed.reconcile.adoption import Identity, Kinship, judge
from bankfeed.reconcile.suspicion import find_failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """The closed account that a new one is, None where it is none of them, and those that a person is asked about."""

    same: AccountId | None = None
    unsure: tuple[AccountId, ...] = ()


async def find_kin(
    conn: Connection,
    lease: Lease,
    target: RefreshTarget,
    listed: ListedAccount,
    reported: Pull,
    *,
    also_locked: Sequence[AccountId],
) -> Kin:
    """Judge the closed accounts that this one may be, the latest closed first, under their locks.

    `also_locked` are the other accounts that this transaction changes: all are locked by id, in one go.
    """
    earlier = () if find_failure(reported) else await _list_earlier(conn, lease, target, listed)
    await account.lock_accounts(conn, lease.customer_id, (*also_locked, *(each.id for each in earlier)))
    if earlier:  # one may have been opened again before the lock
        closed = await _list_earlier(conn, lease, target, listed)
        earlier = tuple(each for each in earlier if each in closed)
    unsure = []
    for each in earlier:
        kinship = await _judge(conn, lease, each, listed, reported)
        if kinship is Kinship.SAME:
            return Kin(same=each.id)
        if kinship is Kinship.UNSURE:
            unsure.append(each.id)
    return Kin(unsure=tuple(unsure))


async def _list_earlier(
    conn: Connection, lease: Lease, target: RefreshTarget, listed: ListedAccount
) -> tuple[Earlier, ...]:
    return await relink.list_earlier(conn, lease, source_id=target.source_id, account_ref=listed.account_ref)


async def _judge(conn: Connection, lease: Lease, earlier: Earlier, listed: ListedAccount, reported: Pull) -> Kinship:
    new = Identity(institution=earlier.identity.institution, type=listed.type, number=listed.number_display)
    known = await transaction.list_known(conn, lease.customer_id, earlier.id, pull=reported)
    return judge(earlier.identity, new, known, reported)


async def return_to(
    conn: Connection, lease: Lease, target: RefreshTarget, listed: ListedAccount, earlier: AccountId, *, at: datetime
) -> None:
    """Give a closed account its new login and id, so that the pull goes on where the last one ended."""
    ref, source_id = listed.account_ref, target.source_id
    await relink.mark_ref_adopted(conn, lease, source_id=source_id, account_ref=ref, into=earlier)
    await relink.move_account(conn, lease, earlier, source_id=source_id, account_ref=ref)
    await doubt.mark_accounts_moot(conn, lease.customer_id, [earlier], at=at)


async def ask_about(
    conn: Connection, lease: Lease, account_id: AccountId, unsure: Sequence[AccountId], *, pull_id: PullId, at: datetime
) -> None:
    """Ask a person whether the account is one of these."""
    for earlier_id in unsure:
        await doubt.insert_account_doubt(
            conn,
            lease.customer_id,
            account_id,
            earlier_id=earlier_id,
            pull_id=pull_id,
            at=at,
            reason="it may be an account that was linked before",
        )
