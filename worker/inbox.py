"""The inbox lane: an event becomes one more refresh of each connection it names.

Hand-over (a): the event done and `requested + 1` on each connection it names, in one transaction. Events that need no
more than that share one, a whole batch of them; where it fails each is taken by itself, so that a bad one stops no other.
An id that is unknown causes one listing at the aggregator, which no other event waits for; what is unknown after it is set
aside with its reason.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID, uuid4

from bankfeed import metrics
from bankfeed.db import account, connection, inbox
from bankfeed.db.inbox import Claimed, Resolved
from bankfeed.errors import AggregatorError, LeaseLost, Unavailable
from bankfeed.failpoints import Failpoint, reach
from bankfeed.jobs import Wake
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId, CustomerId, EventType
from worker.backoff import FIRST_S, LONGEST_S, delay_s
from worker.context import Context
from worker.discovery import discover

BATCH_EVENTS = 50
MOST_TRIES = 8  # of an event that breaks its handling; a try that the aggregator did not answer is none of them
MOST_ENDS = (
    24  # of workers that ended while they held it: kills and a Postgres that comes and goes are no fault of the event
)
OUTAGE_S = 3 * 86_400  # as long as a sender of webhooks would go on


async def take_inbox(context: Context) -> bool:
    """Hand over a batch of due events, and ask the aggregator for one that names unknown ids; False where none was due."""
    has_batch = await _take_batch(context)
    has_unknown = await _take_unknown(context)
    return has_batch or has_unknown


async def _take_batch(context: Context) -> bool:
    token = uuid4()
    async with context.database.queue_statement() as conn:
        claimed = await inbox.claim_inbox(conn, token=token, lease_s=context.settings.lease_s, limit=BATCH_EVENTS)
    events = await _set_worn_aside(context, claimed, token)
    done = await _hand_over_plain(context, events, token)
    for event in events:
        if event.id not in done:
            await _take_event(context, event, token, _hand_over_known)
    return bool(claimed)


async def _set_worn_aside(context: Context, events: Sequence[Claimed], token: UUID) -> tuple[Claimed, ...]:
    """Set aside what ended a worker each time it was taken; return the others. A broken try is dealt with when it breaks."""
    for event in events:
        if event.ends >= MOST_ENDS:
            reason = f"{event.ends} workers ended while they held it"
            async with context.database.queue() as conn:
                await inbox.mark_set_aside(conn, event, token=token, customer_id=None, reason=reason)
            get_logger().error("event.worn", event_id=event.id, ends=event.ends)
            metrics.INBOX_HANDLED.labels("set_aside").inc()
    return tuple(event for event in events if event.ends < MOST_ENDS)


async def _hand_over_plain(context: Context, events: Sequence[Claimed], token: UUID) -> frozenset[int]:
    """Hand over, all in one transaction, what only asks for refreshes of known connections; return the ids of these."""
    try:
        named = await _list_named(context, events)
        plain = [(event, refs) for event, refs in zip(events, named, strict=True) if _is_plain(event, refs)]
        if plain:
            await _commit_plain(context, plain, token)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whichever it was shows when each is taken by itself
        get_logger().warning("events.taken_singly", events=len(events), error=type(error).__name__)
        return frozenset()
    return frozenset(event.id for event, _ in plain)


def _is_plain(event: Claimed, named: Sequence[Resolved]) -> bool:
    is_hint = event.event_type in (EventType.MFA_UPDATED, EventType.BANK_ACCOUNT_DELETED)
    return bool(named) and not is_hint and not _missing(event, named)


async def _commit_plain(context: Context, plain: Sequence[tuple[Claimed, tuple[Resolved, ...]]], token: UUID) -> None:
    events = [event for event, _ in plain]
    connections = [_connections(named) for _, named in plain]
    async with context.database.queue() as conn:
        asked, coalesced = await connection.request_refreshes(conn, [pair for pairs in connections for pair in pairs])
        if asked < sum(_count_open(named) for _, named in plain):
            raise LeaseLost("a connection was closed while its event was handed over")
        owners = [_only_customer(pairs) for pairs in connections]
        if await inbox.mark_all_done(conn, events, token=token, customer_ids=owners) < len(events):
            raise LeaseLost("some of the events are held by another worker")
        reach(Failpoint.BEFORE_HAND_OVER)
    reach(Failpoint.AFTER_HAND_OVER)
    for event in events:
        metrics.INBOX_WAIT.observe(event.age_s)
    metrics.INBOX_HANDLED.labels("done").inc(len(events))
    metrics.REFRESH_COALESCED.inc(coalesced)
    get_logger().info("events.handed_over", events=len(events), refreshes=asked, coalesced=coalesced)
    for _ in range(asked - coalesced):  # each may have a slot of its own
        context.waker.wake(Wake.REFRESH)


async def _take_unknown(context: Context) -> bool:
    """Take one event that needs a listing, where fewer run than may: the other slots are for what needs none."""
    if context.listings.slots.locked():
        return False
    token = uuid4()
    async with context.listings.slots:
        async with context.database.queue_statement() as conn:
            events = await inbox.claim_inbox(
                conn, token=token, lease_s=context.settings.lease_s, limit=1, needs_listing=True
            )
        for event in await _set_worn_aside(context, events, token):
            await _take_event(context, event, token, _hand_over_unknown)
    return bool(events)


async def _take_event(
    context: Context, event: Claimed, token: UUID, hand_over: Callable[[Context, Claimed, UUID], Awaitable[str]]
) -> None:
    try:
        outcome = await hand_over(context, event, token)
    except AggregatorError as error:
        outcome = await _wait_for_aggregator(context, event, token, reason=str(error))
    except LeaseLost:
        outcome = "lost"
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - a poison event is set aside after some tries, and blocks no other
        get_logger().exception("event.broken", event_id=event.id)
        outcome = await _try_again(context, event, token, reason=f"{type(error).__name__}: {error}")
    metrics.INBOX_HANDLED.labels(outcome).inc()
    context.waker.wake(Wake.REFRESH)


async def _hand_over_known(context: Context, event: Claimed, token: UUID) -> str:
    """Hand an event over, or leave it to whoever lists at the aggregator."""
    (named,) = await _list_named(context, [event])
    missing = _missing(event, named)
    if not missing or _is_vain(context, event, missing):
        return await _hand_over(context, event, token, named=named, missing=missing)
    async with context.database.queue() as conn:
        is_ours = await inbox.mark_needs_listing(conn, event, token=token)
    return "unknown" if is_ours else "lost"


async def _hand_over_unknown(context: Context, event: Claimed, token: UUID) -> str:
    """Hand an event over after one listing, where its ids are still unknown."""
    (named,) = await _list_named(context, [event])
    missing = _missing(event, named)
    if missing and not _is_vain(context, event, missing):
        named += await discover(context, event, token, missing)
        missing = _missing(event, named)
    return await _hand_over(context, event, token, named=named, missing=missing)


def _is_vain(context: Context, event: Claimed, missing: frozenset[str]) -> bool:
    """Tell whether a listing would find nothing. What is announced as new is looked for, whatever was so before."""
    return event.event_type is not EventType.ACCOUNT_ADDED and context.listings.is_vain(event, missing)


async def _list_named(context: Context, events: Sequence[Claimed]) -> tuple[tuple[Resolved, ...], ...]:
    if not events:
        return ()
    async with context.database.queue_statement() as conn:
        return await inbox.list_named_connections(conn, events)


def _missing(event: Claimed, named: Sequence[Resolved]) -> frozenset[str]:
    """Tell which ids name nothing that is open; for a deletion what is closed already is known well enough.

    So is what a person deleted: only adding it, after that, makes it unknown.
    """
    is_deletion = event.event_type is EventType.BANK_ACCOUNT_DELETED
    known = {
        resolved.ref for resolved in named if is_deletion or not resolved.is_closed or _stays_deleted(event, resolved)
    }
    return _wanted(event) - known


def _stays_deleted(event: Claimed, resolved: Resolved) -> bool:
    is_added = event.event_type is EventType.ACCOUNT_ADDED
    return resolved.deleted_at is not None and not (is_added and event.received_at > resolved.deleted_at)


def _wanted(event: Claimed) -> frozenset[str]:
    refs = frozenset((*event.account_refs, *event.login_refs))
    return refs or frozenset([event.customer_ref] if event.customer_ref else [])


async def _hand_over(
    context: Context, event: Claimed, token: UUID, *, named: Sequence[Resolved], missing: frozenset[str]
) -> str:
    connections = _connections(named)
    async with context.database.queue() as conn:
        asked, coalesced = await connection.request_refreshes(conn, connections)
        if asked < _count_open(named):
            raise AggregatorError("a connection was closed while its event was handed over; it is looked up again")
        if event.event_type is EventType.MFA_UPDATED:
            await connection.hint_repaired(conn, connections)
        if event.event_type is EventType.BANK_ACCOUNT_DELETED:
            await account.hint_deleted(
                conn,
                source_id=event.feed_source_id,
                customer_id=event.source_customer_id,
                account_refs=event.account_refs,
                connections=connections,
            )
        owner = _only_customer(connections)
        if missing:
            reason = context.listings.explain(event, missing)[:500]
            is_ours = await inbox.mark_set_aside(conn, event, token=token, customer_id=owner, reason=reason)
        else:
            reason = "" if _wanted(event) else "names nothing"
            is_ours = await inbox.mark_done(conn, event, token=token, customer_id=owner, reason=reason)
        if not is_ours:
            raise LeaseLost(f"event {event.id} is held by another worker")
        reach(Failpoint.BEFORE_HAND_OVER)
    reach(Failpoint.AFTER_HAND_OVER)
    metrics.INBOX_WAIT.observe(event.age_s)
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


def _connections(named: Sequence[Resolved]) -> list[tuple[CustomerId, ConnectionId]]:
    return sorted({(resolved.customer_id, resolved.connection_id) for resolved in named})


def _count_open(named: Sequence[Resolved]) -> int:
    return len({resolved.connection_id for resolved in named if not resolved.is_closed})


def _only_customer(connections: Sequence[tuple[CustomerId, ConnectionId]]) -> CustomerId | None:
    owners = {customer_id for customer_id, _ in connections}
    return owners.pop() if len(owners) == 1 else None


async def _wait_for_aggregator(context: Context, event: Claimed, token: UUID, *, reason: str) -> str:
    """Give an event back until the aggregator answers; set it aside only after three days."""
    is_last = event.age_s >= OUTAGE_S
    async with context.database.queue() as conn:
        if is_last:
            await inbox.mark_set_aside(conn, event, token=token, customer_id=None, reason=_storable(reason))
        else:
            wait_s = outage_delay_s(event.age_s)
            await inbox.mark_waiting(conn, event, token=token, delay_s=wait_s, reason=_storable(reason))
    get_logger().warning("event.not_handed_over", event_id=event.id, is_last=is_last, reason=reason)
    return "set_aside" if is_last else "later"


def outage_delay_s(age_s: float) -> float:
    """Return how long an event waits for an aggregator that is away: as long as it has waited, at most an hour.

    >>> [outage_delay_s(age_s) for age_s in (0, 15, 40, 86_400)]
    [15, 15, 40, 3600]
    """
    return min(max(age_s, FIRST_S), LONGEST_S)


async def _try_again(context: Context, event: Claimed, token: UUID, *, reason: str) -> str:
    """Give an event that broke its handling back; after the last try set it aside, so that it breaks nothing more."""
    async with context.database.queue() as conn:
        tries = await inbox.count_broken_try(conn, event, token=token)
        if not tries:
            return "lost"
        is_last = tries >= MOST_TRIES
        if is_last:
            await inbox.mark_set_aside(conn, event, token=token, customer_id=None, reason=_storable(reason))
        else:
            await inbox.mark_waiting(conn, event, token=token, delay_s=delay_s(tries), reason=_storable(reason))
    get_logger().warning("event.not_handed_over", event_id=event.id, tries=tries, is_last=is_last, reason=reason)
    return "set_aside" if is_last else "later"


def _storable(reason: str) -> str:
    """Return a text that Postgres takes, whatever an exception says: what broke must not break its own record."""
    return "".join(letter if letter.isprintable() else " " for letter in reason[:500])
