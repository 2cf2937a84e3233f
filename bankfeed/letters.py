"""What e-mail says: plain text, short, of what a person has to do. Pure.

A letter names banks, clients and next steps, never amounts, account numbers or addresses with secrets in them. Whatever a
name holds, a subject is one line: nobody writes a header by being called one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bankfeed.health import Meaning

MAX_SUBJECT_CHARS: Final = 150
MAX_BODY_CHARS: Final = 20_000
MAX_NAME_CHARS: Final = 60
NAMED: Final = 30
"""Banks that a letter names, at most; it says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is sent, without its addresses."""

    subject: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A bank that needs somebody: whose it is, since when (UTC), and what it means."""

    client: str
    bank: str
    since_at: datetime
    meaning: Meaning


def write_firm_letter(needs: Sequence[Need], *, count: int, every_hours: int) -> Letter:
    """Tell a firm which banks of its clients need somebody. `needs` are the first of `count`, at least one."""
    first = f"{_name(needs[0].client)}: {_name(needs[0].bank)} needs you"
    parts = [
        "Hello,",
        _count(count, "bank of your clients needs somebody:", "banks of your clients need somebody:"),
        *(_describe(need, title=f"{_name(need.client)}: {_name(need.bank)}") for need in needs),
        *_rest(len(needs), count),
        f"While a bank needs somebody, you hear of it at most every {_hours(every_hours)}. An owner of your firm can change that.",
    ]
    return _letter(first if count == 1 else f"{first}, and {count - 1} more", parts)


def write_client_letter(needs: Sequence[Need], *, count: int, firm: str, every_hours: int) -> Letter:
    """Tell a client which of its banks need it. `needs` are the first of `count`, at least one; `firm` keeps its books."""
    first = f"Your bank {_name(needs[0].bank)} needs you"
    parts = [
        f"Hello {_name(needs[0].client)},",
        f"{_name(firm)} gets no new data from {'this bank' if count == 1 else 'these banks'} of yours:",
        *(_describe(need, title=_name(need.bank)) for need in needs),
        *_rest(len(needs), count),
        f"{_name(firm)} helps you with it. Never send a password or a code by e-mail: nobody of us asks for it.",
        f"While a bank needs you, you hear of it at most every {_hours(every_hours)}.",
    ]
    return _letter(first if count == 1 else f"{first}, and {count - 1} more", parts)


def one_line(text: str, limit: int = MAX_SUBJECT_CHARS) -> str:
    r"""Return a text as one printable line of at most so many characters, each run of anything else one space.

    >>> one_line("Ann\r\nBcc: eve@x.example")
    'Ann Bcc: eve@x.example'
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def plain_text(text: str) -> str:
    r"""Return a text of several lines, printable but for their ends, cut at 20,000 characters.

    >>> plain_text("one\r\ntwo\x00")
    'one\ntwo'
    """
    lines = text[:MAX_BODY_CHARS].splitlines()
    return "\n".join("".join(letter for letter in line if letter.isprintable()).rstrip() for line in lines)


def _describe(need: Need, *, title: str) -> str:
    at = need.since_at
    return (
        f"{title}, since {at.day} {at:%B %Y}\n"
        f"  What happened: {one_line(need.meaning.words, 500)}\n"
        f"  Next step: {one_line(need.meaning.todo, 500)}"
    )


def _rest(named: int, count: int) -> tuple[str, ...]:
    return () if named == count else (f"And {_count(count - named, 'more bank.', 'more banks.')}",)


def _letter(subject: str, parts: Sequence[str]) -> Letter:
    return Letter(subject=one_line(subject), body=plain_text("\n\n".join((*parts, "Bankfeed"))))


def _name(text: str) -> str:
    return one_line(text, MAX_NAME_CHARS)


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _hours(hours: int) -> str:
    """Say a number of hours.

    >>> _hours(1), _hours(36), _hours(48)
    ('hour', '36 hours', '2 days')
    """
    if hours == 1:
        return "hour"
    return f"{hours} hours" if hours % 24 else _count(hours // 24, "day", "days") if hours > 24 else "day"
