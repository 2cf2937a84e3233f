"""Transactions: what a pull may concern is found, nothing else; what is written comes back exactly."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import asyncpg
import pytest

from bankfeed.db.account import lock_account
from bankfeed.db.connection import get_refresh_target
from bankfeed.db.pull import insert_pull, list_held_pulls
from bankfeed.db.transaction import (
    Written,
    insert_transactions,
    list_known,
    update_transactions,
)
from bankfeed.errors import RefusedData
from bankfeed.model import (
    AccountId,
    FeedKind,
    Known,
    Pull,
    PullId,
    Reported,
    ShadowVerdict,
    TransactionId,
    TransactionState,
    Values,
)
from bankfeed.reconcile import Change, ChangeKind, Rule
from bankfeed.reconcile.changes import ActKind
from bankfeed.reconcile.policy import erase
from tests.db.made import Ground

PENDING, ACTIVE, SHADOW, REMOVED = TransactionState
AT = datetime(2026, 3, 31, 6, 0, tzinfo=UTC)
FROM_ON, TO_ON = date(2026, 3, 1), date(2026, 3, 31)
COFFEE = Values(amount=Decimal("-20.00"), transacted_on=date(2026, 3, 10), description="Coffee")


class Book:
    """One account, and its rows."""

    def __init__(self, ground: Ground, account_id: AccountId) -> None:
        self.ground = ground
        self.account_id = account_id
        self.change_no = 0
        self.pulls = 0

    async def insert_pull(self, *, outcome: str = "applied", **changes: object) -> PullId | None:
        """Record one more pull."""
        self.pulls += 1
        async with self.ground.app() as conn:
            return await insert_pull(
                conn,
                self.ground.tenant.customer_id,
                self.account_id,
                pull=make_pull(at=AT + timedelta(hours=self.pulls), **changes),
                outcome=outcome,
                reason="" if outcome == "applied" else "why",
                counts={"added": 1},
            )

    def number(self, *known: Known) -> list[Written]:
        self.change_no += len(known)
        first = self.change_no - len(known) + 1
        return [Written(change=make_change(row), change_no=first + n) for n, row in enumerate(known)]

    async def add(self, *known: Known) -> None:
        """Store new rows."""
        pull_id = await self.insert_pull()
        assert pull_id is not None
        async with self.ground.app() as conn:
            tenant = self.ground.tenant
            await insert_transactions(
                conn,
                tenant.customer_id,
                tenant.client_id,
                self.account_id,
                pull_id=pull_id,
                written=self.number(*known),
            )

    async def change(self, *known: Known) -> None:
        """Bring rows to their next state, from the one they are in."""
        befores = {row.id: row for row in await self.known(from_on=date.min, to_on=date.max)}
        written = [
            replace(row, change=replace(row.change, before=befores.get(row.known.id, row.known)))
            for row in self.number(*known)
        ]
        async with self.ground.app() as conn:
            await update_transactions(conn, self.ground.tenant.customer_id, self.account_id, written=written)

    async def known(self, **changes: object) -> list[Known]:
        """Read what a pull of March may concern."""
        async with self.ground.app() as conn:
            return list(
                await list_known(conn, self.ground.tenant.customer_id, self.account_id, pull=make_pull(**changes))
            )


def make_change(row: Known) -> Change:
    return Change(kind=ChangeKind.UPDATED, rule=Rule.NEW, before=None, after=row)


def make_pull(**changes: object) -> Pull:
    pull = Pull(at=AT, kind=FeedKind.FULL, from_on=FROM_ON, to_on=TO_ON, is_complete=True, rows=())
    return replace(pull, **changes)  # type: ignore[arg-type]


def make_known(name: str, state: TransactionState = ACTIVE, **changes: object) -> Known:
    """Make a row not stored yet; `name` is its description and its id."""
    values = replace(COFFEE, description=name)
    known = Known(
        id=None, state=state, values=values, bank_values=values, aggregator_ids=(f"id-{name}",), first_pulled_at=AT
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def dated(name: str, day: date, state: TransactionState = ACTIVE, **changes: object) -> Known:
    values = replace(COFFEE, description=name, transacted_on=day)
    return make_known(name, state, values=values, bank_values=values, **changes)


def names(known: list[Known]) -> list[str]:
    return sorted(row.values.description for row in known)


async def make_book(ground: Ground, *, account_ref: str = "5001") -> Book:
    lease = await ground.lease(0)
    async with ground.app() as conn:
        target = await get_refresh_target(conn, lease)
        locked = await lock_account(
            conn,
            lease,
            target,
            account_ref=account_ref,
            name="Checking",
            number_display="1234",
            type="checking",
            currency="USD",
        )
    return Book(ground, locked.id)


@pytest.fixture
async def book(ground: Ground) -> Book:
    """An account without rows."""
    return await make_book(ground)


# ------------------------------------------------------------------------------------------------ round trips


async def test_a_new_row_comes_back_as_it_went(book: Book) -> None:
    """Every field of a row is stored and read again."""
    values = Values(
        amount=Decimal("-20.00"),
        transacted_on=date(2026, 3, 10),
        posted_on=date(2026, 3, 11),
        description="Café 'quoted' \\ ☕",
        memo="m",
        check_number="101",
        kind="atm",
    )
    row = make_known("x", values=values, bank_values=values, raw_amount="20.0", raw_transacted_at=1_772_323_200)
    anonymous = make_known("none", PENDING, aggregator_ids=(), has_joined=True)
    await book.add(row, anonymous)
    stored = await book.known()
    assert [row, anonymous] == [replace(each, id=None) for each in stored]


@pytest.mark.parametrize("text", ["-20.00", "0.00", "-0.01", "999999999999999999.99", "1500", "0.1230", "1E-7"])
async def test_money_is_exact(book: Book, text: str) -> None:
    """An amount comes back digit for digit, with its zeros."""
    amount = Decimal(text)
    values = replace(COFFEE, amount=amount)
    await book.add(make_known("x", values=values, bank_values=values))
    [row] = await book.known()
    assert f"{amount:f}" == f"{row.values.amount:f}"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1000000000000000000"])
async def test_what_is_no_amount_is_refused(book: Book, text: str) -> None:
    """Not a number, infinite, or longer than 18 digits: Postgres holds the last line."""
    values = replace(COFFEE, amount=Decimal(text))
    with pytest.raises(RefusedData):
        await book.add(make_known("x", values=values, bank_values=values))


async def test_an_update_comes_back_as_it_went(book: Book) -> None:
    """State, values, ids and what the bank says beside what people see."""
    await book.add(make_known("x", PENDING))
    [row] = await book.known()
    locked = replace(COFFEE, amount=Decimal("-21.50"), posted_on=date(2026, 3, 12), description="Bank's own")
    changed = replace(
        row,
        state=ACTIVE,
        bank_values=locked,
        aggregator_ids=("id-x", "id-y"),
        raw_amount="21.5",
        raw_transacted_at=5,
        has_joined=True,
    )
    await book.change(changed)
    assert [changed] == await book.known()
    agreed = replace(changed, values=locked, bank_values=locked)
    await book.change(agreed)
    assert [agreed] == await book.known()


async def test_ids_keep_their_order(book: Book) -> None:
    """The current id is last, earlier ones in the order they were seen, also when an old one returns."""
    await book.add(make_known("x", aggregator_ids=("a",)))
    [row] = await book.known()
    for ids in (("a", "b"), ("a", "b", "c"), ("b", "c", "a"), ("b", "a", "c"), ("a", "c", "b")):
        await book.change(replace(row, aggregator_ids=ids))
        assert [ids] == [each.aggregator_ids for each in await book.known()]


async def test_an_id_may_be_many_rows(book: Book) -> None:
    """Aggregators reuse ids: the same id on two rows, current and earlier, is no error."""
    await book.add(make_known("one", aggregator_ids=("a",)), make_known("two", aggregator_ids=("a",)))
    one, two = await book.known()
    await book.change(replace(one, aggregator_ids=("a", "b")), replace(two, aggregator_ids=("a", "b")))
    assert [("a", "b"), ("a", "b")] == [row.aggregator_ids for row in await book.known()]


async def test_a_pending_row_leaves_and_returns(book: Book, superuser: asyncpg.Connection) -> None:
    """pending -> removed -> pending -> active -> shadow -> active, each with its times."""
    await book.add(make_known("x", PENDING))
    [row] = await book.known()
    for state, removed_at in ((REMOVED, AT), (PENDING, None), (ACTIVE, None), (SHADOW, None), (ACTIVE, None)):
        row = replace(row, state=state, removed_at=removed_at)
        await book.change(row)
        assert [row] == await book.known()
    assert await superuser.fetchval("SELECT activated_at <= now() FROM transactions")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (PENDING, SHADOW, "transaction_shadow_was_active"),
        (ACTIVE, PENDING, "transaction_pending_was_never_active"),
        (SHADOW, PENDING, "transaction_pending_was_never_active"),
    ],
)
async def test_what_may_not_follow(
    book: Book, before: TransactionState, after: TransactionState, sentence: str
) -> None:
    """pending never becomes shadow, and nothing posted becomes pending, whoever asks."""
    await book.add(make_known("x", before))
    [row] = await book.known()
    with pytest.raises(RefusedData, match=sentence):
        await book.change(replace(row, state=after))


async def test_a_row_joins_another(book: Book) -> None:
    """A row that was joined to another names it, and is removed."""
    await book.add(make_known("one", PENDING), make_known("two", PENDING))
    one, two = await book.known()
    joined = replace(two, state=REMOVED, removed_at=AT, merged_into=one.id)
    await book.change(joined)
    assert [one, joined] == await book.known()
    with pytest.raises(RefusedData, match="transaction_is_merged_into_another"):
        await book.change(replace(joined, merged_into=two.id))


async def test_an_update_reaches_its_own_account_only(ground: Ground, book: Book) -> None:
    """A row of another account is not changed, even where its id is named."""
    await book.add(make_known("x"))
    [row] = await book.known()
    other = await make_book(ground, account_ref="5002")
    await other.change(replace(row, state=SHADOW))
    assert [row] == await book.known()


async def test_a_persons_acts_are_read(book: Book, superuser: asyncpg.Connection) -> None:
    """Entries in the order they were booked, void ones that are still linked too, a lock, a deletion, a split and a verdict."""
    await book.add(make_known("x"))
    [row] = await book.known()
    await superuser.execute(
        "INSERT INTO ledger_entries (customer_id, client_id, transaction_id, reference, link_no, entered_on)"
        " SELECT customer_id, client_id, id, entry, n, transacted_on FROM transactions,"
        " unnest(ARRAY['a', 'b'], ARRAY[1, 0]) AS u (entry, n)"
    )
    acted = replace(
        row,
        state=SHADOW,
        entries=("b", "a"),
        is_reconciled=True,
        deleted_at=AT,
        split_into=(Decimal("-19.50"), Decimal("-0.50")),
        shadow_verdict=ShadowVerdict.REJECTED,
    )
    await book.change(acted)
    assert [acted] == await book.known()
    await superuser.execute("UPDATE ledger_entries SET state = 'void', voided_at = now() WHERE reference = 'b'")
    assert [acted] == await book.known()
    await superuser.execute("UPDATE ledger_entries SET transaction_id = NULL WHERE reference = 'b'")
    assert [("a",)] == [each.entries for each in await book.known()]
    await book.change(row)
    assert [replace(row, state=ACTIVE, entries=("a",))] == await book.known()


async def test_an_erased_row_has_nothing_left(book: Book) -> None:
    """Its day, ids and fingerprint stay; Postgres refuses one that keeps a value."""
    await book.add(make_known("x"))
    [row] = await book.known()
    await book.change(erase(replace(row, state=SHADOW)))
    assert [erase(replace(row, state=SHADOW))] == await book.known()
    with pytest.raises(RefusedData, match="transaction_erased_has_no_values"):
        await book.change(replace(row, fingerprint="f" * 32))


@pytest.mark.parametrize("rule", [ActKind.UNDO_MATCH, ActKind.UNDO_PULL])
async def test_what_is_undone_goes_back(book: Book, superuser: asyncpg.Connection, rule: ActKind) -> None:
    """An undo brings a posted row back to pending, and the ids go that it takes off."""
    await book.add(make_known("x", PENDING, aggregator_ids=("p",)))
    [row] = await book.known()
    posted = replace(row, state=ACTIVE, aggregator_ids=("p", "q", "a"))
    await book.change(posted)
    async with book.ground.app() as conn:
        change = Change(kind=ChangeKind.UPDATED, rule=rule, before=posted, after=row)
        written = [Written(change=change, change_no=9)]
        await update_transactions(conn, book.ground.tenant.customer_id, book.account_id, written=written)
    assert [row] == await book.known()
    assert 0 == await superuser.fetchval("SELECT count(*) FROM transaction_aliases WHERE aggregator_id <> 'p'")


# ------------------------------------------------------------------------------------------------ what a pull concerns


async def test_rows_of_the_window_and_its_margins_are_known(book: Book) -> None:
    """The pull's days and 14 around them; a day further is none of its business."""
    margin = timedelta(days=14)
    for name, day in (
        ("before", FROM_ON - margin - timedelta(days=1)),
        ("first", FROM_ON - margin),
        ("inside", date(2026, 3, 10)),
        ("last", TO_ON + margin),
        ("after", TO_ON + margin + timedelta(days=1)),
    ):
        await book.add(dated(name, day))
    assert ["first", "inside", "last"] == names(await book.known())


