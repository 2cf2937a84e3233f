"""The local Postgres."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

from bankfeed.errors import SettingsError, Unavailable
from bankfeed.local.home import read_file, write_file
from bankfeed.local.programs import Programs, find_postgres
from bankfeed.local.server import HOST, LocalServer

SUPERUSER = "postgres"
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": HOST,
        "unix_socket_directories": "",  # a socket's path may not pass 107 bytes; a checkout's may
        "ssl": "off",
        "shared_buffers": "128MB",
        "max_connections": "100",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
    }
)


class LocalPostgres(LocalServer):
    """A Postgres of its own, with fsync on. The file `postgres.password` holds its superuser's password."""

    name: ClassVar[str] = "postgres"
    port_setting: ClassVar[str] = "BANKFEED_POSTGRES_PORT"
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGINT, 10.0),  # fast shutdown: clients are cut off, everything is written
        (signal.SIGQUIT, 5.0),  # immediate: the log is replayed at the next start
        (signal.SIGKILL, 5.0),
    )
    death_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(
        self, folder: Path, *, port: int = 0, programs: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        """Prepare; nothing runs before `start`. `settings` go on top of SETTINGS; for the others see LocalServer."""
        super().__init__(folder, port=port, programs=programs)
        self._settings = {**SETTINGS, **(settings or {})}

    def url(self, user: str = SUPERUSER, database: str = "postgres", password: str | None = None) -> str:
        """Return the address for a role, once started. None is the superuser's password."""
        word = self.password if password is None else password
        return (
            f"postgresql://{quote(user, safe='')}:{quote(word, safe='')}@{HOST}:{self.port}/{quote(database, safe='')}"
        )

    @property
    def _data(self) -> Path:
        return self.home / "postgres"

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"

    def _find_programs(self) -> Programs:
        return find_postgres(self._named_programs)

    def _prepare(self) -> None:
        secret = self._file("password")
        self.password = read_file(secret)
        if (self._data / "PG_VERSION").exists():
            if not self.password:
                raise SettingsError(f"{self._data} is there and {secret} is not; bring it back, or run `./run clean`")
            return
        self.password = secrets.token_urlsafe(24)
        write_file(secret, self.password)
        unfinished = self.home / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            for path in (unfinished, secret):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        self._initdb(unfinished)
        unfinished.rename(self._data)

    def _initdb(self, target: Path) -> None:
        initdb = self._programs.main.with_name("initdb")
        command = (initdb, "-D", target, "-U", SUPERUSER, f"--pwfile={self._file('password')}")
        process = self._spawn((*command, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"))
        if process.wait() != 0:
            raise Unavailable(f"initdb failed; {self._file('log')} says:\n{read_file(self._file('log'))}")

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return self._spawn((self._programs.main, "-D", self._data, f"--port={self.port}", *settings))

    def _is_ready(self) -> bool:
        # what pg_ctl waits for: the first line is the pid, the eighth the state
        lines = read_file(self._pid_file).splitlines()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _stop_leftover(self) -> None:
        first_line = read_file(self._pid_file).split("\n", 1)[0]
        pid = int(first_line) if first_line.isdecimal() else None
        if pid is not None and self._is_ours(pid):
            self._end(lambda each: _send(pid, each), is_gone=lambda: not self._is_ours(pid))
        elif pid is None or _exists(pid):
            # Postgres would take the stranger who has the number now for itself and refuse to start
            self._pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        """Say whether that process is the Postgres of this data folder, by its command line."""
        return f"postgres -D {self._data} --port=" in _command_line(pid)


def _command_line(pid: int) -> str:
    """Return a process's program and arguments, blanks between them; "" where it is gone or a zombie."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    command = ("/bin/ps", "-ww", "-o", "command=", "-p", str(pid))
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - fixed words


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send(pid: int, each: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, each)
