"""The Finicity connector's pulls against a real local server: rows, amounts, dates, texts, pages."""

import doctest
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from bankfeed.aggregators import finicity_wire
from bankfeed.aggregators.finicity import CardSign, Finicity, FinicityConfig
from bankfeed.model import FeedKind, Pull, TransactionState, Values
from tests.story.finicity.fake import AT, AUTH, CHECKING, NOON, ROWS, Handler, Server, fault, page, row, says


async def pull(connector: Finicity, **changes: Any) -> Pull:
    """Pull one March day-and-a-half of the checking account."""
    window = {"from_on": date(2026, 3, 1), "to_on": date(2026, 3, 3), "time_zone": None, "of": CHECKING, **changes}
    listed = window.pop("of")
    return await connector.pull("5", listed, at=AT, **window)


# Rows


async def test_a_row_is_read(server: Server, finicity: Finicity) -> None:
    """A row keeps its exact amount, its own figures beside it, and its dates in the institution's zone."""
    server.on(ROWS, page(row(checkNum=299, transactionDate=1772436600), row(id="7", status="pending", postedDate=None)))
    pulled = await pull(finicity, time_zone="America/Denver")
    first, second = pulled.rows
    assert first.values == Values(
        amount=Decimal("-828.90"),
        transacted_on=date(2026, 3, 2),
        posted_on=date(2026, 3, 3),
        description="CORNER CAFE",
        memo="Downtown",
        check_number="299",
        kind="pointOfSale",
    )
    assert (first.aggregator_id, first.raw_amount, first.raw_transacted_at) == ("21284820852", "-828.9", 1772436600)
    assert (second.aggregator_id, second.state, second.values.posted_on) == ("7", TransactionState.PENDING, None)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("America/Denver", date(2026, 3, 1)),
        ("Asia/Tokyo", date(2026, 3, 2)),
        ("Mars/Base", date(2026, 3, 2)),
        (None, date(2026, 3, 2)),
    ],
)
async def test_dates_are_the_institutions(server: Server, finicity: Finicity, zone: str | None, expected: date) -> None:
    """04:30 UTC is the evening before in Denver; where the zone is unknown, UTC counts."""
    server.on(ROWS, page(row(transactionDate=1772425800)))
    assert (await pull(finicity, time_zone=zone)).rows[0].values.transacted_on == expected


async def test_the_pull_says_what_it_covers(server: Server, finicity: Finicity) -> None:
    """A complete pull names window, count, balance and attempt; whole days of the zone are asked for, pendings too."""
    server.on(ROWS, page(row()))
    pulled = await pull(finicity, time_zone="America/Denver")
    assert replace(pulled, rows=()) == Pull(
        at=AT,
        kind=FeedKind.FULL,
        from_on=date(2026, 3, 1),
        to_on=date(2026, 3, 3),
        is_complete=True,
        rows=(),
        counted_rows=1,
        attempted_at=CHECKING.attempted_at,
        balance=CHECKING.balance,
        balance_on=CHECKING.balance_on,
    )
    assert server.asked[-1].query == {
        "fromDate": "1772348400",  # 2026-03-01 00:00 in Denver
        "toDate": "1772607599",  # 2026-03-03 23:59:59
        "start": "1",
        "limit": "3",
        "sort": "asc",
        "includePending": "true",
    }


@pytest.mark.parametrize(
    "amount", ["-1234567890123456.78", "0.10", "1E+2", '"-12.50"', "100", "-0.0", "0.1000", "123456789012345678.99"]
)
async def test_amounts_are_exact(server: Server, finicity: Finicity, amount: str) -> None:
    """An amount goes digit by digit from the wire to the row, and its text is kept."""
    body = json.dumps({"found": 1, "transactions": [row(amount=777.77)]}).replace("777.77", amount)
    server.on(ROWS, says(body.encode()))
    (read,) = (await pull(finicity)).rows
    assert read.values.amount == Decimal(amount.strip('"'))
    assert read.values.amount.as_tuple().exponent == -2
    assert read.raw_amount == amount.strip('"')


@pytest.mark.parametrize(
    ("kind", "sign", "expected"),
    [
        ("checking", CardSign.INVERTED, "-9.99"),
        ("savings", CardSign.INVERTED, "-9.99"),
        ("creditCard", CardSign.HOLDER, "-9.99"),
        ("creditCard", CardSign.INVERTED, "9.99"),
        ("investment", CardSign.INVERTED, "9.99"),
        ("mortgage", CardSign.INVERTED, "9.99"),
    ],
)
async def test_the_sign_of_cards_is_a_setting(
    server: Server, config: FinicityConfig, kind: str, sign: CardSign, expected: str
) -> None:
    """Cards, loans and investments are turned round when they arrive inverted; deposits never; the raw amount stays."""
    server.on(ROWS, page(row(amount=-9.99), row(amount=0)))
    connector = Finicity(replace(config, card_sign=sign))
    first, zero = (await pull(connector, of=replace(CHECKING, type=kind))).rows
    assert (first.values.amount, first.raw_amount) == (Decimal(expected), "-9.99")
    assert not zero.values.amount.is_signed()
    await connector.close()


