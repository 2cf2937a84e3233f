"""What Finbank must remember: customers, logins, accounts, institutions, hand-made movements, bank time. One file.

Everything else follows from the seed. The file is written next to itself and renamed, so a kill at any moment leaves
the state before an act or the one after it. Fields that older files lack have defaults.
"""

import os
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import msgspec

from bankfeed.sandbox.accounts import Account
from bankfeed.sandbox.credentials import Manner
from bankfeed.sandbox.institutions import Standing
from bankfeed.sandbox.lives import Life

FILE_NAME = "finbank.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer of the aggregator's partner."""

    id: int
    username: str
    created_at: datetime
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One set of credentials at one institution, without them: `username` is what is kept of it, see `kept_name`.

    `failing_code` is what aggregations meet at the bank, `credentials_code` what the credentials given last lead to,
    `status_code` what the last aggregation met; 0 is success. `succeeded_at` is the instant whose listing is shown.
    """

    id: int
    customer_id: int
    institution_id: int
    username: str
    linked_at: datetime
    attempted_at: datetime
    succeeded_at: datetime
    failing_code: int = 0
    status_code: int = 0
    credentials_code: int = 0
    manner: Manner = Manner.PLAIN

    @property
    def failing(self) -> int:
        """Return the code that the next aggregation meets; 0 is success."""
        return self.credentials_code or self.failing_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where the bank's records of a login's accounts begin; they stay when the login is deleted and linked again."""

    opened_on: date
    script_at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Pages:
    """The contents of the book. `made` is by account key, `openings` by login key; `last_id` numbers everything."""

    clock_at: datetime | None = None
    last_id: int = 6_000_000_000
    customers: dict[int, Customer] = field(default_factory=dict)
    logins: dict[int, Login] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    made: dict[str, tuple[Life, ...]] = field(default_factory=dict)
    openings: dict[str, Opening] = field(default_factory=dict)
    institutions: dict[int, Standing] = field(default_factory=dict)

    def next_id(self) -> int:
        """Return an id that was never given out."""
        self.last_id += 1
        return self.last_id

    def accounts_of(self, login_id: int) -> tuple[Account, ...]:
        """List a login's accounts in the bank's order."""
        return tuple(a for a in self.accounts.values() if a.login_id == login_id)

    def drop_account(self, account_id: int) -> None:
        """Forget a link to an account, and its login when that was the last one. What the bank itself has stays."""
        account = self.accounts.pop(account_id)
        if not self.accounts_of(account.login_id):
            self.logins.pop(account.login_id)


def open_book(folder: Path) -> Pages:
    """Read the book, or begin an empty one where the folder has none."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    return msgspec.json.decode(file.read_bytes(), type=Pages) if file.exists() else Pages()


def write_book(pages: Pages, folder: Path) -> None:
    """Replace the file, so that it survives a kill at any moment."""
    draft = folder / f"{FILE_NAME}.draft"
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(pages))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE_NAME)
