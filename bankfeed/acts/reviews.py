"""Taking an entry back, and a person's answers where the books and the bank differ. A posted entry is never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bankfeed.acts.begun import Begun
from bankfeed.acts.books import write_new
from bankfeed.db import Connection, Tenants, entry, plan_for_bulk, review
from bankfeed.db.booking import gather_bookings, write_followed
from bankfeed.db.change import touch_transactions
from bankfeed.db.entry import Entry, NewEntry
from bankfeed.db.ledger import lock_home
from bankfeed.db.review import ReviewItem
from bankfeed.errors import ActRefused, NotFound
from bankfeed.ledger.follow import (
    Booking,
    EntryId,
    EntryState,
    ReviewKind,
    Standing,
    correct,
    find_holder,
    settle,
    share,
    stand,
)
from bankfeed.ledger.lines import Posting, compare
from bankfeed.model import CustomerId, TransactionId
from bankfeed.reconcile import acts
from bankfeed.reconcile.changes import ActKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """An entry that was taken back, and what was booked to reverse it: nothing where it was a draft."""

    entry: Entry
    reversals: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A review item that a person closed, and the correcting entries that were made."""

    item: ReviewItem
    corrections: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedItem:
    """An open item under the locks of what it is about.

    `row_id` is the transaction that the entry is on by now, and `standing` what that says to it.
    """

    item: ReviewItem
    entry: Entry
    row_id: TransactionId
    standing: Standing | None
    booking: Booking


async def undo_entry(
    database: Tenants, customer_id: CustomerId, entry_id: EntryId, *, actor: str, at: datetime | None = None
) -> Undone:
    """Take an entry off its transaction: a draft becomes void, a posted one is reversed by another, and both stay.

    Raises NotFound; ActRefused for a correction, and for one that was taken back before.
    """
    async with database.tenant(customer_id) as conn:
        begun, found = await _lock_entry(conn, customer_id, entry_id, actor=actor, at=at)
        if found.corrects is not None:
            raise ActRefused(f"expected an entry of its own, got {entry_id}, which corrects entry {found.corrects}")
        corrections = await entry.list_corrections(conn, customer_id, [entry_id])
        booked = (Posting(on=found.entered_on, lines=found.lines), *corrections.get(entry_id, ()))
        is_posted = found.state is EntryState.POSTED
        reversing = compare(booked, None) if is_posted else ()
        if begun is None and not reversing and found.state is not EntryState.DRAFT:
            raise ActRefused(f"expected an entry that stands, got {entry_id}, which was taken back")
        if begun is not None and found.transaction_id is not None:
            row = await begun.get_row(found.transaction_id)
            changes = acts.unlink(row, found.reference)
            await begun.record(ActKind.UNLINK, changes, row=found.transaction_id, entry=found.reference)
        if not is_posted:
            await entry.mark_void(conn, customer_id, entry_id)
        made = await _correct(conn, customer_id, found, reversing, memo=f"Reversal of {found.reference}")
        after = await entry.list_known(conn, customer_id, [entry_id])
        return Undone(entry=after[entry_id], reversals=made)


async def accept_review(
    database: Tenants, customer_id: CustomerId, item_id: int, *, actor: str, at: datetime | None = None
) -> Answered:
    """Let the books say what the bank does: book the correction of a posted entry, or let a draft go on.

    Where nothing is left to correct the item is closed alone. Raises NotFound; ActRefused where it is closed already.
    """
    async with database.tenant(customer_id) as conn:
        locked = await _lock_item(conn, customer_id, item_id, actor=actor, at=at)
        found, standing, booking = locked.entry, locked.standing, locked.booking
        postings = correct(standing, booking) if booking.state is EntryState.POSTED else ()
        made = await _correct(conn, customer_id, found, postings, memo=f"Correction of {found.reference}")
        return await _close(conn, customer_id, locked, actor=actor, corrections=made, standing=standing)


async def dismiss_review(
    database: Tenants, customer_id: CustomerId, item_id: int, *, actor: str, at: datetime | None = None
) -> Answered:
    """Leave the books as they are; it is asked again only when the transaction changes again. Raises as accepting does."""
    async with database.tenant(customer_id) as conn:
        locked = await _lock_item(conn, customer_id, item_id, actor=actor, at=at)
        stays_void = locked.item.kind is ReviewKind.RETURNED
        return await _close(conn, customer_id, locked, actor=actor, standing=None if stays_void else locked.standing)


