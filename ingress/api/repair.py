"""Guided repair over the API: the whole script for a bank account as it stands now, for the firm's staff and its own pages.

What is asked, and in which order, is bankfeed/repair.py's; nothing here decides it.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed import cases
from bankfeed.db.case import find_open_case
from bankfeed.health import Actor, ConnectionState
from bankfeed.model import ConnectionId
from bankfeed.repair import Answer, Bank, Step, StepName, write_script
from ingress.api.call import Call
from ingress.api.route import Body, Route, Scope, Wire

FIX_PATH: Final = "/api/v1/widgets/fix"


class RepairChoice(Wire):
    """An answer to choose."""

    answer: Answer
    label: str
    leads_to: Annotated[StepName, Meta(description="The step that follows it.")]
    advice: Annotated[str, Meta(description='What to tell whoever answers so; "" is nothing.')]


class RepairStep(Wire):
    """One step of a repair."""

    name: StepName
    ask: Annotated[str, Meta(description="What the person reads.")]
    say: Annotated[str, Meta(description="What the firm's staff says to the client on the telephone.")]
    is_end: Annotated[bool, Meta(description="Whether the repair ends here; a choice leads on all the same.")]
    choices: list[RepairChoice]


class RepairBank(Wire):
    """How the institution is reached; "" is unknown."""

    name: str
    phone: str
    email: str
    url: str


class RepairFix(Wire):
    """The request that opens the repair widget."""

    method: str
    path: str
    bank_account_id: int


def make_fix(connection_id: ConnectionId) -> RepairFix:
    """Say how the repair widget of a bank account is opened; its address is made only then, because it opens once."""
    return RepairFix(method="POST", path=FIX_PATH, bank_account_id=connection_id)


class Repair(Wire):
    """What is wrong with a bank account, who acts, and the way through it; the first step is where it begins."""

    bank_account_id: int
    state: ConnectionState
    code: int | None
    message: Annotated[str, Meta(description="Why it stands so, for people.")]
    what_to_do: Annotated[str, Meta(description="What a person can do.")]
    who_acts: Actor
    is_fixable: Annotated[bool, Meta(description="Whether the repair widget is the documented remedy.")]
    since: datetime
    bank: RepairBank
    steps: list[RepairStep]
    fix: RepairFix
    open_case_id: Annotated[int | None, Meta(description="The support case that is open about it.")]


class RepairAnswer(Wire):
    """One repair."""

    repair: Repair


class RepairParams(Body):
    """Which bank account."""

    bank_account_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The bank account's id.")]


async def get_bank_account_repair(call: Call, params: RepairParams) -> RepairAnswer:
    """Answer the script for a bank account as it stands now."""
    subject = await cases.get_subject(call.conn, call.customer_id, ConnectionId(params.bank_account_id))
    meaning, bank = cases.read_meaning(subject), cases.read_bank(subject)
    return RepairAnswer(
        repair=Repair(
            bank_account_id=subject.connection_id,
            state=ConnectionState(subject.state),
            code=subject.status_code,
            message=meaning.words,
            what_to_do=meaning.todo,
            who_acts=meaning.actor,
            is_fixable=meaning.is_fixable,
            since=subject.status_since,
            bank=_show_bank(bank),
            steps=[_show_step(step) for step in write_script(meaning, bank, since=subject.status_since)],
            fix=make_fix(subject.connection_id),
            open_case_id=await find_open_case(call.conn, call.customer_id, subject.connection_id),
        )
    )


def _show_bank(bank: Bank) -> RepairBank:
    return RepairBank(name=bank.name, phone=bank.phone, email=bank.email, url=bank.url)


def _show_step(step: Step) -> RepairStep:
    return RepairStep(
        name=step.name,
        ask=step.ask,
        say=step.say,
        is_end=step.name.is_end,
        choices=[
            RepairChoice(answer=each.answer, label=each.label, leads_to=each.leads_to, advice=each.advice)
            for each in step.choices
        ],
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/bank-accounts/{bankAccountId}/repair",
        handle=get_bank_account_repair,
        summary="How to repair a bank account, step by step",
        text="The questions of the support script for its present state: what the person reads, what to say on the telephone, and "
        "where each answer leads. `fix` is the request that opens the widget where the person types what the bank asks for; "
        "a repair that ends at `case` goes on with `POST /cases`.",
        tag="Bank accounts",
        scope=Scope.ACCOUNTS_READ,
        params=RepairParams,
        answer=RepairAnswer,
    ),
)
