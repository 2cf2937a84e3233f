"""Linking through the connector at Finbank: every row of FinBank's published table, forms, consents, repairs."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import aiohttp
import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity
from bankfeed.aggregators.linking import Challenge, ChallengeKind, FormField, Linker, Offer
from bankfeed.errors import AggregatorError, NoSuchAccount, StillAsking
from tests.finbank import FINBANK_ID, FinbankProcess

FINBANK, OAUTH_BANK, TOKEN_BANK, HERITAGE, NO_BANK = str(FINBANK_ID), "102176", "102241", "102252", "999999"
ALL = ("checking", "savings", "creditCard")
BACK = "https://firm.example/back?client=7"
SLOW_S = 1.0
PNG = b"\x89PNG\r\n\x1a\n"

Found = Challenge | Offer
Refreshed = Challenge | tuple[ListedAccount, ...]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinbankProcess]:
    process = FinbankProcess(tmp_path_factory.mktemp("finbank"), BANKFEED_FINBANK_SLOW_S=str(SLOW_S))
    process.start()
    yield process
    process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody whose banks are linked, as a customer of their own."""

    linker: Finicity
    bank: FinbankProcess
    ref: str

    async def sign_in(self, *values: str, at: str = FINBANK) -> Found:
        """Fill in an institution's form from top to bottom and discover."""
        form = await self.linker.find_form(at)
        return await self.linker.discover(self.ref, at, filled(form, *values))

    async def answer(self, asked: Found, *answers: str, at: str = FINBANK) -> Found:
        """Answer a discovery's questions in their order."""
        assert isinstance(asked, Challenge)
        return await self.linker.answer_discovery(self.ref, at, asked.session, pairs(asked, *answers))

    async def choose(self, found: Found | tuple[ListedAccount, ...], *, at: str = FINBANK) -> tuple[ListedAccount, ...]:
        """Link all accounts on offer."""
        assert isinstance(found, Offer)
        return await self.linker.link(self.ref, at, found.accounts)

    async def linked(self, *values: str, at: str = FINBANK) -> str:
        """Link a login without its person; return its ref."""
        username, password = values or ("demo", "go")
        made = await self.bank.control(
            "POST", "link", customerId=self.ref, institutionId=at, username=username, password=password
        )
        return str(made["institutionLoginId"])

    async def refresh(self, login_ref: str) -> Refreshed:
        """Refresh a login while being there."""
        return await self.linker.refresh_with_person(self.ref, login_ref)

    async def answer_refresh(self, login_ref: str, asked: Refreshed, *answers: str) -> Refreshed:
        """Answer a refresh's questions in their order."""
        assert isinstance(asked, Challenge)
        return await self.linker.answer_refresh(self.ref, login_ref, asked.session, pairs(asked, *answers))

    async def consent(
        self, decision: str, *kinds: str, at: str = OAUTH_BANK, login_ref: str | None = None
    ) -> tuple[str, str]:
        """Decide on an institution's own page; return the session and the code, "" where there is none."""
        consent = await self.linker.begin_consent(self.ref, at, back_to=BACK, state="s7", login_ref=login_ref)
        form = {"decision": decision, "accounts": list(kinds or ALL)}
        async with (
            aiohttp.ClientSession() as session,
            session.post(consent.link, data=form, allow_redirects=False) as page,
        ):
            query = parse_qs(urlsplit(page.headers["Location"]).query)
        assert (["7"], ["s7"]) == (query["client"], query["state"])
        return consent.session, "".join(query.get("code", ()))


@pytest.fixture
async def person(process: FinbankProcess) -> AsyncIterator[Person]:
    await process.wait_until_up()
    linker = Finicity(replace(process.config(), has_own_widget=False))
    yield Person(linker=linker, bank=process, ref=await linker.create_customer(f"c-{uuid4().hex}"))
    await linker.close()


def filled(form: Sequence[FormField] | None, *values: str) -> dict[str, str]:
    assert form is not None
    return dict(zip((field.id for field in form), values, strict=True))


def pairs(asked: Challenge, *answers: str) -> list[tuple[str, str]]:
    return list(zip((question.text for question in asked.questions), answers, strict=True))


def types(outcome: Found | Refreshed) -> list[str]:
    assert not isinstance(outcome, Challenge)
    return [account.type for account in (outcome.accounts if isinstance(outcome, Offer) else outcome)]


