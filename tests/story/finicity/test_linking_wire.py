"""What linking sends to Finicity, and what it makes of answers that are nonsense or too much, or repeat a secret."""

import asyncio
import json
import time
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.aggregators.finicity_http import Ask
from bankfeed.aggregators.finicity_linking_wire import MAX_PICTURE_BYTES, read_link
from bankfeed.aggregators.finicity_wire import Unreadable
from bankfeed.aggregators.linking import (
    Challenge,
    ChallengeKind,
    Consent,
    FormField,
    Offer,
    OfferedAccount,
    OwnWidget,
    Question,
)
from bankfeed.connectors import make_connectors
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, StillAsking
from bankfeed.settings import Settings
from tests.story.finicity.fake import LOGIN, Handler, Server, account, fault, says

FORM = "/aggregation/v1/institutions/7/loginForm"
FOUND = "/aggregation/v1/customers/5/institutions/7/accounts"
LINK = "/aggregation/v2/customers/5/institutions/7/accounts"
OAUTH = "/aggregation/v1/customers/5/institutions/7/oauth"
CHANGE = "/aggregation/v1/customers/5/institutionLogins/77"
CONNECT = "/connect/v2/generate"
SECRET = "hunter2-hunter2"
BANK_S = 0.4
CREDENTIALS = {"7001": "ann", "7002": SECRET}
ANSWERS = [("Pet?", SECRET)]
CHOSEN = OfferedAccount(account_ref="900", name="Checking", number=SECRET, number_display="4444", type="checking")
PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff\xe0...", b"GIF89a..."

CALLS: dict[str, tuple[str, Callable[[Finicity], Awaitable[object]]]] = {
    "discover": (FOUND, lambda it: it.discover("5", "7", CREDENTIALS)),
    "answer_discovery": (f"{FOUND}/mfa", lambda it: it.answer_discovery("5", "7", SECRET, ANSWERS)),
    "link": (LINK, lambda it: it.link("5", "7", [CHOSEN])),
    "change_credentials": (CHANGE, lambda it: it.change_credentials("5", "77", CREDENTIALS)),
    "answer_refresh": (f"{LOGIN}/mfa", lambda it: it.answer_refresh("5", "77", SECRET, ANSWERS)),
    "begin_consent": (OAUTH, lambda it: it.begin_consent("5", "7", back_to="https://f.example", state=SECRET)),
    "end_consent": (f"{OAUTH}/{SECRET}", lambda it: it.end_consent("5", "7", SECRET, SECRET)),
}


@pytest_asyncio.fixture
async def hasty(config: FinicityConfig) -> AsyncIterator[Finicity]:
    """A connector without patience, and with a little for the bank."""
    connector = Finicity(replace(config, timeout_s=0.1, bank_refresh_timeout_s=BANK_S))
    yield connector
    await connector.close()


def asks(body: object, session: str = "s-1") -> Handler:
    """Answer with a challenge."""

    async def answer(_: web.Request) -> web.Response:
        headers = {"MFA-Session": session} if session else {}
        return web.json_response(body, status=203, headers=headers)

    return answer


def base64(picture: bytes) -> str:
    return b64encode(picture).decode()


def form_of(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"loginForm": [{"id": "7001", "name": "Userid", "mask": "false"} | field for field in fields]}


def challenge(*questions: object, **more: Any) -> dict[str, Any]:
    return {"type": "TFA_TEXT", "questions": questions or [{"text": "Pet?"}]} | more


def question(**more: Any) -> dict[str, Any]:
    return challenge({"text": "Pet?"} | more)


def offered(**changes: Any) -> dict[str, Any]:
    return {"id": "900", "number": "1", "name": "Checking", "type": "checking", "status": "pending"} | changes


# What goes out


