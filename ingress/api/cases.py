"""Support cases: what guided repair could not mend, who does what about it, and the sentence to say to the client."""

from typing import Annotated, Final

from msgspec import Meta, field

from bankfeed import cases
from bankfeed.cases import MAX_ACTION_CHARS, MAX_NOTE_CHARS, MAX_TELEPHONE_CHARS, MAX_TIME_CHARS, CaseRequest
from bankfeed.db import bank_account, case, client
from bankfeed.db.case import ActionId, CaseId, CaseOwner, CaseState
from bankfeed.db.notification import get_wishes
from bankfeed.db.user import find_person
from bankfeed.errors import NotFound
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, ConnectionId
from bankfeed.repair import MAX_TRIED, Tried
from ingress.api.call import Call
from ingress.api.case_rows import CaseAnswer, CaseRow, TriedStep, show_case, show_row
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire

TAG: Final = "Support cases"
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Note = Annotated[str, Meta(max_length=MAX_NOTE_CHARS, description="For people; never a password or a code.")]


class CasePage(Wire):
    """Some cases, the newest first."""

    cases: list[CaseRow]
    next_cursor: str | None


class CaseListParams(Body):
    """Which cases, and which page."""

    state: Annotated[CaseState, Meta(description="In this state.")] | None = None
    client_id: Annotated[Id, Meta(description="Of this client.")] | None = None
    bank_account_id: Annotated[Id, Meta(description="About this bank account.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class CaseParams(Body):
    """Which case."""

    case_id: Annotated[Id, Meta(description="The case's id.")]


class CaseActionParams(Body):
    """Which action of which case."""

    case_id: Annotated[Id, Meta(description="The case's id.")]
    action_id: Annotated[Id, Meta(description="The action's id.")]


class NewCaseBody(Body):
    """What support needs to know besides the facts, which are attached."""

    bank_account_id: Annotated[Id, Meta(description="What it is about.")]
    telephone: Annotated[
        str,
        Meta(min_length=3, max_length=MAX_TELEPHONE_CHARS, description="Where the person is reached; digits in it."),
    ]
    convenient_time: Annotated[str, Meta(max_length=MAX_TIME_CHARS, description="When a call suits.")] = ""
    note: Note = ""
    tried: Annotated[list[TriedStep], Meta(max_length=MAX_TRIED, description="The repair, in order.")] = field(
        default_factory=list
    )


class NewCaseAction(Body):
    """Something to be done."""

    owner: Annotated[CaseOwner, Meta(description="Whose turn it is.")]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_ACTION_CHARS, description="What is to be done.")]


class CaseActionChange(Body):
    """What is to change of an action."""

    done: Annotated[bool, Meta(description="Whether it is done.")]


class CaseClosing(Body):
    """How a case ended."""

    note: Note = ""


async def list_cases(call: Call, params: CaseListParams) -> CasePage:
    """List support cases, the newest first."""
    await _require(call, params)
    found = await case.list_cases(
        call.conn,
        call.customer_id,
        state=params.state,
        client_id=None if params.client_id is None else ClientId(params.client_id),
        connection_id=None if params.bank_account_id is None else ConnectionId(params.bank_account_id),
        before_id=None if params.cursor is None else read_cursor(params.cursor, int),
        limit=params.limit + 1,
    )
    page = found[: params.limit]
    return CasePage(
        cases=[show_row(each) for each in page],
        next_cursor=write_cursor(page[-1].id) if len(found) > params.limit else None,
    )


async def get_case(call: Call, params: CaseParams) -> CaseAnswer:
    """Answer one case with its facts and actions."""
    return await _answer(call, CaseId(params.case_id))


async def open_case(call: Call, _: NoParams, body: NewCaseBody) -> CaseAnswer:
    """Open a case, or answer the one that is open."""
    wanted = CaseRequest(
        connection_id=ConnectionId(body.bank_account_id),
        tried=tuple(Tried(each.step, each.answer) for each in body.tried),
        telephone=body.telephone,
        convenient_time=body.convenient_time,
        note=body.note,
        opened_by=call.actor,
        notify_email=await _find_email(call),
    )
    case_id = await cases.open_case(call.conn, call.settings, call.customer_id, wanted)
    return await _answer_changed(call, case_id)


