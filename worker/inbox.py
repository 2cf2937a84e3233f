"""The inbox lane: an event becomes one more refresh of each connection it names.

Hand-over (a): the event done and `requested + 1` on each connection it names, in one transaction. An id that is unknown
causes one listing at the aggregator; what is unknown after it is set aside with its reason.
"""

from collections.abc import Sequence
from uuid import UUID, uuid4

from bankfeed import metrics
from bankfeed.aggregators import Aggregator
from bankfeed.db import account, client, connection, inbox
from bankfeed.db.client import Enrolment
from bankfeed.db.inbox import Claimed, Resolved
from bankfeed.errors import AggregatorError, LeaseLost, Unavailable
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId, CustomerId, EventType
from worker.backoff import delay_s
from worker.context import Context

BATCH_EVENTS = 50
MOST_TRIES = 8


async def take_inbox(context: Context) -> bool:
    """Claim a batch of due events and hand each over; False where none was due."""
    token = uuid4()
    async with context.database.queue() as conn:
        events = await inbox.claim_inbox(conn, token=token, lease_s=context.settings.lease_s, limit=BATCH_EVENTS)
    for event in events:
        outcome = await _take_event(context, event, token)
        metrics.INBOX_HANDLED.labels(outcome).inc()
        context.waker.wake(Wake.REFRESH)
    return bool(events)


async def _take_event(context: Context, event: Claimed, token: UUID) -> str:
    try:
        named = await _list_named(context, event)
        missing = _missing(event, named)
        if missing:
            named += await _discover(context, event, missing)
            missing = _missing(event, named)
        return await _hand_over(context, event, token, named=named, missing=missing)
    except AggregatorError as error:
        return await _try_later(context, event, token, reason=str(error))
    except LeaseLost:
        return "lost"
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - a poison event is set aside after some tries, and blocks no other
        get_logger().exception("event.broken", event_id=event.id)
        return await _try_later(context, event, token, reason=f"{type(error).__name__}: {error}")


async def _list_named(context: Context, event: Claimed) -> tuple[Resolved, ...]:
    async with context.database.queue() as conn:
        return await inbox.list_named_connections(conn, event)


def _missing(event: Claimed, named: Sequence[Resolved]) -> frozenset[str]:
    """Tell which ids name nothing that is open; for a deletion what is closed already is known well enough."""
    is_deletion = event.event_type is EventType.BANK_ACCOUNT_DELETED
    known = {resolved.ref for resolved in named if is_deletion or not resolved.is_closed}
    wanted = {*event.account_refs, *event.login_refs} or {event.customer_ref or ""}
    return frozenset(wanted - known)


async def _discover(context: Context, event: Claimed, missing: frozenset[str]) -> tuple[Resolved, ...]:
    """List accounts at the aggregator, client by client, until every id is found; note the logins they are under."""
    async with context.database.queue() as conn:
        enrolments = await client.list_enrolments(
            conn,
            event.feed_source_id,
            customer_id=event.source_customer_id,
            customer_ref=event.customer_ref,
            limit=context.settings.listed_clients,
        )
    aggregator = context.connectors[event.connector]
    found: list[Resolved] = []
    for enrolment in enrolments:
        found += await _discover_client(context, event, enrolment, missing, aggregator)
        if missing <= {resolved.ref for resolved in found}:
            break
    return tuple(found)


async def _discover_client(
    context: Context, event: Claimed, enrolment: Enrolment, missing: frozenset[str], aggregator: Aggregator
) -> list[Resolved]:
    listed = await aggregator.list_accounts(enrolment.customer_ref)
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


async def _hand_over(
    context: Context, event: Claimed, token: UUID, *, named: Sequence[Resolved], missing: frozenset[str]
) -> str:
    connections = sorted({(resolved.customer_id, resolved.connection_id) for resolved in named})
    async with context.database.queue() as conn:
        asked, coalesced = await connection.request_refreshes(conn, connections)
        if event.event_type is EventType.MFA_UPDATED:
            await connection.hint_repaired(conn, connections)
        if event.event_type is EventType.BANK_ACCOUNT_DELETED:
            await account.hint_deleted(
                conn,
                source_id=event.feed_source_id,
                customer_id=event.source_customer_id,
                account_refs=event.account_refs,
            )
        owner = _only_customer(connections)
        if missing:
            reason = f"unknown at the aggregator: {', '.join(sorted(missing))}"[:500]
            is_ours = await inbox.mark_set_aside(conn, event, token=token, customer_id=owner, reason=reason)
        else:
            is_ours = await inbox.mark_done(conn, event, token=token, customer_id=owner)
        if not is_ours:
            raise LeaseLost(f"event {event.id} is held by another worker")
    metrics.REFRESH_COALESCED.inc(coalesced)
    outcome = "set_aside" if missing else "done"
    get_logger().info(
        "event.handed_over",
        event_id=event.id,
        event_type=event.event_type,
        outcome=outcome,
        connections=asked,
        coalesced=coalesced,
        unknown_ids=len(missing),
    )
    return outcome


def _only_customer(connections: Sequence[tuple[CustomerId, ConnectionId]]) -> CustomerId | None:
    owners = {customer_id for customer_id, _ in connections}
    return owners.pop() if len(owners) == 1 else None


async def _try_later(context: Context, event: Claimed, token: UUID, *, reason: str) -> str:
    """Give an event back for a later try; after the last one set it aside, so that it blocks nobody."""
    is_last = event.tries >= MOST_TRIES
    async with context.database.queue() as conn:
        if is_last:
            await inbox.mark_set_aside(conn, event, token=token, customer_id=None, reason=reason[:500])
        else:
            await inbox.mark_waiting(conn, event, token=token, delay_s=delay_s(event.tries), reason=reason[:500])
    get_logger().warning("event.not_handed_over", event_id=event.id, tries=event.tries, is_last=is_last, reason=reason)
    return "set_aside" if is_last else "later"
