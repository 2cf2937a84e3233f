"""Institutions at the API: searched, listed by name, read one by one, and only those of this deployment's kind."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bankfeed.db import Database
from bankfeed.db.institution import mark_gone, mark_listed, upsert_institutions
from bankfeed.errors import Unavailable
from bankfeed.model import AccountClass, ListedInstitution
from bankfeed.settings import Settings
from ingress.api.catalogue import Catalogue
from tests.ingress.api.conftest import Person, make_key

FINBANK = ListedInstitution(
    ref="101732",
    name="FinBank",
    url="https://finbank.example",
    sign_in_url="https://finbank.example/login",
    phone="1-208-555-0132",
    email="help@finbank.example",
    account_types=(AccountClass.BANKING,),
    currency="USD",
    time_zone="America/Denver",
    is_sandbox=True,
)
CARDS = ListedInstitution(
    ref="2", name="FinBank Cards", account_types=(AccountClass.CARDS,), is_sandbox=True, is_oauth=True
)
ACORN = ListedInstitution(ref="3", name="Acorn Crédit", account_types=(AccountClass.BANKING,), is_sandbox=True)
REAL = ListedInstitution(ref="4", name="FinBank Look-alike", is_sandbox=False)
DOWN = ListedInstitution(ref="5", name="FinBank A", is_sandbox=True, status="offline")
ALL = (FINBANK, CARDS, ACORN, REAL, DOWN)


async def note(database: Database, *listed: ListedInstitution) -> None:
    async with database.app() as conn:
        await upsert_institutions(conn, connector="finicity", listed=listed)


async def find_names(api: Person, **query: Any) -> list[str]:
    answer = await api.get("/institutions", **query)
    assert 200 == answer.status, answer.text
    return [each["name"] for each in answer.body["institutions"]]


@pytest.fixture
async def listed(api: Person) -> Person:
    """The owner, with some institutions noted."""
    await note(api.database, *ALL)
    return api


async def test_an_institution_is_shown_with_its_contacts(listed: Person) -> None:
    """A search and the institution's own address show the same, in the words of the wire."""
    found, *_ = (await listed.get("/institutions", search="finbank.example")).body["institutions"]
    assert {
        "id": found["id"],
        "name": "FinBank",
        "url": "https://finbank.example",
        "signInUrl": "https://finbank.example/login",
        "phone": "1-208-555-0132",
        "email": "help@finbank.example",
        "accountTypes": ["banking"],
        "currency": "USD",
        "status": "online",
        "isOauth": False,
        "timeZone": "America/Denver",
        "signInAgainUntil": None,
    } == found
    assert found == (await listed.get(f"/institutions/{found['id']}")).body["institution"]


async def test_the_best_match_comes_first(listed: Person) -> None:
    """Exact, then beginning; who is online first; slips are forgiven."""
    assert ["FinBank", "FinBank Cards", "FinBank A"] == await find_names(listed, search="FINBANK")
    assert ["FinBank Cards"] == await find_names(listed, search="cards")
    assert "Acorn Crédit" == (await find_names(listed, search="acron credit"))[0]
    assert [] == await find_names(listed, search="nothing like it")
    assert [] == await find_names(listed, search="?!")


async def test_without_a_search_all_are_listed_by_name(listed: Person) -> None:
    """By name, whatever case and accents, page after page; no page repeats or leaves out."""
    names = ["Acorn Crédit", "FinBank", "FinBank A", "FinBank Cards"]
    assert names == await find_names(listed)
    assert names == await find_names(listed, search="  ")
    paged: list[str] = []
    cursor = None
    while cursor or not paged:
        answer = await listed.get("/institutions", limit=1, cursor=cursor)
        paged += [each["name"] for each in answer.body["institutions"]]
        cursor = answer.body["nextCursor"]
    assert names == paged


async def test_a_search_has_pages_too(listed: Person) -> None:
    """Pages of a search follow one another in the order of the whole."""
    whole = await find_names(listed, search="finbank")
    first = await listed.get("/institutions", search="finbank", limit=2)
    second = await listed.get("/institutions", search="finbank", limit=2, cursor=first.body["nextCursor"])
    assert whole == [each["name"] for page in (first, second) for each in page.body["institutions"]]
    assert None is second.body["nextCursor"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"accountType": "cards"}, ["FinBank Cards"]),
        ({"accountType": "banking"}, ["Acorn Crédit", "FinBank"]),
        ({"isOauth": "true"}, ["FinBank Cards"]),
        ({"isOauth": "false", "search": "finbank"}, ["FinBank", "FinBank A"]),
        ({"accountType": "banking", "isOauth": "true"}, []),
    ],
)
async def test_filters_go_with_search_and_list(listed: Person, query: dict[str, str], names: list[str]) -> None:
    """Kinds of accounts and the way to sign in narrow both."""
    assert names == await find_names(listed, **query)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"accountType": "nosuch"}, "accountType"),
        ({"isOauth": "perhaps"}, "isOauth"),
        ({"search": "x" * 101}, "search"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"search": "bank", "cursor": "WyJmaW5iYW5rIiwxXQ"}, "cursor"),
        ({"search": "bank", "cursor": "WzEwMDAwMDBd"}, "cursor"),
    ],
)
async def test_what_does_not_fit_is_named(api: Person, query: dict[str, Any], field: str) -> None:
    """A wrong value is refused with the field's name; a list's cursor is none of a search."""
    answer = await api.get("/institutions", **query)
    assert (422, field) == (answer.status, answer.body.get("field"))


