"""The Finicity connector against a real local server: token, customers, accounts, refusals."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, NoSuchAccount
from tests.story.finicity.fake import (
    ACCOUNT,
    ACCOUNTS,
    AUTH,
    CHECKING,
    LOGIN,
    NOON,
    Clock,
    Handler,
    Server,
    account,
    fault,
    says,
)


def test_it_is_an_aggregator(finicity: Finicity) -> None:
    """The connector has the shape of the protocol, and declares that a bank refresh is a person's to ask for."""
    aggregator: Aggregator = finicity
    assert aggregator is finicity
    assert Finicity.may_automate_bank_refresh is False


def test_secrets_do_not_print(config: FinicityConfig) -> None:
    """The settings of the connector print without secret and key."""
    assert "s3cret" not in repr(config)
    assert "k3y" not in repr(config)


# Token


async def test_one_token_serves_all(server: Server, finicity: Finicity) -> None:
    """Many requests at once authenticate once, and each carries key and token."""
    server.on(ACCOUNTS, says({"accounts": []}))
    await asyncio.gather(*(finicity.list_accounts("5") for _ in range(8)))
    assert server.count(AUTH) == 1
    assert server.asked[0].body == {"partnerId": "p", "partnerSecret": "s3cret"}
    assert {each.headers["Finicity-App-Token"] for each in server.asked[1:]} == {"t1"}
    assert {each.headers["Finicity-App-Key"] for each in server.asked} == {"k3y"}
    assert {each.headers["Accept"] for each in server.asked} == {"application/json"}


async def test_a_token_is_renewed_after_90_minutes(server: Server, finicity: Finicity, clock: Clock) -> None:
    """A token is used for 90 minutes and no longer."""
    server.on(ACCOUNTS, says({"accounts": []}))
    await finicity.list_accounts("5")
    clock.now_s += 90 * 60 - 1
    await finicity.list_accounts("5")
    assert server.count(AUTH) == 1
    clock.now_s += 1
    await finicity.list_accounts("5")
    assert server.count(AUTH) == 2


@pytest.mark.parametrize("code", [10022, "10022", 10023, "10023"])
async def test_a_stale_token_is_renewed_once(server: Server, finicity: Finicity, code: object) -> None:
    """A request whose token is refused as invalid or expired is repeated with a new one."""
    server.on(ACCOUNTS, fault(401, code), says({"accounts": [account()]}))
    assert await finicity.list_accounts("5") == (CHECKING,)
    assert [each.headers.get("Finicity-App-Token") for each in server.asked] == [None, "t1", None, "t2"]


async def test_a_token_that_stays_stale_is_an_error(server: Server, finicity: Finicity) -> None:
    """When the new token is refused as well, the request fails; nothing is tried a third time."""
    server.on(ACCOUNTS, fault(401, "10023", "Expired (Finicity-App-Token)"))
    with pytest.raises(AggregatorError, match="Expired") as caught:
        await finicity.list_accounts("5")
    assert (caught.value.code, caught.value.is_retryable) == (None, False)
    assert (server.count(AUTH), server.count(ACCOUNTS)) == (2, 2)


async def test_stale_tokens_of_many_are_renewed_together(server: Server, finicity: Finicity) -> None:
    """Requests that find the same token stale at once share the new one."""

    async def until_t2(request: web.Request) -> web.StreamResponse:
        stale = request.headers["Finicity-App-Token"] == "t1"
        return await (fault(401, 10023) if stale else says({"accounts": []}))(request)

    server.on(ACCOUNTS, until_t2)
    await asyncio.gather(*(finicity.list_accounts("5") for _ in range(8)))
    assert server.count(AUTH) == 2


@pytest.mark.parametrize("refusal", [fault(401, "10001"), fault(401, 24302), says("Invalid (Finicity-App-Key)", 401)])
async def test_refused_credentials_are_left_alone(
    server: Server, finicity: Finicity, clock: Clock, refusal: Handler
) -> None:
    """After a refusal nobody asks again for 15 minutes, however many callers there are."""
    server.on(AUTH, refusal)
    for _ in range(2):
        outcomes = await asyncio.gather(*(finicity.list_accounts("5") for _ in range(4)), return_exceptions=True)
        assert [(type(each), getattr(each, "is_retryable", None)) for each in outcomes] == [
            (AggregatorError, False)
        ] * 4
        clock.now_s += 15 * 60 - 1
    assert server.count(AUTH) == 1
    with pytest.raises(AggregatorError):
        await finicity.list_accounts("5")
    assert server.count(AUTH) == 2


