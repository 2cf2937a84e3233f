"""The rows of an account move as the balance that the bank states (rule 14)."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given

from bankfeed.model import Known, Pull, Reported, TransactionId
from bankfeed.reconcile import Verdict
from bankfeed.reconcile.balance import Balance, BalanceCheck, accept_gap, carry_on, check_balance
from tests.pure.history import plans, play
from tests.pure.rows import ACTIVE, PENDING, REMOVED, SHADOW, Store, make_listed, make_pull, make_row, nights
from tests.pure.test_reconcile_laws import DAYS, FIRST_ON, LAWS, histories

DAY_2, DAY_3, DAY_4 = (date(2026, 3, day) for day in (2, 3, 4))


def stated(amount: str, on: date | None, *rows: Reported, day: int = 4) -> Pull:
    """Make a list with a balance."""
    return make_pull(*rows, day=day, balance=Decimal(amount), balance_on=on)


def stand(amount: str = "100.00", on: date = DAY_3, *, moved: str = "0", gap: str = "0") -> Balance:
    return Balance(amount=Decimal(amount), on=on, moved=Decimal(moved), gap=Decimal(gap))


def check(balance: str, *pairs: tuple[Known | None, Known | None], before: Balance | None = None) -> BalanceCheck:
    """Check a balance of 4 March after one of 3 March."""
    found = check_balance(before or stand(), stated(balance, DAY_4), pairs)
    assert found is not None
    return found


def same(row: Known) -> tuple[Known, Known]:
    return row, row


def test_an_account_without_a_balance_has_no_check() -> None:
    """Where the bank never stated a balance, nothing is said of it."""
    assert check_balance(None, make_pull(), [(None, make_row(1))]) is None


def test_the_first_balance_is_taken_as_it_is() -> None:
    """The first balance is where the checks begin; the rows that came with it are in it."""
    found = check_balance(None, stated("80.00", DAY_3), [(None, make_row(1))])
    assert BalanceCheck(after=stand("80.00", DAY_3), is_checked=False) == found


def test_a_balance_without_a_day_is_of_the_day_the_bank_was_asked() -> None:
    """Without a day of its own a balance is of the aggregation attempt's day, or else of the pull's, in UTC."""
    asked_at = datetime.fromisoformat("2026-03-03T22:30:00-05:00")
    asked = replace(stated("80.00", None, day=9), attempted_at=asked_at)
    found = [check_balance(None, pull, []) for pull in (asked, stated("80.00", None, day=9))]
    assert [DAY_4, date(2026, 3, 9)] == [each.after.on for each in found if each is not None]


def test_rows_that_move_as_the_balance_leave_no_gap() -> None:
    """What is new, posts, changes or is withdrawn moves the rows; so must the balance."""
    found = check(
        "64.50",
        (None, make_row(1, "-20.00", 4)),
        (make_row(2, "-10.00", state=PENDING), make_row(2, "-12.00")),
        (make_row(3, "-5.00"), make_row(3, "-6.00")),
        (make_row(4, "2.50"), make_row(4, "2.50", state=SHADOW)),
        same(make_row(5, "-70.00")),
    )
    assert BalanceCheck(after=stand("64.50", DAY_4), is_checked=True) == found


def test_only_posted_rows_count() -> None:
    """Pending, shadow and removed rows are not in a bank's balance."""
    states = (PENDING, SHADOW, REMOVED)
    found = check("100.00", *((None, make_row(n, "-5.00", state=state)) for n, state in enumerate(states)))
    assert Decimal(0) == found.after.gap


def test_a_row_counts_from_the_day_it_posts() -> None:
    """A row posted between two balance days comes in with the later one, though nothing changed about it."""
    posted = make_row(1, "-20.00", 3)
    between = replace(posted, bank_values=replace(posted.bank_values, posted_on=DAY_4))
    later = make_row(2, "-7.00", 5)
    assert Decimal(0) == check("80.00", same(between), same(later)).after.gap


