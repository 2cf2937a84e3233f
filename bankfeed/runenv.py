"""run.env: what `bankfeed up` runs with, for the commands in another terminal.

It holds passwords, so only its owner reads it; and it decides where commands connect, so one that others could have
written is refused.
"""

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from bankfeed.errors import SettingsError
from bankfeed.local.home import write_file
from bankfeed.settings import LocalSettings, process_environ

FILE_NAME = "run.env"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def write_run_env(folder: Path, environ: Mapping[str, str]) -> Path:
    """Write the file, whole or not at all; a shell can read it too. Returns its path."""
    file = folder / FILE_NAME
    write_file(file, "".join(f"{name}={shlex.quote(text)}\n" for name, text in sorted(environ.items())))
    return file


def read_run_env(folder: Path) -> dict[str, str]:
    """Return what is running from that data folder; nothing where there is no file.

    Raises:
        SettingsError: Others can write the file, or it is another user's.
    """
    file = folder / FILE_NAME
    try:
        status = file.lstat()
        text = file.read_text()
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise SettingsError(f"{file} is another user's; run the command as that user, or set BANKFEED_DATA") from None
    if not stat.S_ISREG(status.st_mode) or status.st_mode & OTHERS_WRITE or status.st_uid not in (os.geteuid(), 0):
        raise SettingsError(f"expected {file} to be a file that only you can write; delete it and start again")
    return dict(_read_line(line) for line in text.splitlines() if line.strip())


def find_environ() -> dict[str, str]:
    """Return this process's environment, filled up from run.env where it names no database."""
    environ = process_environ()
    if environ.get("BANKFEED_DATABASE_URL"):
        return environ
    return {**read_run_env(LocalSettings.from_environ(environ).data), **environ}


def get_environ() -> dict[str, str]:
    """Return `find_environ`'s answer where it names a database. Raises SettingsError where it does not."""
    environ = find_environ()
    if not environ.get("BANKFEED_DATABASE_URL"):
        file = LocalSettings.from_environ(environ).data / FILE_NAME
        raise SettingsError(
            f"nothing is running here (there is no {file}): start `make run`, or set BANKFEED_DATABASE_URL and "
            "BANKFEED_QUEUE_DATABASE_URL"
        )
    return environ


def _read_line(line: str) -> tuple[str, str]:
    name, _, text = line.partition("=")
    return name, "".join(shlex.split(text))
