"""/cases and the repair of a bank account: what to ask and say, and what is done where that does not help."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from bankfeed.client import Bankfeed
from bankfeed.jobs import Wake
from bankfeed.settings import Secret
from tests.ingress.api.conftest import Person, make_key
from tests.ingress.api.rows import Book

TRIED = [{"step": "at_bank", "answer": "yes"}, {"step": "credentials", "answer": "failed"}]


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """E-mail is on."""
    return {"smtp_url": Secret("smtp://127.0.0.1:1"), "mail_from": "bankfeed@firm.example"}


@pytest.fixture
async def broken(api: Person, superuser: asyncpg.Connection) -> int:
    """A bank account of the owner's client whose password the bank refuses."""
    account_id = await Book(person=api, superuser=superuser).add_bank_account()
    await superuser.execute(
        """
        WITH bank AS (
            INSERT INTO institutions (connector, aggregator_id, name, phone, url)
            VALUES ('finicity', '101732', 'First Bank', '+1 555 0199', 'https://first.example') RETURNING id)
        UPDATE connections SET institution_id = bank.id, state = 'needs_person', status_code = 103
        FROM bank WHERE connections.id = $1
        """,
        account_id,
    )
    return account_id


@pytest.fixture
async def feeds(api: Person) -> AsyncIterator[Bankfeed]:
    """The client of the owner."""
    async with Bankfeed(f"http://127.0.0.1:{api.ingress.settings.port}", api.token) as client:
        yield client


async def set_state(superuser: asyncpg.Connection, change: str) -> None:
    await superuser.execute(f"UPDATE connections SET {change}")  # noqa: S608 - our own words


async def open_case(person: Person, account_id: int, **more: Any) -> dict[str, Any]:
    said = await person.post("/cases", {"bankAccountId": account_id, "telephone": "+1 555 0100"} | more)
    assert 200 == said.status, said.text
    opened: dict[str, Any] = said.body["case"]
    return opened


async def get_case(person: Person, case_id: int) -> dict[str, Any]:
    said = await person.get(f"/cases/{case_id}")
    assert 200 == said.status, said.text
    found: dict[str, Any] = said.body["case"]
    return found


async def test_a_repair_is_the_whole_script(reader: Person, broken: int) -> None:
    """Why it fails, who acts, how the bank is reached, each step with its words and answers, and how to open the widget."""
    said = await reader.get(f"/bank-accounts/{broken}/repair")
    assert 200 == said.status, said.text
    repair = said.body["repair"]
    assert ("needs_person", 103, "person_credentials", True) == (
        *(repair["state"], repair["code"], repair["whoActs"], repair["isFixable"]),
    )
    assert "The bank refused the user name or password; enter them again." == repair["message"]
    assert {"method": "POST", "path": "/api/v1/widgets/fix", "bankAccountId": broken} == repair["fix"]
    assert ("First Bank", "+1 555 0199") == (repair["bank"]["name"], repair["bank"]["phone"])
    first, *_ = repair["steps"]
    assert ("at_bank", "Can you sign in at First Bank's own site?", False) == (
        *(first["name"], first["ask"], first["isEnd"]),
    )
    assert "First Bank" in first["say"]
    assert [("yes", "credentials"), ("no", "call_bank")] == [
        (each["answer"], each["leadsTo"]) for each in first["choices"]
    ]
    named = {step["name"] for step in repair["steps"]}
    assert {choice["leadsTo"] for step in repair["steps"] for choice in step["choices"]} <= named
    assert repair["openCaseId"] is None


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("state = 'active', status_code = 0, last_refresh_at = now()", "done"),
        ("state = 'waiting', status_code = 905", "wait"),
        ("state = 'needs_person', status_code = 945", "at_bank"),
        ("state = 'unsupported', status_code = NULL", "case"),
        ("state = 'closed', status_code = NULL", "link_again"),
    ],
)
async def test_a_repair_is_of_the_state_now(
    api: Person, superuser: asyncpg.Connection, broken: int, change: str, first: str
) -> None:
    """Each state has a script of its own."""
    await set_state(superuser, change)
    repair = (await api.get(f"/bank-accounts/{broken}/repair")).body["repair"]
    assert first == repair["steps"][0]["name"]