async def test_credentials_are_tried_three_times_at_most(server: Server, finicity: Finicity, clock: Clock) -> None:
    """The third refusal is the last: the fifth would lock the partner, and other workers may be asking too."""
    server.on(AUTH, fault(401, "10001"))
    for _ in range(10):
        with pytest.raises(AggregatorError, match="refused our partner credentials"):
            await finicity.list_accounts("5")
        clock.now_s += 3_600
    assert server.count(AUTH) == 3


async def test_a_success_forgets_the_refusals(server: Server, finicity: Finicity, clock: Clock) -> None:
    """Once the credentials were accepted, refusals are counted anew."""
    refused, accepted = fault(401, "10001"), says({"token": "t9"})
    server.on(AUTH, refused, refused, accepted, refused, refused, accepted)
    server.on(ACCOUNTS, says({"accounts": []}))
    outcomes: list[object] = []
    for _ in range(6):
        clock.now_s += 2 * 3_600
        outcomes.extend(await asyncio.gather(finicity.list_accounts("5"), return_exceptions=True))
    assert [each == () for each in outcomes] == [False, False, True, False, False, True]


async def test_an_authentication_that_fails_by_itself_is_no_refusal(server: Server, finicity: Finicity) -> None:
    """A broken server does not count as refused credentials: the next caller asks again."""
    server.on(AUTH, says("oops", 503), says({"token": "t9"}))
    server.on(ACCOUNTS, says({"accounts": []}))
    with pytest.raises(AggregatorError) as caught:
        await finicity.list_accounts("5")
    assert caught.value.is_retryable
    assert await finicity.list_accounts("5") == ()


@pytest.mark.parametrize("answer", [{}, {"token": ""}, {"token": "a\r\nb"}, {"token": 5}])
async def test_an_unusable_token_is_a_bad_answer(server: Server, finicity: Finicity, answer: object) -> None:
    """A token that is no printable text is never sent."""
    server.on(AUTH, says(answer))
    with pytest.raises(BadAggregatorAnswer):
        await finicity.list_accounts("5")


# Customers


@pytest.mark.parametrize("kind", ["testing", "active"])
async def test_a_customer_is_created(config: FinicityConfig, server: Server, kind: Any) -> None:
    """A client becomes a testing or an active customer, as configured."""
    server.on(f"/aggregation/v2/customers/{kind}", says({"id": 5, "username": "c-1", "createdDate": NOON}, 201))
    connector = Finicity(replace(config, customer_kind=kind))
    assert await connector.create_customer("c-1") == "5"
    assert server.asked[-1].body == {"username": "c-1"}
    await connector.close()


async def test_a_customer_that_exists_is_found(server: Server, finicity: Finicity) -> None:
    """A username that is taken leads to its customer, so that creating is safe to repeat."""
    server.on("/aggregation/v2/customers/testing", fault(409, "110002", "Username is not available."))
    found = [{"id": "6", "username": "c-10"}, {"id": "5", "username": "c-1"}]
    server.on("/aggregation/v1/customers", says({"displaying": 2, "moreAvailable": False, "customers": found}))
    assert await finicity.create_customer("c-1") == "5"
    assert server.asked[-1].query == {"username": "c-1"}


async def test_a_taken_username_without_customer_is_an_error(server: Server, finicity: Finicity) -> None:
    """A username that is taken by nobody we can see is never guessed."""
    server.on("/aggregation/v2/customers/testing", fault(409, 110002))
    server.on("/aggregation/v1/customers", says({"customers": []}))
    with pytest.raises(BadAggregatorAnswer, match="knows 0 customers"):
        await finicity.create_customer("c-1")


# Accounts


async def test_accounts_are_listed(server: Server, finicity: Finicity) -> None:
    """Accounts are read with exact balances, ids as text whatever the wire has, and fields unknown to us ignored."""
    body = json.dumps({"accounts": [account(id=901, institutionLoginId="78", detail={"x": [1]})]}).encode()
    server.on(ACCOUNTS, says(body.replace(b"401.26", b"-123456789012345678.90")))
    (listed,) = await finicity.list_accounts("5")
    assert (listed.account_ref, listed.login_ref, listed.institution_ref) == ("901", "78", "102105")
    assert listed.balance == Decimal("-123456789012345678.90")


