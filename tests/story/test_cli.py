"""The `bankfeed` command's words: help, refusals, and what its parts print. What needs everything running is in test_up."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import msgspec
import pytest

from bankfeed import status
from bankfeed.cli import commands
from bankfeed.db.connection import ConnectionLine
from bankfeed.db.delivery import OutboxState
from bankfeed.db.inbox import InboxState
from bankfeed.errors import SettingsError
from bankfeed.model import ConnectionId, CustomerId
from bankfeed.runenv import read_run_env, write_run_env
from bankfeed.up.changes import Changes
from bankfeed.up.keys import Keys, new_password, new_signing_secret
from tests.conftest import Urls
from tests.finbank import ROOT, free_port
from tests.seed import make_sources

COMMANDS = (
    *("up", "listen", "send-event", "status", "explain", "replay", "inbox", "customers", "endpoints", "deliveries"),
    *("replay-events", "secrets", "schema", "institutions", "accounts", "cases"),
)
EXAMPLE = "deploy/examples/ledgersync-account-added.txt"
CLEAN = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}


def run(*words: str, environ: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    settings = {"BANKFEED_DATA": "/nonexistent", "PYTHONPATH": str(ROOT), **(environ or {})}
    command = [sys.executable, "-m", "bankfeed.cli", *words]
    return subprocess.run(
        command, cwd=cwd, env={**CLEAN, **settings}, capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_command_with_examples() -> None:
    """`bankfeed --help` lists what there is, and shows how it is called."""
    shown = run("--help").stdout
    assert set(COMMANDS) == {line.split()[0] for line in shown.split("Commands:\n")[1].split("\n\n")[0].splitlines()}
    assert "Examples:\n  bankfeed up" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_name_it(name: str) -> None:
    """The examples of a command's help are calls of that command."""
    examples = commands.commands[name].epilog or ""
    assert examples
    assert all(f"bankfeed {name}" in line for line in examples.splitlines())


@pytest.mark.parametrize(
    ("words", "expected", "came"),
    [
        (("stauts",), f"expected one of {', '.join(sorted(COMMANDS))}", "'stauts'"),
        (("listen", "--port", "eighty"), "expected an integer from 1 to 65535", "'eighty'"),
        (("listen", "--port", "0"), "expected an integer from 1 to 65535", "'0'"),
        (("listen", "--fail", "200"), "expected an integer from 300 to 599", "'200'"),
        (("listen", "--secret", "whsec_short"), "expected a secret", ""),
        (("send-event", EXAMPLE, "--to", "localhost"), "expected --to to be a URL like http://", "'localhost'"),
        (("inbox", "reqeue"), "expected one of requeue", "'reqeue'"),
        (("inbox", "requeue"), "expected ids or --all", "got neither"),
        (("inbox", "requeue", "7", "--all"), "expected ids or --all", "got both"),
        (("inbox", "requeue", "-7"), "", "-7"),
        (("send-event", "no-such-file"), "cannot read no-such-file", "No such file"),
        (("secrets", "reencript"), "expected one of new-key, reencrypt", "'reencript'"),
        (("secrets", "new-key", "--name", "a:b"), "expected a name of 1 to 32", "'a:b'"),
        (("schema", "--url", "mysql://x"), "expected --url to be a URL like postgresql://", ""),
    ],
)
def test_a_wrong_word_says_what_was_expected(words: Sequence[str], expected: str, came: str) -> None:
    """Wrong arguments end with 2 and one sentence: what was expected, and what came; never a traceback."""
    refused = run(*words)
    assert refused.returncode == 2
    assert expected in refused.stderr
    assert came in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("words", [("status",), ("send-event", EXAMPLE), ("listen",)])
def test_without_anything_running_the_way_on_is_named(words: Sequence[str], tmp_path: Path) -> None:
    """A command that has nowhere to look says how to start, wherever it is called from."""
    refused = run(*[str(ROOT / word) if word == EXAMPLE else word for word in words], cwd=tmp_path)
    assert refused.returncode == 2
    assert "start `make run`" in refused.stderr