async def test_each_call_is_as_finicity_wants_it(server: Server, finicity: Finicity) -> None:
    """Method, path and body of every call; a session is a header, and being there is one too."""
    listed, begun = says({"accounts": [account()]}), says({"link": "https://bank.example/a", "oauthSession": "s-2"})
    server.on(FORM, says(form_of({})))
    for path in (FOUND, f"{FOUND}/mfa"):
        server.on(path, says({"accounts": [offered()]}))
    for path in (LINK, LOGIN, f"{LOGIN}/mfa", f"{OAUTH}/{SECRET}"):
        server.on(path, listed)
    server.on(CHANGE, says(b"", 204))
    server.on(OAUTH, begun)
    await finicity.find_form("7")
    for _, call in CALLS.values():
        await call(finicity)
    await finicity.refresh_with_person("5", "77")
    await finicity.begin_consent("5", "7", back_to="https://f.example", state="s", login_ref="77")
    credentials = {"credentials": [{"id": "7001", "value": "ann"}, {"id": "7002", "value": SECRET}]}
    answers = {"questions": [{"text": "Pet?", "answer": SECRET}]}
    consent = {"redirectUri": "https://f.example", "state": SECRET}
    chosen = {"accounts": [{"id": "900", "number": SECRET, "name": "Checking", "type": "checking"}]}
    assert [
        ("GET", FORM, None),
        ("POST", FOUND, credentials),
        ("POST", f"{FOUND}/mfa", answers),
        ("PUT", LINK, chosen),
        ("PUT", CHANGE, credentials),
        ("POST", f"{LOGIN}/mfa", answers),
        ("POST", OAUTH, consent),
        ("POST", f"{OAUTH}/{SECRET}", {"code": SECRET}),
        ("POST", LOGIN, None),
        ("POST", OAUTH, {"redirectUri": "https://f.example", "state": "s", "institutionLoginId": "77"}),
    ] == [(it.method, it.path, it.body) for it in server.asked[1:]]
    assert {f"{FOUND}/mfa": SECRET, f"{LOGIN}/mfa": SECRET} == {
        it.path: it.headers["MFA-Session"] for it in server.asked if "MFA-Session" in it.headers
    }
    assert [LOGIN] == [it.path for it in server.asked if it.headers.get("Interactive") == "true"]


async def test_connect_is_asked_for_in_three_ways(server: Server, finicity: Finicity) -> None:
    """Connect opens empty, at an institution (a number there), or at a login to repair, which goes before."""
    for kind in ("", "/lite", "/fix"):
        server.on(CONNECT + kind, says({"link": f"https://connect.example/?kind={kind}"}))
    shared = {"partnerId": "p", "customerId": "5", "webhookContentType": "application/json", "singleUseUrl": True}
    assert "https://connect.example/?kind=" == await finicity.make_widget_url(OwnWidget(customer_ref="5"))
    assert shared == server.asked[-1].body
    wanted = OwnWidget(
        customer_ref="5", institution_ref="7", redirect_uri="https://f.example", webhook="https://h.example"
    )
    assert "https://connect.example/?kind=/lite" == await finicity.make_widget_url(wanted)
    ways = {"redirectUri": "https://f.example", "webhook": "https://h.example"}
    assert shared | ways | {"institutionId": 7} == server.asked[-1].body
    assert "https://connect.example/?kind=/fix" == await finicity.make_widget_url(replace(wanted, login_ref="77"))
    assert shared | ways | {"institutionLoginId": "77"} == server.asked[-1].body
    with pytest.raises(AggregatorError, match="no institution"):
        await finicity.make_widget_url(OwnWidget(customer_ref="5", institution_ref="seven"))


@pytest.mark.parametrize(("word", "is_theirs"), [("own", False), ("theirs", True)])
async def test_the_setting_says_whose_widget_links(word: str, *, is_theirs: bool) -> None:
    """Whose widget links is a setting, and the connector's to say."""
    connectors = make_connectors(Settings.from_environ({"BANKFEED_FINICITY_WIDGET": word}))
    assert {"finicity": is_theirs} == {name: connector.has_own_widget for name, connector in connectors.items()}
    for connector in connectors.values():
        await connector.close()


