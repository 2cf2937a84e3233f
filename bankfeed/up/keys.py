"""The random secrets of one data folder, kept so that a second start has the same addresses and the same login."""

import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from bankfeed.errors import SettingsError
from bankfeed.local.home import read_file, write_file
from bankfeed.sealing import KEY_BYTES, write_key
from bankfeed.signing import SECRET_BYTES, new_secret

FILE_NAME = "secrets.json"
READABLE = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that looks like something else


class Keys:
    """Secrets by name, in a file that only its owner reads; one that is asked for first is made then."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME
        text = read_file(self._file)
        try:
            self._kept = msgspec.json.decode(text, type=dict[str, str]) if text else {}
        except msgspec.MsgspecError as error:
            raise SettingsError(f"expected {self._file} to be the secrets of an earlier start, got {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def get(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
        """Return the secret of that name, made and kept where there was none."""
        if name not in self._kept:
            self._kept[name] = make()
            write_file(self._file, msgspec.json.format(msgspec.json.encode(self._kept)).decode() + "\n")
        return self._kept[name]


def new_password() -> str:
    """Return a password of some 74 bits that a person can type."""
    return "-".join("".join(secrets.choice(READABLE) for _ in range(5)) for _ in range(3))


def new_signing_secret() -> str:
    """Return a secret for signing webhooks."""
    return new_secret(secrets.token_bytes(SECRET_BYTES))


def new_secret_key() -> str:
    """Return a key that seals secrets at rest, as BANKFEED_SECRET_KEYS takes it."""
    return write_key("local", secrets.token_bytes(KEY_BYTES))
