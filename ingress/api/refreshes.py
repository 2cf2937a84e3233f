"""Bank refreshes: asked for by a person, done by the worker, looked up here until they end.

Nothing here asks an aggregator. `begin_refresh` serves the files of bank accounts and sub-accounts, `ask_refresh` the console.
"""

import asyncio
from datetime import datetime
from enum import StrEnum
from time import monotonic
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db import Connection
from bankfeed.db.bank_account import BankAccount
from bankfeed.db.bank_refresh import (
    BankRefresh,
    find_bank_refresh,
    find_loaded_history,
    find_recent,
    insert_bank_refresh,
)
from bankfeed.errors import NotFound
from bankfeed.health import ConnectionState, describe, read_code
from bankfeed.jobs import Wake
from bankfeed.model import CustomerId
from ingress.api.call import Call
from ingress.api.repair import RepairFix, make_fix
from ingress.api.route import Body, Problem, Route, Scope, Wire, conflict

TAG: Final = "Refreshes"
MAX_WAIT_S: Final = 30
LOOK_S: Final = 0.25
DONE_GAP_S: Final = 300  # from the end of one to the next: the aggregator wants people to ask, and no programs
FAILED_GAP_S: Final = 60  # who has repaired the login is not to wait as long
LOCKED: Final = {"client_locked": 409, "conflict": 409}

WAITING: Final = "The bank will be asked in a moment."
ASKING: Final = "The bank is being asked; this may take some minutes."
FETCHING: Final = "The bank has answered; what is new is being fetched."
BE_PATIENT: Final = "Nothing: it ends by itself, also when nobody waits for it."
TRY_LATER: Final = "Try again later; the usual updates go on."


class RefreshKind(StrEnum):
    """What the bank is asked for: what is new, or up to 24 months of history."""

    CURRENT = "current"
    HISTORIC = "historic"


