"""Feeds of an API test's tenant: histories as text, played through the worker's own commit."""

from typing import Any

import orjson

from bankfeed.jobs import Waker
from bankfeed.replay.steps import read_steps
from tests.ingress.api.conftest import Person
from tests.pure.history import read_history
from tests.worker.histories import Stored
from worker.context import Context


def make_feed(person: Person) -> Stored:
    """Make a feed of the person's customer, with nothing in it."""
    context = Context(database=person.database, connectors={}, waker=Waker(None), settings=person.ingress.settings)
    return Stored(context=context, sources=person.sources, tenant=person.tenant)


async def play(feed: Stored, text: str) -> None:
    """Take the steps of a text: an account, and its pulls. Rows are numbered from 1 in a fresh database."""
    await play_steps(feed, read_history(f"\n\n{text}").steps)


async def play_steps(feed: Stored, steps: list[dict[str, Any]]) -> None:
    """Take steps of the replay format."""
    for step in read_steps(b"\n".join(orjson.dumps(step) for step in steps)):
        await feed.play(step)
