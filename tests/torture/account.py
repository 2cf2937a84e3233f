"""The account: what was sent, stored, done, told and listed, compared with each other. Pure: values in, differences out.

Nothing here knows how the values were found. What should be once and is not there is lost; what is there more often is
doubled; all else that is not as it should be is wrong.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

UNKNOWN = "unknown at the aggregator"  # how the reason begins where an event names what the bank no longer has


class Fault(StrEnum):
    """How something differs from what it should be."""

    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as it should be, in words."""

    fault: Fault
    text: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An event as it was sent, known by its body. `accepted` counts answers 200 to its `tries`.

    Without an id each try may count as an event of its own. One that `is_forged` has to be refused.
    """

    key: str
    has_id: bool
    tries: int
    accepted: int
    is_forged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A row of the inbox. `refs` are the ids of accounts and logins that it names; `is_idle` means it asks for nothing."""

    key: str
    state: str
    reason: str = ""
    refs: frozenset[str] = frozenset()
    is_idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection, with the ids that name it: its own, and those of all accounts that the bank ever had under it."""

    ref: str
    refs: frozenset[str]
    state: str
    requested: int
    claimed: int
    handled: int
    has_lease: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A transaction as it is listed, by the bank or by us."""

    id: str
    state: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account: `listed` is what the bank lists, None where it has the account no longer; `shown` is what we show.

    `ids` are all ids that our rows have or had, those out of view included. `movements` maps a listed id to what truly
    happened.
    """

    ref: str
    is_closed: bool
    shown: tuple[Row, ...]
    listed: tuple[Row, ...] | None
    ids: tuple[str, ...] = ()
    movements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The change numbers that were ever given to a client's rows, and the counter."""

    name: str
    numbers: tuple[int, ...]
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An outbound event. `states` are those of its deliveries, `cause` the transaction that committed it."""

    event_id: str
    event_type: str
    body: bytes
    accounts: tuple[str, ...]
    states: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a subscriber got under one event id: `taken` counts its answers 200, `bodies` what came."""

    event_id: str
    taken: int
    bodies: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is compared.

    `changed` pairs each commit with the accounts whose rows it changed so that it can be seen, `touched` also those where
    only an id of the bank's changed. `linked` are all accounts that the bank ever
    linked, `gone` those of them that it deleted.
    """

    sent: Sequence[Sent] = ()
    stored: Sequence[Stored] = ()
    connections: Sequence[Connection] = ()
    accounts: Sequence[Account] = ()
    clients: Sequence[Client] = ()
    told: Sequence[Told] = ()
    receipts: Sequence[Receipt] = ()
    changed: frozenset[tuple[str, str]] = frozenset()
    touched: frozenset[tuple[str, str]] = frozenset()
    linked: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    leases: int = 0
    waiting: int = 0
    complaints: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The account closed: how much there was of each, and what differs."""

    accepted: int
    processed: int
    deliveries: int
    events: int
    exact_accounts: int
    differences: tuple[Difference, ...]

    def count(self, fault: Fault) -> int:
        """Count the differences of one kind."""
        return sum(difference.fault is fault for difference in self.differences)

    @property
    def is_even(self) -> bool:
        """True where nothing differs."""
        return not self.differences

    def line(self) -> str:
        """Say it in one line."""
        wrong = f", {self.count(Fault.WRONG):,} wrong" if self.count(Fault.WRONG) else ""
        return (
            f"{self.accepted:,} events accepted, {self.processed:,} processed, {self.deliveries:,} deliveries of "
            f"{self.events:,} events, {self.count(Fault.LOST):,} lost, {self.count(Fault.DOUBLED):,} doubled{wrong}, "
            f"{self.exact_accounts:,} accounts exact"
        )


