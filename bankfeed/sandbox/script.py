"""The scripted movements of a customer's first login: every kind of change, certainly, in the first four nights. Pure.

night  what the bank does to the checking account
0      lists seven pending rows and one that posted days ago, at once when the login is linked
1      posts the groceries under their id, the restaurant under a new id with a tip, the fuel hold of 1.00 at what
       was pumped; lists the pending bookshop beside its posting
2      posts the hardware shop under another text and id, drops the pending bookshop and the hotel hold, withdraws
       the pharmacy; posts the transit fare under its id with another date
4      lists the pharmacy again
"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from bankfeed.sandbox.accounts import Account, AccountKind
from bankfeed.sandbox.lives import Life, Sighting, Status, id_of
from bankfeed.sandbox.purchases import noon

NIGHT_AT = time(6, tzinfo=UTC)
SCRIPT_DAYS = 5
FIRST_NIGHT_AFTER = timedelta(hours=8)
PHARMACY_AGE = timedelta(days=3)


def night_after(at: datetime) -> datetime:
    """Return the first nightly aggregation after an instant."""
    night = datetime.combine(at.date(), NIGHT_AT)
    return night if at < night else night + timedelta(days=1)


def script_lives(account: Account) -> tuple[Life, ...]:
    """List the scripted movements of an account: none unless it is the checking account of a scripted login."""
    if account.script_at is None or account.kind is not AccountKind.CHECKING:
        return ()
    first = night_after(account.script_at + FIRST_NIGHT_AFTER)
    second, fourth = first + timedelta(days=1), first + timedelta(days=3)
    return (
        _life(_posts_same_id(_pending(account, "groceries", "-63.17", "JUNIPER MARKET"), first)),
        _life(_posts(_pending(account, "tip", "-42.00", "TRATTORIA LUNA"), first, amount="-50.40")),
        _life(_posts(_pending(account, "fuel", "-1.00", "PRAIRIE FUEL"), first, amount="-47.13")),
        _life(_stands_beside(_pending(account, "beside", "-23.80", "MARGIN NOTES BOOKS"), first, second)),
        _life(
            _posts(_pending(account, "text", "-88.25", "CITY HARDWARE"), second, text="CITY HARDWARE #1187 BOISE ID")
        ),
        _life(_posts_next_day(_pending(account, "date", "-4.50", "METRO VALLEY TRANSIT"), account, second)),
        _life((replace(_pending(account, "hold", "-150.00", "LARKSPUR INN"), ends_at=second),)),
        _life(_withdrawn(account, second, fourth)),
    )


def _life(rows: tuple[Sighting, ...]) -> Life:
    return Life(movement=rows[0].memo, sightings=tuple(replace(row, memo="") for row in rows))


def _pending(account: Account, name: str, amount: str, text: str) -> Sighting:
    assert account.script_at is not None
    movement = f"{account.key}/script/{name}"
    return Sighting(
        id=id_of(account.id, movement),
        status=Status.PENDING,
        amount=Decimal(amount),
        dated_at=account.script_at,
        description=text,
        starts_at=account.script_at,
        memo=movement,
        kind="pointOfSale",
        payee=text.title(),
        category="Shopping",
    )


def _posted(pending: Sighting, at: datetime) -> Sighting:
    return replace(pending, status=Status.ACTIVE, starts_at=at, posted_at=at - timedelta(hours=1))


def _posts_same_id(pending: Sighting, at: datetime) -> tuple[Sighting, ...]:
    return replace(pending, ends_at=at), _posted(pending, at)


def _posts(pending: Sighting, at: datetime, *, amount: str = "", text: str = "") -> tuple[Sighting, ...]:
    posted = replace(
        _posted(pending, at),
        id=id_of(pending.id, "posted"),
        amount=Decimal(amount) if amount else pending.amount,
        description=text or pending.description,
    )
    return replace(pending, ends_at=at), posted


def _posts_next_day(pending: Sighting, account: Account, at: datetime) -> tuple[Sighting, ...]:
    next_day = (pending.dated_at.astimezone(account.zone) + timedelta(days=1)).date()
    dated_at = min(noon(next_day, account.zone), at - timedelta(hours=1))
    return replace(pending, ends_at=at), replace(_posted(pending, at), dated_at=dated_at)


def _stands_beside(pending: Sighting, at: datetime, until: datetime) -> tuple[Sighting, ...]:
    return replace(pending, ends_at=until), replace(_posted(pending, at), id=id_of(pending.id, "posted"))


def _withdrawn(account: Account, at: datetime, back_at: datetime) -> tuple[Sighting, ...]:
    bought = _pending(account, "withdrawn", "-31.46", "BLUEBELL PHARMACY")
    bought_at = bought.dated_at - PHARMACY_AGE
    posted = replace(_posted(bought, bought_at), dated_at=bought_at, posted_at=bought_at)
    return replace(posted, ends_at=at), replace(posted, starts_at=back_at)