async def test_a_new_account_has_no_health_yet(server: Server, finicity: Finicity) -> None:
    """Before the first aggregation code, dates and balance are absent."""
    bare = {"id": "900", "institutionLoginId": 77, "institutionId": "102105", "type": "savings", "name": "New"}
    server.on(LOGIN, says({"accounts": [bare]}))
    assert await finicity.list_login_accounts("5", "77") == (
        ListedAccount(account_ref="900", login_ref="77", institution_ref="102105", name="New", type="savings"),
    )


async def test_a_login_without_accounts_is_empty(server: Server, finicity: Finicity) -> None:
    """A login of which Finicity says that it has no accounts is an empty list; a customer it does not know is not."""
    server.on(LOGIN, fault(404, "38007"), fault(404, "14001"))
    assert await finicity.list_login_accounts("5", "77") == ()
    with pytest.raises(NoSuchAccount):
        await finicity.list_login_accounts("5", "77")


@pytest.mark.parametrize("code", [38003, "38003", "14001"])
async def test_only_no_such_account_means_none(server: Server, finicity: Finicity, code: object) -> None:
    """An account is gone when Finicity says so with the documented code, and only then."""
    server.on(ACCOUNT, fault(404, code), says(account()))
    assert await finicity.find_account("5", "900") is None
    assert await finicity.find_account("5", "900") == CHECKING


@pytest.mark.parametrize(
    "answer",
    [fault(404, "10100"), says("<html>", 404), says({}, 404), fault(500, 38003), fault(400, 38003), fault(403, 14001)],
)
async def test_any_other_refusal_is_not_none(server: Server, finicity: Finicity, answer: Handler) -> None:
    """A missing page, another code or another status does not say that an account is gone."""
    server.on(ACCOUNT, answer)
    with pytest.raises(AggregatorError):
        await finicity.find_account("5", "900")


@pytest.mark.parametrize(
    "change",
    [
        {"balance": 1.234},
        {"balance": "lots"},
        {"balance": 1e30},
        {"currency": "dollars"},
        {"balanceDate": 1772452800000},
        {"balanceDate": -5},
        {"id": ""},
        {"id": None},
        {"institutionLoginId": "x" * 65},
        {"aggregationStatusCode": "unknown"},
        {"type": None},
    ],
)
async def test_an_unreadable_account_is_a_bad_answer(
    server: Server, finicity: Finicity, change: dict[str, object]
) -> None:
    """An account that cannot be read without guessing fails the listing, so that it never looks deleted."""
    server.on(ACCOUNTS, says({"accounts": [account(), account(**change)]}))
    with pytest.raises(BadAggregatorAnswer):
        await finicity.list_accounts("5")


@pytest.mark.parametrize("ref", ["", "..", "9/../8", "9?x=1", "9\r\n", "é", "%2e"])
async def test_a_strange_ref_is_never_sent(server: Server, finicity: Finicity, ref: str) -> None:
    """A ref that came in by a webhook cannot become another path; nor does it say that an account is gone."""
    with pytest.raises(AggregatorError, match="no id of Finicity's") as caught:
        await finicity.find_account("5", ref)
    assert not caught.value.is_retryable
    assert [each.path for each in server.asked] == [AUTH]


async def test_a_bank_refresh_is_asked_for_by_login(server: Server, finicity: Finicity) -> None:
    """A bank refresh is a POST to the login, and returns its accounts."""
    server.on(LOGIN, says({"accounts": [account()]}), fault(500, 325))
    assert await finicity.ask_bank_refresh("5", "77") == (CHECKING,)
    assert server.asked[-1].method == "POST"
    with pytest.raises(AggregatorError) as caught:
        await finicity.ask_bank_refresh("5", "77")
    assert (caught.value.code, caught.value.is_retryable) == (325, True)


# Refusals and broken answers


