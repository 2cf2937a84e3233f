"""Where the local servers keep their files, and as whom they run.

Postgres refuses to run as root. Root therefore starts both servers as `nobody`, and where that user cannot reach the
checkout (/root is closed to others), the files live in a folder outside it, whose path the checkout's folder records.
Permissions are set on what was made here, never on what was there.
"""

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bankfeed.errors import SettingsError

# Tried in this order. /var/lib first: nothing there is cleaned by age, and only root may create entries in it.
OUTSIDE_PARENTS = ("/var/lib", "/var/tmp", tempfile.gettempdir())  # noqa: S108 - mkdtemp chooses the name
RECORD = "outside"  # in the checkout's folder: the path of the folder outside
OWNER = "checkout"  # in the folder outside: the path of the checkout's folder


def server_account() -> pwd.struct_passwd | None:
    """Return the user that root starts the servers as; None for anybody else, who starts them as themselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def make_folder(folder: Path) -> None:
    """Make the checkout's folder where it is missing; `nobody` may pass through root's, but not list it."""
    folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)


def hold_lock(path: Path) -> int:
    """Take a lock that ends with this process, whatever ends it; return its file descriptor.

    Raises:
        SettingsError: Another process holds it, or the file is another user's.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        raise SettingsError(f"{path.parent} belongs to another user; run as that user, or set BANKFEED_DATA") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode()
        os.close(lock)
        raise SettingsError(f"already running (pid {holder}) in {path.parent}") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def find_home(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Return the folder for the servers' files: the checkout's own, or one outside that `account` can reach."""
    if account is None:
        return folder
    outside = _recorded(folder)
    if outside is not None:
        return outside
    return folder if _can_live_in(folder, account) else _make_outside(folder, account)


def erase(folder: Path) -> None:
    """Delete a checkout's folder, and what it has outside. Safe to repeat.

    Raises:
        SettingsError: A server of it is running.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        return
    locks = [hold_lock(path) for path in sorted(folder.glob("*.lock"))]
    outside = _recorded(folder)
    if outside is not None:
        shutil.rmtree(outside)
    shutil.rmtree(folder)
    for lock in locks:
        os.close(lock)


def write_file(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def read_file(path: Path) -> str:
    """Return a file's text, "" where there is none."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def can_run(command: Sequence[str | Path], account: pwd.struct_passwd) -> bool:
    """Say whether a command ends well as that user: trying knows of every mount, access list and permission."""
    try:
        subprocess.run(  # noqa: S603 - our own commands
            command,
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=(),
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _can_live_in(folder: Path, account: pwd.struct_passwd) -> bool:
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=folder))
    try:
        os.chown(probe, account.pw_uid, account.pw_gid)
        return can_run(("/bin/sh", "-c", 'cd "$1" && : > written', "sh", probe), account)
    except OSError:
        return False
    finally:
        shutil.rmtree(probe)


def _make_outside(folder: Path, account: pwd.struct_passwd) -> Path:
    for parent in OUTSIDE_PARENTS:
        try:
            outside = Path(tempfile.mkdtemp(prefix="bankfeed-", dir=parent))
        except OSError:
            continue
        outside.chmod(0o711)
        if _can_live_in(outside, account):
            write_file(outside / OWNER, str(folder))
            write_file(folder / RECORD, str(outside))
            return outside
        outside.rmdir()
    raise SettingsError(
        f"root starts Postgres as user {account.pw_name}, who can reach neither {folder} nor "
        f"{', '.join(OUTSIDE_PARENTS)}; run as an ordinary user"
    )


def _recorded(folder: Path) -> Path | None:
    record = folder / RECORD
    outside = Path(read_file(record))
    if not outside.is_absolute() or not outside.exists():
        return None
    status = outside.lstat()
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
    if is_ours and read_file(outside / OWNER) == str(folder):
        return outside
    raise SettingsError(
        f"{record} names {outside}, which is another checkout's; delete {record} to begin with an empty database here"
    )
