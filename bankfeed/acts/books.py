"""Booking transactions: an entry for each, linked to it.

Making an entry is also a link (bankfeed/acts/rows.py): the reference follows its movement through new ids, re-linking and
merges, and the entry goes with it. From then on every change of the row is followed where rows are written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bankfeed.acts.begun import Begun, lock
from bankfeed.db import Connection, Tenants, account, entry, ledger, ledger_account, transaction
from bankfeed.db.booking import list_unlinked
from bankfeed.db.entry import Bookable, Entry, NewEntry
from bankfeed.db.ledger_account import LedgerAccount
from bankfeed.errors import ActRefused, BadRequest, NotFound
from bankfeed.ledger.follow import (
    EntryId,
    EntryState,
    Standing,
    stand,
)
from bankfeed.ledger.lines import LedgerAccountId, Part, Posting, make_lines
from bankfeed.model import AccountId, ClientId, CustomerId, Known, TransactionId
from bankfeed.money import parse_amount
from bankfeed.reconcile import Changes, Verdict, acts
from bankfeed.reconcile.changes import ActKind


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPart:
    """A part as a person asks for it; `amount` None is the whole transaction."""

    ledger_account_id: LedgerAccountId
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An entry that a person asks for. `field` is what it is called in their request, "" where it is all of it."""

    transaction_id: TransactionId
    parts: tuple[WantedPart, ...]
    memo: str = ""
    reference: str | None = None
    field: str = ""

    def say(self, text: str) -> str:
        """Return a sentence about it, with its name first where it has one."""
        return f"{self.field}: {text}" if self.field else text

    def name(self, field: str) -> str:
        """Return what one of its fields is called in the request."""
        return f"{self.field}.{field}" if self.field else field


async def book(
    database: Tenants, customer_id: CustomerId, wanted: Sequence[Wanted], *, actor: str, at: datetime | None = None
) -> tuple[Entry, ...]:
    """Make an entry from each transaction, all or none; return them in order. All are of one client.

    A pending transaction's is a draft, an active one's is posted. Raises NotFound, BadRequest naming the field, ActRefused.
    """
    async with database.tenant(customer_id) as conn:
        bookables = await _get_bookables(conn, customer_id, wanted)
        ledgers = await _list_ledgers(conn, customer_id, wanted, bookables)
        account_ids = sorted({each.account_id for each in bookables.values()})
        await account.lock_accounts(conn, customer_id, account_ids)
        begun = {each: await lock(conn, customer_id, each, actor=actor, at=at) for each in account_ids}
        rows = await _list_free_rows(begun, wanted, bookables)
        postings = [_make_posting(each, bookables[each.transaction_id], rows, ledgers) for each in wanted]
        client_id = bookables[wanted[0].transaction_id].client_id
        news = [
            NewEntry(reference=each.reference, posting=posting, memo=each.memo)
            for each, posting in zip(wanted, postings, strict=True)
        ]
        ids = _require_new(wanted, await entry.insert_entries(conn, customer_id, client_id, news))
        references = await write_new(conn, customer_id, ids, news)
        by_row = dict(zip((each.transaction_id for each in wanted), references, strict=True))
        for account_id, each in begun.items():
            own = [row for row in rows.values() if row.id is not None and bookables[row.id].account_id == account_id]
            await _link(each, own, by_row)
        made = await entry.list_known(conn, customer_id, ids)
        return tuple(made[entry_id] for entry_id in ids)


async def _get_bookables(
    conn: Connection, customer_id: CustomerId, wanted: Sequence[Wanted]
) -> dict[TransactionId, Bookable]:
    """Return what the transactions are booked by. Raises NotFound, BadRequest."""
    found = await entry.list_bookables(conn, customer_id, [each.transaction_id for each in wanted])
    clients: set[ClientId] = set()
    seen: set[TransactionId] = set()
    for each in wanted:
        row_id = each.transaction_id
        if row_id not in found:
            raise NotFound(each.say(f"there is no transaction {row_id}"))
        clients.add(found[row_id].client_id)
        if row_id in seen or len(clients) > 1:
            expected = "each transaction once" if row_id in seen else "transactions of one client"
            raise BadRequest(each.say(f"expected {expected}, got {row_id}"), field=each.name("transactionId"))
        seen.add(row_id)
    return found


