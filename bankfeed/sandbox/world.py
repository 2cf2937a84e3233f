"""What the bank lists at an instant: a function of the seed, the account and the instant. Pure, with a cache.

A day's movements are drawn from the seed and the day alone, so days may be forgotten and drawn again. A listing looks
at the days still served; the balance adds a running total of the days in which nothing can change any more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.lives import Life, Sighting, Status, draw, renamed
from bankfeed.sandbox.purchases import purchase_lives
from bankfeed.sandbox.routine import routine_lives
from bankfeed.sandbox.script import SCRIPT_DAYS, night_after, script_lives
from bankfeed.sandbox.shares import DOCUMENTED, Shares

# Posting (10 days, late ones 14), withdrawal (10) and return (5) end before this; a test holds the draws to it.
UNSETTLED_DAYS = 35
RENAMED_WITHIN_NIGHTS = (6, 40)
PURCHASES_A_DAY = {AccountKind.CHECKING: (0, 2), AccountKind.SAVINGS: (0, 0), AccountKind.CARD: (0, 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One listed row, and the true movement behind it."""

    movement: str
    sighting: Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything that happens, by seed. `served_days` is how far back the bank lists.

    `drawn_days` and `settled_totals` are caches: clearing them changes nothing but the time it takes.
    """

    seed: int
    shares: Shares = DOCUMENTED
    served_days: int = 180
    drawn_days: dict[tuple[int, date], tuple[Life, ...]] = field(default_factory=dict, repr=False)
    settled_totals: dict[int, tuple[date, Decimal]] = field(default_factory=dict, repr=False)


def listing(world: World, account: Account, at: datetime, *, made: Iterable[Life] = ()) -> tuple[Row, ...]:
    """List what the bank shows of an account at an instant, newest first; `made` are the hand-made movements.

    Rows of one date are ordered by id. Empty for the share of instants in which the bank loses its list.
    """
    if _is_lost(world, account, at):
        return ()
    served_from_at = datetime.combine(_served_from(world, account, at), time(), tzinfo=account.zone)
    rows = [
        Row(movement=life.movement, sighting=sighting)
        for life in _lives(world, account, at, made)
        for sighting in life.sightings
        if sighting.spans(at) and sighting.dated_at >= served_from_at
    ]
    return tuple(sorted(rows, key=lambda row: (row.sighting.dated_at, row.sighting.id), reverse=True))


def cleared_balance(world: World, account: Account, at: datetime, *, made: Iterable[Life] = ()) -> Decimal:
    """Return the account's cleared balance at an instant: the opening one and every active row listed then."""
    settled_on = max(account.opened_on, at.date() - timedelta(days=UNSETTLED_DAYS))
    unsettled = (life for on in _days_between(settled_on, at.date()) for life in lives_of_day(world, account, on))
    return (
        account.opening_balance(world.seed)
        + _settled_total(world, account, settled_on)
        + sum((_active_amount(life, at) for life in (*unsettled, *script_lives(account), *made)), Decimal())
    )


def lives_of_day(world: World, account: Account, on: date) -> tuple[Life, ...]:
    """Return the movements of one local day, drawn once and remembered."""
    key = (account.id, on)
    if key not in world.drawn_days:
        world.drawn_days[key] = tuple(_drawn_lives(world, account, on))
    return world.drawn_days[key]


def _drawn_lives(world: World, account: Account, on: date) -> Iterator[Life]:
    renamed_at = _renamed_at(world, account)
    for life in (*_purchases(world, account, on), *routine_lives(account, on, seed=world.seed)):
        if renamed_at and draw(world.seed, account.id, life.movement).random() < world.shares.renamed_row:
            yield renamed(life, at=renamed_at)
        else:
            yield life


def _purchases(world: World, account: Account, on: date) -> Iterator[Life]:
    rng = draw(world.seed, account.key, on)
    for number in range(rng.randint(*PURCHASES_A_DAY[account.kind])):
        movement = f"{account.key}/{on}/{number}"
        yield from purchase_lives(
            rng,
            movement=movement,
            id_parts=(account.id, movement),
            on=on,
            zone=account.zone,
            shares=world.shares,
        )


def _renamed_at(world: World, account: Account) -> datetime | None:
    rng = draw(world.seed, account.id, "renamed")
    if rng.random() >= world.shares.renamed_account:
        return None
    return night_after(account.linked_at) + timedelta(days=rng.randint(*RENAMED_WITHIN_NIGHTS))


def _is_lost(world: World, account: Account, at: datetime) -> bool:
    is_new = at < account.linked_at + timedelta(days=SCRIPT_DAYS + 1)
    return not is_new and draw(world.seed, account.id, at, "empty").random() < world.shares.empty


def _served_from(world: World, account: Account, at: datetime) -> date:
    """Return the first day that is listed: older history, once loaded, stays."""
    return account.loaded_from_on or max(account.served_from_on, at.date() - timedelta(days=world.served_days))


def _lives(world: World, account: Account, at: datetime, made: Iterable[Life]) -> Iterator[Life]:
    # A row may be dated later than its movement's day, so movements from before the edge can still be listed. What is before
    # the opening is in the opening balance.
    opened_on = min(account.opened_on, account.loaded_from_on or account.opened_on)
    first_on = max(opened_on, _served_from(world, account, at) - timedelta(days=UNSETTLED_DAYS))
    for on in _days_between(first_on, at.date()):
        yield from lives_of_day(world, account, on)
    yield from script_lives(account)
    yield from made


def _days_between(first_on: date, last_on: date) -> Iterator[date]:
    for number in range((last_on - first_on).days + 1):
        yield first_on + timedelta(days=number)


def _active_amount(life: Life, at: datetime) -> Decimal:
    return sum((s.amount for s in life.sightings if s.status is Status.ACTIVE and s.spans(at)), Decimal())


def _settled_total(world: World, account: Account, before_on: date) -> Decimal:
    """Return the sum of all days before a date, going on from the last one asked for; old days are forgotten."""
    through_on, total = world.settled_totals.get(account.id, (account.opened_on, Decimal()))
    if through_on > before_on:
        through_on, total = account.opened_on, Decimal()
    for on in _days_between(through_on, before_on - timedelta(days=1)):
        total += sum((life.final_amount() for life in lives_of_day(world, account, on)), Decimal())
        world.drawn_days.pop((account.id, on - timedelta(days=world.served_days)), None)
    world.settled_totals[account.id] = (before_on, total)
    return total