async def add_case_action(call: Call, params: CaseParams, body: NewCaseAction) -> CaseAnswer:
    """Add something to be done."""
    case_id = CaseId(params.case_id)
    await cases.add_action(
        call.conn, call.settings, call.customer_id, case_id, owner=body.owner, text=body.text, by=call.actor
    )
    return await _answer_changed(call, case_id)


async def update_case_action(call: Call, params: CaseActionParams, body: CaseActionChange) -> CaseAnswer:
    """Note that something was done, or is to be done after all."""
    case_id, action_id = CaseId(params.case_id), ActionId(params.action_id)
    if body.done:
        await cases.finish_action(call.conn, call.settings, call.customer_id, case_id, action_id, by=call.actor)
    else:
        await cases.reopen_action(call.conn, call.settings, call.customer_id, case_id, action_id)
    return await _answer_changed(call, case_id)


async def close_case(call: Call, params: CaseParams, body: CaseClosing) -> CaseAnswer:
    """Close a case."""
    case_id = CaseId(params.case_id)
    await cases.close_case(call.conn, call.settings, call.customer_id, case_id, by=call.actor, note=body.note)
    return await _answer_changed(call, case_id)


# ------------------------------------------------------------------------------------------------ steps


async def _require(call: Call, params: CaseListParams) -> None:
    """See that what is filtered by is there. Raises NotFound."""
    if params.client_id is not None:
        await client.get_client(call.conn, call.customer_id, ClientId(params.client_id))
    wanted = params.bank_account_id
    if wanted is not None and not await bank_account.find_bank_account(
        call.conn, call.customer_id, ConnectionId(wanted)
    ):
        raise NotFound(f"there is no bank account {wanted}")


async def _find_email(call: Call) -> str:
    """Return where the caller hears of a case: a person at its own address, a machine at the firm's, "" for nowhere."""
    if call.caller.user_id is None:
        return (await get_wishes(call.conn, call.customer_id)).email
    person = await find_person(call.conn, call.customer_id, call.caller.user_id)
    return person.email if person else ""


async def _answer_changed(call: Call, case_id: CaseId) -> CaseAnswer:
    call.wake(Wake.DELIVER)
    call.wake(Wake.MAIL)
    return await _answer(call, case_id)


async def _answer(call: Call, case_id: CaseId) -> CaseAnswer:
    found = await case.get_case(call.conn, call.customer_id, case_id)
    return show_case(found, await case.list_actions(call.conn, call.customer_id, case_id))


REFUSED: Final = {"act_refused": 409}

ROUTES: Final = (
    Route(
        method="GET",
        path="/cases",
        handle=list_cases,
        summary="List support cases",
        text="The newest first: of all clients, of one, or about one bank account.",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=CaseListParams,
        answer=CasePage,
    ),
    Route(
        method="GET",
        path="/cases/{caseId}",
        handle=get_case,
        summary="Get a support case",
        text="With all facts of the moment when it was opened, what is to be done and by whom, and the sentence to say to the client.",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=CaseParams,
        answer=CaseAnswer,
    ),
    Route(
        method="POST",
        path="/cases",
        handle=open_case,
        summary="Open a support case",
        text="For a bank account that `GET /bank-accounts/{bankAccountId}/repair` could not mend. The facts are attached. Where one is "
        "open about it already, that one is answered, with the new telephone number, time and note in it. Whoever opens it "
        "hears of every change: by the event `caseChanged` and, where e-mail is on, at their address.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        body=NewCaseBody,
        answer=CaseAnswer,
        errors=REFUSED,
    ),
    Route(
        method="POST",
        path="/cases/{caseId}/actions",
        handle=add_case_action,
        summary="Add something to be done about a case",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=CaseParams,
        body=NewCaseAction,
        answer=CaseAnswer,
        errors=REFUSED,
    ),
    Route(
        method="PATCH",
        path="/cases/{caseId}/actions/{actionId}",
        handle=update_case_action,
        summary="Say that something about a case was done",
        text="Or, with `done` false, that it is to be done after all. Safe to repeat.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=CaseActionParams,
        body=CaseActionChange,
        answer=CaseAnswer,
        errors=REFUSED,
    ),
    Route(
        method="POST",
        path="/cases/{caseId}/close",
        handle=close_case,
        summary="Close a support case",
        text="What was not done stays so. A bank account that fails again gets a case of its own.",
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        params=CaseParams,
        body=CaseClosing,
        answer=CaseAnswer,
        errors=REFUSED,
    ),
)
