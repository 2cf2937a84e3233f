"""Support cases as the API answers them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from bankfeed.case_words import say_case
from bankfeed.db.case import CaseAction, CaseOwner, CaseState, SupportCase
from bankfeed.health import ConnectionState
from bankfeed.history import HistoryKind
from bankfeed.repair import Answer, StepName
from ingress.api.refreshes import RefreshKind, RefreshState
from ingress.api.route import Body, Wire


class TriedStep(Body):
    """A step of the repair, and its answer."""

    step: StepName
    answer: Answer


class CaseLine(Wire):
    """A line of the bank account's history."""

    at: datetime
    kind: HistoryKind
    code: int | None


class CaseRefresh(Wire):
    """A bank refresh before the case."""

    kind: RefreshKind
    state: RefreshState
    code: int | None
    requested_at: datetime
    finished_at: datetime | None


class CaseFacts(Wire):
    """How all stood when the case was opened."""

    institution_name: str
    institution_status: str
    institution_phone: str
    institution_email: str
    institution_url: str
    state: ConnectionState
    code: int | None
    message: Annotated[str, Meta(description="Why it stood so, for people.")]
    what_to_do: str
    since: datetime
    last_good_update_at: Annotated[datetime | None, Meta(description="When transactions came in last.")]
    history: Annotated[list[CaseLine], Meta(description="The newest first.")]
    refreshes: Annotated[list[CaseRefresh], Meta(description="The newest first.")]


class CaseActionRow(Wire):
    """Something to be done."""

    id: int
    owner: Annotated[CaseOwner, Meta(description="Whose turn it is.")]
    text: str
    created_by: str
    created_at: datetime
    done_by: str | None
    done_at: datetime | None


class CaseRow(Wire):
    """A support case in a list."""

    id: int
    bank_account_id: int
    client_id: int
    institution_name: str
    state: CaseState
    code: Annotated[int | None, Meta(description="The aggregation status code when it was opened.")]
    reason: Annotated[str, Meta(description="Why the bank account did not work, for people.")]
    telephone: str
    convenient_time: str
    opened_by: str
    opened_at: datetime
    closed_at: datetime | None
    open_actions: Annotated[int, Meta(description="How much is still to be done.")]
    version: int


class CaseDetail(CaseRow):
    """A support case with all that is known."""

    say: Annotated[str, Meta(description="What the firm's staff says to the client, as the case stands now.")]
    note: str
    tried: list[TriedStep]
    facts: CaseFacts
    actions: Annotated[list[CaseActionRow], Meta(description="The oldest first.")]
    closed_by: str | None
    closing_note: str


class CaseAnswer(Wire):
    """One case."""

    case: CaseDetail


def show_row(found: SupportCase) -> CaseRow:
    """Return a case as lists show it."""
    return CaseRow(**_list_columns(found))


def show_case(found: SupportCase, actions: Sequence[CaseAction]) -> CaseAnswer:
    """Return a case as it is answered alone."""
    return CaseAnswer(
        case=CaseDetail(
            **_list_columns(found),
            say=_say(found, actions),
            note=found.note,
            tried=[TriedStep(step=each.step, answer=each.answer) for each in found.tried],
            facts=_show_facts(found),
            actions=[_show_action(each) for each in actions],
            closed_by=found.closed_by or None,
            closing_note=found.closing_note,
        )
    )


def _say(found: SupportCase, actions: Sequence[CaseAction]) -> str:
    return say_case(
        bank=found.facts.institution,
        is_closed=found.state is CaseState.CLOSED,
        is_well=found.connection_state == ConnectionState.ACTIVE,
        telephone=found.telephone,
        convenient_time=found.convenient_time,
        for_client=[each.text for each in actions if each.owner is CaseOwner.CLIENT and each.done_at is None],
    )


def _list_columns(found: SupportCase) -> dict[str, Any]:
    return {
        "id": found.id,
        "bank_account_id": found.connection_id,
        "client_id": found.client_id,
        "institution_name": found.facts.institution,
        "state": found.state,
        "code": found.status_code,
        "reason": found.reason,
        "telephone": found.telephone,
        "convenient_time": found.convenient_time,
        "opened_by": found.opened_by,
        "opened_at": found.opened_at,
        "closed_at": found.closed_at,
        "open_actions": found.open_actions,
        "version": found.version,
    }


def _show_action(action: CaseAction) -> CaseActionRow:
    return CaseActionRow(
        id=action.id,
        owner=action.owner,
        text=action.text,
        created_by=action.created_by,
        created_at=action.created_at,
        done_by=action.done_by or None,
        done_at=action.done_at,
    )


def _show_facts(found: SupportCase) -> CaseFacts:
    facts = found.facts
    return CaseFacts(
        institution_name=facts.institution,
        institution_status=facts.institution_status,
        institution_phone=facts.institution_phone,
        institution_email=facts.institution_email,
        institution_url=facts.institution_url,
        state=ConnectionState(facts.state),
        code=facts.code,
        message=facts.message,
        what_to_do=facts.todo,
        since=facts.since,
        last_good_update_at=facts.last_good_at,
        history=[CaseLine(at=each.at, kind=each.kind, code=each.code) for each in facts.history],
        refreshes=[
            CaseRefresh(
                kind=RefreshKind(each.kind),
                state=RefreshState(each.state),
                code=each.code,
                requested_at=each.requested_at,
                finished_at=each.finished_at,
            )
            for each in facts.refreshes
        ],
    )
