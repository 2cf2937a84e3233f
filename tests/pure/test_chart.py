"""A chart of accounts is read whole or not at all, and an export runs nothing in a spreadsheet."""

from contextlib import suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bankfeed.errors import BadRequest
from bankfeed.ledger.chart import MOST_ROWS, ChartRow, LedgerKind, read_chart
from bankfeed.ledger.export import HEADER, ExportLine, quote, write_header, write_lines
from bankfeed.ledger.follow import EntryId, EntryState

ENTRY = EntryId(1)
DAY = date(2026, 3, 2)


def test_a_chart_is_read() -> None:
    """Columns in any order, quoted names with commas and line ends, blank lines, a byte order mark, any case of kind."""
    text = '\ufeffkind,Code,name\r\nAsset,1000,"Cash, petty"\r\n\r\nexpense,6100,"Meals\nand ""more"""\r\n'
    assert (
        ChartRow(code="1000", name="Cash, petty", kind=LedgerKind.ASSET),
        ChartRow(code="6100", name='Meals\nand "more"', kind=LedgerKind.EXPENSE),
    ) == read_chart(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "line 1, column code: "),
        ("code,name\n1,a\n", "line 1, column kind: "),
        ("code,name,kind,code\n", "line 1, column code: "),
        ("code,name,kind\n1,a,asset\n2,b,thing\n", "line 3, column kind: "),
        ('code,name,kind\n1,"a\nb",asset\n,b,asset\n', "line 4, column code: "),
        ("code,name,kind\n1,,asset\n", "line 2, column name: "),
        ("code,name,kind\n1,a\n", "line 2: expected 3 cells, got 2"),
        ("code,name,kind\n1,a,asset\n1,b,asset\n", "line 3, column code: expected each code once, got '1' of line 2"),
        ('code,name,kind\n1,"a"b,asset\n', "line 2: "),
        ("code,name,kind\n" + "".join(f"{n},a,asset\n" for n in range(MOST_ROWS + 1)), f"line {MOST_ROWS + 2}: "),
        (f"code,name,kind\n{'9' * 65},a,asset\n", "line 2, column code: "),
    ],
)
def test_a_chart_that_does_not_fit_says_where(text: str, where: str) -> None:
    """The line as an editor counts it, and the column by its name."""
    with pytest.raises(BadRequest) as raised:
        read_chart(text)
    assert str(raised.value).startswith(where)
    assert "csv" == raised.value.field


@given(text=st.text())
def test_any_text_is_a_chart_or_refused(text: str) -> None:
    """Nothing else happens."""
    with suppress(BadRequest):
        assert all(row.code and row.name for row in read_chart(text))


@given(text=st.text())
@example(text=" =1+1")
@example(text="\uff1d1")
def test_no_cell_is_a_formula(text: str) -> None:
    """What a spreadsheet reads from a cell begins with none of its signs, and nothing of the text is lost."""
    cell = quote(text)
    read = cell[1:-1].replace('""', '"')
    assert not read.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert text in (read, read[1:])


def test_an_export_has_debits_and_credits() -> None:
    """Amounts are numbers without a sign in one of two columns, as the books have them."""
    line = ExportLine(
        entry_id=ENTRY,
        line_no=0,
        reference="=1+1",
        state=EntryState.POSTED,
        entered_on=DAY,
        memo="",
        transaction_id=7,
        corrects=None,
        code="1000",
        name="Cash",
        amount=Decimal("-20.00"),
        currency="USD",
    )
    other = replace(line, amount=Decimal("20.00"), code="6100", transaction_id=None, corrects=EntryId(9))
    assert len(HEADER) == len(write_header().decode().split(","))
    assert (
        '1,"\'=1+1",posted,2026-03-02,"",7,,"1000","Cash",,20.00,USD\r\n'
        '1,"\'=1+1",posted,2026-03-02,"",,9,"6100","Cash",20.00,,USD\r\n'
    ) == write_lines([line, other]).decode()