def test_wrong_settings_end_with_2() -> None:
    """Settings that cannot be used are listed in plain words."""
    refused = run("status", environ={"BANKFEED_PORT": "eighty", "BANKFEED_DATABASE_URL": "postgresql://a@127.0.0.1/b"})
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == ["expected BANKFEED_PORT to be an integer from 1 to 65535, got 'eighty'"]


def test_a_database_that_does_not_answer_ends_with_1() -> None:
    """Nothing to fix in the settings, but nobody there: status 1 and one line."""
    url = f"postgresql://bankfeed_app@127.0.0.1:{free_port()}/bankfeed"
    refused = run("status", environ={"BANKFEED_DATABASE_URL": url, "BANKFEED_QUEUE_DATABASE_URL": url})
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("bankfeed: Postgres does not answer")


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`bankfeed --help | head -0` prints no traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "bankfeed.cli", "--help"]
    ended = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert ended.stderr == ""


async def test_schema_is_loaded_by_its_owner(urls: Urls) -> None:
    """`bankfeed schema` says the version, may be repeated, and is refused for a role that only works."""
    for environ in ({"BANKFEED_OWNER_DATABASE_URL": urls.owner}, {}):
        words = ("schema",) if environ else ("schema", "--url", urls.owner)
        loaded = run(*words, environ=environ)
        assert (loaded.returncode, loaded.stdout) == (0, "schema version 1 is loaded\n")
    refused = run("schema", "--url", urls.app)
    assert refused.returncode == 2
    assert refused.stderr.startswith("the role bankfeed_app may not: ")


async def test_status_of_an_empty_database(urls: Urls) -> None:
    """With nothing there yet, JSON still has every key."""
    shown = msgspec.json.decode(run("status", "--json", environ=urls.environ()).stdout)
    assert shown == {
        "connections": [],
        "is_cut": False,
        "refreshes_due": 0,
        "inbox": {"waiting": 0, "set_aside": 0, "oldest_age_s": 0.0},
        "set_aside": [],
        "deliveries": {"due": 0, "later": 0, "oldest_due_age_s": 0.0},
    }


async def test_status_lists_what_was_set_aside(urls: Urls, owner: object, superuser: asyncpg.Connection) -> None:
    """An event that nobody could place is shown with its door and its reason."""
    await make_sources(owner)
    await superuser.execute(
        "INSERT INTO inbox (source_id, name, event_type, body, state, reason, finished_at) "
        "SELECT id, 'accountAdded', 'accountAdded', '', 'set_aside', 'unknown at the aggregator: 1542', now() "
        "FROM sources WHERE slug = 'ledgersync'"
    )
    shown = run("status", environ=urls.environ()).stdout
    assert "1 set aside" in shown
    assert re.search(r"ledgersync accountAdded, \d+ s ago: unknown at the aggregator: 1542", shown)


async def test_send_event_refuses_an_unknown_source(urls: Urls, owner: object) -> None:
    """A source that is none is named; one that is there and an ingress that is not ends with 1."""
    await make_sources(owner)
    environ = {**urls.environ(), "BANKFEED_PORT": str(free_port())}
    unknown = run("send-event", EXAMPLE, "--source", "nope", environ=environ)
    assert (unknown.returncode, unknown.stderr) == (
        2,
        "expected --source to name a source of the database, got 'nope'\n",
    )
    away = run("send-event", EXAMPLE, environ=environ)
    assert away.returncode == 1
    assert re.match(r"bankfeed: http://127\.0\.0\.1:\d+ does not answer", away.stderr)
    assert "unguessable" not in away.stderr


# The parts


@pytest.mark.parametrize("module", ["bankfeed.status", "bankfeed.up.database"])
def test_examples_in_docstrings_are_run(module: str) -> None:
    """What a docstring shows is so."""
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted > 0
    assert results.failed == 0


