"""Entries with lines: made, read, and brought along with their transactions. Links without lines are in ledger.py."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.ledger.export import ExportLine
from bankfeed.ledger.follow import EntryId, EntryState, Followed, Standing, is_standing
from bankfeed.ledger.lines import LedgerAccountId, Line, Posting
from bankfeed.model import AccountId, ClientId, CustomerId, ShadowVerdict, TransactionId, TransactionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry with its lines. `transaction_id` is None of a correction, and of one that was taken off its transaction."""

    id: EntryId
    client_id: ClientId
    transaction_id: TransactionId | None
    reference: str
    state: EntryState
    entered_on: date
    memo: str
    corrects: EntryId | None
    posted_at: datetime | None
    voided_at: datetime | None
    created_at: datetime
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookable:
    """A transaction that may be booked: its account, and the ledger account of the bank's side, None where none is set."""

    transaction_id: TransactionId
    client_id: ClientId
    account_id: AccountId
    currency: str
    ledger_account_id: LedgerAccountId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry to store. `reference` None is made from its id; `corrects` is set of a correction, which is posted at once."""

    reference: str | None
    posting: Posting
    memo: str
    corrects: EntryId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFilter:
    """Which entries to list; None is any. Days are both included."""

    state: EntryState | None = None
    from_on: date | None = None
    to_on: date | None = None
    transaction_id: TransactionId | None = None
    corrects: EntryId | None = None


async def list_bookables(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId]
) -> dict[TransactionId, Bookable]:
    """Return what may be booked of these transactions; one of a deleted client or account, or none at all, is left out."""
    rows = await conn.fetch(
        """
        SELECT t.id AS transaction_id, t.client_id, t.account_id, a.currency, a.ledger_account_id
        FROM transactions t
        JOIN accounts a ON a.customer_id = $1 AND a.id = t.account_id AND a.deleted_at IS NULL
        JOIN clients c ON c.customer_id = $1 AND c.id = t.client_id AND c.deleted_at IS NULL
        WHERE t.customer_id = $1 AND t.id = ANY ($2::bigint[]) ORDER BY t.id
        """,
        customer_id,
        list(transaction_ids),
    )
    return {row["transaction_id"]: Bookable(**row) for row in rows}


async def list_of_transactions(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId]
) -> tuple[Entry, ...]:
    """List the entries with lines that are on these transactions, void ones too, in the order they were booked."""
    rows = await conn.fetch(
        """
        SELECT e.id, e.client_id, e.transaction_id, e.reference, e.state, e.entered_on, e.memo, e.corrects, e.posted_at,
               e.voided_at, e.created_at, l.ledger_account_ids, l.amounts, l.currencies
        FROM ledger_entries e CROSS JOIN LATERAL (
            SELECT array_agg(ledger_account_id ORDER BY line_no) AS ledger_account_ids,
                   array_agg(amount ORDER BY line_no) AS amounts, array_agg(currency ORDER BY line_no) AS currencies
            FROM ledger_lines WHERE customer_id = $1 AND entry_id = e.id
        ) l
        WHERE e.customer_id = $1 AND e.transaction_id = ANY ($2::bigint[]) AND l.amounts IS NOT NULL
        ORDER BY e.transaction_id, e.link_no, e.id
        """,
        customer_id,
        list(transaction_ids),
    )
    return tuple(_read_entry(row) for row in rows)


async def list_corrections(
    conn: Connection, customer_id: CustomerId, entry_ids: Sequence[EntryId]
) -> dict[EntryId, tuple[Posting, ...]]:
    """Return what was booked to correct these entries."""
    rows = await conn.fetch(
        """
        SELECT e.corrects, e.entered_on, l.ledger_account_ids, l.amounts, l.currencies
        FROM ledger_entries e CROSS JOIN LATERAL (
            SELECT array_agg(ledger_account_id ORDER BY line_no) AS ledger_account_ids,
                   array_agg(amount ORDER BY line_no) AS amounts, array_agg(currency ORDER BY line_no) AS currencies
            FROM ledger_lines WHERE customer_id = $1 AND entry_id = e.id
        ) l
        WHERE e.customer_id = $1 AND e.corrects = ANY ($2::bigint[]) AND e.state = 'posted'
        ORDER BY e.corrects, e.id
        """,
        customer_id,
        list(entry_ids),
    )
    found: dict[EntryId, list[Posting]] = defaultdict(list)
    for row in rows:
        found[row["corrects"]].append(Posting(on=row["entered_on"], lines=_read_lines(row)))
    return {entry_id: tuple(postings) for entry_id, postings in found.items()}


async def list_known(conn: Connection, customer_id: CustomerId, ids: Sequence[EntryId]) -> dict[EntryId, Entry]:
    """Return entries with lines, of clients that are there, by their ids."""
    rows = await conn.fetch(
        """
        SELECT e.id, e.client_id, e.transaction_id, e.reference, e.state, e.entered_on, e.memo, e.corrects, e.posted_at,
               e.voided_at, e.created_at, l.ledger_account_ids, l.amounts, l.currencies
        FROM ledger_entries e CROSS JOIN LATERAL (
            SELECT array_agg(ledger_account_id ORDER BY line_no) AS ledger_account_ids,
                   array_agg(amount ORDER BY line_no) AS amounts, array_agg(currency ORDER BY line_no) AS currencies
            FROM ledger_lines WHERE customer_id = $1 AND entry_id = e.id
        ) l
        WHERE e.customer_id = $1 AND e.id = ANY ($2::bigint[]) AND l.amounts IS NOT NULL
          AND EXISTS (SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = e.client_id AND c.deleted_at IS NULL)
        ORDER BY e.id
        """,
        customer_id,
        list(ids),
    )
    return {row["id"]: _read_entry(row) for row in rows}


async def list_entries_page(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    only: EntryFilter,
    *,
    after: tuple[date, int] | None,
    limit: int,
) -> tuple[Entry, ...]:
    """List a client's entries with lines by day. `after` is the last one's day and id."""
    after_on, after_id = after or (None, None)
    rows = await conn.fetch(
        """
        SELECT e.id, e.client_id, e.transaction_id, e.reference, e.state, e.entered_on, e.memo, e.corrects, e.posted_at,
               e.voided_at, e.created_at, l.ledger_account_ids, l.amounts, l.currencies
        FROM ledger_entries e CROSS JOIN LATERAL (
            SELECT array_agg(ledger_account_id ORDER BY line_no) AS ledger_account_ids,
                   array_agg(amount ORDER BY line_no) AS amounts, array_agg(currency ORDER BY line_no) AS currencies
            FROM ledger_lines WHERE customer_id = $1 AND entry_id = e.id
        ) l
        WHERE e.customer_id = $1 AND e.client_id = $2 AND l.amounts IS NOT NULL
          AND ($3::entry_state IS NULL OR e.state = $3) AND ($4::bigint IS NULL OR e.transaction_id = $4)
          AND e.entered_on >= coalesce($5::date, '-infinity') AND e.entered_on <= coalesce($6::date, 'infinity')
          AND ($7::date IS NULL OR (e.entered_on, e.id) > ($7, $8::bigint)) AND ($10::bigint IS NULL OR e.corrects = $10)
        ORDER BY e.entered_on, e.id LIMIT $9
        """,
        customer_id,
        client_id,
        only.state,
        only.transaction_id,
        only.from_on,
        only.to_on,
        after_on,
        after_id,
        limit,
        only.corrects,
    )
    return tuple(_read_entry(row) for row in rows)


async def list_standings(
    conn: Connection, customer_id: CustomerId, transaction_ids: Sequence[TransactionId]
) -> dict[TransactionId, Standing]:
    """Return how these transactions stand for the books; one that stands for nothing is left out."""
    rows = await conn.fetch(
        """
        SELECT id, state, amount, transacted_on, shadow_verdict FROM transactions
        WHERE customer_id = $1 AND id = ANY ($2::bigint[]) AND deleted_at IS NULL AND merged_into IS NULL
          AND fingerprint IS NULL
        ORDER BY id
        """,
        customer_id,
        list(transaction_ids),
    )
    found = {}
    for row in rows:
        state, verdict = TransactionState(row["state"]), row["shadow_verdict"]
        if is_standing(state, None if verdict is None else ShadowVerdict(verdict)):
            is_posted = state is not TransactionState.PENDING
            found[row["id"]] = Standing(amount=row["amount"], on=row["transacted_on"], is_posted=is_posted)
    return found


async def list_export_lines(
    conn: Connection,
    customer_id: CustomerId,
    client_id: ClientId,
    only: EntryFilter,
    *,
    after: tuple[date, int, int] | None,
    limit: int,
) -> tuple[ExportLine, ...]:
    """List the lines of a client's entries in order. `after` is the last one's day, entry and number."""
    after_on, after_id, after_no = after or (None, None, None)
    rows = await conn.fetch(
        """
        SELECT e.id AS entry_id, l.line_no, e.reference, e.state, e.entered_on, e.memo, e.transaction_id, e.corrects,
               a.code, a.name, l.amount, l.currency
        FROM ledger_entries e
        JOIN ledger_lines l ON l.customer_id = $1 AND l.entry_id = e.id
        JOIN ledger_accounts a ON a.customer_id = $1 AND a.id = l.ledger_account_id
        WHERE e.customer_id = $1 AND e.client_id = $2 AND e.state = $3::entry_state
          AND e.entered_on >= coalesce($6::date, $4::date, '-infinity') AND e.entered_on <= coalesce($5::date, 'infinity')
          AND ($6::date IS NULL OR (e.entered_on, e.id, l.line_no) > ($6, $7::bigint, $8::int))
        ORDER BY e.entered_on, e.id, l.line_no LIMIT $9
        """,
        customer_id,
        client_id,
        only.state,
        only.from_on,
        only.to_on,
        after_on,
        after_id,
        after_no,
        limit,
    )
    return tuple(ExportLine(**dict(row) | {"state": EntryState(row["state"])}) for row in rows)


async def insert_entries(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, entries: Sequence[NewEntry]
) -> tuple[EntryId | None, ...]:
    """Store entries without lines, on no transaction: drafts, and corrections, which are posted.

    Return their ids in order; None for one whose reference the client has already.
    """
    rows = await conn.fetch(
        """
        WITH given AS (
            SELECT u.n, coalesce(u.reference, gen_random_uuid()::text) AS reference, u.entered_on, u.memo, u.corrects
            FROM unnest($3::text[], $4::date[], $5::text[], $6::bigint[])
                WITH ORDINALITY AS u (reference, entered_on, memo, corrects, n)
        ), made AS (
            INSERT INTO ledger_entries (customer_id, client_id, reference, entered_on, memo, corrects, state, posted_at)
            SELECT $1, $2, reference, entered_on, memo, corrects,
                   CASE WHEN corrects IS NULL THEN 'draft' ELSE 'posted' END::entry_state,
                   CASE WHEN corrects IS NOT NULL THEN now() END
            FROM given ORDER BY n
            ON CONFLICT (customer_id, client_id, reference) DO NOTHING
            RETURNING id, reference
        )
        SELECT given.n, made.id FROM given LEFT JOIN made ON made.reference = given.reference ORDER BY given.n
        """,
        customer_id,
        client_id,
        [entry.reference for entry in entries],
        [entry.posting.on for entry in entries],
        [entry.memo for entry in entries],
        [entry.corrects for entry in entries],
    )
    return tuple(row["id"] for row in rows)


async def name_entries(conn: Connection, customer_id: CustomerId, ids: Sequence[EntryId]) -> dict[EntryId, str]:
    """Give entries a reference made from their ids, unless the client has that one already; return the references."""
    rows = await conn.fetch(
        """
        UPDATE ledger_entries e
        SET reference = CASE WHEN EXISTS (
                SELECT FROM ledger_entries o
                WHERE o.customer_id = $1 AND o.client_id = e.client_id AND o.reference = 'entry-' || e.id
            ) THEN e.reference ELSE 'entry-' || e.id END
        WHERE e.customer_id = $1 AND e.id = ANY ($2::bigint[]) RETURNING e.id, e.reference
        """,
        customer_id,
        list(ids),
    )
    return {row["id"]: row["reference"] for row in rows}


async def insert_lines(
    conn: Connection, customer_id: CustomerId, entries: Iterable[tuple[EntryId, Sequence[Line]]]
) -> None:
    """Store the lines of new entries."""
    lines = [(entry_id, n, line) for entry_id, own in entries for n, line in enumerate(own)]
    await conn.execute(
        """
        INSERT INTO ledger_lines (customer_id, entry_id, line_no, ledger_account_id, amount, currency)
        SELECT $1, u.entry_id, u.line_no, u.ledger_account_id, u.amount, u.currency
        FROM unnest($2::bigint[], $3::int[], $4::bigint[], $5::numeric[], $6::text[])
            AS u (entry_id, line_no, ledger_account_id, amount, currency)
        """,
        customer_id,
        [entry_id for entry_id, _, _ in lines],
        [line_no for _, line_no, _ in lines],
        [line.ledger_account_id for _, _, line in lines],
        [line.amount for _, _, line in lines],
        [line.currency for _, _, line in lines],
    )


async def update_followed(conn: Connection, customer_id: CustomerId, followed: Sequence[Followed]) -> None:
    """Bring entries that are not posted to how they are now: state, day and amounts, in one statement."""
    lines = [(each.id, n, line.amount) for each in followed for n, line in enumerate(each.lines)]
    await conn.execute(
        """
        WITH entry AS (
            UPDATE ledger_entries e SET state = u.state, entered_on = u.entered_on,
                posted_at = CASE WHEN u.state = 'posted' THEN now() END,
                voided_at = CASE WHEN u.state = 'void' THEN coalesce(e.voided_at, now()) END
            FROM unnest($2::bigint[], $3::entry_state[], $4::date[]) AS u (id, state, entered_on)
            WHERE e.customer_id = $1 AND e.id = u.id AND e.id = ANY ($2::bigint[]) AND e.state <> 'posted'
            RETURNING e.id
        )
        UPDATE ledger_lines l SET amount = u.amount
        FROM entry JOIN unnest($5::bigint[], $6::int[], $7::numeric[]) AS u (entry_id, line_no, amount)
            ON u.entry_id = entry.id
        WHERE l.customer_id = $1 AND l.entry_id = ANY ($2::bigint[]) AND l.entry_id = u.entry_id AND l.line_no = u.line_no
          AND l.amount <> u.amount
        """,
        customer_id,
        [each.id for each in followed],
        [each.state for each in followed],
        [each.on for each in followed],
        [entry_id for entry_id, _, _ in lines],
        [line_no for _, line_no, _ in lines],
        [amount for _, _, amount in lines],
    )


async def lock_entry(conn: Connection, customer_id: CustomerId, entry_id: EntryId) -> None:
    """Lock an entry until commit; after its account, where it is on a transaction."""
    await conn.execute(
        "SELECT id FROM ledger_entries WHERE customer_id = $1 AND id = $2 FOR UPDATE", customer_id, entry_id
    )


async def mark_void(conn: Connection, customer_id: CustomerId, entry_id: EntryId) -> None:
    """Make a draft void."""
    await conn.execute(
        """
        UPDATE ledger_entries SET state = 'void', voided_at = now()
        WHERE customer_id = $1 AND id = $2 AND state = 'draft'
        """,
        customer_id,
        entry_id,
    )


def _read_entry(row: Any) -> Entry:
    return Entry(
        id=row["id"],
        client_id=row["client_id"],
        transaction_id=row["transaction_id"],
        reference=row["reference"],
        state=EntryState(row["state"]),
        entered_on=row["entered_on"],
        memo=row["memo"],
        corrects=row["corrects"],
        posted_at=row["posted_at"],
        voided_at=row["voided_at"],
        created_at=row["created_at"],
        lines=_read_lines(row),
    )


def _read_lines(row: Any) -> tuple[Line, ...]:
    columns = zip(row["ledger_account_ids"], row["amounts"], row["currencies"], strict=True)
    return tuple(
        Line(ledger_account_id=account, amount=amount, currency=currency) for account, amount, currency in columns
    )
