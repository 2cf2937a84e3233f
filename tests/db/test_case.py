"""Support cases in Postgres: one open for a connection, all facts in it, and every change told of."""

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from bankfeed import cases
from bankfeed.cases import MAX_ACTIONS, CaseRequest
from bankfeed.db import case
from bankfeed.db.case import ActionId, CaseId, CaseOwner, CaseState, SupportCase
from bankfeed.errors import ActRefused, BadRequest, NotFound
from bankfeed.history import HistoryKind
from bankfeed.model import ClientId, ConnectionId
from bankfeed.repair import MAX_TRIED, Answer, StepName, Tried
from bankfeed.settings import Secret, Settings
from tests.db.made import Ground, make_connection

AT = datetime(2026, 11, 3, 14, 5, tzinfo=UTC)
ANN = "ann@firm.example"
TRIED = (Tried(StepName.AT_BANK, Answer.YES), Tried(StepName.CREDENTIALS, Answer.FAILED))
BROKEN = """
WITH bank AS (
    INSERT INTO institutions (connector, aggregator_id, name, phone, url, sign_in_url, email, status)
    VALUES ('finicity', '101732', 'First Bank', '+1 555 0199', 'https://first.example', 'https://login.first.example',
            'help@first.example', 'maintenance') RETURNING id
), account AS (
    INSERT INTO accounts (customer_id, client_id, connection_id, source_id, aggregator_id, name, number_display, type, currency,
                          balance, balance_on, last_pulled_at)
    SELECT customer_id, client_id, id, source_id, 'a1', 'Secret savings', '4711', 'savings', 'USD', 77.77, current_date, $3
    FROM connections WHERE customer_id = $1 AND id = $2
), line AS (
    INSERT INTO connection_history (customer_id, connection_id, kind, status_code) VALUES ($1, $2, 'broken', 103)
), refresh AS (
    INSERT INTO bank_refreshes (customer_id, client_id, connection_id, kind, requested_by, state, finished_at, status_code, message)
    SELECT customer_id, client_id, id, 'current', 'user:1', 'failed', now(), 103, 'paid 77.77 into 4711'
    FROM connections WHERE customer_id = $1 AND id = $2
)
UPDATE connections SET state = 'needs_person', status_code = 103, institution_id = bank.id FROM bank
WHERE customer_id = $1 AND connections.id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A firm with a connection that is broken, and e-mail switched on."""

    ground: Ground
    settings: Settings
    superuser: asyncpg.Connection

    @property
    def customer_id(self) -> Any:
        """The firm."""
        return self.ground.tenant.customer_id

    async def open(self, *, at: datetime | None = None, **changed: Any) -> CaseId:
        """Open a case about the connection."""
        usual: dict[str, Any] = {
            "client_id": self.ground.tenant.client_id,
            "connection_id": self.ground.connection_id,
            "tried": TRIED,
            "telephone": "+1 555 0100",
            "convenient_time": "after four",
            "note": "Ann has the codes.",
            "opened_by": "user:1",
            "notify_email": ANN,
        }
        async with self.ground.app() as conn:
            return await cases.open_case(conn, self.settings, self.customer_id, CaseRequest(**usual | changed), at=at)

    async def get(self, case_id: CaseId) -> SupportCase:
        """Read a case."""
        async with self.ground.app() as conn:
            return await case.get_case(conn, self.customer_id, case_id)

    async def actions(self, case_id: CaseId) -> list[tuple[ActionId, CaseOwner, str]]:
        """List a case's actions: id, whose turn it is, who did it."""
        async with self.ground.app() as conn:
            found = await case.list_actions(conn, self.customer_id, case_id)
        return [(each.id, each.owner, each.done_by) for each in found]

    async def add(self, case_id: CaseId, text: str = "Ask the bank.") -> ActionId:
        """Add something for the firm to do."""
        async with self.ground.app() as conn:
            return await cases.add_action(
                conn, self.settings, self.customer_id, case_id, owner=CaseOwner.FIRM, text=text, by="user:1"
            )

    async def finish(self, case_id: CaseId, action_id: ActionId) -> None:
        """Say that something was done."""
        async with self.ground.app() as conn:
            await cases.finish_action(conn, self.settings, self.customer_id, case_id, action_id, by="key:2")

    async def reopen(self, case_id: CaseId, action_id: ActionId) -> None:
        """Say that something is to be done after all."""
        async with self.ground.app() as conn:
            await cases.reopen_action(conn, self.settings, self.customer_id, case_id, action_id)

    async def close(self, case_id: CaseId, note: str = "", *, at: datetime | None = None) -> None:
        """Close a case."""
        async with self.ground.app() as conn:
            await cases.close_case(conn, self.settings, self.customer_id, case_id, by="user:1", note=note, at=at)

    async def told(self) -> list[tuple[int, str, int]]:
        """What the events say, the oldest first: the case, its state, how much is to be done."""
        rows = await self.superuser.fetch("SELECT body FROM events WHERE event_type = 'caseChanged' ORDER BY id")
        said = [json.loads(row["body"])["payload"] for row in rows]
        assert all(each["bankAccountId"] == self.ground.connection_id for each in said)
        return [(each["caseId"], each["caseState"], each["openActions"]) for each in said]

    async def letters(self) -> list[tuple[str, str, str]]:
        """The letters that wait: to whom, about what, and what they say."""
        rows = await self.superuser.fetch("SELECT recipient, subject, body FROM mails ORDER BY id")
        return [(row["recipient"], row["subject"], row["body"]) for row in rows]


