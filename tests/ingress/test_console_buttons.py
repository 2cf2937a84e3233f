"""The console's buttons: whom they are for, what they do, and from where they are pressed."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from ingress.console.door import COOKIE
from tests.ingress.visitor import Visitor, add_user, said
from tests.seed import make_tenant

ACTS = ("link", "repair", "refresh", "delete", "cases/done", "cases/close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Things:
    """What there is to press buttons about."""

    client: int
    bank_account: int
    case: int
    action: int

    def form(self, act: str) -> dict[str, object]:
        """Return what a button posts."""
        forms: dict[str, dict[str, object]] = {
            "link": {"clientId": self.client},
            "cases/done": {"caseId": self.case, "actionId": self.action},
            "cases/close": {"caseId": self.case, "note": "They called."},
        }
        return forms.get(act, {"bankAccountId": self.bank_account})


@pytest.fixture
async def things(visitor: Visitor) -> Things:
    """A broken bank account with an open case."""
    bank = await visitor.insert("institutions", connector="finicity", aggregator_id="1", name="Prairie Credit Union")
    bank_account = await visitor.add_connection(state="needs_person", status_code=108, institution_id=bank)
    case_id = await visitor.open_case(bank_account)
    action_id = await visitor.superuser.fetchval("SELECT min(id) FROM case_actions")
    return Things(client=visitor.tenant.client_id, bank_account=bank_account, case=case_id, action=action_id)


async def count_traces(visitor: Visitor) -> list[int]:
    """Count what the buttons leave behind."""
    return list(
        await visitor.superuser.fetchrow(
            """
            SELECT (SELECT count(*) FROM widget_sessions), (SELECT count(*) FROM bank_refreshes),
                   (SELECT count(*) FROM connections WHERE deleted_at IS NOT NULL),
                   (SELECT count(*) FROM case_actions WHERE done_at IS NOT NULL),
                   (SELECT count(*) FROM support_cases WHERE state = 'closed'), (SELECT count(*) FROM audit_log)
            """
        )
    )


async def test_who_may_only_look_has_no_buttons_and_is_refused(visitor: Visitor, things: Things) -> None:
    """A reader sees every page without a form but signing out, and each form that is posted all the same is 403."""
    await visitor.become("reader")
    pages = ("/console", "/console/rows", f"/console/bank-accounts/{things.bank_account}", "/console/cases")
    for path in pages:
        page = await visitor.look(path)
        assert 200 == page.status
        assert {"/sign-out"} >= set(re.findall(r'action="([^"]+)"', page.text))
        assert ">Delete<" not in page.text
    assert 403 == (await visitor.look(f"/console/bank-accounts/{things.bank_account}/delete")).status
    for act in ACTS:
        assert 403 == (await visitor.press(f"/console/{act}", **things.form(act))).status
    assert [0] * 6 == await count_traces(visitor)


@pytest.mark.parametrize("act", ACTS)
async def test_a_button_is_for_our_own_pages_and_who_is_signed_in(visitor: Visitor, things: Things, act: str) -> None:
    """Another site's form, nobody's session, and an API key for a cookie do nothing."""
    path, form = f"/console/{act}", things.form(act)
    cookie = f"{COOKIE}={await visitor.begin_session()}"
    for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}):
        assert 403 == (await visitor.post(path, form, Cookie=cookie, **headers)).status
    for nobody in ("", f"{COOKIE}=made-up", f"{COOKIE}=bfk_sandbox_key"):
        page = await visitor.post(path, form, Cookie=nobody)
        assert (303, "/sign-in") == (page.status, page.headers["Location"])
    assert [0] * 6 == await count_traces(visitor)


@pytest.mark.parametrize("act", ACTS)
async def test_another_firms_things_are_not_there(visitor: Visitor, things: Things, act: str) -> None:
    """Ids of another firm, of nothing, and of no form are 404, and nothing happens."""
    other = await make_tenant(visitor.database, visitor.sources)
    await add_user(visitor.database, other, "eve@other.example")
    cookie = f"{COOKIE}={await visitor.begin_session(other)}"
    assert 404 == (await visitor.post(f"/console/{act}", things.form(act), Cookie=cookie)).status
    for wrong in ("", "0", "-1", "\u0661", "9" * 19, "9" * 400, "1 OR 1=1"):
        form = {name: value if name == "note" else wrong for name, value in things.form(act).items()}
        assert 404 == (await visitor.press(f"/console/{act}", **form)).status
    assert [0] * 6 == await count_traces(visitor)


@pytest.mark.parametrize(
    ("act", "leads_to", "action", "target"),
    [
        ("refresh", "/console#connection-1", "refreshBankAccount", "bankAccountId=1"),
        ("delete", "/console", "deleteBankAccount", "bankAccountId=1"),
        ("cases/done", "/console/cases#case-1", "updateCaseAction", "caseId=1 actionId=1"),
        ("cases/close", "/console/cases", "closeCase", "caseId=1"),
    ],
)
async def test_a_button_does_it_once_and_leads_back(
    visitor: Visitor, things: Things, act: str, leads_to: str, action: str, target: str
) -> None:
    """What a button does is done with its line in the audit log, under the API's name for it, and a page follows."""
    page = await visitor.press(f"/console/{act}", **things.form(act))
    assert (303, leads_to) == (page.status, page.headers["Location"])
    assert 2 == sum(await count_traces(visitor))
    line = await visitor.superuser.fetchrow("SELECT actor, action, target, remote FROM audit_log")
    user_id = await visitor.superuser.fetchval("SELECT id FROM users")
    assert (f"user:{user_id}", action, target, "127.0.0.1") == tuple(line)


