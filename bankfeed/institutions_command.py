"""`bankfeed institutions`: which institutions there are, and which are one bank at several aggregators."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import click
import msgspec

from bankfeed.db import Connection, Database, institution
from bankfeed.db.institution import Institution
from bankfeed.desk import as_table, printable, run_with_database
from bankfeed.errors import BadRequest, NotFound

HEADS: Final = ("ID", "AGGREGATOR", "ITS ID", "STATUS", "SAME AS", "NAME")


def run_list(*, text: str, limit: int, as_json: bool) -> None:
    """Print institutions, a line each. Raises SettingsError and Unavailable."""
    lines = run_with_database(partial(list_lines, text=text.strip(), limit=limit + 1))
    shown, is_cut = lines[:limit], len(lines) > limit
    click.echo(as_program(shown, is_cut=is_cut) if as_json else as_text(shown, is_cut=is_cut))


def run_same(institution_id: int, of_id: int) -> None:
    """Note that one is another one, and print which it is now. Raises BadRequest, NotFound, SettingsError, Unavailable."""
    root = run_with_database(partial(join, institution_id=institution_id, of_id=of_id))
    click.echo(f"institution {institution_id} is the same as {root}")


def run_unsame(institution_id: int) -> None:
    """Let one be its own again, and print that. Raises NotFound, SettingsError and Unavailable."""
    is_done = run_with_database(partial(part, institution_id=institution_id))
    click.echo(f"institution {institution_id} is one of its own" + ("" if is_done else " already"))


async def list_lines(database: Database, *, text: str, limit: int) -> tuple[Institution, ...]:
    """List institutions whose name has a text in it."""
    async with database.app() as conn:
        return await institution.search_institutions(conn, text=text, limit=limit)


async def join(database: Database, *, institution_id: int, of_id: int) -> int:
    """Note that an institution is another one, or what that one is; return that one's id.

    Raises NotFound for one that there is not, BadRequest where both are one already, or the second is the first.
    """
    async with database.app() as conn:
        await institution.lock_kinship(conn)
        one, of = [await _get(conn, each) for each in (institution_id, of_id)]
        root = of.same_as or of.id
        if one.id == of.id:
            raise BadRequest(f"expected two different institutions, got {one.id} twice")
        if one.id == root:
            raise BadRequest(f"expected one that is not the same as {one.id} already, got {of.id}")
        if one.is_sandbox != of.is_sandbox:
            raise BadRequest("expected two pretend banks or two real ones, got one of each")
        await institution.mark_same(conn, one.id, of_id=root)
    return root


async def part(database: Database, *, institution_id: int) -> bool:
    """Let an institution be one of its own; False where it is already. Raises NotFound."""
    async with database.app() as conn:
        await institution.lock_kinship(conn)
        await _get(conn, institution_id)
        return await institution.clear_same(conn, institution_id)


async def _get(conn: Connection, institution_id: int) -> Institution:
    found = await institution.find_institution(conn, institution_id)
    if found is None:
        raise NotFound(f"there is no institution {institution_id}")
    return found


def as_program(lines: Sequence[Institution], *, is_cut: bool) -> str:
    """Write institutions as one JSON object."""
    return msgspec.json.encode({"institutions": lines, "is_cut": is_cut}).decode()


def as_text(lines: Sequence[Institution], *, is_cut: bool) -> str:
    """Write institutions for a person, a line each."""
    if not lines:
        return "there is no such institution"
    cut = f"\nonly the first {len(lines)} are shown" if is_cut else ""
    return as_table(HEADS, [_words(line) for line in lines]) + cut


def _words(line: Institution) -> tuple[str, ...]:
    return (
        str(line.id),
        printable(line.connector, most=20),
        printable(line.ref, most=40),
        printable(line.status, most=20),
        "-" if line.same_as is None else str(line.same_as),
        printable(line.name, most=80),
    )
