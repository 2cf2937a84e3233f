"""Whether a new account was linked before (rule 11): then it goes on as the old one, with all its rows.

The first pull with rows tells. Where the old account is closed only later, a person is asked at the next pull.

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
from bankfeed.reconcile.adoption import Identity, Kinship, choose, judge, list_unsure
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
    beside: Sequence[ListedAccount],
    also_locked: Sequence[AccountId],
) -> Kin:
    """Judge the closed accounts that this one may be, the latest closed first, under their locks.

    `beside` is what the login lists. `also_locked` are the other accounts that this transaction changes: all are locked
    by id, in one go.
    """
    own = await relink.find_own(conn, lease, source_id=target.source_id, account_ref=listed.account_ref)
    earlier = () if find_failure(reported) else await relink.list_earlier(conn, lease, own, currency=listed.currency)
    others = (*also_locked, *(each.id for each in earlier))
    if others:  # else the own one is the only one, and locked by who writes it
        await account.lock_accounts(conn, lease.customer_id, (*others, *(() if own is None else (own.id,))))
    if earlier:  # one may have been opened again before the lock
        own = await relink.find_own(conn, lease, source_id=target.source_id, account_ref=listed.account_ref)
        closed = await relink.list_earlier(conn, lease, own, currency=listed.currency)
        earlier = tuple(each for each in earlier if each in closed)
    if own is not None and own.is_deleted:
        return Kin()  # it stays deleted, and is none of the others
    has_rows = own is not None and own.has_rows
    if not earlier or not (has_rows or reported.rows):
        return Kin()
    judged = [(each.id, await _judge(conn, lease, each, listed, reported)) for each in earlier]
    if has_rows:
        return Kin(unsure=list_unsure(judged))
    is_alone = await _is_alone(conn, lease, earlier[0].identity.institution, listed, beside)
    same, unsure = choose(judged, is_alone=is_alone)
    return Kin(same=same, unsure=unsure)


async def _judge(conn: Connection, lease: Lease, earlier: Earlier, listed: ListedAccount, reported: Pull) -> Kinship:
    known = await transaction.list_known(conn, lease.customer_id, earlier.id, pull=reported)
    return judge(earlier.identity, _identify(listed, earlier.identity.institution), known, reported)


async def _is_alone(
    conn: Connection, lease: Lease, institution: str, listed: ListedAccount, beside: Sequence[ListedAccount]
) -> bool:
    """Tell whether no other open account, nor another one of the login, has the facts of this one."""
    others = [
        _identify(each, institution)
        for each in beside
        if each.account_ref != listed.account_ref and each.currency == listed.currency
    ]
    others += await relink.list_open(conn, lease, besides=listed.account_ref, currency=listed.currency)
    return _identify(listed, institution).facts not in [each.facts for each in others]


def _identify(listed: ListedAccount, institution: str) -> Identity:
    return Identity(institution=institution, type=listed.type, number=listed.number_display)


async def return_to(
    conn: Connection, lease: Lease, target: RefreshTarget, listed: ListedAccount, earlier: AccountId
) -> None:
    """Give a closed account its new login and id, so that the pull goes on where the last one ended."""
    ref, source_id = listed.account_ref, target.source_id
    await relink.mark_ref_adopted(conn, lease, source_id=source_id, account_ref=ref, into=earlier)
    await relink.move_account(conn, lease, earlier, source_id=source_id, account_ref=ref)


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
