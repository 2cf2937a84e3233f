"""Institutions: the aggregators' whole lists, once a day, single ones in between, and which this deployment may link.

A list takes many requests and no transaction is open during any of them; each page is committed by itself. Two workers that
list at once do no harm; the lock on each batch makes one of them leave it to the other.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from bankfeed import metrics
from bankfeed.aggregators import Aggregator, InstitutionPage
from bankfeed.db import institution
from bankfeed.db.institution import Institution
from bankfeed.errors import AggregatorError, RefusedData, Unavailable
from bankfeed.logs import get_logger
from worker.context import Context

LISTED_HOURS = 24
MOST_PAGES = 200
REST_S = 86_400.0  # after a refusal that asking again cannot change: credentials asked with too often are locked
LOOK_S = 10.0
OUT_OF_ORDER: Final = frozenset({"offline", "maintenance", "migrating"})
"""The aggregator's words for institutions that people are told of (bankfeed/db/institution.py)."""


class _Elsewhere(Exception):
    """Another worker lists now."""


@dataclass(slots=True, kw_only=True)
class _Read:
    """How far a list was read. It is whole where all that the aggregator counted came, on pages that agree on the count."""

    refs: set[str] = field(default_factory=set)
    pages: int = 0
    unread_rows: int = 0
    changed: int = 0
    counts: set[int | None] = field(default_factory=set)

    def note(self, page: InstitutionPage) -> None:
        self.pages += 1
        self.unread_rows += page.unread_rows
        if page.rows or page.unread_rows or not self.counts:
            self.counts.add(page.found)
        self.refs.update(each.ref for each in page.rows)

    @property
    def is_whole(self) -> bool:
        return bool(self.refs) and not self.unread_rows and self.counts == {len(self.refs)}


@dataclass(slots=True)
class Listing:
    """Keeps the table of institutions up to date, as a step of the sweeps. `clock` counts seconds."""

    context: Context
    clock: Callable[[], float] = monotonic
    _rests_until: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """List all institutions of each configured aggregator whose list is a day old, or was never read."""
        for connector, aggregator in sorted(self.context.connectors.items()):
            if aggregator.is_configured and self._rests_until.get(connector, 0) <= self.clock():
                await self._bring_up_to_date(connector, aggregator)

    async def _bring_up_to_date(self, connector: str, aggregator: Aggregator) -> None:
        async with self.context.database.app() as conn:
            if not await institution.is_listing_due(conn, connector=connector, hours=LISTED_HOURS):
                return
        read = _Read()
        try:
            outcome = await self._list(connector, aggregator, read)
        except _Elsewhere:
            return
        except AggregatorError as error:
            outcome = "failed"
            get_logger().warning("institutions.not_listed", pages=read.pages, reason=str(error)[:500])
            if not error.is_retryable:
                self._rests_until[connector] = self.clock() + REST_S
        metrics.INSTITUTION_LISTINGS.labels(outcome).inc()

    async def _list(self, connector: str, aggregator: Aggregator, read: _Read) -> str:
        """Read a list to its end and commit it; return "whole", or "partial" where something of it is missing."""
        while read.pages < MOST_PAGES:
            page = await aggregator.list_institutions(read.pages + 1)
            read.note(page)
            await self._commit(connector, page, read)
            if not page.rows and not page.unread_rows:
                break
            if page.found is not None and len(read.refs) + read.unread_rows >= page.found:
                break
        else:
            raise AggregatorError(f"the list of institutions has more than {MOST_PAGES} pages")
        gone = await self._end(connector, read)
        get_logger().info(
            "institutions.listed",
            institutions=len(read.refs),
            changed=read.changed,
            gone=gone,
            unread_rows=read.unread_rows,
            is_whole=read.is_whole,
        )
        return "whole" if read.is_whole else "partial"

    async def _commit(self, connector: str, page: InstitutionPage, read: _Read) -> None:
        async with self.context.database.app() as conn:
            if not await institution.try_to_list(conn):
                raise _Elsewhere
            if page.rows:
                read.changed += await institution.upsert_institutions(conn, connector=connector, listed=page.rows)

    async def _end(self, connector: str, read: _Read) -> int:
        async with self.context.database.app() as conn:
            if not await institution.try_to_list(conn):
                raise _Elsewhere
            await institution.mark_listed(conn, connector=connector, refs=sorted(read.refs))
            return await institution.mark_gone(conn, connector=connector) if read.is_whole else 0


async def learn(context: Context, connector: str, ref: str) -> Institution | None:
    """Return an institution by the aggregator's id; None where the aggregator has none. Raises AggregatorError.

    The aggregator is asked only about one that no list has named yet.
    """
    async with context.database.app() as conn:
        known = await institution.find_institution_by_ref(conn, connector=connector, ref=ref)
    if known is not None:
        return known
    found = await context.connectors[connector].find_institution(ref)
    if found is None:
        return None
    async with context.database.app() as conn:
        await institution.upsert_institutions(conn, connector=connector, listed=[found])
        return await institution.find_institution_by_ref(conn, connector=connector, ref=found.ref)


async def look_up(context: Context, institution_id: int) -> None:
    """Ask the aggregator how an institution stands and note it, unless that was done a moment ago. Safe to repeat.

    For one of which a refresh told that it may stand otherwise than its row says: a whole list would tell up to a day later.
    The notice comes with the row's change. What fails, or takes over LOOK_S, is logged only.
    """
    if not context.looks.begin(institution_id):
        return
    reason = ""
    try:
        async with asyncio.timeout(LOOK_S):
            await _look_up(context, institution_id)
    except TimeoutError:
        reason = f"it took over {LOOK_S:g} s"
    except (AggregatorError, RefusedData, Unavailable) as error:
        reason = str(error)[:500]
    if reason:
        get_logger().warning("institution.not_looked_up", institution_id=institution_id, reason=reason)


async def _look_up(context: Context, institution_id: int) -> None:
    """Look one up. That the aggregator has it no more only a whole list says."""
    async with context.database.app() as conn:
        known = await institution.find_institution(conn, institution_id)
    if known is None or known.connector not in context.connectors:
        return
    found = await context.connectors[known.connector].find_institution(known.ref)
    if found is None or found.ref != known.ref:
        return
    async with context.database.app() as conn:
        await institution.lock_lists(conn)
        changed = await institution.upsert_institutions(conn, connector=known.connector, listed=[found])
    get_logger().info(
        "institution.looked_up",
        institution_id=institution_id,
        was=known.status,
        status=found.status,
        is_changed=changed > 0,
    )


def find_refusal(found: Institution | None, *, ref: str, environment: str) -> str:
    """Say why this deployment must not link a login at an institution; "" where it may.

    A sandbox links pretend banks only, live never does. None is one that the aggregator does not know.
    """
    is_sandbox = found is not None and found.is_sandbox
    if is_sandbox == (environment == "sandbox"):
        return ""
    name = f"institution {ref}" if found is None else f"institution {ref} ({found.name[:60]})"
    return f"{name} is {'a' if is_sandbox else 'no'} pretend bank, and this deployment is {environment}"


def note_refusal(reason: str) -> None:
    """Log and count a login that was not linked."""
    metrics.LINKS_REFUSED.inc()
    get_logger().warning("login.refused", reason=reason)
