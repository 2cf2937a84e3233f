"""The replay format: what its reader takes, what it refuses, and in which words."""

import json
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bankfeed.model import FeedKind, Pull, Reported, TransactionState, Values
from bankfeed.replay.fields import ReplayError
from bankfeed.replay.play import Replay
from bankfeed.replay.report import as_json, end
from bankfeed.replay.steps import Link, Match, Merge, OpenAccount, Split, TakePull, read_steps

ACCOUNT = {
    "op": "account",
    "account": "a",
    "institution": "i",
    "name": "Checking",
    "type": "checking",
    "number": "4321",
}
OPENED = {**ACCOUNT, "currency": "USD"}
ROW: dict[str, Any] = {"status": "active", "amount": "-20.00", "date": "2026-03-02", "description": "CORNER CAFE"}
PULL: dict[str, Any] = {
    "op": "pull",
    "account": "a",
    "at": "2026-03-03T06:00:00Z",
    "kind": "full",
    "from": "2026-02-01",
    "to": "2026-03-03",
    "complete": True,
    "transactions": [ROW],
}
LINK = {"op": "link", "account": "a", "match": {"amount": "-20.00"}, "entry": "L1"}


def write(*lines: object) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def refusal(*lines: object) -> str:
    with pytest.raises(ReplayError) as refused:
        list(read_steps(write(*lines)))
    return str(refused.value)


def pulled(**changes: object) -> Pull:
    _, step = read_steps(write(OPENED, {**PULL, **changes}))
    assert isinstance(step, TakePull)
    return step.pull


def test_every_field_of_a_pull_is_read() -> None:
    """A pull has all that the format names; what it does not name is passed over."""
    row = {
        **ROW,
        "id": 17,
        "status": "pending",
        "posted_date": "2026-03-03",
        "memo": "two  cups",
        "check_number": "0042",
        "pending_id": "p0",
        "colour": {"deep": [1.5]},
    }
    extra = {"removed": ["x", 9, " "], "count": 1, "balance": "120", "balance_date": "2026-03-02", "mood": "good"}
    attempted = {"attempted_at": "2026-03-03T05:00:00+01:00"}
    assert pulled(transactions=[row], **extra, **attempted) == Pull(
        at=datetime(2026, 3, 3, 6, tzinfo=UTC),
        kind=FeedKind.FULL,
        from_on=date(2026, 2, 1),
        to_on=date(2026, 3, 3),
        is_complete=True,
        rows=(
            Reported(
                aggregator_id="17",
                state=TransactionState.PENDING,
                values=Values(
                    amount=Decimal("-20.00"),
                    transacted_on=date(2026, 3, 2),
                    description="CORNER CAFE",
                    posted_on=date(2026, 3, 3),
                    memo="two cups",
                    check_number="0042",
                ),
                pending_id="p0",
            ),
        ),
        removed_ids=("x", "9"),
        counted_rows=1,
        attempted_at=datetime(2026, 3, 3, 4, tzinfo=UTC),
        balance=Decimal("120.00"),
        balance_on=date(2026, 3, 2),
    )


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_is_no_id(blank: str | None) -> None:
    """An id that is null or blank counts as none; so does an error without words, and a posting date."""
    row = {**ROW, "id": blank, "pending_id": blank, "memo": None, "posted_date": None}
    (read,) = pulled(transactions=[row], error=blank, count=None, balance=None).rows
    assert (None, None, "") == (read.aggregator_id, read.pending_id, read.values.memo)


def test_a_failed_pull_needs_no_list() -> None:
    """Where the listing failed, there may be no list; otherwise its absence is a mistake and not an empty list."""
    assert pulled(error="the bank is away", transactions=None).rows == ()
    assert "expected transactions to be a list of objects, got null" in refusal(OPENED, {**PULL, "transactions": None})


