"""The nouns of the domain as values. Pure: no clock, no I/O, no randomness.

Words are those of the design: a *customer* is a firm, its *client* has *connections* (one login at one institution),
a connection has *accounts*, an account has *transactions*. Money is Decimal, positive into the account.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NewType

from bankfeed.errors import AggregatorError

CustomerId = NewType("CustomerId", int)
ClientId = NewType("ClientId", int)
ConnectionId = NewType("ConnectionId", int)
AccountId = NewType("AccountId", int)
TransactionId = NewType("TransactionId", int)
PullId = NewType("PullId", int)
SourceId = NewType("SourceId", int)
EndpointId = NewType("EndpointId", int)
DeliveryId = NewType("DeliveryId", int)
ActId = NewType("ActId", int)
DoubtId = NewType("DoubtId", int)


class EventType(StrEnum):
    """The four events of the LedgerSync document, inbound and outbound alike, and outbound ones for those who ask."""

    ACCOUNT_ADDED = "accountAdded"
    MFA_UPDATED = "mfaUpdated"
    TRANSACTIONS_REFRESHED = "transactionsRefreshed"
    BANK_ACCOUNT_DELETED = "bankAccountDeleted"
    CONNECTION_BROKEN = "connectionBroken"
    CONNECTION_REPAIRED = "connectionRepaired"
    ENDPOINT_DISABLED = "endpointDisabled"
    INSTITUTION_NOTICE = "institutionNotice"
    WIDGET_ENDED = "widgetEnded"
    CASE_CHANGED = "caseChanged"


DOCUMENTED_EVENTS: Final = tuple(EventType)[:4]
"""Those of the LedgerSync document: what an endpoint gets by default."""


class BodyFormat(StrEnum):
    """How the body of a delivery is written: as documented by Bankfeed, or as the LedgerSync document prints it."""

    STANDARD = "standard"
    LEDGERSYNC = "ledgersync"


class AccountClass(StrEnum):
    """What kinds of accounts an institution has."""

    BANKING = "banking"
    CARDS = "cards"
    INVESTMENTS = "investments"
    RETIREMENT = "retirement"
    LOANS = "loans"
    INSURANCE = "insurance"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedInstitution:
    """One institution as the aggregator lists it.

    `time_zone` is an IANA name, None where unknown. `status` is the aggregator's word; "online" is one that works.
    `is_sandbox` is a pretend bank. `migrates_until` is the day until which its logins have to be signed in to again.
    """

    ref: str
    name: str
    url: str = ""
    sign_in_url: str = ""
    phone: str = ""
    email: str = ""
    account_types: tuple[AccountClass, ...] = ()
    currency: str = ""
    time_zone: str | None = None
    status: str = "online"
    is_oauth: bool = False
    is_sandbox: bool = False
    migrates_until: date | None = None


class TransactionState(StrEnum):
    """Where a transaction stands; see the state table of schema.sql for what may become what."""

    PENDING = "pending"
    ACTIVE = "active"
    SHADOW = "shadow"
    REMOVED = "removed"


class ShadowPolicy(StrEnum):
    """What a customer sees of rows that the bank no longer reports; a row with a person's act always stays in view."""

    HIDE = "hide"
    SHOW = "show"
    CONFIRM = "confirm"
    """Shown until a person confirms the removal."""
    DELETE = "delete"
    """The values go; ids and a fingerprint stay, so that a return is recognised."""


class ShadowVerdict(StrEnum):
    """What a person said of a shadow row: it is gone indeed, or it did happen and stays in view."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class FeedKind(StrEnum):
    """How a pull lists: the complete window, or only what is new, changed or removed."""

    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a bank states about one movement, normalised.

    `amount` is exact, with at most the currency's decimals, positive into the account. `kind` is the aggregator's
    type word ("atm", "check" ...) or "" where it gives none. Texts are "" where absent.
    """

    amount: Decimal
    transacted_on: date
    description: str
    posted_on: date | None = None
    memo: str = ""
    check_number: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One row of an aggregator's list.

    `aggregator_id` is None where the row has none or a blank one. `state` is pending, active or shadow, never removed.
    `pending_id` names the pending row that this one is the posting of, where the feed links them. `raw_amount` and
    `raw_transacted_at` keep the aggregator's own figures (its sign; its epoch seconds) as text and integer.
    """

    aggregator_id: str | None
    state: TransactionState
    values: Values
    pending_id: str | None = None
    raw_amount: str = ""
    raw_transacted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One listing of one account's transactions, complete or not, as it came from the aggregator.

    `at` identifies the pull within its account. `from_on` and `to_on` bound the window, both included. `counted_rows`
    is the aggregator's own count of rows, None where it gives none. `error` says why the listing failed, None when it
    did not, and `failed_by` is the aggregator's refusal where that was why; it may say how the login, or the bank, stands.
    `attempted_at` is when the aggregator last asked the bank. `removed_ids` is for deltas.
    """

    at: datetime
    kind: FeedKind
    from_on: date
    to_on: date
    is_complete: bool
    rows: tuple[Reported, ...]
    removed_ids: tuple[str, ...] = ()
    counted_rows: int | None = None
    error: str | None = None
    failed_by: AggregatorError | None = None
    attempted_at: datetime | None = None
    balance: Decimal | None = None
    balance_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One transaction as Postgres holds it, or is about to.

    `id` is None for a row not stored yet. `values` is what people see; `bank_values` is what the bank last said, which
    differs from `values` only where a person's act locks them. `aggregator_ids` holds every id ever seen, oldest first;
    the last is the current one. `first_pulled_at` is the `at` of the pull that first reported it. `removed_at` is set
    while the state is removed. `has_joined` is true once a pending row and a posting were joined in this row.
    `merged_into` names the row that this one was joined to: by the engine, then the state is removed; or by a person,
    then the state goes on following the bank, out of view. `fingerprint` is set where the values were erased.

    A person's acts: `entries` are the references of the ledger entries booked from it, in order; `is_reconciled` locks
    `values`; `deleted_at`; `split_into` are the parts it is booked in, () where it is booked whole; `shadow_verdict`.
    """

    id: TransactionId | None
    state: TransactionState
    values: Values
    bank_values: Values
    aggregator_ids: tuple[str, ...]
    first_pulled_at: datetime
    raw_amount: str = ""
    raw_transacted_at: int | None = None
    removed_at: datetime | None = None
    merged_into: TransactionId | None = None
    has_joined: bool = False
    fingerprint: str = ""
    entries: tuple[str, ...] = ()
    is_reconciled: bool = False
    deleted_at: datetime | None = None
    split_into: tuple[Decimal, ...] = ()
    shadow_verdict: ShadowVerdict | None = None

    @property
    def is_visible(self) -> bool:
        """Tell whether the row is in view, whatever a customer chose for shadow rows."""
        is_listed = self.state in (TransactionState.PENDING, TransactionState.ACTIVE)
        return is_listed and self.deleted_at is None and self.merged_into is None

    @property
    def has_act(self) -> bool:
        """Tell whether a person has done something with the row that must stay with its movement."""
        is_booked = bool(self.entries) or self.is_reconciled or bool(self.split_into)
        return is_booked or self.deleted_at is not None or self.shadow_verdict is ShadowVerdict.REJECTED
