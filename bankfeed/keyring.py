"""`bankfeed secrets`: a new key for secrets at rest, and sealing everything anew with the first key."""

import asyncio
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import click

from bankfeed.db import Connection, Database
from bankfeed.db.audit import insert_audit
from bankfeed.db.customer import list_customer_ids
from bankfeed.db.sealed import COLUMNS, SealedTexts, lock_sealed, update_sealed
from bankfeed.endpoints import sealed_of
from bankfeed.model import CustomerId, EndpointId
from bankfeed.runenv import get_environ
from bankfeed.sealing import KEY_BYTES, CannotOpen, Sealer, write_key
from bankfeed.settings import Settings

BATCH_ROWS: Final = 200  # endpoints of one transaction
MOST_NAMED: Final = 20


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many texts were sealed anew, had the first key already, or are opened by no key, whose first places are named."""

    anew: int = 0
    current: int = 0
    unopened: int = 0
    places: list[str] = field(default_factory=list)


def run_new_key(name: str | None) -> None:
    """Print a new key as BANKFEED_SECRET_KEYS takes it, named after the day where no name is given. Raises UsageError."""
    try:
        named = f"k{datetime.now(UTC):%Y%m%d}" if name is None else name
        click.echo(write_key(named, secrets.token_bytes(KEY_BYTES)))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def run_reencrypt() -> int:
    """Seal all secrets anew with the first key and print how many; return 1 where some could not be opened, else 0.

    Raises SettingsError and Unavailable.
    """
    settings = Settings.for_process({**get_environ(), "BANKFEED_POOL_CONNECTIONS": "1"})
    sealer = settings.sealer()
    show = _show_progress if sys.stderr.isatty() else _show_nothing
    tally = asyncio.run(_connect_and_reencrypt(settings, sealer, show))
    parts = (
        f"sealed {tally.anew} anew with the key {sealer.key_id}",
        f"{tally.current} were already",
        f"{tally.unopened} could not be opened",
    )
    click.echo(", ".join(parts))
    if not tally.unopened:
        return 0
    more = tally.unopened - len(tally.places)
    lines = ["no key of BANKFEED_SECRET_KEYS opens:", *tally.places, *([f"and {more} more"] if more else [])]
    click.echo("\n".join(lines), err=True)
    return 1


async def reencrypt(database: Database, sealer: Sealer, show: Callable[[int, int, Tally], None]) -> Tally:
    """Seal anew what another key than the first has sealed; every text is opened, those of the first key too.

    Some endpoints a transaction: safe to break off, to repeat, and beside processes that run. `show` is told after each
    customer how many of how many are done.
    """
    tally = Tally()
    async with database.queue() as conn:
        customer_ids = await list_customer_ids(conn)
    for number, customer_id in enumerate(customer_ids, 1):
        after_id: EndpointId | None = EndpointId(0)
        while after_id is not None:
            async with database.tenant(customer_id) as conn:
                after_id = await _reencrypt_some(conn, sealer, customer_id, after_id, tally)
        show(number, len(customer_ids), tally)
    return tally


async def _reencrypt_some(
    conn: Connection, sealer: Sealer, customer_id: CustomerId, after_id: EndpointId, tally: Tally
) -> EndpointId | None:
    """Seal one batch anew and return its last id; None where no other follows."""
    before = await lock_sealed(conn, customer_id, after_id=after_id, limit=BATCH_ROWS)
    after = [_reseal(sealer, texts, customer_id, tally) for texts in before]
    changed = [new for old, new in zip(before, after, strict=True) if new != old]
    if changed:
        await update_sealed(conn, customer_id, changed)
        await insert_audit(
            conn,
            customer_id,
            actor="system",
            action="secrets.sealed_anew",
            target=f"key={sealer.key_id} endpoints={len(changed)}",
            remote="",
            request_id=None,
        )
    return before[-1].id if len(before) == BATCH_ROWS else None


def _reseal(sealer: Sealer, texts: SealedTexts, customer_id: CustomerId, tally: Tally) -> SealedTexts:
    """Return an endpoint's texts, each sealed with the first key; what no key opens stays as it is."""
    of, place = sealed_of(customer_id), f"endpoint {texts.id} of customer {customer_id}"
    anew = {
        column: _reseal_text(sealer, getattr(texts, column), of=of, place=f"{column} of {place}", tally=tally)
        for column in COLUMNS
    }
    return SealedTexts(id=texts.id, **anew)


def _reseal_text(sealer: Sealer, sealed: str, *, of: str, place: str, tally: Tally) -> str:
    if not sealed:
        return ""
    try:
        text = sealer.open(sealed, of=of)
    except CannotOpen:
        tally.unopened += 1
        if len(tally.places) < MOST_NAMED:
            tally.places.append(place)
        return sealed
    if sealer.is_current(sealed):
        tally.current += 1
        return sealed
    tally.anew += 1
    return sealer.seal(text, of=of)


async def _connect_and_reencrypt(settings: Settings, sealer: Sealer, show: Callable[[int, int, Tally], None]) -> Tally:
    database = await Database.connect(settings)
    try:
        return await reencrypt(database, sealer, show)
    finally:
        await database.close()


def _show_progress(number: int, customers: int, tally: Tally) -> None:
    end = "\n" if number == customers else ""
    click.echo(f"\r{number} of {customers} customers, {tally.anew} sealed anew{end}", err=True, nl=False)


def _show_nothing(number: int, customers: int, tally: Tally) -> None:
    """Without a terminal only the end is told."""
