"""Deleting what a person no longer wants: closed here at once, and noted for the worker to delete at the aggregator.

Each function works in the caller's transaction, so that the closing, the removals and the outbound event commit together.
Nothing is erased: rows and a person's acts wait for a re-link. What the aggregator still lists later does not come back;
only adding it does. Whoever calls wakes Wake.REMOVE and Wake.DELIVER after the commit.
"""

from collections.abc import Sequence
from datetime import datetime

from bankfeed.db import Connection, change, client, deletion, removal
from bankfeed.db.client import DeletedClient
from bankfeed.db.deletion import DoomedAccount, DoomedConnection
from bankfeed.db.removal import NewRemoval, RemovalKind
from bankfeed.errors import NotFound
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, EventType, SourceId
from bankfeed.outbox import News, tell


async def delete_sub_account(conn: Connection, customer_id: CustomerId, account_id: AccountId) -> None:
    """Delete one account; its login goes with the last one. Raises NotFound."""
    home = await deletion.get_home(conn, customer_id, account_id)
    doomed = await _lock_connection(conn, customer_id, home)
    accounts = await deletion.lock_accounts(conn, customer_id, [doomed.id])
    chosen = [each for each in accounts if each.id == account_id]
    if not chosen:  # deleted, or moved to another login, before the lock
        raise NotFound(f"there is no sub-account {account_id}")
    if not any(each.is_open for each in accounts if each.id != account_id):
        await _delete_connection(conn, customer_id, doomed, accounts)
        return
    await _close(conn, customer_id, doomed, chosen)
    await _touch(conn, customer_id, doomed, chosen)
    await _remove(conn, customer_id, doomed, RemovalKind.ACCOUNT, chosen[0].account_ref)


