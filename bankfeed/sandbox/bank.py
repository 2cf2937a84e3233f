"""What can happen at Finbank: customers come, logins are linked, aggregated, broken, mended and closed.

Every act takes the next instant of the bank's clock, and is in the book before its answer or its news go out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bankfeed.sandbox import made
from bankfeed.sandbox.accounts import Account, AccountKind, account_number
from bankfeed.sandbox.book import Customer, Login, Opening, Pages, write_book
from bankfeed.sandbox.clock import DAY, Clock
from bankfeed.sandbox.credentials import Manner, kept_name
from bankfeed.sandbox.institutions import BY_ID, INSTITUTIONS, Institution, Standing
from bankfeed.sandbox.lives import Life, Sighting
from bankfeed.sandbox.news import News, NewsKind, RowChanges
from bankfeed.sandbox.refusals import (
    Refusal,
    no_account_for_login,
    no_such_account,
    no_such_customer,
    no_such_institution,
)
from bankfeed.sandbox.script import night_after
from bankfeed.sandbox.settings import CardSign, When
from bankfeed.sandbox.wire import account_json, transaction_json
from bankfeed.sandbox.world import Row, World, cleared_balance, listing

HISTORIC_DAYS = 730
UNANSWERED, NOT_YET_CONSENTED = 185, 948
NO_IDS: Mapping[AccountKind, int] = {}


@dataclass(slots=True, kw_only=True)
class Bank:
    """The bank at work. `tell` passes news on and returns at once; `announce` may change while it runs.

    `name_key` is the key under which usernames are kept; it is not in the book.
    """

    world: World
    clock: Clock
    pages: Pages
    folder: Path
    history_days: int
    card_sign: CardSign
    announce: When
    tell: Callable[[Sequence[News]], None]
    name_key: bytes = field(repr=False)

    # What is there

    def customer(self, customer_id: int) -> Customer:
        """Return a customer, or refuse with 14001."""
        if customer_id not in self.pages.customers:
            raise no_such_customer()
        return self.pages.customers[customer_id]

    def account(self, customer_id: int, account_id: int) -> Account:
        """Return an account of a customer, or refuse with 38003."""
        self.customer(customer_id)
        account = self.pages.accounts.get(account_id)
        if account is None or account.customer_id != customer_id:
            raise no_such_account(customer_id, account_id)
        return account

    def login(self, customer_id: int, login_id: int) -> Login:
        """Return a login of a customer, or refuse with 38007."""
        self.customer(customer_id)
        login = self.pages.logins.get(login_id)
        if login is None or login.customer_id != customer_id:
            raise no_account_for_login()
        return login

    def logins_of(self, customer_id: int) -> tuple[Login, ...]:
        """List a customer's logins, oldest first."""
        return tuple(login for login in self.pages.logins.values() if login.customer_id == customer_id)

    def institution(self, institution_id: int) -> Institution:
        """Return an institution as it stands now, or refuse with 14006."""
        if institution_id not in BY_ID:
            raise no_such_institution()
        institution, standing = BY_ID[institution_id], self.pages.institutions.get(institution_id)
        return standing.of(institution, at=self.clock.now()) if standing else institution

    def institutions(self) -> tuple[Institution, ...]:
        """List all institutions as they stand now."""
        return tuple(self.institution(institution.id) for institution in INSTITUTIONS)

    def name_of(self, customer_id: int, institution_id: int, username: str) -> str:
        """Return what is kept of a username; one that an older book has in clear stays as it is there."""
        is_known = _login_key(customer_id, institution_id, username) in self.pages.openings
        return username if is_known else kept_name(username, self.name_key)

    def number_of(self, customer_id: int, institution_id: int, name: str, kind: AccountKind) -> str:
        """Return the number of an account, linked or not."""
        return account_number(f"{_login_key(customer_id, institution_id, name)}/{kind}")

    def rows(self, account: Account, at: datetime | None = None) -> tuple[Row, ...]:
        """List an account as of an instant, by default that of its last successful aggregation."""
        at = at or self.pages.logins[account.login_id].succeeded_at
        return listing(self.world, account, at, made=self._made(account))

    def balance(self, account: Account, at: datetime | None = None) -> Decimal:
        """Return an account's balance as of an instant, by default that of its last successful aggregation."""
        at = at or self.pages.logins[account.login_id].succeeded_at
        return cleared_balance(self.world, account, at, made=self._made(account))

    def account_json(self, account: Account) -> dict[str, Any]:
        """Write an account as the aggregator shows it now."""
        login = self.pages.logins[account.login_id]
        return account_json(account, login, balance=self.balance(account), rows=self.rows(account))

    def transaction_json(self, account: Account, row: Row) -> dict[str, Any]:
        """Write a listed row as the aggregator shows it."""
        return transaction_json(account, row.sighting, linked_at=account.linked_at, card_sign=self.card_sign)

    # What happens

    def save(self) -> None:
        """Write the book."""
        self.pages.clock_at = max(self.clock.now(), self.clock.ticked_at)
        write_book(self.pages, self.folder)

    def add_customer(self, username: str, **names: str) -> Customer:
        """Take in a customer, or refuse a username that is taken with 110002."""
        if any(customer.username == username for customer in self.pages.customers.values()):
            raise Refusal(409, 110002, "Username is not available.")
        customer = Customer(id=self.pages.next_id(), username=username, created_at=self.clock.tick(), **names)
        self.pages.customers[customer.id] = customer
        self.save()
        return customer

    def delete_customer(self, customer_id: int) -> None:
        """Forget a customer with all logins and accounts."""
        for login in self.logins_of(customer_id):
            self.delete_login(login)
        del self.pages.customers[customer_id]
        self.save()

    def link(
        self,
        customer_id: int,
        institution_id: int,
        *,
        name: str,
        kinds: Sequence[AccountKind],
        manner: Manner = Manner.PLAIN,
        ids: Mapping[AccountKind, int] = NO_IDS,
        is_oauth: bool = False,
    ) -> tuple[Login, tuple[Account, ...]]:
        """Link a login: its accounts are there at once, aggregated, and announced.

        `name` is what is kept of the username, `ids` are those that accounts were offered under. A customer's first
        login gets the scripted movements. Linking a login again gives new ids for the same accounts and movements.
        """
        self.customer(customer_id)
        at_bank = self.institution(institution_id)
        at = self.clock.tick()
        login = Login(
            id=self.pages.next_id(),
            customer_id=customer_id,
            institution_id=institution_id,
            username=name,
            linked_at=at,
            attempted_at=at,
            succeeded_at=at,
            manner=manner,
        )
        self.pages.logins[login.id] = login
        accounts = tuple(self._open_accounts(login, at_bank, kinds, ids))
        self.save()
        shown = tuple(self.account_json(account) for account in accounts)
        self.tell([replace(self._news(login, NewsKind.ADDED, accounts=shown), is_oauth=is_oauth)])
        return login, accounts

    def aggregate(self, login: Login) -> Login:
        """Ask the bank now, and announce what changed. Returns the login with its new status."""
        news = self._aggregated(login, self.clock.tick())
        self.save()
        self.tell(news)
        return self.pages.logins[login.id]

    def refresh(self, login: Login) -> Login:
        """Ask the bank now on a partner's behalf, nobody being there to answer: where it asks, that fails with 185."""
        is_asked = login.manner.asks and not login.failing
        return self.fail_login(login, UNANSWERED) if is_asked else self.aggregate(login)

    def fail_login(self, login: Login, code: int) -> Login:
        """Let a login fail with a code from now on, and meet it at once."""
        self.pages.logins[login.id] = failing = replace(login, failing_code=code)
        return self.aggregate(failing)

    def keep_login(self, login: Login) -> None:
        """Keep a changed login."""
        self.pages.logins[login.id] = login
        self.save()

    def load_history(self, account: Account) -> Login:
        """Ask the bank for the last 24 months of an account. Returns its login with its new status."""
        at = self.clock.tick()
        news = self._aggregated(self.pages.logins[account.login_id], at)
        login = self.pages.logins[account.login_id]
        if not login.status_code:
            loaded_from_on = account.loaded_from_on or at.date() - timedelta(days=HISTORIC_DAYS)
            self.pages.accounts[account.id] = replace(account, loaded_from_on=loaded_from_on)
        self.save()
        self.tell(news)
        return login

    def run_night(self) -> None:
        """Aggregate every login that the last nightly batch has not seen yet. Safe to repeat."""
        night = night_after(self.clock.now()) - DAY
        due = [login for login in self.pages.logins.values() if login.attempted_at < night]
        if not due:
            return
        news = [one for login in due for one in self._aggregated(login, night)]
        self.save()
        self.tell(news)

    def break_login(self, login: Login, code: int) -> None:
        """Let every aggregation of a login fail with a code from now on."""
        self.keep_login(replace(login, failing_code=code))

    def set_standing(self, institution: Institution, standing: Standing) -> None:
        """Let an institution stand otherwise; one that migrates fails its logins until their holders consent."""
        was = self.pages.institutions.get(institution.id, Standing())
        self.pages.institutions[institution.id] = standing
        if standing.is_migrated and not was.is_migrated:
            for login in tuple(self.pages.logins.values()):
                if login.institution_id == institution.id:
                    self.pages.logins[login.id] = replace(login, failing_code=NOT_YET_CONSENTED, credentials_code=0)
        self.save()

    def fix_login(self, login: Login) -> Login:
        """Mend a login: aggregate it with success at once, and announce both."""
        mended = replace(login, failing_code=0, credentials_code=0)
        self.pages.logins[login.id] = mended
        news = self._aggregated(mended, self.clock.tick())
        self.save()
        self.tell([self._news(mended, NewsKind.FIXED), *news])
        return self.pages.logins[login.id]

    def tell_of(self, login: Login) -> None:
        """Announce the accounts of a login as refreshed, also where nothing changed, or the bank refused."""
        self.tell([self._news(login, NewsKind.REFRESHED)])

    def delete_account(self, account: Account) -> News:
        """Forget an account. Returns the news, for the caller to tell when it was the account holder who did this."""
        news = self._news(self.pages.logins[account.login_id], NewsKind.DELETED, account_ids=(account.id,))
        self.pages.drop_account(account.id)
        self.save()
        return news

    def delete_login(self, login: Login) -> None:
        """Forget a login with all its accounts."""
        for account in self.pages.accounts_of(login.id):
            self.pages.drop_account(account.id)
        self.pages.logins.pop(login.id, None)
        self.save()

    def make_row(self, account: Account, row: Sighting) -> int:
        """Put a movement on an account; the next aggregation lists it. Returns the row's id."""
        number = self.pages.next_id()
        life = made.made_life(f"{account.key}/made/{number}", replace(row, id=number))
        self._keep_made(account, (*self.pages.made.get(account.key, ()), life))
        return made.as_linked(life, account.id).sightings[-1].id

    def change_row(self, row_id: int, change: Callable[[Life], Life]) -> int:
        """Change a hand-made movement found by any id it ever had. Returns its id from now on."""
        account, life = self.find_made(row_id)
        new = change(life)
        self._keep_made(account, tuple(new if it is life else it for it in self.pages.made[account.key]))
        return made.as_linked(new, account.id).sightings[-1].id

    def find_made(self, row_id: int) -> tuple[Account, Life]:
        """Return the hand-made movement that has or had a row id, or refuse with 24553."""
        for account in self.pages.accounts.values():
            for life in self.pages.made.get(account.key, ()):
                if made.has_id(made.as_linked(life, account.id), row_id):
                    return account, life
        raise Refusal(404, 24553, "Transaction not found: only hand-made ones can be changed.")

    def _keep_made(self, account: Account, lives: tuple[Life, ...]) -> None:
        self.pages.made[account.key] = lives
        self.save()

    def _made(self, account: Account) -> Iterator[Life]:
        return (made.as_linked(life, account.id) for life in self.pages.made.get(account.key, ()))

    def _open_accounts(
        self, login: Login, at_bank: Institution, kinds: Sequence[AccountKind], ids: Mapping[AccountKind, int]
    ) -> Iterator[Account]:
        login_key = _login_key(login.customer_id, login.institution_id, login.username)
        is_first = not any(key.startswith(f"{login.customer_id}/") for key in self.pages.openings)
        from_on = login.linked_at.date() - timedelta(days=self.history_days)
        opening = Opening(opened_on=from_on, script_at=login.linked_at if is_first else None)
        opening = self.pages.openings.setdefault(login_key, opening)
        for position, kind in enumerate(kinds, start=1):
            account = Account(
                id=ids.get(kind) or self.pages.next_id(),
                login_id=login.id,
                customer_id=login.customer_id,
                institution_id=login.institution_id,
                kind=kind,
                login_key=login_key,
                time_zone=at_bank.time_zone,
                position=position,
                linked_at=login.linked_at,
                opened_on=opening.opened_on,
                served_from_on=from_on,
                script_at=opening.script_at,
            )
            self.pages.accounts[account.id] = account
            yield account

    def _aggregated(self, login: Login, at: datetime) -> list[News]:
        """Move a login to an instant, unless the bank refuses; return what there is to announce."""
        if login.failing:
            self.pages.logins[login.id] = replace(login, attempted_at=at, status_code=login.failing)
            return []
        accounts = self.pages.accounts_of(login.id)
        before = {account.id: self.rows(account) for account in accounts}
        self.pages.logins[login.id] = replace(login, attempted_at=at, succeeded_at=at, status_code=0)
        changes = {account.id: self._changes(account, before[account.id]) for account in accounts}
        told = tuple(i for i, change in changes.items() if self.announce is When.ALWAYS or change != RowChanges())
        everything = RowChanges(
            created=tuple(row for change in changes.values() for row in change.created),
            modified=tuple(row for change in changes.values() for row in change.modified),
            deleted=tuple(row for change in changes.values() for row in change.deleted),
        )
        return [self._news(login, NewsKind.REFRESHED, account_ids=told, changes=everything)] if told else []

    def _changes(self, account: Account, before: Sequence[Row]) -> RowChanges:
        old = {row.sighting.id: row for row in before}
        new = {row.sighting.id: row for row in self.rows(account)}
        return RowChanges(
            created=tuple(self.transaction_json(account, row) for i, row in new.items() if i not in old),
            modified=tuple(self.transaction_json(account, row) for i, row in new.items() if i in old and old[i] != row),
            deleted=tuple(self.transaction_json(account, row) for i, row in old.items() if i not in new),
        )

    def _news(
        self,
        login: Login,
        kind: NewsKind,
        *,
        account_ids: tuple[int, ...] | None = None,
        accounts: tuple[dict[str, Any], ...] = (),
        changes: RowChanges | None = None,
    ) -> News:
        ids = tuple(a.id for a in self.pages.accounts_of(login.id)) if account_ids is None else account_ids
        return News(
            kind=kind,
            customer_id=login.customer_id,
            institution_id=login.institution_id,
            login_id=login.id,
            account_ids=ids,
            accounts=accounts,
            changes=changes or RowChanges(),
        )


def _login_key(customer_id: int, institution_id: int, name: str) -> str:
    return f"{customer_id}/{institution_id}/{name}"