async def test_rows_with_an_id_of_the_pull_are_known(book: Book) -> None:
    """However old: by their id of now, by one they had before, as the posting's pending id, or named as removed."""
    long_ago = date(2024, 1, 1)
    await book.add(*(dated(name, long_ago) for name in ("current", "earlier", "linked", "gone", "stranger")))
    [earlier] = [
        row
        for row in await book.known(rows=(Reported(aggregator_id="id-earlier", state=ACTIVE, values=COFFEE),))
        if row.values.description == "earlier"
    ]
    await book.change(replace(earlier, aggregator_ids=("id-earlier", "id-new")))
    found = await book.known(
        rows=(
            Reported(aggregator_id="id-current", state=ACTIVE, values=COFFEE),
            Reported(aggregator_id="id-earlier", state=ACTIVE, values=COFFEE),
            Reported(aggregator_id=None, pending_id="id-linked", state=ACTIVE, values=COFFEE),
            Reported(aggregator_id="", state=ACTIVE, values=COFFEE),
        ),
        removed_ids=("id-gone",),
    )
    assert ["current", "earlier", "gone", "linked"] == names(found)


async def test_pending_rows_are_known_however_old(book: Book) -> None:
    """The pending set is replaced as a whole, so all of it is read."""
    await book.add(dated("old pending", date(2024, 1, 1), PENDING), dated("old active", date(2024, 1, 1)))
    assert ["old pending"] == names(await book.known())