async def test_an_inverted_amount_keeps_all_digits(server: Server, config: FinicityConfig) -> None:
    """Turning a sign round does not round an amount, however long it is."""
    body = json.dumps({"found": 1, "transactions": [row(amount=777.77)]}).replace("777.77", "123456789012345678.9999")
    server.on(ROWS, says(body.encode()))
    connector = Finicity(replace(config, card_sign=CardSign.INVERTED))
    (read,) = (await pull(connector, of=replace(CHECKING, type="creditCard", currency="CLF"))).rows
    assert read.values.amount == Decimal("-123456789012345678.9999")
    await connector.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("No description provided by institution", ""),
        ("[No description provided by institution]", ""),
        ("  CAFE\tNO\n5\x00\x07 ", "CAFE NO 5"),
        ("x" * 2_000, "x" * 1_000),
        (None, ""),
        ("CAFÉ ☕", "CAFÉ ☕"),
    ],
)
async def test_texts_are_cleaned(server: Server, finicity: Finicity, given: str | None, expected: str) -> None:
    """Control characters go, the placeholder counts as nothing, length is bounded."""
    server.on(ROWS, page(row(description=given, memo=given and "[memo]")))
    assert (await pull(finicity)).rows[0].values.description == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": 1.005}, "at most 2 decimals"),
        ({"amount": "much"}, "decimal number"),
        ({"amount": None}, "missing required field `amount`"),
        ({"amount": {"value": 1}}, "decimal number"),
        ({"amount": 10**18}, "18 digits"),
        ({"id": None}, "missing required field `id`"),
        ({"id": " "}, "expected id"),
        ({"id": 1.5}, "Expected `int | str`"),
        ({"status": "cleared"}, "active, pending or shadow"),
        ({"status": None}, "missing required field `status`"),
        ({"transactionDate": None, "postedDate": None}, "got neither"),
        ({"transactionDate": NOON * 1_000}, "transactionDate"),
        ({"transactionDate": 0}, "transactionDate"),
        ({"postedDate": "soon"}, "Expected `int | null`"),
        ({"accountId": 901}, "another account"),
        ({"description": 5}, "Expected `str | null`"),
    ],
)
async def test_an_unreadable_row_makes_the_pull_incomplete(
    server: Server, finicity: Finicity, change: dict[str, object], reason: str
) -> None:
    """Nothing is guessed: the pull names the first such row and the reason; the others are kept."""
    server.on(ROWS, page(row(), row(**change), row(**change)))
    pulled = await pull(finicity)
    assert (pulled.is_complete, len(pulled.rows), pulled.counted_rows) == (False, 1, 3)
    assert pulled.error is not None
    assert pulled.error.startswith("row 2 cannot be read: ")
    assert reason in pulled.error
    assert pulled.error.endswith(" (and 1 more)")
    assert pulled.failed_by is None


@pytest.mark.parametrize("state", ["active", "pending", "shadow"])
async def test_states_are_the_aggregators(server: Server, finicity: Finicity, state: str) -> None:
    """The three documented states are taken as such."""
    server.on(ROWS, page(row(status=state)))
    assert (await pull(finicity)).rows[0].state is TransactionState(state)


async def test_a_row_without_transaction_date_has_its_posting_date(server: Server, finicity: Finicity) -> None:
    """Where a row does not say when it happened, the day it was posted counts."""
    server.on(ROWS, page(row(transactionDate=None)))
    (read,) = (await pull(finicity)).rows
    assert (read.values.transacted_on, read.raw_transacted_at) == (date(2026, 3, 3), NOON + 86_400)


# Pages


def starts(server: Server) -> list[str]:
    return [each.query["start"] for each in server.asked if each.path == ROWS]


def rows(first: int, last: int) -> list[dict[str, object]]:
    return [row(id=n) for n in range(first, last + 1)]


async def test_all_pages_are_listed(server: Server, finicity: Finicity) -> None:
    """Records are counted from 1; the last page is short, or reaches the count."""
    server.on(ROWS, page(*rows(1, 3), found=7), page(*rows(4, 6), found=7), page(*rows(7, 7), found=7))
    pulled = await pull(finicity)
    assert [each.aggregator_id for each in pulled.rows] == [str(n) for n in range(1, 8)]
    assert (pulled.is_complete, pulled.counted_rows, starts(server)) == (True, 7, ["1", "4", "7"])


async def test_a_full_last_page_is_the_last(server: Server, finicity: Finicity) -> None:
    """When the count is reached nothing more is asked for, though more is said to be available."""
    server.on(ROWS, page(*rows(1, 3), found=6), page(*rows(4, 6), found=6))
    assert (await pull(finicity)).is_complete
    assert starts(server) == ["1", "4"]


