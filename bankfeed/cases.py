"""Support cases: opened where guided repair ends without success, worked on by actions, closed with a note.

Each function works in the caller's transaction: the case, the event caseChanged and the letter to whoever opened it commit
together. Whoever calls wakes Wake.DELIVER and Wake.MAIL after the commit. No credentials come in here, and none go out.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bankfeed.case_words import BE_REACHABLE, LOOK_INTO_IT, Told, Turn, write_letter, write_subject
from bankfeed.db import Connection, case
from bankfeed.db.account import list_open_ids
from bankfeed.db.case import ActionId, CaseId, CaseOwner, CaseState, Facts, NewCase, PastLine, SupportCase
from bankfeed.db.connection_history import list_history
from bankfeed.db.subject import Subject, find_subject, list_past_refreshes
from bankfeed.errors import ActRefused, BadRequest, NotFound
from bankfeed.health import ConnectionState, Meaning, describe
from bankfeed.mailing import NewMail, post
from bankfeed.model import ClientId, ConnectionId, CustomerId, EventType
from bankfeed.outbox import News, tell
from bankfeed.repair import MAX_TRIED, Bank, Tried
from bankfeed.settings import Settings

MAX_TELEPHONE_CHARS: Final = 40
MIN_TELEPHONE_DIGITS: Final = 3
MAX_TIME_CHARS: Final = 200
MAX_NOTE_CHARS: Final = 2_000
MAX_ACTION_CHARS: Final = 500
MAX_ACTIONS: Final = 100
KEPT_LINES: Final = 20
"""How many lines of the connection's history a case keeps, the newest first."""
KEPT_REFRESHES: Final = 5
"""How many bank refreshes it keeps, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRequest:
    """Who wants a case, about which connection, and how the person is reached.

    `client_id` is whose the connection has to be, None where anybody's of the customer may be. `opened_by` is user:<id>,
    key:<id> or client:<id>; `notify_email` is where that one hears of the case, "" nowhere.
    """

    client_id: ClientId | None = None
    connection_id: ConnectionId
    tried: tuple[Tried, ...] = ()
    telephone: str
    convenient_time: str = ""
    note: str = ""
    opened_by: str
    notify_email: str = ""


async def get_subject(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> Subject:
    """Return what a repair or a case is about. Raises NotFound."""
    found = await find_subject(conn, customer_id, connection_id)
    if found is None:
        raise NotFound(f"there is no bank account {connection_id}")
    return found


def read_meaning(subject: Subject) -> Meaning:
    """Return how a connection stands, in words."""
    return describe(
        ConnectionState(subject.state),
        subject.status_code,
        is_received=subject.is_received,
        repeats=subject.code_repeats,
    )


def read_bank(subject: Subject) -> Bank:
    """Return what a repair says of a connection's institution."""
    return Bank(
        name=subject.institution,
        phone=subject.institution_phone,
        email=subject.institution_email,
        url=subject.institution_url,
        is_oauth=subject.is_oauth,
    )


async def open_case(
    conn: Connection,
    settings: Settings,
    customer_id: CustomerId,
    wanted: CaseRequest,
    *,
    at: datetime | None = None,
) -> CaseId:
    """Open a case with all facts attached; the open one of that connection is answered instead, with the new number noted.

    `at` None is Postgres' clock. Safe with others who open one at the same moment. Raises NotFound, BadRequest, and
    ActRefused where the open one was closed at this moment.
    """
    new = await _prepare(conn, customer_id, wanted)
    case_id = await case.insert_case(conn, customer_id, new, now=at)
    if case_id is None:
        return await _answer_open(conn, settings, customer_id, new, at=at)
    actions = ((CaseOwner.SUPPORT, LOOK_INTO_IT), (CaseOwner.CLIENT, BE_REACHABLE))
    await case.insert_actions(conn, customer_id, case_id, actions, by="system")
    opened = await case.get_case(conn, customer_id, case_id)
    await _tell(conn, settings, customer_id, opened, Turn.OPENED, at=opened.opened_at)
    return case_id