async def list_offers(
    conn: Connection, customer_id: CustomerId, items: Sequence[ReviewItem]
) -> dict[int, tuple[Posting, ...]]:
    """Return what accepting each item would book now, by the item's id; nothing where its entry is not posted."""
    entries = await entry.list_known(conn, customer_id, [item.entry_id for item in items])
    row_ids = [each.transaction_id for each in entries.values() if each.transaction_id is not None]
    standings = await entry.list_standings(conn, customer_id, row_ids)
    placed = await gather_bookings(conn, customer_id, await entry.list_of_transactions(conn, customer_id, row_ids))
    offers = {}
    for item in items:
        found = entries.get(item.entry_id)
        row_id = None if found is None else found.transaction_id
        if row_id is not None:
            standing, booking = _pick(item.entry_id, standings.get(row_id), placed[row_id])
            offers[item.id] = correct(standing, booking) if booking.state is EntryState.POSTED else ()
    return offers


async def _lock_entry(
    conn: Connection, customer_id: CustomerId, entry_id: EntryId, *, actor: str, at: datetime | None
) -> tuple[Begun | None, Entry]:
    """Lock an entry and the account of its transaction; None where it is on none. Raises NotFound."""
    first = await _get(conn, customer_id, entry_id)
    begun = None
    if first.transaction_id is not None:
        await plan_for_bulk(conn)
        home = await lock_home(conn, customer_id, first.transaction_id)
        begun = Begun(conn=conn, customer_id=customer_id, account=home, actor=actor, at=at or home.locked_at)
    await entry.lock_entry(conn, customer_id, entry_id)
    found = await _get(conn, customer_id, entry_id)  # somebody may have moved it before the locks
    if found.transaction_id != first.transaction_id:
        raise ActRefused(f"expected entry {entry_id} to stay where it is meanwhile, got another one's act: try again")
    return begun, found


async def _get(conn: Connection, customer_id: CustomerId, entry_id: EntryId) -> Entry:
    found = await entry.list_known(conn, customer_id, [entry_id])
    if entry_id not in found:
        raise NotFound(f"there is no entry {entry_id}")
    return found[entry_id]


async def _lock_item(
    conn: Connection, customer_id: CustomerId, item_id: int, *, actor: str, at: datetime | None
) -> LockedItem:
    """Lock what an open item is about. Raises NotFound; ActRefused where it is closed."""
    first = await review.get_item(conn, customer_id, item_id)
    begun, found = await _lock_entry(conn, customer_id, first.entry_id, actor=actor, at=at)
    item = await review.get_item(conn, customer_id, item_id)  # somebody may have answered before the locks
    row_id = found.transaction_id
    if item.closed_at is not None or begun is None or row_id is None:
        raise ActRefused(f"expected an open review item, got {item_id}, which was closed by {item.closed_by}")
    bookings = await gather_bookings(conn, customer_id, await entry.list_of_transactions(conn, customer_id, [row_id]))
    standing, booking = _pick(found.id, stand(await begun.get_row(row_id)), bookings[row_id])
    return LockedItem(item=item, entry=found, row_id=row_id, standing=standing, booking=booking)


def _pick(entry_id: EntryId, standing: Standing | None, bookings: Sequence[Booking]) -> tuple[Standing | None, Booking]:
    [booking] = [each for each in bookings if each.id == entry_id]
    return share(standing, booking, find_holder(bookings)), booking


async def _correct(
    conn: Connection, customer_id: CustomerId, found: Entry, postings: Sequence[Posting], *, memo: str
) -> tuple[Entry, ...]:
    """Book what corrects an entry, a day an entry; return them."""
    if not postings:
        return ()
    news = [NewEntry(reference=None, posting=posting, memo=memo, corrects=found.id) for posting in postings]
    made = await entry.insert_entries(conn, customer_id, found.client_id, news)
    ids = [entry_id for entry_id in made if entry_id is not None]
    await write_new(conn, customer_id, ids, news)
    stored = await entry.list_known(conn, customer_id, ids)
    return tuple(stored[entry_id] for entry_id in ids)


async def _close(
    conn: Connection,
    customer_id: CustomerId,
    locked: LockedItem,
    *,
    actor: str,
    corrections: tuple[Entry, ...] = (),
    standing: Standing | None,
) -> Answered:
    """Close an item, and let a draft go on that waited for it."""
    item, found = locked.item, locked.entry
    correcting = corrections[-1].id if corrections else None
    await review.mark_closed(conn, customer_id, item.id, by=actor, correcting_entry_id=correcting)
    settled = settle(item.kind, standing, locked.booking)
    homes = {found.id: locked.row_id}
    await write_followed(conn, customer_id, found.client_id, [settled], homes, was=[found])
    if (settled.state is EntryState.VOID) != (found.state is EntryState.VOID):
        await touch_transactions(conn, customer_id, found.client_id, [locked.row_id])  # it shows the entry again
    return Answered(item=await review.get_item(conn, customer_id, item.id), corrections=corrections)