@pytest.mark.parametrize("more", [True, False, "true", "false", None])
async def test_what_more_available_says_is_not_believed(server: Server, finicity: Finicity, more: object) -> None:
    """The flag moreAvailable comes as text or boolean, right or wrong; an empty account ends at once."""
    server.on(ROWS, says({"found": 0, "moreAvailable": more, "transactions": []}))
    pulled = await pull(finicity)
    assert (pulled.is_complete, pulled.rows, pulled.counted_rows) == (True, (), 0)
    assert starts(server) == ["1"]


async def test_a_short_page_ends_the_listing(server: Server, finicity: Finicity) -> None:
    """A server that repeats one row for ever is asked once; the pull is incomplete, as the count says."""
    server.on(ROWS, page(row(), found=200))
    pulled = await pull(finicity)
    assert (pulled.is_complete, pulled.error) == (False, "the aggregator counted 200 rows and listed 1")
    assert starts(server) == ["1"]


async def test_without_a_count_the_short_page_decides(server: Server, finicity: Finicity) -> None:
    """An aggregator that counts nothing is listed until a page is short."""
    server.on(ROWS, says({"transactions": rows(1, 3)}), says({"transactions": []}))
    pulled = await pull(finicity)
    assert (pulled.is_complete, len(pulled.rows), pulled.counted_rows) == (True, 3, None)


async def test_a_changing_count_begins_again_once(server: Server, finicity: Finicity) -> None:
    """When the count changes between pages the listing begins again, and may then be complete."""
    server.on(
        ROWS,
        page(*rows(1, 3), found=5),
        page(*rows(4, 6), found=6),
        page(*rows(1, 3), found=6),
        page(*rows(4, 6), found=6),
    )
    pulled = await pull(finicity)
    assert (pulled.is_complete, len(pulled.rows)) == (True, 6)
    assert starts(server) == ["1", "4", "1", "4"]


async def test_a_count_that_keeps_changing_is_incomplete(server: Server, finicity: Finicity) -> None:
    """When the count changes in the second listing too, the pull is incomplete."""
    pages = [page(*rows(3 * n + 1, 3 * n + 3), found=50 + n) for n in (0, 1, 0, 1)]
    server.on(ROWS, *pages)
    pulled = await pull(finicity)
    assert (pulled.is_complete, pulled.error) == (
        False,
        "the number of rows changed from 50 to 51 between two pages",
    )
    assert starts(server) == ["1", "4", "1", "4"]


@pytest.mark.parametrize(
    ("broken", "reason", "code"),
    [
        (fault(500, 103, "Wrong password"), "HTTP 500 with code 103", 103),
        (fault(500, 424242), "HTTP 500 with code 424242", 424242),
        (fault(429, "977"), "HTTP 429 with code 977", 977),
        (says("down", 503), "HTTP 503 without a code", None),
        (says({"found": 6, "transactions": "none"}), "not as documented", None),
        (says(b'{"found": 6, "transactions": [{'), "not as documented", None),
        (fault(404, 38003), "HTTP 404 with code 38003", None),
    ],
)
async def test_a_failing_page_makes_the_pull_incomplete(
    server: Server, finicity: Finicity, broken: Handler, reason: str, code: int | None
) -> None:
    """A listing that breaks off keeps what it has and says why, with the login's code where one came; it does not raise."""
    server.on(ROWS, page(*rows(1, 3), found=6), broken)
    pulled = await pull(finicity)
    assert (pulled.is_complete, len(pulled.rows), pulled.counted_rows) == (False, 3, 6)
    assert reason in (pulled.error or "")
    assert pulled.failed_by is not None
    assert code == pulled.failed_by.code


async def test_pages_have_an_end(server: Server, config: FinicityConfig) -> None:
    """A list without end is given up after the configured number of pages."""
    server.on(ROWS, page(*rows(1, 3), found=10**9))
    connector = Finicity(replace(config, max_pages=5))
    pulled = await pull(connector)
    assert (pulled.is_complete, pulled.error) == (False, "there are more than 5 pages")
    assert pulled.failed_by is None
    assert len(starts(server)) == 5
    await connector.close()


async def test_refused_credentials_make_a_pull_incomplete(server: Server, finicity: Finicity) -> None:
    """A pull that cannot even begin is incomplete without rows."""
    server.on(AUTH, fault(401, "10001"))
    pulled = await pull(finicity)
    assert (pulled.is_complete, pulled.rows, pulled.counted_rows) == (False, (), None)
    assert "credentials" in (pulled.error or "")


def test_the_window_example_runs() -> None:
    """The example of a window over a change of clocks is right."""
    ran = doctest.testmod(finicity_wire)
    assert (ran.failed, ran.attempted > 0) == (0, True)