async def add_action(
    conn: Connection,
    settings: Settings,
    customer_id: CustomerId,
    case_id: CaseId,
    *,
    owner: CaseOwner,
    text: str,
    by: str,
    at: datetime | None = None,
) -> ActionId:
    """Add something to be done about an open case. Raises NotFound, BadRequest, and ActRefused where it is closed or full."""
    text = _read_line(text)
    if not text:
        raise BadRequest("expected what is to be done, got nothing", field="text")
    _check_length(text, MAX_ACTION_CHARS, field="text")
    await _lock_open(conn, customer_id, case_id)
    if len(await case.list_actions(conn, customer_id, case_id)) >= MAX_ACTIONS:
        raise ActRefused(f"expected at most {MAX_ACTIONS} actions for a case; open another one")
    [action_id] = await case.insert_actions(conn, customer_id, case_id, [(owner, text)], by=by)
    await _change(conn, settings, customer_id, case_id, Turn.ADDED, at=at)
    return action_id


async def finish_action(
    conn: Connection,
    settings: Settings,
    customer_id: CustomerId,
    case_id: CaseId,
    action_id: ActionId,
    *,
    by: str,
    at: datetime | None = None,
) -> None:
    """Note that something was done; safe to repeat. Raises NotFound, and ActRefused where the case is closed."""
    if await _find_is_done(conn, customer_id, case_id, action_id):
        return
    await case.mark_action_done(conn, customer_id, case_id, action_id, by=by)
    await _change(conn, settings, customer_id, case_id, Turn.FINISHED, at=at)


async def reopen_action(
    conn: Connection,
    settings: Settings,
    customer_id: CustomerId,
    case_id: CaseId,
    action_id: ActionId,
    *,
    at: datetime | None = None,
) -> None:
    """Note that something is to be done after all; safe to repeat. Raises NotFound, and ActRefused where the case is closed."""
    if not await _find_is_done(conn, customer_id, case_id, action_id):
        return
    await case.mark_action_open(conn, customer_id, case_id, action_id)
    await _change(conn, settings, customer_id, case_id, Turn.REOPENED, at=at)


async def close_case(
    conn: Connection,
    settings: Settings,
    customer_id: CustomerId,
    case_id: CaseId,
    *,
    by: str,
    note: str,
    at: datetime | None = None,
) -> None:
    """Close a case; what was not done stays so. Raises NotFound, BadRequest, and ActRefused where it is closed already."""
    _check_length(note, MAX_NOTE_CHARS, field="note")
    await _lock_open(conn, customer_id, case_id)
    await case.mark_closed(conn, customer_id, case_id, by=by, note=note.strip(), now=at)
    await _change(conn, settings, customer_id, case_id, Turn.CLOSED, at=at)


def read_telephone(text: str) -> str:
    """Return a telephone number as it was written, on one line. Raises BadRequest naming `telephone`.

    >>> read_telephone(" +1 (555) 0100  ext. 7 ")
    '+1 (555) 0100 ext. 7'
    """
    line = _read_line(text)
    _check_length(line, MAX_TELEPHONE_CHARS, field="telephone")
    if sum(char.isdigit() for char in line) < MIN_TELEPHONE_DIGITS:
        raise BadRequest("expected a telephone number like +1 555 0100", field="telephone")
    return line


# ------------------------------------------------------------------------------------------------ steps


def _read_line(text: str) -> str:
    return " ".join(text.split())


def _check_length(text: str, most: int, *, field: str) -> None:
    if len(text) > most:
        raise BadRequest(f"expected at most {most} characters, got {len(text)}", field=field)


async def _prepare(conn: Connection, customer_id: CustomerId, wanted: CaseRequest) -> NewCase:
    """Check what was typed, and attach the facts. Raises NotFound and BadRequest."""
    telephone, convenient_time = read_telephone(wanted.telephone), _read_line(wanted.convenient_time)
    _check_length(convenient_time, MAX_TIME_CHARS, field="convenientTime")
    _check_length(wanted.note, MAX_NOTE_CHARS, field="note")
    if len(wanted.tried) > MAX_TRIED:
        raise BadRequest(f"expected at most {MAX_TRIED} answers, got {len(wanted.tried)}", field="tried")
    subject = await get_subject(conn, customer_id, wanted.connection_id)
    if wanted.client_id not in (None, subject.client_id):
        raise NotFound(f"there is no bank account {wanted.connection_id}")
    return NewCase(
        client_id=subject.client_id,
        connection_id=wanted.connection_id,
        facts=await _gather(conn, customer_id, subject),
        tried=wanted.tried,
        telephone=telephone,
        convenient_time=convenient_time,
        note=wanted.note.strip(),
        opened_by=wanted.opened_by,
        notify_email=wanted.notify_email,
    )


