"""An account at the pretend bank, as the aggregator knows it. Pure: values and their draws."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from bankfeed.sandbox.lives import draw


class AccountKind(StrEnum):
    """The kinds of account that a login brings, in the aggregator's words."""

    CHECKING = "checking"
    SAVINGS = "savings"
    CARD = "creditCard"


NAMES = {
    AccountKind.CHECKING: "Everyday Checking",
    AccountKind.SAVINGS: "Rainy Day Savings",
    AccountKind.CARD: "Sagebrush Visa",
}
OPENING_DOLLARS = {
    AccountKind.CHECKING: (5_000, 9_000),
    AccountKind.SAVINGS: (9_000, 24_000),
    AccountKind.CARD: (-1_400, -300),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One linked account.

    `key` names the account behind it at the bank: linking the same login again gives new ids over the same key, and so
    the same movements. `login_key` is shared by the accounts of one login. `opened_on` is where the bank's records
    begin, `served_from_on` where this link's do; `script_at` is when the scripted movements begin, None without them.
    `loaded_from_on` is where they do since the older history was loaded, None before.
    """

    id: int
    login_id: int
    customer_id: int
    institution_id: int
    kind: AccountKind
    login_key: str
    time_zone: str
    position: int
    linked_at: datetime
    opened_on: date
    served_from_on: date
    script_at: datetime | None = None
    loaded_from_on: date | None = None

    @property
    def key(self) -> str:
        """Return the name of the account behind this link."""
        return f"{self.login_key}/{self.kind}"

    @property
    def zone(self) -> ZoneInfo:
        """Return the institution's time zone."""
        return ZoneInfo(self.time_zone)

    def number(self) -> str:
        """Return the full account number: ten digits, the same for every link of the account."""
        return account_number(self.key)

    def opening_balance(self, seed: int) -> Decimal:
        """Return what the account held before its first movement."""
        low, high = OPENING_DOLLARS[self.kind]
        return Decimal(draw(seed, "opening", self.key).randint(low * 100, high * 100)).scaleb(-2)


def account_number(key: str) -> str:
    """Return the number of the account behind a key, linked or not."""
    return str(draw("number", key).randint(10**9, 10**10 - 1))
