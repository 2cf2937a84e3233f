"""Clients of the caller's customer: whose banks are linked."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final

import msgspec

from bankfeed import removal
from bankfeed.db import client
from bankfeed.db.client import Client, ClientCounts, UsernameTaken
from bankfeed.jobs import Wake
from bankfeed.model import ClientId
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.preferences import Preferences, write_preferences
from ingress.api.route import (
    MAX_PAGE,
    USUAL_PAGE,
    Body,
    NoParams,
    Problem,
    Route,
    Scope,
    Wire,
    conflict,
    version_conflict,
)

NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]*$"

Id = Annotated[ClientId, msgspec.Meta(ge=1, le=2**63 - 1, description="Our id of the client.")]
Username = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\s\x00-\x1f\x7f]+$",
        description="What you call the client; no two of yours have the same. Without blanks.",
    ),
]
Name = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")
]
Email = Annotated[
    str,
    msgspec.Meta(max_length=320, pattern=r"^([^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+)?$", description='"" for none.'),
]
Phone = Annotated[str, msgspec.Meta(max_length=50, pattern=NO_CONTROLS, description='As you write it; "" for none.')]


class ClientWire(Wire):
    """A client with what it has linked. Closed bank accounts are not counted."""

    id: int
    username: str
    name: str
    email: str
    phone: str
    preferences: Preferences
    is_locked: bool
    locked_at: datetime | None
    created_at: datetime
    version: int
    bank_accounts: Annotated[int, msgspec.Meta(description="Logins at institutions.")]
    sub_accounts: Annotated[int, msgspec.Meta(description="Accounts under these logins.")]
    bank_accounts_with_errors: Annotated[int, msgspec.Meta(description="Logins that do not work now.")]


class ClientAnswer(Wire):
    """One client."""

    client: ClientWire


class ClientsAnswer(Wire):
    """A page of clients, by id."""

    clients: list[ClientWire]
    next_cursor: str | None


class DeletedClientWire(Wire):
    """A client that was deleted."""

    id: int
    deleted_at: datetime
    erase_at: Annotated[datetime, msgspec.Meta(description="Until then it can be restored; then all of it is erased.")]


class DeletedClientAnswer(Wire):
    """What becomes of a deleted client."""

    client: DeletedClientWire


class NewClient(Body):
    """A client to add."""

    username: Username
    name: Name
    email: Email = ""
    phone: Phone = ""
    preferences: Preferences = msgspec.field(default_factory=dict)


class ClientChange(Body):
    """What to change; what is left out stays. `preferences` are replaced as a whole."""

    username: Username | msgspec.UnsetType = msgspec.UNSET
    name: Name | msgspec.UnsetType = msgspec.UNSET
    email: Email | msgspec.UnsetType = msgspec.UNSET
    phone: Phone | msgspec.UnsetType = msgspec.UNSET
    preferences: Preferences | msgspec.UnsetType = msgspec.UNSET
    version: (
        Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1, description="The version that you read; null is any.")] | None
    ) = None


class OneClient(Body):
    """Which client."""

    client_id: Id


Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="Where the last page ended.")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE, description="The most that are wanted.")]


class ClientsWanted(Body):
    """Which clients."""

    search: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1, max_length=200, description="A part of the name, username or e-mail, in any case."
            ),
        ]
        | None
    ) = None
    username: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="Exactly this one.")] | None = None
    limit: Limit = USUAL_PAGE
    cursor: Cursor | None = None


async def add_client(call: Call, _: NoParams, body: NewClient) -> ClientAnswer:
    """Add a client."""
    try:
        client_id = await client.insert_client(
            call.conn,
            call.customer_id,
            username=body.username,
            name=body.name,
            email=body.email,
            phone=body.phone,
            preferences=write_preferences(body.preferences),
        )
    except UsernameTaken as error:
        raise _taken(error) from error
    call.target = f"clientId={client_id}"
    return ClientAnswer(client=_show(await client.get_client(call.conn, call.customer_id, client_id), ClientCounts()))


async def list_clients(call: Call, params: ClientsWanted) -> ClientsAnswer:
    """List clients with what they have linked, counted for the whole page at once."""
    found = await client.list_clients(
        call.conn,
        call.customer_id,
        text=params.search,
        username=params.username,
        after_id=read_cursor(params.cursor, int) if params.cursor else 0,
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    counts = await client.count_linked(call.conn, call.customer_id, [each.id for each in page])
    return ClientsAnswer(
        clients=[_show(each, counts[each.id]) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > len(page) else None,
    )


async def get_client(call: Call, params: OneClient) -> ClientAnswer:
    """Show one client."""
    return await _answer(call, await client.get_client(call.conn, call.customer_id, params.client_id))


async def update_client(call: Call, params: OneClient, body: ClientChange) -> ClientAnswer:
    """Change a client, unless somebody has changed it since it was read."""
    try:
        changed = await client.update_client(
            call.conn,
            call.customer_id,
            params.client_id,
            client.ClientChange(
                username=_given(body.username),
                name=_given(body.name),
                email=_given(body.email),
                phone=_given(body.phone),
                preferences=None if body.preferences is msgspec.UNSET else write_preferences(body.preferences),
            ),
            version=body.version,
        )
    except UsernameTaken as error:
        raise _taken(error) from error
    if changed is None:
        now = await client.get_client(call.conn, call.customer_id, params.client_id)
        raise version_conflict(now.version)
    return await _answer(call, changed)


async def lock_client(call: Call, params: OneClient) -> ClientAnswer:
    """Lock a client."""
    return await _answer(call, await client.mark_locked(call.conn, call.customer_id, params.client_id))


async def unlock_client(call: Call, params: OneClient) -> ClientAnswer:
    """Unlock a client."""
    unlocked = await client.mark_unlocked(call.conn, call.customer_id, params.client_id)
    call.wake(Wake.REFRESH)
    return await _answer(call, unlocked)


async def delete_client(call: Call, params: OneClient) -> DeletedClientAnswer:
    """Delete a client with everything linked, here now and at the aggregator soon."""
    deleted = await removal.delete_client(
        call.conn, call.customer_id, params.client_id, erase_days=call.settings.erase_days
    )
    call.wake(Wake.REMOVE)
    call.wake(Wake.DELIVER)
    return DeletedClientAnswer(client=DeletedClientWire(**asdict(deleted)))


async def restore_client(call: Call, params: OneClient) -> ClientAnswer:
    """Bring a deleted client back."""
    try:
        is_due = await removal.restore_client(call.conn, call.customer_id, params.client_id)
    except UsernameTaken as error:
        raise _taken(error) from error
    if is_due:
        call.wake(Wake.REFRESH)
    return await get_client(call, params)


async def _answer(call: Call, found: Client) -> ClientAnswer:
    counts = await client.count_linked(call.conn, call.customer_id, [found.id])
    return ClientAnswer(client=_show(found, counts[found.id]))


def _show(found: Client, counts: ClientCounts) -> ClientWire:
    return ClientWire(
        id=found.id,
        username=found.username,
        name=found.name,
        email=found.email,
        phone=found.phone,
        preferences=msgspec.json.decode(found.preferences),
        is_locked=found.locked_at is not None,
        locked_at=found.locked_at,
        created_at=found.created_at,
        version=found.version,
        bank_accounts=counts.bank_accounts,
        sub_accounts=counts.sub_accounts,
        bank_accounts_with_errors=counts.bank_accounts_with_errors,
    )


def _given(value: str | msgspec.UnsetType) -> str | None:
    return None if value is msgspec.UNSET else value


def _taken(error: UsernameTaken) -> Problem:
    return conflict(str(error), field="username")


TAG: Final = "Clients"
_TAKEN: Final = {"conflict": 409}

ROUTES: Final = (
    Route(
        method="POST",
        path="/clients",
        handle=add_client,
        summary="Add a client",
        text="A username that another client has is 409.",
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        body=NewClient,
        answer=ClientAnswer,
        status=201,
        errors=_TAKEN,
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/clients",
        handle=list_clients,
        summary="List clients",
        text="By id, with what each has linked. Deleted ones are not listed.",
        tag=TAG,
        scope=Scope.CLIENTS_READ,
        params=ClientsWanted,
        answer=ClientsAnswer,
    ),
    Route(
        method="GET",
        path="/clients/{clientId}",
        handle=get_client,
        summary="Show a client",
        tag=TAG,
        scope=Scope.CLIENTS_READ,
        params=OneClient,
        answer=ClientAnswer,
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/clients/{clientId}",
        handle=update_client,
        summary="Change a client",
        text="Only what is given changes. With If-Match, or `version`, it is 409 where somebody changed the client since.",
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        params=OneClient,
        body=ClientChange,
        answer=ClientAnswer,
        errors={**_TAKEN, "version_conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/clients/{clientId}/lock",
        handle=lock_client,
        summary="Lock a client",
        text=(
            "While a client is locked nothing is pulled for it: not by schedule, not at a click (that is 409), and not "
            "because the aggregator has news. All of it can be read, and worked on, as it is. What is asked for meanwhile "
            "is kept, and done once when the client is unlocked. An update that runs already is finished; a refresh at a "
            "click whose bank was not asked yet ends as failed."
        ),
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        params=OneClient,
        answer=ClientAnswer,
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/clients/{clientId}/unlock",
        handle=unlock_client,
        summary="Unlock a client",
        text="What was asked for while it was locked begins at once.",
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        params=OneClient,
        answer=ClientAnswer,
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/clients/{clientId}",
        handle=delete_client,
        summary="Delete a client",
        text=(
            "The client, its bank accounts and all that belongs to them are gone from every answer at once, and are deleted "
            "at the aggregator soon (GET /removals). Until `eraseAt` the client can be restored; then everything of it is "
            "erased for good: transactions, entries, events, and what the aggregator sent. The audit log stays."
        ),
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        params=OneClient,
        answer=DeletedClientAnswer,
        status=202,
    ),
    Route(
        method="POST",
        path="/clients/{clientId}/restore",
        handle=restore_client,
        summary="Restore a deleted client",
        text=(
            "Until its `eraseAt`. The client comes back with all its rows, and its bank accounts closed. What was deleted at "
            "the aggregator meanwhile, or is at that moment, does not come back: link the banks again, and they go on with the "
            "rows that are there. What was not is opened again by an update. "
            "A username that another client has taken since is 409."
        ),
        tag=TAG,
        scope=Scope.CLIENTS_WRITE,
        params=OneClient,
        answer=ClientAnswer,
        errors=_TAKEN,
        is_versioned=True,
    ),
)
