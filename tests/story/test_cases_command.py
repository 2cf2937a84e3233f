"""`bankfeed cases`: support sees every firm's cases, asks for something, and closes."""

import asyncpg
import msgspec
import pytest

from bankfeed import cases
from bankfeed.cases import CaseRequest
from bankfeed.db import Database
from bankfeed.repair import Answer, StepName, Tried
from bankfeed.settings import Settings
from tests.conftest import Urls
from tests.db.made import Ground, make_ground
from tests.story.test_cli import run


@pytest.fixture
async def ground(database: Database, owner: asyncpg.Connection) -> Ground:
    """A firm with one connection."""
    return await make_ground(database, owner)


async def test_support_works_on_a_case(
    urls: Urls, ground: Ground, settings: Settings, superuser: asyncpg.Connection
) -> None:
    """Listed, shown, asked about, done and closed; each act has its line in the audit log, and what a person typed moves no cursor."""
    wanted = CaseRequest(
        connection_id=ground.connection_id,
        tried=(Tried(StepName.AT_BANK, Answer.YES),),
        telephone="+1 555 0100",
        note="bad\x1b[2J note",
        opened_by="user:1",
    )
    async with ground.app() as conn:
        case_id = await cases.open_case(conn, settings, ground.tenant.customer_id, wanted)

    environ = urls.environ()
    head, line = run("cases", "--state", "open", environ=environ).stdout.splitlines()
    assert head.startswith("ID  CUSTOMER  CLIENT  BANK ACCOUNT  STATE")
    assert [str(case_id), str(ground.tenant.customer_id)] == line.split()[:2]
    assert "there are no such cases\n" == run("cases", "--state", "closed", environ=environ).stdout
    shown = run("cases", "show", str(case_id), environ=environ).stdout
    for words in ("call: +1 555 0100, at any time", "tried: at_bank yes", "note: bad?[2J note", "Look into it"):
        assert words in shown

    asked = run("cases", "ask", str(case_id), "client", "Call the bank.", environ=environ)
    assert (0, f"case {case_id} has action ") == (asked.returncode, asked.stdout[: len(f"case {case_id} has action ")])
    action_id = asked.stdout.split()[4]
    assert 0 == run("cases", "done", str(case_id), action_id, environ=environ).returncode
    assert 0 == run("cases", "close", str(case_id), "--note", "well again", environ=environ).returncode
    whole = msgspec.json.decode(run("cases", "show", str(case_id), "--json", environ=environ).stdout)
    assert ("closed", "support", "well again") == (
        *(whole["case"]["state"], whole["case"]["closed_by"], whole["case"]["closing_note"]),
    )
    assert ["", "", "support"] == [each["done_by"] for each in whole["actions"]]
    again = run("cases", "close", str(case_id), environ=environ)
    assert again.returncode != 0
    assert "is closed" in again.stderr
    audited = await superuser.fetch("SELECT action FROM audit_log WHERE actor = 'system' ORDER BY id")
    assert ["case.asked", "case.actionDone", "case.closed"] == [row["action"] for row in audited]
