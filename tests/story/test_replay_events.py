"""`bankfeed replay-events`: counted, asked, queued batch by batch, and gone on with after a break."""

import asyncio
import os
import pty
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bankfeed import replay_events
from bankfeed.db import Database
from bankfeed.db.replay import ReplayFilter
from bankfeed.errors import Unavailable
from bankfeed.model import CustomerId, EndpointId, EventType
from bankfeed.replay_events import Asked, Progress, resume_words
from bankfeed.replaying import Place
from tests.conftest import Urls
from tests.finbank import ROOT
from tests.story.outgoing import Firm, make_firm
from tests.story.test_cli import CLEAN, run
from tests.story.test_customers import read_screen

KINDS = (EventType.MFA_UPDATED, EventType.ACCOUNT_ADDED, EventType.MFA_UPDATED)


@pytest.fixture
async def firm(database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection) -> Firm:
    """A customer with one endpoint, which failed to take three events."""
    made = await make_firm(database, owner, superuser)
    await made.emit(*KINDS)
    await made.fail_all()
    return made


def words_for(firm: Firm, *more: str) -> tuple[str, ...]:
    """Say whom to tell, and the rest."""
    whom = ("--customer", str(firm.tenant.customer_id), "--endpoint", str(firm.endpoint_id))
    return ("replay-events", *whom, *more)


async def count_waiting(firm: Firm) -> int:
    found: int = await firm.superuser.fetchval("SELECT count(*) FROM delivery_queue")
    return found


async def test_events_are_counted_and_queued(urls: Urls, firm: Firm) -> None:
    """A dry run says how many and queues nothing; with --yes they wait, at the pace that was asked for, and it is audited."""
    counted = run(*words_for(firm, "--since", "1h", "--dry-run"), environ=urls.environ())
    to_queue = f"3 events to queue for endpoint {firm.endpoint_id} of customer {firm.tenant.customer_id}\n"
    assert (0, to_queue, 0) == (counted.returncode, counted.stdout, await count_waiting(firm))
    done = run(*words_for(firm, "--since", "1h", "--failed", "--rate", "1", "--yes"), environ=urls.environ())
    assert (0, f"{to_queue}queued 3 events, the last of them due in 3 s\n") == (done.returncode, done.stdout)
    spread = await firm.superuser.fetchval("SELECT max(due_at) - min(due_at) FROM delivery_queue")
    assert timedelta(seconds=2) == spread
    [(action, target)] = await firm.audited()
    assert "events.replayed" == action
    assert target.startswith(f"endpointId={firm.endpoint_id} since=")
    assert target.endswith(" deliveries=failed queued=3")
    again = run(*words_for(firm, "--since", "1h", "--yes"), environ=urls.environ())
    assert (0, to_queue.replace("3", "0", 1)) == (again.returncode, again.stdout)


async def test_some_events_are_chosen(urls: Urls, firm: Firm) -> None:
    """By type, by client, by time, or one by its id."""
    event_id = await firm.superuser.fetchval("SELECT event_id::text FROM events ORDER BY id LIMIT 1")
    for words, expected in (
        (("--since", "1h", "--type", "accountAdded"), 1),
        (("--since", "1h", "--type", "accountAdded", "--type", "mfaUpdated"), 3),
        (("--since", "1h", "--client", str(firm.tenant.client_id)), 3),
        (("--since", "3h", "--until", "2h"), 0),
        (("--event", event_id), 1),
    ):
        said = run(*words_for(firm, *words, "--dry-run"), environ=urls.environ()).stdout
        assert said.startswith(f"{expected} event"), words


