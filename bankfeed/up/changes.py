"""What visibly happens in the demo, one line for each committed account change, read from the worker's log."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from bankfeed.model import AccountId

PULLED: Final = "account.pulled"
WORDS: Final[Mapping[str, str]] = {
    "added": "new",
    "updated": "updated",
    "posted": "posted",
    "shadowed": "shadow",
    "returned": "returned",
    "removed": "removed",
    "merged": "joined",
}


class Entry(msgspec.Struct):
    """What is read of a line of the log; other keys are left alone."""

    event: str
    timestamp: str = ""
    account_id: int = 0
    added: int = 0
    updated: int = 0
    posted: int = 0
    shadowed: int = 0
    returned: int = 0
    removed: int = 0
    merged: int = 0


class Changes:
    """Follows a log from its end as it is now. `names` are the accounts'."""

    def __init__(self, log: Path, names: Mapping[AccountId, str]) -> None:
        self._log = log
        self._names = names
        self._offset = log.stat().st_size
        self._rest = b""

    def read(self) -> Iterator[str]:
        """Yield a line for each change since the last call."""
        with self._log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        self._offset += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            if PULLED.encode() in line and (shown := self._show(line)):
                yield shown

    def _show(self, line: bytes) -> str | None:
        try:
            entry = msgspec.json.decode(line, type=Entry)
            at = datetime.fromisoformat(entry.timestamp).astimezone()
        except (msgspec.MsgspecError, ValueError):
            return None
        counts = ", ".join(f"{count} {word}" for name, word in WORDS.items() if (count := getattr(entry, name)))
        if entry.event != PULLED or not counts:
            return None
        name = self._names.get(AccountId(entry.account_id), f"account {entry.account_id}")
        return f"{at:%H:%M:%S}  {name}: {counts}"
