"""Institutions as the Finicity connector reads them, against a real local server: listed, found, and what is kept of them."""

from dataclasses import replace

import pytest

from bankfeed.aggregators.finicity import Finicity, FinicityConfig
from bankfeed.errors import AggregatorError
from bankfeed.model import AccountClass, ListedInstitution
from tests.story.finicity.fake import Server, fault, says


async def test_an_institution_is_found(server: Server, finicity: Finicity) -> None:
    """An institution is read with its zone and contacts; what is unknown to us, or missing, counts as none."""
    path = "/institution/v2/institutions/102105"
    server.on(
        path,
        says({"institution": institution(oauthEnabled=True, status="maintenance")}),
        says({"institution": {"id": "102105", "name": None, "timeZone": "Mars/Base", "status": None}}),
    )
    assert await finicity.find_institution("102105") == ListedInstitution(
        ref="102105",
        name="Prairie Bank",
        url="https://f.example",
        sign_in_url="https://f.example/login",
        phone="1-208-555-0132",
        email="help@f.example",
        account_types=(AccountClass.BANKING,),
        currency="USD",
        time_zone="America/Denver",
        status="maintenance",
        is_oauth=True,
    )
    assert await finicity.find_institution("102105") == ListedInstitution(ref="102105", name="102105")


def institution(**changes: object) -> dict[str, object]:
    return {
        "id": 102105,
        "name": "Prairie Bank",
        "urlHomeApp": "https://f.example",
        "urlLogonApp": "https://f.example/login",
        "phone": "1-208-555-0132",
        "email": "help@f.example",
        "accountTypeDescription": "Banking",
        "currency": "usd",
        "timeZone": "America/Denver",
        "status": "online",
        "oauthEnabled": False,
        **changes,
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (" http://f.example/a?b=c#d ", "http://f.example/a?b=c#d"),
        ("HTTPS://F.example:8443", "HTTPS://F.example:8443"),
        ("https://f.example/" + "a" * 2_030, "https://f.example/" + "a" * 2_030),
        ("https://f.example/" + "a" * 2_031, ""),
        ("javascript:alert(document.domain)", ""),
        ("java\nscript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("ftp://f.example", ""),
        ("//f.example/login", ""),
        ("www.f.example", ""),
        ("https://", ""),
        ("https:///login", ""),
        ("http://[bad", ""),
        ("https://f.example:99999", ""),
        ("https://f.example@evil.example", ""),
        ("https://evil.example\\@f.example", ""),
        ('https://f.example/"onclick=x', ""),
        ("https://f.example/a b", ""),
        ("https://f.example/\u202e", ""),
        (None, ""),
    ],
)
async def test_a_web_address_is_kept_where_a_browser_may_go_there(
    server: Server, finicity: Finicity, given: str | None, kept: str
) -> None:
    """Both of an institution's: http or https, a host, no user, at most 2,048 characters. Anything else counts as none."""
    changes = {"urlHomeApp": given, "urlLogonApp": given}
    server.on("/institution/v2/institutions/1", says({"institution": institution(**changes)}))
    found = await finicity.find_institution("1")
    assert found is not None
    assert (kept, kept) == (found.url, found.sign_in_url)


async def test_an_institutions_contacts_are_bounded(server: Server, finicity: Finicity) -> None:
    """They are shown to people: no control characters, and no more than one takes in."""
    changes = {"phone": "1-208\x00\n" + "5" * 100, "email": "help\x1b@f.example" + "x" * 1_000}
    server.on("/institution/v2/institutions/1", says({"institution": institution(**changes)}))
    found = await finicity.find_institution("1")
    assert found is not None
    assert ("1-208 " + "5" * 58, "help@f.example" + "x" * 240) == (found.phone, found.email)


@pytest.mark.parametrize(
    ("name", "is_sandbox"),
    [
        ("FinBank", True),
        ("Finbank OAuth", True),
        ("FinBank Profiles - A", True),
        ("FinBankers Trust", False),
        ("First FinBank", False),
    ],
)
async def test_a_pretend_bank_is_told_by_its_name(
    server: Server,
    finicity: Finicity,
    name: str,
    is_sandbox: bool,  # noqa: FBT001 - a table of cases
) -> None:
    """Finicity's own pretend banks are those whose name begins with the word FinBank."""
    server.on("/institution/v2/institutions/1", says({"institution": institution(name=name)}))
    found = await finicity.find_institution("1")
    assert found is not None
    assert is_sandbox == found.is_sandbox


async def test_institutions_are_listed_by_page(server: Server, finicity: Finicity, config: FinicityConfig) -> None:
    """`start` is the page, not the row; one row that cannot be read does not hide the others."""
    path = "/institution/v2/institutions"
    rows = [institution(), {"id": "  "}, institution(id="7", accountTypeDescription="Something New"), "no object"]
    server.on(path, says({"found": 9, "displaying": 4, "moreAvailable": True, "institutions": rows}))
    listed = await finicity.list_institutions(3)
    assert [("102105", (AccountClass.BANKING,)), ("7", (AccountClass.OTHER,))] == [
        (each.ref, each.account_types) for each in listed.rows
    ]
    assert (9, 2) == (listed.found, listed.unread_rows)
    (asked,) = [each for each in server.asked if each.path == path]
    assert {"start": "3", "limit": str(config.page_rows)} == asked.query


async def test_a_connector_without_credentials_says_so() -> None:
    """Where partner id, secret or key are missing, nothing is asked for by itself."""
    whole = FinicityConfig(base_url="http://127.0.0.1:1", partner_id="1", partner_secret="s", app_key="k")
    for config, is_configured in (
        (whole, True),
        (replace(whole, partner_id=""), False),
        (replace(whole, app_key=""), False),
    ):
        connector = Finicity(config)
        assert is_configured == connector.is_configured
        await connector.close()


async def test_an_unknown_institution_is_none(server: Server, finicity: Finicity) -> None:
    """Only the documented code says that there is no such institution."""
    server.on("/institution/v2/institutions/1", fault(404, "14006"), says("not here", 404))
    assert await finicity.find_institution("1") is None
    with pytest.raises(AggregatorError):
        await finicity.find_institution("1")