def close(facts: Facts) -> Balance:
    """Compare everything with everything."""
    stored = Counter(row.key for row in facts.stored if row.state != "waiting")
    accepted = [event for event in facts.sent if event.accepted]
    inexact = {account.ref: list(_rows(account)) for account in facts.accounts}
    return Balance(
        accepted=len(accepted),
        processed=sum(stored[event.key] > 0 for event in accepted),
        deliveries=sum(event.states.count("delivered") for event in facts.told),
        events=len(facts.told),
        exact_accounts=sum(not differences for differences in inexact.values()),
        differences=(
            *_inbox(facts),
            *_requests(facts),
            *(difference for differences in inexact.values() for difference in differences),
            *_missing_accounts(facts),
            *_numbers(facts),
            *_causes(facts),
            *_deliveries(facts),
            *_left(facts),
        ),
    )


def _inbox(facts: Facts) -> Iterator[Difference]:
    """Every event that was answered 200 is stored and done, once; without an id as often as it was answered 200."""
    stored = Counter(row.key for row in facts.stored)
    known = {event.key for event in facts.sent}
    for event in facts.sent:
        count = stored[event.key]
        least = 0 if event.is_forged else min(1, event.accepted) if event.has_id else event.accepted
        most = 0 if event.is_forged else 1 if event.has_id else event.tries
        if count < least:
            yield _lost(f"event {event.key} was answered 200 {event.accepted} times and is stored {count} times")
        if count > most:
            yield _doubled(f"event {event.key} was sent {event.tries} times and is stored {count} times")
        if event.is_forged and event.accepted:
            yield _wrong(f"event {event.key} is forged and was answered 200")
    for row in facts.stored:
        if row.key not in known:
            yield _wrong(f"event {row.key} is stored and nobody sent it")
        if row.state == "set_aside" and not (row.reason.startswith(UNKNOWN) and row.refs & facts.gone):
            yield _lost(f"event {row.key} was set aside: {row.reason}")
        elif row.state == "waiting":
            yield _lost(f"event {row.key} still waits: {row.reason}")


def _requests(facts: Facts) -> Iterator[Difference]:
    """Each event that names a connection asked for one refresh of it, and each that was asked for is handled.

    One that names nothing but a deleted account asks for one if the account was still there when somebody looked.
    """
    finished = [row for row in facts.stored if row.state != "waiting" and not row.is_idle]
    for each in facts.connections:
        least = sum(bool(row.refs & each.refs - facts.gone) for row in finished)
        most = sum(bool(row.refs & each.refs) for row in finished)
        name = f"connection {each.ref}"
        if each.requested < least and each.state != "closed":
            yield _lost(f"{name} was named by {least} events and asked for {each.requested} times")
        if each.requested > most:
            yield _doubled(f"{name} was named by {most} events and asked for {each.requested} times")
        if not each.handled == each.claimed == each.requested:
            yield _lost(f"{name} has requested {each.requested}, claimed {each.claimed}, handled {each.handled}")
        if each.has_lease:
            yield _wrong(f"{name} is still leased")


def _rows(account: Account) -> Iterator[Difference]:
    """We show what the bank lists, each movement as often as it lists it, and no id stands on two rows."""
    name = f"account {account.ref}"
    if account.listed is None:
        if not account.is_closed:
            yield _lost(f"{name} is gone at the bank and open here")
        return
    if account.is_closed:
        yield _wrong(f"{name} is there at the bank and closed here")
    listed, shown = Counter(account.listed), Counter(account.shown)
    for row in sorted((listed - shown).elements(), key=_by_id):
        yield _lost(f"{name} lacks {_words(row)}")
    for row in sorted((shown - listed).elements(), key=_by_id):
        yield _doubled(f"{name} shows {_words(row)}, which the bank does not list")
    yield from _movements(account, name)
    for ref, count in sorted(Counter(account.ids).items()):
        if count > 1:
            yield _doubled(f"{name} has the id {ref} on {count} rows")


def _movements(account: Account, name: str) -> Iterator[Difference]:
    listed = Counter(account.movements[row.id] for row in account.listed or () if row.id in account.movements)
    shown = Counter(account.movements[row.id] for row in account.shown if row.id in account.movements)
    for movement, count in sorted(shown.items()):
        if count > listed[movement]:
            yield _doubled(f"{name} shows {movement} {count} times, the bank {listed[movement]} times")


