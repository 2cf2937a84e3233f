"""`bankfeed replay-events`: an endpoint is told again what was. Counted first, then queued batch by batch, each a transaction.

Nothing of it runs here but the queueing: the batches are due one after the other, and the workers send them. A break between
two batches loses nothing; what is said then goes on after the last one.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

import click

from bankfeed.cursor import write_cursor
from bankfeed.db import Connection, Database
from bankfeed.db.client import get_client
from bankfeed.db.customer import get_customer
from bankfeed.db.endpoint import lock_endpoint
from bankfeed.db.outbound import get_event
from bankfeed.db.replay import Replayed, ReplayFilter, count_replayable, replay_events
from bankfeed.desk import note, run_with_database
from bankfeed.errors import BadRequest, BankfeedError
from bankfeed.model import ClientId, CustomerId, EndpointId, EventType
from bankfeed.replaying import (
    REPLAYED_AT_ONCE,
    Place,
    check_replay,
    describe_replay,
    find_next,
    narrow_to,
    read_place,
)
from bankfeed.status import age

COMMAND: Final = "bankfeed replay-events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants told again to which endpoint. `rate_per_s` None is the usual one."""

    customer_id: CustomerId
    endpoint_id: EndpointId
    wanted: ReplayFilter
    rate_per_s: int | None


@dataclass(slots=True)
class Progress:
    """How far a replay is: `place` is where it goes on, None once it is through; `due_by` when all that was queued is due."""

    place: Place | None
    count: int = 0
    due_by: datetime | None = None

    def add(self, replayed: Replayed) -> None:
        """Take in what one call did."""
        assert self.place is not None
        self.place = find_next(self.place, replayed)
        self.count += replayed.count
        self.due_by = replayed.next_due_at


def make_asked(
    *,
    customer_id: int,
    endpoint_id: int,
    since: datetime | None,
    until: datetime | None,
    types: Sequence[str],
    client_id: int | None,
    is_failed_only: bool,
    rate_per_s: int | None,
) -> Asked:
    """Make what is asked of what was typed; the times do not matter where one event is named then."""
    now = datetime.now(UTC)
    wanted = ReplayFilter(
        since=since or now,
        until=until or now,
        event_types=tuple(EventType(each) for each in dict.fromkeys(types)),
        client_id=None if client_id is None else ClientId(client_id),
        is_failed_only=is_failed_only,
    )
    return Asked(
        customer_id=CustomerId(customer_id), endpoint_id=EndpointId(endpoint_id), wanted=wanted, rate_per_s=rate_per_s
    )


def run_replay(asked: Asked, *, event_id: UUID | None, resume: str | None, is_sure: bool, counts_only: bool) -> int:
    """Count, ask, and queue; print how many. Returns 0, or 130 where it was broken off.

    Raises NotFound, BadRequest, UsageError where nobody can be asked, SettingsError and Unavailable.
    """
    if not (is_sure or counts_only or sys.stdin.isatty()):
        raise click.UsageError("expected --yes or --dry-run where there is no terminal to ask at")
    place = Place(0, asked.wanted.until) if resume is None else read_place(resume, is_count=False)
    asked = replace(asked, wanted=replace(asked.wanted, until=place.until))
    if event_id is not None:
        asked, place = run_with_database(partial(narrow, asked=asked, event_id=event_id))
    counted = run_with_database(partial(count, asked=asked, place=place))
    click.echo(f"{_events(counted)} to queue for endpoint {asked.endpoint_id} of customer {asked.customer_id}")
    if counts_only or not counted:
        return 0
    if not is_sure:
        click.confirm("Queue them?", abort=True)
    return _queue(asked, Progress(place), counted)


async def narrow(database: Database, *, asked: Asked, event_id: UUID) -> tuple[Asked, Place]:
    """Ask for one event alone. Raises NotFound."""
    async with database.tenant(asked.customer_id) as conn:
        wanted, place = narrow_to(await get_event(conn, asked.customer_id, event_id), asked.wanted)
    return replace(asked, wanted=wanted), place


async def count(database: Database, *, asked: Asked, place: Place) -> int:
    """Count what would be queued from a place on. Raises NotFound and BadRequest."""
    progress = Progress(place)
    while progress.place is not None:
        async with database.tenant(asked.customer_id) as conn:
            await _check(conn, asked)
            progress.add(
                await count_replayable(
                    conn, asked.customer_id, asked.endpoint_id, asked.wanted, after=progress.place.after
                )
            )
    return progress.count


async def queue(database: Database, *, asked: Asked, progress: Progress, show: Callable[[int], object]) -> None:
    """Queue batch by batch, each with its line in the audit log; `show` is told how many more there are after each."""
    while progress.place is not None:
        async with database.tenant(asked.customer_id) as conn:
            await _check(conn, asked)
            replayed = await replay_events(
                conn,
                asked.customer_id,
                asked.endpoint_id,
                asked.wanted,
                after=progress.place.after,
                limit=REPLAYED_AT_ONCE,
                due_at=progress.place.due_at,
                rate_per_s=asked.rate_per_s,
            )
            target = describe_replay(asked.endpoint_id, asked.wanted, count=replayed.count, is_count=False)
            await note(conn, asked.customer_id, "events.replayed", target)
        progress.add(replayed)
        show(replayed.count)


async def _check(conn: Connection, asked: Asked) -> None:
    """Hold the endpoint's row, and see that it can be told. Raises NotFound and BadRequest."""
    await get_customer(conn, asked.customer_id)
    if asked.wanted.client_id is not None:
        await get_client(conn, asked.customer_id, asked.wanted.client_id)
    found = await lock_endpoint(conn, asked.customer_id, asked.endpoint_id)
    if not found.is_active:
        raise BadRequest(
            f"expected an active endpoint, got one that is disabled: bankfeed endpoints enable {asked.endpoint_id}"
        )
    check_replay(found, asked.wanted, rate_per_s=asked.rate_per_s)


def _queue(asked: Asked, progress: Progress, counted: int) -> int:
    """Queue with a bar on the terminal; where it is broken off, say how it goes on."""
    try:
        with click.progressbar(length=counted, label="queued", show_pos=True, file=sys.stderr) as bar:
            run_with_database(partial(queue, asked=asked, progress=progress, show=bar.update))
    except (KeyboardInterrupt, BankfeedError) as error:
        click.echo(f"{_events(progress.count)} queued; to go on:\n{resume_words(asked, progress)}", err=True)
        if isinstance(error, BankfeedError):
            raise
        return 130
    left_s = 0.0 if progress.due_by is None else (progress.due_by - datetime.now(UTC)).total_seconds()
    click.echo(f"queued {_events(progress.count)}, the last of them due in {age(left_s)}")
    return 0


def resume_words(asked: Asked, progress: Progress) -> str:
    """Write the command that goes on where a replay was broken off."""
    assert progress.place is not None
    wanted = asked.wanted
    words = [f"{COMMAND} --customer {asked.customer_id} --endpoint {asked.endpoint_id}"]
    if wanted.event_id is not None:
        words.append(f"--event {wanted.event_id}")
    else:
        words += [f"--since {wanted.since.isoformat()}", f"--resume {shlex.quote(write_cursor(progress.place))}"]
    words += [f"--type {each}" for each in wanted.event_types]
    words += [f"--client {wanted.client_id}"] if wanted.client_id is not None else []
    words += ["--failed"] if wanted.is_failed_only else []
    words += [f"--rate {asked.rate_per_s}"] if asked.rate_per_s is not None else []
    return " ".join([*words, "--yes"])


def _events(number: int) -> str:
    return f"{number} event{'s' * (number != 1)}"
