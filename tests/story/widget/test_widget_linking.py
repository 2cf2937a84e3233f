"""Linking a bank in the widget, by its pages: every row of Finbank's table that lets somebody in, and what comes of it."""

from tests.story.widget.conftest import Desk


async def test_widget_links_a_bank_that_is_searched_for(desk: Desk) -> None:
    """From a part of the bank's name to transactions: search, sign in, choose, done; then they come in."""
    page = await desk.browser.open(await desk.ask("add", clientId=desk.api.client_id))
    assert ("Link a bank", "Bank") == (page.title, page.now)
    page = await desk.browser.press("Search", q="finbank")
    await desk.browser.press(next(name for name in page.buttons if name.startswith("FinBank finbank.example")))
    assert ("Sign in to FinBank", "Sign in") == (desk.browser.page.title, desk.browser.page.now)
    page = await desk.sign_in("demo", "go")
    assert ("Choose accounts", "Accounts") == (page.title, page.now)
    page = await desk.browser.press("Link these accounts")
    assert ("Done", "Done") == (page.title, page.now)
    assert "FinBank is linked." in page.text
    await desk.work()
    page = await desk.browser.open(desk.browser.page.url)
    assert "3 accounts," in page.text
    assert ", 0 transactions" not in page.text
    bank_account_id = await desk.newest()
    assert ("active", 0) == await desk.standing(bank_account_id)
    assert [("added", None), ("refreshed", 0)] == await desk.history(bank_account_id)