async def test_it_is_a_linker(person: Person) -> None:
    """The connector has the shape of the protocol, and says whose widget links."""
    linker: Linker = person.linker
    assert linker.has_own_widget is False


# The published table


@pytest.mark.parametrize("username", ["demo", "ann@example.com"])
async def test_finbank_offers_and_links_what_is_chosen(person: Person, username: str) -> None:
    """The right password brings an offer; what is chosen of it is listed from then on, and the offer is over."""
    found = await person.sign_in(username, "go")
    assert isinstance(found, Offer)
    assert list(ALL) == types(found)
    assert () == await person.linker.list_accounts(person.ref)
    chosen = found.accounts[:2]
    linked = await person.linker.link(person.ref, FINBANK, chosen)
    assert linked == await person.linker.list_accounts(person.ref)
    assert [(it.account_ref, it.name, it.number_display) for it in chosen] == [
        (it.account_ref, it.name, it.number_display) for it in linked
    ]
    with pytest.raises(NoSuchAccount):
        await person.linker.link(person.ref, FINBANK, found.accounts[2:])


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [
        *[("demo", str(code), code) for code in (123, 125, 127, 128, 130)],
        ("invalid_user", "go", 103),
        ("demo", "a wrong one", 103),
    ],
)
async def test_finbank_fails_with_its_code(person: Person, username: str, password: str, code: int) -> None:
    """A row that fails does so with its code, which comes inside HTTP 500."""
    with pytest.raises(AggregatorError) as caught:
        await person.sign_in(username, password)
    assert code == caught.value.code
    assert "a wrong one" not in str(caught.value)


async def test_finbank_tfa_text_asks_once_more(person: Person) -> None:
    """The answer mfa brings another challenge with another session; any other answer lets in."""
    first = await person.sign_in("tfa_text", "go")
    assert isinstance(first, Challenge)
    assert (ChallengeKind.TEXT, None, 1) == (first.kind, first.expires_at, len(first.questions))
    second = await person.answer(first, "mfa")
    assert isinstance(second, Challenge)
    assert first.session != second.session
    assert first.questions != second.questions
    assert list(ALL) == types(await person.choose(await person.answer(second, "Rex")))


async def test_finbank_tfa_image_has_a_picture(person: Person) -> None:
    """The question comes with a picture; any answer lets in."""
    asked = await person.sign_in("tfa_image", "go")
    assert isinstance(asked, Challenge)
    assert ChallengeKind.IMAGE is asked.kind
    assert (asked.questions[0].picture or b"").startswith(PNG)
    assert list(ALL) == types(await person.choose(await person.answer(asked, "RIVER")))


async def test_finbank_tfa_choice_fails_on_fail(person: Person) -> None:
    """One of the choices is wrong: code 187, and the session is over: code 331, which comes inside HTTP 408."""
    asked = await person.sign_in("tfa_choice", "go")
    assert isinstance(asked, Challenge)
    assert ChallengeKind.CHOICE is asked.kind
    assert "fail" in asked.questions[0].choices
    for answer, code in (("fail", 187), (asked.questions[0].choices[0], 331)):
        with pytest.raises(AggregatorError) as caught:
            await person.answer(asked, answer)
        assert code == caught.value.code
    again = await person.sign_in("tfa_choice", "go")
    assert list(ALL) == types(await person.answer(again, asked.questions[0].choices[0]))


@pytest.mark.parametrize(
    ("username", "password", "count"), [("tfa_multi", "go", 3), ("demo", "imagechoice", 3), ("demo", "imagechoice2", 6)]
)
async def test_finbank_has_pictures_to_choose(person: Person, username: str, password: str, count: int) -> None:
    """Each choice is a picture with the answer that it gives; any answer lets in."""
    asked = await person.sign_in(username, password)
    assert isinstance(asked, Challenge)
    pictures = asked.questions[0].pictures
    assert (ChallengeKind.MULTI, count) == (asked.kind, len({each.value for each in pictures}))
    assert all(each.picture.startswith(PNG) for each in pictures)
    assert list(ALL) == types(await person.choose(await person.answer(asked, pictures[-1].value)))


