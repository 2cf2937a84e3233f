"""What arrives at the door: stored in the inbox and in the replay store by one statement. All as the queue role."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from bankfeed.db.database import Connection
from bankfeed.errors import RefusedData
from bankfeed.model import EventType, SourceId

# Text goes to Postgres joined, a column in one piece: the driver looks at each element of an array several times, which is
# a good part of what taking an event costs. What is joined holds no control characters.
_ROWS, _REFS, _NULL = "\x1e", "\x1f", "\x1d"


class Arrival(StrEnum):
    """What became of an event at the door."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # the same id and body came before: processed once
    CHANGED = "changed"  # the same id with another body: processed, and counted


class Incoming(NamedTuple):
    """An event about to be stored. `event_type` None is kept and counted, never acted on. No text holds control characters."""

    source_id: SourceId
    name: str
    event_type: EventType | None
    event_id: str | None
    customer_ref: str | None
    login_refs: tuple[str, ...]
    account_refs: tuple[str, ...]
    body: bytes

    def __repr__(self) -> str:
        """Leave the body out: it is somebody's data."""
        return f"Incoming({', '.join(f'{name}={value!r}' for name, value in self._asdict().items() if name != 'body')})"


async def insert_inbox(conn: Connection, incoming: Sequence[Incoming]) -> tuple[Arrival, ...]:
    """Store events in one statement, repeats once; return what became of each, in order.

    The caller gives them sorted by source and event id, each pair of id and body once: replicas that insert in different
    orders would deadlock.
    """
    rows = await conn.fetch(
        """
        WITH incoming AS (
            SELECT *, sha256(body) AS body_sha256
            FROM unnest(string_to_array($1, chr(30))::bigint[], string_to_array($2, chr(30)),
                        string_to_array($3, chr(30), chr(29))::event_type[], string_to_array($4, chr(30), chr(29)),
                        string_to_array($5, chr(30), chr(29)), string_to_array($6, chr(30)),
                        string_to_array($7, chr(30)), $8::bytea[])
                 WITH ORDINALITY
                 AS t (source_id, name, event_type, event_id, customer_ref, login_refs, account_refs, body, n)
        ), fresh AS (
            INSERT INTO received (source_id, event_id, body_sha256)
            SELECT source_id, event_id, body_sha256 FROM incoming WHERE event_id IS NOT NULL ORDER BY n
            ON CONFLICT DO NOTHING
            RETURNING source_id, event_id, body_sha256
        ), stored AS (
            INSERT INTO inbox (source_id, name, event_type, event_id, customer_ref, login_refs, account_refs, body,
                               state, reason, finished_at)
            SELECT i.source_id, i.name, i.event_type, i.event_id, i.customer_ref,
                   string_to_array(coalesce(i.login_refs, ''), chr(31)),
                   string_to_array(coalesce(i.account_refs, ''), chr(31)), i.body,
                   CASE WHEN i.event_type IS NULL THEN 'done' ELSE 'waiting' END::inbox_state,
                   CASE WHEN i.event_type IS NULL THEN 'unknown event type' ELSE '' END,
                   CASE WHEN i.event_type IS NULL THEN now() END
            FROM incoming i LEFT JOIN fresh USING (source_id, event_id, body_sha256)
            WHERE i.event_id IS NULL OR fresh.event_id IS NOT NULL
        )
        SELECT i.n, fresh.event_id IS NULL AS is_repeat
        FROM incoming i LEFT JOIN fresh USING (source_id, event_id, body_sha256)
        WHERE i.event_id IS NOT NULL AND (fresh.event_id IS NULL OR EXISTS
              (SELECT FROM received r WHERE r.source_id = i.source_id AND r.event_id = i.event_id
               AND r.body_sha256 <> i.body_sha256))
        ORDER BY i.n
        """,
        _join([str(event.source_id) for event in incoming]),
        _join([event.name for event in incoming]),
        _join([event.event_type or _NULL for event in incoming]),
        _join([_NULL if event.event_id is None else event.event_id for event in incoming]),
        _join([_NULL if event.customer_ref is None else event.customer_ref for event in incoming]),
        _join([_REFS.join(event.login_refs) for event in incoming]),
        _join([_REFS.join(event.account_refs) for event in incoming]),
        [event.body for event in incoming],
    )
    arrivals = [Arrival.ACCEPTED] * len(incoming)
    for row in rows:  # only what is not new comes back: mostly nothing
        arrivals[row["n"] - 1] = Arrival.REPEATED if row["is_repeat"] else Arrival.CHANGED
    return tuple(arrivals)


def _join(column: Sequence[str]) -> str:
    """Write a column in one piece. Raises RefusedData where a text holds what parts them: no row may slip into another."""
    joined = _ROWS.join(column)
    if joined.count(_ROWS) != len(column) - 1:
        raise RefusedData("expected text without control characters")
    return joined


async def delete_received(conn: Connection, *, days: int, limit: int) -> int:
    """Forget event ids older than `days`, at most `limit` of them; return how many went."""
    count: int = await conn.fetchval(
        """
        WITH old AS (
            SELECT source_id, event_id, body_sha256 FROM received
            WHERE received_at < now() - make_interval(days => $1) ORDER BY received_at, source_id, event_id, body_sha256 LIMIT $2
        ), gone AS (
            DELETE FROM received r USING old
            WHERE (r.source_id, r.event_id, r.body_sha256) = (old.source_id, old.event_id, old.body_sha256)
            RETURNING 1
        )
        SELECT count(*) FROM gone
        """,
        days,
        limit,
    )
    return count
