"""The local Redis: Valkey, or Redis where that is what the machine has. It keeps nothing."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from typing import ClassVar

from bankfeed.local.home import read_file, write_file
from bankfeed.local.programs import Programs, find_redis
from bankfeed.local.server import HOST, LocalServer

ANSWER_LIMIT_S = 1.0


class LocalRedis(LocalServer):
    """A Redis of its own, in memory alone. Its password is new at every start."""

    name: ClassVar[str] = "redis"
    port_setting: ClassVar[str] = "BANKFEED_REDIS_PORT"
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def url(self, database: int = 0) -> str:
        """Return the address, once started."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def _find_programs(self) -> Programs:
        return find_redis(self._named_programs)

    def _stop_leftover(self) -> None:
        port, password = self._last_port(), read_file(self._file("password"))
        if port and password and _ask(port, password, "PING") == "+PONG":
            _ask(port, password, "SHUTDOWN NOSAVE")

    def _prepare(self) -> None:
        self.password = secrets.token_urlsafe(24)
        write_file(self._file("password"), self.password)

    def _spawn_server(self) -> subprocess.Popen[bytes]:
        settings = f'bind {HOST}\nport {self.port}\nrequirepass {self.password}\nsave ""\nappendonly no\ndaemonize no\n'
        read_end, write_end = os.pipe()
        os.write(write_end, settings.encode())
        os.close(write_end)
        try:
            return self._spawn(
                (self._programs.main, "-"), stdin=read_end
            )  # a password on the command line is seen by all
        finally:
            os.close(read_end)

    def _is_ready(self) -> bool:
        return _ask(self.port, self.password, "PING") == "+PONG"


def _ask(port: int, password: str, command: str) -> str:
    """Send one command; return the first line of its answer, "" where none came."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), ANSWER_LIMIT_S) as connection:
        connection.sendall(f"AUTH {password}\r\n{command}\r\n".encode())
        answers = connection.makefile()
        return (answers.readline() and answers.readline()).strip()
    return ""