async def test_tombstones_are_known_for_thirty_days(book: Book) -> None:
    """A row removed in the last 30 days is read wherever its date is; an older one outside the window is not."""
    day = date(2024, 1, 1)
    await book.add(
        dated("fresh", day, REMOVED, removed_at=AT - timedelta(days=29)),
        dated("stale", day, REMOVED, removed_at=AT - timedelta(days=31)),
        dated("stale but near", date(2026, 3, 10), REMOVED, removed_at=AT - timedelta(days=31)),
    )
    assert ["fresh", "stale but near"] == names(await book.known())


async def test_each_row_is_known_once(book: Book) -> None:
    """A row found by several ways is one row."""
    await book.add(make_known("x", PENDING))
    row = Reported(aggregator_id="id-x", pending_id="id-x", state=ACTIVE, values=COFFEE)
    assert ["x"] == names(await book.known(rows=(row, row), removed_ids=("id-x",)))


async def test_another_accounts_rows_are_not_known(ground: Ground, book: Book) -> None:
    """Not by day, not by id, not by an earlier id."""
    await book.add(make_known("x", PENDING))
    [row] = await book.known()
    await book.change(replace(row, aggregator_ids=("id-x", "id-y")))
    other = await make_book(ground, account_ref="5002")
    rows = tuple(Reported(aggregator_id=ref, state=ACTIVE, values=COFFEE) for ref in ("id-x", "id-y"))
    assert [] == await other.known(rows=rows)


