"""Journal entries made from transactions: one or many, listed, taken back, exported as CSV."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta, field

from bankfeed.acts.books import Wanted, WantedPart, book
from bankfeed.acts.reviews import undo_entry as undo
from bankfeed.db import client, entry
from bankfeed.db.entry import Entry, EntryFilter
from bankfeed.errors import BadRequest, NotFound
from bankfeed.ledger.export import write_header, write_lines
from bankfeed.ledger.follow import EntryId, EntryState
from bankfeed.ledger.lines import LedgerAccountId
from bankfeed.model import ClientId, TransactionId
from ingress.api.call import Call
from ingress.api.ledger_accounts import MAX_ID, NOT_BLANK
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Stream, Wire

TAG: Final = "Entries"
MAX_LINES: Final = 100
MAX_AT_ONCE: Final = 500
EXPORT_LINES: Final = 2_000
AMOUNT: Final = r"^-?[0-9]{1,18}(\.[0-9]{1,4})?$"

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
From = Annotated[date, Meta(description="The first day.")]
To = Annotated[date, Meta(description="The last day.")]


class EntryLine(Wire):
    """A line of an entry."""

    ledger_account_id: int
    amount: Annotated[Decimal, Meta(description="A debit is positive, a credit negative; they add up to zero.")]
    currency: str


class EntryRow(Wire):
    """A journal entry. A draft follows its transaction; a posted one never changes; a void one counts for nothing."""

    id: int
    client_id: int
    transaction_id: Annotated[
        int | None, Meta(description="The transaction that it books; null for a correction and one that was undone.")
    ]
    reference: Annotated[str, Meta(description="What it is linked to the transaction by; unique for the client.")]
    state: EntryState
    entered_on: date
    memo: str
    corrects: Annotated[int | None, Meta(description="The entry that this one corrects or reverses.")]
    lines: Annotated[
        list[EntryLine], Meta(description="The bank's side is the first line of an entry of a transaction.")
    ]
    posted_at: datetime | None
    voided_at: datetime | None
    created_at: datetime


class BookedAnswer(Wire):
    """One entry."""

    entry: EntryRow


class EntryAnswer(Wire):
    """One entry, with the entries that correct it."""

    entry: EntryRow
    corrections: list[EntryRow]


class EntriesAnswer(Wire):
    """The entries that were made, in the order of the request."""

    entries: list[EntryRow]


class EntryPage(Wire):
    """Some entries, by day."""

    entries: list[EntryRow]
    next_cursor: str | None


class UndoneEntryAnswer(Wire):
    """An entry that was taken back, and what reverses it: nothing where it was not posted."""

    entry: EntryRow
    reversals: list[EntryRow]


class NewEntryLine(Body):
    """A part of a transaction, and where it is booked to."""

    ledger_account_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="A ledger account of the same client.")]
    amount: Annotated[
        str,
        Meta(pattern=AMOUNT, max_length=24, description="With the transaction's sign: the parts add up to its amount."),
    ]


class NewBooking(Body):
    """An entry to make: the whole transaction to one ledger account, or parts of it to several."""

    transaction_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="A transaction that is not booked yet.")]
    ledger_account_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="Where all of it goes.")] | None = None
    lines: (
        Annotated[list[NewEntryLine], Meta(min_length=1, max_length=MAX_LINES, description="Or its parts.")] | None
    ) = None
    memo: Annotated[str, Meta(max_length=500, description="For people.")] = ""
    reference: (
        Annotated[
            str,
            Meta(min_length=1, max_length=128, pattern=NOT_BLANK, description="Made from the entry's id if not given."),
        ]
        | None
    ) = None


class NewBookings(Body):
    """Entries to make, all or none."""

    items: Annotated[
        list[NewBooking],
        Meta(min_length=1, max_length=MAX_AT_ONCE, description="Of one client, each transaction once."),
    ]


class EntryParams(Body):
    """Which entry."""

    entry_id: Annotated[Id, Meta(description="The entry's id.")]


class EntryListParams(Body):
    """Whose entries, which of them, and which page."""

    client_id: Annotated[Id, Meta(description="The client's id.")]
    state: EntryState | None = None
    transaction_id: Annotated[Id, Meta(description="Those of one transaction.")] | None = None
    from_: From | None = field(default=None, name="from")
    to: To | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class ExportParams(Body):
    """Whose entries, and of which days."""

    client_id: Annotated[Id, Meta(description="The client's id.")]
    from_: From | None = field(default=None, name="from")
    to: To | None = None
    state: Annotated[EntryState, Meta(description="Drafts and void ones only if asked for.")] = EntryState.POSTED


async def book_transaction(call: Call, _: NoParams, body: NewBooking) -> BookedAnswer:
    """Make an entry from a transaction."""
    [made] = await book(call.database, call.customer_id, [_read(body)], actor=call.actor)
    call.target = f"entry={made.id} transaction={body.transaction_id}"
    return BookedAnswer(entry=show_entry(made))


async def book_transactions(call: Call, _: NoParams, body: NewBookings) -> EntriesAnswer:
    """Make an entry from each of many transactions."""
    wanted = [_read(each, place=f"items[{n}]") for n, each in enumerate(body.items)]
    made = await book(call.database, call.customer_id, wanted, actor=call.actor)
    call.target = f"entries={','.join(str(each.id) for each in made)}"[:1_000]
    return EntriesAnswer(entries=[show_entry(each) for each in made])


async def list_entries(call: Call, params: EntryListParams) -> EntryPage:
    """List a client's entries by day."""
    owner = await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    _require_forward(params.from_, params.to)
    only = EntryFilter(
        state=params.state,
        from_on=params.from_,
        to_on=params.to,
        transaction_id=None if params.transaction_id is None else TransactionId(params.transaction_id),
    )
    found = await entry.list_entries_page(
        call.conn,
        call.customer_id,
        owner.id,
        only,
        after=None if params.cursor is None else read_cursor(params.cursor, tuple[date, int]),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return EntryPage(
        entries=[show_entry(each) for each in page],
        next_cursor=write_cursor((page[-1].entered_on, page[-1].id)) if len(found) > params.limit else None,
    )


async def get_entry(call: Call, params: EntryParams) -> EntryAnswer:
    """Answer one entry with its corrections."""
    wanted = EntryId(params.entry_id)
    found = (await entry.list_known(call.conn, call.customer_id, [wanted])).get(wanted)
    if found is None:
        raise NotFound(f"there is no entry {wanted}")
    corrections = await entry.list_entries_page(
        call.conn, call.customer_id, found.client_id, EntryFilter(corrects=wanted), after=None, limit=MAX_PAGE
    )
    return EntryAnswer(entry=show_entry(found), corrections=[show_entry(each) for each in corrections])


async def undo_entry(call: Call, params: EntryParams) -> UndoneEntryAnswer:
    """Take an entry back."""
    undone = await undo(call.database, call.customer_id, EntryId(params.entry_id), actor=call.actor)
    return UndoneEntryAnswer(entry=show_entry(undone.entry), reversals=[show_entry(each) for each in undone.reversals])


async def export_entries(call: Call, params: ExportParams) -> Stream:
    """Export a client's entries."""
    owner = await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    _require_forward(params.from_, params.to)
    only = EntryFilter(state=params.state, from_on=params.from_, to_on=params.to)
    return Stream(
        chunks=_export(call, owner.id, only),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="entries-{owner.id}.csv"'},
    )


async def _export(call: Call, client_id: ClientId, only: EntryFilter) -> AsyncIterator[bytes]:
    yield write_header()
    after: tuple[date, int, int] | None = None
    while True:
        lines = await entry.list_export_lines(
            call.conn, call.customer_id, client_id, only, after=after, limit=EXPORT_LINES
        )
        if lines:
            yield write_lines(lines)
            after = lines[-1].entered_on, lines[-1].entry_id, lines[-1].line_no
        if len(lines) < EXPORT_LINES:
            return


def show_entry(found: Entry) -> EntryRow:
    """Return an entry as it is on the wire."""
    return EntryRow(
        id=found.id,
        client_id=found.client_id,
        transaction_id=found.transaction_id,
        reference=found.reference,
        state=found.state,
        entered_on=found.entered_on,
        memo=found.memo,
        corrects=found.corrects,
        lines=[
            EntryLine(ledger_account_id=line.ledger_account_id, amount=line.amount, currency=line.currency)
            for line in found.lines
        ],
        posted_at=found.posted_at,
        voided_at=found.voided_at,
        created_at=found.created_at,
    )


def _read(body: NewBooking, *, place: str = "") -> Wanted:
    wanted = Wanted(
        transaction_id=TransactionId(body.transaction_id),
        parts=_read_parts(body.ledger_account_id, body.lines),
        memo=body.memo,
        reference=body.reference,
        field=place,
    )
    if not wanted.parts:
        raise BadRequest(wanted.say("expected either ledgerAccountId or lines"), field=wanted.name("ledgerAccountId"))
    return wanted


def _read_parts(ledger_account_id: int | None, lines: Sequence[NewEntryLine] | None) -> tuple[WantedPart, ...]:
    """Return the parts; none where not exactly one of both is given."""
    if lines is None and ledger_account_id is not None:
        return (WantedPart(ledger_account_id=LedgerAccountId(ledger_account_id)),)
    if lines is None or ledger_account_id is not None:
        return ()
    return tuple(
        WantedPart(ledger_account_id=LedgerAccountId(line.ledger_account_id), amount=Decimal(line.amount))
        for line in lines
    )


def _require_forward(first: date | None, last: date | None) -> None:
    if first is not None and last is not None and first > last:
        raise BadRequest(f"expected from to be at most {last}, got {first}", field="from")


ROUTES: Final = (
    Route(
        method="POST",
        path="/entries",
        handle=book_transaction,
        summary="Make a journal entry from a transaction",
        text="The bank's side is the ledger account of the sub-account: money into the account is its debit. A pending "
        "transaction's entry is a draft that follows its amount and day, and is posted when the transaction is active. If the "
        "transaction goes away a draft becomes void. A posted entry never changes: what differs later is a review item.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        body=NewBooking,
        answer=BookedAnswer,
        status=201,
        errors={"act_refused": 409},
    ),
    Route(
        method="POST",
        path="/entries/bulk",
        handle=book_transactions,
        summary="Make journal entries from many transactions",
        text=f"Up to {MAX_AT_ONCE}, all or none; what does not fit is named with its index.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        body=NewBookings,
        answer=EntriesAnswer,
        status=201,
        errors={"act_refused": 409},
    ),
    Route(
        method="GET",
        path="/entries",
        handle=list_entries,
        summary="List a client's journal entries",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=EntryListParams,
        answer=EntryPage,
    ),
    Route(
        method="GET",
        path="/entries/export",
        handle=export_entries,
        summary="Export a client's journal entries as CSV",
        text="A line of CSV for each line of an entry. What a spreadsheet would take for a formula has an apostrophe before it.",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=ExportParams,
        streams=True,
    ),
    Route(
        method="GET",
        path="/entries/{entryId}",
        handle=get_entry,
        summary="Get a journal entry and what corrects it",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=EntryParams,
        answer=EntryAnswer,
    ),
    Route(
        method="POST",
        path="/entries/{entryId}/undo",
        handle=undo_entry,
        summary="Take a journal entry back",
        text="A draft becomes void. A posted one is reversed by another entry, and both stay. Its transaction can be booked anew.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=EntryParams,
        answer=UndoneEntryAnswer,
        errors={"act_refused": 409},
    ),
)