@pytest.fixture
async def desk(ground: Ground, settings: Settings, superuser: asyncpg.Connection) -> Desk:
    """A firm whose client's connection is refused."""
    await superuser.execute(BROKEN, ground.tenant.customer_id, ground.connection_id, AT)
    settings = replace(settings, smtp_url=Secret("smtp://127.0.0.1:1"), mail_from="bankfeed@firm.example")
    return Desk(ground=ground, settings=settings, superuser=superuser)


async def test_a_case_has_all_facts(desk: Desk) -> None:
    """The institution, the code in words, since when, the last good update, history, refreshes, what was tried, whom to call."""
    found = await desk.get(await desk.open(at=AT))
    assert (CaseState.OPEN, 103, AT, None) == (found.state, found.status_code, found.opened_at, found.closed_at)
    assert "The bank refused the user name or password; enter them again." == found.reason == found.facts.message
    assert (TRIED, "+1 555 0100", "after four", "Ann has the codes.") == (
        *(found.tried, found.telephone, found.convenient_time, found.note),
    )
    facts = found.facts
    assert ("First Bank", "maintenance", "+1 555 0199") == (
        *(facts.institution, facts.institution_status, facts.institution_phone),
    )
    assert ("help@first.example", "https://login.first.example") == (facts.institution_email, facts.institution_url)
    assert ("needs_person", 103, AT) == (facts.state, facts.code, facts.last_good_at)
    assert [(HistoryKind.BROKEN, 103), (HistoryKind.ADDED, None)] == [(each.kind, each.code) for each in facts.history]
    assert [("current", "failed", 103)] == [(each.kind, each.state, each.code) for each in facts.refreshes]


async def test_nothing_secret_is_kept_or_told(desk: Desk) -> None:
    """Neither facts, events nor letters have amounts or numbers and names of accounts; letters nothing that a person wrote."""
    await desk.close(await desk.open(note="my pin is 9876"), note="my pin is 9876")
    stored = await desk.superuser.fetchval("SELECT reason || facts::text || tried::text FROM support_cases")
    events = "".join([row["body"].decode() for row in await desk.superuser.fetch("SELECT body FROM events")])
    letters = "".join(subject + body for _, subject, body in await desk.letters())
    assert not [word for word in ("77.77", "4711", "Secret savings", "9876") if word in stored + events + letters]
    assert not [word for word in ("555 0100", "after four", ANN) if word in letters]


async def test_it_begins_with_something_to_do_and_is_told_of(desk: Desk) -> None:
    """Support looks into it, the client is reachable; subscribers hear of it, and whoever opened it by e-mail."""
    case_id = await desk.open()
    assert [CaseOwner.SUPPORT, CaseOwner.CLIENT] == [owner for _, owner, _ in await desk.actions(case_id)]
    assert [(case_id, "open", 2)] == await desk.told()
    [(recipient, subject, body)] = await desk.letters()
    assert (ANN, f"First Bank: case {case_id} is open") == (recipient, subject)
    assert "The bank refused the user name or password" in body