@pytest.mark.parametrize(
    ("answer", "code", "is_retryable"),
    [
        (fault(500, 103), 103, False),
        (fault(500, "185"), 185, False),
        (fault(500, 913), 913, False),
        (fault(500, 102), 102, True),
        (fault(500, 977), 977, True),
        (fault(500, 127), 127, True),
        (fault(500, "not a code"), None, True),
        (fault(500, 10**30), None, True),
        (fault(408, 331), 331, False),
        (fault(500, 424242), 424242, True),
        (fault(500, 0), None, True),
        (fault(404, 949), 949, False),
        (fault(403, 403), None, False),
        (fault(503, 424242), None, True),
        (fault(429, 3300001), None, True),
        (says("slow down", 429), None, True),
        (says("<html>Bad gateway</html>", 502), None, True),
        (says("Invalid (Finicity-App-Key)", 401), None, False),
        (fault(400, 10005), None, False),
        (says({"Errors": [{"code": 12401, "message": "partner not found"}]}, 404), None, False),
        (says([1], 500), None, True),
        (says("[" * 10_000, 500), None, True),
    ],
)
async def test_refusals_say_whether_to_ask_again(
    server: Server, finicity: Finicity, answer: Handler, code: int | None, is_retryable: object
) -> None:
    """The aggregation code inside an error body decides, where there is none the HTTP status.

    It is any code inside HTTP 500, and a listed one elsewhere; an API's own code, or one that repeats the status, is none.
    """
    server.on(ACCOUNTS, answer)
    with pytest.raises(AggregatorError) as caught:
        await finicity.list_accounts("5")
    assert (caught.value.code, caught.value.is_retryable) == (code, is_retryable)
    assert len(str(caught.value)) < 400


async def test_only_a_login_has_an_aggregation_code(server: Server, finicity: Finicity) -> None:
    """A code in answer to anything but a customer's own things says nothing of how a login stands."""
    server.on("/institution/v2/institutions/9", fault(500, 103))
    with pytest.raises(AggregatorError, match="code 103") as caught:
        await finicity.find_institution("9")
    assert (caught.value.code, caught.value.is_retryable) == (None, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<accounts/>",
        b"[]",
        b"{}",
        b'{"accounts": {}}',
        b'{"accounts": [5]}',
        b"\xff",
        b'{"accounts": ' + b"[" * 9_999,
    ],
)
async def test_an_undocumented_answer_is_a_bad_one(server: Server, finicity: Finicity, body: bytes) -> None:
    """A 200 that is not the documented JSON is a bad answer, never an empty list."""
    server.on(ACCOUNTS, says(body))
    with pytest.raises(BadAggregatorAnswer):
        await finicity.list_accounts("5")


async def test_a_redirect_is_not_followed(server: Server, finicity: Finicity) -> None:
    """A redirect would carry key and token elsewhere; it is a bad answer."""

    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": server.url + ACCOUNT})

    server.on(ACCOUNTS, elsewhere)
    with pytest.raises(BadAggregatorAnswer, match="302"):
        await finicity.list_accounts("5")
    assert server.count(ACCOUNT) == 0


async def test_a_huge_answer_is_cut_off(server: Server, config: FinicityConfig) -> None:
    """An answer over the limit is dropped on the way, compressed or not."""

    async def squeezed(_: web.Request) -> web.Response:
        response = web.Response(body=b" " * 3_000_000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    server.on(ACCOUNTS, says(b" " * 100_001), squeezed)
    connector = Finicity(replace(config, max_answer_bytes=100_000))
    for _ in range(2):
        with pytest.raises(BadAggregatorAnswer, match="longer than 100,000 bytes"):
            await connector.list_accounts("5")
    await connector.close()


async def test_silence_ends_in_time(server: Server, config: FinicityConfig) -> None:
    """A server that does not answer is given up after the configured time, and may be asked again."""
    released = asyncio.Event()

    async def silence(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    server.on(ACCOUNTS, silence)
    connector = Finicity(replace(config, timeout_s=0.2))
    with pytest.raises(AggregatorError, match="could not be reached") as caught:
        await connector.list_accounts("5")
    released.set()
    assert caught.value.is_retryable
    await connector.close()


async def test_nobody_there_is_an_aggregator_error(config: FinicityConfig) -> None:
    """A refused connection, and one that breaks off, are the aggregator's errors."""
    connector = Finicity(replace(config, base_url="http://127.0.0.1:1"))
    with pytest.raises(AggregatorError, match="could not be reached"):
        await connector.list_accounts("5")
    await connector.close()
    await connector.close()