async def _list_ledgers(
    conn: Connection, customer_id: CustomerId, wanted: Sequence[Wanted], bookables: Mapping[TransactionId, Bookable]
) -> dict[LedgerAccountId, LedgerAccount]:
    ids = {part.ledger_account_id for each in wanted for part in each.parts}
    ids |= {each.ledger_account_id for each in bookables.values() if each.ledger_account_id is not None}
    return await ledger_account.list_known(conn, customer_id, sorted(ids))


async def _list_free_rows(
    begun: Mapping[AccountId, Begun], wanted: Sequence[Wanted], bookables: Mapping[TransactionId, Bookable]
) -> dict[TransactionId, Known]:
    """Read the rows after the locks. Raises NotFound; ActRefused for one that has an entry already."""
    rows: dict[TransactionId, Known] = {}
    taken: dict[TransactionId, EntryId] = {}
    for account_id, each in begun.items():
        own = [row_id for row_id, bookable in bookables.items() if bookable.account_id == account_id]
        found = await transaction.list_rows(each.conn, each.customer_id, account_id, own)
        rows |= {row.id: row for row in found if row.id is not None}
        entries = await entry.list_of_transactions(each.conn, each.customer_id, own)
        taken |= {
            booked.transaction_id: booked.id
            for booked in entries
            if booked.state is not EntryState.VOID and booked.transaction_id is not None
        }
    for want in wanted:
        row_id = want.transaction_id
        if row_id not in rows:  # it moved to another account before the lock
            raise NotFound(want.say(f"there is no transaction {row_id} on account {bookables[row_id].account_id}"))
        if row_id in taken:
            raise ActRefused(
                want.say(f"expected a transaction that is not booked, got {row_id}: undo entry {taken[row_id]} first")
            )
    return rows


def _make_posting(
    want: Wanted,
    bookable: Bookable,
    rows: Mapping[TransactionId, Known],
    ledgers: Mapping[LedgerAccountId, LedgerAccount],
) -> Posting:
    standing = stand(rows[want.transaction_id])
    if standing is None:
        raise ActRefused(
            want.say(f"expected a transaction that stands, got {want.transaction_id}: it is deleted, merged or gone")
        )
    bank = bookable.ledger_account_id
    if bank is None:
        raise ActRefused(
            want.say(
                f"expected sub-account {bookable.account_id} to have a ledger account for the bank's side: set "
                f"ledgerAccountId by PATCH /sub-accounts/{bookable.account_id}"
            )
        )
    _require_open(want, ledgers.get(bank), bank, bookable.client_id)
    for part in want.parts:
        _require_open(want, ledgers.get(part.ledger_account_id), part.ledger_account_id, bookable.client_id)
        if part.ledger_account_id == bank:
            raise BadRequest(
                want.say(f"expected another ledger account than the bank's own side, got {bank}"),
                field=want.name("ledgerAccountId"),
            )
    return Posting(on=standing.on, lines=make_lines(bank, _read_parts(want, bookable, standing), bookable.currency))


def _read_parts(want: Wanted, bookable: Bookable, standing: Standing) -> list[Part]:
    """Return the parts with their amounts. Raises BadRequest where they do not add up."""
    if [part.amount for part in want.parts] == [None]:
        return [Part(ledger_account_id=want.parts[0].ledger_account_id, amount=standing.amount)]
    parts = []
    for n, part in enumerate(want.parts):
        try:
            amount = parse_amount(part.amount if part.amount is not None else "", bookable.currency)
        except BadRequest as error:
            raise BadRequest(want.say(str(error)), field=want.name(f"lines[{n}].amount")) from error
        if amount == 0 and standing.amount != 0:
            raise BadRequest(want.say("expected parts none of which is zero"), field=want.name(f"lines[{n}].amount"))
        parts.append(Part(ledger_account_id=part.ledger_account_id, amount=amount))
    total = sum((part.amount for part in parts), Decimal(0))
    if total != standing.amount:
        raise BadRequest(
            want.say(f"expected parts that add up to the transaction's {standing.amount}, got {total}"),
            field=want.name("lines"),
        )
    return parts


