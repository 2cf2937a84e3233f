"""Institutions as rows: what a list brings, what it does not name any more, and what changed since."""

from dataclasses import replace
from datetime import datetime

import asyncpg

from bankfeed.db import Database
from bankfeed.db.institution import (
    Institution,
    find_institution,
    find_institution_by_ref,
    is_listing_due,
    list_institutions,
    mark_gone,
    mark_listed,
    try_to_list,
    upsert_institutions,
)
from bankfeed.model import AccountClass, ListedInstitution

WHOLE = ListedInstitution(
    ref="101732",
    name="FinBank",
    url="https://finbank.example",
    sign_in_url="https://finbank.example/login",
    phone="1-208-555-0132",
    email="help@finbank.example",
    account_types=(AccountClass.BANKING, AccountClass.CARDS),
    currency="USD",
    time_zone="America/Denver",
    status="maintenance",
    is_oauth=True,
    is_sandbox=True,
)


def named(*refs: str) -> list[ListedInstitution]:
    return [ListedInstitution(ref=ref, name=f"Bank {ref}") for ref in refs]


async def upsert(database: Database, *listed: ListedInstitution, connector: str = "finicity") -> int:
    async with database.app() as conn:
        return await upsert_institutions(conn, connector=connector, listed=listed)


async def find(database: Database, ref: str) -> Institution:
    async with database.app() as conn:
        found = await find_institution_by_ref(conn, connector="finicity", ref=ref)
    assert found is not None
    return found


async def end_list(database: Database, *refs: str) -> int:
    """Say that a whole list named these; return how many are gone."""
    async with database.app() as conn:
        await mark_listed(conn, connector="finicity", refs=refs)
        return await mark_gone(conn, connector="finicity")


async def list_since(database: Database, since: datetime | None) -> list[str]:
    async with database.app() as conn:
        return [each.ref for each in await list_institutions(conn, changed_since=since, after_id=0, limit=100)]


async def test_all_that_is_listed_is_kept(database: Database) -> None:
    """Every field comes back as it was listed."""
    assert 1 == await upsert(database, WHOLE)
    found = await find(database, "101732")
    assert {
        **{field: getattr(WHOLE, field) for field in ("name", "url", "sign_in_url", "phone", "email", "currency")},
        "account_types": ("banking", "cards"),
        "time_zone": "America/Denver",
        "status": "maintenance",
        "is_oauth": True,
        "is_sandbox": True,
    } == {
        field: getattr(found, field)
        for field in (
            *("name", "url", "sign_in_url", "phone", "email", "currency", "account_types", "time_zone", "status"),
            *("is_oauth", "is_sandbox"),
        )
    }
    async with database.app() as conn:
        assert found == await find_institution(conn, found.id)
        assert None is await find_institution(conn, found.id + 1)


async def test_what_has_not_changed_is_not_written(database: Database, superuser: asyncpg.Connection) -> None:
    """The same list again writes no row; a change of any field writes that one, and says when."""
    await upsert(database, WHOLE, *named("1", "2"))
    before = await superuser.fetch("SELECT xmin::text, * FROM institutions ORDER BY id")
    assert 0 == await upsert(database, WHOLE, *named("1", "2"))
    assert before == await superuser.fetch("SELECT xmin::text, * FROM institutions ORDER BY id")
    for changes in ({"account_types": ()}, {"time_zone": None}, {"is_sandbox": False}, {"status": "online"}):
        changed_at = (await find(database, WHOLE.ref)).changed_at
        assert 1 == await upsert(database, replace(WHOLE, **changes), *named("1", "2"))
        assert changed_at < (await find(database, WHOLE.ref)).changed_at
        await upsert(database, WHOLE)


async def test_one_that_is_named_twice_is_one(database: Database) -> None:
    """A page that repeats an institution is no error: the later one counts."""
    assert 1 == await upsert(database, *named("1"), ListedInstitution(ref="1", name="Renamed"))
    assert "Renamed" == (await find(database, "1")).name
    assert 0 == await upsert(database)


async def test_one_aggregators_ids_are_not_anothers(database: Database) -> None:
    """The same id of two aggregators is two institutions."""
    await upsert(database, *named("1"))
    assert 1 == await upsert(database, *named("1"), connector="other")
    assert ["1", "1"] == await list_since(database, None)


async def test_what_a_whole_list_leaves_out_is_gone(database: Database) -> None:
    """One that was listed before and is not any more is gone; listed again, it is back. One never listed stays."""
    await upsert(database, *named("1", "2", "3", "4"))
    await end_list(database, "1", "2", "3")
    assert 1 == await end_list(database, "1", "3")
    assert ["online", "gone", "online", "online"] == [(await find(database, ref)).status for ref in "1234"]
    assert 0 == await end_list(database, "1", "3")
    await upsert(database, *named("2"))
    assert 0 == await end_list(database, "1", "2", "3")
    assert "online" == (await find(database, "2")).status


async def test_a_list_that_loses_most_is_not_believed(database: Database) -> None:
    """Where more than half would be gone, none is."""
    await upsert(database, *named("1", "2", "3", "4", "5"))
    await end_list(database, "1", "2", "3", "4", "5")
    assert 0 == await end_list(database, "1", "2")
    assert 2 == await end_list(database, "1", "2", "3")


async def test_a_list_is_due_after_its_hours(database: Database, superuser: asyncpg.Connection) -> None:
    """An aggregator's list is due when it was never read to its end, and so many hours after it was."""

    async def is_due() -> bool:
        async with database.app() as conn:
            return await is_listing_due(conn, connector="finicity", hours=24)

    assert await is_due()
    await upsert(database, *named("1"))
    assert await is_due()
    await end_list(database, "1")
    assert not await is_due()
    await superuser.execute("UPDATE institutions SET listed_at = now() - interval '25 hours'")
    assert await is_due()


async def test_what_changed_since_is_listed(database: Database) -> None:
    """Only what is new, changed or gone since a time; being listed once more is no change."""
    await upsert(database, *named("1", "2", "3"))
    await end_list(database, "1", "2", "3")
    async with database.app() as conn:
        since = await conn.fetchval("SELECT now()")
    await end_list(database, "1", "2", "3")
    assert [] == await list_since(database, since)
    await upsert(database, ListedInstitution(ref="2", name="Renamed"), *named("4"))
    assert ["2", "4"] == await list_since(database, since)
    await end_list(database, "1", "2")
    assert ["2", "3", "4"] == await list_since(database, since)


async def test_all_are_listed_batch_by_batch(database: Database) -> None:
    """Each batch goes on after the last id of the one before."""
    await upsert(database, *named("1", "2", "3"))
    async with database.app() as conn:
        first = await list_institutions(conn, changed_since=None, after_id=0, limit=2)
        second = await list_institutions(conn, changed_since=None, after_id=first[-1].id, limit=2)
    assert [["1", "2"], ["3"]] == [[each.ref for each in batch] for batch in (first, second)]


async def test_one_lists_at_a_time(database: Database) -> None:
    """The lock lasts for its transaction, and another one does not wait for it."""
    async with database.app() as conn:
        assert await try_to_list(conn)
        async with database.app() as second:
            assert not await try_to_list(second)
    async with database.app() as conn:
        assert await try_to_list(conn)
