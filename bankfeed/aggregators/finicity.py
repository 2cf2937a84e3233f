"""The connector for Finicity (Mastercard Open Finance US). Talks HTTP and knows nothing of Postgres.

Reading is all that a refresh does here: what Finicity already has. Asking the bank itself is `ask_bank_refresh`, which
the vendor forbids to automate, and `ask_bank_history`. What needs its person present is in `finicity_linking`.
"""

import time
from collections.abc import Callable
from datetime import date, datetime
from typing import ClassVar, Final

from bankfeed.aggregators import InstitutionPage, ListedAccount
from bankfeed.aggregators.finicity_http import NO_ACCOUNTS, NO_SUCH_ACCOUNT, Ask, FinicityConfig, FinicityHttp
from bankfeed.aggregators.finicity_linking import FinicityLinking, login_path
from bankfeed.aggregators.finicity_listing import Pages, list_transactions
from bankfeed.aggregators.finicity_wire import (
    AccountsAnswer,
    AccountStruct,
    CardSign,
    CustomersAnswer,
    CustomerStruct,
    InstitutionAnswer,
    InstitutionsAnswer,
    Reading,
    epoch_window,
    find_zone,
    read_account,
    read_customer_ref,
    read_institution,
    read_institutions,
)
from bankfeed.errors import AggregatorError, BadAggregatorAnswer
from bankfeed.model import FeedKind, ListedInstitution, Pull

__all__ = ["CardSign", "Finicity", "FinicityConfig"]

_USERNAME_TAKEN: Final = 409
_BANK_ASKS: Final = 203  # "no further action can resolve": only a person can answer the bank
_QUESTION_CODE: Final = 185
_NO_SUCH_INSTITUTION: Final = frozenset({14001, 14006})


