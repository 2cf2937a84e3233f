"""The SQL that operators are told to run: it runs, as the owner, and does what the text says."""

import re
from pathlib import Path

import asyncpg

from bankfeed.db import Database
from bankfeed.db.source import find_source
from tests.seed import PARTNER_SECRET, make_sources, make_tenant

DEPLOY = Path(__file__).parents[2] / "deploy"


def list_sql(text: str) -> list[str]:
    return re.findall(r"```sql\n(.*?)```", (DEPLOY / text).read_text().replace("\n   ", "\n"), re.DOTALL)


def find_sql(text: str, words: str) -> str:
    (found,) = (sql for sql in list_sql(text) if words in sql)
    return found


async def find_secrets(database: Database, slug: str) -> tuple[str, ...]:
    async with database.queue() as conn:
        source = await find_source(conn, slug)
    assert source is not None
    return source.secrets


async def test_a_door_is_made(owner: asyncpg.Connection, database: Database) -> None:
    """The README's statement makes a source with its key."""
    await owner.execute(find_sql("README.md", "INSERT INTO sources").replace("'...'", "'a-key-of-sixteen-characters'"))
    assert await find_secrets(database, "finicity") == ("a-key-of-sixteen-characters",)


async def test_a_key_is_changed_with_an_overlap(owner: asyncpg.Connection, database: Database) -> None:
    """The runbook's first statement lets both keys count, the second only the new one, and other sources keep theirs."""
    await make_sources(owner)
    before = await find_secrets(database, "ledgersync")
    add, remove = find_sql("RUNBOOK.md", "INSERT INTO source_keys").split("-- let the sender")
    await owner.execute(add.replace("THE NEW KEY", "a-new-key-of-sixteen"))
    assert await find_secrets(database, "finicity") == (PARTNER_SECRET, "a-new-key-of-sixteen")
    await owner.execute(remove.partition("\n")[2].replace("THE NEW KEY", "a-new-key-of-sixteen"))
    assert await find_secrets(database, "finicity") == ("a-new-key-of-sixteen",)
    assert await find_secrets(database, "ledgersync") == before


async def test_set_aside_events_can_be_listed(owner: asyncpg.Connection) -> None:
    """The owner sees the reasons of events that were set aside."""
    assert await owner.fetch(find_sql("RUNBOOK.md", "set_aside")) == []


async def test_the_roles_get_passwords(owner: asyncpg.Connection) -> None:
    """Who loaded the schema may give its roles a password."""
    await owner.execute(find_sql("README.md", "ALTER ROLE").replace("...", "tests only"))


async def test_given_up_removals_are_tried_again(
    owner: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    """What was given up waits again, due now, with no try counted."""
    sources = await make_sources(owner)
    tenant = await make_tenant(database, sources)
    await superuser.execute(
        """
        INSERT INTO removals (customer_id, client_id, source_id, kind, aggregator_customer_id, state, tries, reason, finished_at)
        VALUES ($1, $2, $3, 'customer', '1', 'given_up', 30, 'refused', now())
        """,
        tenant.customer_id,
        tenant.client_id,
        sources.finicity,
    )
    await owner.execute(find_sql("RUNBOOK.md", "given_up"))
    row = await superuser.fetchrow("SELECT state::text, tries, finished_at FROM removals")
    assert ("waiting", 0, None) == tuple(row)


async def test_counters_get_another_epoch(
    owner: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    """After a restore every client's counter is of another epoch, and no number of it changes."""
    await make_tenant(database, await make_sources(owner))
    await owner.execute(find_sql("RUNBOOK.md", "change_counters"))
    assert [(True, 0)] == [
        tuple(row) for row in await superuser.fetch("SELECT epoch > 0, last_change_no FROM change_counters")
    ]
