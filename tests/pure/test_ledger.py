"""The rules of the books: lines balance, drafts follow, posted entries stay, and what a person decided is not asked again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bankfeed.ledger.follow import (
    Booking,
    EntryId,
    EntryState,
    Followed,
    ReviewKind,
    Standing,
    correct,
    find_holder,
    follow,
    settle,
    share,
    stand,
)
from bankfeed.ledger.lines import LedgerAccountId, Line, Part, Posting, compare, is_balanced, make_lines, resize
from bankfeed.model import Known, ShadowVerdict, TransactionId, TransactionState, Values

BANK, MEALS, TRAVEL = map(LedgerAccountId, (1, 2, 3))
ENTRY = EntryId(1)
DAY = date(2026, 3, 2)
CENTS = st.integers(1 - 10**20, 10**20 - 1).map(lambda cents: Decimal(cents) / 100)
SMALL = st.integers(-30_000, 30_000).map(lambda cents: Decimal(cents) / 100)
DAYS = st.integers(0, 5).map(lambda days: DAY + timedelta(days=days))
STANDINGS = st.one_of(
    st.none(),
    st.builds(
        Standing,
        amount=st.sampled_from([Decimal("-20.00"), Decimal("-24.00"), Decimal(0), Decimal("7.01")]),
        on=DAYS,
        is_posted=st.booleans(),
    ),
)


def make_parts(*amounts: Decimal) -> list[Part]:
    return [Part(ledger_account_id=LedgerAccountId(n), amount=amount) for n, amount in enumerate(amounts, start=2)]


def make_draft(*amounts: str, entry_id: int = 1, on: date = DAY) -> Booking:
    parts = make_parts(*map(Decimal, amounts or ("-20.00",)))
    return Booking(id=EntryId(entry_id), state=EntryState.DRAFT, on=on, lines=make_lines(BANK, parts, "USD"))


def pending(amount: str = "-20.00", on: date = DAY) -> Standing:
    return Standing(amount=Decimal(amount), on=on, is_posted=False)


def active(amount: str = "-20.00", on: date = DAY) -> Standing:
    return Standing(amount=Decimal(amount), on=on, is_posted=True)


def apply(booking: Booking, followed: Sequence[Followed]) -> Booking:
    """Store what became of an entry, as Postgres does."""
    for after in followed:
        if after.id == booking.id:
            asked = booking.asked - after.closes
            is_decided = booking.is_decided and not after.closes and after.question is None
            if after.question is not None:
                asked |= {after.question.kind}
            lines, on = (booking.lines, booking.on) if booking.state is EntryState.POSTED else (after.lines, after.on)
            state = booking.state if booking.state is EntryState.POSTED else after.state
            booking = replace(booking, state=state, on=on, lines=lines, asked=asked, is_decided=is_decided)
    return booking


def tell(standing: Standing | None, booking: Booking) -> Booking:
    """Let an entry follow news about its transaction."""
    return apply(booking, follow(standing, [booking], news=[booking.id]))


def accept(kind: ReviewKind, standing: Standing | None, booking: Booking) -> Booking:
    """Accept a review item, as a person does."""
    postings = correct(standing, booking) if booking.state is EntryState.POSTED else ()
    after = apply(booking, [settle(kind, standing, booking)])
    corrections = (*booking.corrections, *postings)
    return replace(after, asked=after.asked - {kind}, corrections=corrections, is_decided=True)


def sum_up(postings: Sequence[Posting], account: LedgerAccountId = BANK) -> Decimal:
    lines = (line for posting in postings for line in posting.lines if line.ledger_account_id == account)
    return sum((line.amount for line in lines), Decimal(0))


# ------------------------------------------------------------------------------------------------ lines


@given(amounts=st.lists(CENTS, min_size=1, max_size=8))
def test_lines_of_a_transaction_balance(amounts: list[Decimal]) -> None:
    """The bank's line has the whole amount with its sign, each part its own against it, and all add up to zero."""
    lines = make_lines(BANK, make_parts(*amounts), "USD")
    assert is_balanced(lines)
    assert sum(amounts) == lines[0].amount
    assert [-amount for amount in amounts] == [line.amount for line in lines[1:]]