@pytest.mark.parametrize(("act", "kind"), [("link", "add"), ("repair", "fix")])
async def test_link_and_repair_lead_to_the_widget(visitor: Visitor, things: Things, act: str, kind: str) -> None:
    """An address of this site opens the widget; before a service's own one a page asks for a click, as the policy wants."""
    page = await visitor.press(f"/console/{act}", **things.form(act))
    assert 200 == page.status
    [address] = re.findall(r'href="(/widget\?[^"]+signature=[0-9a-f]{64})"', page.text)
    session = await visitor.superuser.fetchrow(
        "SELECT kind::text, client_id, connection_id, requested_by FROM widget_sessions"
    )
    user_id = await visitor.superuser.fetchval("SELECT id FROM users")
    wanted = None if kind == "add" else things.bank_account
    assert (kind, things.client, wanted, f"user:{user_id}") == tuple(session)
    await visitor.superuser.execute("UPDATE clients SET locked_at = now()")
    assert 410 == (await visitor.get(address.replace("&amp;", "&"))).status  # ours, whole, and of a locked client


async def test_a_row_says_that_its_bank_is_being_asked(visitor: Visitor, things: Things) -> None:
    """After the click the row says so, and a second click asks nothing new."""
    for _ in range(2):
        assert 303 == (await visitor.press("/console/refresh", bankAccountId=things.bank_account)).status
    assert "The bank will be asked in a moment." in (await visitor.look()).text
    assert 1 == await visitor.superuser.fetchval("SELECT count(*) FROM bank_refreshes")


async def test_a_locked_clients_banks_are_left_alone(visitor: Visitor, things: Things) -> None:
    """A locked client's row has no button that reaches the bank, and each form says why nothing happens."""
    await visitor.superuser.execute("UPDATE clients SET locked_at = now()")
    page = await visitor.look()
    assert {"/sign-out"} == set(re.findall(r'action="([^"]+)"', page.text))
    for act in ("link", "repair", "refresh"):
        refused = await visitor.press(f"/console/{act}", **things.form(act))
        assert 409 == refused.status
        assert "is locked; unlock it first." in said(refused.text)


async def test_deleting_is_asked_about_and_says_what_stays(visitor: Visitor, things: Things) -> None:
    """The page before the deletion names bank and client, and what stays; afterwards the bank is gone from the console."""
    await visitor.add_account(connection_id=things.bank_account)
    page = await visitor.look(f"/console/bank-accounts/{things.bank_account}/delete")
    assert "has 1 open account." in said(page.text)
    assert "What was booked stays" in page.text
    assert 303 == (await visitor.press("/console/delete", bankAccountId=things.bank_account)).status
    assert f"connection-{things.bank_account}" not in (await visitor.look()).text
    assert 404 == (await visitor.look(f"/console/bank-accounts/{things.bank_account}")).status
    assert 404 == (await visitor.press("/console/delete", bankAccountId=things.bank_account)).status


async def test_every_client_has_a_button_to_link_a_bank(visitor: Visitor, things: Things) -> None:
    """Clients without a bank are listed too; one that was deleted is not; buttons of several are told apart by their names."""
    for name, deleted_at in (("Zoe", None), ("Gone", datetime.now(UTC))):
        columns = {} if deleted_at is None else {"deleted_at": deleted_at, "erase_at": deleted_at}
        await visitor.insert(
            "clients", customer_id=visitor.tenant.customer_id, username=name.lower(), name=name, **columns
        )
    page = await visitor.look()
    assert 2 == page.text.count(">Link a bank<")
    assert "Gone" not in page.text
    for ids in re.findall(r'aria-labelledby="([^"]+)"', page.text):
        assert all(f'id="{each}"' in page.text for each in ids.split())
    assert things.client == int(re.findall(r'name="clientId" value="(\d+)"', page.text)[0])
