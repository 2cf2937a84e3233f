"""One process of the product, started and stopped. Its words go to a log file, not to the terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bankfeed.errors import Unavailable
from bankfeed.local.home import read_file
from bankfeed.local.server import end_with_parent
from bankfeed.settings import ROOT

LAST_LINES = 8
KILL_LIMIT_S = 5.0


class Child:
    """`python -m <module>`, in a session of its own: Ctrl-C reaches the supervisor alone, which stops it in order.

    It ends with the supervisor, whatever ends that. `grace_s` is how long a stop may take before it is a kill.
    """

    def __init__(self, name: str, module: str, *, environ: Mapping[str, str], log: Path, grace_s: float) -> None:
        self.name = name
        self.log = log
        self._module = module
        self._environ = environ
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id, None while it is not there."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process with an empty log. Called from the main thread: the child ends with its thread."""
        self.log.unlink(missing_ok=True)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own modules
                (sys.executable, "-m", self._module),
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call
            )
        finally:
            os.close(log)

    def stop(self) -> None:
        """Ask it to end, and kill it where it takes too long. Safe to repeat."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILL_LIMIT_S)

    def require_alive(self) -> None:
        """Raise Unavailable with its last words where it has ended."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise Unavailable(f"{self.name} ended with {_in_words(code)}; {last_words(self.log)}")


def last_words(log: Path) -> str:
    """Return where a log is and how it ends."""
    lines = [line[:500] for line in read_file(log).splitlines() if line.strip()][-LAST_LINES:]
    return "\n  ".join([f"{log} ends with:", *lines]) if lines else f"{log} is empty"


def _in_words(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
