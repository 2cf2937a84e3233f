"""`bankfeed up` as a person runs it: real processes, a real bank, real signals."""

import asyncio
import os
import re
import select
import shlex
import shutil
import signal
import smtplib
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import msgspec
import pytest

from bankfeed.errors import SettingsError
from bankfeed.local import LocalPostgres, LocalRedis, erase
from bankfeed.runenv import read_run_env
from bankfeed.sealing import read_keys, write_key
from bankfeed.settings import LocalSettings, Settings
from bankfeed.up.database import Urls as RoleUrls
from bankfeed.up.database import prepare_given
from bankfeed.up.environ import Person, product_environ
from bankfeed.up.keys import Keys
from tests.conftest import Urls
from tests.finbank import ROOT, free_port
from tests.seed import PARTNER_SECRET

EXAMPLE = ROOT / "deploy" / "examples" / "ledgersync-account-added.txt"
EXAMPLE_EVENT_ID = "b52e0e1c-611f-43fb-89c4-401a34eb91ba"
STOP_LIMIT_S = 5.0
FOREIGN = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}


class Up:
    """One `bankfeed up`, on ports of its own, with what it printed."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.ports = {
            name: str(free_port())
            for name in ("BANKFEED_PORT", "BANKFEED_WORKER_PORT", "BANKFEED_FINBANK_PORT", "BANKFEED_LISTEN_PORT")
        }
        self.environ = {**FOREIGN, "BANKFEED_DATA": str(data), **self.ports, **settings}
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['BANKFEED_PORT']}"

    @property
    def errors(self) -> Path:
        return self.data.with_suffix(".errors")

    @property
    def ledgersync(self) -> str:
        return next(word for line in self.lines for word in line.split() if "/webhooks/ledgersync/" in word)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> "Up":
        """Start it and read what it prints until it is ready."""
        self.lines.clear()
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bankfeed.cli", "up"],
                cwd=ROOT,
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        while not (self.lines and self.lines[-1].startswith("ready")):
            line = self.process.stdout.readline()
            assert line, self.errors.read_text()
            self.lines.append(line.rstrip("\n"))
        return self

    def run(self, *words: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run another command beside it, as from another terminal."""
        return run_command(*words, environ={**FOREIGN, "BANKFEED_DATA": str(self.data)}, stdin=stdin)

    def query(self, sql: str, *values: object, user: str = "BANKFEED_QUEUE_DATABASE_URL") -> Any:
        """Ask its database for one value."""
        url = read_run_env(self.data)[user]

        async def ask() -> Any:
            conn = await asyncpg.connect(url)
            try:
                return await conn.fetchval(sql, *values)
            finally:
                await conn.close()

        return asyncio.run(ask())

    def end(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and wait for its end; return the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def run_command(*words: str | Path, environ: dict[str, str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bankfeed.cli", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, input=stdin, capture_output=True, timeout=60, check=False)


def descendants(pid: int) -> list[int]:
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(file.parent.name)] = int(fields[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def find_module(pids: list[int], module: str) -> int:
    return next(pid for pid in pids if f"-m\0{module}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes())


def wait_until_gone(pids: list[int], seconds: float = STOP_LIMIT_S) -> None:
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        is_over, _, _ = select.select([watched], [], [], max(0.0, deadline - time.monotonic()))
        os.close(watched)
        assert is_over, f"process {pid} is still there: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}"


def post(url: str, body: bytes) -> int:
    async def send() -> int:
        async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
            return answer.status

    return asyncio.run(send())


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """One that runs for the tests that only look, with a bank day every second."""
    parent = Path(tempfile.mkdtemp(prefix="bankfeed up "))
    running = Up(parent / "data", BANKFEED_FINBANK_DAY_S="1")
    try:
        yield running.start()
    finally:
        running.end()
        erase(running.data)
        shutil.rmtree(parent)


@pytest.fixture
def own() -> Iterator[Up]:
    """One that a test may start and kill."""
    parent = Path(tempfile.mkdtemp(prefix="bankfeed-up-"))
    made = Up(parent / "data")
    yield made
    if made.process is not None:
        made.end(signal.SIGTERM)
    erase(made.data)
    shutil.rmtree(parent)


def test_the_first_address_is_ingress_and_ready_stands_on_the_last_line(up: Up) -> None:
    """Ingress's address is the first thing printed, and `ready` with the seconds it took is on the last line."""
    assert up.lines[0] == f"ingress   {up.url}"
    assert up.lines[-1].startswith("ready after ")
    assert float(up.lines[-1].split()[2]) > 0


def test_the_printed_example_is_accepted_and_leaves_one_row(up: Up) -> None:
    """The document's example, posted twice to the printed address, is 200 twice and one inbox row."""
    assert [post(up.ledgersync, EXAMPLE.read_bytes()) for _ in range(2)] == [200, 200]
    assert up.query("SELECT count(*) FROM inbox WHERE event_id = $1", EXAMPLE_EVENT_ID) == 1


def test_the_curl_line_names_what_is_there(up: Up) -> None:
    """The printed curl command posts an existing file to the printed address."""
    command = next(shlex.split(line) for line in up.lines if line.strip().startswith("curl"))
    assert command[-1] == up.ledgersync
    assert (ROOT / command[2].removeprefix("@")).read_bytes() == EXAMPLE.read_bytes()


def test_the_example_is_the_documents_byte_for_byte() -> None:
    """The example file is what the LedgerSync document prints: trailing comma, trailing blank, list in a text."""
    assert EXAMPLE.read_bytes() == (
        b'{ "eventType": "accountAdded", "eventId": "b52e0e1c-611f-43fb-89c4-401a34eb91ba ", '
        b'"timestamp": "2024-07-15 13:07:07.727", "payload": { "accounts": "[1542, 1367, 1257]", } }'
    )


def test_the_demos_bank_is_linked_and_pulled(up: Up) -> None:
    """When it is ready, the demo's connection is active with three accounts and their transactions."""
    shown = msgspec.json.decode(up.run("status", "--json").stdout)
    (connection,) = shown["connections"]
    assert (connection["client"], connection["institution"]) == ("demo-client", "FinBank")
    assert (connection["state"], connection["accounts"]) == ("active", 3)
    assert connection["transactions"] > 50


def test_status_in_a_pipe_is_plain_lines(up: Up) -> None:
    """Status writes no colours and no boxes into a pipe, and says what waits."""
    shown = up.run("status").stdout.decode()
    assert "\x1b" not in shown
    assert shown.splitlines()[0].split()[:3] == ["customer", "client", "institution"]
    assert {"inbox", "refreshes", "deliveries"} <= {line.split()[0] for line in shown.splitlines()}


def test_changes_are_printed_and_delivered(up: Up) -> None:
    """As bank days pass, `up` prints committed changes and `listen` gets verified webhooks about them."""
    heard = up.run("listen", "--once", "1", "--json")
    assert heard.returncode == 0, heard.stderr
    event = msgspec.json.decode(heard.stdout.splitlines()[0])
    assert event["verified"]
    assert event["status"] == 204
    assert up.process is not None
    assert up.process.stdout is not None
    printed = up.process.stdout.readline()
    assert any(word in printed for word in ("new", "posted", "shadow", "returned", "removed", "updated", "joined")), (
        printed
    )


def test_both_processes_show_metrics(up: Up) -> None:
    """The printed metrics addresses answer: events in at ingress, attempts out at the worker."""
    line = next(line for line in up.lines if line.startswith("metrics"))

    async def read() -> str:
        async with aiohttp.ClientSession() as session:
            return "".join([await (await session.get(url)).text() for url in line.split()[1:]])

    metrics = asyncio.run(read())
    assert 'bankfeed_webhooks_received_total{dialect="ledgersync",event="accountAdded",outcome="accepted"}' in metrics
    assert "bankfeed_transactions_total" in metrics


def test_send_event_signs_as_the_source_wants(up: Up) -> None:
    """An event sent to the source that signs is accepted, and the same body without a signature is not."""
    body = b'{"eventType":"ping","eventId":"1-a","customerId":"1","payload":{}}'
    sent = up.run("send-event", "--source", "finicity", "-", stdin=body)
    assert (sent.returncode, sent.stdout.split()[0]) == (0, b"200")
    assert post(f"{up.url}/webhooks/finicity", body) == 401


def test_send_event_takes_a_full_address(up: Up) -> None:
    """An address with its secret needs nothing else, and a wrong one ends with 1 and the answer."""
    environ = {**FOREIGN, "BANKFEED_DATA": str(up.data / "nothing here")}
    right = run_command("send-event", EXAMPLE, "--to", up.ledgersync, environ=environ)
    wrong = run_command("send-event", EXAMPLE, "--to", f"{up.ledgersync}x", environ=environ)
    assert (right.returncode, right.stdout.split()[0]) == (0, b"200")
    assert (wrong.returncode, wrong.stdout.split()[0]) == (1, b"404")


def test_secrets_are_for_the_owner_alone(up: Up) -> None:
    """run.env, the kept secrets and the logs are readable by nobody else."""
    files = ("run.env", "secrets.json", "ingress.log", "worker.log", "finbank.log")
    assert {stat.S_IMODE((up.data / name).stat().st_mode) for name in files} == {0o600}


def test_the_processes_connect_as_roles_that_see_one_tenant(up: Up) -> None:
    """Nothing that serves is the owner: run.env names bankfeed_app and bankfeed_queue."""
    assert up.query("SELECT current_user::text") == "bankfeed_queue"
    assert up.query("SELECT current_user::text", user="BANKFEED_DATABASE_URL") == "bankfeed_app"


def test_the_login_is_in_the_database(up: Up) -> None:
    """The printed password is the one whose argon2id hash is stored for the printed e-mail address."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - only this test hashes

    _, email, password = next(line.split() for line in up.lines if line.startswith("login"))
    hashed = up.query("SELECT password_hash FROM find_user($1)", email, user="BANKFEED_DATABASE_URL")
    assert PasswordHasher().verify(hashed, password)


def test_the_quickstart_copies_and_follows_the_demo(up: Up) -> None:
    """The example of the Python client signs in with the printed login, copies all, asks the bank, and sees what came."""
    _, email, password = next(line.split() for line in up.lines if line.startswith("login"))
    command = [sys.executable, "docs/quickstart.py", up.url, email, password]
    done = subprocess.run(command, cwd=ROOT, env=up.environ, capture_output=True, timeout=90, check=False)
    said = done.stdout.decode()
    assert 0 == done.returncode, done.stderr.decode()
    assert "Demo Client: 1 bank accounts" in said
    assert re.search(r"copied [1-9]\d* transactions", said)
    assert "refreshed" in said
    assert "since then" in said


def test_what_it_sends_by_mail_is_in_the_printed_mailbox(up: Up) -> None:
    """The mail server that the worker is told of is Finbank's, and its letters are on the printed page."""
    server = urlsplit(read_run_env(up.data)["BANKFEED_SMTP_URL"])
    assert server.hostname is not None
    assert server.port is not None
    with smtplib.SMTP(server.hostname, server.port) as mail:
        mail.sendmail("a@firm.example", "b@firm.example", b"Subject: FinBank <needs> you\r\n\r\nHello\r\n")
    page = next(line.split()[1] for line in up.lines if line.startswith("mailbox"))

    async def read() -> str:
        async with aiohttp.ClientSession() as session:
            return await (await session.get(page)).text()

    assert "FinBank &lt;needs&gt; you" in asyncio.run(read())


def test_a_second_one_in_the_same_folder_is_refused(up: Up) -> None:
    """A second start of the same checkout says that it is running already."""
    second = run_command("up", environ=up.environ)
    assert second.returncode == 2
    assert f"already running (pid {up.pid})" in second.stderr.decode()


def test_taken_ports_are_named_before_anything_starts(up: Up, own: Up) -> None:
    """Another checkout's ports are refused by their settings' names, all at once, and nothing was started."""
    names = ("BANKFEED_PORT", "BANKFEED_WORKER_PORT", "BANKFEED_FINBANK_PORT")
    refused = run_command("up", environ={**own.environ, **{name: up.ports[name] for name in names}})
    assert refused.returncode == 2
    assert refused.stderr.decode().splitlines() == [
        f"port {up.ports[name]} is taken; set {name} to a free port" for name in names
    ]
    assert not (own.data / "postgres").exists()


def test_settings_are_refused_all_at_once(own: Up) -> None:
    """Every wrong setting is one line, and so is an aggregator that this command does not talk to."""
    environ = {**own.environ, "BANKFEED_PORT": "eighty", "BANKFEED_PROT": "1", "BANKFEED_FINICITY_APP_KEY": "k"}
    refused = run_command("up", environ=environ)
    assert refused.returncode == 2
    assert refused.stderr.decode().splitlines() == [
        "unknown setting BANKFEED_PROT; see deploy/settings.env",
        "expected BANKFEED_PORT to be an integer from 1 to 65535, got 'eighty'",
        "expected BANKFEED_FINICITY_APP_KEY not to be set: `bankfeed up` runs with Finbank",
    ]


def test_kill_9_leaves_nothing_the_next_start_goes_on_and_ctrl_c_ends_it(own: Up) -> None:
    """After kill -9 nothing runs on; the next start prints the same; Ctrl-C ends all of it within five seconds, well."""
    own.start()
    pids = descendants(own.pid)
    assert len(pids) > 5
    before = own.lines[:-1]
    assert own.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until_gone(pids)
    assert own.start().lines[:-1] == before
    shown = msgspec.json.decode(own.run("status", "--json").stdout)
    assert [connection["accounts"] for connection in shown["connections"]] == [3]
    pids = descendants(own.pid)
    assert own.process is not None
    own.process.send_signal(signal.SIGINT)
    wait_until_gone([*pids, own.pid])
    assert own.end() == 0
    assert not (own.data / "run.env").exists()


# A Postgres and a Redis that settings name


@pytest.fixture
def given(urls: Urls, redis: LocalRedis, own: Up) -> Up:
    """One on servers that run already, which starts fast."""
    own.environ |= {**urls.environ(), "BANKFEED_OWNER_DATABASE_URL": urls.owner, "BANKFEED_REDIS_URL": redis.url()}
    return own


async def test_given_servers_are_used(given: Up, urls: Urls) -> None:
    """With URLs for each role, and once an owner who makes the sources, nothing is started but the processes."""
    given.start()
    assert not (given.data / "postgres").exists()
    assert not (given.data / "redis.log").exists()
    assert read_run_env(given.data)["BANKFEED_DATABASE_URL"] == urls.app
    assert urls.owner not in (given.data / "run.env").read_text()
    address = given.ledgersync
    given.end(signal.SIGTERM)
    given.environ.pop("BANKFEED_OWNER_DATABASE_URL")
    assert given.start().ledgersync == address


async def test_a_second_signal_kills(given: Up) -> None:
    """Who is asked twice does not wait: with a worker that does not listen, the second signal ends everything at once."""
    given.start()
    pids = descendants(given.pid)
    os.kill(find_module(pids, "worker"), signal.SIGSTOP)
    ingress = find_module(pids, "ingress")
    assert given.process is not None
    given.process.send_signal(signal.SIGTERM)
    wait_until_gone([ingress])
    given.process.send_signal(signal.SIGINT)
    wait_until_gone([*pids, given.pid])
    assert given.end() == 130


async def test_a_part_that_ends_is_named_and_everything_stops(given: Up) -> None:
    """When one process dies, `up` says which and where its log is, stops the rest and ends with 1."""
    given.start()
    pids = descendants(given.pid)
    os.kill(find_module(pids, "worker"), signal.SIGKILL)
    wait_until_gone([*pids, given.pid], 2 * STOP_LIMIT_S)
    assert given.end() == 1
    assert f"bankfeed: worker ended with signal SIGKILL; {given.data}/worker.log" in given.errors.read_text()


async def test_accounts_that_were_never_announced_arrive(given: Up, superuser: asyncpg.Connection) -> None:
    """With a bank that announces nothing, the demo's accounts are there all the same."""
    given.environ["BANKFEED_FINBANK_DIALECT"] = "none"
    given.start()
    assert await superuser.fetchval("SELECT count(*) FROM accounts") == 3


async def test_missing_sources_are_explained(urls: Urls, own: Up) -> None:
    """Two roles alone cannot make sources: the error says which setting can."""
    own.environ |= urls.environ()
    refused = await asyncio.to_thread(run_command, "up", environ=own.environ)
    assert refused.returncode == 2
    assert "no sources named finicity and ledgersync yet" in refused.stderr.decode()
    assert "BANKFEED_OWNER_DATABASE_URL" in refused.stderr.decode()


def sealing_keys(data: Path, **settings: str) -> str:
    """What a start from a data folder gives its processes to seal with."""
    person = Person.read({"BANKFEED_DATA": str(data), **settings})
    urls = RoleUrls(app="postgresql://a@h/d", queue="postgresql://q@h/d")
    product = product_environ(person, Keys(data), urls, redis_url="", partner_secret=PARTNER_SECRET)
    return product["BANKFEED_SECRET_KEYS"]


def test_what_seals_is_made_once(tmp_path: Path) -> None:
    """A second start opens what the first one sealed; another data folder has a key of its own."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    made = [sealing_keys(tmp_path / name) for name in ("one", "one", "other")]
    assert made[0] == made[1] != made[2]
    assert [["local"], ["local"]] == [list(read_keys(text)) for text in made[1:]]


def test_a_persons_own_keys_win(tmp_path: Path) -> None:
    """Keys that are set are the ones given on, as they are; without them the one that was kept."""
    kept = sealing_keys(tmp_path)
    own = f"{write_key('own', bytes(32))},{kept}"
    assert own == sealing_keys(tmp_path, BANKFEED_SECRET_KEYS=own)
    assert kept == sealing_keys(tmp_path, BANKFEED_SECRET_KEYS="")


def test_the_commands_in_another_terminal_get_the_keys(up: Up) -> None:
    """run.env has the kept key, Finbank has not; and everything is sealed with it."""
    assert ["local"] == list(read_keys(read_run_env(up.data)["BANKFEED_SECRET_KEYS"]))
    finbank = Path(f"/proc/{find_module(descendants(up.pid), 'bankfeed.sandbox')}/environ").read_bytes()
    assert b"BANKFEED_SECRET_KEYS" not in finbank
    done = up.run("secrets", "reencrypt")
    assert (0, b"sealed 0 anew with the key local, 2 were already, 0 could not be opened\n") == (
        done.returncode,
        done.stdout,
    )


def settings_of(**environ: str) -> tuple[Settings, LocalSettings]:
    named = {f"BANKFEED_{name.upper()}": text for name, text in environ.items()}
    return Settings.from_environ(named), LocalSettings.from_environ(named)


async def test_roles_whose_passwords_are_unknown_are_explained(urls: Urls, tmp_path: Path) -> None:
    """An owner on a machine whose roles were there before is told to name both URLs."""
    with pytest.raises(SettingsError, match="BANKFEED_QUEUE_DATABASE_URL to one of bankfeed_queue"):
        await prepare_given(*settings_of(database_url=urls.owner), Keys(tmp_path))


async def test_a_role_that_may_not_load_is_explained(urls: Urls, tmp_path: Path) -> None:
    """bankfeed_app alone cannot load the schema, and the error says what to set."""
    with pytest.raises(SettingsError, match=r"the role bankfeed_app may not: .* set BANKFEED_DATABASE_URL to a role"):
        await prepare_given(*settings_of(database_url=urls.app), Keys(tmp_path))


async def test_one_url_without_the_other_is_refused(urls: Urls, tmp_path: Path) -> None:
    """A queue URL without an app URL is a mistake that is named."""
    with pytest.raises(SettingsError, match="expected BANKFEED_DATABASE_URL to be set"):
        await prepare_given(*settings_of(queue_database_url=urls.queue), Keys(tmp_path))


def test_an_owner_of_an_empty_postgres_gets_everything(tmp_path: Path) -> None:
    """One owner's URL is enough on a fresh Postgres; the passwords made then are kept for the next start."""
    folder = Path(tempfile.mkdtemp(prefix="bankfeed-fresh-"))
    try:
        with LocalPostgres(folder, settings={"fsync": "off"}) as postgres:
            settings, local = settings_of(database_url=postgres.url())
            first = asyncio.run(prepare_given(settings, local, Keys(tmp_path)))
            assert asyncio.run(prepare_given(settings, local, Keys(tmp_path))) == first
    finally:
        erase(folder)