async def test_every_change_is_counted_and_told(desk: Desk) -> None:
    """An action added, done, open again, and the end: each is one more version and one event."""
    case_id = await desk.open()
    action_id = await desk.add(case_id)
    await desk.finish(case_id, action_id)
    await desk.reopen(case_id, action_id)
    await desk.close(case_id, " The bank had an old number. ", at=AT)
    told = [("open", 2), ("open", 3), ("open", 2), ("open", 3), ("closed", 3)]
    assert [(case_id, *each) for each in told] == await desk.told()
    found = await desk.get(case_id)
    assert (5, CaseState.CLOSED, AT, "user:1") == (found.version, found.state, found.closed_at, found.closed_by)
    assert "The bank had an old number." == found.closing_note


async def test_the_letter_that_waits_says_what_is_true_now(desk: Desk) -> None:
    """Many changes write one letter, with all its tries, due when it was; what is being sent, or has ended, is left alone."""
    case_id = await desk.open()
    await desk.superuser.execute(
        "UPDATE mails SET tries = 3, reason = 'away', created_at = '2020-01-01', due_at = now() + interval '1 hour'"
    )
    action_id = await desk.add(case_id)
    for _ in range(3):
        await desk.finish(case_id, action_id)
        await desk.reopen(case_id, action_id)
    [(recipient, subject, body)] = await desk.letters()
    assert (ANN, f"First Bank: case {case_id} has news") == (recipient, subject)
    assert "Still to be done: 3." in body
    row = await desk.superuser.fetchrow(
        "SELECT tries, reason, created_at > now() - interval '1 hour', due_at > now() + interval '50 minutes' FROM mails"
    )
    assert (0, "", True, True) == tuple(row)
    await desk.superuser.execute("UPDATE mails SET lease_token = gen_random_uuid(), lease_until = now()")
    await desk.finish(case_id, action_id)
    await desk.superuser.execute(
        "UPDATE mails SET state = 'sent', finished_at = now(), subject = '', body = '' WHERE lease_token IS NULL"
    )
    await desk.close(case_id)
    assert [f"First Bank: case {case_id} {word}" for word in ("has news", "is closed")] == sorted(
        subject for _, subject, _ in await desk.letters() if subject
    )
    await desk.open()
    assert 4 == len(await desk.letters())


async def test_saying_it_twice_is_saying_it_once(desk: Desk) -> None:
    """Who did it first stays; nothing is told of what does not change."""
    case_id = await desk.open()
    (action_id, *_), *_ = await desk.actions(case_id)
    await desk.reopen(case_id, action_id)
    for _ in range(2):
        await desk.finish(case_id, action_id)
    assert (action_id, CaseOwner.SUPPORT, "key:2") == (await desk.actions(case_id))[0]
    assert [(case_id, "open", 2), (case_id, "open", 1)] == await desk.told()


async def test_who_asks_again_is_answered_with_the_open_one(desk: Desk) -> None:
    """A second case is never opened; a new number and time are noted in it, once, and what is not given stays."""
    case_id = await desk.open()
    for _ in range(2):
        again = await desk.open(telephone="+1 555 0200", convenient_time="", note="", notify_email="bob@firm.example")
        assert case_id == again
    found = await desk.get(case_id)
    assert ("+1 555 0200", "after four", "Ann has the codes.", ANN) == (
        *(found.telephone, found.convenient_time, found.note, found.notify_email),
    )
    assert 2 == found.version == len(await desk.told())
    await desk.close(case_id)
    assert case_id < await desk.open()


async def test_of_many_at_once_one_opens_it(desk: Desk) -> None:
    """Whoever comes second waits, and is answered with the first one's."""
    ids = await asyncio.gather(*(desk.open(telephone=f"+1 555 010{n}") for n in range(4)))
    assert 1 == len(set(ids))
    assert 1 == await desk.superuser.fetchval("SELECT count(*) FROM support_cases")
    assert 4 == len(await desk.told())