async def test_finbank_discovertimeout_goes_on(person: Person, process: FinbankProcess) -> None:
    """Who does not wait is told that the bank goes on; discovering again waits for the rest."""
    hasty = process.hasty_connector(timeout_s=SLOW_S / 4)
    form = await person.linker.find_form(FINBANK)
    with pytest.raises(StillAsking):
        await hasty.discover(person.ref, FINBANK, filled(form, "discovertimeout", "go"))
    await hasty.close()
    assert list(ALL) == types(await person.sign_in("discovertimeout", "go"))


async def test_finbank_asks_for_all_six_things(person: Person) -> None:
    """Name, address, username and password, then a token's code that ends, then two security questions."""
    form = await person.linker.find_form(TOKEN_BANK)
    assert form is not None
    assert [False, False, False, True] == [field.is_masked for field in form]
    assert ("Name on the account", "As it stands on a statement.") == (form[0].name, form[0].hint)
    asked = await person.sign_in("Ann Lee", "token.finbank.example", "demo", "go", at=TOKEN_BANK)
    assert isinstance(asked, Challenge)
    assert asked.expires_at is not None
    assert timedelta(seconds=60) < asked.expires_at - datetime.now(UTC) <= timedelta(seconds=180)
    secured = await person.answer(asked, "123456", at=TOKEN_BANK)
    found = await person.answer(secured, "Kim", "Elm Street", at=TOKEN_BANK)
    assert list(ALL) == types(await person.choose(found, at=TOKEN_BANK))


async def test_finbank_code_comes_too_late(person: Person) -> None:
    """A token's code that has ended leaves its question unanswered: code 185."""
    asked = await person.sign_in("Ann Lee", "token.finbank.example", "demo", "go", at=TOKEN_BANK)
    await person.bank.control("POST", "faults", expireCodes=True)
    with pytest.raises(AggregatorError) as caught:
        await person.answer(asked, "123456", at=TOKEN_BANK)
    assert 185 == caught.value.code


async def test_finbank_sessions_end(person: Person) -> None:
    """A session that is over is code 331, wherever it is answered."""
    login_ref = await person.linked("tfa_text", "go")
    found, refreshed = await person.sign_in("tfa_text", "go"), await person.refresh(login_ref)
    await person.bank.control("POST", "faults", expireSessions=True)
    with pytest.raises(AggregatorError) as caught:
        await person.answer(found, "Rex")
    assert 331 == caught.value.code
    with pytest.raises(AggregatorError) as caught:
        await person.answer_refresh(login_ref, refreshed, "Rex")
    assert 331 == caught.value.code


# Forms


@pytest.mark.parametrize("ref", [NO_BANK, "no bank's", ".."])
async def test_finbank_has_no_form_of_nobody(person: Person, ref: str) -> None:
    """An institution that is not there is an error, unlike one without a form."""
    with pytest.raises(AggregatorError):
        await person.linker.find_form(ref)


async def test_finbank_has_no_form_for_oauth(person: Person) -> None:
    """Where people sign in on the institution's own page there is no form, and credentials are refused."""
    assert await person.linker.find_form(OAUTH_BANK) is None
    with pytest.raises(AggregatorError) as caught:
        await person.linker.discover(person.ref, OAUTH_BANK, {"102176001": "demo", "102176002": "go"})
    assert not caught.value.is_retryable


# Repair


@pytest.mark.parametrize(("code", "answer"), [(185, "Rex"), (187, "Rex"), (0, None), (108, None)])
async def test_finbank_is_repaired_by_being_there(person: Person, code: int, answer: str | None) -> None:
    """A refresh with its person asks what is open, and what only a person clears is cleared."""
    login_ref = await person.linked()
    if code:
        await person.bank.control("POST", f"logins/{login_ref}/break", code=code)
    refreshed = await person.refresh(login_ref)
    assert isinstance(refreshed, Challenge) is (answer is not None)
    if answer is not None:
        refreshed = await person.answer_refresh(login_ref, refreshed, answer)
    assert not isinstance(refreshed, Challenge)
    assert [0, 0, 0] == [account.status_code for account in refreshed]
    assert {login_ref} == {account.login_ref for account in refreshed}


async def test_finbank_shows_a_wrong_answer(person: Person) -> None:
    """A wrong answer to a refresh is its code, and the session is used up."""
    login_ref = await person.linked("tfa_choice", "go")
    asked = await person.refresh(login_ref)
    for code in (187, 331):
        with pytest.raises(AggregatorError) as caught:
            await person.answer_refresh(login_ref, asked, "fail")
        assert code == caught.value.code


