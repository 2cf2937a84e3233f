"""The aggregators: one file each, all behind the Protocol below. They talk HTTP and know nothing of Postgres.

An aggregator's own names (customer, account) stay inside its file. Here its *customer* is `customer_ref`, its login
`login_ref`, its account `account_ref`: text, whatever the wire carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from bankfeed.health import RUNNING
from bankfeed.model import EventType, ListedInstitution, Pull


@dataclass(frozen=True, slots=True, kw_only=True)
class InstitutionPage:
    """One page of the list of all institutions.

    `found` is the aggregator's own count of the whole list, None where it gives none. `unread_rows` could not be read.
    """

    rows: tuple[ListedInstitution, ...]
    found: int | None
    unread_rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAccount:
    """One account of one login as the aggregator lists it.

    `type` is the aggregator's word ("checking", "creditCard" ...). `balance` is exact, in our sign convention (money
    owed is negative). `status_code` is 0 when the last aggregation succeeded, None before the first. `attempted_at`
    and `succeeded_at` are when the aggregator last asked the bank, and last had an answer.
    """

    account_ref: str
    login_ref: str
    institution_ref: str
    name: str
    number_display: str = ""
    type: str
    currency: str = "USD"
    balance: Decimal | None = None
    balance_on: date | None = None
    status_code: int | None = None
    attempted_at: datetime | None = None
    succeeded_at: datetime | None = None

    @property
    def is_being_asked(self) -> bool:
        """Tell whether the aggregator has not ended asking the bank: no error, and no success since the last attempt."""
        if self.status_code or self.attempted_at is None:
            return self.status_code in RUNNING
        return self.succeeded_at is None or self.succeeded_at < self.attempted_at


class Notice(NamedTuple):
    """What an inbound webhook says, whatever its dialect: a hint to go and look.

    `event_type` is None for one that is not of the four kinds (kept, counted, never acted on); `name` is the sender's
    own word for it. `event_id` is None where the sender gives none; stripped of blanks. The refs are the aggregator's
    ids as text; what they name is resolved only within the source the notice came through. `is_ping` marks a check
    that only wants an answer and is not stored.
    """

    name: str
    event_type: EventType | None
    event_id: str | None = None
    customer_ref: str | None = None
    login_refs: tuple[str, ...] = ()
    account_refs: tuple[str, ...] = ()
    sent_at: datetime | None = None
    is_ping: bool = False


class Aggregator(Protocol):
    """What every connector can do. All calls raise AggregatorError; timeouts come from the connector's settings."""

    @property
    def is_configured(self) -> bool:
        """Tell whether this deployment has what it takes to be let in. Where it has not, nothing is asked by itself."""

    @property
    def may_automate_bank_refresh(self) -> bool:
        """Tell whether `ask_bank_refresh` may be called without a person's click. Where not, no schedule may call it."""

    async def create_customer(self, username: str) -> str:
        """Return the ref of the aggregator's customer for one of our clients, creating it where there is none."""

    async def find_institution(self, institution_ref: str) -> ListedInstitution | None:
        """Return one institution, or None where the aggregator does not have it."""

    async def list_institutions(self, page: int) -> InstitutionPage:
        """List all institutions, page by page from 1. A page without a row is past the end."""

    async def list_accounts(self, customer_ref: str) -> tuple[ListedAccount, ...]:
        """List every account of a customer, of all logins. Empty where there is none."""

    async def list_login_accounts(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        """List the accounts of one login. Empty where the aggregator says it has none."""

    async def find_account(self, customer_ref: str, account_ref: str) -> ListedAccount | None:
        """Return one account, or None where the aggregator says that there is no such account."""

    async def pull(
        self,
        customer_ref: str,
        account: ListedAccount,
        *,
        at: datetime,
        from_on: date,
        to_on: date,
        time_zone: str | None = None,
    ) -> Pull:
        """List an account's transactions of a window, pending ones included, all pages.

        A listing that broke off is returned with `is_complete=False` and `error`, never raised, so that it can be kept
        with its reason; `failed_by` is what would have been raised. `time_zone` is the institution's (IANA), UTC where None. `balance` and `attempted_at` of the
        pull come from `account`.
        """

    async def ask_bank_refresh(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        """Have the aggregator ask the bank for what is new in one login; return its accounts afterwards.

        Only for a person's click: nothing calls it by a schedule. Asking twice is harmless: the second one is told that
        the first still runs (StillAsking), or asks the bank once more, which changes nothing of ours by itself. It may take
        minutes and goes on there when we hang up. Raises AggregatorError with the bank's code where it refused.
        """

    async def ask_bank_history(self, customer_ref: str, account_ref: str) -> None:
        """Have the aggregator load what the bank has of an account's last 24 months; as harmless to repeat."""

    async def delete_account(self, customer_ref: str, account_ref: str) -> None:
        """Delete one account there; the others of its login stay. Raises NoSuchAccount where it is gone already."""

    async def delete_login(self, customer_ref: str, login_ref: str) -> None:
        """Delete a login with all its accounts there. Raises NoSuchAccount where it is gone already."""

    async def delete_customer(self, customer_ref: str) -> None:
        """Delete a customer with all its logins there. Raises NoSuchAccount where it is gone already."""

    async def close(self) -> None:
        """Close the connector's HTTP session. Safe to repeat."""


class Dialect(Protocol):
    """How one kind of sender writes its webhooks. Pure: bytes in, Notice out."""

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Notice:
        """Read a webhook body. Raises BadRequest naming the field, with what was expected and what came."""