# What comes back


async def test_a_form_is_read_in_its_order(server: Server, finicity: Finicity) -> None:
    """Fields come by their display order; what does not say that it may be seen is masked."""
    password = {"id": 7002, "name": None, "description": "Password", "displayOrder": 2, "mask": None}
    server.on(FORM, says(form_of(password, {"displayOrder": 1, "instructions": "As\nalways."})))
    assert await finicity.find_form("7") == (
        FormField(id="7001", name="Userid", hint="As always."),
        FormField(id="7002", name="Password", is_masked=True),
    )


async def test_a_challenge_is_read_word_for_word(server: Server, finicity: Finicity) -> None:
    """What goes back to Finicity stays as it came; pictures are PNG, JPEG or GIF."""
    pictures = [{"image": base64(JPEG), "value": 1}, {"image": base64(GIF), "value": " b "}]
    body = challenge(
        {"text": " Pet?\n", "image": base64(PNG), "imageChoices": pictures}, {"text": "X", "choices": [" a "]}
    )
    server.on(FOUND, asks(body))
    asked = await finicity.discover("5", "7", CREDENTIALS)
    assert isinstance(asked, Challenge)
    assert "s-1" == asked.session
    first, second = asked.questions
    assert (" Pet?\n", PNG, [(JPEG, "1"), (GIF, " b ")]) == (
        *(first.text, first.picture, [(it.picture, it.value) for it in first.pictures]),
    )
    assert Question(text="X", choices=(" a ",)) == second


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "missing required field `loginForm`"),
        ({"loginForm": []}, "1 to 20 fields, got 0"),
        (form_of(*({"id": str(n)} for n in range(21))), "1 to 20 fields, got 21"),
        (form_of({}, {}), "each field of loginForm once"),
        (form_of({"name": " ", "description": None}), "have a name"),
        (form_of({"id": "x" * 65}), "1 to 64 characters, got 65"),
        (form_of({"id": "a\x00b"}), "control character"),
    ],
)
async def test_an_odd_form_is_refused(server: Server, finicity: Finicity, body: object, said: str) -> None:
    """A form is shown whole or not at all."""
    server.on(FORM, says(body))
    with pytest.raises(BadAggregatorAnswer, match=said):
        await finicity.find_form("7")


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (asks({}), "missing required field"),
        (asks(challenge(type="TFA_DANCE")), "got another word of 9 characters"),
        (asks({"type": "TFA_TEXT", "questions": []}), "1 to 20 questions, got 0"),
        (asks(challenge(*[{"text": "?"}] * 21)), "1 to 20 questions, got 21"),
        (asks(question(text="")), "1 to 1,000 characters, got 0"),
        (asks(question(text="?" * 1_001)), "1 to 1,000 characters, got 1,001"),
        (asks(question(text="Pet\x00?")), "control character"),
        (asks(question(text=5)), "Expected `str`, got `int`"),
        (asks(question(choices=["a"] * 21)), "0 to 20 choices, got 21"),
        (asks(question(choices=["a" * 257])), "1 to 256 characters, got 257"),
        (asks(question(imageChoices=[{"image": base64(PNG), "value": "a"}] * 21)), "0 to 20 pictures, got 21"),
        (asks(question(imageChoices=[{"image": base64(PNG), "value": ""}])), "a picture's value"),
        (asks(question(image="<svg>")), "a picture in Base64"),
        (asks(question(image="é")), "a picture in Base64"),
        (asks(question(image=base64(b"<svg onload=x>"))), "PNG, JPEG or GIF"),
        (asks(question(image=base64(PNG.ljust(MAX_PICTURE_BYTES + 1)))), "262,144 bytes at most"),
        (asks(question(image=base64(PNG.ljust(2 * MAX_PICTURE_BYTES)))), "262,144 bytes at most"),
        (asks(challenge(expiresAt=-1)), "seconds since 1970"),
        (asks(challenge(expiresAt=10**15)), "seconds since 1970"),
        (asks(challenge(), session=""), "a session of 1 to 512"),
        (asks(challenge(), session="s" * 513), "a session of 1 to 512"),
        (asks(challenge(), session="a b"), "a session of 1 to 512"),
        (says("no JSON"), "not as documented"),
        (says(b"\xff\xfe"), "not as documented"),
        (says(b"[" * 100_000), "not as documented"),
        (says(" " * (8 * 1024 * 1024 + 1)), "longer than 8,388,608 bytes"),
        (says({"accounts": [offered(status="active")]}), "status pending"),
        (says({"accounts": [offered(), offered()]}), "each account once"),
        (says({"accounts": [offered(id=str(n)) for n in range(101)]}), "0 to 100 accounts, got 101"),
        (says({"accounts": [offered(number="1" * 65)]}), "an account's number"),
        (says({"accounts": [offered(type="")]}), "an account's type"),
    ],
)
async def test_an_odd_discovery_is_refused(server: Server, finicity: Finicity, handler: Handler, said: str) -> None:
    """Nothing odd or endless reaches the person: what was expected is said, and what came is not repeated."""
    server.on(FOUND, handler)
    with pytest.raises(BadAggregatorAnswer, match=said):
        await finicity.discover("5", "7", CREDENTIALS)


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ([account(), offered()], "status pending"),
        ([account(institutionLoginId="")], "a field that cannot be read"),
        ([account(id=str(n)) for n in range(101)], "0 to 100 accounts, got 101"),
    ],
)
async def test_an_odd_end_of_a_consent_is_refused(
    server: Server, finicity: Finicity, accounts: list[object], said: str
) -> None:
    """Accounts are all on offer or all linked."""
    server.on(f"{OAUTH}/s-2", says({"accounts": accounts}))
    with pytest.raises(BadAggregatorAnswer, match=said):
        await finicity.end_consent("5", "7", "s-2", "c")


