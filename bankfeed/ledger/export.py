"""Entries as CSV that a spreadsheet opens without running anything. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bankfeed.ledger.follow import EntryId, EntryState

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also as full-width signs
HEADER = (
    *("entryId", "reference", "state", "date", "memo", "transactionId", "corrects"),
    *("code", "name", "debit", "credit", "currency"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportLine:
    """A line with its entry and its ledger account. `line_no` is its place in the entry, from 0."""

    entry_id: EntryId
    line_no: int
    reference: str
    state: EntryState
    entered_on: date
    memo: str
    transaction_id: int | None
    corrects: EntryId | None
    code: str
    name: str
    amount: Decimal
    currency: str


def write_header() -> bytes:
    """Return the first line."""
    return ",".join(HEADER).encode() + b"\r\n"


def write_lines(lines: Iterable[ExportLine]) -> bytes:
    """Return a line of CSV for each: texts quoted, and what a spreadsheet would take for a formula after an apostrophe."""
    return "".join(",".join(_write_cells(line)) + "\r\n" for line in lines).encode()


def quote(text: str) -> str:
    """Write a text as a cell.

    >>> print(quote('=HYPERLINK("x")'), quote("Meals, travel"))
    "'=HYPERLINK(""x"")" "Meals, travel"
    """
    safe = f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
    return '"' + safe.replace('"', '""') + '"'


def _write_cells(line: ExportLine) -> tuple[str, ...]:
    return (
        str(line.entry_id),
        quote(line.reference),
        line.state.value,
        line.entered_on.isoformat(),
        quote(line.memo),
        "" if line.transaction_id is None else str(line.transaction_id),
        "" if line.corrects is None else str(line.corrects),
        quote(line.code),
        quote(line.name),
        f"{line.amount:f}" if line.amount >= 0 else "",
        f"{-line.amount:f}" if line.amount < 0 else "",
        line.currency,
    )
