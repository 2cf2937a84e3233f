"""Asking the bank through Finicity: what is an answer, what goes on there, and what needs a person."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from aiohttp import web

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.errors import AggregatorError, NoSuchAccount, StillAsking
from tests.finbank import free_port
from tests.story.finicity.fake import LOGIN, Server, account, fault, says

HISTORY = "/aggregation/v1/customers/5/accounts/900/transactions/historic"
AT = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
LISTED = ListedAccount(account_ref="1", login_ref="2", institution_ref="3", name="", type="checking")


@pytest_asyncio.fixture
async def hasty(config: FinicityConfig) -> AsyncIterator[Finicity]:
    """A connector that gives the bank half a second."""
    connector = Finicity(replace(config, bank_refresh_timeout_s=0.5))
    yield connector
    await connector.close()


async def hang(_: web.Request) -> web.Response:
    """Answer long after anybody waits."""
    await asyncio.sleep(5)
    return web.Response(status=204)


@pytest.mark.parametrize("code", [325, 5006, "325"])
@pytest.mark.parametrize("path", [LOGIN, HISTORY])
async def test_one_that_runs_already_goes_on(server: Server, finicity: Finicity, path: str, code: object) -> None:
    """Codes 325 and 5006 inside HTTP 500 say that the bank is being asked: no failure, and no reason to ask again."""
    server.on(path, fault(500, code))
    with pytest.raises(StillAsking) as caught:
        await ask(finicity, path)
    assert int(str(code)) == caught.value.code


@pytest.mark.parametrize("path", [LOGIN, HISTORY])
async def test_what_takes_too_long_goes_on(server: Server, hasty: Finicity, path: str) -> None:
    """Where the answer does not come in time Finicity goes on without us."""
    server.on(path, hang)
    with pytest.raises(StillAsking):
        await ask(hasty, path)


async def test_what_was_never_asked_does_not_go_on(config: FinicityConfig) -> None:
    """Where nobody can be reached nothing was asked: it has to be asked again."""
    finicity = Finicity(replace(config, base_url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(AggregatorError) as caught:
        await finicity.ask_bank_refresh("5", "77")
    assert not isinstance(caught.value, StillAsking)
    assert caught.value.is_retryable
    await finicity.close()


async def test_a_listing_that_takes_too_long_is_no_ask(server: Server, config: FinicityConfig) -> None:
    """Only what asks the bank goes on there; reading that times out has failed."""
    finicity = Finicity(replace(config, timeout_s=0.5))
    server.on(LOGIN, hang)
    with pytest.raises(AggregatorError) as caught:
        await finicity.list_login_accounts("5", "77")
    assert not isinstance(caught.value, StillAsking)
    await finicity.close()


@pytest.mark.parametrize("path", [LOGIN, HISTORY])
async def test_a_refusal_of_the_bank_has_its_code(server: Server, finicity: Finicity, path: str) -> None:
    """An aggregation code inside HTTP 500 is the bank's answer."""
    server.on(path, fault(500, 103))
    with pytest.raises(AggregatorError) as caught:
        await ask(finicity, path)
    assert (103, False) == (caught.value.code, caught.value.is_retryable)


async def test_history_is_asked_for_by_account(server: Server, finicity: Finicity) -> None:
    """The history of an account is a POST, asked for and answered without a body."""
    server.on(HISTORY, says(b"", 204))
    await finicity.ask_bank_history("5", "900")
    assert ("POST", HISTORY, None) == (server.asked[-1].method, server.asked[-1].path, server.asked[-1].body)


async def test_a_question_needs_a_person(server: Server, finicity: Finicity) -> None:
    """HTTP 203 says that the bank asks a question: nothing more can be done without a person."""
    server.on(HISTORY, says(b"", 203))
    with pytest.raises(AggregatorError) as caught:
        await finicity.ask_bank_history("5", "900")
    assert (185, False) == (caught.value.code, caught.value.is_retryable)


async def test_an_account_that_is_gone_is_said(server: Server, finicity: Finicity) -> None:
    """The history of an account that is not there is no history."""
    server.on(HISTORY, fault(404, 38003))
    with pytest.raises(NoSuchAccount):
        await finicity.ask_bank_history("5", "900")


async def test_no_account_is_no_failure(server: Server, finicity: Finicity) -> None:
    """A login without accounts is refreshed to nothing."""
    server.on(LOGIN, fault(404, 38007))
    assert () == await finicity.ask_bank_refresh("5", "77")
    server.on(LOGIN, says({"accounts": [account()]}))
    assert ["900"] == [each.account_ref for each in await finicity.ask_bank_refresh("5", "77")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"status_code": 0, "attempted_at": AT, "succeeded_at": AT}, False),
        ({"status_code": 0, "attempted_at": AT, "succeeded_at": AT - timedelta(seconds=1)}, True),
        ({"status_code": 0, "attempted_at": AT}, True),
        ({"attempted_at": AT}, True),
        ({"status_code": 325}, True),
        ({"status_code": 325, "attempted_at": AT, "succeeded_at": AT}, True),
        ({"status_code": 103, "attempted_at": AT}, False),
    ],
)
def test_an_account_tells_whether_it_is_being_asked(changes: dict[str, object], expected: bool) -> None:  # noqa: FBT001
    """It is while the last attempt has neither a success nor an error."""
    assert expected == replace(LISTED, **changes).is_being_asked  # type: ignore[arg-type]  # a row of the table above


async def ask(finicity: Finicity, path: str) -> None:
    await (finicity.ask_bank_refresh("5", "77") if path == LOGIN else finicity.ask_bank_history("5", "900"))
