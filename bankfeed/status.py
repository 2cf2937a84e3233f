"""`bankfeed status`: how the connections are and what waits. A table on a terminal, lines in a pipe, JSON for programs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bankfeed.db import Database
from bankfeed.db.connection import ConnectionLine, count_due_connections, list_connection_lines
from bankfeed.db.customer import list_customer_ids
from bankfeed.db.delivery import OutboxState, get_outbox_state
from bankfeed.db.inbox import InboxState, SetAside, get_inbox_state, list_set_aside
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings

MOST_LINES: Final = 500
MOST_SET_ASIDE: Final = 5
WATCH_S: Final = 2.0
HEADS: Final = ("customer", "client", "institution", "state", "accounts", "transactions", "age", "waiting")
STYLES: Final = {"active": "green", "needs_person": "red", "waiting": "yellow", "closed": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is shown. `is_cut` where there are more connections than are shown; `due` is how many await a refresh."""

    connections: Sequence[ConnectionLine]
    is_cut: bool
    due: int
    inbox: InboxState
    deliveries: OutboxState
    set_aside: Sequence[SetAside] = ()

    def backlog(self) -> tuple[str, ...]:
        """Write what waits, for a person."""
        inbox, deliveries = self.inbox, self.deliveries
        aside = (f"  {each.source} {each.name}, {age(each.age_s)} ago: {each.reason}" for each in self.set_aside)
        cut = (f"only the first {len(self.connections)} connections are shown",) if self.is_cut else ()
        return (
            f"inbox       {inbox.waiting} waiting (oldest {age(inbox.oldest_age_s)}), {inbox.set_aside} set aside",
            *aside,
            f"refreshes   {self.due} due",
            f"deliveries  {deliveries.due} due (oldest {age(deliveries.oldest_due_age_s)}), {deliveries.later} later",
            *cut,
        )


def run_status(*, as_json: bool, watch: bool) -> None:
    """Print the status once, or again and again. Raises SettingsError and Unavailable."""
    settings = Settings.for_command({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})
    asyncio.run(_watch(settings, as_json=as_json) if watch else _show_once(settings, as_json=as_json))


async def read_status(database: Database) -> Status:
    """Read everything that is shown; each customer's connections in a transaction of that customer."""
    async with database.queue() as conn:
        customer_ids = await list_customer_ids(conn)
        inbox, deliveries = await get_inbox_state(conn), await get_outbox_state(conn)
        due = await count_due_connections(conn)
        set_aside = await list_set_aside(conn, limit=MOST_SET_ASIDE)
    lines: list[ConnectionLine] = []
    for customer_id in customer_ids:
        if len(lines) > MOST_LINES:
            break
        async with database.tenant(customer_id) as conn:
            lines += await list_connection_lines(conn, customer_id, limit=MOST_LINES + 1)
    return Status(
        connections=lines[:MOST_LINES],
        is_cut=len(lines) > MOST_LINES,
        due=due,
        inbox=inbox,
        deliveries=deliveries,
        set_aside=set_aside,
    )


async def _show_once(settings: Settings, *, as_json: bool) -> None:
    database = await Database.connect(settings)
    try:
        _print(await read_status(database), Console(), as_json=as_json)
    finally:
        await database.close()


async def _watch(settings: Settings, *, as_json: bool) -> None:
    console = Console()
    database = await Database.connect(settings)
    try:
        if as_json or not console.is_terminal:
            while True:
                _print(await read_status(database), console, as_json=as_json)
                await asyncio.sleep(WATCH_S)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_table(await read_status(database)), refresh=True)
                await asyncio.sleep(WATCH_S)
    finally:
        database.terminate()


def _print(status: Status, console: Console, *, as_json: bool) -> None:
    if as_json:
        print(as_program(status), flush=True)  # noqa: T201 - what the command is for
    elif console.is_terminal:
        console.print(_table(status))
    else:
        print("\n".join((*_plain(status), *status.backlog())), flush=True)  # noqa: T201 - what the command is for


def as_program(status: Status) -> str:
    """Write the status as one JSON object."""
    return msgspec.json.encode(
        {
            "connections": status.connections,
            "is_cut": status.is_cut,
            "refreshes_due": status.due,
            "inbox": status.inbox,
            "set_aside": status.set_aside,
            "deliveries": status.deliveries,
        }
    ).decode()


def _table(status: Status) -> Table:
    table = Table(
        box=None, padding=(0, 1, 0, 0), header_style="bold", caption="\n".join(status.backlog()), caption_justify="left"
    )
    for head in HEADS:
        table.add_column(head, justify="right" if head in HEADS[4:] else "left", no_wrap=True)
    for line in status.connections:
        words = _words(line)
        cells = [Text(word, style=STYLES.get(line.state, "yellow") if n == 3 else "") for n, word in enumerate(words)]
        table.add_row(*cells)
    return table


def _plain(status: Status) -> Sequence[str]:
    rows = [HEADS, *(_words(line) for line in status.connections)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADS))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _words(line: ConnectionLine) -> tuple[str, ...]:
    return (
        str(line.customer_id),
        line.client,
        line.institution or "-",
        f"{line.state} ({line.status_code})" if line.status_code else line.state,
        str(line.accounts),
        str(line.transactions),
        "never" if line.age_s is None else age(line.age_s),
        str(line.waiting),
    )


def age(seconds: float) -> str:
    """Write an age in its two largest units.

    >>> age(42.4), age(61), age(7_260), age(180_000)
    ('42 s', '1 m 1 s', '2 h 1 m', '2 d 2 h')
    """
    whole = max(0, round(seconds))
    for unit_s, unit, rest_s, rest in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // rest_s} {rest}"
    return f"{whole} s"
