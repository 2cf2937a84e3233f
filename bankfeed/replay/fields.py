"""One JSON object of a replay file, read field by field. Pure.

Whatever a file holds, each method returns a bounded value or raises ReplayError with the line, what was expected and
what came. None of them guesses: amounts are decimal strings, moments have an offset.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from bankfeed.errors import BadRequest
from bankfeed.money import parse_amount
from bankfeed.reconcile.texts import clean

WORD_CHARS = 200
"""The longest id, account name or entry reference."""

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Days outside these years are somebody's mistake, and the last ones of year 9999 have no day after them."""

_SHOWN_CHARS = 40
_ABSENT = object()

Read = TypeVar("Read")
Choice = TypeVar("Choice", bound=StrEnum)


class ReplayError(BadRequest):
    """A replay file cannot be read, or a step of it does not fit; the text names the line."""

    def __init__(self, message: str, *, line: int, field: str | None = None) -> None:
        super().__init__(f"line {line}: {message}", field=field)
        self.line = line


class Fields:
    """The fields of one object in a line. `where` names an object inside the line, as `transactions[0]`."""

    __slots__ = ("_found", "line", "where")

    def __init__(self, found: Mapping[str, Any], *, line: int, where: str = "") -> None:
        self._found = found
        self.line = line
        self.where = where

    def names(self) -> Iterator[str]:
        """Go through the names of the fields, known or not."""
        return iter(self._found)

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not null."""
        return self._found.get(name) is not None

    def refuse(self, name: str, expected: str) -> ReplayError:
        """Return the error that a field's value asks for."""
        came = show(self._found.get(name, _ABSENT))
        return self.error(f"expected {name} to be {expected}, got {came}", field=name)

    def error(self, message: str, *, field: str | None = None) -> ReplayError:
        """Return an error that names the place."""
        place = f"{self.where}: " if self.where else ""
        return ReplayError(place + message, line=self.line, field=field)

    def text(self, name: str) -> str:
        """Return a text as it is stored: without control and direction marks, blanks collapsed, cut to a length."""
        value = self._found.get(name)
        if not isinstance(value, str):
            raise self.refuse(name, "text")
        return clean(value)

    def find_text(self, name: str) -> str:
        """Return a text as `text` does, "" where it is absent or null."""
        return self.text(name) if self.has(name) else ""

    def word(self, name: str) -> str:
        """Return an id or a name: printable text, or an integer written out."""
        word = self.find_word(name)
        if word is None:
            raise self.refuse(name, "a name")
        return word

    def find_word(self, name: str) -> str | None:
        """Return an id or a name as `word` does, None where it is absent, null or blank."""
        return self._read_word(name, self._found[name]) if self.has(name) else None

    def words(self, name: str) -> tuple[str, ...]:
        """Return a list of ids without the blank ones, () where it is absent or null."""
        read = (self._read_word(name, value) for value in self._list(name, "a list of ids"))
        return tuple(word for word in read if word is not None)

    def day(self, name: str) -> date:
        """Return a calendar day."""
        expected = f"a day like 2026-03-02, from {FIRST_YEAR} to {LAST_YEAR}"
        on = self._parse(name, _read_day, expected)
        if not FIRST_YEAR <= on.year <= LAST_YEAR:
            raise self.refuse(name, expected)
        return on

    def find_day(self, name: str) -> date | None:
        """Return a calendar day, None where it is absent, null or ""."""
        return self.day(name) if self._found.get(name) not in (None, "") else None

    def moment(self, name: str) -> datetime:
        """Return a moment in UTC."""
        expected = f"a moment like 2026-03-03T06:00:00Z, from {FIRST_YEAR} to {LAST_YEAR}"
        at = self._parse(name, datetime.fromisoformat, expected)
        if at.tzinfo is None or not FIRST_YEAR <= at.year <= LAST_YEAR:
            raise self.refuse(name, expected)
        return at.astimezone(UTC)

    def find_moment(self, name: str) -> datetime | None:
        """Return a moment in UTC, None where it is absent or null."""
        return self.moment(name) if self.has(name) else None

    def amount(self, name: str, currency: str) -> Decimal:
        """Return an amount of money, exactly, with the currency's decimals."""
        return self._read_amount(name, self._found.get(name, _ABSENT), currency)

    def find_amount(self, name: str, currency: str) -> Decimal | None:
        """Return an amount, None where it is absent or null."""
        return self.amount(name, currency) if self.has(name) else None

    def amounts(self, name: str, currency: str) -> tuple[Decimal, ...]:
        """Return a list of amounts."""
        if not self.has(name):
            raise self.refuse(name, "a list of decimal strings")
        listed = self._list(name, "a list of decimal strings")
        return tuple(self._read_amount(f"{name}[{n}]", value, currency) for n, value in enumerate(listed))

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._found.get(name)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def find_count(self, name: str) -> int | None:
        """Return a number of rows, None where it is absent or null."""
        value = self._found.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise self.refuse(name, "a number of rows")
        return value

    def choice(self, name: str, among: tuple[Choice, ...]) -> Choice:
        """Return the one of a few words that stands here."""
        value = self._found.get(name)
        for each in among:
            if each.value == value:
                return each
        raise self.refuse(name, _either([each.value for each in among]))

    def one(self, name: str) -> "Fields":
        """Return an object inside this one."""
        value = self._found.get(name)
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return Fields(value, line=self.line, where=name)

    def many(self, name: str) -> "Iterator[Fields]":
        """Go through a list of objects inside this one."""
        if not self.has(name):
            raise self.refuse(name, "a list of objects")
        for n, value in enumerate(self._list(name, "a list of objects")):
            if not isinstance(value, dict):
                raise self.error(f"expected {name}[{n}] to be an object, got {show(value)}", field=name)
            yield Fields(value, line=self.line, where=f"{name}[{n}]")

    def _list(self, name: str, expected: str) -> list[Any]:
        value = self._found.get(name)
        if value is not None and not isinstance(value, list):
            raise self.refuse(name, expected)
        return value or []

    def _read_word(self, name: str, value: Any) -> str | None:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number and not isinstance(value, str):
            raise self.error(f"expected {name} to be a name, got {show(value)}", field=name)
        word = str(value).strip()
        if len(word) > WORD_CHARS or not word.isprintable():
            raise self.refuse(name, f"a name of at most {WORD_CHARS} printable characters")
        return word or None

    def _read_amount(self, name: str, value: Any, currency: str) -> Decimal:
        if not isinstance(value, str):
            raise self.error(f"expected {name} to be a decimal string, got {show(value)}", field=name)
        try:
            return parse_amount(value, currency)
        except BadRequest as error:
            raise self.error(str(error).replace("an amount", name, 1), field=name) from error

    def _parse(self, name: str, parse: Callable[[str], Read], expected: str) -> Read:
        value = self._found.get(name)
        try:
            if isinstance(value, str):
                return parse(value)
        except (ValueError, OverflowError):
            pass
        raise self.refuse(name, expected)


def show(value: Any) -> str:
    """Write what came, short and printable.

    >>> show("twelve"), show(12.5), show(None), show({})
    ("'twelve'", '12.5', 'null', 'an object')
    """
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, str):
        return repr(value[:_SHOWN_CHARS]) + "..." * (len(value) > _SHOWN_CHARS)
    if isinstance(value, bool):
        return str(value).lower()
    kinds = {type(None): "null", dict: "an object", list: "a list"}
    return kinds.get(type(value)) or str(value)[:_SHOWN_CHARS]


def _read_day(text: str) -> date:
    on = date.fromisoformat(text)
    if on.isoformat() != text:  # weeks and days without dashes are dates too, and nobody's
        raise ValueError(text)
    return on


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
