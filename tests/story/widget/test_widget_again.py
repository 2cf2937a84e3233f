"""The same bank added again: one login stays one bank account, and what people did with it stays as it is."""

import pytest

from tests.story.widget.conftest import Desk

LINK = "Link these accounts"
ADD = "Add these"
RENEWED = "FinBank was linked already; its sign-in is renewed and everything else stays as it was."


async def add_again(desk: Desk, username: str = "demo", password: str = "go") -> str:
    """Add FinBank once more; return what the page says."""
    await desk.add()
    return (await desk.sign_in(username, password)).text


async def logins_at_the_bank(desk: Desk) -> list[str]:
    """List the logins that the aggregator has of the client, with the types of their accounts."""
    ref = await desk.superuser.fetchval("SELECT aggregator_customer_id FROM enrolments")
    listed = await desk.context.connectors["finicity"].list_accounts(ref)
    return sorted(each.type for each in listed)


@pytest.mark.parametrize("code", [0, 103])
async def test_widget_updates_a_login_that_is_added_again(desk: Desk, code: int) -> None:
    """It gets the new credentials and keeps ids, names, hidden accounts, rows and entries; a broken one works again."""
    bank_account_id = await desk.link()
    await desk.own(bank_account_id)
    before = await desk.look()
    if code:
        await desk.damage(bank_account_id, code)
    assert RENEWED in await add_again(desk)
    session = await desk.session()
    assert ("updated", bank_account_id) == (session["outcome"], session["connection_id"])
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    assert before == await desk.look()
    assert ["checking", "creditCard", "savings"] == await logins_at_the_bank(desk)
    lines = [("broken", code), ("reconnected", 0)] if code else []
    assert [("added", None), ("refreshed", 0), *lines] == await desk.history(bank_account_id)


async def test_widget_updates_with_the_answers_that_a_broken_login_needs(desk: Desk) -> None:
    """Where the bank asks at the renewal too, its question is on the page, and the login works after the answer."""
    bank_account_id = await desk.link()
    await desk.damage(bank_account_id, 185)
    page_text = await add_again(desk)
    assert "FinBank wants to be sure that it is you." in page_text
    page = await desk.answer("Rex")
    assert RENEWED in page.text
    await desk.work()
    assert ("active", 0) == await desk.standing(bank_account_id)
    assert [("needs_mfa", 185), ("reconnected", 0)] == (await desk.history(bank_account_id))[2:]


async def test_widget_knows_a_login_that_was_added_a_moment_ago(desk: Desk) -> None:
    """Before any of its accounts came in, the aggregator tells which they are: nothing is linked twice."""
    await desk.add()
    await desk.sign_in("demo", "go")
    await desk.browser.press(LINK)
    assert RENEWED in await add_again(desk)
    await desk.work()
    connections, accounts, *_ = await desk.look()
    assert (1, 3) == (len(connections), len(accounts))
    assert ["checking", "creditCard", "savings"] == await logins_at_the_bank(desk)


async def test_widget_links_once_what_two_pages_offer(desk: Desk) -> None:
    """Of two pages that offer the same accounts the second one finds them linked."""
    await desk.add()
    await desk.sign_in("demo", "go")
    first = desk.browser.page
    await desk.add()
    page = await desk.sign_in("demo", "go")
    assert "Choose accounts" == page.title == first.title
    assert "FinBank is linked." in (await desk.browser.press(LINK)).text
    await desk.browser.open(first.url)
    assert RENEWED in (await desk.browser.press(LINK)).text
    ended = await desk.superuser.fetch("SELECT outcome, connection_id FROM widget_sessions ORDER BY created_at")
    assert [("updated", await desk.newest()), ("linked", await desk.newest())] == [tuple(row) for row in ended]
    assert ["checking", "creditCard", "savings"] == await logins_at_the_bank(desk)


async def test_widget_links_another_username_as_another_login(desk: Desk) -> None:
    """Two people at one bank are two bank accounts, each renewed by its own credentials."""
    first = await desk.link()
    before = await desk.look()
    second = await desk.link("ann@example.com")
    assert first != second
    for bank_account_id in (first, second):
        assert ("active", 0) == await desk.standing(bank_account_id)
    after = await desk.look()
    assert (2, 6) == (len(after[0]), len(after[1]))
    assert before == [[row for row in rows if row in old] for rows, old in zip(after, before, strict=True)]
    await desk.damage(second, 103)
    assert RENEWED in await add_again(desk, "ann@example.com")
    await desk.work()
    assert ("active", 0) == await desk.standing(second)
    assert after == await desk.look()