async def test_finbank_takes_other_credentials(person: Person) -> None:
    """Other credentials are taken unseen; the next refresh tells whether they are right."""
    login_ref, form = await person.linked(), await person.linker.find_form(FINBANK)
    await person.linker.change_credentials(person.ref, login_ref, filled(form, "demo", "wrong"))
    with pytest.raises(AggregatorError) as caught:
        await person.refresh(login_ref)
    assert (103, False) == (caught.value.code, caught.value.is_retryable)
    await person.linker.change_credentials(person.ref, login_ref, filled(form, "demo", "go"))
    assert list(ALL) == types(await person.refresh(login_ref))


async def test_finbank_knows_no_login_of_nobody(person: Person) -> None:
    """A login that is gone is said to be gone, by every call that names it."""
    with pytest.raises(NoSuchAccount):
        await person.refresh("1")
    with pytest.raises(NoSuchAccount):
        await person.linker.change_credentials(person.ref, "1", {"101732001": "demo", "101732002": "go"})


# Consents


async def test_finbank_consent_offers_what_was_ticked(person: Person) -> None:
    """The code of a consent brings an offer, once; the session is over then (331)."""
    session, code = await person.consent("allow", "checking", "creditCard")
    found = await person.linker.end_consent(person.ref, OAUTH_BANK, session, code)
    assert ["checking", "creditCard"] == types(await person.choose(found, at=OAUTH_BANK))
    with pytest.raises(AggregatorError) as caught:
        await person.linker.end_consent(person.ref, OAUTH_BANK, session, code)
    assert 331 == caught.value.code


async def test_finbank_consent_needs_its_code(person: Person) -> None:
    """A wrong code is 12003 and harms nothing; a decline is 10814."""
    session, code = await person.consent("allow")
    with pytest.raises(AggregatorError) as caught:
        await person.linker.end_consent(person.ref, OAUTH_BANK, session, "wrong-code")
    assert 12003 == caught.value.code
    assert isinstance(await person.linker.end_consent(person.ref, OAUTH_BANK, session, code), Offer)
    session, _ = await person.consent("decline")
    with pytest.raises(AggregatorError) as caught:
        await person.linker.end_consent(person.ref, OAUTH_BANK, session, "")
    assert 10814 == caught.value.code


async def test_finbank_consent_renews_a_login(person: Person) -> None:
    """A consent for a login mends it: the same accounts, no offer; one that leaves an account out is 945."""
    login_ref = await person.linked(at=OAUTH_BANK)
    before = await person.linker.list_accounts(person.ref)
    session, code = await person.consent("allow", "checking", login_ref=login_ref)
    with pytest.raises(AggregatorError) as caught:
        await person.linker.end_consent(person.ref, OAUTH_BANK, session, code)
    assert 945 == caught.value.code
    session, code = await person.consent("allow", login_ref=login_ref)
    renewed = await person.linker.end_consent(person.ref, OAUTH_BANK, session, code)
    assert isinstance(renewed, tuple)
    assert [(it.account_ref, it.login_ref) for it in before] == [(it.account_ref, it.login_ref) for it in renewed]
    assert [0, 0, 0] == [account.status_code for account in renewed]


async def test_finbank_migration_asks_for_a_consent(person: Person) -> None:
    """Once an institution has migrated there is no form, everything else is 948, and a consent keeps the accounts."""
    login_ref = await person.linked(at=HERITAGE)
    assert await person.linker.find_form(HERITAGE) is not None
    now = datetime.fromisoformat((await person.bank.control("GET", "clock"))["at"])
    until = (now + timedelta(days=25)).isoformat()
    await person.bank.control("POST", f"institutions/{HERITAGE}/migrate", until=until)
    assert await person.linker.find_form(HERITAGE) is None
    credentials = {f"{HERITAGE}001": "demo", f"{HERITAGE}002": "go"}
    for refused in (
        person.linker.discover(person.ref, HERITAGE, credentials),
        person.linker.change_credentials(person.ref, login_ref, credentials),
        person.refresh(login_ref),
    ):
        with pytest.raises(AggregatorError) as caught:
            await refused
        assert 948 == caught.value.code
    session, code = await person.consent("allow", at=HERITAGE, login_ref=login_ref)
    renewed = await person.linker.end_consent(person.ref, HERITAGE, session, code)
    assert list(ALL) == types(renewed) == types(await person.refresh(login_ref))
