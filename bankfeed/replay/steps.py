"""The replay format: JSON Lines to typed steps. Pure.

Each line is one object with `op` and `account`; blank lines are passed over. Fields that are not named here are ignored,
ops that are not are refused. In a step of one account:

    account    currency; institution, name, type, number
    pull       at, kind, from, to, complete, transactions; removed, count, error, balance, balance_date (the day of the
               balance), attempted_at (when the aggregator last asked the bank). With an error, the list may be absent
    link       match, entry; at          reconcile, delete   match; at
    merge      keep, drop; at            split               match, into; at
    unlink     nothing: the account left

What stands after a semicolon may be absent. A transaction has status, amount, date, description; id, posted_date, memo,
check_number, pending_id.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from bankfeed.errors import BadRequest
from bankfeed.model import FeedKind, Pull, Reported, TransactionState, Values
from bankfeed.money import currency_decimals
from bankfeed.reconcile.adoption import Identity
from bankfeed.replay.fields import Fields, ReplayError, show

LISTED = (TransactionState.PENDING, TransactionState.ACTIVE, TransactionState.SHADOW)
MATCH_TEXTS = ("id", "status", "date", "posted_date", "description", "memo", "check_number")

_TEXTS = ("description", "memo", "check_number")  # stored cleaned, so compared cleaned


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line. `account` is the name that the file gives it; `at` is None where the line has none."""

    line: int
    op: str
    account: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount(Step):
    """An account is there, or is back."""

    identity: Identity
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseAccount(Step):
    """The account left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakePull(Step):
    """What the aggregator listed."""

    pull: Pull


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which row an act is about: `amount` as a number, None where any will do; `texts` by field, exactly."""

    amount: Decimal | None
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link(Step):
    """A person books a row to a ledger entry."""

    match: Match
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile(Step):
    """A person marks a row reconciled."""

    match: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Step):
    """A person deletes a row."""

    match: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Step):
    """A person says that two rows are one."""

    keep: Match
    drop: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Split(Step):
    """A person books a row in parts."""

    match: Match
    into: tuple[Decimal, ...]


def read_steps(content: bytes) -> Iterator[Step]:
    """Read a file's steps in order, a line at a time. Raises ReplayError where a line cannot be read."""
    currencies: dict[str, str] = {}
    has_any = False
    for line, text in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if text.strip():
            yield _read_step(Fields(_decode(text, line), line=line), currencies)
            has_any = True
    if not has_any:
        raise ReplayError("expected a step, got an empty file", line=1)


def _decode(text: bytes, line: int) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except UnicodeDecodeError as error:
        raise ReplayError(f"expected UTF-8, got the byte 0x{error.object[error.start]:02x}", line=line) from error
    except RecursionError as error:
        raise ReplayError("expected a JSON object, got one nested too deeply", line=line) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ReplayError(f"expected a JSON object, got something else: {str(error)[:200]}", line=line) from error
    if not isinstance(found, dict):
        raise ReplayError(f"expected a JSON object, got {show(found)}", line=line)
    return found


def _read_step(fields: Fields, currencies: dict[str, str]) -> Step:
    op = fields.text("op")
    read = _READERS.get(op)
    if read is None:
        raise fields.refuse("op", f"one of {', '.join(_READERS)}")
    account = fields.word("account")
    if op == "account":
        currencies[account] = _read_currency(fields)
    elif account not in currencies:
        raise fields.refuse("account", "one that an account line opened before")
    common = {"line": fields.line, "op": op, "account": account, "at": fields.find_moment("at")}
    return read(fields, currencies[account], common)


def _read_currency(fields: Fields) -> str:
    currency = fields.word("currency")
    try:
        currency_decimals(currency)
    except BadRequest as error:
        raise fields.refuse("currency", "three capital letters") from error
    return currency


def _read_account(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    names = ("institution", "type", "number")
    identity = Identity(**{name: fields.find_word(name) or "" for name in names})
    return OpenAccount(identity=identity, currency=currency, **common)


def _read_unlink(_fields: Fields, _currency: str, common: dict[str, Any]) -> Step:
    return CloseAccount(**common)


def _read_link(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    return Link(match=_read_match(fields, "match", currency), entry=fields.word("entry"), **common)


def _read_reconcile(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    return Reconcile(match=_read_match(fields, "match", currency), **common)


def _read_delete(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    return Delete(match=_read_match(fields, "match", currency), **common)


def _read_merge(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    keep, drop = (_read_match(fields, name, currency) for name in ("keep", "drop"))
    return Merge(keep=keep, drop=drop, **common)


def _read_split(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    match, into = _read_match(fields, "match", currency), fields.amounts("into", currency)
    return Split(match=match, into=into, **common)


def _read_match(fields: Fields, name: str, currency: str) -> Match:
    found = fields.one(name)
    for wanted in found.names():
        if wanted != "amount" and wanted not in MATCH_TEXTS:
            expected = f"amount, {', '.join(MATCH_TEXTS)}"
            raise found.error(f"expected fields of a row ({expected}), got {show(wanted)}", field=wanted)
    texts = tuple((wanted, _read_wanted(found, wanted)) for wanted in MATCH_TEXTS if wanted in found.names())
    amount = found.amount("amount", currency) if "amount" in found.names() else None
    return Match(amount=amount, texts=texts)


def _read_wanted(found: Fields, name: str) -> str:
    return found.text(name) if name in _TEXTS else found.find_word(name) or ""


def _read_pull(fields: Fields, currency: str, common: dict[str, Any]) -> Step:
    from_on, to_on = fields.day("from"), fields.day("to")
    if from_on > to_on:
        raise fields.refuse("to", f"no day before {from_on}")
    error = fields.find_text("error") or None
    is_listed = fields.has("transactions") or error is None
    pull = Pull(
        at=fields.moment("at"),
        kind=fields.choice("kind", tuple(FeedKind)),
        from_on=from_on,
        to_on=to_on,
        is_complete=fields.flag("complete"),
        rows=tuple(_read_row(row, currency) for row in fields.many("transactions")) if is_listed else (),
        removed_ids=fields.words("removed"),
        counted_rows=fields.find_count("count"),
        error=error,
        attempted_at=fields.find_moment("attempted_at"),
        balance=fields.find_amount("balance", currency),
        balance_on=fields.find_day("balance_date"),
    )
    return TakePull(pull=pull, **common)


def _read_row(row: Fields, currency: str) -> Reported:
    values = Values(
        amount=row.amount("amount", currency),
        transacted_on=row.day("date"),
        description=row.text("description"),
        posted_on=row.find_day("posted_date"),
        memo=row.find_text("memo"),
        check_number=row.find_text("check_number"),
    )
    return Reported(
        aggregator_id=row.find_word("id"),
        state=row.choice("status", LISTED),
        values=values,
        pending_id=row.find_word("pending_id"),
    )


_READERS: dict[str, Callable[[Fields, str, dict[str, Any]], Step]] = {
    "account": _read_account,
    "pull": _read_pull,
    "link": _read_link,
    "reconcile": _read_reconcile,
    "delete": _read_delete,
    "merge": _read_merge,
    "split": _read_split,
    "unlink": _read_unlink,
}