def test_rows_count_as_the_bank_lists_them() -> None:
    """A deleted, a merged and a locked row count at the bank's own values, whatever a person sees."""
    locked = make_row(3, "-3.00", 4, is_reconciled=True)
    found = check(
        "91.00",
        (None, make_row(1, "-1.00", 4, deleted_at=datetime(2026, 3, 4, tzinfo=UTC))),
        (None, make_row(2, "-2.00", 4, merged_into=TransactionId(1))),
        (None, replace(locked, bank_values=replace(locked.bank_values, amount=Decimal(-6)))),
    )
    assert Decimal(0) == found.after.gap


def test_a_pull_of_the_same_day_is_not_checked() -> None:
    """With a balance of the same day, an older one or none, what changed waits for the next day."""
    pairs = [(None, make_row(1, "-20.00", 3)), (None, make_row(2, "-5.00", 4))]
    for pull in (stated("1.00", DAY_3), stated("1.00", DAY_2), make_pull()):
        waiting = BalanceCheck(after=stand(moved="-20.00"), is_checked=False)
        assert waiting == check_balance(stand(), pull, pairs)
    assert Decimal(0) == check("75.00", same(make_row(2, "-5.00", 4)), before=stand(moved="-20.00")).after.gap


def test_what_is_undone_is_carried_on() -> None:
    """A row taken back, and listed again by the next pull, leaves no gap."""
    undone = carry_on(stand(), [(make_row(1, "-20.00"), make_row(1, "-20.00", state=REMOVED))])
    assert stand(moved="20.00") == undone
    back = (make_row(1, "-20.00", state=REMOVED), make_row(1, "-20.00"))
    assert Decimal(0) == check("100.00", back, before=undone).after.gap


def test_a_gap_adds_up_until_it_clears() -> None:
    """A gap goes on over the checks, and is gone when the row that was missing comes."""
    gap = check("80.00", before=stand()).after
    assert Decimal("-20.00") == gap.gap
    late = check("79.00", (None, make_row(1, "-20.00")), (None, make_row(2, "-1.00")), before=replace(gap, on=DAY_3))
    assert (Decimal(0), ()) == (late.after.gap, late.suspects)


def test_less_than_any_currency_has_is_no_gap() -> None:
    """A difference below the smallest unit is noise of the bank's."""
    assert Decimal(0) == check("100.00004").after.gap
    assert Decimal("0.0001") == check("100.0001").after.gap


def test_single_suspects() -> None:
    """A gap names the rows that would each explain it: what may count already, what went, what is one too many."""
    rows = [
        make_row(1, "20.00", 1),
        make_row(2, "-20.00", 1, state=REMOVED),
        make_row(3, "-20.00", 1, state=SHADOW),
        make_row(4, "-20.00", 1, state=PENDING),
        make_row(5, "-20.00", 5),
        make_row(6, "-21.00", 1, state=PENDING),
    ]
    found = check("80.00", *map(same, rows))
    assert [4, 3, 2, 5, 1] == [row.id for row in found.suspects]
    assert (
        "would explain it alone: a pending row that the bank counts already or a row that went away and still counts at "
        "the bank or a row posted later that counts already or a posted row that is one too many"
    ) == found.reason


def test_what_is_no_suspect() -> None:
    """Rows joined to others, deleted pending rows and those that stood through earlier checks explain nothing."""
    rows = [
        make_row(1, "-20.00", state=REMOVED, has_joined=True),
        make_row(2, "-20.00", state=REMOVED, merged_into=TransactionId(1)),
        make_row(3, "-20.00", state=PENDING, deleted_at=datetime(2026, 3, 4, tzinfo=UTC)),
        make_row(4, "20.00"),
    ]
    old = replace(rows[3], bank_values=replace(rows[3].bank_values, transacted_on=DAY_4 - timedelta(days=46)))
    found = check("80.00", *map(same, [*rows[:3], old]))
    assert ((), "neither a row nor a pair of rows would explain it") == (found.suspects, found.reason)


