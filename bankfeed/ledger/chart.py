"""A chart of accounts from CSV: all of it or nothing, with the line and the column of what does not fit. Pure."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bankfeed.errors import BadRequest

COLUMNS = ("code", "name", "kind")
MOST_ROWS = 5_000
CODE_CHARS = 64
NAME_CHARS = 200


class LedgerKind(StrEnum):
    """What a ledger account is of."""

    ASSET = "asset"
    LIABILITY = "liability"
    EQUITY = "equity"
    INCOME = "income"
    EXPENSE = "expense"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRow:
    """One ledger account of a chart."""

    code: str
    name: str
    kind: LedgerKind


def read_chart(text: str) -> tuple[ChartRow, ...]:
    """Read a chart with the columns code, name and kind, in any order, named in its first line.

    Blank lines are skipped. Raises BadRequest naming line and column; a code twice is named with both lines.
    """
    lines = _read_lines(text)
    first_line, header = next(lines, (1, []))
    places = _find_columns(first_line, header)
    rows: dict[str, tuple[int, ChartRow]] = {}
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise _refuse(line, "", f"expected {len(header)} cells, got {len(cells)}")
        row = _read_row(line, {name: cells[place].strip() for name, place in places.items()})
        if row.code in rows:
            raise _refuse(line, "code", f"expected each code once, got {row.code!r} of line {rows[row.code][0]} again")
        rows[row.code] = line, row
        if len(rows) > MOST_ROWS:
            raise _refuse(line, "", f"expected at most {MOST_ROWS} ledger accounts in one file")
    return tuple(row for _, row in rows.values())


def _read_lines(text: str) -> Iterator[tuple[int, Sequence[str]]]:
    """Go through the records, each with the line that it begins on."""
    reader = csv.reader(text.removeprefix("\ufeff").splitlines(keepends=True), strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise _refuse(line, "", f"expected CSV with commas and double quotes, got an error: {error}") from error


def _find_columns(line: int, header: Sequence[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            raise _refuse(
                line, column, f"expected a first line with {', '.join(COLUMNS)}, got {', '.join(names)[:80]!r}"
            )
    return {column: names.index(column) for column in COLUMNS}


def _read_row(line: int, cells: dict[str, str]) -> ChartRow:
    code = _read_text(line, "code", cells["code"], most=CODE_CHARS)
    name = _read_text(line, "name", cells["name"], most=NAME_CHARS)
    kind = cells["kind"].lower()
    if kind not in tuple(LedgerKind):
        raise _refuse(line, "kind", f"expected one of {', '.join(LedgerKind)}, got {cells['kind'][:40]!r}")
    return ChartRow(code=code, name=name, kind=LedgerKind(kind))


def _read_text(line: int, column: str, text: str, *, most: int) -> str:
    if not text or len(text) > most or "\x00" in text:
        raise _refuse(line, column, f"expected 1 to {most} characters, got {text[:40]!r}")
    return text


def _refuse(line: int, column: str, text: str) -> BadRequest:
    where = f"line {line}, column {column}" if column else f"line {line}"
    return BadRequest(f"{where}: {text}", field="csv")
