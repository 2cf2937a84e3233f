"""What becomes of the entries of a transaction when it changes. Pure.

The law: a draft follows its transaction, and a posted entry never changes. What a posted entry says and the bank does not
is a review item, and what a person accepts is booked besides it, in a correcting entry.

It goes by how the transaction and its entries stand, not by how they came to: asked twice, nothing more follows. Only
what a person has decided is not asked again until something about the transaction itself changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from bankfeed.ledger.lines import Line, Posting, compare, resize
from bankfeed.model import Known, ShadowVerdict, TransactionState

EntryId = NewType("EntryId", int)


class EntryState(StrEnum):
    """Where an entry stands: a draft follows its transaction, a posted one never changes, a void one counts for nothing."""

    DRAFT = "draft"
    POSTED = "posted"
    VOID = "void"


class ReviewKind(StrEnum):
    """What a person is asked about an entry."""

    DIFFERS = "differs"
    """Amount or day of the transaction are not those booked; of a draft: its parts were resized, which holds it back."""
    VANISHED = "vanished"
    """The transaction is gone, or another entry books it."""
    RETURNED = "returned"
    """The transaction is back after a person had agreed that it was gone."""


_OF_VOID = frozenset(
    {ReviewKind.VANISHED, ReviewKind.DIFFERS}
)  # what resized its parts is still to be asked on its return


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A transaction as the books need it. `is_posted` is whether it is in the institution's records, not only initiated."""

    amount: Decimal
    on: date
    is_posted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An entry with its lines, the bank's first, and what was booked besides to correct it.

    `asked` are the open review items; `is_decided` is whether the latest one was closed by a person.
    """

    id: EntryId
    state: EntryState
    on: date
    lines: tuple[Line, ...]
    corrections: tuple[Posting, ...] = ()
    asked: frozenset[ReviewKind] = frozenset()
    is_decided: bool = False

    @property
    def booked(self) -> tuple[Posting, ...]:
        """Return what it comes to in the books, its corrections included; nothing for a void one."""
        if self.state is EntryState.VOID:
            return ()
        return (Posting(on=self.on, lines=self.lines), *self.corrections)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing of it is left in the books: it is void, or was taken back by a correction."""
        return self.state is EntryState.VOID or (bool(self.corrections) and not compare(self.booked, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A review item to open."""

    kind: ReviewKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """An entry as it is after its transaction changed: what is asked about it now, and which questions are moot."""

    id: EntryId
    state: EntryState
    on: date
    lines: tuple[Line, ...]
    question: Question | None = None
    closes: frozenset[ReviewKind] = frozenset()


def stand(row: Known) -> Standing | None:
    """Return how a row stands for the books, at the values that people see; None where it stands for nothing."""
    is_out = row.deleted_at is not None or row.merged_into is not None or bool(row.fingerprint)
    if is_out or not is_standing(row.state, row.shadow_verdict):
        return None
    is_posted = row.state is not TransactionState.PENDING
    return Standing(amount=row.values.amount, on=row.values.transacted_on, is_posted=is_posted)


def is_standing(state: TransactionState, verdict: ShadowVerdict | None) -> bool:
    """Tell whether a row that nobody deleted or merged counts for the books: not removed, nor shadow.

    A shadow row counts where a person said that it did happen; while nobody has said anything it does not, so that what
    was booked from it is asked about at once.
    """
    if state is TransactionState.SHADOW:
        return verdict is ShadowVerdict.REJECTED
    return state is not TransactionState.REMOVED


def find_holder(bookings: Sequence[Booking]) -> Booking | None:
    """Return which of a transaction's entries, in the order they were booked, has its amount; None where there is none.

    One at most: where two transactions with an entry each were merged, the other one is too many.
    """
    ranked = sorted(bookings, key=lambda booking: (booking.state is EntryState.VOID, booking.is_empty))
    return ranked[0] if ranked else None


def follow(
    standing: Standing | None, bookings: Sequence[Booking], *, news: Collection[EntryId] = ()
) -> tuple[Followed, ...]:
    """Return what becomes of a transaction's entries; those of which nothing changes are left out.

    `news` are the entries for which what the bank says is new: there a person is asked whatever they decided before.
    """
    holder = find_holder(bookings)
    followed = []
    for booking in bookings:
        own = share(standing, booking, holder)
        other = holder.id if standing is not None and own is None and holder is not None else None
        after = _follow_one(own, booking, other=other, is_news=booking.id in news)
        if after != _with(booking):
            followed.append(after)
    return tuple(followed)


def share(standing: Standing | None, booking: Booking, holder: Booking | None) -> Standing | None:
    """Return what a transaction is for one of its entries: as it stands for the one that has it, nothing for others."""
    return standing if holder is not None and booking.id == holder.id else None


def settle(kind: ReviewKind, standing: Standing | None, booking: Booking) -> Followed:
    """Return an entry after a person closed a review item of it without a correction: a draft may go on.

    A void one whose return was accepted is a draft again, one that was agreed to be gone stays void, and a draft whose
    parts are right is posted once its transaction is. A posted one stays as it is.
    """
    left = replace(booking, asked=booking.asked - {kind})
    is_going_on = booking.state is EntryState.DRAFT or (
        booking.state is EntryState.VOID and kind is ReviewKind.RETURNED
    )
    if is_going_on and standing is not None:
        return _follow_draft(standing, left)
    return _with(booking, closes=left.asked if booking.state is EntryState.VOID else frozenset())


def correct(standing: Standing | None, booking: Booking) -> tuple[Posting, ...]:
    """Return what has to be booked besides an entry, so that it comes to what the transaction says now."""
    return compare(booking.booked, _want(standing, booking))


def _want(standing: Standing | None, booking: Booking) -> Posting | None:
    return None if standing is None else Posting(on=standing.on, lines=resize(booking.lines, standing.amount))


def _follow_one(standing: Standing | None, booking: Booking, *, other: EntryId | None, is_news: bool) -> Followed:
    match booking.state:
        case EntryState.POSTED:
            return _review(standing, booking, other=other, is_news=is_news)
        case EntryState.DRAFT:
            return _void(booking, other=other) if standing is None else _follow_draft(standing, booking)
        case EntryState.VOID:
            return _follow_void(standing, booking, is_news=is_news)


def _review(standing: Standing | None, booking: Booking, *, other: EntryId | None, is_news: bool) -> Followed:
    """Leave a posted entry as it is; ask where it is not what the bank says."""
    kind = _find_difference(standing, booking)
    closes = frozenset(booking.asked - {kind})
    if kind is None or not (is_news or not (kind in booking.asked or booking.is_decided)):
        return _with(booking, closes=closes)
    return _with(booking, closes=closes, question=Question(kind=kind, reason=_say(standing, booking, other=other)))


def _find_difference(standing: Standing | None, booking: Booking) -> ReviewKind | None:
    if not correct(standing, booking):
        return None
    if standing is None:
        return ReviewKind.VANISHED
    return ReviewKind.RETURNED if booking.is_empty else ReviewKind.DIFFERS


def _follow_draft(standing: Standing, booking: Booking) -> Followed:
    """Give a draft the transaction's amount and day; it is posted once the transaction is, unless its parts are in question."""
    lines = resize(booking.lines, standing.amount)
    is_guessed = lines != booking.lines and len(lines) > 2
    is_held = is_guessed or ReviewKind.DIFFERS in booking.asked
    state = EntryState.POSTED if standing.is_posted and not is_held else EntryState.DRAFT
    question = None
    if is_guessed:
        was, now = booking.lines[0], lines[0]
        reason = f"its parts were made for {was.amount} {was.currency} and resized to {now.amount} {now.currency}"
        question = Question(kind=ReviewKind.DIFFERS, reason=reason)
    return Followed(
        id=booking.id,
        state=state,
        on=standing.on,
        lines=lines,
        question=question,
        closes=frozenset(booking.asked - {ReviewKind.DIFFERS}),
    )


def _void(booking: Booking, *, other: EntryId | None) -> Followed:
    why = "the bank no longer has the transaction" if other is None else f"entry {other} books the transaction"
    return Followed(
        id=booking.id,
        state=EntryState.VOID,
        on=booking.on,
        lines=booking.lines,
        question=Question(kind=ReviewKind.VANISHED, reason=f"{why}; the draft is void"),
        closes=frozenset(booking.asked - _OF_VOID),
    )


def _follow_void(standing: Standing | None, booking: Booking, *, is_news: bool) -> Followed:
    """Let a void draft that nobody decided about go on where its transaction is back; else ask, or stop asking."""
    if standing is None:
        return _with(booking, closes=frozenset(booking.asked - _OF_VOID))
    if ReviewKind.VANISHED in booking.asked:
        return _follow_draft(standing, booking)
    if ReviewKind.RETURNED in booking.asked or (booking.is_decided and not is_news):
        return _with(booking)
    reason = "the transaction is back; its entry is void since a person agreed that it was gone"
    return _with(booking, question=Question(kind=ReviewKind.RETURNED, reason=reason))


def _with(
    booking: Booking, *, question: Question | None = None, closes: frozenset[ReviewKind] = frozenset()
) -> Followed:
    return Followed(
        id=booking.id, state=booking.state, on=booking.on, lines=booking.lines, question=question, closes=closes
    )


def _say(standing: Standing | None, booking: Booking, *, other: EntryId | None) -> str:
    books = f"the books have {_sum_up(booking)}"
    if other is not None:
        return f"{books}; entry {other} books the same transaction"
    if standing is None:
        return f"{books}; the bank no longer has the transaction"
    return f"{books}; the bank has {standing.amount} {booking.lines[0].currency} on {standing.on}"


def _sum_up(booking: Booking) -> str:
    """Say what an entry and its corrections come to for the bank's ledger account, day by day."""
    bank = booking.lines[0]
    days = [
        f"{-line.amount} {line.currency} on {posting.on}"
        for posting in compare(booking.booked, None)
        for line in posting.lines
        if line.ledger_account_id == bank.ledger_account_id
    ]
    return ", ".join(days) or "nothing"
