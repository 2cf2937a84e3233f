"""One engine, two stores: what a history comes to through worker and Postgres is what it comes to in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bankfeed.db import Database
from bankfeed.db.customer import update_shadow_policy
from bankfeed.jobs import Waker
from bankfeed.model import ShadowPolicy
from bankfeed.replay.book import Book
from bankfeed.replay.play import Replay
from bankfeed.replay.report import Ending, as_json, end
from bankfeed.replay.steps import Step, read_steps
from bankfeed.settings import Settings
from tests.seed import Sources, make_sources, make_tenant
from tests.worker.histories import Stored
from worker.context import Context

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "tests" / "scenarios", ROOT.parent / "shared" / "scenarios")


def list_histories() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in folder.glob("*.jsonl"))


def in_memory(steps: list[Step], policy: ShadowPolicy) -> dict[str, Any]:
    """Return the report of the store in memory."""
    return tell(end(Replay(book=Book(policy=policy)).play(steps)))


async def in_postgres(context: Context, sources: Sources, steps: list[Step], policy: ShadowPolicy) -> dict[str, Any]:
    """Return the report of a tenant of its own."""
    stored = Stored(context=context, sources=sources, tenant=await make_tenant(context.database, sources))
    async with context.database.tenant(stored.tenant.customer_id) as conn:
        await update_shadow_policy(conn, stored.tenant.customer_id, policy)
    for step in steps:
        await stored.play(step)
    return tell(await stored.end(policy))


def tell(ending: Ending) -> dict[str, Any]:
    """Report all rows with their lives; of the events, what became of each pull."""
    pulls = [replace(event, is_relinked=False) for event in ending.events if event.step.op == "pull"]
    return as_json(replace(ending, events=tuple(pulls)), with_gone=True, with_steps=True)


@pytest.mark.parametrize("policy", [ShadowPolicy.HIDE, ShadowPolicy.DELETE])
async def test_both_stores_end_identical(
    database: Database, owner: asyncpg.Connection, settings: Settings, policy: ShadowPolicy
) -> None:
    """Rows, states, values, ids, entries, locks, doubts, every step with its rule, and each pull's verdict."""
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    sources = await make_sources(owner)
    histories = list_histories()
    assert len(histories) > 20
    for path in histories:
        steps = list(read_steps(path.read_bytes()))
        assert in_memory(steps, policy) == await in_postgres(context, sources, steps, policy), path.name