class RefreshState(StrEnum):
    """How far it is. Done and failed are the end."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class RefreshRow(Wire):
    """A bank refresh: what was asked for, and what came of it."""

    id: int
    bank_account_id: int
    kind: RefreshKind
    state: RefreshState
    code: Annotated[int | None, Meta(description="The aggregation status code; see GET /error-codes. None: none came.")]
    message: Annotated[str, Meta(description="What there is to say of it, in words for people.")]
    what_to_do: Annotated[str, Meta(description="What a person can do.")]
    requested_at: datetime
    asked_at: Annotated[datetime | None, Meta(description="When the aggregator was known to have been asked.")]
    finished_at: datetime | None
    fix: Annotated[
        RepairFix | None,
        Meta(description="The request that opens the repair widget, where a person has to act; null otherwise."),
    ]


class RefreshAnswer(Wire):
    """One bank refresh."""

    refresh: RefreshRow


class RefreshParams(Body):
    """Which refresh, and how long to wait for its end."""

    refresh_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The refresh's id.")]
    wait_s: Annotated[
        int, Meta(ge=0, le=MAX_WAIT_S, description="Answer when it has ended, or after so many seconds; 0 at once.")
    ] = 0


class _Room:
    """How many requests may wait at once: each keeps a connection to Postgres, idle between looks."""

    def __init__(self) -> None:
        self.taken = 0


_ROOM: Final = _Room()


async def get_refresh(call: Call, params: RefreshParams) -> RefreshAnswer:
    """Answer how a bank refresh stands, once it has ended or the time is over.

    Each look is a statement of its own, and so sees what was committed meanwhile. A third of the connections may wait;
    where these are taken the answer comes at once, as it is.
    """
    until = monotonic() + params.wait_s
    found = await _get(call, params.refresh_id)
    if _ROOM.taken >= call.settings.pool_connections // 3:
        return show_refresh(found)
    _ROOM.taken += 1
    try:
        while found.finished_at is None and monotonic() + LOOK_S <= until:
            await asyncio.sleep(LOOK_S)
            found = await _get(call, params.refresh_id)
    finally:
        _ROOM.taken -= 1
    return show_refresh(found)


async def begin_refresh(call: Call, account: BankAccount, kind: RefreshKind) -> RefreshAnswer:
    """Ask for a bank refresh, as `ask_refresh` does, and answer it."""
    found = await ask_refresh(call.conn, call.customer_id, account, kind, requested_by=call.actor)
    if found.finished_at is None:
        call.wake(Wake.BANK_REFRESH)
    return show_refresh(found)


async def ask_refresh(
    conn: Connection, customer_id: CustomerId, account: BankAccount, kind: RefreshKind, *, requested_by: str
) -> BankRefresh:
    """Ask for a bank refresh, unless one of that kind runs, has just ended, or loaded the history: that one is returned then.

    Whoever calls wakes Wake.BANK_REFRESH after the commit where it has not ended. Raises Problem 409 where the client is
    locked, or the login is closed.
    """
    if account.is_client_locked:
        raise Problem(409, "client_locked", f"the client {account.client_id} is locked; unlock it first")
    if account.state == ConnectionState.CLOSED:
        raise conflict("the bank account is no longer linked; link the bank again")
    earlier = None
    if kind is RefreshKind.HISTORIC:
        earlier = await find_loaded_history(conn, customer_id, account.id)
    if earlier is None:
        done_s = 0 if kind is RefreshKind.HISTORIC else DONE_GAP_S  # history is asked for again where an account is new
        earlier = await find_recent(
            conn, customer_id, account.id, kind=kind.value, done_s=done_s, failed_s=FAILED_GAP_S
        )
    if earlier is not None:
        return earlier
    return await insert_bank_refresh(conn, customer_id, account.id, kind=kind.value, requested_by=requested_by)


def show_refresh(refresh: BankRefresh) -> RefreshAnswer:
    """Return a bank refresh as it is answered."""
    message, todo = _say(refresh)
    return RefreshAnswer(
        refresh=RefreshRow(
            id=refresh.id,
            bank_account_id=refresh.connection_id,
            kind=RefreshKind(refresh.kind),
            state=RefreshState(refresh.state),
            code=refresh.status_code,
            message=message,
            what_to_do=todo,
            requested_at=refresh.requested_at,
            asked_at=refresh.asked_at,
            finished_at=refresh.finished_at,
            fix=_find_fix(refresh),
        )
    )


def _find_fix(refresh: BankRefresh) -> RepairFix | None:
    """Return what opens the repair, where the bank wants the person; answering it is no job of a refresh's."""
    is_failed = RefreshState(refresh.state) is RefreshState.FAILED and refresh.status_code is not None
    if not is_failed or not read_code(refresh.status_code).actor.is_person:
        return None
    return make_fix(refresh.connection_id)


def _say(refresh: BankRefresh) -> tuple[str, str]:
    match RefreshState(refresh.state):
        case RefreshState.WAITING:
            return WAITING, BE_PATIENT
        case RefreshState.RUNNING:
            return ASKING if refresh.refresh_no is None else FETCHING, BE_PATIENT
        case RefreshState.DONE:
            meaning = describe(ConnectionState.ACTIVE, refresh.status_code, is_received=True)
            return meaning.words, meaning.todo
        case RefreshState.FAILED:
            return refresh.message, TRY_LATER if refresh.status_code is None else read_code(refresh.status_code).todo


async def _get(call: Call, refresh_id: int) -> BankRefresh:
    found = await find_bank_refresh(call.conn, call.customer_id, refresh_id)
    if found is None:
        raise NotFound(f"there is no refresh {refresh_id}")
    return found


ROUTES: Final = (
    Route(
        method="GET",
        path="/refreshes/{refreshId}",
        handle=get_refresh,
        summary="How a refresh stands",
        text="With `waitS` it answers when the refresh has ended, or when that time is over, whatever comes first. Ask again "
        "until `state` is done or failed. What is done has been fetched too: its transactions are there.",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=RefreshParams,
        answer=RefreshAnswer,
    ),
)