@pytest.mark.parametrize(("from_on", "to_on"), [(date.min, date.max), (date(1, 1, 5), date(9999, 12, 30))])
async def test_the_calendar_has_ends(book: Book, from_on: date, to_on: date) -> None:
    """A window at the end of the calendar has no margin beyond it."""
    await book.add(make_known("x"))
    assert ["x"] == names(await book.known(from_on=from_on, to_on=to_on))


async def test_a_row_has_an_id_of_its_own(book: Book) -> None:
    """Our id is the identity: new with each row, never the aggregator's."""
    await book.add(make_known("one"), make_known("two"))
    ids: list[TransactionId | None] = [row.id for row in await book.known()]
    assert None not in ids
    assert 2 == len(set(ids))


# ------------------------------------------------------------------------------------------------ pulls


async def test_a_pull_is_recorded_once(book: Book) -> None:
    """The same account and moment again is no second pull."""
    assert await book.insert_pull() is not None
    book.pulls -= 1
    assert await book.insert_pull() is None


async def test_held_pulls_keep_their_rows_exactly(ground: Ground, book: Book) -> None:
    """What was held comes back as it was pulled: amounts, dates, ids; applied, earlier and later ones do not."""
    later = AT + timedelta(hours=2)
    values = replace(COFFEE, amount=Decimal("-20.10"), memo='"\\ ☕')
    rows = (Reported(aggregator_id="1", state=ACTIVE, values=values, raw_amount="-20.1", raw_transacted_at=7),)
    await book.insert_pull()
    await book.insert_pull(outcome="held", rows=rows, balance=Decimal("100.10"), balance_on=TO_ON, attempted_at=AT)
    await book.insert_pull(outcome="failed", error="away")
    async with ground.app() as conn:
        now = AT + timedelta(hours=12)
        found = partial(list_held_pulls, conn, ground.tenant.customer_id, book.account_id)
        held = await found(after=None, until=later, at=now)
        assert () == await found(after=later, until=later, at=now)
        assert () == await found(after=None, until=AT, at=now)
        assert held == await found(after=None, until=AT, at=later)
    expected = make_pull(at=later, rows=rows, balance=Decimal("100.10"), balance_on=TO_ON, attempted_at=AT)
    assert (expected,) == held
    assert "-20.10" == str(held[0].rows[0].values.amount)