def test_money_into_the_account_is_a_debit_of_the_bank() -> None:
    """A wage debits the bank's ledger account; a purchase credits it and debits what it is for."""
    [bank, income] = make_lines(BANK, make_parts(Decimal("100.00")), "USD")
    assert (Decimal("100.00"), Decimal("-100.00")) == (bank.amount, income.amount)


@given(
    amounts=st.lists(CENTS | SMALL, min_size=1, max_size=8),
    amount=CENTS | SMALL,
    currency=st.sampled_from(["USD", "KWD"]),
)
@example(amounts=[Decimal("9e17"), Decimal("-899999999999999999.99")], amount=Decimal("9e17"), currency="USD")
def test_resized_lines_balance(amounts: list[Decimal], amount: Decimal, currency: str) -> None:
    """However many parts there are, the lines come to the new amount exactly, in whole cents, within what an amount may be."""
    assume(abs(sum(amounts, Decimal(0))) < 10**18)
    lines = resize(make_lines(BANK, make_parts(*amounts), currency), amount)
    assert is_balanced(lines)
    assert amount == lines[0].amount
    assert all(abs(line.amount) < 10**18 for line in lines)
    assert all(line.amount == line.amount.quantize(Decimal("0.001" if currency == "KWD" else "0.01")) for line in lines)
    assert lines == resize(lines, amount)


def test_parts_of_both_signs_have_no_proportions() -> None:
    """A purchase with a refund in it: the largest part takes the difference."""
    lines = resize(make_lines(BANK, make_parts(Decimal("5.00"), Decimal("-25.00")), "USD"), Decimal("-21.00"))
    assert ["-21.00", "-5.00", "26.00"] == [str(line.amount) for line in lines]


def test_parts_keep_their_proportions() -> None:
    """A tip on a split dinner goes to both parts; what rounding leaves goes to the last."""
    lines = resize(make_lines(BANK, make_parts(Decimal("-60.00"), Decimal("-40.00")), "USD"), Decimal("-120.01"))
    assert ["-120.01", "72.00", "48.01"] == [str(line.amount) for line in lines]


def test_currencies_balance_apart() -> None:
    """A dollar does not make up for a euro."""
    dollars, euros = (Line(ledger_account_id=BANK, amount=Decimal(n), currency=c) for n, c in ((1, "USD"), (-1, "EUR")))
    assert not is_balanced([dollars, euros])


@given(postings=st.lists(st.tuples(DAYS, SMALL), max_size=6), wanted=st.none() | st.tuples(DAYS, SMALL))
def test_what_is_missing_makes_the_books_right(
    postings: list[tuple[date, Decimal]], wanted: tuple[date, Decimal] | None
) -> None:
    """What `compare` says is missing balances, and with it nothing is missing."""
    booked = [Posting(on=on, lines=make_lines(BANK, make_parts(amount), "USD")) for on, amount in postings]
    want = wanted and Posting(on=wanted[0], lines=make_lines(BANK, make_parts(wanted[1]), "USD"))
    missing = compare(booked, want)
    assert all(is_balanced(posting.lines) for posting in missing)
    assert () == compare([*booked, *missing], want)


# ------------------------------------------------------------------------------------------------ following


def test_a_draft_follows_and_is_posted() -> None:
    """Amount and day go along while the transaction is pending; with its posting the entry is posted."""
    booking = tell(pending("-24.00", DAY + timedelta(days=1)), make_draft())
    assert (EntryState.DRAFT, DAY + timedelta(days=1)) == (booking.state, booking.on)
    assert ["-24.00", "24.00"] == [str(line.amount) for line in booking.lines]
    assert EntryState.POSTED is tell(active("-24.00"), booking).state


@pytest.mark.parametrize(
    ("standing", "kind", "days"),
    [
        (active("-24.00"), ReviewKind.DIFFERS, 1),
        (active(on=DAY + timedelta(days=1)), ReviewKind.DIFFERS, 2),
        (None, ReviewKind.VANISHED, 1),
    ],
)
def test_a_posted_entry_asks(standing: Standing | None, kind: ReviewKind, days: int) -> None:
    """A corrected amount or day and a withdrawal are asked about, with an entry a day as the offer; the entry stays."""
    posted = tell(active(), make_draft())
    asked = tell(standing, posted)
    assert {kind} == asked.asked
    assert posted == replace(asked, asked=frozenset())
    assert days == len(correct(standing, asked))