def test_at_most_five_suspects_the_newest_first() -> None:
    """Of many rows that would explain a gap the five newest are named."""
    found = check("80.00", *(same(make_row(n, "-20.00", n, state=SHADOW)) for n in range(1, 8)))
    assert [7, 6, 5, 4, 3] == [row.id for row in found.suspects]


def test_a_pair_of_suspects() -> None:
    """Two rows may explain a gap together."""
    rows = [make_row(1, "-12.00", 1, state=PENDING), make_row(2, "8.00", 1), make_row(3, "-3.00", 1, state=SHADOW)]
    found = check("80.00", *map(same, rows))
    assert [1, 2] == [row.id for row in found.suspects]
    assert (
        "would explain it together: a pending row that the bank counts already and a posted row that is one too many"
        == found.reason
    )


def test_the_other_sign() -> None:
    """Rows that move as much as the balance, but the other way, are said to have the wrong sign, without suspects."""
    found = check("130.00", (None, make_row(1, "-20.00", 4)), (None, make_row(2, "-10.00", 4)))
    assert Decimal("60.00") == found.after.gap
    assert ((), "all amounts with the other sign would explain it") == (found.suspects, found.reason)


def test_a_day_without_movement_has_no_sign() -> None:
    """Where neither rows nor balance moved, an old gap is not explained by the sign."""
    found = check("100.00", before=stand(gap="60.00"))
    assert "neither a row nor a pair of rows would explain it" == found.reason


def test_a_day_at_the_edge_of_the_calendar() -> None:
    """A balance of the first day there is is compared like any other."""
    pull = stated("80.00", date.min + timedelta(days=1))
    found = check_balance(stand(on=date.min), pull, [])
    assert found is not None
    assert Decimal("-20.00") == found.after.gap


def test_a_pull_brings_its_check() -> None:
    """A plan that is applied says how the balance stands after it; one that is held or repeated says nothing."""
    store = Store()
    first = store.pull(stated("100.00", DAY_2, make_listed("a1"), day=3))
    again = store.pull(stated("100.00", DAY_2, make_listed("a1"), day=3))
    held = store.pull(stated("100.00", DAY_3, day=4))
    missing = store.pull(stated("70.00", DAY_4, make_listed("a1"), make_listed("a2", "-10.00", 4), day=5))

    assert BalanceCheck(after=stand("100.00", DAY_2), is_checked=False) == first.balance
    assert (Verdict.REPEATED, None) == (again.verdict, again.balance)
    assert (Verdict.HELD, None) == (held.verdict, held.balance)
    assert missing.balance is not None
    assert Decimal("-20.00") == missing.balance.after.gap


def test_a_deleted_row_listed_as_pending_counts_no_more() -> None:
    """A posted row that a person deleted, and that the bank lists as pending again, is no longer in its balance."""
    store = Store()
    store.pull(stated("80.00", DAY_2, make_listed("a1"), day=3))
    store.act(lambda row: replace(row, deleted_at=datetime(2026, 3, 3, 12, tzinfo=UTC)))
    plan = store.pull(stated("100.00", DAY_3, make_listed("a1", state=PENDING), day=4))
    assert plan.balance is not None
    assert Decimal(0) == plan.balance.after.gap


def counted(rows: list[Reported], on: date) -> Decimal:
    """Return what a bank's balance of a day is, by its own list."""
    return sum(
        (row.values.amount for row in rows if row.state is ACTIVE and row.values.transacted_on <= on), Decimal(99)
    )


