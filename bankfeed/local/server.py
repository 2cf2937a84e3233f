"""One local server: its lock, its port, its process, and how that process ends."""

import ctypes
import errno
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

from bankfeed.errors import SettingsError, Unavailable
from bankfeed.local.home import can_run, find_home, hold_lock, make_folder, read_file, server_account, write_file
from bankfeed.local.programs import Programs, copy_programs

HOST = "127.0.0.1"
START_LIMIT_S = 60.0  # after a crash Postgres replays its log before it is ready
POLL_S = 0.01
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


class LocalServer(ABC):
    """What the local Postgres and the local Redis have in common. A context manager: entering starts, leaving stops."""

    name: ClassVar[str]
    port_setting: ClassVar[str]
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]  # each with the seconds it is given
    death_signal: ClassVar[signal.Signals]  # what the server gets when the process that started it is killed

    def __init__(self, folder: Path, *, port: int = 0, programs: Path | None = None) -> None:
        """Prepare; nothing runs before `start`.

        `folder` belongs to one checkout and may hold both servers. Port 0 is the port of last time while that is free,
        else any. `programs` is the folder of the server's programs; None looks for them.
        """
        self.folder = folder.resolve()
        self.home = self.folder
        self.port = port
        self.password = ""
        self._wanted_port = port
        self._named_programs = programs
        self._account = server_account()
        self._programs: Programs
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The id of the server's process, None while it is not there."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server and wait until it answers. What a killed run left behind is stopped first.

        Raises:
            SettingsError: The port is taken, it is already running in this folder, or there are no programs for it.
            Unavailable: It was started and did not come up; the text ends with its last words.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("local servers are started from the main thread")
        if self._lock is not None:
            self.stop()
        make_folder(self.folder)
        self._lock = hold_lock(self.folder / f"{self.name}.lock")
        try:
            self.home = find_home(self.folder, self._account)
            self._programs = self._make_runnable(self._find_programs())
            self._stop_leftover()
            self._file("log").unlink(missing_ok=True)
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, within seconds. Safe to repeat."""
        if self._process is not None:
            self._end(self._process.send_signal, is_gone=lambda: self.pid is None)
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @abstractmethod
    def _find_programs(self) -> Programs:
        """Find what to run."""

    @abstractmethod
    def _stop_leftover(self) -> None:
        """Stop the server of an earlier run that was killed; never anything else."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before it can start; set the password."""

    @abstractmethod
    def _spawn_server(self) -> subprocess.Popen[bytes]:
        """Start the server's process on `port`."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Say whether the process just started answers."""

    def _file(self, kind: str) -> Path:
        return self.home / f"{self.name}.{kind}"

    def _make_runnable(self, programs: Programs) -> Programs:
        if self._account is None or can_run((programs.main, "--version"), self._account):
            return programs
        if programs.parts:
            return copy_programs(programs, self._file("programs"))
        raise SettingsError(f"root starts {self.name} as user {self._account.pw_name}, who may not run {programs.main}")

    def _launch(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            self.port = self._choose_port()
            self._process = self._spawn_server()
            if (
                _wait(lambda: self.pid is None or self._is_ready(), deadline - time.monotonic())
                and self.pid is not None
            ):
                write_file(self._file("port"), str(self.port))
                return
            last_words = "\n".join(read_file(self._file("log")).splitlines()[-5:])
            # a port that was taken since it was chosen, or the last processes of a killed Postgres on their way out
            if "in use" not in last_words or time.monotonic() > deadline:
                raise Unavailable(f"{self.name} did not start; {self._file('log')} ends with:\n{last_words}")
            time.sleep(10 * POLL_S)

    def _choose_port(self) -> int:
        if self._wanted_port:
            if free_port(self._wanted_port) is None:
                raise SettingsError(
                    f"port {self._wanted_port} of {HOST} is taken; set {self.port_setting} to another, or to 0 for any"
                )
            return self._wanted_port
        port = free_port(self._last_port()) or free_port(0)
        if port is None:
            raise Unavailable(f"no port of {HOST} is free")
        return port

    def _last_port(self) -> int:
        text = read_file(self._file("port"))
        return int(text) if text.isdecimal() else 0

    def _spawn(self, command: Sequence[str | Path], *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        account = self._account
        with self._file("log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the programs found above
                command,
                cwd=self.home,
                env={"PATH": os.defpath, "LC_ALL": "C"},  # PG* variables of the person's shell are not for this server
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the process that stops servers in order, not the servers
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=() if account else None,
                preexec_fn=end_with_parent(self.death_signal),  # noqa: PLW1509 - one system call; after the user is set
            )

    def _end(self, send: Callable[[signal.Signals], None], *, is_gone: Callable[[], bool]) -> None:
        for each, seconds in self.stop_signals:
            if is_gone():
                return
            send(each)
            _wait(is_gone, seconds)
        if not is_gone():
            raise Unavailable(f"{self.name} does not end; see {self._file('log')}")


def end_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs before its program, so that it gets a signal when the process that started it is gone.

    None where the system knows no such request. Called in the thread that starts the child, right before.
    """
    if sys.platform != "linux":
        return None  # there, the next start stops what was left
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork, where little is safe
    return functools.partial(_ask_to_end_with, os.getpid(), prctl, death_signal)


def _ask_to_end_with(parent_pid: int, prctl: Callable[[int, int], int], death_signal: signal.Signals) -> None:
    prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        os._exit(1)  # it was killed before the request was made


def _wait(is_so: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def free_port(port: int, *, host: str = HOST) -> int | None:
    """Return the port if nothing listens there, None if something does; for 0 any free one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return None
            raise
        return int(probe.getsockname()[1])
