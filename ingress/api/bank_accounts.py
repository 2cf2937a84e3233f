"""Bank accounts: one login at one institution each, with how it stands and what to do about it.

What a state or a code means is bankfeed/health.py's; nothing here decides it.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bankfeed import removal
from bankfeed.db import bank_account, connection_history, sub_account
from bankfeed.db.bank_account import BankAccount
from bankfeed.errors import BadRequest, NotFound
from bankfeed.health import Actor, ConnectionState, Meaning, describe
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, ConnectionId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.refreshes import LOCKED, RefreshAnswer, RefreshKind, begin_refresh
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire, version_conflict
from ingress.api.sub_accounts import SubAccountPage, show_page

TAG: Final = "Bank accounts"
Limit = Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")]
Cursor = Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")]


class BankAccountRow(Wire):
    """One login at one institution."""

    id: int
    client_id: int
    username: Annotated[str, Meta(description="The client's.")]
    institution_id: int | None
    institution_name: Annotated[str | None, Meta(description="None until the first update.")]
    name: Annotated[str, Meta(description="What somebody called it, else the institution's name.")]
    memo: str
    state: ConnectionState
    code: Annotated[int | None, Meta(description="The aggregation status code; see GET /error-codes.")]
    message: Annotated[str, Meta(description="What the state and the code mean, for people.")]
    last_update_at: Annotated[datetime | None, Meta(description="When it was pulled last.")]
    next_update_at: Annotated[
        datetime | None,
        Meta(description="When it is pulled next, if no event comes before; while a refresh waits, when it is tried."),
    ]
    is_updating: Annotated[bool, Meta(description="Whether an update waits or runs.")]
    sub_accounts: Annotated[int, Meta(description="How many open accounts it has.")]
    created_at: datetime
    version: int


class BankAccountAnswer(Wire):
    """One bank account."""

    bank_account: BankAccountRow


class BankAccountPage(Wire):
    """Some bank accounts, by id."""

    bank_accounts: list[BankAccountRow]
    next_cursor: str | None


class SubAccountCounts(Wire):
    """How many sub-accounts there are; a hidden one is open or closed too."""

    open: int
    closed: int
    hidden: int


class StateCounts(Wire):
    """How many transactions there are of each state, without those of hidden sub-accounts."""

    pending: int
    active: int
    shadow: int
    removed: int


class BankAccountSummary(Wire):
    """How a bank account stands, and who does what about it."""

    bank_account_id: int
    status: ConnectionState
    code: int | None
    message: str
    what_to_do: Annotated[str, Meta(description="What a person can do.")]
    who_acts: Annotated[Actor, Meta(description="Who can change it.")]
    is_fixable: Annotated[bool, Meta(description="Whether the repair widget is the way.")]
    since: Annotated[datetime, Meta(description="Since when it stands like that.")]
    last_update_at: datetime | None
    next_update_at: datetime | None
    is_updating: bool
    sub_accounts: SubAccountCounts
    transactions: StateCounts
    repairs: Annotated[int, Meta(description="How often it was broken and then repaired.")]
    mean_time_to_repair_s: Annotated[
        float | None, Meta(description="How long that took on average, in seconds; null where it never was.")
    ]


class BankAccountSummaryAnswer(Wire):
    """One bank account's summary."""

    summary: BankAccountSummary


class BankAccountParams(Body):
    """Which bank account."""

    bank_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The bank account's id.")]


class BankAccountListParams(Body):
    """Whose bank accounts, and which page."""

    client_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Of this client.")] | None = None
    username: Annotated[str, Meta(max_length=320, description="Of the client with this username.")] | None = None
    state: Annotated[ConnectionState, Meta(description="In this state.")] | None = None
    limit: Limit = USUAL_PAGE
    cursor: Cursor | None = None


class BankAccountPart(Body):
    """Which bank account, and which page of what it has."""

    bank_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The bank account's id.")]
    limit: Limit = USUAL_PAGE
    cursor: Cursor | None = None


class BankAccountChange(Body):
    """What is to change; what is not given stays."""

    name: (
        Annotated[str, Meta(max_length=200, description="Empty: the institution's name again.")] | msgspec.UnsetType
    ) = msgspec.UNSET
    memo: Annotated[str, Meta(max_length=2_000, description="For people; nothing reads it.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    version: Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")] | None = None