@pytest.mark.parametrize("session", ["", "s" * 513, "../accounts", "a/b", "a b", "é"])
async def test_an_odd_consent_session_is_refused(server: Server, finicity: Finicity, session: str) -> None:
    """The session of a consent becomes part of a path, so it is one plain word."""
    server.on(OAUTH, says({"link": "https://bank.example/a", "oauthSession": session}))
    with pytest.raises(BadAggregatorAnswer, match="oauthSession"):
        await finicity.begin_consent("5", "7", back_to="https://f.example", state="s")


ODD_LINKS = [
    *("", "javascript:alert(1)", "data:text/html,x", "//bank.example", "https://", "https:///a", "bank.example/a"),
    *("https://user@bank.example/", "https://bank.example:x/", "https://bank.example/\r\nA: b", "https://bank.example/ a"),
    *('https://bank.example/"><script>', "https://bänk.example/", "ftp://bank.example/", "https://b.example/" + "a" * 5_000),
]  # fmt: skip


@pytest.mark.parametrize("link", ODD_LINKS)
async def test_an_odd_link_is_refused(server: Server, finicity: Finicity, link: str) -> None:
    """A browser is sent to whole http(s) addresses alone, of a consent and of Connect."""
    server.on(OAUTH, says({"link": link, "oauthSession": "s-2"}))
    server.on(CONNECT, says({"link": link}))
    with pytest.raises(BadAggregatorAnswer, match="expected link to be like"):
        await finicity.begin_consent("5", "7", back_to="https://f.example", state="s")
    with pytest.raises(BadAggregatorAnswer, match="expected link to be like"):
        await finicity.make_widget_url(OwnWidget(customer_ref="5"))


def test_connect_is_https() -> None:
    """A link is of the schemes that are asked for: where Finicity is reached by https, Connect is too."""
    assert "https://connect.example/?a=b" == read_link("https://connect.example/?a=b", "https")
    with pytest.raises(Unreadable, match="https://host"):
        read_link("http://connect.example/?a=b", "https")


