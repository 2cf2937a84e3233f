"""The life of a purchase: authorised, listed as pending or not, posted, perhaps withdrawn and listed again. Pure.

Everything is drawn from one generator in a fixed order, so a purchase's life is the same whenever it is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from zoneinfo import ZoneInfo

from bankfeed.sandbox.lives import Life, Sighting, Status, draw, id_of
from bankfeed.sandbox.merchants import Merchant, Twist, by_twist
from bankfeed.sandbox.shares import DELAY_DAYS, DELAY_WEIGHTS, Shares
from bankfeed.sandbox.wording import drawn_text, plain_text

POSTS_AT = time(5, tzinfo=UTC)  # an hour before the nightly aggregation
AGAIN = "/again"
CENT = Decimal("0.01")
SHOPS = {twist: by_twist(twist) for twist in Twist} | {Twist.NONE: by_twist(Twist.NONE) + by_twist(Twist.TIP)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """A purchase before its fate is drawn: what is bought, where and when. Amounts are negative (money spent)."""

    movement: str
    id_parts: tuple[object, ...]
    merchant: Merchant
    authorised_at: datetime
    authorised: Decimal
    posted: Decimal
    zone: ZoneInfo

    @property
    def bought_on(self) -> date:
        """Return the local date of the purchase."""
        return self.authorised_at.astimezone(self.zone).date()


def noon(on: date, zone: ZoneInfo) -> datetime:
    """Return local noon as an instant in UTC: what the bank writes where it knows a date only."""
    return datetime.combine(on, time(12), tzinfo=zone).astimezone(UTC)


def posting_instant(on: date) -> datetime:
    """Return when rows dated a day appear: before the nightly aggregation that follows that day."""
    return datetime.combine(on + timedelta(days=1), POSTS_AT)


def purchase_lives(
    rng: Random, *, movement: str, id_parts: tuple[object, ...], on: date, zone: ZoneInfo, shares: Shares
) -> Iterator[Life]:
    """Draw one purchase of a day, from the shop to the last thing that happens to its rows; some are made twice.

    The second one has the shop, price and day of the first, and a fate of its own.
    """
    first = _drawn_purchase(rng, movement=movement, id_parts=id_parts, on=on, zone=zone, shares=shares)
    yield Life(movement=movement, sightings=_drawn_sightings(rng, first, shares))
    again = draw(rng.random(), "again")
    if again.random() < shares.repeated:
        name = f"{movement}{AGAIN}"
        second = replace(first, movement=name, id_parts=(*id_parts, AGAIN))
        yield Life(movement=name, sightings=_drawn_sightings(again, second, shares))


def is_same_purchase(one: str, other: str) -> bool:
    """Tell whether two movements have shop, price and day in common: one, or the same purchase made twice."""
    return one.removesuffix(AGAIN) == other.removesuffix(AGAIN)


def _drawn_purchase(
    rng: Random, *, movement: str, id_parts: tuple[object, ...], on: date, zone: ZoneInfo, shares: Shares
) -> Purchase:
    twist = _drawn_twist(rng, shares)
    merchant = rng.choice(SHOPS[twist])
    authorised, posted = _drawn_amounts(rng, merchant, twist)
    authorised_at = datetime.combine(on, time(rng.randint(7, 20), rng.randint(0, 59)), tzinfo=zone).astimezone(UTC)
    return Purchase(
        movement=movement,
        id_parts=id_parts,
        merchant=merchant,
        authorised_at=authorised_at,
        authorised=-authorised,
        posted=-posted,
        zone=zone,
    )


def _drawn_twist(rng: Random, shares: Shares) -> Twist:
    twists = (Twist.TIP, Twist.FUEL, Twist.HOTEL, Twist.CURRENCY)
    weights = (shares.tip, shares.fuel, shares.hotel, shares.currency)
    return rng.choices((*twists, Twist.NONE), (*weights, max(0.0, 1 - sum(weights))))[0]


def _drawn_amounts(rng: Random, merchant: Merchant, twist: Twist) -> tuple[Decimal, Decimal]:
    paid = Decimal(rng.randint(merchant.low * 100, merchant.high * 100)).scaleb(-2)
    match twist:
        case Twist.TIP:
            return paid, _scaled(paid, rng.randint(110, 125))
        case Twist.FUEL:
            return Decimal(rng.choice(("1.00", "1.00", "75.00", "100.00", "125.00"))), paid
        case Twist.HOTEL:
            hold = Decimal(rng.randint(merchant.low // 10, merchant.high // 10)) * Decimal("10.00")
            return hold, _scaled(hold, rng.randint(62, 128)) + Decimal("0.37")
        case Twist.CURRENCY:
            return paid, _scaled(paid, rng.choice((98, 99, 101, 102)))
        case Twist.NONE:
            return paid, paid


def _scaled(amount: Decimal, percent: int) -> Decimal:
    return (amount * percent / 100).quantize(CENT, rounding=ROUND_HALF_EVEN)


def _drawn_sightings(rng: Random, purchase: Purchase, shares: Shares) -> tuple[Sighting, ...]:
    delay_days = rng.choices(DELAY_DAYS, DELAY_WEIGHTS)[0]
    if rng.random() < shares.late:
        return _withdrawn(rng, (_posted(rng, purchase, shares, delay_days=rng.randint(5, 14)),), shares)
    posted = _posted(rng, purchase, shares, delay_days=delay_days)
    if rng.random() >= shares.pending:
        return _withdrawn(rng, (posted,), shares)
    pending = replace(_pending(purchase), ends_at=posted.starts_at)
    if rng.random() < shares.reversed:
        pending, posted = _with_text(pending, posted.description), _with_text(posted, pending.description)
    if rng.random() < shares.vanishes:
        return (pending,)
    if rng.random() < shares.keeps_id:
        return _withdrawn(rng, (pending, replace(posted, id=pending.id)), shares)
    if rng.random() < shares.together:
        pending = replace(pending, ends_at=posted.starts_at + timedelta(days=rng.randint(1, 2)))
    return _withdrawn(rng, (pending, posted), shares)


def _with_text(row: Sighting, description: str) -> Sighting:
    return replace(row, description=description)


def _pending(purchase: Purchase) -> Sighting:
    return Sighting(
        id=id_of(*purchase.id_parts, "pending"),
        status=Status.PENDING,
        amount=purchase.authorised,
        dated_at=purchase.authorised_at,
        description=plain_text(purchase.merchant),
        starts_at=purchase.authorised_at,
        memo="Pending card purchase",
        kind="pointOfSale",
        payee=purchase.merchant.name,
        category=purchase.merchant.category,
    )


def _posted(rng: Random, purchase: Purchase, shares: Shares, *, delay_days: int) -> Sighting:
    posted_on = purchase.bought_on + timedelta(days=delay_days)
    posted_at = noon(posted_on, purchase.zone)
    other_text = drawn_text(rng, purchase.merchant, shares)
    has_other_text = rng.random() < shares.changes_text
    has_posting_date = rng.random() < shares.posting_date
    return replace(
        _pending(purchase),
        id=id_of(*purchase.id_parts, "posted"),
        status=Status.ACTIVE,
        amount=purchase.posted,
        dated_at=posted_at if has_posting_date else noon(purchase.bought_on, purchase.zone),
        description=other_text if has_other_text else plain_text(purchase.merchant),
        memo="",
        starts_at=posting_instant(posted_on),
        posted_at=posted_at,
    )


def _withdrawn(rng: Random, rows: tuple[Sighting, ...], shares: Shares) -> tuple[Sighting, ...]:
    """Withdraw the last row after some nights and list it again some nights later, for the share that has this."""
    if rng.random() >= shares.withdrawn:
        return rows
    posted = rows[-1]
    gone_at = posted.starts_at + timedelta(days=rng.randint(1, 10))
    back_at = gone_at + timedelta(days=rng.randint(1, 5))
    back_id = posted.id if rng.random() < shares.keeps_id else id_of(posted.id, "reposted")
    shadow = replace(posted, status=Status.SHADOW, starts_at=gone_at, ends_at=back_at)
    shadows = (shadow,) if rng.random() < shares.reports_shadow else ()
    back = replace(posted, id=back_id, starts_at=back_at)
    return (*rows[:-1], replace(posted, ends_at=gone_at), *shadows, back)