async def test_a_case_from_the_beginning_to_the_end(api: Person, broken: int) -> None:
    """Opened with what was tried, worked on by two, closed with a note; the repair names it while it is open."""
    opened = await open_case(api, broken, convenientTime="after four", note="Ann has the codes.", tried=TRIED)
    path = f"/cases/{opened['id']}"
    assert ("open", 103, "First Bank", TRIED, 2) == (
        *(opened["state"], opened["code"], opened["institutionName"], opened["tried"], opened["openActions"]),
    )
    assert opened["id"] == (await api.get(f"/bank-accounts/{broken}/repair")).body["repair"]["openCaseId"]
    assert ("needs_person", "+1 555 0199") == (opened["facts"]["state"], opened["facts"]["institutionPhone"])

    added = (await api.post(f"{path}/actions", {"owner": "client", "text": "Switch on codes at the bank."})).body[
        "case"
    ]
    action = added["actions"][-1]
    assert ("client", f"user:{api.user_id}", None, 3) == (
        *(action["owner"], action["createdBy"], action["doneAt"], added["openActions"]),
    )
    for is_done, left in ((True, 2), (False, 3), (True, 2)):
        said = await api.patch(f"{path}/actions/{action['id']}", {"done": is_done})
        assert (200, left) == (said.status, said.body["case"]["openActions"])
        assert (f"user:{api.user_id}" if is_done else None) == said.body["case"]["actions"][-1]["doneBy"]

    closed = (await api.post(f"{path}/close", {"note": "An old number."})).body["case"]
    assert ("closed", f"user:{api.user_id}", "An old number.", 6) == (
        *(closed["state"], closed["closedBy"], closed["closingNote"], closed["version"]),
    )
    assert closed == await get_case(api, opened["id"])
    assert 409 == (await api.post(f"{path}/close", {})).status
    assert (await api.get(f"/bank-accounts/{broken}/repair")).body["repair"]["openCaseId"] is None


async def test_there_is_a_sentence_to_say(api: Person, superuser: asyncpg.Connection, broken: int) -> None:
    """It names the bank and fits the case as it stands: what the client has to do, that it works again, that it is closed."""
    opened = await open_case(api, broken, convenientTime="after four")
    assert (
        "Our specialists are looking into First Bank, and call you on +1 555 0100, after four. "
        "Until then there is this for you: Be reachable at the number and time that you gave."
    ) == opened["say"]
    await set_state(superuser, "state = 'active'")
    assert "First Bank works again" in (await get_case(api, opened["id"]))["say"]
    await api.post(f"/cases/{opened['id']}/close", {})
    assert "First Bank is closed" in (await get_case(api, opened["id"]))["say"]


async def test_whoever_opens_it_hears_of_it(api: Person, superuser: asyncpg.Connection, broken: int) -> None:
    """A person at the own address, a machine at the firm's; the workers are woken to deliver and to write."""
    woken: list[Wake] = []
    api.ingress._waker.wake = woken.append  # type: ignore[method-assign, union-attr]
    opened = await open_case(api, broken)
    assert {Wake.DELIVER, Wake.MAIL} == set(woken)
    await api.post(f"/cases/{opened['id']}/close", {})
    await superuser.execute("UPDATE customers SET notify_email = 'office@firm.example' WHERE id = $1", api.customer_id)
    await open_case(await make_key(api, "accounts:write", "accounts:read"), broken)
    email = await superuser.fetchval("SELECT email FROM users WHERE id = $1", api.user_id)
    rows = await superuser.fetch("SELECT recipient FROM mails ORDER BY id")
    assert [email, "office@firm.example"] == [row["recipient"] for row in rows]


