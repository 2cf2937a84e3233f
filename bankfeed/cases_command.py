"""`bankfeed cases`: support's own view of support cases, of all customers; asking for something, saying what is done, closing.

What is done here is done by "support", and has a line in the customer's audit log.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click
import msgspec

from bankfeed import cases
from bankfeed.db import Connection, Database
from bankfeed.db.case import (
    ActionId,
    CaseAction,
    CaseId,
    CaseOwner,
    CaseState,
    SupportCase,
    get_case,
    list_actions,
    list_cases,
)
from bankfeed.desk import as_table, find_owner, list_customers, note, printable, run_with_database
from bankfeed.errors import NotFound
from bankfeed.model import CustomerId
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings
from bankfeed.status import age

SUPPORT: Final = "support"
HEADS: Final = ("ID", "CUSTOMER", "CLIENT", "BANK ACCOUNT", "STATE", "TO DO", "AGE", "BANK", "REASON")
ACTION_HEADS: Final = ("ACTION", "OWNER", "DONE", "WHAT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A case, and whose it is."""

    customer_id: CustomerId
    case: SupportCase


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """A case with its actions, the oldest first."""

    customer_id: CustomerId
    case: SupportCase
    actions: Sequence[CaseAction]


def run_list(*, customer_id: int | None, state: str | None, limit: int, as_json: bool) -> None:
    """Print cases, the newest first. Raises NotFound, SettingsError and Unavailable."""
    wanted = None if state is None else CaseState(state)
    lines = run_with_database(partial(list_lines, customer_id=customer_id, state=wanted, limit=limit))
    if as_json:
        click.echo(msgspec.json.encode({"cases": lines}).decode())
    else:
        click.echo(as_text(lines, now=datetime.now(UTC)))


def run_show(case_id: int, *, customer_id: int | None, as_json: bool) -> None:
    """Print a case with its facts and actions. Raises NotFound, SettingsError and Unavailable."""
    whole = run_with_database(partial(read_whole, case_id=CaseId(case_id), customer_id=customer_id))
    click.echo(msgspec.json.encode(whole).decode() if as_json else tell(whole))


def run_ask(case_id: int, text: str, *, owner: str, customer_id: int | None) -> None:
    """Add something to be done, and print its id. Raises NotFound, BadRequest, ActRefused and so on."""

    async def ask(conn: Connection, settings: Settings, theirs: CustomerId) -> str:
        action_id = await cases.add_action(
            conn, settings, theirs, CaseId(case_id), owner=CaseOwner(owner), text=text, by=SUPPORT
        )
        await note(conn, theirs, "case.asked", f"caseId={case_id} actionId={action_id}")
        return f"case {case_id} has action {action_id} for {owner}"

    _run(case_id, customer_id, ask)


def run_done(case_id: int, action_id: int, *, customer_id: int | None) -> None:
    """Say that something was done. Raises NotFound, ActRefused and so on."""

    async def finish(conn: Connection, settings: Settings, theirs: CustomerId) -> str:
        await cases.finish_action(conn, settings, theirs, CaseId(case_id), ActionId(action_id), by=SUPPORT)
        await note(conn, theirs, "case.actionDone", f"caseId={case_id} actionId={action_id}")
        return f"action {action_id} of case {case_id} is done"

    _run(case_id, customer_id, finish)


def run_close(case_id: int, *, text: str, customer_id: int | None) -> None:
    """Close a case. Raises NotFound, BadRequest, ActRefused and so on."""

    async def close(conn: Connection, settings: Settings, theirs: CustomerId) -> str:
        await cases.close_case(conn, settings, theirs, CaseId(case_id), by=SUPPORT, note=text)
        await note(conn, theirs, "case.closed", f"caseId={case_id}")
        return f"case {case_id} is closed"

    _run(case_id, customer_id, close)


async def list_lines(database: Database, *, customer_id: int | None, state: CaseState | None, limit: int) -> list[Line]:
    """List cases of a customer, or of all, the newest first. Raises NotFound."""
    lines: list[Line] = []
    for each in await list_customers(database, None if customer_id is None else CustomerId(customer_id)):
        async with database.tenant(each) as conn:
            found = await list_cases(conn, each, state=state, limit=limit)
        lines += [Line(customer_id=each, case=one) for one in found]
        lines = sorted(lines, key=lambda line: line.case.id, reverse=True)[:limit]
    return lines


async def read_whole(database: Database, *, case_id: CaseId, customer_id: int | None) -> CaseFile:
    """Read a case with its actions. Raises NotFound."""
    owner = await _find_owner(database, case_id, customer_id)
    async with database.tenant(owner) as conn:
        found = await get_case(conn, owner, case_id)
        return CaseFile(customer_id=owner, case=found, actions=await list_actions(conn, owner, case_id))


def as_text(lines: Sequence[Line], *, now: datetime) -> str:
    """Write cases for a person, a line each."""
    return as_table(HEADS, [_words(line, now) for line in lines]) if lines else "there are no such cases"


def tell(whole: CaseFile) -> str:
    """Write a case for a person: how to reach the client, why it fails, what was tried, what is to be done."""
    found, facts = whole.case, whole.case.facts
    tried = ", ".join(f"{each.step} {each.answer}" for each in found.tried)
    bank = ", ".join(filter(None, (facts.institution, facts.institution_status, facts.institution_phone)))
    closed = f"closed by {found.closed_by}" if found.state is CaseState.CLOSED else "open"
    lines = [
        f"case {found.id} of customer {whole.customer_id}, client {found.client_id}, bank account {found.connection_id}: {closed}",
        f"bank: {printable(bank)}",
        f"reason: {found.reason} (code {'-' if found.status_code is None else found.status_code})",
        f"since: {_write_time(facts.since)}, last good update: {_write_time(facts.last_good_at)}",
        f"call: {printable(found.telephone)}, {printable(found.convenient_time) or 'at any time'}",
        f"tried: {tried or 'nothing'}",
        *([f"note: {printable(found.note, most=2_000)}"] if found.note else []),
    ]
    rows = [
        (str(each.id), each.owner.value, each.done_by or "-", printable(each.text, most=500)) for each in whole.actions
    ]
    return "\n".join([*lines, as_table(ACTION_HEADS, rows)])


# ------------------------------------------------------------------------------------------------ steps


def _run(
    case_id: int, customer_id: int | None, work: Callable[[Connection, Settings, CustomerId], Awaitable[str]]
) -> None:
    """Do something to a case in one transaction of its customer, and print what it says."""
    settings = Settings.for_command(get_environ())

    async def do(database: Database) -> str:
        owner = await _find_owner(database, CaseId(case_id), customer_id)
        async with database.tenant(owner) as conn:
            return await work(conn, settings, owner)

    click.echo(run_with_database(do))


async def _find_owner(database: Database, case_id: CaseId, customer_id: int | None) -> CustomerId:
    named = None if customer_id is None else CustomerId(customer_id)
    return await find_owner(database, named, f"case {case_id}", lambda conn, each: _is_theirs(conn, each, case_id))


async def _is_theirs(conn: Connection, customer_id: CustomerId, case_id: CaseId) -> bool:
    try:
        await get_case(conn, customer_id, case_id)
    except NotFound:
        return False
    return True


def _words(line: Line, now: datetime) -> tuple[str, ...]:
    found = line.case
    return (
        *(str(found.id), str(line.customer_id), str(found.client_id), str(found.connection_id)),
        found.state.value,
        str(found.open_actions),
        age((now - found.opened_at).total_seconds()),
        printable(found.facts.institution, most=40),
        found.reason,
    )


def _write_time(at: datetime | None) -> str:
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
