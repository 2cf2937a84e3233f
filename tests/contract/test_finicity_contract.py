"""The Finicity connector against a mock server made from the vendor's own OpenAPI file.

Runs where BANKFEED_TEST_FINICITY_OPENAPI names that file and npx is installed, which fetches the mock server, prism.
Prism refuses requests that are not as the file says, and answers with the file's examples. Some of these break the
file's own schemas, so it runs without --errors.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.aggregators.linking import OwnWidget
from bankfeed.errors import AggregatorError, NoSuchAccount
from bankfeed.local.server import end_with_parent
from tests.finbank import free_port

PRISM = "@stoplight/prism-cli@5.14.2"
OPENAPI = os.environ.get("BANKFEED_TEST_FINICITY_OPENAPI", "")
START_LIMIT_S = 100
AT = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)
EPOCH_DAY = date(2020, 12, 8)  # of 1607450357, the time of all examples
PULLS = 3

if not OPENAPI:
    pytest.skip("BANKFEED_TEST_FINICITY_OPENAPI does not name the vendor's OpenAPI file", allow_module_level=True)
if not shutil.which("npx"):
    pytest.skip("npx, which fetches the mock server, is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run prism once for all of this file; it ends with this process, whatever happens."""
    folder, port = tmp_path_factory.mktemp("prism"), free_port()
    found = subprocess.run(
        ["npx", "--yes", f"--package={PRISM}", "-c", "command -v prism"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == found.returncode, f"npx cannot fetch {PRISM}: {found.stderr}"
    log = folder / "prism.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [found.stdout.strip(), "mock", "-h", "127.0.0.1", "-p", str(port), str(Path(OPENAPI).resolve())],
            cwd=folder,
            stdout=out,
            stderr=out,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call
        )
    try:
        deadline_s = time.monotonic() + START_LIMIT_S
        while b"listening" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def finicity(url: str) -> AsyncIterator[Finicity]:
    connector = Finicity(
        FinicityConfig(base_url=url, partner_id="1234583871234", partner_secret="s", app_key="k", max_pages=PULLS)
    )
    yield connector
    await connector.close()


async def prefer(finicity: Finicity, wanted: str) -> None:
    """Have every further call answered with this response of the file, once there is a token."""
    await finicity._http._get_token(stale=None)
    finicity._http._session.headers["Prefer"] = wanted


async def test_a_token_is_given_out(finicity: Finicity) -> None:
    """The authentication is as the file says, and its token is read."""
    assert "YBh22Sb9Es6e66Q7lWdt" == await finicity._http._get_token(stale=None)


@pytest.mark.parametrize(
    ("example", "code"), [("InvalidCredentialsExample", 10001), ("MissingFinicityAppKeyExample", 10026)]
)
async def test_refused_credentials_are_said(finicity: Finicity, example: str, code: int) -> None:
    """A refused authentication is an error of ours, with the vendor's code in its words."""
    finicity._http._session.headers["Prefer"] = f"code=401, example={example}"
    with pytest.raises(AggregatorError, match=f"refused our partner credentials: HTTP 401, code {code}"):
        await finicity.list_accounts("1005061234")


async def test_customers_are_made_and_found(finicity: Finicity) -> None:
    """A customer is created, and one whose username is taken is searched for."""
    assert "1005061234" == await finicity.create_customer("customerusername1")
    assert "1005061234" == await finicity._get_customer("customerusername1")
    await finicity.delete_customer("1005061234")


async def test_a_taken_username_leads_to_the_search(finicity: Finicity) -> None:
    """409 is answered by a search, which the file has no 409 for: what fails is the search."""
    await prefer(finicity, "code=409, example=UsernameNotAvailableExample")
    with pytest.raises(AggregatorError, match="find a customer"):
        await finicity.create_customer("customerusername1")


async def test_institutions_are_listed_and_found(finicity: Finicity) -> None:
    """Both calls read the example institution alike, which is FinBank: one of the pretend ones."""
    page = await finicity.list_institutions(1)
    assert (200, 0) == (page.found, page.unread_rows)
    assert (await finicity.find_institution("4222"),) == page.rows
    (shown,) = page.rows
    assert ("4222", "FinBank", "America/Denver", True, True) == (
        *(shown.ref, shown.name, shown.time_zone, shown.is_oauth, shown.is_sandbox),
    )


async def test_accounts_are_listed_and_found(finicity: Finicity) -> None:
    """All three calls read the example account alike, to the cent."""
    (account,) = await finicity.list_accounts("1005061234")
    assert (account,) == await finicity.list_login_accounts("1005061234", "1007302745")
    assert account == await finicity.find_account("1005061234", "5011648377")
    assert ("5011648377", "1007302745", "4222", "checking", 0, Decimal("401.26")) == (
        *(account.account_ref, account.login_ref, account.institution_ref),
        *(account.type, account.status_code, account.balance),
    )


async def test_a_pull_ends(finicity: Finicity) -> None:
    """The example row is read; that there are 200 and never another page makes the pull incomplete, not endless."""
    (account,) = await finicity.list_accounts("1005061234")
    pull = await finicity.pull("1005061234", account, at=AT, from_on=EPOCH_DAY, to_on=EPOCH_DAY)
    assert (False, 200, "the aggregator counted 200 rows and listed 1") == (
        *(pull.is_complete, pull.counted_rows, pull.error),
    )
    (row,) = pull.rows
    assert ("21284820852", Decimal("-828.90"), EPOCH_DAY, "299") == (
        *(row.aggregator_id, row.values.amount, row.values.transacted_on, row.values.check_number),
    )


async def test_the_bank_is_asked(finicity: Finicity) -> None:
    """A refresh and a load of history go without a body, as the file has none for them."""
    (refreshed,) = await finicity.ask_bank_refresh("1005061234", "1007302745")
    assert "5011648377" == refreshed.account_ref
    await prefer(finicity, "code=204")
    await finicity.ask_bank_history("1005061234", "5011648377")


async def test_a_refresh_with_its_person_is_answered(finicity: Finicity) -> None:
    """The header that says so is no breach of the file, whose refresh has accounts only."""
    refreshed = await finicity.refresh_with_person("1005061234", "1007302745")
    assert isinstance(refreshed, tuple)
    assert ["5011648377"] == [account.account_ref for account in refreshed]


async def test_history_may_need_a_person(finicity: Finicity) -> None:
    """203 without anything to answer is code 185."""
    await prefer(finicity, "code=203")
    with pytest.raises(AggregatorError) as caught:
        await finicity.ask_bank_history("1005061234", "5011648377")
    assert (185, False) == (caught.value.code, caught.value.is_retryable)


async def test_what_is_unlinked_is_deleted(finicity: Finicity) -> None:
    """Accounts, logins and customers are deleted without a word."""
    await finicity.delete_account("1005061234", "5011648377")
    await finicity.delete_login("1005061234", "1007302745")
    await finicity.delete_customer("1005061234")


@pytest.mark.parametrize(
    "wanted",
    [
        OwnWidget(customer_ref="1005061234"),
        OwnWidget(customer_ref="1005061234", redirect_uri="https://f.example/", webhook="https://h.example/"),
        OwnWidget(customer_ref="1005061234", institution_ref="4222", redirect_uri="https://f.example/"),
        OwnWidget(customer_ref="1005061234", login_ref="1007302745", webhook="https://h.example/"),
    ],
)
async def test_connect_has_an_address(finicity: Finicity, wanted: OwnWidget) -> None:
    """Connect is asked for with the types that each of its calls wants, and its address is taken as it is."""
    link = await finicity.make_widget_url(wanted)
    assert link.startswith("https://connect2.finicity.com?customerId=5025024821&")
    assert link.endswith("&webhookContentType=application%2Fjson")


Call = Callable[[Finicity], Awaitable[object]]
ACCOUNT = ListedAccount(
    account_ref="5011648377", login_ref="1007302745", institution_ref="4222", name="", type="checking"
)


@pytest.mark.parametrize(
    ("example", "call", "answer"),
    [
        ("ResourceNotFoundExample", lambda it: it.find_institution("1"), None),
        ("CustomerNotFoundExample", lambda it: it.find_account("1", "2"), None),
        ("NoAccountForInstitutionLoginIdExample", lambda it: it.list_login_accounts("1", "2"), ()),
        ("NoAccountForInstitutionLoginIdExample", lambda it: it.ask_bank_refresh("1", "2"), ()),
    ],
)
async def test_what_is_not_there_is_no_error(finicity: Finicity, example: str, call: Call, answer: object) -> None:
    """The vendor's own 404s are read as nothing where nothing is an answer."""
    await prefer(finicity, f"code=404, example={example}")
    assert answer == await call(finicity)


@pytest.mark.parametrize(
    ("example", "call"),
    [
        ("CustomerNotFoundExample", lambda it: it.list_accounts("1")),
        ("CustomerNotFoundExample", lambda it: it.ask_bank_history("1", "2")),
        ("CustomerNotFoundExample", lambda it: it.delete_account("1", "2")),
        ("NoAccountForInstitutionLoginIdExample", lambda it: it.delete_login("1", "2")),
        ("NoAccountForInstitutionLoginIdExample", lambda it: it.refresh_with_person("1", "2")),
        ("CustomerNotFoundExample", lambda it: it.make_widget_url(OwnWidget(customer_ref="1", login_ref="2"))),
    ],
)
async def test_what_is_gone_is_said(finicity: Finicity, example: str, call: Call) -> None:
    """Elsewhere the same 404s say that it is gone, which is no reason to ask again."""
    await prefer(finicity, f"code=404, example={example}")
    with pytest.raises(NoSuchAccount) as caught:
        await call(finicity)
    assert not caught.value.is_retryable


@pytest.mark.parametrize("example", ["ExpiredFinicityAppTokenExample", "InvalidFinicityAppTokenExample"])
async def test_a_stale_token_is_renewed(finicity: Finicity, example: str) -> None:
    """The vendor's codes of a stale token lead to another authentication, which has no such answer and fails here."""
    await prefer(finicity, f"code=401, example={example}")
    with pytest.raises(AggregatorError, match="to authenticate"):
        await finicity.list_accounts("1005061234")


@pytest.mark.parametrize("example", ["InvalidFieldExample", "MissingFieldExample", "GenericBadRequestExample"])
async def test_a_bad_request_is_not_repeated(finicity: Finicity, example: str) -> None:
    """A bad request breaks a pull off, and is an error elsewhere that asking again does not mend."""
    await prefer(finicity, f"code=400, example={example}")
    pull = await finicity.pull("1005061234", ACCOUNT, at=AT, from_on=EPOCH_DAY, to_on=EPOCH_DAY)
    assert (False, ()) == (pull.is_complete, pull.rows)
    assert "HTTP 400" in str(pull.error)
    with pytest.raises(AggregatorError) as caught:
        await finicity.list_accounts("1005061234")
    assert not caught.value.is_retryable


async def test_the_mock_refuses_what_is_not_in_the_file(url: str) -> None:
    """The mock would notice a wrong type, a missing field and a body where there is none."""
    headers = {"Finicity-App-Key": "k", "Finicity-App-Token": "t"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        for path, body in (
            ("/connect/v2/generate/lite", {"partnerId": "1", "customerId": "2", "institutionId": "4222"}),
            ("/connect/v2/generate", {"partnerId": "1"}),
            ("/aggregation/v1/customers/1/institutionLogins/2/accounts", {}),
        ):
            async with session.post(path, json=body) as answer:
                assert 400 == answer.status
