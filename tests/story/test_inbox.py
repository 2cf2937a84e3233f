"""`bankfeed inbox`: what was set aside is seen, and tried again."""

from typing import Any

import asyncpg
import msgspec
import pytest

from bankfeed import inbox
from bankfeed.db import Database
from tests.conftest import Urls
from tests.db.made import claim_events
from tests.seed import make_sources
from tests.story.test_cli import run

Events = dict[str, int]


@pytest.fixture
async def events(owner: asyncpg.Connection, superuser: asyncpg.Connection) -> Events:
    """Three events that were set aside, by their reasons, and one that was done."""
    await make_sources(owner)
    rows = await superuser.fetch(
        """
        INSERT INTO inbox (source_id, name, event_type, event_id, body, tries, needs_listing, state, reason, finished_at)
        SELECT s.id, 'accountAdded', 'accountAdded', 'e-' || n, '', n, true,
               CASE n WHEN 4 THEN 'done' ELSE 'set_aside' END::inbox_state, reason, now()
        FROM sources s, unnest(ARRAY['Unknown: 1542', 'unknown: 7', 'KeyError', 'done']) WITH ORDINALITY AS t (reason, n)
        WHERE s.slug = 'ledgersync'
        ORDER BY n RETURNING reason, id
        """
    )
    return {row["reason"]: row["id"] for row in rows}


async def read_states(superuser: asyncpg.Connection) -> dict[int, str]:
    return {row["id"]: row["state"] for row in await superuser.fetch("SELECT id, state::text FROM inbox")}


async def test_what_was_set_aside_is_listed(urls: Urls, events: Events) -> None:
    """Each event has a line with its id, door, name, age, tries and reason; the latest stands first."""
    shown = run("inbox", environ=urls.environ()).stdout.splitlines()
    assert ["ID", "SOURCE", "EVENT", "AGE", "TRIES", "REASON"] == shown[0].split()
    assert [f"{events['KeyError']} ledgersync accountAdded", "3 KeyError"] == [
        " ".join(shown[1].split()[:3]),
        " ".join(shown[1].split()[-2:]),
    ]
    assert 4 == len(shown)
    listed: dict[str, Any] = msgspec.json.decode(run("inbox", "--json", environ=urls.environ()).stdout)
    assert [("KeyError", 3, "e-3"), ("unknown: 7", 2, "e-2"), ("Unknown: 1542", 1, "e-1")] == [
        (event["reason"], event["tries"], event["event_id"]) for event in listed["set_aside"]
    ]
    assert not listed["is_cut"]


async def test_an_empty_list_says_so(urls: Urls, owner: asyncpg.Connection) -> None:
    """Where nothing was set aside, a person is told in words and a program gets an empty list."""
    assert "nothing was set aside\n" == run("inbox", environ=urls.environ()).stdout
    assert '{"set_aside":[],"is_cut":false}\n' == run("inbox", "--json", environ=urls.environ()).stdout
    assert "requeued 0 events\n" == run("inbox", "requeue", "--all", environ=urls.environ()).stdout


async def test_a_requeued_event_is_as_new(urls: Urls, events: Events, database: Database) -> None:
    """It waits, is due now, with no try counted; whoever says it again changes nothing, and what was done stays done."""
    event_id, done = str(events["KeyError"]), str(events["done"])
    assert "requeued 1 event\n" == run("inbox", "requeue", event_id, environ=urls.environ()).stdout
    again = run("inbox", "requeue", event_id, done, environ=urls.environ())
    left = ", ".join(sorted((event_id, done), key=int))
    assert (0, f"requeued 0 events\nnot set aside, left as it is: {left}\n") == (again.returncode, again.stdout)
    _, [claimed] = await claim_events(database)
    assert events["KeyError"] == claimed.id
    async with database.queue() as conn:
        row = await conn.fetchrow("SELECT tries, reason, finished_at FROM inbox WHERE id = $1", claimed.id)
    assert (0, "", None) == tuple(row)


async def test_a_reason_chooses(urls: Urls, events: Events, superuser: asyncpg.Connection) -> None:
    """--all --reason takes those whose reason has the words in it, however they are written."""
    shown = run("inbox", "requeue", "--all", "--reason", "UNKNOWN:", environ=urls.environ()).stdout
    assert "requeued 2 events\n" == shown
    assert ["waiting", "waiting", "set_aside", "done"] == [
        state for _, state in sorted((await read_states(superuser)).items())
    ]


async def test_many_are_requeued_in_batches(
    events: Events, database: Database, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are requeued however many there are, and one that is set aside again meanwhile is not met twice."""
    monkeypatch.setattr(inbox, "BATCH_ROWS", 1)
    await superuser.execute(
        """
        CREATE FUNCTION break_again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.state := 'set_aside'; NEW.reason := 'again'; NEW.finished_at := now(); RETURN NEW; END $$;
        CREATE TRIGGER breaking BEFORE UPDATE ON inbox FOR EACH ROW EXECUTE FUNCTION break_again();
        """
    )
    assert sorted(events.values())[:3] == await inbox.requeue(database, None, reason=None)