def test_a_question_is_moot_once_the_bank_takes_it_back() -> None:
    """The transaction is as booked again: nothing is asked any more."""
    posted = tell(active(), make_draft())
    assert posted == tell(active(), tell(active("-24.00"), posted))
    assert posted == tell(active(), tell(None, posted))


def test_a_return_after_a_person_agreed_is_asked() -> None:
    """A posted entry was reversed as its transaction vanished; when it is back, accepting books it again."""
    gone = accept(ReviewKind.VANISHED, None, tell(None, tell(active(), make_draft())))
    assert gone.is_empty
    back = tell(active(), gone)
    assert {ReviewKind.RETURNED} == back.asked
    assert Decimal("-20.00") == sum_up(accept(ReviewKind.RETURNED, active(), back).booked)


def test_what_a_person_dismissed_is_asked_again_only_for_news() -> None:
    """The same difference is not asked twice; another one is."""
    asked = tell(active("-24.00"), tell(active(), make_draft()))
    dismissed = replace(asked, asked=frozenset(), is_decided=True)
    assert () == follow(active("-24.00"), [dismissed])
    assert {ReviewKind.DIFFERS} == tell(active("-25.00"), dismissed).asked


def test_a_draft_whose_transaction_goes_is_void_until_it_returns() -> None:
    """The void entry is asked about, and goes on by itself when the transaction is back first."""
    void = tell(None, make_draft())
    assert (EntryState.VOID, frozenset({ReviewKind.VANISHED})) == (void.state, void.asked)
    back = tell(active("-24.00"), void)
    assert (EntryState.POSTED, frozenset()) == (back.state, back.asked)


def test_a_void_draft_that_a_person_agreed_to_comes_back_by_a_person_only() -> None:
    """Its return is asked; accepted, it follows again."""
    agreed = accept(ReviewKind.VANISHED, None, tell(None, make_draft()))
    back = tell(active("-24.00"), agreed)
    assert (EntryState.VOID, frozenset({ReviewKind.RETURNED})) == (back.state, back.asked)
    assert EntryState.POSTED is accept(ReviewKind.RETURNED, active("-24.00"), back).state


def test_resized_parts_wait_for_a_person() -> None:
    """How a split divides another amount is a guess: the draft is not posted before somebody said yes."""
    held = tell(active("-24.00"), make_draft("-15.00", "-5.00"))
    assert (EntryState.DRAFT, frozenset({ReviewKind.DIFFERS})) == (held.state, held.asked)
    assert held == tell(active("-24.00"), held)
    assert EntryState.POSTED is accept(ReviewKind.DIFFERS, active("-24.00"), held).state
    again = tell(active("-24.00"), tell(None, held))
    assert (EntryState.DRAFT, frozenset({ReviewKind.DIFFERS})) == (again.state, again.asked)


def test_two_entries_on_one_transaction_book_it_once() -> None:
    """After a merge the first keeps the amount, and the other is void or asked about; parted, both are as they were."""
    first, draft = tell(pending(), make_draft()), make_draft(entry_id=2)
    [followed] = follow(pending(), [first, draft], news=[draft.id])
    assert (draft.id, EntryState.VOID) == (followed.id, followed.state)
    posted = [tell(active(), first), tell(active(), draft)]
    [followed] = follow(active(), posted, news=[draft.id])
    assert followed.question is not None
    assert ReviewKind.VANISHED is followed.question.kind
    assert "entry 1" in followed.question.reason
    void = apply(draft, follow(pending(), [first, draft]))
    assert draft == tell(pending(), void)


def test_what_is_in_the_books_has_the_amount() -> None:
    """Of a transaction's entries a void one, or one that was taken back, comes after one that stands, whichever was first."""
    stands = tell(active(), make_draft(entry_id=3))
    gone = accept(ReviewKind.VANISHED, None, tell(None, tell(active(), make_draft())))
    void = tell(None, make_draft(entry_id=2))
    for bookings, expected in (([void, gone, stands], stands), ([void, gone], gone), ([void], void)):
        assert expected == find_holder(bookings)
    assert find_holder([]) is None