async def test_a_closed_case_stays_as_it_is(desk: Desk) -> None:
    """Nothing is added to it, done in it, or closed again."""
    case_id = await desk.open()
    (action_id, *_), *_ = await desk.actions(case_id)
    await desk.close(case_id)
    before = await desk.get(case_id)
    with pytest.raises(ActRefused, match="is closed"):
        await desk.add(case_id)
    with pytest.raises(ActRefused, match="is closed"):
        await desk.finish(case_id, action_id)
    with pytest.raises(ActRefused, match="is closed"):
        await desk.close(case_id)
    assert before == await desk.get(case_id)


async def test_what_is_not_there_is_not_found(desk: Desk) -> None:
    """A case or an action that is none, another client's connection, one that was deleted."""
    case_id = await desk.open()
    with pytest.raises(NotFound):
        await desk.close(CaseId(case_id + 1))
    with pytest.raises(NotFound):
        await desk.finish(case_id, ActionId(99_999))
    with pytest.raises(NotFound):
        await desk.open(client_id=ClientId(desk.ground.tenant.client_id + 1))
    with pytest.raises(NotFound):
        await desk.open(connection_id=ConnectionId(99_999), client_id=None)
    await desk.superuser.execute("UPDATE connections SET deleted_at = now(), state = 'closed', handled = requested")
    with pytest.raises(NotFound):
        await desk.open()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"telephone": "call me"}, "telephone"),
        ({"telephone": "5" * 41}, "telephone"),
        ({"telephone": ""}, "telephone"),
        ({"convenient_time": "x" * 201}, "convenientTime"),
        ({"note": "x" * 2_001}, "note"),
        ({"tried": TRIED[:1] * (MAX_TRIED + 1)}, "tried"),
    ],
)
async def test_what_does_not_fit_is_refused(desk: Desk, changed: dict[str, Any], field: str) -> None:
    """Texts and answers are bounded, and a number has digits; nothing is opened."""
    with pytest.raises(BadRequest) as refused:
        await desk.open(**changed)
    assert field == refused.value.field
    assert [] == await desk.told()


async def test_actions_are_bounded(desk: Desk) -> None:
    """One says what is to be done, in a few words, and a case has only so many."""
    case_id = await desk.open()
    for text in (" ", "x" * 501):
        with pytest.raises(BadRequest):
            await desk.add(case_id, text)
    await desk.superuser.execute(
        "INSERT INTO case_actions (customer_id, case_id, owner, text, created_by)"
        " SELECT $1, $2, 'firm', 'x', 'user:1' FROM generate_series(1, $3)",
        desk.customer_id,
        case_id,
        MAX_ACTIONS - 2,
    )
    with pytest.raises(ActRefused, match="at most 100"):
        await desk.add(case_id)


async def test_lists_are_filtered_and_paged(desk: Desk) -> None:
    """The newest first, by state, client and connection; a deleted client's are not there."""
    other = await make_connection(desk.ground.database, desk.ground.sources, desk.ground.tenant, login_ref="login-2")
    first = await desk.open()
    await desk.close(first)
    second, third = await desk.open(), await desk.open(connection_id=other)

    async def ids(**wanted: Any) -> list[int]:
        async with desk.ground.app() as conn:
            return [each.id for each in await case.list_cases(conn, desk.customer_id, **{"limit": 10} | wanted)]

    assert [third, second, first] == await ids()
    assert [third, second] == await ids(limit=2)
    assert [first] == await ids(before_id=second)
    assert [third, second] == await ids(state=CaseState.OPEN)
    assert [second, first] == await ids(connection_id=desk.ground.connection_id)
    assert [] == await ids(client_id=ClientId(desk.ground.tenant.client_id + 1))
    await desk.superuser.execute("UPDATE clients SET deleted_at = now(), erase_at = now()")
    assert [] == await ids()


async def test_without_an_address_nobody_is_written_to(desk: Desk) -> None:
    """Where e-mail is off, or whoever opened it has no address, the case is told of by its event alone."""
    await desk.open(notify_email="")
    silent = replace(desk, settings=replace(desk.settings, smtp_url=Secret("")))
    await silent.open(telephone="+1 555 0300")
    assert [] == await desk.letters()
    assert 2 == len(await desk.told())