def _missing_accounts(facts: Facts) -> Iterator[Difference]:
    for ref in sorted(facts.linked - facts.gone - {account.ref for account in facts.accounts}):
        yield _lost(f"account {ref} was linked and is not here")


def _numbers(facts: Facts) -> Iterator[Difference]:
    """A client's change numbers run from 1 to its counter, each given once."""
    for client in facts.clients:
        given = Counter(client.numbers)
        for number, count in sorted(given.items()):
            if count > 1:
                yield _doubled(f"client {client.name} gave the change number {number} {count} times")
        for number in sorted(set(range(1, client.last + 1)) - given.keys()):
            yield _lost(f"client {client.name} never gave the change number {number} of {client.last}")
        for number in sorted(given.keys() - set(range(1, client.last + 1))):
            yield _wrong(f"client {client.name} gave the change number {number}, its counter stands at {client.last}")


def _causes(facts: Facts) -> Iterator[Difference]:
    """An account is announced once, and each commit that changed rows of an account says so once."""
    added = Counter(ref for event in facts.told if event.event_type == "accountAdded" for ref in event.accounts)
    for account in facts.accounts:
        if added[account.ref] != 1:
            fault = _lost if added[account.ref] < 1 else _doubled
            yield fault(f"account {account.ref} was announced {added[account.ref]} times")
    refreshed = Counter(
        (event.cause, ref)
        for event in facts.told
        if event.event_type == "transactionsRefreshed"
        for ref in event.accounts
    )
    for cause, ref in sorted(facts.changed - refreshed.keys()):
        yield _lost(f"rows of account {ref} changed in commit {cause} and no event says so")
    for (cause, ref), count in sorted(refreshed.items()):
        if (cause, ref) not in facts.touched or count > 1:
            yield _doubled(f"{count} events say that rows of account {ref} changed in commit {cause}")


def _deliveries(facts: Facts) -> Iterator[Difference]:
    """Each event was delivered at least once, under its own id, always with the same bytes."""
    receipts = {receipt.event_id: receipt for receipt in facts.receipts}
    told = {event.event_id: event for event in facts.told}
    for event in facts.told:
        receipt = receipts.get(event.event_id)
        if receipt is None or not receipt.taken:
            yield _lost(f"event {event.event_id} was told to nobody (deliveries: {', '.join(event.states) or 'none'})")
        elif receipt.bodies != {event.body}:
            yield _wrong(f"event {event.event_id} came with {len(receipt.bodies)} bodies, not all the one it has")
        for state in event.states:
            if state != "delivered":
                yield _lost(f"a delivery of event {event.event_id} ended as {state}")
        if not event.states:
            yield _lost(f"event {event.event_id} has no delivery")
    for event_id in sorted(receipts.keys() - told.keys()):
        yield _wrong(f"event {event_id} was delivered and never committed")


def _left(facts: Facts) -> Iterator[Difference]:
    if facts.leases:
        yield _wrong(f"{facts.leases} leases are left")
    if facts.waiting:
        yield _lost(f"{facts.waiting} pieces of work still wait")
    for complaint in facts.complaints:
        yield _wrong(complaint)


def _lost(text: str) -> Difference:
    return Difference(fault=Fault.LOST, text=text)


def _doubled(text: str) -> Difference:
    return Difference(fault=Fault.DOUBLED, text=text)


def _wrong(text: str) -> Difference:
    return Difference(fault=Fault.WRONG, text=text)


def _by_id(row: Row) -> str:
    return row.id


def _words(row: Row) -> str:
    return f"{row.id} ({row.state}, {row.amount})"


def counted(words: Iterable[str]) -> str:
    """Count words, the most frequent first.

    >>> counted(["kill", "cut", "kill"])
    'kill 2, cut 1'
    """
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common())
