"""Postgres and Redis on one machine, for `bankfeed up`, the tests and the benchmarks.

Both listen on 127.0.0.1 alone, with random passwords, and end with the process that started them. Only the programs of
the wheels are used, never their Python code: as root that would change users and permissions of the machine. Nothing
here may touch a process or a folder that it has not made. The standard library suffices, so that `./run clean` works
without the installed dependencies.

Everything is synchronous, and `start` is called from the main thread: Linux ends a child when the thread that started
it ends.
"""

from bankfeed.local.home import erase
from bankfeed.local.postgres import LocalPostgres
from bankfeed.local.redis import LocalRedis

__all__ = ["LocalPostgres", "LocalRedis", "erase"]