def test_acts_are_read() -> None:
    """A person's acts name their rows by fields: amounts as numbers, texts as they are stored."""
    split = {"op": "split", "account": "a", "match": {}, "into": ["-9", "-11.00"], "at": "2026-03-04T06:00:00Z"}
    merge = {"op": "merge", "account": "a", "keep": {"id": "a1"}, "drop": {"description": " CORNER  CAFE"}}
    _, link, split_step, merge_step = read_steps(write(OPENED, LINK, split, merge))
    match = Match(amount=Decimal("-20.00"), texts=())
    assert link == Link(line=2, op="link", account="a", match=match, entry="L1")
    assert isinstance(split_step, Split)
    assert (Decimal("-9.00"), Decimal("-11.00")) == split_step.into
    assert datetime(2026, 3, 4, 6, tzinfo=UTC) == split_step.at
    assert isinstance(merge_step, Merge)
    assert ((("id", "a1"),), (("description", "CORNER CAFE"),)) == (merge_step.keep.texts, merge_step.drop.texts)


def test_blank_lines_and_windows_files_are_read() -> None:
    """A byte order mark, carriage returns and blank lines are no steps, and lines count as an editor counts them."""
    content = b"\xef\xbb\xbf" + write(OPENED) + b"\r\n\r\n  \n" + write(OPENED) + b"\r\n"
    steps = list(read_steps(content))
    assert [1, 4] == [step.line for step in steps]
    assert all(isinstance(step, OpenAccount) for step in steps)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": 12.5}, "expected amount to be a decimal string, got 12.5"),
        ({"amount": -20}, "expected amount to be a decimal string, got -20"),
        ({"amount": None}, "expected amount to be a decimal string, got null"),
        ({"amount": "NaN"}, "expected amount with a decimal number such as -20.00, got 'NaN'"),
        ({"amount": "-1e999"}, "expected amount with at most 18 digits before the point, got '-1e999'"),
        ({"amount": "9" * 30}, "expected amount with at most 18 digits before the point"),
        ({"amount": "1.005"}, "expected amount with at most 2 decimals for USD, got '1.005'"),
        ({"amount": " " * 1_000_000}, "expected amount with a decimal number"),
        ({"date": "9999-12-31"}, "expected date to be a day like 2026-03-02, from 1900 to 2199, got '9999-12-31'"),
        ({"date": "2026-02-30"}, "expected date to be a day like 2026-03-02"),
        ({"date": "20260302"}, "expected date to be a day like 2026-03-02"),
        ({"date": 1772409600}, "expected date to be a day like 2026-03-02, from 1900 to 2199, got 1772409600"),
        ({"posted_date": "soon"}, "expected posted_date to be a day"),
        ({"status": "removed"}, "expected status to be pending, active or shadow, got 'removed'"),
        ({"status": ["active"]}, "expected status to be pending, active or shadow, got a list"),
        ({"description": None}, "expected description to be text, got null"),
        ({"description": {}}, "expected description to be text, got an object"),
        ({"id": True}, "expected id to be a name, got true"),
        ({"id": "x" * 201}, "expected id to be a name of at most 200 printable characters"),
        ({"id": "a\x00b"}, "expected id to be a name of at most 200 printable characters, got 'a\\x00b'"),
    ],
)
def test_a_wrong_row_is_named(change: dict[str, object], words: str) -> None:
    """What cannot be read without guessing is refused with line, place, what was expected and what came."""
    message = refusal(OPENED, {**PULL, "transactions": [ROW, {**ROW, **change}]})
    assert message.startswith(f"line 2: transactions[1]: {words}")
    assert len(message) < 300


@pytest.mark.parametrize("field", ["status", "amount", "date", "description"])
def test_required_fields_of_a_row(field: str) -> None:
    """Four fields of a transaction are required."""
    row = {name: value for name, value in ROW.items() if name != field}
    assert f"line 2: transactions[0]: expected {field} to be " in refusal(OPENED, {**PULL, "transactions": [row]})
    assert refusal(OPENED, {**PULL, "transactions": [row]}).endswith("got nothing")