async def test_another_kind_is_not_there(listed: Person) -> None:
    """A sandbox shows pretend banks only; the id of another one is no institution, and neither is an unknown id."""
    assert "FinBank Look-alike" not in await find_names(listed, search="FinBank Look-alike")
    async with listed.database.app() as conn:
        real = await conn.fetchval("SELECT id FROM institutions WHERE aggregator_id = '4'")
    assert 404 == (await listed.get(f"/institutions/{real}")).status
    assert 404 == (await listed.get("/institutions/999999999")).status
    assert 422 == (await listed.get("/institutions/0")).status


async def test_whoever_reads_clients_may_search(listed: Person, reader: Person) -> None:
    """A reader may, a key with its scope too; one with another scope may not, and nobody without a token."""
    assert 200 == (await reader.get("/institutions")).status
    assert 200 == (await (await make_key(listed, "clients:read")).get("/institutions")).status
    assert 403 == (await (await make_key(listed, "webhooks:read")).get("/institutions")).status
    assert 401 == (await listed.as_nobody().get("/institutions")).status


async def test_one_noted_just_now_is_found_by_id(listed: Person) -> None:
    """An id that a bank account shows leads to its institution, though the lists are a minute behind."""
    assert 4 == len(await find_names(listed))
    await note(listed.database, replace(CARDS, ref="6", name="FinBank Late"))
    assert [] == await find_names(listed, search="finbank late")
    async with listed.database.app() as conn:
        late = await conn.fetchval("SELECT id FROM institutions WHERE aggregator_id = '6'")
    assert "FinBank Late" == (await listed.get(f"/institutions/{late}")).body["institution"]["name"]


# The catalogue itself


@pytest.fixture
async def catalogue(settings: Settings, database: Database) -> AsyncIterator[Catalogue]:
    """A catalogue of its own, with the institutions noted."""
    await note(database, *ALL)
    made = Catalogue(settings)
    made.open(database)
    yield made
    await made.close()


async def names_of(catalogue: Catalogue) -> list[str]:
    return [each.name for each in await catalogue.list_by_name(after=None, limit=100)]


async def test_live_has_what_a_sandbox_has_not(settings: Settings, database: Database) -> None:
    """A live deployment shows no pretend bank."""
    await note(database, *ALL)
    live = Catalogue(replace(settings, environment="live"))
    live.open(database)
    assert ["FinBank Look-alike"] == await names_of(live)
    assert ["FinBank Look-alike"] == [each.name for each in await live.search("finbank", limit=9)]
    await live.close()


async def test_a_look_brings_in_what_changed(catalogue: Catalogue, database: Database) -> None:
    """New, renamed, of another kind now: after the next look it is so in lists and searches."""
    assert 4 == len(await names_of(catalogue))
    await note(
        database,
        replace(CARDS, name="Oak Cards"),
        replace(ACORN, is_sandbox=False),
        replace(REAL, is_sandbox=True),
        replace(FINBANK, ref="7", name="FinBank New"),
    )
    await catalogue.refresh()
    assert ["FinBank", "FinBank A", "FinBank Look-alike", "FinBank New", "Oak Cards"] == await names_of(catalogue)
    assert ["Oak Cards"] == [each.name for each in await catalogue.search("oak", limit=9)]
    assert [] == await catalogue.search("acorn", limit=9)


async def test_nothing_new_builds_nothing(catalogue: Catalogue, database: Database) -> None:
    """A look that finds what is known already keeps the index that there is."""
    await names_of(catalogue)
    view = catalogue._view
    await note(database, *ALL)
    await catalogue.refresh()
    assert view is catalogue._view


async def test_what_is_gone_is_found_by_its_id_only(catalogue: Catalogue, database: Database) -> None:
    """Connections may still be at one that is not offered any more."""
    (found,) = await catalogue.search("acorn", limit=9)
    async with database.app() as conn:
        await mark_listed(conn, connector="finicity", refs=[each.ref for each in ALL])
    async with database.app() as conn:
        await mark_listed(conn, connector="finicity", refs=[each.ref for each in ALL if each is not ACORN])
        assert 1 == await mark_gone(conn, connector="finicity")
    await catalogue.refresh()
    assert [] == await catalogue.search("acorn", limit=9)
    assert "Acorn Crédit" not in await names_of(catalogue)
    gone = await catalogue.get(found.id)
    assert gone is not None
    assert "gone" == gone.status


async def test_a_catalogue_that_is_not_open_says_so(settings: Settings) -> None:
    """Before Postgres is there, a search is told to come again; closing is safe at any time."""
    made = Catalogue(settings)
    with pytest.raises(Unavailable):
        await made.search("bank", limit=9)
    await made.close()
    await made.close()


async def test_more_than_a_batch_is_read(settings: Settings, database: Database) -> None:
    """All of them are there, however many."""
    await note(database, *(replace(FINBANK, ref=str(n), name=f"FinBank {n:04d}") for n in range(2_500)))
    made = Catalogue(settings)
    made.open(database)
    listed = await made.list_by_name(after=None, limit=5_000)
    assert [f"FinBank {n:04d}" for n in range(2_500)] == [each.name for each in listed]
    await made.close()