def test_a_connection_that_needs_somebody_shows_its_code() -> None:
    """The line of a broken connection has its state, the aggregation code, and how old its news are."""
    line = ConnectionLine(
        customer_id=CustomerId(1),
        id=ConnectionId(2),
        client="acme",
        institution=None,
        state="needs_person",
        status_code=103,
        accounts=2,
        transactions=10,
        age_s=None,
        waiting=1,
    )
    shown = status.Status(
        connections=(line,),
        is_cut=True,
        due=1,
        inbox=InboxState(waiting=3, set_aside=0, oldest_age_s=61.0),
        deliveries=OutboxState(due=0, later=0, oldest_due_age_s=0.0),
    )
    assert status._plain(shown)[1].split() == ["1", "acme", "-", "needs_person", "(103)", "2", "10", "never", "1"]
    assert shown.backlog()[0] == "inbox       3 waiting (oldest 1 m 1 s), 0 set aside"
    assert shown.backlog()[-1] == "only the first 1 connections are shown"


def test_run_env_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Blanks, quotes and $ survive, for us and for a shell."""
    environ = {"BANKFEED_DATABASE_URL": "postgresql://a:p'w d@h/x?y=$z", "BANKFEED_PORT": "1"}
    file = write_run_env(tmp_path, environ)
    assert read_run_env(tmp_path) == environ
    command = ["/bin/sh", "-c", '. "$1" && printf %s "$BANKFEED_DATABASE_URL"', "sh", str(file)]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout == environ["BANKFEED_DATABASE_URL"]
    )


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_run_env_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Who could write run.env could send our passwords anywhere."""
    write_run_env(tmp_path, {"BANKFEED_PORT": "1"}).chmod(mode)
    with pytest.raises(SettingsError, match="a file that only you can write"):
        read_run_env(tmp_path)


def test_a_run_env_behind_a_link_is_refused(tmp_path: Path) -> None:
    """A link in place of the file is not followed."""
    (tmp_path / "elsewhere").mkdir()
    file = write_run_env(tmp_path / "elsewhere", {"BANKFEED_PORT": "1"})
    (tmp_path / "run.env").symlink_to(file)
    with pytest.raises(SettingsError, match="a file that only you can write"):
        read_run_env(tmp_path)


def test_the_environment_wins_over_run_env(tmp_path: Path) -> None:
    """Where the environment names a database, run.env is not read."""
    write_run_env(tmp_path, {"BANKFEED_DATABASE_URL": "postgresql://a@127.0.0.1:1/b"})
    url = f"postgresql://b@127.0.0.1:{free_port()}/b"
    environ = {"BANKFEED_DATA": str(tmp_path), "BANKFEED_DATABASE_URL": url}
    assert run("status", environ=environ).stderr == "expected BANKFEED_QUEUE_DATABASE_URL to be set\n"


def test_secrets_are_kept_and_differ(tmp_path: Path) -> None:
    """A secret is made once; a second start finds it, and a file that is none of ours is named."""
    made = [Keys(tmp_path).get(name, make) for name, make in (("a", new_password), ("b", new_signing_secret))]
    kept = Keys(tmp_path)
    assert [kept.get("a"), kept.get("b")] == made
    assert "a" in kept
    assert new_password() != new_password()
    (tmp_path / "secrets.json").write_text("[]")
    with pytest.raises(SettingsError, match=r"secrets\.json"):
        Keys(tmp_path)


def test_changes_are_read_from_the_log_as_they_come(tmp_path: Path) -> None:
    """Only committed changes since the start make a line, also where a line arrives in two pieces."""
    log = tmp_path / "worker.log"
    pulled = '{"event":"account.pulled","account_id":%d,"verdict":"applied","timestamp":"2026-01-02T03:04:05Z",%s}\n'
    log.write_text(pulled % (1, '"added":1'))
    changes = Changes(log, {})
    assert list(changes.read()) == []
    line = pulled % (2, '"added":3,"posted":2,"shadowed":1,"renamed":4')
    with log.open("a") as file:
        file.write('{"event":"worker.ready"}\nnot json account.pulled\n' + pulled % (2, '"renamed":1') + line[:40])
    assert list(changes.read()) == []
    with log.open("a") as file:
        file.write(line[40:])
    assert [each.split("  ")[1] for each in changes.read()] == ["account 2: 3 new, 2 posted, 1 shadow"]
