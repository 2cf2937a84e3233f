"""Finicity's JSON, and how its accounts and rows are read into ours. Pure.

Lenient where its own documents disagree with themselves: ids come as numbers or text, unknown fields are ignored.
Strict where a guess would change somebody's books: an amount, a date, a state or an owner that cannot be read makes
the row `Unreadable`.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from bankfeed.aggregators import ListedAccount
from bankfeed.errors import BadRequest
from bankfeed.model import AccountClass, ListedInstitution, Reported, TransactionState, Values
from bankfeed.money import parse_amount

MAX_TEXT_CHARS: Final = 1_000
MAX_WORD_CHARS: Final = 64
MAX_URL_CHARS: Final = 2_048
MAX_EMAIL_CHARS: Final = 254
NO_DESCRIPTION: Final = "no description provided by institution"

_STATES: Final = {
    "active": TransactionState.ACTIVE,
    "pending": TransactionState.PENDING,
    "shadow": TransactionState.SHADOW,
}
# Here the documents agree that a deposit is positive. On every other type one page says so and another the opposite.
_DEPOSIT_TYPES: Final = frozenset({"checking", "savings", "cd", "moneyMarket"})
_ACCOUNT_CLASSES: Final = {
    "banking": AccountClass.BANKING,
    "credit cards/accounts": AccountClass.CARDS,
    "investments": AccountClass.INVESTMENTS,
    "workplace retirement": AccountClass.RETIREMENT,
    "mortgages and loans": AccountClass.LOANS,
    "insurance": AccountClass.INSURANCE,
}
PRETEND_BANK: Final = re.compile(r"finbank\b", re.IGNORECASE)
"""How the names of Finicity's own pretend banks begin; nothing else in its list tells them from banks."""
_NOT_IN_LINKS: Final = frozenset(" \"'<>\\`")
# Line breaks and tabs part words; every other control character, NUL among them, cannot be stored or shown.
_CONTROLS: Final = dict.fromkeys((*range(32), *range(127, 160))) | dict.fromkeys(map(ord, "\t\n\v\f\r\x85"), " ")


class CardSign(StrEnum):
    """How amounts of cards, loans and investments arrive."""

    HOLDER = "holder"
    """Positive into the account: a purchase is negative."""
    INVERTED = "inverted"
    """Positive out of it: a purchase is positive."""


class Unreadable(ValueError):
    """A row holds something that cannot be read without guessing; the text says what."""


class CustomerStruct(msgspec.Struct):
    """A customer, created or found."""

    id: int | str
    username: str


class CustomersAnswer(msgspec.Struct):
    """The answer to a search for customers."""

    customers: list[CustomerStruct]


class InstitutionStruct(msgspec.Struct, rename="camel"):
    """One institution; of its many fields those that are used. `migration_date` is epoch seconds, and Finbank's own."""

    id: int | str
    name: str | None = None
    display_name: str | None = None
    url_home_app: str | None = None
    url_logon_app: str | None = None
    phone: str | None = None
    email: str | None = None
    account_type_description: str | None = None
    currency: str | None = None
    time_zone: str | None = None
    status: str | None = None
    oauth_enabled: bool = False
    migration_date: int | str | None = None


class InstitutionAnswer(msgspec.Struct):
    """The answer to a request for one institution."""

    institution: InstitutionStruct


class InstitutionsAnswer(msgspec.Struct):
    """One page of institutions, its rows still unread so that one bad row does not hide the others."""

    institutions: list[msgspec.Raw]
    found: int | None = None


class AccountStruct(msgspec.Struct, rename="camel"):
    """One account; of its many fields those that are used."""

    id: int | str
    institution_login_id: int | str
    institution_id: int | str
    type: str
    name: str | None = None
    account_nickname: str | None = None
    account_number_display: str | None = None
    currency: str | None = None
    balance: Decimal | None = None
    balance_date: int | None = None
    aggregation_status_code: int | str | None = None
    aggregation_attempt_date: int | None = None
    aggregation_success_date: int | None = None


class AccountsAnswer(msgspec.Struct):
    """The answer to a listing of accounts."""

    accounts: list[AccountStruct]


class TransactionsAnswer(msgspec.Struct):
    """One page of transactions, its rows still unread so that one bad row does not hide the others."""

    transactions: list[msgspec.Raw]
    found: int | None = None


