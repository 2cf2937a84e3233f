"""Which of a client's logins an offer is of, by last digits and type of the accounts, and which accounts nobody has yet. Pure.

Digits and type are no proof: two people may each have a checking account that ends alike. So one account in common is a
question to the person; two are not, and a blank number agrees with nothing.
"""

from collections.abc import Sequence
from typing import Final

from bankfeed.aggregators.linking import Offer, OfferedAccount
from bankfeed.db.widget_login import Login
from bankfeed.health import ConnectionState

SURE_ACCOUNTS: Final = 2

Key = tuple[str, str]


def find_same(logins: Sequence[Login], offer: Offer) -> tuple[Login, ...]:
    """Find the logins that an offer is of: all of whose open accounts are among those offered, two of them at the least.

    An aggregator may count each adding as a login, so there may be several; those that do not work come first, then those
    with most accounts. One with a single account comes along where another one is sure.
    """
    offered = _keys(offer.accounts)
    same = [login for login in logins if login.accounts and _of(login) <= offered]
    if not any(_is_sure(login) for login in same):
        return ()
    return tuple(sorted(same, key=lambda login: (login.state == ConnectionState.ACTIVE, -len(login.accounts))))


def find_rest(accounts: Sequence[OfferedAccount], logins: Sequence[Login]) -> tuple[OfferedAccount, ...]:
    """Return the accounts that no login seems to have: linked once more, their transactions would be there twice."""
    linked = {key for login in logins for key in _of(login) if key[0]}
    return tuple(each for each in accounts if _key(each.number_display, each.type) not in linked)


def _is_sure(login: Login) -> bool:
    return len(login.accounts) >= SURE_ACCOUNTS


def _of(login: Login) -> set[Key]:
    return {_key(number, kind) for number, kind in login.accounts}


def _keys(accounts: Sequence[OfferedAccount]) -> set[Key]:
    return {key for each in accounts if (key := _key(each.number_display, each.type))[0]}


def _key(number: str, kind: str) -> Key:
    return number.strip().casefold(), kind
