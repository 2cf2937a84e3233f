"""Looking at the aggregator for ids that we do not know: client by client, under a lease that is renewed before each.

A client that the aggregator no longer has, or cannot list now, does not hide the others. Nothing here goes on without
end: each client has its time, and so has the whole listing.
"""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import client, connection, inbox
from bankfeed.db.client import Enrolment
from bankfeed.db.inbox import Claimed, Resolved
from bankfeed.errors import AggregatorError, LeaseLost, NoSuchAccount
from worker.context import Context

CLIENT_SHARE = 0.6  # of the lease: what one client's listing may take
LISTING_S = 300.0


@dataclass(slots=True)
class _Search:
    """How far a listing has come. `answers` counts the clients that the aggregator answered for."""

    missing: frozenset[str]
    found: list[Resolved] = field(default_factory=list)
    failures: list[AggregatorError] = field(default_factory=list)
    answers: int = 0

    def left(self) -> frozenset[str]:
        """Return the ids that are still missing."""
        return self.missing - {resolved.ref for resolved in self.found}


async def discover(context: Context, event: Claimed, token: UUID, missing: frozenset[str]) -> tuple[Resolved, ...]:
    """List accounts until every id is found, and note the logins they are under; return what was found.

    Raises:
        AggregatorError: ids are missing, and some clients could not be listed.
        LeaseLost: another worker holds the event now.
    """
    search = _Search(missing)
    enrolments = await _list_enrolments(context, event)
    try:
        async with asyncio.timeout(LISTING_S) as limit:
            for enrolment in enrolments:
                await _renew(context, event, token)
                await _ask(context, event, enrolment, search)
                if not search.left():
                    break
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise AggregatorError(
            f"listing the accounts of {len(enrolments)} clients took over {LISTING_S:.0f} s"
        ) from error
    context.listings.find(frozenset(resolved.ref for resolved in search.found))
    if left := search.left():
        _raise_incomplete(search)
        context.listings.miss(event, left)
    return tuple(search.found)


async def _list_enrolments(context: Context, event: Claimed) -> tuple[Enrolment, ...]:
    async with context.database.queue() as conn:
        return await client.list_enrolments(
            conn,
            event.feed_source_id,
            customer_id=event.source_customer_id,
            customer_ref=event.customer_ref,
            limit=context.settings.listed_clients,
        )


async def _renew(context: Context, event: Claimed, token: UUID) -> None:
    async with context.database.queue() as conn:
        if not await inbox.renew_event(conn, event, token=token, lease_s=context.settings.lease_s):
            raise LeaseLost(f"event {event.id} is held by another worker")


async def _ask(context: Context, event: Claimed, enrolment: Enrolment, search: _Search) -> None:
    """List one client's accounts; that it cannot be done now is no reason not to ask for the others."""
    try:
        listed = await _list(
            context.connectors[event.connector], enrolment, limit_s=context.settings.lease_s * CLIENT_SHARE
        )
    except NoSuchAccount:
        search.answers += 1
    except AggregatorError as error:
        search.failures.append(error)
    else:
        search.answers += 1
        search.found += await _note_logins(context, event, enrolment, listed, missing=search.missing)


async def _list(aggregator: Aggregator, enrolment: Enrolment, *, limit_s: float) -> tuple[ListedAccount, ...]:
    try:
        async with asyncio.timeout(limit_s):
            return await aggregator.list_accounts(enrolment.customer_ref)
    except TimeoutError as error:
        raise AggregatorError(f"listing the accounts of a client took over {limit_s:g} s") from error


async def _note_logins(
    context: Context,
    event: Claimed,
    enrolment: Enrolment,
    listed: tuple[ListedAccount, ...],
    *,
    missing: frozenset[str],
) -> list[Resolved]:
    refs_by_login: dict[str, set[str]] = {}
    for each in listed:
        if hits := missing & {each.account_ref, each.login_ref, enrolment.customer_ref}:
            refs_by_login.setdefault(each.login_ref, set()).update(hits)
    found = []
    for login_ref, refs in sorted(refs_by_login.items()):
        async with context.database.tenant(enrolment.customer_id) as conn:
            connection_id = await connection.upsert_connection(
                conn, enrolment.customer_id, enrolment.client_id, source_id=event.feed_source_id, login_ref=login_ref
            )
        found += [
            Resolved(customer_id=enrolment.customer_id, connection_id=connection_id, ref=ref, is_closed=False)
            for ref in sorted(refs)
        ]
    return found


def _raise_incomplete(search: _Search) -> None:
    """Raise where the ids may be with a client that could not be listed.

    What cannot be asked again concerns that one client, who then has none of them; but where the aggregator answered for
    nobody, it is we who are refused.
    """
    passing = [failure for failure in search.failures if failure.is_retryable]
    if passing or (search.failures and not search.answers):
        raise (passing or search.failures)[0]
