"""The aggregators: one file each, all behind the Protocol below. They talk HTTP and know nothing of Postgres.

An aggregator's own names (customer, account) stay inside its file. Here its *customer* is `customer_ref`, its login
`login_ref`, its account `account_ref`: text, whatever the wire carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol

from bankfeed.model import EventType, Pull


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstitution:
    """One institution as the aggregator lists it. `time_zone` is an IANA name, None where unknown."""

    ref: str
    name: str
    url: str = ""
    time_zone: str | None = None
    status: str = "online"
    is_oauth: bool = False


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

    async def create_customer(self, username: str) -> str:
        """Return the ref of the aggregator's customer for one of our clients, creating it where there is none."""

    async def find_institution(self, institution_ref: str) -> ListedInstitution | None:
        """Return one institution, or None where the aggregator does not have it."""

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
        with its reason. `time_zone` is the institution's (IANA), UTC where None. `balance` and `attempted_at` of the
        pull come from `account`.
        """

    async def close(self) -> None:
        """Close the connector's HTTP session. Safe to repeat."""


class Dialect(Protocol):
    """How one kind of sender writes its webhooks. Pure: bytes in, Notice out."""

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> Notice:
        """Read a webhook body. Raises BadRequest naming the field, with what was expected and what came."""