async def list_bank_accounts(call: Call, params: BankAccountListParams) -> BankAccountPage:
    """List bank accounts by id, closed ones included."""
    client_id = await _find_client(call, params)
    found = await bank_account.list_bank_accounts(
        call.conn,
        call.customer_id,
        client_id=client_id,
        state=params.state,
        after_id=0 if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    shown = found[: params.limit]
    return BankAccountPage(
        bank_accounts=[_show(each) for each in shown],
        next_cursor=write_cursor(shown[-1].id) if len(found) > params.limit else None,
    )


async def get_bank_account(call: Call, params: BankAccountParams) -> BankAccountAnswer:
    """Answer one bank account."""
    return BankAccountAnswer(bank_account=_show(await _get(call, params.bank_account_id)))


async def list_bank_account_sub_accounts(call: Call, params: BankAccountPart) -> SubAccountPage:
    """List the sub-accounts of one bank account by id, closed and hidden ones included."""
    account = await _get(call, params.bank_account_id)
    found = await sub_account.list_sub_accounts(
        call.conn,
        call.customer_id,
        client_id=None,
        connection_id=account.id,
        after_id=0 if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    return show_page(found, limit=params.limit)


async def get_bank_account_summary(call: Call, params: BankAccountParams) -> BankAccountSummaryAnswer:
    """Answer how a bank account stands."""
    account = await _get(call, params.bank_account_id)
    accounts = await bank_account.count_accounts(call.conn, call.customer_id, account.id)
    rows = await bank_account.count_transactions(call.conn, call.customer_id, account.id)
    repairs = await connection_history.count_repairs(call.conn, call.customer_id, account.id)
    meaning = _read(account)
    return BankAccountSummaryAnswer(
        summary=BankAccountSummary(
            bank_account_id=account.id,
            status=ConnectionState(account.state),
            code=account.status_code,
            message=meaning.words,
            what_to_do=meaning.todo,
            who_acts=meaning.actor,
            is_fixable=meaning.is_fixable,
            since=account.status_since,
            last_update_at=account.last_refresh_at,
            next_update_at=account.next_update_at,
            is_updating=account.is_updating,
            sub_accounts=SubAccountCounts(open=accounts.open, closed=accounts.closed, hidden=accounts.hidden),
            transactions=StateCounts(
                **{name: rows.get(name, 0) for name in ("pending", "active", "shadow", "removed")}
            ),
            repairs=repairs.repairs,
            mean_time_to_repair_s=repairs.mean_time_to_repair_s,
        )
    )


async def update_bank_account(call: Call, params: BankAccountParams, body: BankAccountChange) -> BankAccountAnswer:
    """Change a bank account's name or memo."""
    name = None if isinstance(body.name, msgspec.UnsetType) else body.name.strip()
    memo = None if isinstance(body.memo, msgspec.UnsetType) else body.memo
    if name is None and memo is None:
        raise BadRequest("expected name or memo to change")
    account = await _get(call, params.bank_account_id)
    if not await bank_account.update_bank_account(
        call.conn, call.customer_id, account.id, name=name, memo=memo, version=body.version
    ):
        raise version_conflict((await _get(call, account.id)).version)
    return BankAccountAnswer(bank_account=_show(await _get(call, account.id)))


async def delete_bank_account(call: Call, params: BankAccountParams) -> None:
    """Delete a bank account with its sub-accounts, here at once and at the aggregator soon."""
    await removal.delete_bank_account(call.conn, call.customer_id, ConnectionId(params.bank_account_id))
    call.wake(Wake.REMOVE)
    call.wake(Wake.DELIVER)


async def refresh_bank_account(call: Call, params: BankAccountParams) -> RefreshAnswer:
    """Ask the bank for what is new."""
    return await begin_refresh(call, await _get(call, params.bank_account_id), RefreshKind.CURRENT)


async def refresh_bank_account_history(call: Call, params: BankAccountParams) -> RefreshAnswer:
    """Ask the bank for up to 24 months."""
    return await begin_refresh(call, await _get(call, params.bank_account_id), RefreshKind.HISTORIC)


# ------------------------------------------------------------------------------------------------ steps


async def _find_client(call: Call, params: BankAccountListParams) -> ClientId | None:
    """Return whose bank accounts are wanted, None for everybody's. Raises NotFound."""
    if params.client_id is None and params.username is None:
        return None
    wanted = None if params.client_id is None else ClientId(params.client_id)
    found = await bank_account.find_client(call.conn, call.customer_id, client_id=wanted, username=params.username)
    if found is None:
        raise NotFound("there is no such client")
    return found


async def _get(call: Call, bank_account_id: int) -> BankAccount:
    found = await bank_account.find_bank_account(call.conn, call.customer_id, ConnectionId(bank_account_id))
    if found is None:
        raise NotFound(f"there is no bank account {bank_account_id}")
    return found


def _read(account: BankAccount) -> Meaning:
    is_received = account.last_refresh_at is not None
    state = ConnectionState(account.state)
    return describe(state, account.status_code, is_received=is_received, repeats=account.code_repeats)


def _show(account: BankAccount) -> BankAccountRow:
    return BankAccountRow(
        id=account.id,
        client_id=account.client_id,
        username=account.username,
        institution_id=account.institution_id,
        institution_name=account.institution,
        name=account.own_name or account.institution or "",
        memo=account.memo,
        state=ConnectionState(account.state),
        code=account.status_code,
        message=_read(account).words,
        last_update_at=account.last_refresh_at,
        next_update_at=account.next_update_at,
        is_updating=account.is_updating,
        sub_accounts=account.open_accounts,
        created_at=account.created_at,
        version=account.version,
    )


ASKS_THE_BANK: Final = (
    "For a person's click, not for a schedule: banks that are well are updated every night by themselves, and the aggregator "
    "forbids automated calls. Answers at once with a refresh to look up at `GET /refreshes/{refreshId}`; one that runs already "
    "is answered, not doubled. It goes on when nobody waits."
)

ROUTES: Final = (
    Route(
        method="GET",
        path="/bank-accounts",
        handle=list_bank_accounts,
        summary="List bank accounts",
        text="Of all clients, or of one by `clientId` or `username`.",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=BankAccountListParams,
        answer=BankAccountPage,
    ),
    Route(
        method="GET",
        path="/bank-accounts/{bankAccountId}",
        handle=get_bank_account,
        summary="Get a bank account",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=BankAccountParams,
        answer=BankAccountAnswer,
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/bank-accounts/{bankAccountId}/sub-accounts",
        handle=list_bank_account_sub_accounts,
        summary="List a bank account's sub-accounts",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=BankAccountPart,
        answer=SubAccountPage,
    ),
    Route(
        method="GET",
        path="/bank-accounts/{bankAccountId}/summary",
        handle=get_bank_account_summary,
        summary="How a bank account stands, and what to do",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=BankAccountParams,
        answer=BankAccountSummaryAnswer,
    ),
    Route(
        method="PATCH",
        path="/bank-accounts/{bankAccountId}",
        handle=update_bank_account,
        summary="Change a bank account's name or memo",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=BankAccountParams,
        body=BankAccountChange,
        answer=BankAccountAnswer,
        errors={"version_conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/bank-accounts/{bankAccountId}",
        handle=delete_bank_account,
        summary="Delete a bank account with its sub-accounts",
        text="It is out of every list at once, and deleted at the aggregator soon. What was booked stays; linking the bank again "
        "brings it back.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=BankAccountParams,
    ),
    Route(
        method="POST",
        path="/bank-accounts/{bankAccountId}/refresh",
        handle=refresh_bank_account,
        summary="Refresh a bank account",
        text=ASKS_THE_BANK
        + " Once a bank was asked, it is asked again five minutes after that ended at the earliest, a minute where it failed: until then the refresh "
        "that ended is the answer, for people and keys alike.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=BankAccountParams,
        answer=RefreshAnswer,
        status=202,
        errors=LOCKED,
    ),
    Route(
        method="POST",
        path="/bank-accounts/{bankAccountId}/refresh-historic",
        handle=refresh_bank_account_history,
        summary="Load up to 24 months of a bank account",
        text=ASKS_THE_BANK
        + " Once the history of all its sub-accounts was loaded, the earlier refresh is answered: its state is "
        "done.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=BankAccountParams,
        answer=RefreshAnswer,
        status=202,
        errors=LOCKED,
    ),
)
