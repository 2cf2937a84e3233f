"""`bankfeed endpoints`: subscribers' endpoints and how they take what is sent; disabling and enabling one."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import click
import msgspec

from bankfeed.db import Connection, Database
from bankfeed.db.delivery import ENDPOINT_ENABLED, end_deliveries
from bankfeed.db.endpoint import (
    MAX_REASON_CHARS,
    disable_endpoint,
    enable_endpoint,
    is_known,
    lock_endpoint,
)
from bankfeed.db.subscriber import EndpointLine, list_endpoint_lines
from bankfeed.desk import as_table, find_owner, list_customers, note, printable, run_with_database
from bankfeed.model import CustomerId, EndpointId
from bankfeed.status import age

MOST_SHOWN: Final = 500
ENDED_AT_ONCE: Final = 1_000
HEADS: Final = ("ID", "CUSTOMER", "HOST", "STATE", "FAILURES", "WAITING", "OLDEST DUE", "REASON")


def run_list(*, customer_id: int | None, as_json: bool) -> None:
    """Print the endpoints, a line each. Raises NotFound, SettingsError and Unavailable."""
    lines = run_with_database(partial(list_lines, customer_id=None if customer_id is None else CustomerId(customer_id)))
    shown, is_cut = lines[:MOST_SHOWN], len(lines) > MOST_SHOWN
    click.echo(as_program(shown, is_cut=is_cut) if as_json else as_text(shown, is_cut=is_cut))


def run_disable(endpoint_id: int, *, customer_id: int | None, reason: str) -> None:
    """Deliver nothing to an endpoint from now on, and print that. Raises NotFound, SettingsError and Unavailable."""
    why = reason.strip()
    if not 1 <= len(why) <= MAX_REASON_CHARS:
        raise click.UsageError(f"expected --reason to be a text of 1 to {MAX_REASON_CHARS} characters, got {len(why)}")
    work = partial(disable, endpoint_id=EndpointId(endpoint_id), customer_id=customer_id, reason=why)
    is_done = run_with_database(work)
    click.echo(f"endpoint {endpoint_id} is disabled" + ("" if is_done else " already, and left as it is"))


def run_enable(endpoint_id: int, *, customer_id: int | None, discards: bool) -> None:
    """Deliver to an endpoint again, and print that. Raises NotFound, SettingsError and Unavailable."""
    work = partial(enable, endpoint_id=EndpointId(endpoint_id), customer_id=customer_id, discards=discards)
    is_done, ended = run_with_database(work)
    told = f", {ended} that waited ha{'s' if ended == 1 else 've'} failed unsent" if ended else ""
    click.echo(f"endpoint {endpoint_id} is active" + (told if is_done else " already"))


async def list_lines(database: Database, *, customer_id: CustomerId | None) -> list[EndpointLine]:
    """List endpoints of a customer, or of all, one more than are shown at most."""
    lines: list[EndpointLine] = []
    for each in await list_customers(database, customer_id):
        if len(lines) > MOST_SHOWN:
            break
        async with database.tenant(each) as conn:
            lines += await list_endpoint_lines(conn, each, limit=MOST_SHOWN + 1)
    return lines


async def disable(database: Database, *, endpoint_id: EndpointId, customer_id: int | None, reason: str) -> bool:
    """Disable an endpoint, with its line in the audit log. False where it is disabled. Raises NotFound."""
    owner = await _find_owner(database, endpoint_id, customer_id)
    async with database.tenant(owner) as conn:
        await lock_endpoint(conn, owner, endpoint_id)
        is_done = await disable_endpoint(conn, owner, endpoint_id, reason=reason)
        if is_done:
            await note(conn, owner, "endpoint.disabled", f"endpointId={endpoint_id}")
    return is_done


async def enable(
    database: Database, *, endpoint_id: EndpointId, customer_id: int | None, discards: bool
) -> tuple[bool, int]:
    """Enable an endpoint, with its line in the audit log; False where it is active, and how many were discarded before.

    What is being attempted at that moment ends by itself. Raises NotFound.
    """
    owner = await _find_owner(database, endpoint_id, customer_id)
    ended = 0
    while True:
        async with database.tenant(owner) as conn:
            found = await lock_endpoint(conn, owner, endpoint_id)
            if found.is_active:
                return False, ended
            if discards and (batch := await _discard(conn, owner, endpoint_id)):
                ended += batch
                continue
            await enable_endpoint(conn, owner, endpoint_id)
            await note(conn, owner, "endpoint.enabled", f"endpointId={endpoint_id} discarded={ended}")
            return True, ended


async def _discard(conn: Connection, customer_id: CustomerId, endpoint_id: EndpointId) -> int:
    return await end_deliveries(conn, customer_id, endpoint_id, limit=ENDED_AT_ONCE, reason=ENDPOINT_ENABLED)


async def _find_owner(database: Database, endpoint_id: EndpointId, customer_id: int | None) -> CustomerId:
    return await find_owner(
        database,
        None if customer_id is None else CustomerId(customer_id),
        f"webhook endpoint {endpoint_id}",
        lambda conn, owner: is_known(conn, owner, endpoint_id),
    )


def as_program(lines: Sequence[EndpointLine], *, is_cut: bool) -> str:
    """Write the endpoints as one JSON object."""
    return msgspec.json.encode({"endpoints": lines, "is_cut": is_cut}).decode()


def as_text(lines: Sequence[EndpointLine], *, is_cut: bool) -> str:
    """Write the endpoints for a person, a line each."""
    if not lines:
        return "there are no endpoints"
    cut = f"\nonly the first {MOST_SHOWN} are shown" if is_cut else ""
    return as_table(HEADS, [_words(line) for line in lines]) + cut


def _words(line: EndpointLine) -> tuple[str, ...]:
    return (
        str(line.id),
        str(line.customer_id),
        printable(line.host, most=60),
        line.state,
        str(line.failures),
        str(line.waiting),
        "-" if line.oldest_due_age_s is None else age(line.oldest_due_age_s),
        printable(line.reason),
    )
