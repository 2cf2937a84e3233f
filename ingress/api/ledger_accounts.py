"""Ledger accounts: a client's chart of accounts, one by one or from CSV."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bankfeed.db import client, ledger_account
from bankfeed.db.ledger_account import LedgerAccount
from bankfeed.errors import BadRequest, NotFound
from bankfeed.ledger.chart import CODE_CHARS, MOST_ROWS, NAME_CHARS, ChartRow, LedgerKind, read_chart
from bankfeed.ledger.lines import LedgerAccountId
from bankfeed.model import ClientId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire, conflict, version_conflict

TAG: Final = "Ledger accounts"
MAX_ID: Final = 2**63 - 1
MAX_CSV_CHARS: Final = 1_000_000
NOT_BLANK: Final = r"^[^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$"

Code = Annotated[
    str, Meta(min_length=1, max_length=CODE_CHARS, pattern=NOT_BLANK, description="Unique for the client.")
]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS, pattern=NOT_BLANK, description="What it is called.")]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")]


class LedgerAccountRow(Wire):
    """A ledger account."""

    id: int
    client_id: int
    code: str
    name: str
    kind: LedgerKind
    archived_at: Annotated[datetime | None, Meta(description="An archived one is booked to no more.")]
    created_at: datetime
    version: int


class LedgerAccountAnswer(Wire):
    """One ledger account."""

    ledger_account: LedgerAccountRow


class LedgerAccountPage(Wire):
    """Some ledger accounts, by code."""

    ledger_accounts: list[LedgerAccountRow]
    next_cursor: str | None


class ChartImported(Wire):
    """What an import came to, in ledger accounts."""

    added: int
    updated: Annotated[int, Meta(description="Those whose name or kind is another one now.")]
    unchanged: int


class ChartImportedAnswer(Wire):
    """An import that was done, all of it."""

    imported: ChartImported


class LedgerAccountParams(Body):
    """Which ledger account."""

    ledger_account_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The ledger account's id.")]


class LedgerAccountListParams(Body):
    """Whose ledger accounts, and which page."""

    client_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The client's id.")]
    is_archived: Annotated[bool, Meta(description="Only those archived, or not; both where not given.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=400, description="nextCursor of the page before.")] | None = None


class NewLedgerAccount(Body):
    """A ledger account to add."""

    client_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The client whose it is.")]
    code: Code
    name: Name
    kind: Annotated[LedgerKind, Meta(description="What it is of.")] = LedgerKind.EXPENSE


class LedgerAccountChange(Body):
    """What is to change; what is not given stays."""

    code: Code | msgspec.UnsetType = msgspec.UNSET
    name: Name | msgspec.UnsetType = msgspec.UNSET
    kind: LedgerKind | msgspec.UnsetType = msgspec.UNSET
    version: Version | None = None


class NewChart(Body):
    """A chart of accounts as CSV."""

    client_id: Annotated[int, Meta(ge=1, le=MAX_ID, description="The client whose it is.")]
    csv: Annotated[
        str,
        Meta(
            max_length=MAX_CSV_CHARS,
            description=f"The first line names the columns code, name and kind; at most {MOST_ROWS:,} ledger accounts.",
        ),
    ]


async def add_ledger_account(call: Call, _: NoParams, body: NewLedgerAccount) -> LedgerAccountAnswer:
    """Add a ledger account."""
    owner = await client.get_client(call.conn, call.customer_id, ClientId(body.client_id))
    row = ChartRow(code=body.code.strip(), name=body.name.strip(), kind=body.kind)
    added = await ledger_account.insert_ledger_account(call.conn, call.customer_id, owner.id, row)
    if added is None:
        raise conflict(f"expected a code that the client has not, got {row.code!r}", field="code")
    return LedgerAccountAnswer(ledger_account=_show(added))


async def list_ledger_accounts(call: Call, params: LedgerAccountListParams) -> LedgerAccountPage:
    """List a client's ledger accounts by code."""
    owner = await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    found = await ledger_account.list_ledger_accounts(
        call.conn,
        call.customer_id,
        owner.id,
        is_archived=params.is_archived,
        after=None if params.cursor is None else read_cursor(params.cursor, tuple[str, int]),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return LedgerAccountPage(
        ledger_accounts=[_show(each) for each in page],
        next_cursor=write_cursor((page[-1].code, page[-1].id)) if len(found) > params.limit else None,
    )


async def get_ledger_account(call: Call, params: LedgerAccountParams) -> LedgerAccountAnswer:
    """Answer one ledger account."""
    return LedgerAccountAnswer(ledger_account=_show(await _get(call, params)))


async def update_ledger_account(
    call: Call, params: LedgerAccountParams, body: LedgerAccountChange
) -> LedgerAccountAnswer:
    """Change what is given."""
    found = await _get(call, params)
    if (body.code, body.name, body.kind) == (msgspec.UNSET, msgspec.UNSET, msgspec.UNSET):
        raise BadRequest("expected code, name or kind to change, got none of them", field="name")
    changed = await ledger_account.update_ledger_account(
        call.conn,
        call.customer_id,
        found.id,
        version=body.version,
        code=None if body.code is msgspec.UNSET else body.code.strip(),
        name=None if body.name is msgspec.UNSET else body.name.strip(),
        kind=None if body.kind is msgspec.UNSET else body.kind,
    )
    return await _answer(call, params, changed)


async def archive_ledger_account(call: Call, params: LedgerAccountParams) -> LedgerAccountAnswer:
    """Archive a ledger account."""
    found = await _get(call, params)
    account_id = await ledger_account.find_account_booking_to(call.conn, call.customer_id, found.client_id, found.id)
    if account_id is not None:
        raise conflict(f"expected no sub-account to book to it, got {account_id}: set its ledgerAccountId first")
    changed = await ledger_account.mark_archived(call.conn, call.customer_id, found.id)
    return await _answer(call, params, changed)


async def unarchive_ledger_account(call: Call, params: LedgerAccountParams) -> LedgerAccountAnswer:
    """Bring an archived ledger account back."""
    found = await _get(call, params)
    return await _answer(call, params, await ledger_account.clear_archived(call.conn, call.customer_id, found.id))


async def import_ledger_accounts(call: Call, _: NoParams, body: NewChart) -> ChartImportedAnswer:
    """Import a chart of accounts."""
    owner = await client.get_client(call.conn, call.customer_id, ClientId(body.client_id))
    rows = read_chart(body.csv)
    done = await ledger_account.upsert_chart(call.conn, call.customer_id, owner.id, rows)
    unchanged = len(rows) - done.added - done.updated
    return ChartImportedAnswer(imported=ChartImported(added=done.added, updated=done.updated, unchanged=unchanged))


async def _get(call: Call, params: LedgerAccountParams) -> LedgerAccount:
    wanted = LedgerAccountId(params.ledger_account_id)
    found = await ledger_account.find_ledger_account(call.conn, call.customer_id, wanted)
    if found is None:
        raise NotFound(f"there is no ledger account {wanted}")
    return found


async def _answer(call: Call, params: LedgerAccountParams, changed: LedgerAccount | None) -> LedgerAccountAnswer:
    if changed is None:
        raise version_conflict((await _get(call, params)).version)
    return LedgerAccountAnswer(ledger_account=_show(changed))


def _show(found: LedgerAccount) -> LedgerAccountRow:
    return LedgerAccountRow(
        id=found.id,
        client_id=found.client_id,
        code=found.code,
        name=found.name,
        kind=found.kind,
        archived_at=found.archived_at,
        created_at=found.created_at,
        version=found.version,
    )


ROUTES: Final = (
    Route(
        method="POST",
        path="/ledger-accounts",
        handle=add_ledger_account,
        summary="Add a ledger account",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        body=NewLedgerAccount,
        answer=LedgerAccountAnswer,
        status=201,
        errors={"conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/ledger-accounts",
        handle=list_ledger_accounts,
        summary="List a client's ledger accounts",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=LedgerAccountListParams,
        answer=LedgerAccountPage,
    ),
    Route(
        method="POST",
        path="/ledger-accounts/import",
        handle=import_ledger_accounts,
        summary="Import a chart of accounts from CSV",
        text="All of it or nothing. A code that is there is brought up to date, so the same file again changes nothing; one "
        "that is archived stays so. What does not fit is named with its line and column.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        body=NewChart,
        answer=ChartImportedAnswer,
    ),
    Route(
        method="GET",
        path="/ledger-accounts/{ledgerAccountId}",
        handle=get_ledger_account,
        summary="Get a ledger account",
        tag=TAG,
        scope=Scope.LEDGER_READ,
        params=LedgerAccountParams,
        answer=LedgerAccountAnswer,
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/ledger-accounts/{ledgerAccountId}",
        handle=update_ledger_account,
        summary="Change a ledger account's code, name or kind",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=LedgerAccountParams,
        body=LedgerAccountChange,
        answer=LedgerAccountAnswer,
        errors={"version_conflict": 409, "act_refused": 409},
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/ledger-accounts/{ledgerAccountId}/archive",
        handle=archive_ledger_account,
        summary="Archive a ledger account",
        text="It is booked to no more; what was booked stays. Safe to repeat.",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=LedgerAccountParams,
        answer=LedgerAccountAnswer,
        errors={"conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/ledger-accounts/{ledgerAccountId}/unarchive",
        handle=unarchive_ledger_account,
        summary="Bring an archived ledger account back",
        tag=TAG,
        scope=Scope.LEDGER_WRITE,
        params=LedgerAccountParams,
        answer=LedgerAccountAnswer,
        is_versioned=True,
    ),
)
