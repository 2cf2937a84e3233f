"""Writes a plan, of a pull or of a person's act, in the caller's transaction, under the account's lock.

However many rows it has, the number of statements is the same. No SQL here: each noun has its own.
"""

from collections.abc import Iterable, Mapping, Sequence

from bankfeed.db import account, booking, client, doubt, history, ledger, transaction
from bankfeed.db.database import Connection
from bankfeed.db.history import Cause
from bankfeed.db.ledger import Move
from bankfeed.db.transaction import Written
from bankfeed.errors import ActRefused
from bankfeed.model import AccountId, ClientId, CustomerId, Known, TransactionId
from bankfeed.reconcile.changes import Change, Changes


async def write_changes(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    account_id: AccountId,
    changes: Changes,
    *,
    cause: Cause,
) -> None:
    """Write rows, their history, entries, doubts and the balance, in a transaction that plans for bulk.

    Raises ActRefused where an entry is on another row.
    """
    written = await _number(conn, customer_id, client_id, changes.rows)
    old = [row for row in written if row.known.id is not None]
    new = [row for row in written if row.known.id is None]
    if old:
        await transaction.update_transactions(conn, customer_id, account_id, written=old)
    if new:
        await transaction.insert_transactions(
            conn, customer_id, client_id, account_id, pull_id=cause.pull_id, written=new
        )
    ids = await _find_new_ids(conn, customer_id, client_id, changes, new, cause)
    await _write_history(conn, customer_id, cause, old, new, ids)
    await _move_entries(conn, customer_id, client_id, changes.rows)
    await booking.follow_changes(conn, customer_id, client_id, changes.rows)
    if changes.freed_ids:
        await doubt.mark_freed(conn, customer_id, changes.freed_ids, cause=cause)
    if changes.returned_ids:
        await doubt.mark_moot(conn, customer_id, changes.returned_ids, at=cause.at)
    if changes.doubts:
        asked = [(each, _ids(each.candidates, ids)) for each in changes.doubts]
        await doubt.insert_doubts(conn, customer_id, account_id, cause, asked)
    if changes.balance is not None:
        suspects = _ids(changes.balance.suspects, ids)
        await account.update_balance(conn, customer_id, account_id, check=changes.balance, suspects=suspects)


async def _number(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, rows: Sequence[Change]
) -> list[Written]:
    if not rows:
        return []
    first = await client.take_change_numbers(conn, customer_id, client_id, count=len(rows))
    return [Written(change=row, change_no=first + n) for n, row in enumerate(rows)]


async def _find_new_ids(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    changes: Changes,
    new: Sequence[Written],
    cause: Cause,
) -> dict[Known, TransactionId]:
    """Return the ids that rows of this plan were stored under, as far as something names them; of equals the first."""
    named = {row for each in changes.doubts for row in each.candidates if row.id is None}
    named.update(row for row in (changes.balance.suspects if changes.balance else ()) if row.id is None)
    if cause.act_id is not None:
        named.update(row.known for row in new)
    if not named:
        return {}
    numbers: dict[Known, int] = {}
    for row in new:
        if row.known in named:
            numbers.setdefault(row.known, row.change_no)
    ids = await transaction.list_numbered_ids(conn, customer_id, client_id, list(numbers.values()))
    return {row: ids[number] for row, number in numbers.items()}


def _ids(rows: Iterable[Known], new_ids: Mapping[Known, TransactionId]) -> list[TransactionId]:
    found = (row.id if row.id is not None else new_ids.get(row) for row in rows)
    return [row_id for row_id in found if row_id is not None]


async def _write_history(
    conn: Connection,
    customer_id: CustomerId,
    cause: Cause,
    old: Sequence[Written],
    new: Sequence[Written],
    new_ids: Mapping[Known, TransactionId],
) -> None:
    """Keep how rows were. That a pull added a row stands on the row; of one that an act added, here."""
    changed = [(row.known.id, row) for row in old if row.known.id is not None]
    if cause.act_id is not None:
        changed += [(new_ids[row.known], row) for row in new]
    if changed:
        await history.insert_changes(conn, customer_id, cause, changed)
    erased = [row.known.id for row in old if row.known.fingerprint and row.known.id is not None]
    if erased:
        await history.erase_changes(conn, customer_id, erased)


async def _move_entries(conn: Connection, customer_id: CustomerId, client_id: ClientId, rows: Sequence[Change]) -> None:
    moves = _find_moves(rows)
    if not moves:
        return
    moved = await ledger.move_entries(conn, customer_id, client_id, moves)
    for move in moves:
        if move.reference not in moved:
            where = "on no row" if move.from_id is None else f"on row {move.from_id}"
            raise ActRefused(f"expected entry {move.reference!r} {where}, got it on another one, or void")


def _find_moves(rows: Sequence[Change]) -> list[Move]:
    """Return where the entries of a plan go: from the difference of each row's entries before and after."""
    changed = [row for row in rows if row.after.entries != _entries(row.before)]
    from_ids = {entry: row.after.id for row in changed for entry in _entries(row.before)}
    moves = [
        _move(row, entry, from_id=from_ids.get(entry), to_id=row.after.id, link_no=n)
        for row in changed
        for n, entry in enumerate(row.after.entries)
    ]
    there = {move.reference for move in moves}
    return moves + [
        _move(row, entry, from_id=row.after.id, to_id=None, link_no=0)
        for row in changed
        for entry in _entries(row.before)
        if entry not in there
    ]


def _entries(row: Known | None) -> tuple[str, ...]:
    return row.entries if row is not None else ()


def _move(row: Change, entry: str, *, from_id: TransactionId | None, to_id: TransactionId | None, link_no: int) -> Move:
    entered_on = row.after.values.transacted_on
    return Move(reference=entry, from_id=from_id, to_id=to_id, link_no=link_no, entered_on=entered_on)
