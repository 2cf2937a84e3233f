"""Ledger entries, as far as they follow the movements that they were made from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from bankfeed.db.account import ActedOn
from bankfeed.db.database import Connection
from bankfeed.errors import NotFound
from bankfeed.ledger.follow import EntryId
from bankfeed.ledger.lines import LedgerAccountId
from bankfeed.model import ClientId, CustomerId, TransactionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An entry that goes from one row to another; None where it was, or will be, on none.

    `link_no` is its place among the entries of its row. `entered_on` is the day of an entry that has to be made first.
    """

    reference: str
    from_id: TransactionId | None
    to_id: TransactionId | None
    link_no: int
    entered_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSide:
    """An entry with lines, and what its first one, the bank's, is booked to."""

    entry_id: EntryId
    reference: str
    is_correction: bool
    ledger_account_id: LedgerAccountId
    currency: str


async def list_entries(
    conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]
) -> dict[TransactionId, tuple[str, ...]]:
    """Return the references of the entries that are on these rows, in the order they were booked.

    Void ones too: what is still linked was voided because its movement went away, and goes on following it.
    """
    rows = await conn.fetch(
        """
        SELECT transaction_id, reference FROM ledger_entries
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[])
        ORDER BY transaction_id, link_no, id
        """,
        customer_id,
        list(ids),
    )
    return group_by_row(rows)


async def list_shown_entries(
    conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]
) -> dict[TransactionId, tuple[str, ...]]:
    """Return the references that people see on these rows: those of entries that are not void, in the order they were booked."""
    rows = await conn.fetch(
        """
        SELECT transaction_id, reference FROM ledger_entries
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[]) AND state <> 'void'
        ORDER BY transaction_id, link_no, id
        """,
        customer_id,
        list(ids),
    )
    return group_by_row(rows)


async def list_bank_sides(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, references: Sequence[str]
) -> tuple[BankSide, ...]:
    """List the entries of these references that have lines, wherever they are; a link alone is left out."""
    rows = await conn.fetch(
        """
        SELECT e.id AS entry_id, e.reference, e.corrects IS NOT NULL AS is_correction, l.ledger_account_id, l.currency
        FROM ledger_entries e JOIN ledger_lines l ON l.customer_id = $1 AND l.entry_id = e.id AND l.line_no = 0
        WHERE e.customer_id = $1 AND e.client_id = $2 AND e.reference = ANY ($3::text[]) ORDER BY e.id
        """,
        customer_id,
        client_id,
        list(references),
    )
    return tuple(BankSide(**row) for row in rows)


async def lock_home(conn: Connection, customer_id: CustomerId, transaction_id: TransactionId) -> ActedOn:
    """Lock the account of a transaction until commit, also one that was deleted: books outlive it. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT id, client_id, connection_id, state, adopted_into, clock_timestamp() AS locked_at
        FROM accounts a
        WHERE customer_id = $1 AND id = (SELECT account_id FROM transactions WHERE customer_id = $1 AND id = $2)
          AND EXISTS (SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = a.client_id AND c.deleted_at IS NULL)
        FOR UPDATE
        """,
        customer_id,
        transaction_id,
    )
    if row is None:
        raise NotFound(f"there is no transaction {transaction_id}")
    return ActedOn(**row)


def group_by_row(pairs: Iterable[tuple[TransactionId, str]]) -> dict[TransactionId, tuple[str, ...]]:
    """Gather texts by the row they belong to, in their order."""
    found: dict[TransactionId, tuple[str, ...]] = {}
    for row_id, text in pairs:
        found[row_id] = (*found.get(row_id, ()), text)
    return found


async def move_entries(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, moves: Sequence[Move]
) -> frozenset[str]:
    """Move entries, making drafts of those that the client has not, in one statement; return the references that moved.

    One that is not where it is said to be stays, also where somebody else takes it at the same time.
    """
    rows = await conn.fetch(
        """
        WITH move AS (
            SELECT * FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::int[], $7::date[])
                AS u (reference, from_id, to_id, link_no, entered_on)
        ), moved AS (
            UPDATE ledger_entries e SET transaction_id = move.to_id, link_no = move.link_no FROM move
            WHERE e.customer_id = $1 AND e.client_id = $2 AND e.reference = move.reference
              AND (e.state <> 'void' OR e.transaction_id IS NOT NULL)
              AND e.transaction_id IS NOT DISTINCT FROM move.from_id
            RETURNING e.reference
        ), made AS (
            INSERT INTO ledger_entries (customer_id, client_id, transaction_id, link_no, reference, entered_on)
            SELECT $1, $2, move.to_id, move.link_no, move.reference, move.entered_on FROM move
            WHERE move.from_id IS NULL AND move.to_id IS NOT NULL
            ON CONFLICT (customer_id, client_id, reference) DO NOTHING
            RETURNING reference
        )
        SELECT reference FROM moved UNION ALL SELECT reference FROM made
        """,
        customer_id,
        client_id,
        [move.reference for move in moves],
        [move.from_id for move in moves],
        [move.to_id for move in moves],
        [move.link_no for move in moves],
        [move.entered_on for move in moves],
    )
    return frozenset(row["reference"] for row in rows)
