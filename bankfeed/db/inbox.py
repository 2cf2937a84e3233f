"""The inbox: inbound events that workers claim and hand over. All as the queue role."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import ConnectionId, CustomerId, EventType, SourceId

_RESOLVED = ("customer_id", "connection_id", "ref", "is_closed", "deleted_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An event that this worker holds until its lease ends.

    `feed_source_id` is the source whose aggregator ids the event speaks; `source_customer_id` is None for a source of the
    whole platform. `age_s` is how long ago it came, by Postgres' clock. `ends` counts the workers that ended
    while they held it.
    """

    source_id: SourceId
    id: int
    received_at: datetime
    event_type: EventType
    customer_ref: str | None
    login_refs: tuple[str, ...]
    account_refs: tuple[str, ...]
    age_s: float
    ends: int
    connector: str
    feed_source_id: SourceId
    source_customer_id: CustomerId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """One of our connections that an event's refs name. `deleted_at` is when a person deleted what the ref names."""

    customer_id: CustomerId
    connection_id: ConnectionId
    ref: str
    is_closed: bool
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxState:
    """How much waits. `oldest_age_s` is 0 where nothing waits."""

    waiting: int
    set_aside: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An event that was set aside, and why; `source` is the slug of its door, `tries` how often its handling broke."""

    id: int
    source: str
    name: str
    event_id: str | None
    tries: int
    reason: str
    age_s: float


async def claim_inbox(
    conn: Connection, *, token: UUID, lease_s: float, limit: int, needs_listing: bool = False
) -> tuple[Claimed, ...]:
    """Claim due events, oldest first: those that wait for a listing at the aggregator, or those that do not.

    A claim moves the due time to the lease's end, where an abandoned one is due again. It is no try, but an
    abandoned one is counted, because its handling may have ended the worker, and then claimed alone: no other shares its fate. The claimed
    rows are found by arrays of their keys: joined to `due`, a partition without statistics was read once for each of them.
    """
    rows = await conn.fetch(
        """
        WITH locked AS (
            SELECT source_id, id, received_at, due_at, ends + (lease_token IS NOT NULL)::int AS ends FROM inbox
            WHERE state = 'waiting' AND needs_listing = $4 AND due_at <= now()
            ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
        ), due AS (
            SELECT * FROM (SELECT *, first_value(id) OVER first AS first_id, first_value(ends) OVER first AS first_ends
                           FROM locked WINDOW first AS (ORDER BY due_at, id)) ranked
            WHERE CASE WHEN first_ends > 0 THEN id = first_id ELSE ends = 0 END
        )
        UPDATE inbox i SET lease_token = $1, lease_until = now() + make_interval(secs => $2),
                           due_at = now() + make_interval(secs => $2), ends = i.ends + (i.lease_token IS NOT NULL)::int
        FROM sources s
        WHERE s.id = i.source_id AND i.source_id = ANY (ARRAY(SELECT source_id FROM due))
          AND i.id = ANY (ARRAY(SELECT id FROM due)) AND i.received_at = ANY (ARRAY(SELECT received_at FROM due))
        RETURNING i.source_id, i.id, i.received_at, i.event_type, i.customer_ref, i.login_refs, i.account_refs,
                  extract(epoch FROM now() - i.received_at)::float8 AS age_s, i.ends,
                  s.connector, coalesce(s.bound_to, s.id) AS feed_source_id, s.customer_id AS source_customer_id
        """,
        token,
        lease_s,
        limit,
        needs_listing,
    )
    claimed = [
        Claimed(
            **{
                **row,
                "event_type": EventType(row["event_type"]),
                "login_refs": tuple(row["login_refs"]),
                "account_refs": tuple(row["account_refs"]),
            }
        )
        for row in rows
    ]
    return tuple(sorted(claimed, key=lambda event: event.id))


async def renew_event(conn: Connection, event: Claimed, *, token: UUID, lease_s: float) -> bool:
    """Make the lease on an event last `lease_s` from now; False where it went to another worker."""
    renewed = await conn.fetchval(
        """
        UPDATE inbox SET lease_until = now() + make_interval(secs => $5), due_at = now() + make_interval(secs => $5)
        WHERE source_id = $1 AND id = $2 AND received_at = $3 AND state = 'waiting' AND lease_token = $4
        RETURNING true
        """,
        event.source_id,
        event.id,
        event.received_at,
        token,
        lease_s,
    )
    return bool(renewed)


async def list_named_connections(conn: Connection, events: Sequence[Claimed]) -> tuple[tuple[Resolved, ...], ...]:
    """List the connections that each event names, within its own source and that source's customer only.

    An event with neither account nor login ids names all of the aggregator's customer that a person has not deleted.
    """
    named = [(n, event, kind, ref) for n, event in enumerate(events) for kind, ref in _refs(event)]
    rows = await conn.fetch(
        """
        WITH named AS (
            SELECT * FROM unnest($1::int[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
                AS u (n, kind, source_id, customer_id, ref)
        )
        SELECT u.n, c.customer_id, c.id AS connection_id, u.ref, a.state = 'closed' OR c.state = 'closed' AS is_closed,
               greatest(a.deleted_at, c.deleted_at) AS deleted_at
        FROM named u
        JOIN accounts a ON a.source_id = u.source_id AND a.aggregator_id = u.ref AND a.adopted_into IS NULL
        JOIN connections c ON c.customer_id = a.customer_id AND c.id = a.connection_id
        WHERE u.kind = 'account' AND (u.customer_id IS NULL OR a.customer_id = u.customer_id)
        UNION ALL
        SELECT u.n, c.customer_id, c.id, u.ref, c.state = 'closed', c.deleted_at
        FROM named u JOIN connections c ON c.source_id = u.source_id AND c.aggregator_login_id = u.ref
        WHERE u.kind = 'login' AND (u.customer_id IS NULL OR c.customer_id = u.customer_id)
        UNION ALL
        SELECT u.n, c.customer_id, c.id, u.ref, c.state = 'closed', c.deleted_at
        FROM named u
        JOIN enrolments e ON e.source_id = u.source_id AND e.aggregator_customer_id = u.ref
        JOIN connections c ON c.customer_id = e.customer_id AND c.client_id = e.client_id AND c.source_id = e.source_id
        WHERE u.kind = 'customer' AND (u.customer_id IS NULL OR e.customer_id = u.customer_id) AND c.deleted_at IS NULL
        ORDER BY n, customer_id, connection_id, ref
        """,
        [n for n, _, _, _ in named],
        [kind for _, _, kind, _ in named],
        [event.feed_source_id for _, event, _, _ in named],
        [event.source_customer_id for _, event, _, _ in named],
        [ref for _, _, _, ref in named],
    )
    found: list[list[Resolved]] = [[] for _ in events]
    for n, *values in rows:
        found[n].append(Resolved(**dict(zip(_RESOLVED, values, strict=True))))
    return tuple(map(tuple, found))


def _refs(event: Claimed) -> list[tuple[str, str]]:
    """Return what an event names, each with its kind."""
    refs = [("account", ref) for ref in event.account_refs] + [("login", ref) for ref in event.login_refs]
    return refs or ([("customer", event.customer_ref)] if event.customer_ref is not None else [])


async def mark_all_done(
    conn: Connection, events: Sequence[Claimed], *, token: UUID, customer_ids: Sequence[CustomerId | None]
) -> int:
    """Finish events in one statement; return how many, fewer where a lease went to another worker."""
    rows = await conn.fetch(
        """
        UPDATE inbox i SET state = 'done', reason = '', customer_id = u.customer_id, finished_at = now(),
                           lease_token = NULL, lease_until = NULL
        FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::bigint[])
             AS u (source_id, id, received_at, customer_id)
        WHERE i.source_id = u.source_id AND i.id = u.id AND i.received_at = u.received_at
          AND i.state = 'waiting' AND i.lease_token = $1
        RETURNING i.id
        """,
        token,
        [event.source_id for event in events],
        [event.id for event in events],
        [event.received_at for event in events],
        list(customer_ids),
    )
    return len(rows)


async def mark_done(
    conn: Connection, event: Claimed, *, token: UUID, customer_id: CustomerId | None, reason: str = ""
) -> bool:
    """Finish an event; False where the lease went to another worker. `customer_id` is whose it was, if one customer's."""
    return await _finish(conn, event, token, "done", customer_id, reason)


async def mark_set_aside(
    conn: Connection, event: Claimed, *, token: UUID, customer_id: CustomerId | None, reason: str
) -> bool:
    """Set an event aside with its reason, for a person to look at; False where the lease went to another worker."""
    return await _finish(conn, event, token, "set_aside", customer_id, reason)


async def _finish(
    conn: Connection, event: Claimed, token: UUID, state: str, customer_id: CustomerId | None, reason: str
) -> bool:
    done = await conn.fetchval(
        """
        UPDATE inbox SET state = $5, reason = $6, customer_id = $7, finished_at = now(), lease_token = NULL,
                         lease_until = NULL
        WHERE source_id = $1 AND id = $2 AND received_at = $3 AND state = 'waiting' AND lease_token = $4
        RETURNING true
        """,
        event.source_id,
        event.id,
        event.received_at,
        token,
        state,
        reason,
        customer_id,
    )
    return bool(done)


async def mark_waiting(conn: Connection, event: Claimed, *, token: UUID, delay_s: float, reason: str) -> bool:
    """Give an event back, due again after a delay; False where the lease went to another worker."""
    done = await conn.fetchval(
        """
        UPDATE inbox SET lease_token = NULL, lease_until = NULL, reason = $6, due_at = now() + make_interval(secs => $5)
        WHERE source_id = $1 AND id = $2 AND received_at = $3 AND state = 'waiting' AND lease_token = $4
        RETURNING true
        """,
        event.source_id,
        event.id,
        event.received_at,
        token,
        delay_s,
        reason,
    )
    return bool(done)


async def mark_needs_listing(conn: Connection, event: Claimed, *, token: UUID) -> bool:
    """Give an event back, due at once for whoever lists at the aggregator; False where the lease went elsewhere."""
    done = await conn.fetchval(
        """
        UPDATE inbox SET lease_token = NULL, lease_until = NULL, needs_listing = true, due_at = now()
        WHERE source_id = $1 AND id = $2 AND received_at = $3 AND state = 'waiting' AND lease_token = $4
        RETURNING true
        """,
        event.source_id,
        event.id,
        event.received_at,
        token,
    )
    return bool(done)


async def count_broken_try(conn: Connection, event: Claimed, *, token: UUID) -> int:
    """Count a try of an event that broke; return how many did, 0 where the lease went to another worker."""
    tries: int | None = await conn.fetchval(
        """
        UPDATE inbox SET tries = tries + 1
        WHERE source_id = $1 AND id = $2 AND received_at = $3 AND state = 'waiting' AND lease_token = $4
        RETURNING tries
        """,
        event.source_id,
        event.id,
        event.received_at,
        token,
    )
    return tries or 0


async def get_inbox_state(conn: Connection) -> InboxState:
    """Count what waits and what was set aside, from the partial indexes."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting') AS waiting,
               (SELECT count(*) FROM inbox WHERE state = 'set_aside') AS set_aside,
               coalesce((SELECT extract(epoch FROM now() - min(received_at)) FROM inbox WHERE state = 'waiting'), 0)::float8
                   AS oldest_age_s
        """
    )
    return InboxState(**row)


