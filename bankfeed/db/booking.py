"""Lets entries follow their transactions, in the transaction that changes them. No SQL here: each noun has its own.

A change of a row costs nothing here unless the row has an entry and its amount, day or standing changed, or its entries
did; then one statement, and the others only where such an entry has lines. Their number does not grow with rows.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from bankfeed.db import entry, review
from bankfeed.db.database import Connection
from bankfeed.db.entry import Entry
from bankfeed.db.review import Asked
from bankfeed.ledger.follow import Booking, EntryId, EntryState, Followed, Standing, follow, stand
from bankfeed.ledger.lines import Posting
from bankfeed.model import ClientId, CustomerId, Known, TransactionId
from bankfeed.reconcile.changes import Change


async def follow_changes(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, changes: Sequence[Change]
) -> None:
    """Bring entries along with rows that were just written, and ask where that cannot be."""
    touched = {each.after.id: each for each in changes if each.after.id is not None and _is_touched(each)}
    if not touched:
        return
    unlinked = list_unlinked(touched.values())
    if unlinked:
        await review.mark_unlinked_moot(conn, customer_id, client_id, unlinked)
    booked = [row_id for row_id, each in touched.items() if each.after.entries]
    entries = await entry.list_of_transactions(conn, customer_id, booked) if booked else ()
    if not entries:
        return
    placed = await gather_bookings(conn, customer_id, entries)
    followed = [
        each
        for row_id, bookings in placed.items()
        for each in follow(stand(touched[row_id].after), bookings, news=_find_news(touched[row_id], entries))
    ]
    homes = {each.id: each.transaction_id for each in entries if each.transaction_id is not None}
    await write_followed(conn, customer_id, client_id, followed, homes, was=entries)


def list_unlinked(changes: Collection[Change]) -> list[str]:
    """Return the references that are on none of these rows any more."""
    there = {reference for each in changes for reference in each.after.entries}
    before = [reference for each in changes if each.before is not None for reference in each.before.entries]
    return [reference for reference in before if reference not in there]


async def gather_bookings(
    conn: Connection, customer_id: CustomerId, entries: Sequence[Entry]
) -> dict[TransactionId, tuple[Booking, ...]]:
    """Return entries as the rules need them, by their transaction, in the order they were booked."""
    posted = [each.id for each in entries if each.state is EntryState.POSTED]
    corrections = await entry.list_corrections(conn, customer_id, posted) if posted else {}
    asked = await review.list_asked(conn, customer_id, [each.id for each in entries])
    placed: dict[TransactionId, list[Booking]] = defaultdict(list)
    for each in entries:
        if each.transaction_id is not None:
            placed[each.transaction_id].append(as_booking(each, corrections, asked))
    return {row_id: tuple(bookings) for row_id, bookings in placed.items()}


def as_booking(
    each: Entry, corrections: Mapping[EntryId, tuple[Posting, ...]], asked: Mapping[EntryId, Asked]
) -> Booking:
    """Return an entry as the rules need it."""
    own = asked.get(each.id)
    return Booking(
        id=each.id,
        state=each.state,
        on=each.entered_on,
        lines=each.lines,
        corrections=corrections.get(each.id, ()),
        asked=own.open if own is not None else frozenset(),
        is_decided=own.is_decided if own is not None else False,
    )


async def write_followed(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    followed: Sequence[Followed],
    homes: Mapping[EntryId, TransactionId],
    *,
    was: Sequence[Entry],
) -> None:
    """Write what became of entries, and what is asked about them now. `homes` are their transactions."""
    before = {each.id: (each.state, each.entered_on, each.lines) for each in was}
    moved = [each for each in followed if (each.state, each.on, each.lines) != before[each.id]]
    if moved:
        await entry.update_followed(conn, customer_id, moved)
    if any(each.closes for each in followed):
        await review.mark_moot(conn, customer_id, followed)
    asked = [(each.id, homes[each.id], each.question) for each in followed if each.question is not None]
    if asked:
        await review.upsert_questions(conn, customer_id, client_id, asked)


def _is_touched(change: Change) -> bool:
    """Tell whether something about a row changed that its entries follow, or which entries it has."""
    before, after = change.before, change.after
    entries = before.entries if before is not None else ()
    if not after.entries and not entries:
        return False
    return entries != after.entries or _stood(before) != stand(after)


def _find_news(change: Change, entries: Sequence[Entry]) -> frozenset[EntryId]:
    """Return the entries for which what the bank says is new: all of a row that changed, else those new on it."""
    own = [each for each in entries if each.transaction_id == change.after.id]
    if _stood(change.before) != stand(change.after):
        return frozenset(each.id for each in own)
    known = change.before.entries if change.before is not None else ()
    return frozenset(each.id for each in own if each.reference not in known)


def _stood(before: Known | None) -> Standing | None:
    return stand(before) if before is not None else None
