"""`bankfeed deliveries`: what was sent to subscribers, what came of each attempt, and trying again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click
import msgspec

from bankfeed.db import Database
from bankfeed.db.endpoint import is_known
from bankfeed.db.outbound import (
    DeliveryFilter,
    StoredAttempt,
    StoredDelivery,
    get_delivery,
    list_attempts,
    list_deliveries,
)
from bankfeed.db.subscriber import has_delivery
from bankfeed.desk import as_table, find_owner, list_customers, note, printable, run_with_database
from bankfeed.model import CustomerId, DeliveryId
from bankfeed.retrying import retry
from bankfeed.status import age

HEADS: Final = ("ID", "CUSTOMER", "ENDPOINT", "EVENT", "STATE", "ATTEMPTS", "AGE", "NEXT", "REASON")
ATTEMPT_HEADS: Final = ("NO", "STARTED", "TOOK", "STATUS", "ANSWER OR ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A delivery, and whose it is."""

    customer_id: CustomerId
    delivery: StoredDelivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A delivery with its attempts, the first one first."""

    customer_id: CustomerId
    delivery: StoredDelivery
    attempts: Sequence[StoredAttempt]


def run_list(wanted: DeliveryFilter, *, customer_id: int | None, limit: int, as_json: bool) -> None:
    """Print deliveries, the newest first. Raises NotFound, SettingsError and Unavailable."""
    lines = run_with_database(partial(list_lines, wanted=wanted, customer_id=customer_id, limit=limit + 1))
    shown, is_cut = lines[:limit], len(lines) > limit
    if as_json:
        click.echo(msgspec.json.encode({"deliveries": shown, "is_cut": is_cut}).decode())
    else:
        click.echo(as_text(shown, is_cut=is_cut, now=datetime.now(UTC)))


def run_show(delivery_id: int, *, customer_id: int | None, as_json: bool) -> None:
    """Print a delivery with its attempts. Raises NotFound, SettingsError and Unavailable."""
    life = run_with_database(partial(read_life, delivery_id=DeliveryId(delivery_id), customer_id=customer_id))
    click.echo(msgspec.json.encode(life).decode() if as_json else tell(life, now=datetime.now(UTC)))


def run_retry(delivery_ids: Sequence[int], *, customer_id: int | None) -> int:
    """Make deliveries due at once and print how many; return 1 where any was not, else 0. Raises NotFound and so on."""
    ids = [DeliveryId(each) for each in dict.fromkeys(delivery_ids)]
    faults = run_with_database(partial(retry_all, delivery_ids=ids, customer_id=customer_id))
    due = len(ids) - len(faults)
    click.echo(f"{due} deliver{'y is' if due == 1 else 'ies are'} due now")
    for delivery_id, fault in faults.items():
        click.echo(f"delivery {delivery_id}: {fault}", err=True)
    return int(bool(faults))


async def list_lines(database: Database, *, wanted: DeliveryFilter, customer_id: int | None, limit: int) -> list[Line]:
    """List deliveries of a customer, or of all, the newest first. Raises NotFound where the endpoint is nobody's."""
    named = None if customer_id is None else CustomerId(customer_id)
    if (endpoint_id := wanted.endpoint_id) is not None:
        named = await find_owner(
            database, named, f"webhook endpoint {endpoint_id}", lambda conn, each: is_known(conn, each, endpoint_id)
        )
    lines: list[Line] = []
    for each in await list_customers(database, named):
        async with database.tenant(each) as conn:
            found = await list_deliveries(conn, each, wanted, limit=limit)
        lines += [Line(customer_id=each, delivery=delivery) for delivery in found]
        lines = sorted(lines, key=lambda line: line.delivery.id, reverse=True)[:limit]
    return lines


async def read_life(database: Database, *, delivery_id: DeliveryId, customer_id: int | None) -> Life:
    """Read a delivery with its attempts. Raises NotFound."""
    owner = await _find_owner(database, delivery_id, customer_id)
    async with database.tenant(owner) as conn:
        found = await get_delivery(conn, owner, delivery_id)
        return Life(customer_id=owner, delivery=found, attempts=await list_attempts(conn, owner, found))


async def retry_all(
    database: Database, *, delivery_ids: Sequence[DeliveryId], customer_id: int | None
) -> dict[DeliveryId, str]:
    """Make deliveries due at once, each with its line in the audit log; return what stood in the way of which."""
    owners = [(each, await _find_owner(database, each, customer_id)) for each in delivery_ids]
    faults: dict[DeliveryId, str] = {}
    for delivery_id, owner in owners:
        async with database.tenant(owner) as conn:
            fault = await retry(conn, owner, delivery_id)
            if fault is None:
                await note(conn, owner, "delivery.retried", f"deliveryId={delivery_id}")
            else:
                faults[delivery_id] = fault
    return faults


async def _find_owner(database: Database, delivery_id: DeliveryId, customer_id: int | None) -> CustomerId:
    return await find_owner(
        database,
        None if customer_id is None else CustomerId(customer_id),
        f"delivery {delivery_id}",
        lambda conn, owner: has_delivery(conn, owner, delivery_id),
    )


def as_text(lines: Sequence[Line], *, is_cut: bool, now: datetime) -> str:
    """Write deliveries for a person, a line each."""
    if not lines:
        return "there are no such deliveries"
    cut = f"\nonly the latest {len(lines)} are shown" if is_cut else ""
    return as_table(HEADS, [_words(line, now) for line in lines]) + cut


def tell(life: Life, *, now: datetime) -> str:
    """Write a delivery and its attempts for a person."""
    found = life.delivery
    heads = [
        f"delivery {found.id} of customer {life.customer_id} to endpoint {found.endpoint_id} ({found.endpoint_state})",
        f"event {found.event_id} {found.event_type} of {found.created_at:%Y-%m-%d %H:%M:%S} UTC",
        ": ".join(filter(None, (found.state, printable(found.reason)))),
    ]
    if found.next_attempt_at is not None:
        heads.append(f"next attempt {_until(found.next_attempt_at, now)}")
    rows = [_attempt_words(each) for each in life.attempts]
    return "\n".join([*heads, as_table(ATTEMPT_HEADS, rows) if rows else "no attempt yet"])


def _words(line: Line, now: datetime) -> tuple[str, ...]:
    found = line.delivery
    return (
        str(found.id),
        str(line.customer_id),
        str(found.endpoint_id),
        f"{found.event_type} (test)" if found.is_test else found.event_type,
        found.state,
        str(found.attempts),
        age((now - found.created_at).total_seconds()),
        "-" if found.next_attempt_at is None else _until(found.next_attempt_at, now),
        printable(found.reason),
    )


def _attempt_words(attempt: StoredAttempt) -> tuple[str, ...]:
    return (
        str(attempt.attempt_no),
        f"{attempt.started_at:%Y-%m-%d %H:%M:%S}",
        f"{attempt.duration_ms} ms",
        "-" if attempt.status is None else str(attempt.status),
        printable(attempt.error or attempt.answer, most=100),
    )


def _until(at: datetime, now: datetime) -> str:
    seconds = (at - now).total_seconds()
    return "now" if seconds <= 0 else f"in {age(seconds)}"
