"""What the API answers, as typed values. A field that this version does not know is left out, so that a newer server works."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec


class Thing(msgspec.Struct, rename="camel", kw_only=True):
    """What every value here is: snake_case in Python, camelCase on the wire."""


class Session(Thing):
    """A token and how long it lasts."""

    token: str
    expires_at: datetime


class Client(Thing):
    """A client of the firm, with counts of what it has linked."""

    id: int
    username: str
    name: str
    email: str
    phone: str
    preferences: dict[str, Any]
    is_locked: bool
    version: int
    bank_accounts: int
    sub_accounts: int
    bank_accounts_with_errors: int


class Institution(Thing):
    """A bank or card issuer. Where it migrates, its bank accounts have to be signed in to again until a day."""

    id: int
    name: str
    url: str
    status: str
    is_oauth: bool
    account_types: list[str]
    sign_in_again_until: date | None = None


class AffectedClient(Thing):
    """A client with bank accounts at an institution that is out of order or migrates."""

    client_id: int
    username: str
    bank_account_ids: list[int]


class InstitutionNotice(Thing):
    """How an institution stands, and whom that concerns; one with many clients comes in several."""

    institution_id: int
    institution_name: str
    status: str
    sign_in_again_until: date | None
    clients: list[AffectedClient]


class BankAccount(Thing):
    """One login at one institution. `message` says how it stands, in words."""

    id: int
    client_id: int
    institution_id: int | None
    institution_name: str | None
    name: str
    memo: str
    state: str
    code: int | None
    message: str
    last_update_at: datetime | None
    next_update_at: datetime | None
    is_updating: bool
    version: int


class HistoryLine(Thing):
    """One thing that happened to a bank account: added, broken, needs_mfa, reconnected, refreshed or deleted."""

    kind: str
    at: datetime
    code: int | None
    message: str
    time_to_repair_s: float | None


class SubAccount(Thing):
    """One account under a login. The bank stated `balance` for `balance_on`; money owed is negative."""

    id: int
    bank_account_id: int
    client_id: int
    state: str
    name: str
    memo: str
    number_display: str
    type: str
    currency: str
    balance: Decimal | None
    balance_on: date | None
    balance_gap: Decimal
    is_hidden: bool
    ledger_account_id: int | None
    version: int


class Transaction(Thing):
    """One movement. `amount` is exact, positive into the account; `status` is pending, active or shadow."""

    id: int
    bank_account_id: int
    sub_account_id: int
    status: str
    amount: Decimal
    currency: str
    transacted_on: date
    posted_on: date | None
    description: str
    memo: str
    check_number: str
    is_reconciled: bool
    split_into: list[Decimal]
    ledger_entries: list[str]
    change_no: int


class Changes(Thing):
    """What changed since a cursor: each row once, as it is now. Keep `next_cursor` with what you wrote."""

    added: list[Transaction]
    updated: list[Transaction]
    removed: list[int]
    next_cursor: str
    has_more: bool


class Refresh(Thing):
    """A bank refresh: waiting, running, done or failed; `what_to_do` says what a person can do."""

    id: int
    bank_account_id: int
    state: str
    code: int | None
    message: str
    what_to_do: str

    @property
    def is_over(self) -> bool:
        """Tell whether it ended, well or not."""
        return self.state in ("done", "failed")


class Case(Thing):
    """A support case; `reason` says why the bank account did not work, `open_actions` counts what is still to be done."""

    id: int
    bank_account_id: int
    client_id: int
    institution_name: str
    state: str
    code: int | None
    reason: str
    telephone: str
    convenient_time: str
    opened_at: datetime
    closed_at: datetime | None
    open_actions: int
    version: int


class Endpoint(Thing):
    """Where the firm's own system takes webhooks."""

    id: int
    url: str
    event_types: list[str]
    description: str
    state: str
    version: int


class Delivery(Thing):
    """One event for one endpoint: waiting, delivered or failed. `next_attempt_at` is None once it is final."""

    id: int
    endpoint_id: int
    event_id: str
    event_type: str
    client_id: int | None
    state: str
    reason: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