# Secrets


async def hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def garble(request: web.Request) -> web.Response:
    """Answer with something that is not HTTP."""
    assert request.transport is not None
    request.transport.write(f"{SECRET}\r\n\r\n".encode())
    return await hang_up(request)


async def break_off(request: web.Request) -> web.StreamResponse:
    """Begin an answer and never end it."""
    response = web.StreamResponse(headers={"Content-Length": "99"})
    await response.prepare(request)
    await response.write(SECRET.encode())
    return await hang_up(request)


REFUSALS: list[Handler] = [
    *(fault(status, 10100, f"Invalid {SECRET}") for status in (302, 400, 401, 404, 408, 500)),
    *(says(text, status) for status in (400, 500) for text in (SECRET, json.dumps({"errors": [{"message": SECRET}]}))),
    *(hang_up, garble, break_off),
]
NONSENSE: list[Handler] = [
    *(
        says(SECRET),
        says({SECRET: SECRET}),
        asks(challenge(type=SECRET)),
        asks(challenge(), session=f"{SECRET} {SECRET}"),
    ),
    *(
        says({"accounts": [offered(id=it, type=it, status=it)], "link": it, "oauthSession": it})
        for it in (SECRET, SECRET * 9)
    ),
    says({"accounts": [account(id=SECRET * 9, currency=SECRET, institutionLoginId=SECRET * 9)]}),
]


@pytest.mark.parametrize("name", CALLS)
async def test_no_error_repeats_a_secret(server: Server, finicity: Finicity, name: str) -> None:
    """Whatever Finicity repeats of what it was sent, no error shows it, nor a cause of one."""
    path, call = CALLS[name]
    is_read = name != "change_credentials"  # there every 2xx is a yes
    for handler in [*REFUSALS, *(NONSENSE if is_read else [])]:
        server.on(path, handler)
        with pytest.raises(AggregatorError) as caught:
            await call(finicity)
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.parametrize("name", ["discover", "answer_discovery", "answer_refresh", "end_consent", "link"])
async def test_what_asks_the_bank_goes_on(server: Server, hasty: Finicity, name: str) -> None:
    """What asks the bank is waited for longer, and goes on when nobody waits any more; linking is neither."""
    path, call = CALLS[name]
    is_over = asyncio.Event()

    async def take_long(_: web.Request) -> web.Response:
        await is_over.wait()
        return web.Response()

    server.on(path, take_long)
    began_s = time.monotonic()
    with pytest.raises(AggregatorError) as caught:
        await call(hasty)
    is_over.set()
    goes_on = name != "link"
    assert (goes_on, goes_on) == (isinstance(caught.value, StillAsking), time.monotonic() - began_s >= BANK_S)


def test_nothing_secret_prints() -> None:
    """Requests, challenges, offers and consents print without what was typed, sessions, pictures and numbers."""
    ask = Ask(to="x", path=(SECRET,), headers={"a": SECRET}, body={"a": SECRET}, query={"a": SECRET})
    seen = Question(text="Pet?", picture=SECRET.encode())
    asked = Challenge(kind=ChallengeKind.IMAGE, questions=(seen,), session=SECRET)
    values = [ask, asked, Offer(accounts=(CHOSEN,)), Consent(link=SECRET, session=SECRET)]
    values.append(OwnWidget(customer_ref="5", webhook=SECRET))
    assert not [value for value in values if SECRET in repr(value)]


@pytest.mark.parametrize("session", ["", "a b", "a\r\nb", "s" * 513, "é"])
async def test_an_odd_session_is_not_sent(server: Server, finicity: Finicity, session: str) -> None:
    """A session that cannot be a header's value goes nowhere."""
    with pytest.raises(AggregatorError, match="a session of 1 to 512") as caught:
        await finicity.answer_discovery("5", "7", session, ANSWERS)
    assert not caught.value.is_retryable
    assert [] == server.asked