async def delete_bank_account(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> None:
    """Delete a login with all its accounts. Raises NotFound."""
    doomed = await _lock_connection(conn, customer_id, connection_id)
    await _delete_connection(
        conn, customer_id, doomed, await deletion.lock_accounts(conn, customer_id, [connection_id])
    )


async def delete_client(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, erase_days: int
) -> DeletedClient:
    """Delete a client with all its logins, to be erased after `erase_days`. Raises NotFound."""
    deleted = await client.mark_deleted(conn, customer_id, client_id, erase_days=erase_days)
    doomed = await deletion.lock_connections(conn, customer_id, client_id=client_id)
    accounts = await deletion.lock_accounts(conn, customer_id, [each.id for each in doomed])
    for each in doomed:
        await _close(conn, customer_id, each, [one for one in accounts if one.connection_id == each.id])
    await _close_connections(conn, customer_id, [each.id for each in doomed])
    enrolled = await client.list_customer_refs(conn, customer_id, client_id)
    removals = [
        NewRemoval(source_id=source_id, kind=RemovalKind.CUSTOMER, customer_ref=ref) for source_id, ref in enrolled
    ]
    await removal.insert_removals(conn, customer_id, client_id, removals)
    return deleted


async def note_enrolment(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, *, source_id: SourceId, customer_ref: str
) -> bool:
    """Note which customer of the aggregator a client is, which was made there just now. Safe to repeat.

    False where the client was deleted meanwhile: then that customer is to be deleted there too. Whoever calls raises only after
    the commit.
    """
    if await client.upsert_enrolment(conn, customer_id, client_id, source_id=source_id, customer_ref=customer_ref):
        return True
    wanted = NewRemoval(source_id=source_id, kind=RemovalKind.CUSTOMER, customer_ref=customer_ref)
    await removal.insert_removals(conn, customer_id, client_id, [wanted])
    return False


async def restore_client(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> bool:
    """Bring back a client that is not due to be erased yet; True where a refresh of its logins is due.

    Its logins and accounts come back closed, with their rows. Where the aggregator was not asked to delete the client yet,
    it is not asked any more, and a refresh opens what it still lists; where a worker is at it, that is so once the try has
    failed, or was abandoned. Raises NotFound, UsernameTaken.
    """
    deleted_at = await client.mark_restored(conn, customer_id, client_id)
    kept_at = await removal.mark_client_withdrawn(conn, customer_id, client_id)
    await deletion.restore_connections(conn, customer_id, client_id, deleted_at=deleted_at)
    if kept_at:
        await deletion.reopen_connections(conn, customer_id, client_id, kept_at)
    accounts = await deletion.restore_accounts(conn, customer_id, client_id, deleted_at=deleted_at)
    await change.touch_rows(conn, customer_id, client_id, accounts)
    return bool(kept_at)


async def add_again(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    *,
    source_id: SourceId,
    customer_ref: str,
    login_ref: str,
    account_refs: Sequence[str],
    at: datetime,
) -> None:
    """Let accounts that were deleted before a time be accounts again, because they were added then. Safe to repeat.

    The next refresh opens them. What was still to be deleted of them at the aggregator is not any more; where that was
    their whole login, the accounts that were not added are deleted one by one.
    """
    await deletion.reopen_accounts(conn, customer_id, source_id=source_id, account_refs=account_refs, at=at)
    is_login_kept = await removal.mark_withdrawn(
        conn, customer_id, source_id=source_id, login_ref=login_ref, account_refs=account_refs
    )
    if is_login_kept:
        refs = await deletion.list_deleted_refs(conn, customer_id, source_id=source_id, login_ref=login_ref)
        left = [
            NewRemoval(source_id=source_id, kind=RemovalKind.ACCOUNT, customer_ref=customer_ref, ref=ref)
            for ref in refs
        ]
        await removal.insert_removals(conn, customer_id, client_id, left)


async def _lock_connection(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> DoomedConnection:
    locked = await deletion.lock_connections(conn, customer_id, connection_id=connection_id)
    if not locked:
        raise NotFound(f"there is no bank account {connection_id}")
    return locked[0]


async def _delete_connection(
    conn: Connection, customer_id: CustomerId, doomed: DoomedConnection, accounts: Sequence[DoomedAccount]
) -> None:
    await _close(conn, customer_id, doomed, accounts)
    await _close_connections(conn, customer_id, [doomed.id])
    await _touch(conn, customer_id, doomed, accounts)
    await _remove(conn, customer_id, doomed, RemovalKind.LOGIN, doomed.login_ref)


async def _close(
    conn: Connection, customer_id: CustomerId, doomed: DoomedConnection, accounts: Sequence[DoomedAccount]
) -> None:
    """Close accounts of one connection, and tell subscribers of those that were open."""
    await deletion.mark_accounts_deleted(conn, customer_id, [each.id for each in accounts])
    if closed := [each.id for each in accounts if each.is_open]:
        news = News(event_type=EventType.BANK_ACCOUNT_DELETED, accounts=tuple(closed))
        await tell(conn, customer_id, [news], client_id=doomed.client_id, connection_id=doomed.id, at=doomed.locked_at)


async def _close_connections(conn: Connection, customer_id: CustomerId, connection_ids: Sequence[ConnectionId]) -> None:
    await deletion.mark_connections_deleted(conn, customer_id, connection_ids)
    await deletion.fail_bank_refreshes(conn, customer_id, connection_ids)


async def _touch(
    conn: Connection, customer_id: CustomerId, doomed: DoomedConnection, accounts: Sequence[DoomedAccount]
) -> None:
    """Tell of the rows that are out of view now. Of a client nobody is told, until it is restored."""
    closed = [each.id for each in accounts if each.is_open]
    await change.touch_rows(conn, customer_id, doomed.client_id, closed)


async def _remove(
    conn: Connection, customer_id: CustomerId, doomed: DoomedConnection, kind: RemovalKind, ref: str
) -> None:
    if doomed.customer_ref is None:
        return  # the aggregator does not know the client, and so has nothing of it
    wanted = NewRemoval(source_id=doomed.source_id, kind=kind, customer_ref=doomed.customer_ref, ref=ref)
    await removal.insert_removals(conn, customer_id, doomed.client_id, [wanted])