@pytest.mark.parametrize("field", ["account", "at", "kind", "from", "to", "complete", "transactions"])
def test_required_fields_of_a_pull(field: str) -> None:
    """A pull says of what, when, how and for which window it lists."""
    pull = {name: value for name, value in PULL.items() if name != field}
    message = refusal(OPENED, pull)
    assert message.startswith(f"line 2: expected {field} to be ")
    assert message.endswith("got nothing")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({**PULL, "kind": "half"}, "expected kind to be full or delta, got 'half'"),
        ({**PULL, "at": "2026-03-03"}, "expected at to be a moment like 2026-03-03T06:00:00Z, from 1900 to 2199, got"),
        ({**PULL, "at": "2026-03-03T06:00:00"}, "expected at to be a moment"),
        ({**PULL, "at": "9999-12-31T23:59:59-12:00"}, "expected at to be a moment"),
        ({**PULL, "complete": 1}, "expected complete to be true or false, got 1"),
        ({**PULL, "to": "2026-01-31"}, "expected to to be no day before 2026-02-01, got '2026-01-31'"),
        ({**PULL, "count": -1}, "expected count to be a number of rows, got -1"),
        ({**PULL, "count": "1"}, "expected count to be a number of rows, got '1'"),
        ({**PULL, "removed": "x"}, "expected removed to be a list of ids, got 'x'"),
        ({**PULL, "removed": [{}]}, "expected removed to be a name, got an object"),
        ({**PULL, "transactions": [1]}, "expected transactions[0] to be an object, got 1"),
        ({**PULL, "balance": 120.0}, "expected balance to be a decimal string, got 120.0"),
        ({**PULL, "balance": "a lot"}, "expected balance with a decimal number such as -20.00, got 'a lot'"),
        ({**PULL, "account": "b"}, "expected account to be one that an account line opened before, got 'b'"),
        ({**PULL, "op": "push"}, "expected op to be one of account, pull, link,"),
        ({"account": "a"}, "expected op to be text, got nothing"),
        ({**LINK, "match": {"amount": -20}}, "match: expected amount to be a decimal string, got -20"),
        ({**LINK, "match": {"colour": "red"}}, "match: expected fields of a row (amount, id, status,"),
        ({**LINK, "match": None}, "expected match to be an object, got null"),
        ({**LINK, "entry": ""}, "expected entry to be a name, got ''"),
        ({"op": "split", "account": "a", "match": {}, "into": "-9"}, "expected into to be a list of decimal strings"),
        ({"op": "split", "account": "a", "match": {}, "into": [-9]}, "expected into[0] to be a decimal string, got -9"),
        ({"op": "merge", "account": "a", "keep": {}}, "expected drop to be an object, got nothing"),
        (ACCOUNT, "expected currency to be a name, got nothing"),
        ({**ACCOUNT, "currency": "usd"}, "expected currency to be three capital letters, got 'usd'"),
        ({**OPENED, "number": 4.5}, "expected number to be a name, got 4.5"),
        ([], "expected a JSON object, got a list"),
        (7, "expected a JSON object, got 7"),
    ],
)
def test_a_wrong_line_is_named(line: object, words: str) -> None:
    """A line that is no step says which one it is, what was expected and what came."""
    assert refusal(OPENED, line).startswith(f"line 2: {words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: expected a step, got an empty file"),
        (b"\n \n", "line 1: expected a step, got an empty file"),
        (b"{", "line 1: expected a JSON object, got something else"),
        (b"[" * 100_000, "line 1: expected a JSON object, got one nested too deeply"),
        (b'{"op":' * 5_000, "line 1: expected a JSON object, got one nested too deeply"),
        (b'{"op":NaN}', "line 1: expected a JSON object, got something else"),
        (b'{"op":' + b"9" * 6_000 + b"}", "line 1: expected a JSON object, got something else"),
        (b'{"op":"\xff"}', "line 1: expected UTF-8, got the byte 0xff"),
        (b'{"op":"\\ud800"}', "line 1: expected a JSON object, got something else"),
        (b"\x00", "line 1: expected a JSON object, got something else"),
    ],
)
def test_what_is_no_json_is_refused(content: bytes, words: str) -> None:
    """Bytes that are no JSON Lines are refused in a sentence."""
    with pytest.raises(ReplayError) as refused:
        list(read_steps(content))
    assert str(refused.value).startswith(words)


def test_hostile_texts_are_cleaned() -> None:
    """NUL, direction marks and a million blanks do not get past the reader."""
    (row,) = pulled(
        transactions=[{**ROW, "description": "A\x00\u202eB" + " " * 1_000_000 + "C", "memo": "\x1b[31m"}]
    ).rows
    assert ("AB C", "[31m") == (row.values.description, row.values.memo)


