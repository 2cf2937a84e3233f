"""Sub-accounts: the accounts under a login, with their balances, and what a person changes of them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bankfeed import removal
from bankfeed.db import bank_account, sub_account
from bankfeed.db.account import lock_acted_on
from bankfeed.db.change import touch_rows
from bankfeed.db.sub_account import AccountChange, SubAccount
from bankfeed.errors import BadRequest, NotFound
from bankfeed.jobs import Wake
from bankfeed.model import AccountId, ClientId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.refreshes import LOCKED, RefreshAnswer, RefreshKind, begin_refresh
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire, conflict, version_conflict

TAG: Final = "Sub-accounts"


class SubAccountState(StrEnum):
    """Whether the aggregator still has it; the rows of a closed one are kept."""

    OPEN = "open"
    CLOSED = "closed"


class SubAccountRow(Wire):
    """One account under a login. Money owed is negative."""

    id: int
    bank_account_id: int
    client_id: int
    state: SubAccountState
    name: Annotated[str, Meta(description="What somebody called it, else the bank's name for it.")]
    bank_name: Annotated[str, Meta(description="What the bank calls it.")]
    memo: str
    number_display: Annotated[str, Meta(description="As much of the number as is shown.")]
    type: Annotated[str, Meta(description="The aggregator's word, like checking or creditCard.")]
    currency: str
    balance: Decimal | None
    balance_on: Annotated[date | None, Meta(description="The day that the balance is of.")]
    balance_gap: Annotated[
        Decimal, Meta(description="By how much more the balance moved than the transactions; 0 where they agree.")
    ]
    balance_reason: Annotated[str, Meta(description="What may explain the gap; empty where nothing does.")]
    is_hidden: Annotated[bool, Meta(description="A hidden one is updated, but its transactions are not shown.")]
    ledger_account_id: Annotated[int | None, Meta(description="Where it books to.")]
    history_from: Annotated[
        date | None, Meta(description="The first day that was asked for; None while history is to be fetched.")
    ]
    last_pulled_at: datetime | None
    last_attempted_at: Annotated[
        datetime | None, Meta(description="The aggregation attempt date: when the aggregator last asked the bank.")
    ]
    closed_at: datetime | None
    created_at: datetime
    version: int


class SubAccountAnswer(Wire):
    """One sub-account."""

    sub_account: SubAccountRow


class SubAccountPage(Wire):
    """Some sub-accounts, by id."""

    sub_accounts: list[SubAccountRow]
    next_cursor: str | None


class SubAccountParams(Body):
    """Which sub-account."""

    sub_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The sub-account's id.")]


class SubAccountListParams(Body):
    """Whose sub-accounts, and which page."""

    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Of this client.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class SubAccountChange(Body):
    """What is to change; what is not given stays."""

    name: Annotated[str, Meta(max_length=200, description="Empty: the bank's name again.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    memo: Annotated[str, Meta(max_length=2_000, description="For people; nothing reads it.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    ledger_account_id: (
        Annotated[int, Meta(ge=1, le=2**63 - 1, description="An open ledger account of the same client; null: none.")]
        | msgspec.UnsetType
        | None
    ) = msgspec.UNSET
    is_hidden: (
        Annotated[
            bool,
            Meta(
                description="Hidden, the feed of changes reports its transactions as removed. It stays hidden, also after updates and"
                " linking anew: only the operator of this Bankfeed can show it again."
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    version: Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")] | None = None


async def list_sub_accounts(call: Call, params: SubAccountListParams) -> SubAccountPage:
    """List sub-accounts by id, closed and hidden ones included."""
    client_id = None if params.client_id is None else ClientId(params.client_id)
    if client_id is not None and not await bank_account.find_client(
        call.conn, call.customer_id, client_id=client_id, username=None
    ):
        raise NotFound(f"there is no client {client_id}")
    found = await sub_account.list_sub_accounts(
        call.conn,
        call.customer_id,
        client_id=client_id,
        connection_id=None,
        after_id=0 if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    return show_page(found, limit=params.limit)


async def get_sub_account(call: Call, params: SubAccountParams) -> SubAccountAnswer:
    """Answer one sub-account."""
    return SubAccountAnswer(sub_account=_show(await _get(call, params.sub_account_id)))


async def update_sub_account(call: Call, params: SubAccountParams, body: SubAccountChange) -> SubAccountAnswer:
    """Change a sub-account. Who hides it changes what the feed of changes says of all its transactions; nobody shows it again."""
    change = _read_change(body)
    await _get(call, params.sub_account_id)
    locked = await lock_acted_on(call.conn, call.customer_id, AccountId(params.sub_account_id))
    before = await _get(call, params.sub_account_id)
    if before.is_hidden and change.is_hidden is False:
        raise conflict("it is hidden for good: only the operator of this Bankfeed can show it again", field="isHidden")
    if change.ledger_account_id is not None and change.ledger_account_id != before.ledger_account_id:
        await _check_booking(call, locked.client_id, change.ledger_account_id)
    if not await sub_account.update_sub_account(call.conn, call.customer_id, locked.id, change, version=body.version):
        raise version_conflict(before.version)
    if change.is_hidden is not None and change.is_hidden != before.is_hidden:
        await touch_rows(call.conn, call.customer_id, locked.client_id, [locked.id])
    return SubAccountAnswer(sub_account=_show(await _get(call, locked.id)))


async def delete_sub_account(call: Call, params: SubAccountParams) -> None:
    """Delete a sub-account, here at once and at the aggregator soon; its login goes with the last one."""
    await removal.delete_sub_account(call.conn, call.customer_id, AccountId(params.sub_account_id))
    call.wake(Wake.REMOVE)
    call.wake(Wake.DELIVER)


async def refresh_sub_account(call: Call, params: SubAccountParams) -> RefreshAnswer:
    """Ask the bank for what is new in the login of a sub-account, all of its accounts."""
    account = await _get(call, params.sub_account_id)
    login = await bank_account.find_bank_account(call.conn, call.customer_id, account.connection_id)
    if login is None:
        raise NotFound(f"there is no sub-account {account.id}")
    return await begin_refresh(call, login, RefreshKind.CURRENT)


# ------------------------------------------------------------------------------------------------ steps


def show_page(found: Sequence[SubAccount], *, limit: int) -> SubAccountPage:
    """Return a page of at most `limit`; one more than that tells that there is a next one."""
    shown = found[:limit]
    return SubAccountPage(
        sub_accounts=[_show(each) for each in shown],
        next_cursor=write_cursor(shown[-1].id) if len(found) > limit else None,
    )


def _read_change(body: SubAccountChange) -> AccountChange:
    change = AccountChange(
        own_name=None if isinstance(body.name, msgspec.UnsetType) else body.name.strip(),
        memo=None if isinstance(body.memo, msgspec.UnsetType) else body.memo,
        is_hidden=None if isinstance(body.is_hidden, msgspec.UnsetType) else body.is_hidden,
    )
    if not isinstance(body.ledger_account_id, msgspec.UnsetType):
        change = replace(change, is_booking_changed=True, ledger_account_id=body.ledger_account_id)
    if change == AccountChange():
        raise BadRequest("expected name, memo, ledgerAccountId or isHidden to change")
    return change


async def _check_booking(call: Call, client_id: ClientId, ledger_account_id: int) -> None:
    is_open = await sub_account.lock_booking_account(call.conn, call.customer_id, client_id, ledger_account_id)
    if is_open is None:
        raise BadRequest(
            f"expected a ledger account of the same client, and it has none of id {ledger_account_id}",
            field="ledgerAccountId",
        )
    if not is_open:
        raise BadRequest(
            f"expected an open ledger account, and {ledger_account_id} is archived", field="ledgerAccountId"
        )


async def _get(call: Call, sub_account_id: int) -> SubAccount:
    found = await sub_account.find_sub_account(call.conn, call.customer_id, AccountId(sub_account_id))
    if found is None:
        raise NotFound(f"there is no sub-account {sub_account_id}")
    return found


def _show(account: SubAccount) -> SubAccountRow:
    return SubAccountRow(
        id=account.id,
        bank_account_id=account.connection_id,
        client_id=account.client_id,
        state=SubAccountState(account.state),
        name=account.own_name or account.name,
        bank_name=account.name,
        memo=account.memo,
        number_display=account.number_display,
        type=account.type,
        currency=account.currency,
        balance=account.balance,
        balance_on=account.balance_on,
        balance_gap=account.balance_gap,
        balance_reason=account.balance_reason,
        is_hidden=account.is_hidden,
        ledger_account_id=account.ledger_account_id,
        history_from=account.history_from_on,
        last_pulled_at=account.last_pulled_at,
        last_attempted_at=account.attempted_at,
        closed_at=account.closed_at,
        created_at=account.created_at,
        version=account.version,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/sub-accounts",
        handle=list_sub_accounts,
        summary="List sub-accounts",
        text="Of all clients, or of one by `clientId`.",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=SubAccountListParams,
        answer=SubAccountPage,
    ),
    Route(
        method="GET",
        path="/sub-accounts/{subAccountId}",
        handle=get_sub_account,
        summary="Get a sub-account",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=SubAccountParams,
        answer=SubAccountAnswer,
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/sub-accounts/{subAccountId}",
        handle=update_sub_account,
        summary="Change a sub-account's name, memo or ledger account, or hide it",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=SubAccountParams,
        body=SubAccountChange,
        answer=SubAccountAnswer,
        errors={"version_conflict": 409, "conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/sub-accounts/{subAccountId}",
        handle=delete_sub_account,
        summary="Delete a sub-account",
        text="It is out of every list at once, and deleted at the aggregator soon, its login with the last one. What was booked "
        "stays; adding it again brings it back.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=SubAccountParams,
    ),
    Route(
        method="POST",
        path="/sub-accounts/{subAccountId}/refresh",
        handle=refresh_sub_account,
        summary="Refresh a sub-account's login",
        text="As `POST /bank-accounts/{bankAccountId}/refresh` for its bank account: a login is asked as a whole.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=SubAccountParams,
        answer=RefreshAnswer,
        status=202,
        errors=LOCKED,
    ),
)
