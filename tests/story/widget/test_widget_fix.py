"""Repairing a bank account in the widget: it opens with what is wrong and the button that mends it, and the history tells."""

from dataclasses import dataclass
from typing import Any

import pytest

from bankfeed.health import read_code
from tests.story.widget.conftest import Desk

FINBANK, OAUTH_BANK = 101732, 102176
NOT_YET = "It still does not work"
FAILED = "It did not work"
BEGIN = [("added", None), ("refreshed", 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What mends a code: the button for it, and what is done after that; `line` is what the history says of the break."""

    button: str
    line: str | None
    ref: int = FINBANK
    typed: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


CREDENTIALS = Remedy(button="Sign in again", line="broken", typed=("demo", "go"))
CONSENT = Remedy(button="Go to the bank's own page", line="broken", ref=OAUTH_BANK)
WAIT = Remedy(button="Ask the bank now", line=None)
REMEDIES = {
    103: CREDENTIALS,
    185: Remedy(button="Answer the bank's question", line="needs_mfa", answers=("Rex",)),
    108: Remedy(button="I have done that: ask the bank again", line="broken"),
    945: CONSENT,
    946: CONSENT,
    947: CONSENT,
    905: WAIT,
    12345: WAIT,
}


@pytest.mark.parametrize("code", REMEDIES)
async def test_widget_repairs(desk: Desk, code: int) -> None:
    """The page opens with the words of the code and the button that fits; after it the bank account is active again."""
    remedy, meaning = REMEDIES[code], read_code(code)
    bank_account_id = await desk.link(ref=remedy.ref)
    await desk.damage(bank_account_id, code)
    assert (meaning.state, code) == await desk.standing(bank_account_id)
    page = await desk.fix(bank_account_id)
    assert "What is wrong" == page.now
    assert meaning.words in page.text
    assert meaning.todo in page.text
    assert f"Code {code}" in page.text
    assert [remedy.button, NOT_YET] == [name for name in page.buttons if name in (remedy.button, NOT_YET)]
    if remedy.line is None:
        page = await desk.browser.press(remedy.button)
        assert meaning.words in page.text
        await desk.finbank.control("POST", f"logins/{await desk.login(bank_account_id)}/fix")
    page = await desk.browser.press(remedy.button)
    if remedy.typed:
        page = await desk.sign_in(*remedy.typed)
    if remedy.answers:
        page = await desk.answer(*remedy.answers)
    if remedy is CONSENT:
        page = await desk.consent()
    assert ("Done", "Done") == (page.title, page.now)
    assert "works again. What is new there comes in within some minutes." in page.text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    session = await desk.session()
    assert ("fix", "repaired") == (session["kind"], session["outcome"])
    await tells_of_the_repair(desk, bank_account_id, [] if remedy.line is None else [(remedy.line, code)])


async def tells_of_the_repair(desk: Desk, bank_account_id: int, breaks: list[tuple[str, int]]) -> None:
    """See what history, events and summary say of a bank account that was broken and is repaired."""
    repairs = [("reconnected", 0)] if breaks else []
    assert [*BEGIN, *breaks, *repairs] == await desk.history(bank_account_id)
    told = [name for name in await desk.events() if name.startswith("connection")]
    assert (["connectionBroken", "connectionRepaired"] if breaks else []) == told
    summary = (await desk.api.get(f"/bank-accounts/{bank_account_id}/summary")).body["summary"]
    assert len(repairs) == summary["repairs"]
    newest = (await desk.api.get(f"/bank-accounts/{bank_account_id}/history")).body["history"][0]
    if breaks:
        assert 0 < newest["timeToRepairS"] < 60
        assert newest["timeToRepairS"] == pytest.approx(summary["meanTimeToRepairS"])
    else:
        assert newest["timeToRepairS"] is summary["meanTimeToRepairS"] is None


async def test_widget_has_nothing_to_repair_of_what_works(desk: Desk) -> None:
    """A bank account that works says so; it can be asked all the same, and stays as it is."""
    bank_account_id = await desk.link()
    page = await desk.fix(bank_account_id)
    assert ("FinBank", []) == (page.title, page.alerts)
    assert "All Data Received" in page.text
    page = await desk.browser.press("Ask the bank now")
    assert "Done" == page.title
    await desk.work()
    assert BEGIN == await desk.history(bank_account_id)


async def test_widget_tries_again_when_the_aggregator_fails(desk: Desk) -> None:
    """An aggregator that does not answer is no state of the bank account: nothing is lost, and trying again mends."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 103)
    await desk.fix(bank_account_id)
    await desk.browser.press("Sign in again")
    await desk.finbank.control("POST", "faults", failTimes=9, failStatus=503, failCode=0, failPath="institutionLogins")
    page = await desk.sign_in("demo", "go")
    await desk.finbank.control("POST", "faults", failTimes=0)
    assert ["The bank could not be asked just now. Nothing was lost: try again in a moment."] == page.alerts
    assert read_code(103).words in page.text
    await desk.browser.press("Sign in again")
    assert "Done" == (await desk.sign_in("demo", "go")).title


# The guided repair


async def test_widget_guides_to_a_support_case(desk: Desk) -> None:
    """What the buttons do not mend is asked about, step by step, up to a case with all that was tried and a telephone."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 103)
    await desk.fix(bank_account_id)
    page = await desk.browser.press(NOT_YET)
    assert ("Let us find out what is wrong", "What is wrong") == (page.title, page.now)
    assert "Can you sign in at FinBank's own site?" in page.text
    assert "https://finbank.example/login" == page.links["FinBank's own site"]
    page = await desk.browser.press("Yes, I can")
    assert "Sign in to FinBank here once more" in page.text
    assert "Sign in again" in page.buttons
    page = await desk.browser.press(FAILED)
    assert "Do you have a new user name or password at FinBank" in page.text
    await desk.browser.press("No, both are as they were")
    await desk.browser.press("Yes, the same")
    page = await desk.browser.press("No, somebody else owns it")
    assert "Let the owner of the account sign in" in page.text
    await desk.browser.press("Sign in again")
    page = await desk.sign_in("demo", "wrong again")
    assert ("Sign in to FinBank", [read_code(103).words]) == (page.title, page.alerts)
    page = await desk.browser.press(NOT_YET)
    assert "Support helps you" == page.title, page.text
    assert ["Telephone", "A time that suits you", "Anything else (no passwords, please)"] == list(page.labels.values())
    page = await desk.browser.press("Send to support", telephone="none", convenient_time="", note="")
    assert 1 == len(page.alerts)
    said = {"telephone": "+1 208 555 0199", "convenient_time": "Mondays", "note": "Since the new card came"}
    page = await desk.browser.press("Send to support", **said)
    assert "Support has what it needs and will reach you." in page.text
    [row] = (await desk.api.get("/cases", bankAccountId=bank_account_id)).body["cases"]
    found = (await desk.api.get(f"/cases/{row['id']}")).body["case"]
    assert case_of(found) == {
        "state": "open",
        "bankAccountId": bank_account_id,
        "telephone": said["telephone"],
        "convenientTime": said["convenient_time"],
        "openedBy": f"client:{desk.api.client_id}",
        "code": 103,
        "bank": "FinBank",
    }
    assert [
        ("at_bank", "yes"),
        ("credentials", "failed"),
        ("changed", "no"),
        ("same_login", "yes"),
        ("owner", "no"),
        ("credentials_again", "failed"),
    ] == [(each["step"], each["answer"]) for each in found["tried"]]
    assert "reported" == (await desk.session())["outcome"]


def case_of(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a test looks at of a case."""
    kept = {name: found[name] for name in ("state", "bankAccountId", "telephone", "convenientTime", "openedBy")}
    return kept | {"code": found["facts"]["code"], "bank": found["facts"]["institutionName"]}


async def test_widget_sends_to_the_bank_whom_it_does_not_let_in(desk: Desk) -> None:
    """Whoever cannot sign in at the bank's own site gets its telephone and address, and is asked nothing more."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 103)
    await desk.fix(bank_account_id)
    await desk.browser.press(NOT_YET)
    page = await desk.browser.press("No, it does not let me in")
    assert "telephone 1-208-555-0132" in page.text
    assert "https://finbank.example" in page.text
    assert ["Leave"] == page.buttons
