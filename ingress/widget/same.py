"""Which of a client's logins an offer is of, by last digits and type of the accounts, and which accounts nobody has yet. Pure."""

from collections.abc import Sequence

from bankfeed.aggregators.linking import Offer, OfferedAccount
from bankfeed.db.widget import Login
from bankfeed.health import ConnectionState


def find_same(logins: Sequence[Login], offer: Offer) -> tuple[Login, ...]:
    """Find the logins that an offer is of: all of whose open accounts are among those offered.

    An aggregator may count each adding as a login, so there may be several; those that do not work come first, then those
    with most accounts.
    """
    offered = set(_keys(offer.accounts))
    same = [login for login in logins if login.accounts and set(login.accounts) <= offered]
    return tuple(sorted(same, key=lambda login: (login.state == ConnectionState.ACTIVE, -len(login.accounts))))


def find_nearest(logins: Sequence[Login], accounts: Sequence[OfferedAccount]) -> Login | None:
    """Find the login that has most of the accounts; None where there is no login."""
    offered = set(_keys(accounts))
    return max(logins, key=lambda login: len(offered & set(login.accounts)), default=None)


def find_rest(accounts: Sequence[OfferedAccount], logins: Sequence[Login]) -> tuple[OfferedAccount, ...]:
    """Return the accounts that no login has yet: linked once more, their transactions would be there twice."""
    linked = {key for login in logins for key in login.accounts}
    return tuple(each for each, key in zip(accounts, _keys(accounts), strict=True) if key not in linked)


def _keys(accounts: Sequence[OfferedAccount]) -> list[tuple[str, str]]:
    return [(each.number_display, each.type) for each in accounts]
