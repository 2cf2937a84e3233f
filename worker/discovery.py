"""Looking at the aggregator for ids that we do not know: client by client, under a lease that is renewed before each.

A client that the aggregator no longer has, or cannot list now, does not hide the others. Nothing here goes on without
end: each client has its time, and so has the whole listing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import client, connection, inbox
from bankfeed.db.client import Enrolment
from bankfeed.db.inbox import Claimed, Resolved
from bankfeed.errors import AggregatorError, LeaseLost, NoSuchAccount, NotFound
from bankfeed.model import ConnectionId, EventType
from bankfeed.removal import add_again
from worker.context import Context
from worker.institutions import find_refusal, learn, note_refusal

CLIENT_SHARE = 0.6  # of the lease: what one client's listing may take
INSTITUTIONS_SHARE = 0.3  # of the lease: what looking up its institutions may, where we do not know them yet
LISTING_S = 300.0


@dataclass(slots=True)
class _Search:
    """How far a listing has come. `answers` counts the clients that the aggregator answered for.

    `refused` are ids of logins that this deployment must not link, each with the reason.
    """

    missing: frozenset[str]
    found: list[Resolved] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failures: list[AggregatorError] = field(default_factory=list)
    answers: int = 0

    def left(self) -> frozenset[str]:
        """Return the ids that are still missing."""
        return self.missing - {resolved.ref for resolved in self.found} - self.refused.keys()


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
    for ref, reason in search.refused.items():
        context.listings.miss(event, frozenset({ref}), reason=reason)
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
        await _note_allowed_logins(context, event, enrolment, listed, search)


async def _list(aggregator: Aggregator, enrolment: Enrolment, *, limit_s: float) -> tuple[ListedAccount, ...]:
    try:
        async with asyncio.timeout(limit_s):
            return await aggregator.list_accounts(enrolment.customer_ref)
    except TimeoutError as error:
        raise AggregatorError(f"listing the accounts of a client took over {limit_s:g} s") from error


async def _note_allowed_logins(
    context: Context, event: Claimed, enrolment: Enrolment, listed: tuple[ListedAccount, ...], search: _Search
) -> None:
    """Note the logins that are named, but none at an institution that this deployment must not link."""
    named = [(each, search.missing & {each.account_ref, each.login_ref, enrolment.customer_ref}) for each in listed]
    try:
        async with asyncio.timeout(context.settings.lease_s * INSTITUTIONS_SHARE):
            refusals = await _find_refusals(context, event, [each for each, refs in named if refs])
    except TimeoutError:
        search.failures.append(AggregatorError("looking up the institutions of a client took too long"))
        return
    except AggregatorError as error:
        search.failures.append(error)
        return
    allowed = tuple(each for each in listed if each.institution_ref not in refusals)
    search.found += await _note_logins(context, event, enrolment, allowed, missing=search.missing)
    found = {resolved.ref for resolved in search.found}
    for login_ref, reason in {each.login_ref: refusals.get(each.institution_ref, "") for each, _ in named}.items():
        if refs := {ref for each, own in named if each.login_ref == login_ref for ref in own if reason}:
            note_refusal(reason)
            search.refused |= dict.fromkeys(refs - found, reason)


async def _find_refusals(context: Context, event: Claimed, listed: Sequence[ListedAccount]) -> dict[str, str]:
    """Say of the institutions of these accounts which must not be linked, each with the reason. Raises AggregatorError."""
    refusals = {}
    for ref in sorted({each.institution_ref for each in listed}):
        found = await learn(context, event.connector, ref)
        if reason := find_refusal(found, ref=ref, environment=context.settings.environment):
            refusals[ref] = reason
    return refusals


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
        of_login = [each for each in listed if each.login_ref == login_ref]
        named = [each.account_ref for each in of_login if _names(event, each, missing)]
        try:
            connection_id = await _note_login(context, event, enrolment, login_ref, named)
        except NotFound:  # a person deleted it, and it is listed still: that does not bring it back
            continue
        found += [
            Resolved(customer_id=enrolment.customer_id, connection_id=connection_id, ref=ref, is_closed=False)
            for ref in sorted(refs)
        ]
    return found


def _names(event: Claimed, listed: ListedAccount, missing: frozenset[str]) -> bool:
    """Tell whether an event means this account: by its id, or by its login's where it gives no account."""
    return (listed.account_ref if event.account_refs else listed.login_ref) in missing


async def _note_login(
    context: Context, event: Claimed, enrolment: Enrolment, login_ref: str, named: Sequence[str]
) -> ConnectionId:
    """Note a login; what of it the event names as added may have been deleted before. Raises NotFound."""
    added_at = event.received_at if event.event_type is EventType.ACCOUNT_ADDED and named else None
    async with context.database.tenant(enrolment.customer_id) as conn:
        connection_id = await connection.upsert_connection(
            conn,
            enrolment.customer_id,
            enrolment.client_id,
            source_id=event.feed_source_id,
            login_ref=login_ref,
            added_at=added_at,
        )
        if added_at is not None:
            await add_again(
                conn,
                enrolment.customer_id,
                enrolment.client_id,
                source_id=event.feed_source_id,
                customer_ref=enrolment.customer_ref,
                login_ref=login_ref,
                account_refs=named,
                at=added_at,
            )
    return connection_id


def _raise_incomplete(search: _Search) -> None:
    """Raise where the ids may be with a client that could not be listed.

    What cannot be asked again concerns that one client, who then has none of them; but where the aggregator answered for
    nobody, it is we who are refused.
    """
    passing = [failure for failure in search.failures if failure.is_retryable]
    if passing or (search.failures and not search.answers):
        raise (passing or search.failures)[0]