async def test_a_balance_is_a_number(book: Book) -> None:
    """A balance that is not a number is refused with its pull."""
    with pytest.raises(RefusedData, match="pull_balance_is_a_number"):
        await book.insert_pull(balance=Decimal("NaN"))


async def test_what_is_listed_outside_the_window_is_read_with_its_margins(book: Book) -> None:
    """Days near a row that is listed outside the window are read, and none in between."""
    old = date(2025, 6, 15)
    away = {"exact": 0, "before": -14, "after": 14, "too early": -15, "too late": 15}
    await book.add(*(dated(name, old + timedelta(days=days)) for name, days in away.items()))
    listed = Reported(aggregator_id=None, state=ACTIVE, values=replace(COFFEE, transacted_on=old))
    assert ["after", "before", "exact"] == names(await book.known(rows=(listed,)))


async def test_what_a_person_merged_is_always_read(book: Book) -> None:
    """A row merged by a person may have to speak for its survivor, whatever its day; one that the engine joined has not."""
    await book.add(*(dated(name, date(2025, 6, 15)) for name in ("kept", "merged", "joined")))
    kept, merged, joined = await book.known(from_on=date.min, to_on=date.max)
    gone = replace(joined, state=REMOVED, removed_at=AT - timedelta(days=60), has_joined=True, merged_into=kept.id)
    await book.change(replace(merged, merged_into=kept.id), gone)
    assert ["merged"] == names(await book.known())