@LAWS
@given(histories)
def test_listed_rows_move_as_the_balance(history: list[list[Reported]]) -> None:
    """The rows that the bank lists, at the bank's own values, move as its balance does, whatever people do with them."""
    store = Store()
    for number, pull in enumerate(nights(history, from_on=FIRST_ON, days=DAYS)):
        on = FIRST_ON + timedelta(days=3 * number)
        plan = store.pull(replace(pull, balance=counted(history[number], on), balance_on=on))
        if plan.balance is not None:
            assert Decimal(0) == plan.balance.after.gap
        store.act(work)


def work(row: Known) -> Known:
    """Do something with a row: book, lock, delete or merge it, by its number."""
    match (row.id or 0) % 5:
        case 1:
            return replace(row, entries=("L",))
        case 2:
            return replace(row, is_reconciled=True)
        case 3 if row.merged_into is None:
            return replace(row, deleted_at=row.deleted_at or datetime(2026, 3, 20, tzinfo=UTC))
        case 4 if row.is_visible:
            return replace(row, merged_into=TransactionId(1))
    return row


def test_older_history_moves_no_balance() -> None:
    """A row posted before all that was known is new to us only: the window was widened, or the bank serves more."""
    older = (None, make_row(2, "-50.00", 1))
    pull = stated("100.00", DAY_4)
    found = [check_balance(stand(), pull, [older], earliest_on=on) for on in (DAY_2, date(2026, 3, 1), None)]
    assert ["0", "50.00", "50.00"] == [str(each.after.gap) for each in found if each is not None]


def test_older_history_that_posted_later_moves_no_balance() -> None:
    """A row from beyond the edge that was posted within what was known is older history too, if the balance was stated since."""
    before, after = date(2026, 2, 20), date(2026, 2, 26)
    for posted_on, gap in ((date(2026, 2, 27), "0"), (stand().on, "50.00")):
        made = make_row(2, "-50.00", 1)
        beyond = replace(made, bank_values=replace(made.bank_values, transacted_on=before, posted_on=posted_on))
        found = check_balance(stand(), stated("100.00", DAY_4), [(None, beyond)], earliest_on=after)
        assert found is not None
        assert gap == str(found.after.gap)


def test_a_late_row_of_a_young_account_moves_the_balance() -> None:
    """A row posted before all that was known counts where the balance moved by it."""
    late = (None, make_row(2, "-50.00", 1))
    found = check_balance(stand(), stated("50.00", DAY_4), [late], earliest_on=DAY_2)
    assert found is not None
    assert found.after.gap == 0


def test_a_wider_window_leaves_no_gap() -> None:
    """Where a later list reaches further back, the balance agrees as before, and goes on being checked."""
    replay = play(
        [
            {"op": "account", "account": "a", "currency": "USD"},
            wide(3, "100.00", "02-10"),
            wide(5, "100.00", "02-10", "01-10"),
            wide(6, "90.00", "02-10", "01-10"),
        ]
    )
    checks = [plan.balance for plan in plans(replay)]
    assert ["0", "0", "-10.00"] == [str(each.after.gap) for each in checks if each is not None]


def wide(day: int, balance: str, *days: str) -> dict[str, Any]:
    """Make a list of March as a file has it, with a row for each day."""
    rows = [
        {"id": on, "status": "active", "amount": "-50.00", "date": f"2026-{on}", "description": f"SHOP {on}"}
        for on in days
    ]
    pull = {"op": "pull", "account": "a", "at": f"2026-03-{day:02}T06:00:00Z", "kind": "full", "complete": True}
    return {**pull, "from": "2026-01-01", "to": f"2026-03-{day:02}", "balance": balance, "transactions": rows}


def test_an_accepted_gap_is_not_asked_again() -> None:
    """The bank's balance is the new start, and what has moved since it goes on counting."""
    accepted = accept_gap(stand(moved="-5.00", gap="12.34"))
    assert ("0", "-5.00", (), "") == (
        str(accepted.after.gap),
        str(accepted.after.moved),
        accepted.suspects,
        accepted.reason,
    )
