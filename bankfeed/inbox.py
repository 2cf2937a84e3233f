"""`bankfeed inbox`: the events that were set aside, and letting them be tried again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from bankfeed.db import Database
from bankfeed.db.inbox import SetAside, list_set_aside, mark_requeued
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings
from bankfeed.status import age

T = TypeVar("T")
MOST_SHOWN = 1000
BATCH_ROWS = 1000  # of one transaction: the workers go on meanwhile
HEADS = ("ID", "SOURCE", "EVENT", "AGE", "TRIES", "REASON")


def run_list(*, as_json: bool) -> None:
    """Print the events that were set aside, newest first. Raises SettingsError and Unavailable."""
    events = asyncio.run(_with_database(_list))
    is_cut = len(events) > MOST_SHOWN
    shown = events[:MOST_SHOWN]
    text = as_program(shown, is_cut=is_cut) if as_json else as_table(shown, is_cut=is_cut)
    print(text)  # noqa: T201 - what the command is for


def run_requeue(ids: Sequence[int] | None, *, reason: str | None) -> None:
    """Let set-aside events wait again and print how many did; `ids` None is all. Raises SettingsError and Unavailable."""
    requeued = asyncio.run(_with_database(lambda database: requeue(database, ids, reason=reason)))
    print(f"requeued {len(requeued)} event{'s' * (len(requeued) != 1)}")  # noqa: T201 - what the command is for
    if left := sorted(set(ids or ()) - set(requeued)):
        what = "not set aside" if reason is None else "not set aside for that reason"
        print(f"{what}, left as it is: {', '.join(map(str, left))}")  # noqa: T201 - what the command is for


async def requeue(database: Database, ids: Sequence[int] | None, *, reason: str | None) -> list[int]:
    """Let set-aside events wait again, batch by batch in the order of their ids; return the ids. Safe to repeat."""
    requeued: list[int] = []
    while True:
        async with database.queue() as conn:
            last_id = requeued[-1] if requeued else 0
            batch = await mark_requeued(conn, ids=ids, reason=reason, after_id=last_id, limit=BATCH_ROWS)
        requeued += batch
        if len(batch) < BATCH_ROWS:
            return requeued


async def _list(database: Database) -> tuple[SetAside, ...]:
    async with database.queue() as conn:
        return await list_set_aside(conn, limit=MOST_SHOWN + 1)


async def _with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    database = await Database.connect(Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"}))
    try:
        return await work(database)
    finally:
        await database.close()


def as_program(events: Sequence[SetAside], *, is_cut: bool) -> str:
    """Write the events as one JSON object."""
    return msgspec.json.encode({"set_aside": events, "is_cut": is_cut}).decode()


def as_table(events: Sequence[SetAside], *, is_cut: bool) -> str:
    """Write the events for a person, a line each."""
    if not events:
        return "nothing was set aside"
    rows = [HEADS, *map(_words, events)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADS) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    return "\n".join([*lines, *([f"only the latest {MOST_SHOWN} are shown"] if is_cut else [])])


def _words(event: SetAside) -> tuple[str, ...]:
    return (str(event.id), event.source, event.name, age(event.age_s), str(event.tries), event.reason)