async def _gather(conn: Connection, customer_id: CustomerId, subject: Subject) -> Facts:
    meaning = read_meaning(subject)
    lines = await list_history(conn, customer_id, subject.connection_id, before_id=None, limit=KEPT_LINES)
    return Facts(
        institution=subject.institution,
        institution_status=subject.institution_status,
        institution_phone=subject.institution_phone,
        institution_email=subject.institution_email,
        institution_url=subject.institution_url,
        state=subject.state,
        code=subject.status_code,
        message=meaning.words,
        todo=meaning.todo,
        since=subject.status_since,
        last_good_at=subject.last_good_at,
        history=tuple(PastLine(at=line.at, kind=line.kind, code=line.status_code) for line in lines),
        refreshes=await list_past_refreshes(conn, customer_id, subject.connection_id, limit=KEPT_REFRESHES),
    )


async def _answer_open(
    conn: Connection, settings: Settings, customer_id: CustomerId, new: NewCase, *, at: datetime | None
) -> CaseId:
    """Return the case that is open already; what is new about reaching the person is noted in it."""
    case_id = await case.find_open_case(conn, customer_id, new.connection_id)
    if case_id is None:  # closed at this very moment
        raise ActRefused("the case of this bank account was closed a moment ago; open another one")
    found = await _lock_open(conn, customer_id, case_id)
    contact = {
        "telephone": new.telephone,
        "convenient_time": new.convenient_time or found.convenient_time,
        "note": new.note or found.note,
    }
    if contact != {name: getattr(found, name) for name in contact}:
        await case.update_contact(conn, customer_id, case_id, **contact)
        await _change(conn, settings, customer_id, case_id, Turn.CONTACT, at=at)
    return case_id


async def _lock_open(conn: Connection, customer_id: CustomerId, case_id: CaseId) -> SupportCase:
    found = await case.lock_case(conn, customer_id, case_id)
    if found.state is CaseState.CLOSED:
        raise ActRefused(f"expected an open case, and case {case_id} is closed; open another one")
    return found


async def _find_is_done(conn: Connection, customer_id: CustomerId, case_id: CaseId, action_id: ActionId) -> bool:
    """Tell whether an action of an open case was done, with the case locked. Raises NotFound."""
    await _lock_open(conn, customer_id, case_id)
    actions = await case.list_actions(conn, customer_id, case_id)
    found = next((each for each in actions if each.id == action_id), None)
    if found is None:
        raise NotFound(f"case {case_id} has no action {action_id}")
    return found.done_at is not None


async def _change(
    conn: Connection, settings: Settings, customer_id: CustomerId, case_id: CaseId, turn: Turn, *, at: datetime | None
) -> None:
    changed_at = await case.mark_changed(conn, customer_id, case_id, now=at)
    found = await case.get_case(conn, customer_id, case_id)
    await _tell(conn, settings, customer_id, found, turn, at=changed_at)


async def _tell(
    conn: Connection, settings: Settings, customer_id: CustomerId, found: SupportCase, turn: Turn, *, at: datetime
) -> None:
    """Commit the event, and the letter to whoever opened the case."""
    news = News(
        event_type=EventType.CASE_CHANGED,
        accounts=await list_open_ids(conn, customer_id, found.connection_id),
        extra={"caseId": found.id, "caseState": found.state.value, "openActions": found.open_actions},
    )
    await tell(conn, customer_id, [news], client_id=found.client_id, connection_id=found.connection_id, at=at)
    told = Told(case_id=found.id, bank=found.facts.institution, reason=found.reason, open_actions=found.open_actions)
    mail = NewMail(
        recipient=found.notify_email,
        subject=write_subject(told, turn),
        body=write_letter(told, turn),
        client_id=found.client_id,
        case_id=found.id,
    )
    await post(conn, settings, customer_id, [mail])