async def test_who_asks_again_gets_the_open_one(api: Person, employee: Person, broken: int) -> None:
    """Another person with another number is answered with the same case, and the number is in it."""
    opened = await open_case(api, broken)
    again = await open_case(employee, broken, telephone="+1 555 0200")
    assert (opened["id"], "+1 555 0200", opened["openedBy"]) == (again["id"], again["telephone"], again["openedBy"])


async def test_the_list_is_filtered_and_paged(api: Person, superuser: asyncpg.Connection, broken: int) -> None:
    """The newest first; by state, client and bank account; what is filtered by has to be there."""
    other = await Book(person=api, superuser=superuser).add_bank_account()
    first = await open_case(api, broken)
    await api.post(f"/cases/{first['id']}/close", {})
    second, third = await open_case(api, broken), await open_case(api, other)

    async def ids(**query: Any) -> list[int]:
        said = await api.get("/cases", **query)
        assert 200 == said.status, said.text
        return [each["id"] for each in said.body["cases"]]

    assert [third["id"], second["id"], first["id"]] == await ids() == await ids(clientId=api.client_id)
    assert [third["id"], second["id"]] == await ids(state="open")
    assert [second["id"], first["id"]] == await ids(bankAccountId=broken)
    page = (await api.get("/cases", limit=2)).body
    assert [first["id"]] == await ids(limit=2, cursor=page["nextCursor"])
    for query in ({"clientId": 99_999}, {"bankAccountId": 99_999}):
        assert 404 == (await api.get("/cases", **query)).status


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"telephone": "call me"}, "telephone"),
        ({"telephone": "5" * 41}, "telephone"),
        ({"note": "x" * 2_001}, "note"),
        ({"convenientTime": "x" * 201}, "convenientTime"),
        ({"tried": [{"step": "guess", "answer": "yes"}]}, "tried"),
        ({"tried": TRIED * 26}, "tried"),
    ],
)
async def test_what_does_not_fit_is_refused(api: Person, broken: int, more: dict[str, Any], field: str) -> None:
    """It is said which field, and nothing is opened."""
    said = await api.post("/cases", {"bankAccountId": broken, "telephone": "+1 555 0100"} | more)
    assert 422 == said.status, said.text
    assert said.body["field"].startswith(field)
    assert [] == (await api.get("/cases")).body["cases"]


async def test_others_have_none_of_it(api: Person, other: Person, reader: Person, broken: int) -> None:
    """Another firm finds neither case, action nor repair, and opens none; who may only look changes nothing."""
    opened = await open_case(api, broken)
    path, action = f"/cases/{opened['id']}", opened["actions"][0]["id"]
    requests: tuple[tuple[str, str, Any], ...] = (
        ("POST", f"{path}/actions", {"owner": "firm", "text": "x"}),
        ("PATCH", f"{path}/actions/{action}", {"done": True}),
        ("POST", f"{path}/close", {}),
        ("POST", "/cases", {"bankAccountId": broken, "telephone": "+1 555 0100"}),
    )
    for where in (path, f"/bank-accounts/{broken}/repair"):
        assert 404 == (await other.get(where)).status
        assert 200 == (await reader.get(where)).status
    assert [] == (await other.get("/cases")).body["cases"]
    for method, where, body in requests:
        assert 404 == (await other.ask(method, where, body)).status
        assert 403 == (await reader.ask(method, where, body)).status
    assert opened == await get_case(api, opened["id"])


async def test_the_client_has_cases(feeds: Bankfeed, broken: int) -> None:
    """Opened, listed and closed from Python."""
    opened = await feeds.open_case(broken, "+1 555 0100", tried=TRIED)
    assert [opened.id] == [each.id async for each in feeds.cases(state="open")]
    closed = await feeds.close_case(opened.id, "done")
    assert ("closed", 0) == (closed.state, len([each async for each in feeds.cases(state="open")]))