Step = tuple[str, Standing | None]
STEPS = st.lists(st.tuples(st.sampled_from(["tell", "tell", "tell", "accept"]), STANDINGS), max_size=12)


@given(steps=STEPS, parts=st.sampled_from([("-20.00",), ("-15.00", "-5.00"), ("0.00",)]))
def test_no_sequence_of_changes_alters_a_posted_entry(steps: list[Step], parts: tuple[str, ...]) -> None:
    """Whatever happens, what was posted stays; all balances; books and open questions together say what the bank does."""
    booking = make_draft(*parts)
    standing: Standing | None = pending(str(sum(map(Decimal, parts))))
    for word, now in steps:
        before = booking
        if word == "tell":
            standing = now
            booking = tell(standing, booking)
        elif booking.asked:
            booking = accept(min(booking.asked), standing, booking)
        if before.state is EntryState.POSTED:
            assert (before.state, before.on, before.lines) == (booking.state, booking.on, booking.lines)
            assert before.corrections == booking.corrections[: len(before.corrections)]
        assert all(is_balanced(posting.lines) for posting in booking.booked)
        assert () == follow(standing, [booking])
        explain(standing, booking)


def explain(standing: Standing | None, booking: Booking) -> None:
    """See that what is booked, with what is offered where something is asked, is what the transaction says."""
    wanted = Decimal(0) if standing is None else standing.amount
    offered = correct(standing, booking) if booking.state is EntryState.POSTED else ()
    assert bool(offered) == bool(booking.asked) or booking.state is not EntryState.POSTED
    if booking.state is EntryState.VOID:
        assert standing is None or ReviewKind.RETURNED in booking.asked
    else:
        assert wanted == sum_up([*booking.booked, *offered])
    if booking.state is EntryState.DRAFT and standing is not None and standing.is_posted:
        assert {ReviewKind.DIFFERS} == booking.asked


@given(standing=STANDINGS, before=STANDINGS, count=st.integers(1, 4))
def test_entries_of_one_transaction_come_to_its_amount(
    standing: Standing | None, before: Standing | None, count: int
) -> None:
    """However many entries merges brought together, they and what is offered come to the transaction's amount once."""
    bookings = [tell(before, make_draft(entry_id=n)) for n in range(1, count + 1)]
    followed = follow(standing, bookings, news=[booking.id for booking in bookings])
    after = [apply(booking, followed) for booking in bookings]
    holder = find_holder(after)
    total = sum(
        (
            sum_up(
                [
                    *each.booked,
                    *(correct(share(standing, each, holder), each) if each.state is EntryState.POSTED else ()),
                ]
            )
            for each in after
        ),
        Decimal(0),
    )
    assert (Decimal(0) if standing is None else standing.amount) == total


VALUES = Values(amount=Decimal("-20.00"), transacted_on=DAY, description="Cafe")
ROW = Known(
    id=TransactionId(1),
    state=TransactionState.ACTIVE,
    values=VALUES,
    bank_values=replace(VALUES, amount=Decimal("-21.00")),
    aggregator_ids=(),
    first_pulled_at=datetime(2026, 3, 2, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW, active()),
        (replace(ROW, state=TransactionState.PENDING), pending()),
        (replace(ROW, state=TransactionState.SHADOW), None),
        (replace(ROW, state=TransactionState.SHADOW, shadow_verdict=ShadowVerdict.CONFIRMED), None),
        (replace(ROW, state=TransactionState.SHADOW, shadow_verdict=ShadowVerdict.REJECTED), active()),
        (replace(ROW, state=TransactionState.REMOVED, removed_at=ROW.first_pulled_at), None),
        (replace(ROW, deleted_at=ROW.first_pulled_at), None),
        (replace(ROW, merged_into=TransactionId(2)), None),
        (replace(ROW, fingerprint="f"), None),
    ],
)
def test_what_stands(row: Known, expected: Standing | None) -> None:
    """The books see what people see, locks included; a shadow row only where a person said that it did happen."""
    assert expected == stand(row)
