"""How an aggregator tells what the bank lists: windows, hours, ids, full lists or deltas. Pure: a draw for an account."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from bankfeed.model import FeedKind
from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.lives import draw

FIRST_DAY_ON = date(2026, 3, 1)
KINDS = (AccountKind.CHECKING, AccountKind.CARD, AccountKind.CARD, AccountKind.CHECKING, AccountKind.SAVINGS)
ZONES = ("America/Denver", "America/New_York", "Europe/London", "UTC")


class Ids(StrEnum):
    """What an account's row ids are like."""

    OWN = "own"
    NONE_ON_PENDING = "none_on_pending"
    POSITIONAL = "positional"
    """The place in the list, newest first: every new row moves them all."""
    REUSED = "reused"
    """From a small range: another movement may get one again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How feeds tell what the bank lists; shares from 0 to 1, the defaults moderate guesses.

    `delta` and the `..._ids` are per account (the latter where it sends full lists), `narrow` per
    pull of an account that sends full lists: it asks for `narrow_days` only. `names_pending` is the part of postings in a
    delta that name their pending row. A bank serves, and a pull asks for, days between `fewest_days` and `most_days`.
    """

    delta: float = 0.2
    without_pending_ids: float = 0.1
    positional_ids: float = 0.04
    reused_ids: float = 0.04
    narrow: float = 0.3
    narrow_days: int = 15
    names_pending: float = 0.7
    fewest_days: int = 60
    most_days: int = 90
    most_pulls_a_day: int = 2


USUAL = Habits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One account as its feed has it: at the bank, and on the way from there. `hours` are when it is pulled, in UTC."""

    account: Account
    kind: FeedKind
    ids: Ids
    served_days: int
    asked_days: int
    hours: tuple[int, ...]

    def pulled_at(self, day: int) -> tuple[datetime, ...]:
        """Return when the account is pulled on a day of the simulation, day 0 being the first."""
        midnight = datetime.combine(FIRST_DAY_ON, datetime.min.time(), tzinfo=UTC) + timedelta(days=day)
        return tuple(midnight + timedelta(hours=hour) for hour in self.hours)


def draw_feed(seed: int, number: int, habits: Habits) -> Feed:
    """Draw what the feed of an account is like; accounts are numbered from 1."""
    rng = draw(seed, number, "feed")
    served_days, asked_days = (rng.randint(habits.fewest_days, habits.most_days) for _ in range(2))
    kind = FeedKind.DELTA if rng.random() < habits.delta else FeedKind.FULL
    ids = _ids(rng.random(), habits) if kind is FeedKind.FULL else Ids.OWN
    hours = sorted(rng.sample((6, 11, 14, 19, 23), rng.randint(1, habits.most_pulls_a_day)))
    account = _account(number, zone=rng.choice(ZONES), served_days=served_days, hour=hours[0])
    return Feed(account=account, kind=kind, ids=ids, served_days=served_days, asked_days=asked_days, hours=tuple(hours))


def _ids(roll: float, habits: Habits) -> Ids:
    for ids, share in (
        (Ids.POSITIONAL, habits.positional_ids),
        (Ids.REUSED, habits.reused_ids),
        (Ids.NONE_ON_PENDING, habits.without_pending_ids),
    ):
        if roll < share:
            return ids
        roll -= share
    return Ids.OWN


def _account(number: int, *, zone: str, served_days: int, hour: int) -> Account:
    opened_on = FIRST_DAY_ON - timedelta(days=served_days)
    return Account(
        id=number,
        login_id=number,
        customer_id=1,
        institution_id=1,
        kind=KINDS[number % len(KINDS)],
        login_key=f"simulated/{number}",
        time_zone=zone,
        position=1,
        linked_at=datetime.combine(FIRST_DAY_ON, datetime.min.time(), tzinfo=UTC) + timedelta(hours=hour),
        opened_on=opened_on,
        served_from_on=opened_on,
    )