class TransactionStruct(msgspec.Struct, rename="camel"):
    """One transaction; of its many fields those that are used. `amount` stays as it was written."""

    id: int | str
    amount: msgspec.Raw
    status: str
    account_id: int | str | None = None
    transaction_date: int | None = None
    posted_date: int | None = None
    description: str | None = None
    memo: str | None = None
    check_num: int | str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the rows of one account are read with."""

    account: ListedAccount
    zone: tzinfo
    card_sign: CardSign


_DECODER: Final = msgspec.json.Decoder(TransactionStruct)
_INSTITUTION_DECODER: Final = msgspec.json.Decoder(InstitutionStruct)


def find_zone(name: str | None) -> tzinfo:
    """Return an IANA time zone; UTC where the name is absent or this machine does not know it."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def epoch_window(from_on: date, to_on: date, zone: tzinfo) -> tuple[int, int]:
    """Return the first and the last second of a window of whole days, both days included.

    >>> epoch_window(date(2026, 3, 8), date(2026, 3, 8), ZoneInfo("America/Denver"))  # 23 hours: clocks go forward
    (1772953200, 1773035999)
    """
    starts_at = datetime.combine(from_on, time.min, tzinfo=zone)
    ends_at = datetime.combine(to_on + timedelta(days=1), time.min, tzinfo=zone)
    return int(starts_at.timestamp()), int(ends_at.timestamp()) - 1


def read_institution(struct: InstitutionStruct) -> ListedInstitution:
    """Read one institution. A time zone that this machine does not know counts as none. Raises Unreadable."""
    ref = read_id(struct.id, "id")
    name = clean(struct.name, MAX_TEXT_CHARS) or clean(struct.display_name, MAX_TEXT_CHARS)
    zone = find_zone(struct.time_zone)
    return ListedInstitution(
        ref=ref,
        name=name or ref,
        url=find_url(struct.url_home_app),
        sign_in_url=find_url(struct.url_logon_app),
        phone=clean(struct.phone, MAX_WORD_CHARS),
        email=clean(struct.email, MAX_EMAIL_CHARS),
        account_types=_read_account_types(struct.account_type_description),
        currency=clean(struct.currency, MAX_WORD_CHARS).upper(),
        time_zone=zone.key if isinstance(zone, ZoneInfo) else None,
        status=clean(struct.status, MAX_WORD_CHARS) or "online",
        is_oauth=struct.oauth_enabled,
        is_sandbox=PRETEND_BANK.match(name) is not None,
        migrates_until=_read_migration(struct.migration_date, zone),
    )


def read_institutions(raws: Iterable[msgspec.Raw]) -> tuple[ListedInstitution, ...]:
    """Read those institutions of a page that can be read."""
    read = []
    for raw in raws:
        with suppress(Unreadable, msgspec.MsgspecError, RecursionError, ValueError):
            read.append(read_institution(_INSTITUTION_DECODER.decode(raw)))
    return tuple(read)


def _read_migration(seconds: int | str | None, zone: tzinfo) -> date | None:
    """Return the day until which people have to sign in again; what is no such time counts as none."""
    if not isinstance(seconds, int):
        return None
    with suppress(Unreadable, OverflowError):
        if (until := read_moment(seconds, "migrationDate")) is not None:
            return until.astimezone(zone).date()
    return None


def _read_account_types(description: str | None) -> tuple[AccountClass, ...]:
    word = clean(description, MAX_WORD_CHARS).lower()
    return (_ACCOUNT_CLASSES.get(word, AccountClass.OTHER),) if word else ()


def read_customer_ref(struct: CustomerStruct) -> str:
    """Return a customer's id as text. Raises Unreadable."""
    return read_id(struct.id, "id")


def read_account(struct: AccountStruct) -> ListedAccount:
    """Read one account. Raises Unreadable.

    The balance keeps the sign it comes with: money owed is negative. Its date is that in UTC, because an account does
    not tell its institution's zone.
    """
    currency = (struct.currency or "USD").strip().upper()
    balance_at = read_moment(struct.balance_date, "balanceDate")
    return ListedAccount(
        account_ref=read_id(struct.id, "id"),
        login_ref=read_id(struct.institution_login_id, "institutionLoginId"),
        institution_ref=read_id(struct.institution_id, "institutionId"),
        name=clean(struct.name or struct.account_nickname, MAX_TEXT_CHARS),
        number_display=clean(struct.account_number_display, MAX_WORD_CHARS),
        type=clean(struct.type, MAX_WORD_CHARS),
        currency=currency,
        balance=None if struct.balance is None else _read_amount(struct.balance, currency),
        balance_on=balance_at.date() if balance_at else None,
        status_code=_read_code(struct.aggregation_status_code),
        attempted_at=read_moment(struct.aggregation_attempt_date, "aggregationAttemptDate"),
        succeeded_at=read_moment(struct.aggregation_success_date, "aggregationSuccessDate"),
    )