def test_a_long_line_is_read() -> None:
    """A line of 50,000 rows is a line."""
    assert 50_000 == len(pulled(transactions=[ROW] * 50_000).rows)


def test_a_currency_decides_the_decimals() -> None:
    """Amounts have their account's currency's decimals, in each account its own."""
    yen = {**OPENED, "account": "y", "currency": "JPY"}
    row = {**ROW, "amount": "1500"}
    steps = list(read_steps(write(OPENED, yen, {**PULL, "account": "y", "transactions": [row]})))
    assert isinstance(steps[-1], TakePull)
    assert "1500" == str(steps[-1].pull.rows[0].values.amount)
    bad = {**PULL, "account": "y", "transactions": [{**ROW, "amount": "0.50"}]}
    assert "at most 0 decimals for JPY" in refusal(OPENED, yen, bad)


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
days = st.dates(min_value=date(2026, 2, 25), max_value=date(2026, 3, 6)).map(date.isoformat)
amounts = st.sampled_from(["-20.00", "-24.00", "5", "0", "-999999999999999999.99", "NaN"])
rows = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["pending", "active", "shadow"]),
        "amount": amounts,
        "date": days,
        "description": st.sampled_from(["CORNER CAFE", "", "CAFE \u202e"]),
    },
    optional={"id": st.sampled_from(["1", "2", ""]), "pending_id": st.sampled_from(["1", "2"]), "posted_date": days},
)
matches = st.fixed_dictionaries({}, optional={"amount": amounts, "id": st.sampled_from(["1", "2"])})
hours = st.integers(0, 23).map(lambda hour: f"2026-03-03T{hour:02}:00:00Z")
names = st.sampled_from(["a", "b"])
FORMAT: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "account": {"currency": st.just("USD"), "institution": st.just("i"), "type": st.just("t"), "number": st.just("1")},
    "pull": {
        "at": hours,
        "kind": st.sampled_from(["full", "delta"]),
        "from": st.just("2026-02-25"),
        "to": st.just("2026-03-06"),
        "complete": st.booleans(),
        "transactions": st.lists(rows, max_size=4),
        "removed": st.lists(st.sampled_from(["1", "2"]), max_size=2),
        "balance": amounts,
        "balance_date": days,
    },
    "link": {"match": matches, "entry": st.sampled_from(["L1", "L2"])},
    "reconcile": {"match": matches},
    "delete": {"match": matches},
    "merge": {"keep": matches, "drop": matches},
    "split": {"match": matches, "into": st.lists(amounts, max_size=3)},
    "unlink": {},
}
ops = st.one_of(
    *[st.fixed_dictionaries({"op": st.just(op), "account": names, **fields}) for op, fields in FORMAT.items()]
)
broken = st.builds(lambda step, name, value: {**step, name: value}, ops, st.sampled_from(sorted(PULL)), anything)
FUZZ = settings(max_examples=150, deadline=None, derandomize=True)


def ends(content: bytes) -> None:
    """Replay and report a file. A refusal names a line; nothing but a refusal may rise."""
    with suppress(ReplayError):
        assert as_json(end(Replay().play(read_steps(content))), with_gone=True, with_steps=True)


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Whatever bytes a file holds, it is read or refused with a line."""
    ends(content)


@FUZZ
@given(anything)
def test_any_json_is_read_or_refused(value: object) -> None:
    """Whatever JSON a line holds, it is read or refused with its number."""
    ends(write(value))


@FUZZ
@given(st.lists(st.one_of(ops, broken), max_size=8))
def test_steps_that_do_not_fit_are_refused(steps: list[dict[str, Any]]) -> None:
    """Steps in any order, with any value anywhere, are taken or refused with their line."""
    ends(write(OPENED, {**OPENED, "account": "b"}, *steps))


@FUZZ
@given(st.lists(ops, max_size=12))
def test_well_formed_steps_are_taken_or_refused(steps: list[dict[str, Any]]) -> None:
    """Acts and pulls in any order never end in anything but an ending or a refusal."""
    ends(write(OPENED, {**OPENED, "account": "b"}, *steps))