def _require_open(
    want: Wanted, found: LedgerAccount | None, ledger_account_id: LedgerAccountId, client_id: ClientId
) -> None:
    if found is None or found.client_id != client_id:
        raise NotFound(want.say(f"there is no ledger account {ledger_account_id} of client {client_id}"))
    if found.archived_at is not None:
        raise ActRefused(want.say(f"expected a ledger account in use, got {ledger_account_id}, which is archived"))


def _require_new(wanted: Sequence[Wanted], ids: Sequence[EntryId | None]) -> list[EntryId]:
    for each, entry_id in zip(wanted, ids, strict=True):
        if entry_id is None:
            raise ActRefused(
                each.say(f"expected a reference that the client has not, got {each.reference!r}, which an entry has")
            )
    return [entry_id for entry_id in ids if entry_id is not None]


async def require_fitting(begun: Begun, row_id: TransactionId, reference: str) -> None:
    """See that an entry with lines may be on a row: its bank's side is the account's. Raises ActRefused."""
    sides = await ledger.list_bank_sides(begun.conn, begun.customer_id, begun.account.client_id, [reference])
    for side in sides:
        home = (await entry.list_bookables(begun.conn, begun.customer_id, [row_id]))[row_id]
        if side.is_correction:
            raise ActRefused(f"expected an entry of its own, got entry {side.entry_id}, which corrects another one")
        if (side.ledger_account_id, side.currency) != (home.ledger_account_id, home.currency):
            raise ActRefused(
                f"expected an entry whose bank's side is the sub-account's ledger account {home.ledger_account_id or '(none)'} "
                f"in {home.currency}, got entry {side.entry_id} with {side.ledger_account_id} in {side.currency}"
            )


async def require_none_unbooked(begun: Begun, changes: Changes) -> None:
    """See that a plan takes no entry with lines off its row: only undoing the entry does that. Raises ActRefused."""
    references = list_unlinked(changes.rows)
    if not references:
        return
    sides = await ledger.list_bank_sides(begun.conn, begun.customer_id, begun.account.client_id, references)
    if sides:
        [first, *_] = sides
        raise ActRefused(
            f"expected a link alone, got {first.reference!r}, which is in the books: undo entry {first.entry_id} first"
        )


async def write_new(
    conn: Connection, customer_id: CustomerId, ids: Sequence[EntryId], news: Sequence[NewEntry]
) -> list[str]:
    """Store the lines of new entries; return their references."""
    pairs = list(zip(ids, news, strict=True))
    await entry.insert_lines(conn, customer_id, [(entry_id, new.posting.lines) for entry_id, new in pairs])
    unnamed = [entry_id for entry_id, new in pairs if new.reference is None]
    named = await entry.name_entries(conn, customer_id, unnamed) if unnamed else {}
    return [named[entry_id] if new.reference is None else new.reference for entry_id, new in pairs]


async def _link(begun: Begun, rows: Sequence[Known], references: Mapping[TransactionId, str]) -> None:
    """Link rows of one account to their new entries, in one act."""
    pairs = [(row, references[row.id]) for row in rows if row.id is not None]
    linked = tuple(change for row, reference in pairs for change in acts.link(row, reference).rows)
    changes = Changes(verdict=Verdict.APPLIED, rows=linked)
    if len(pairs) == 1:
        [(row, reference)] = pairs
        await begun.record(ActKind.LINK, changes, row=row.id or 0, entry=reference)
        return
    entries = " ".join(reference for _, reference in pairs)
    await begun.record(ActKind.LINK, changes, rows=" ".join(str(row.id) for row, _ in pairs), entries=entries)
