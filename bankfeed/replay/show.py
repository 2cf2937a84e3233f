"""`bankfeed replay`: read a file, replay it, print where it ends. The command around the others, and the only I/O here."""

import sys
from pathlib import Path

import msgspec

from bankfeed.errors import SettingsError
from bankfeed.model import ShadowPolicy
from bankfeed.replay.book import Book
from bankfeed.replay.fields import ReplayError
from bankfeed.replay.play import Replay
from bankfeed.replay.prose import as_lines
from bankfeed.replay.report import as_json, end
from bankfeed.replay.steps import read_steps


def run_replay(file: str, *, policy: str, as_program: bool, with_steps: bool, with_gone: bool) -> int:
    """Replay a file (- is standard input) and print where it ends; return 0, or 2 where a line cannot be taken.

    Raises SettingsError where the file cannot be read.
    """
    content = _read(file)
    try:
        ending = end(Replay(book=Book(policy=ShadowPolicy(policy))).play(read_steps(content)))
    except ReplayError as error:
        sys.stderr.write(f"{file}: {error}\n")
        return 2
    if as_program:
        _write(msgspec.json.encode(as_json(ending, with_gone=with_gone, with_steps=with_steps)))
    else:
        _write("\n".join(as_lines(ending, with_gone=with_gone, with_steps=with_steps)).encode())
    return 0


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read()
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _write(text: bytes) -> None:
    """Print in UTF-8, whatever the terminal is said to speak: a program reads it, and a bank's texts need it."""
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()