def read_row(raw: msgspec.Raw, reading: Reading) -> Reported:
    """Read one transaction of an account. Raises Unreadable, saying what cannot be read."""
    try:
        row = _DECODER.decode(raw)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Unreadable(str(error)[:200]) from error
    if row.account_id is not None and str(row.account_id) != reading.account.account_ref:
        raise Unreadable("it belongs to another account")
    raw_amount = bytes(row.amount).decode().strip().strip('"')
    happened_at = row.posted_date if row.transaction_date is None else row.transaction_date
    return Reported(
        aggregator_id=read_id(row.id, "id"),
        state=_read_state(row.status),
        values=_read_values(row, raw_amount, reading),
        raw_amount=raw_amount,
        raw_transacted_at=happened_at,
    )


def clean(text: str | None, limit: int) -> str:
    """Return a text from a bank without control characters and outer blanks, cut to a length; "" for None."""
    return (text or "").translate(_CONTROLS).strip()[:limit].rstrip()


def find_url(text: str | None) -> str:
    """Return a web address that a person may be sent to; "" for anything else, and for more than MAX_URL_CHARS.

    >>> find_url(" https://bank.example/login "), find_url("javascript:alert(1)"), find_url("bank.example")
    ('https://bank.example/login', '', '')
    """
    url = (text or "").strip()
    return url if len(url) <= MAX_URL_CHARS and is_link(url, "https", "http") else ""


def is_link(text: str, *schemes: str) -> bool:
    """Tell whether a text is an address that a browser may be sent to: of one of these schemes, whole, without a user in it."""
    if not (text.isascii() and text.isprintable()) or _NOT_IN_LINKS & set(text):
        return False
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
    return is_whole and "@" not in parts.netloc


def read_id(value: int | str, field: str) -> str:
    """Return an id as text. Raises Unreadable, naming the field."""
    ref = str(value).strip()
    if not (ref and len(ref) <= MAX_WORD_CHARS and ref.isprintable()):
        raise Unreadable(f"expected {field} to be an id of 1 to {MAX_WORD_CHARS} characters, got {ref[:40]!r}")
    return ref


def read_moment(seconds: int | None, field: str) -> datetime | None:
    """Return epoch seconds as an instant, None for None. Raises Unreadable, naming the field."""
    if seconds is None:
        return None
    try:
        if seconds > 0:
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise Unreadable(f"expected {field} to be seconds since 1970, got {str(seconds)[:40]}")


def _read_values(row: TransactionStruct, raw_amount: str, reading: Reading) -> Values:
    posted_on = _read_date(row.posted_date, "postedDate", reading.zone)
    transacted_on = _read_date(row.transaction_date, "transactionDate", reading.zone) or posted_on
    if transacted_on is None:
        raise Unreadable("expected transactionDate or postedDate, got neither")
    return Values(
        amount=_read_signed(raw_amount, reading),
        transacted_on=transacted_on,
        posted_on=posted_on,
        description=_read_description(row.description),
        memo=clean(row.memo, MAX_TEXT_CHARS),
        check_number="" if row.check_num is None else clean(str(row.check_num), MAX_WORD_CHARS),
        kind=clean(row.type, MAX_WORD_CHARS),
    )


def _read_signed(raw_amount: str, reading: Reading) -> Decimal:
    amount = _read_amount(raw_amount, reading.account.currency)
    is_inverted = reading.card_sign is CardSign.INVERTED and reading.account.type not in _DEPOSIT_TYPES
    return -amount if is_inverted else amount


def _read_amount(amount: str | Decimal, currency: str) -> Decimal:
    try:
        return parse_amount(amount, currency)
    except BadRequest as error:
        raise Unreadable(str(error)) from error


def _read_state(status: str) -> TransactionState:
    state = _STATES.get(status)
    if state is None:
        raise Unreadable(f"expected status to be active, pending or shadow, got {status[:40]!r}")
    return state


def _read_description(description: str | None) -> str:
    text = clean(description, MAX_TEXT_CHARS)
    return "" if text.strip("[]").lower() == NO_DESCRIPTION else text


def _read_code(code: int | str | None) -> int | None:
    if code is None:
        return None
    text = str(code).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Unreadable(f"expected aggregationStatusCode to be a number, got {text[:40]!r}")
    return int(text)


def _read_date(seconds: int | None, field: str, zone: tzinfo) -> date | None:
    at = read_moment(seconds, field)
    return None if at is None else at.astimezone(zone).date()