async def list_set_aside(conn: Connection, *, limit: int) -> tuple[SetAside, ...]:
    """List the latest events that were set aside, newest first."""
    rows = await conn.fetch(
        """
        SELECT i.id, s.slug AS source, i.name, i.event_id, i.tries, i.reason,
               extract(epoch FROM now() - i.received_at)::float8 AS age_s
        FROM inbox i JOIN sources s ON s.id = i.source_id
        WHERE i.state = 'set_aside' ORDER BY i.received_at DESC, i.id DESC LIMIT $1
        """,
        limit,
    )
    return tuple(SetAside(**row) for row in rows)


async def mark_requeued(
    conn: Connection, *, ids: Sequence[int] | None, reason: str | None, after_id: int, limit: int
) -> tuple[int, ...]:
    """Let events that were set aside wait again, due now and with no try counted; return their ids. Safe to repeat.

    `ids` None is all of them. `reason` is a part of the reasons wanted, None is any. At most `limit`, of those whose ids
    follow `after_id`: who goes through all that way meets none twice, though it be set aside again meanwhile.
    """
    rows = await conn.fetch(
        """
        WITH chosen AS (
            SELECT source_id, id, received_at FROM inbox
            WHERE state = 'set_aside' AND id > $3 AND ($1::bigint[] IS NULL OR id = ANY ($1::bigint[]))
              AND ($2::text IS NULL OR position(lower($2) IN lower(reason)) > 0)
            ORDER BY id LIMIT $4 FOR UPDATE
        )
        UPDATE inbox i SET state = 'waiting', reason = '', needs_listing = false, tries = 0, ends = 0, due_at = now(),
                           finished_at = NULL
        FROM chosen c WHERE i.source_id = c.source_id AND i.id = c.id AND i.received_at = c.received_at
        RETURNING i.id
        """,
        ids,
        reason,
        after_id,
        limit,
    )
    return tuple(sorted(row["id"] for row in rows))
