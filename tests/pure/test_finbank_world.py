"""The pretend bank's world: what it lists at an instant, and why."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.lives import Life, Sighting, Status
from bankfeed.sandbox.made import Change, as_linked, changed, has_id, made_life, withdrawn
from bankfeed.sandbox.script import night_after
from bankfeed.sandbox.shares import CALM, Shares
from bankfeed.sandbox.world import UNSETTLED_DAYS, World, cleared_balance, listing, lives_of_day

LINKED_AT = datetime(2026, 3, 1, 15, tzinfo=UTC)
DAY = timedelta(days=1)


def account(kind: AccountKind = AccountKind.CHECKING, *, account_id: int = 7, is_scripted: bool = False) -> Account:
    return Account(
        id=account_id,
        login_id=5,
        customer_id=1,
        institution_id=101732,
        kind=kind,
        login_key="1/101732/demo",
        time_zone="America/Denver",
        position=1,
        linked_at=LINKED_AT,
        opened_on=date(2025, 12, 1),
        served_from_on=date(2025, 12, 1),
        script_at=LINKED_AT if is_scripted else None,
    )


def lives(world: World, *, days: int, of: Account) -> list[Life]:
    return [life for n in range(days) for life in lives_of_day(world, of, of.opened_on + n * DAY)]


def purchases(world: World, *, days: int) -> list[Life]:
    card = account(AccountKind.CARD)
    return [life for life in lives(world, days=days, of=card) if not life.movement.endswith("payment")]


def scripted(night: int) -> dict[str, list[tuple[str, str, str]]]:
    """List the scripted rows by movement after some nights; night 0 is the instant of linking."""
    at = LINKED_AT if night == 0 else night_after(LINKED_AT) + (night - 1) * DAY
    shown: dict[str, list[tuple[str, str, str]]] = {}
    for row in listing(World(seed=3), account(is_scripted=True), at):
        if "/script/" in row.movement:
            sighting = row.sighting
            fact = (sighting.status.value, str(sighting.amount), sighting.description)
            shown.setdefault(row.movement.rpartition("/")[2], []).append(fact)
    return {name: sorted(facts) for name, facts in shown.items()}


def scripted_ids(night: int) -> dict[str, set[int]]:
    at = LINKED_AT if night == 0 else night_after(LINKED_AT) + (night - 1) * DAY
    ids: dict[str, set[int]] = {}
    for row in listing(World(seed=3), account(is_scripted=True), at):
        ids.setdefault(row.movement.rpartition("/")[2], set()).add(row.sighting.id)
    return ids


def test_same_seed_lists_the_same() -> None:
    """Two worlds of one seed list the same rows at the same instant; another seed lists others."""
    at = LINKED_AT + 9 * DAY
    rows = listing(World(seed=1), account(), at)
    assert len(rows) > 50
    assert rows == listing(World(seed=1), account(), at)
    assert rows != listing(World(seed=2), account(), at)


def test_listing_does_not_depend_on_what_was_asked_before() -> None:
    """Asking day after day gives what asking once gives: the caches change nothing."""
    asked, fresh = World(seed=1), World(seed=1)
    for n in range(250):
        listing(asked, account(), LINKED_AT + n * DAY)
        balance = cleared_balance(asked, account(), LINKED_AT + n * DAY)
    at = LINKED_AT + 249 * DAY
    assert listing(asked, account(), at) == listing(fresh, account(), at)
    assert balance == cleared_balance(fresh, account(), at)


def test_history_comes_with_the_link() -> None:
    """At the instant of linking, ninety days of rows are there, none from before and none from the future."""
    dates = [row.sighting.dated_at for row in listing(World(seed=1), account(), LINKED_AT)]
    assert min(dates) < datetime(2025, 12, 10, tzinfo=UTC)
    assert min(dates) >= datetime(2025, 12, 1, tzinfo=UTC)
    assert max(dates) <= LINKED_AT


def test_old_rows_leave_the_list_and_stay_in_the_balance() -> None:
    """The bank lists as far back as it serves; the balance counts every movement since the opening."""
    world, at = World(seed=1, served_days=60, shares=CALM), LINKED_AT + 200 * DAY
    rows = listing(world, account(), at)
    assert min(row.sighting.dated_at for row in rows) >= at - 61 * DAY
    everything = sum(
        (
            sighting.amount
            for life in lives(world, days=400, of=account())
            for sighting in life.sightings
            if sighting.status is Status.ACTIVE and sighting.spans(at)
        ),
        Decimal(),
    )
    assert cleared_balance(world, account(), at) == account().opening_balance(1) + everything


def test_balance_moves_as_the_listed_rows_do() -> None:
    """Between two listings the balance changes by what changed among the active rows, to the cent."""
    world, of = World(seed=4, shares=Shares(empty=0.0)), account(AccountKind.CARD, is_scripted=True)
    before = None
    for n in range(80):
        at = LINKED_AT + n * DAY
        active = sum(
            (r.sighting.amount for r in listing(world, of, at) if r.sighting.status is Status.ACTIVE), Decimal()
        )
        now = cleared_balance(world, of, at) - active
        assert before in (None, now)
        before = now


def test_scripted_login_shows_its_pendings_at_once() -> None:
    """Linking shows the scripted pending rows and the pharmacy that posted days ago."""
    shown = scripted(0)
    assert {name for name, facts in shown.items() if facts[0][0] == "pending"} == {
        "groceries", "tip", "fuel", "beside", "text", "date", "hold",
    }  # fmt: skip
    assert shown["withdrawn"] == [("active", "-31.46", "BLUEBELL PHARMACY")]


def test_scripted_pendings_post_in_the_first_night() -> None:
    """The first night posts under the same id, under a new id with a tip, a fuel hold, and beside the pending row."""
    before, after, shown = scripted_ids(0), scripted_ids(1), scripted(1)
    assert shown["groceries"] == [("active", "-63.17", "JUNIPER MARKET")]
    assert before["groceries"] == after["groceries"]
    assert shown["tip"] == [("active", "-50.40", "TRATTORIA LUNA")]
    assert not before["tip"] & after["tip"]
    assert shown["fuel"] == [("active", "-47.13", "PRAIRIE FUEL")]
    assert [fact[0] for fact in shown["beside"]] == ["active", "pending"]


def test_scripted_rows_vanish_and_return() -> None:
    """The second night drops the hold and withdraws the pharmacy, the fourth lists the pharmacy under its old id."""
    assert "hold" in scripted(1)
    assert {"hold", "withdrawn"} & scripted(2).keys() == set()
    assert scripted(2)["text"] == [("active", "-88.25", "CITY HARDWARE #1187 BOISE ID")]
    assert scripted(2)["beside"] == [("active", "-23.80", "MARGIN NOTES BOOKS")]
    assert "withdrawn" not in scripted(3)
    assert scripted_ids(4)["withdrawn"] == scripted_ids(0)["withdrawn"]


@pytest.mark.parametrize(("hour", "nights"), [(5, 2), (7, 1), (21, 1), (23, 2)])
def test_scripted_pendings_are_seen_for_a_while(hour: int, nights: int) -> None:
    """A night that comes less than eight hours after linking posts none of the scripted rows."""
    of = replace(account(), script_at=LINKED_AT.replace(hour=hour))
    first = night_after(LINKED_AT.replace(hour=hour)) + (nights - 1) * DAY
    tips = [
        [r.sighting.amount for r in listing(World(seed=3), of, at) if r.movement.endswith("script/tip")]
        for at in (first - timedelta(seconds=1), first)
    ]
    assert tips == [[Decimal("-42.00")], [Decimal("-50.40")]]


@pytest.mark.parametrize("hour", range(24))
def test_scripted_dates_never_lie_ahead(hour: int) -> None:
    """Whatever the hour of linking, no listed row is dated after the aggregation that lists it."""
    linked_at = LINKED_AT.replace(hour=hour)
    of = replace(account(), script_at=linked_at)
    for n in range(8):
        at = night_after(linked_at) + n * DAY
        assert all(row.sighting.dated_at <= at for row in listing(World(seed=3), of, at))


def test_no_life_outlasts_the_unsettled_days() -> None:
    """After UNSETTLED_DAYS nothing of a movement changes, apart from the night of new ids."""
    world = World(seed=9, shares=Shares(withdrawn=0.5, late=0.3, renamed_account=0.0))
    for life in purchases(world, days=200):
        on = date.fromisoformat(life.movement.split("/")[4])
        ends = [at for s in life.sightings for at in (s.starts_at, s.ends_at) if at]
        assert max(ends) < datetime(on.year, on.month, on.day, tzinfo=UTC) + UNSETTLED_DAYS * DAY


def test_shares_come_out_as_asked() -> None:
    """Over some two thousand purchases each kind of life turns up about as often as its share says."""
    world = World(seed=5, shares=Shares(renamed_account=0.0))
    drawn = purchases(world, days=1_500)
    pending = [life for life in drawn if life.sightings[0].status is Status.PENDING]
    kinds: Counter[str] = Counter()
    for life in pending:
        kinds["vanishes"] += len(life.sightings) == 1
        kinds["same id"] += len({s.id for s in life.sightings}) == 1 and len(life.sightings) > 1
        kinds["other text"] += len({s.description for s in life.sightings}) > 1
        kinds["other amount"] += len({s.amount for s in life.sightings}) > 1
    withdrawn_lives = [life for life in drawn if sum(s.status is Status.ACTIVE for s in life.sightings) == 2]
    assert len(drawn) > 2_000
    assert 0.69 < len(pending) / len(drawn) < 0.78
    assert 0.025 < kinds["vanishes"] / len(pending) < 0.06
    assert 0.28 < kinds["same id"] / len(pending) < 0.40
    assert 0.42 < kinds["other text"] / len(pending) < 0.54
    assert 0.13 < kinds["other amount"] / len(pending) < 0.21
    assert 0.003 < len(withdrawn_lives) / len(drawn) < 0.02


def test_calm_bank_keeps_ids_and_texts() -> None:
    """Without oddities a purchase keeps id, amount and text from pending to posted, and is never withdrawn."""
    for life in purchases(World(seed=5, shares=CALM), days=200):
        assert len({(s.id, s.amount, s.description) for s in life.sightings}) == 1


def test_one_night_of_new_ids() -> None:
    """An account that changes its ids does so in one night, for a part of its rows, with nothing else changed."""
    world, of = World(seed=6, shares=Shares(renamed_account=1.0, renamed_row=0.5, empty=0.0)), account()
    renamings = []
    for n in range(60):
        before, after = (listing(world, of, night_after(LINKED_AT) + (n + k) * DAY) for k in (0, 1))
        old = {row.movement: row.sighting for row in before if row.sighting.ends_at and row.sighting.posted_at}
        new = {row.movement: row.sighting for row in after}
        same = [m for m in old.keys() & new.keys() if old[m].amount == new[m].amount and old[m].id != new[m].id]
        renamings.append(len(same))
    assert max(renamings) > 30
    assert sum(renaming > 5 for renaming in renamings) == 1


def test_lost_lists_come_after_the_first_days_only() -> None:
    """A bank that loses its list shows nothing, but not in the days of the scripted movements."""
    world = World(seed=1, shares=Shares(empty=1.0))
    assert listing(world, account(), LINKED_AT + 5 * DAY)
    assert listing(world, account(), LINKED_AT + 7 * DAY) == ()


def test_relinked_account_has_the_same_movements_under_new_ids() -> None:
    """The same account linked again shows the same movements and number; its row ids are all new."""
    at = LINKED_AT + 30 * DAY
    world = World(seed=1, shares=CALM)
    first, second = (listing(world, account(account_id=i), at) for i in (7, 8))
    assert [row.movement for row in sorted(first, key=lambda r: r.movement)] == [
        row.movement for row in sorted(second, key=lambda r: r.movement)
    ]
    assert not {row.sighting.id for row in first} & {row.sighting.id for row in second}
    assert account(account_id=7).number() == account(account_id=8).number()


def test_both_sides_of_a_transfer_agree() -> None:
    """What leaves checking for savings or the card arrives there, on the same day."""
    world = World(seed=1)
    moved = {
        (kind, life.movement.split("/")[4], life.movement.rpartition("/")[2]): life.final_amount()
        for kind in AccountKind
        for life in lives(world, days=120, of=account(kind, account_id=ord(kind[-1])))
        if life.movement.endswith(("/transfer", "/payment"))
    }
    assert len(moved) == 16
    assert sum(moved.values()) == 0


def made_row(amount: str = "-10.00") -> Sighting:
    return Sighting(
        id=42,
        status=Status.PENDING,
        amount=Decimal(amount),
        dated_at=LINKED_AT,
        description="LUNCH",
        starts_at=LINKED_AT,
    )


def test_made_row_posts_and_goes_and_returns() -> None:
    """A hand-made row goes through the life it is told to, and the list follows at each instant."""
    life = made_life("made", made_row())
    life = changed(life, Change(status=Status.ACTIVE, amount=Decimal("-12.00"), has_new_id=True), at=LINKED_AT + DAY)
    life = withdrawn(withdrawn(life, at=LINKED_AT + 2 * DAY), at=LINKED_AT + 3 * DAY)
    life = changed(life, Change(), at=LINKED_AT + 4 * DAY)
    seen = [[(s.status.value, str(s.amount)) for s in life.sightings if s.spans(LINKED_AT + n * DAY)] for n in range(5)]
    assert seen == [[("pending", "-10.00")], [("active", "-12.00")], [], [], [("active", "-12.00")]]
    assert life.sightings[-1].id != 42
    assert has_id(life, 42)


def test_made_row_has_an_id_for_each_link() -> None:
    """The same hand-made movement shows other ids under another link of its account."""
    life = made_life("made", made_row())
    assert as_linked(life, 7).sightings[0].id != as_linked(life, 8).sightings[0].id