async def test_a_person_is_asked(urls: Urls, firm: Firm) -> None:
    """At a terminal; who says no has queued nothing."""
    for answer, status, expected in (("n", 130, 0), ("y", 0, 3)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(  # noqa: ASYNC220 - a terminal of its own
            [sys.executable, "-m", "bankfeed.cli", *words_for(firm, "--since", "1h")],
            cwd=ROOT,
            env={**CLEAN, "BANKFEED_DATA": "/nonexistent", "PYTHONPATH": str(ROOT), **urls.environ()},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = ""
        while not shown.endswith("Queue them? [y/N]: "):
            more = await read_screen(ours)
            assert more, shown
            shown += more
        os.write(ours, f"{answer}\n".encode())
        while more := await read_screen(ours):
            shown += more
        assert status == await asyncio.to_thread(process.wait, 30)
        os.close(ours)
        assert expected == await count_waiting(firm), shown


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Unavailable("gone")], ids=["ctrl-c", "no database"])
async def test_a_broken_off_replay_goes_on(
    urls: Urls,
    firm: Firm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    """What it prints goes on after the last batch that was committed, with the same filter, and doubles nothing."""
    monkeypatch.setattr(replay_events, "REPLAYED_AT_ONCE", 1)
    for name, text in urls.environ().items():
        monkeypatch.setenv(name, text)

    def break_off(_: object, __: int) -> None:
        raise error

    monkeypatch.setattr("click._termui_impl.ProgressBar.update", break_off)
    now = datetime.now(UTC)
    asked = Asked(
        customer_id=firm.tenant.customer_id,
        endpoint_id=firm.endpoint_id,
        wanted=ReplayFilter(since=now - timedelta(hours=1), until=now, event_types=(EventType.MFA_UPDATED,)),
        rate_per_s=None,
    )
    again = asyncio.to_thread(
        replay_events.run_replay, asked, event_id=None, resume=None, is_sure=True, counts_only=False
    )
    if isinstance(error, Unavailable):
        with pytest.raises(Unavailable):
            await again
    else:
        assert 130 == await again
    assert 1 == await count_waiting(firm)
    await firm.fail_all()
    told, command = capsys.readouterr().err.splitlines()[-2:]
    assert "1 event queued; to go on:" == told.split("\r")[-1][-25:]
    _, *words = shlex.split(command)
    await firm.emit(EventType.MFA_UPDATED)
    assert 1 == await count_waiting(firm)
    done = run(*words, environ=urls.environ())
    assert done.stdout.startswith("1 event to queue")
    assert 2 == await count_waiting(firm)


def test_what_goes_on_has_every_word() -> None:
    """Time, types, client, failed only and pace are those that were asked for; one event has no cursor."""
    at = datetime(2026, 11, 21, 6, tzinfo=UTC)
    wanted = ReplayFilter(since=at, until=at, event_types=KINDS[:2], is_failed_only=True)
    asked = Asked(customer_id=CustomerId(1), endpoint_id=EndpointId(7), wanted=wanted, rate_per_s=20)
    words = resume_words(asked, Progress(Place(4711, at)))
    assert (
        "bankfeed replay-events --customer 1 --endpoint 7 --since 2026-11-21T06:00:00+00:00 --resume "
        "WzQ3MTEsIjIwMjYtMTEtMjFUMDY6MDA6MDBaIixudWxsLGZhbHNlXQ --type mfaUpdated --type accountAdded --failed --rate 20 --yes"
    ) == words


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ((), 2, "expected --since or --event, got neither"),
        (("--since", "1h", "--event", "3f1c2a54-0d0e-4a6b-9a53-2d5f8f7f9a10"), 2, "got both"),
        (("--since", "1h", "--until", "2h", "--resume", "x"), 2, "expected no --until beside --event or --resume"),
        (("--since", "1h"), 2, "expected --yes or --dry-run where there is no terminal to ask at"),
        (("--since", "1h", "--rate", "0", "--yes"), 2, "expected an integer from 1 to 1000, got '0'"),
        (("--since", "1h", "--resume", "x", "--yes"), 1, "bankfeed: expected a cursor as an answer gave it\n"),
        (("--since", "1h", "--until", "2h", "--yes"), 1, "bankfeed: expected until to be later than since\n"),
        (("--since", "1h", "--client", "999", "--yes"), 1, "bankfeed: there is no client 999\n"),
        (("--event", "3f1c2a54-0d0e-4a6b-9a53-2d5f8f7f9a10", "--yes"), 1, "bankfeed: there is no event 3f1c2a54"),
        (("--since", "1h", "--endpoint", "999", "--yes"), 1, "bankfeed: there is no webhook endpoint 999\n"),
        (("--since", "1h", "--customer", "999", "--yes"), 1, "bankfeed: there is no customer 999\n"),
    ],
)
async def test_what_cannot_be_meant_is_said(
    urls: Urls, firm: Firm, more: tuple[str, ...], status: int, said: str
) -> None:
    """In a sentence, with 2 for words that cannot be meant, and nothing is queued."""
    refused = run(*words_for(firm, *more), environ=urls.environ())
    assert status == refused.returncode, refused.stderr
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert 0 == await count_waiting(firm)


async def test_a_disabled_endpoint_is_told_nothing(urls: Urls, firm: Firm) -> None:
    """How it is enabled is said."""
    await firm.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    refused = run(*words_for(firm, "--since", "1h", "--yes"), environ=urls.environ())
    assert 1 == refused.returncode
    assert f"bankfeed endpoints enable {firm.endpoint_id}" in refused.stderr