class Finicity(FinicityLinking):
    """Finicity behind the Linker protocol. Build it inside a running loop; `close` it at the end."""

    may_automate_bank_refresh: ClassVar[bool] = False
    """Finicity refreshes healthy accounts nightly by itself, and allows `ask_bank_refresh` at a person's click only."""

    def __init__(self, config: FinicityConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config, FinicityHttp(config, clock=clock))

    @property
    def is_configured(self) -> bool:
        """Tell whether there are a partner id, its secret and an app key."""
        return bool(self._config.partner_id and self._config.partner_secret and self._config.app_key)

    async def create_customer(self, username: str) -> str:
        """Return the ref of the customer with this username, creating it where there is none. Safe to repeat."""
        path = ("aggregation", "v2", "customers", self._config.customer_kind)
        ask = Ask(to="create a customer", path=path, method="POST", body={"username": username})
        answer = await self._http.send(ask)
        if answer.status == _USERNAME_TAKEN:
            return await self._get_customer(username)
        return answer.read_into(CustomerStruct, read_customer_ref)

    async def find_institution(self, institution_ref: str) -> ListedInstitution | None:
        """Return one institution, or None where Finicity says that it has no such institution."""
        path = ("institution", "v2", "institutions", institution_ref)
        answer = await self._http.send(Ask(to="find an institution", path=path))
        if answer.is_refusal(404, _NO_SUCH_INSTITUTION):
            return None
        return answer.read_into(InstitutionAnswer, lambda it: read_institution(it.institution))

    async def list_institutions(self, page: int) -> InstitutionPage:
        """List all institutions, page by page from 1; here, unlike elsewhere, Finicity's `start` is the page.

        `moreAvailable` is not read, because it has been seen to stay true for ever.
        """
        query = {"start": str(page), "limit": str(self._config.page_rows)}
        ask = Ask(to="list institutions", path=("institution", "v2", "institutions"), query=query)
        answer = (await self._http.send(ask)).read(InstitutionsAnswer)
        rows = read_institutions(answer.institutions)
        return InstitutionPage(rows=rows, found=answer.found, unread_rows=len(answer.institutions) - len(rows))

    async def list_accounts(self, customer_ref: str) -> tuple[ListedAccount, ...]:
        """List every account of a customer. Raises NoSuchAccount where there is no such customer."""
        path = ("aggregation", "v1", "customers", customer_ref, "accounts")
        return await self._list(Ask(to="list a customer's accounts", path=path))

    async def list_login_accounts(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        """List the accounts of one login; none where Finicity says that the login has none.

        Raises NoSuchAccount where there is no such customer.
        """
        return await self._list(Ask(to="list a login's accounts", path=login_path(customer_ref, login_ref)))

    async def find_account(self, customer_ref: str, account_ref: str) -> ListedAccount | None:
        """Return one account, or None where Finicity says that the customer has no such account."""
        path = ("aggregation", "v2", "customers", customer_ref, "accounts", account_ref)
        answer = await self._http.send(Ask(to="find an account", path=path))
        if answer.is_refusal(404, NO_SUCH_ACCOUNT):
            return None
        return answer.read_into(AccountStruct, read_account)

    async def ask_bank_refresh(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        """Ask the bank for what is new in one login, at a person's click, and return its accounts afterwards.

        It may take minutes and goes on at Finicity when we hang up. Raises StillAsking where it has not ended in time, or
        one is running already (code 325 or 5006).
        """
        return await self._list(
            Ask(
                to="refresh a login",
                path=login_path(customer_ref, login_ref),
                method="POST",
                timeout_s=self._config.bank_refresh_timeout_s,
                goes_on=True,
            )
        )

    async def ask_bank_history(self, customer_ref: str, account_ref: str) -> None:
        """Have up to 24 months of an account loaded, at a person's click. Raises as `ask_bank_refresh` does.

        Finicity looks from the account's creation on, so what is loaded already returns at once.
        """
        answer = await self._http.send(
            Ask(
                to="load an account's history",
                path=(
                    *("aggregation", "v1", "customers", customer_ref, "accounts", account_ref),
                    *("transactions", "historic"),
                ),
                method="POST",
                timeout_s=self._config.bank_refresh_timeout_s,
                goes_on=True,
            )
        )
        if answer.status == _BANK_ASKS:
            raise AggregatorError("the bank asks a question", code=_QUESTION_CODE, is_retryable=False)
        answer.check()

    async def pull(
        self,
        customer_ref: str,
        account: ListedAccount,
        *,
        at: datetime,
        from_on: date,
        to_on: date,
        time_zone: str | None = None,
    ) -> Pull:
        """List an account's transactions of a window, pending ones included, all pages.

        Never raises AggregatorError: a listing that broke off, and one with a row that cannot be read, is incomplete
        and says why.
        """
        zone = find_zone(time_zone)
        first_s, last_s = epoch_window(from_on, to_on, zone)
        pages = Pages(
            send=self._http.send,
            path=("aggregation", "v4", "customers", customer_ref, "accounts", account.account_ref, "transactions"),
            window={"fromDate": str(first_s), "toDate": str(last_s)},
            page_rows=self._config.page_rows,
            max_pages=self._config.max_pages,
        )
        reading = Reading(account=account, zone=zone, card_sign=self._config.card_sign)
        listing = await list_transactions(pages, reading)
        return Pull(
            at=at,
            kind=FeedKind.FULL,
            from_on=from_on,
            to_on=to_on,
            is_complete=listing.error is None,
            rows=listing.rows,
            counted_rows=listing.found,
            error=listing.error,
            failed_by=listing.failed_by,
            attempted_at=account.attempted_at,
            balance=account.balance,
            balance_on=account.balance_on,
        )

    async def delete_account(self, customer_ref: str, account_ref: str) -> None:
        """Delete one account. Raises NoSuchAccount where Finicity says that there is none."""
        await self._delete("delete an account", customer_ref, "accounts", account_ref)

    async def delete_login(self, customer_ref: str, login_ref: str) -> None:
        """Delete a login with all its accounts. Raises NoSuchAccount where Finicity says that it has none."""
        await self._delete("delete a login", customer_ref, "institutionLogins", login_ref)

    async def delete_customer(self, customer_ref: str) -> None:
        """Delete a customer with everything linked. Raises NoSuchAccount where Finicity says that there is none."""
        await self._delete("delete a customer", customer_ref)

    async def close(self) -> None:
        """Close the HTTP session. Safe to repeat."""
        await self._http.close()

    async def _delete(self, to: str, customer_ref: str, *below: str) -> None:
        path = ("aggregation", "v1", "customers", customer_ref, *below)
        (await self._http.send(Ask(to=to, path=path, method="DELETE"))).check()

    async def _get_customer(self, username: str) -> str:
        ask = Ask(to="find a customer", path=("aggregation", "v1", "customers"), query={"username": username})
        answer = await self._http.send(ask)
        return answer.read_into(CustomersAnswer, lambda it: _read_only_ref(it, username))

    async def _list(self, ask: Ask) -> tuple[ListedAccount, ...]:
        answer = await self._http.send(ask)
        if answer.is_refusal(404, NO_ACCOUNTS):
            return ()
        return answer.read_into(AccountsAnswer, lambda it: tuple(map(read_account, it.accounts)))


def _read_only_ref(answer: CustomersAnswer, username: str) -> str:
    found = [each for each in answer.customers if each.username == username]
    if len(found) != 1:
        raise BadAggregatorAnswer(f"Finicity says that a username is taken, and knows {len(found)} customers by it")
    return read_customer_ref(found[0])
