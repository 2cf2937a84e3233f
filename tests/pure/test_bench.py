"""The benchmarks' own parts: which run, what is sent, how answers are counted, what is written."""

import asyncio
import json
from pathlib import Path
from time import perf_counter

import click
import pytest

from bankfeed.aggregators.dialects import read_ledgersync
from bench.__main__ import BENCHMARKS, choose
from bench.load import BODY_BYTES, Run, Sender, make_body
from bench.pace import PacedRun, PacedSender
from bench.results import Benchmark, Result, make_result, make_table, write_results
from bench.sink import Book, Reader


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True


def make_sender(*, most: int) -> tuple[Run, Sender, Wire]:
    run, wire = Run("/webhooks/ledgersync/secret", first=0, most=most), Wire()
    sender = Sender(run)
    sender.connection_made(wire)
    return run, sender, wire


def measured(benchmark: Benchmark, value: float, floor: float) -> Result:
    return make_result(benchmark, value, unit="events/s", floor=floor, floor_text="bare", least=0.6)


def test_a_name_or_its_beginning_chooses() -> None:
    """--only takes a name or the beginning of one; without it everything of the usual size runs."""
    assert [each.name for each in choose(BENCHMARKS, "ingress", is_full=False)] == [
        "ingress.accept_rate",
        "ingress.accept_p99",
    ]
    assert [each.name for each in choose(BENCHMARKS, "deliver", is_full=False)] == [
        "deliver.rate",
        "deliver.first_attempt",
        "deliver.bad_neighbour",
        "deliver.waiting",
    ]
    assert choose(BENCHMARKS, None, is_full=False) == [each for each in BENCHMARKS if not each.is_full]
    assert choose(BENCHMARKS, None, is_full=True) == list(BENCHMARKS)


def test_a_full_size_runs_when_it_is_named() -> None:
    """Who names a full size wants it, with or without --full."""
    for name in ("reconcile.new_100k", "deliver.million_waiting"):
        assert [each.name for each in choose(BENCHMARKS, name, is_full=False)] == [name]


def test_an_unknown_name_says_which_there_are() -> None:
    """A name that fits none ends with 2 and lists them all."""
    with pytest.raises(click.UsageError) as caught:
        choose(BENCHMARKS, "nosuch", is_full=False)
    assert caught.value.exit_code == 2
    assert all(each.name in caught.value.message for each in BENCHMARKS)


def test_names_are_unique() -> None:
    """A name finds one row of results.json."""
    names = [each.name for each in BENCHMARKS]
    assert len(set(names)) == len(names)


def test_each_event_is_clean_and_distinct() -> None:
    """Every body is a LedgerSync event of 300 bytes with an id of its own."""
    notices = [read_ledgersync(make_body(n), {}) for n in (0, 1, 10**12 - 1)]
    assert len({notice.event_id for notice in notices}) == 3
    assert {len(notice.account_refs) for notice in notices} == {13}
    assert {len(make_body(n)) for n in (0, 1, 10**12 - 1)} == {BODY_BYTES}


def test_only_a_whole_200_counts() -> None:
    """An answer counts when all of it is there, and as accepted only with 200; then the next request leaves."""
    run, sender, wire = make_sender(most=3)
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
    assert (run.accepted, len(wire.sent)) == (0, 1)
    sender.data_received(b"true")
    assert (run.accepted, len(wire.sent)) == (1, 2)
    sender.data_received(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    assert (run.accepted, run.refused, len(wire.sent)) == (1, 1, 3)


def test_a_paced_request_counts_from_when_it_was_due() -> None:
    """Requests are due at an even pace; one that no connection was free for counts its wait as well."""
    run, wire = PacedRun("/webhooks/ledgersync/secret", first=0, most=10, rate=100.0), Wire()
    sender = PacedSender(run)
    sender.connection_made(wire)
    assert wire.sent == []
    now = perf_counter()
    run.send_due(began_at=now - 0.025, now=now)  # due 25, 15 and 5 ms ago, and one connection
    assert len(wire.sent) == 1
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (run.accepted, len(wire.sent)) == (2, 3)
    assert run.times_s[0] >= 0.025
    assert 0.015 <= run.times_s[1] < 0.025 + run.times_s[0]


def test_only_a_whole_request_is_received() -> None:
    """The subscribers' process answers 200 once a body is all there, and notes path and message id whatever their case."""
    book, wire = Book(), Wire()
    reader = Reader(book.answer)
    reader.connection_made(wire)
    reader.data_received(b"POST /to/7 HTTP/1.1\r\nWebhook-Id: e1\r\nContent-Length: 4\r\n\r\n{")
    assert (book.receipts, wire.sent) == ([], [])
    reader.data_received(b"}  POST /to/8 HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
    assert [receipt[:2] for receipt in book.receipts] == [("/to/7", "e1"), ("/to/8", "")]
    assert len(wire.sent) == 2


def test_a_silent_endpoint_answers_once_it_is_healed() -> None:
    """What begins with /silent/ takes requests and answers none; healed, it answers those it holds and those that come."""
    book, wire, teller = Book(), Wire(), Wire()
    request = b"POST /silent/1 HTTP/1.1"
    book.answer(request, wire)
    assert (len(book.receipts), wire.sent) == (1, [])
    book.answer(b"POST /heal HTTP/1.1", teller)
    assert len(wire.sent) == 1
    assert teller.sent[0].endswith(b"\r\n\r\n1")
    book.answer(request, wire)
    assert len(wire.sent) == 2


def test_a_run_is_bounded_by_its_events() -> None:
    """After the last event the connection closes."""
    _, sender, wire = make_sender(most=1)
    sender.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (len(wire.sent), wire.is_closed) == (1, True)


@pytest.mark.parametrize(("value", "ok"), [(60.0, True), (59.9, False)])
def test_a_target_is_judged_by_the_ratio(value: float, ok: bool) -> None:  # noqa: FBT001 - a table of cases
    """What reaches the part of the floor that is promised is ok, what does not is not."""
    result = measured(BENCHMARKS[0], value, 100.0)
    assert (result.ok, result.target) == (ok, "ratio >= 0.60")


def test_results_are_for_programs(tmp_path: Path) -> None:
    """results.json has the machine, the commit, and each result with all its fields."""
    file = tmp_path / "results.json"
    write_results(file, [measured(BENCHMARKS[0], 70.0, 100.0)], machine={"cores": 2}, commit="abc")
    written = json.loads(file.read_text())
    assert (written["machine"], written["commit"]) == ({"cores": 2}, "abc")
    (row,) = written["results"]
    assert {"name", "value", "unit", "floor", "ratio", "target", "ok"} <= row.keys()
    assert row["ratio"] == pytest.approx(0.7)


def test_a_missed_target_is_seen() -> None:
    """The table says NO where a target was missed."""
    (cells,) = (list(column.cells) for column in make_table([measured(BENCHMARKS[0], 1.0, 100.0)]).columns[-1:])
    assert cells == ["NO"]