async def test_widget_adds_a_deleted_account_again(desk: Desk) -> None:
    """An account deleted over the API is offered again, alone, and comes back with its rows, reconciled ones and entries.

    Added after that once more, nothing is offered, because nothing is missing.
    """
    bank_account_id = await desk.link()
    await desk.own(bank_account_id)
    before = await desk.look()
    checking = await desk.account("checking")
    assert 200 == (await desk.api.delete(f"/sub-accounts/{checking}")).status
    await desk.remove()
    assert ["creditCard", "savings"] == await logins_at_the_bank(desk)
    text = await add_again(desk)
    assert "Your sign-in was renewed. These accounts are not linked yet: choose those to add." in text
    assert 1 == text.count("\N{HORIZONTAL ELLIPSIS}")
    assert "FinBank is linked." in (await desk.browser.press(ADD)).text
    await desk.work()
    assert before[1:] == (await desk.look())[1:]
    assert RENEWED in await add_again(desk)
    await desk.damage(bank_account_id, 103)
    assert RENEWED in await add_again(desk)
    await desk.work()
    assert before[1:] == (await desk.look())[1:]
    assert {"active"} == {row["state"] for row in await desk.superuser.fetch("SELECT state FROM connections")}


async def test_widget_keeps_nothing_of_what_is_not_chosen(desk: Desk) -> None:
    """One account is linked where one is ticked; none at all is refused with a word; the rest can be added later."""
    await desk.add()
    page = await desk.sign_in("demo", "go")
    form = page.form(LINK)
    boxes = [name for name in form.inputs if name.startswith("account-")]
    for name in boxes:
        form.values.pop(name)
    page = await desk.browser.press(LINK)
    assert ["Choose at least one account, or leave without linking."] == page.alerts
    form = page.form(LINK)
    for name in boxes[1:]:
        form.values.pop(name)
    await desk.browser.press(LINK)
    await desk.work()
    assert ["checking"] == await logins_at_the_bank(desk)
    assert "Is it the same sign-in?" in await add_again(desk)
    await desk.browser.press(next(name for name in desk.browser.page.buttons if name.startswith("Renew FinBank (")))
    await desk.browser.press(ADD)
    await desk.work()
    assert ["checking", "creditCard", "savings"] == await logins_at_the_bank(desk)
    assert 3 == len((await desk.look())[1])


async def test_widget_links_anew_when_all_accounts_are_gone(desk: Desk) -> None:
    """With its last account a login is gone, here and at the aggregator; linked anew its accounts are what they were."""
    bank_account_id = await desk.link()
    await desk.own(bank_account_id)
    before = await desk.look()
    for row in before[1]:
        assert 200 == (await desk.api.delete(f"/sub-accounts/{row[0]}")).status
    assert 404 == (await desk.api.get(f"/bank-accounts/{bank_account_id}")).status
    await desk.remove()
    assert [] == await logins_at_the_bank(desk)
    answer = await desk.api.post("/widgets/fix", {"bankAccountId": bank_account_id})
    assert 404 == answer.status
    text = await add_again(desk)
    assert 3 == text.count("\N{HORIZONTAL ELLIPSIS}")
    await desk.browser.press(LINK)
    await desk.work()
    assert before[1:] == (await desk.look())[1:]
    assert bank_account_id != await desk.newest()


async def test_widget_leaves_alone_a_login_that_has_more(desk: Desk) -> None:
    """A sign-in that shows only some of a login's accounts is somebody else's: that login keeps its credentials."""
    bank_account_id = await desk.link()
    await desk.superuser.execute("UPDATE accounts SET number_display = '0000' WHERE type = 'checking'")
    await desk.add()
    page = await desk.sign_in("demo", "go")
    assert "Is it the same sign-in?" in page.text
    page = await desk.browser.press("Add another sign-in")
    assert ["Accounts that look like ones that are linked already are not ticked."] == page.alerts
    assert 1 == sum(name.startswith("account-") for name in page.form(LINK).values)
    await desk.browser.press("Leave")
    assert [bank_account_id] == [row[0] for row in (await desk.look())[0]]
