"""Support cases: what guided repair could not mend, with its facts and what is to be done about it, and by whom.

At most one is open for a connection. Lock order: the case, then its actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import msgspec

from bankfeed.db.database import Connection
from bankfeed.db.subject import PastRefresh
from bankfeed.errors import NotFound
from bankfeed.history import HistoryKind
from bankfeed.model import ClientId, ConnectionId, CustomerId
from bankfeed.repair import Tried

CaseId = NewType("CaseId", int)
ActionId = NewType("ActionId", int)


class CaseState(StrEnum):
    """Whether somebody is still at it."""

    OPEN = "open"
    CLOSED = "closed"


class CaseOwner(StrEnum):
    """Whose turn an action is."""

    FIRM = "firm"
    CLIENT = "client"
    SUPPORT = "support"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastLine:
    """A line of the connection's history, as a case keeps it."""

    at: datetime
    kind: HistoryKind
    code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How all stood when a case was opened: no amounts, no numbers of accounts, nothing that a person typed."""

    institution: str
    institution_status: str
    institution_phone: str
    institution_email: str
    institution_url: str
    state: str
    code: int | None
    message: str
    todo: str
    since: datetime
    last_good_at: datetime | None
    history: tuple[PastLine, ...] = ()
    refreshes: tuple[PastRefresh, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCase:
    """A case to open. `opened_by` is user:<id>, key:<id> or client:<id>; `notify_email` is "" where nobody hears of it."""

    client_id: ClientId
    connection_id: ConnectionId
    facts: Facts
    tried: tuple[Tried, ...]
    telephone: str
    convenient_time: str
    note: str
    opened_by: str
    notify_email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportCase:
    """A case. `connection_state` is how its connection stands now; `open_actions` counts what is still to be done."""

    id: CaseId
    client_id: ClientId
    connection_id: ConnectionId
    connection_state: str
    state: CaseState
    status_code: int | None
    reason: str
    tried: tuple[Tried, ...]
    facts: Facts
    telephone: str
    convenient_time: str
    note: str
    opened_by: str
    notify_email: str
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str
    closing_note: str
    open_actions: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAction:
    """Something to be done about a case; `done_by` is "" while it is not."""

    id: ActionId
    owner: CaseOwner
    text: str
    created_by: str
    created_at: datetime
    done_by: str
    done_at: datetime | None


async def insert_case(
    conn: Connection, customer_id: CustomerId, new: NewCase, *, now: datetime | None = None
) -> CaseId | None:
    """Open a case; None where one is open for the connection, also where it was opened at this moment.

    `now` None is Postgres' clock.
    """
    case_id: CaseId | None = await conn.fetchval(
        """
        INSERT INTO support_cases (customer_id, client_id, connection_id, status_code, reason, tried, facts, telephone,
                                   convenient_time, note, opened_by, notify_email, opened_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, coalesce($13, now()))
        ON CONFLICT (customer_id, connection_id) WHERE state = 'open' DO NOTHING RETURNING id
        """,
        customer_id,
        new.client_id,
        new.connection_id,
        new.facts.code,
        new.facts.message,
        msgspec.json.encode(new.tried),
        msgspec.json.encode(new.facts),
        new.telephone,
        new.convenient_time,
        new.note,
        new.opened_by,
        new.notify_email,
        now,
    )
    return case_id


async def find_open_case(conn: Connection, customer_id: CustomerId, connection_id: ConnectionId) -> CaseId | None:
    """Return the open case of a connection, None where there is none."""
    case_id: CaseId | None = await conn.fetchval(
        "SELECT id FROM support_cases WHERE customer_id = $1 AND connection_id = $2 AND state = 'open'",
        customer_id,
        connection_id,
    )
    return case_id


async def lock_case(conn: Connection, customer_id: CustomerId, case_id: CaseId) -> SupportCase:
    """Lock a case until commit, and return it as it is then. Raises NotFound."""
    await conn.execute("SELECT FROM support_cases WHERE customer_id = $1 AND id = $2 FOR UPDATE", customer_id, case_id)
    return await get_case(conn, customer_id, case_id)


async def get_case(conn: Connection, customer_id: CustomerId, case_id: CaseId) -> SupportCase:
    """Return a case of a client that is there. Raises NotFound."""
    row = await conn.fetchrow(
        """
        SELECT s.id, s.client_id, s.connection_id, c.state::text AS connection_state, s.state::text, s.status_code, s.reason,
               s.tried, s.facts, s.telephone, s.convenient_time, s.note, s.opened_by, s.notify_email, s.opened_at, s.closed_at,
               s.closed_by, s.closing_note, s.version,
               (SELECT count(*) FROM case_actions a WHERE a.customer_id = $1 AND a.case_id = s.id AND a.done_at IS NULL)
                   AS open_actions
        FROM support_cases s
        JOIN connections c ON c.customer_id = $1 AND c.id = s.connection_id
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = s.client_id AND cl.deleted_at IS NULL
        WHERE s.customer_id = $1 AND s.id = $2
        """,
        customer_id,
        case_id,
    )
    if row is None:
        raise NotFound(f"there is no case {case_id}")
    return _read_case(row)


async def list_cases(
    conn: Connection,
    customer_id: CustomerId,
    *,
    state: CaseState | None = None,
    client_id: ClientId | None = None,
    connection_id: ConnectionId | None = None,
    before_id: int | None = None,
    limit: int,
) -> tuple[SupportCase, ...]:
    """List cases, the newest first, of ids below `before_id`; each filter that is None lets all through."""
    rows = await conn.fetch(
        """
        SELECT s.id, s.client_id, s.connection_id, c.state::text AS connection_state, s.state::text, s.status_code, s.reason,
               s.tried, s.facts, s.telephone, s.convenient_time, s.note, s.opened_by, s.notify_email, s.opened_at, s.closed_at,
               s.closed_by, s.closing_note, s.version,
               (SELECT count(*) FROM case_actions a WHERE a.customer_id = $1 AND a.case_id = s.id AND a.done_at IS NULL)
                   AS open_actions
        FROM support_cases s
        JOIN connections c ON c.customer_id = $1 AND c.id = s.connection_id
        JOIN clients cl ON cl.customer_id = $1 AND cl.id = s.client_id AND cl.deleted_at IS NULL
        WHERE s.customer_id = $1 AND ($2::text IS NULL OR s.state::text = $2) AND ($3::bigint IS NULL OR s.client_id = $3)
          AND ($4::bigint IS NULL OR s.connection_id = $4) AND ($5::bigint IS NULL OR s.id < $5)
        ORDER BY s.id DESC LIMIT $6
        """,
        customer_id,
        state,
        client_id,
        connection_id,
        before_id,
        limit,
    )
    return tuple(_read_case(row) for row in rows)


async def list_actions(conn: Connection, customer_id: CustomerId, case_id: CaseId) -> tuple[CaseAction, ...]:
    """List the actions of a case, the oldest first."""
    rows = await conn.fetch(
        """
        SELECT id, owner::text, text, created_by, created_at, done_by, done_at FROM case_actions
        WHERE customer_id = $1 AND case_id = $2 ORDER BY id
        """,
        customer_id,
        case_id,
    )
    return tuple(CaseAction(**{**row, "owner": CaseOwner(row["owner"])}) for row in rows)


async def insert_actions(
    conn: Connection, customer_id: CustomerId, case_id: CaseId, actions: Sequence[tuple[CaseOwner, str]], *, by: str
) -> tuple[ActionId, ...]:
    """Add what is to be done, each with whose turn it is; return the new ids in order. `by` is who adds it."""
    rows = await conn.fetch(
        """
        INSERT INTO case_actions (customer_id, case_id, owner, text, created_by)
        SELECT $1, $2, u.owner::case_owner, u.text, $5
        FROM unnest($3::text[], $4::text[]) WITH ORDINALITY AS u (owner, text, n) ORDER BY u.n RETURNING id
        """,
        customer_id,
        case_id,
        [owner.value for owner, _ in actions],
        [text for _, text in actions],
        by,
    )
    return tuple(sorted(row["id"] for row in rows))


async def mark_action_done(
    conn: Connection, customer_id: CustomerId, case_id: CaseId, action_id: ActionId, *, by: str
) -> None:
    """Note that an open action was done, and by whom."""
    await conn.execute(
        """
        UPDATE case_actions SET done_at = now(), done_by = $4
        WHERE customer_id = $1 AND case_id = $2 AND id = $3 AND done_at IS NULL
        """,
        customer_id,
        case_id,
        action_id,
        by,
    )


async def mark_action_open(conn: Connection, customer_id: CustomerId, case_id: CaseId, action_id: ActionId) -> None:
    """Note that an action is to be done after all."""
    await conn.execute(
        "UPDATE case_actions SET done_at = NULL, done_by = '' WHERE customer_id = $1 AND case_id = $2 AND id = $3",
        customer_id,
        case_id,
        action_id,
    )


async def mark_changed(
    conn: Connection, customer_id: CustomerId, case_id: CaseId, *, now: datetime | None = None
) -> datetime:
    """Count one more change of a case, and return when it was. `now` None is Postgres' clock."""
    changed_at: datetime = await conn.fetchval(
        """
        UPDATE support_cases SET version = version + 1 WHERE customer_id = $1 AND id = $2
        RETURNING coalesce($3::timestamptz, now())
        """,
        customer_id,
        case_id,
        now,
    )
    return changed_at


async def update_contact(
    conn: Connection, customer_id: CustomerId, case_id: CaseId, *, telephone: str, convenient_time: str, note: str
) -> None:
    """Write down how the person is reached now, and what they said."""
    await conn.execute(
        """
        UPDATE support_cases SET telephone = $3, convenient_time = $4, note = $5 WHERE customer_id = $1 AND id = $2
        """,
        customer_id,
        case_id,
        telephone,
        convenient_time,
        note,
    )


async def mark_closed(
    conn: Connection, customer_id: CustomerId, case_id: CaseId, *, by: str, note: str, now: datetime | None = None
) -> None:
    """Close an open case. `by` is who does; `now` None is Postgres' clock."""
    await conn.execute(
        """
        UPDATE support_cases SET state = 'closed', closed_at = coalesce($5, now()), closed_by = $3, closing_note = $4
        WHERE customer_id = $1 AND id = $2 AND state = 'open'
        """,
        customer_id,
        case_id,
        by,
        note,
        now,
    )


def _read_case(row: Any) -> SupportCase:
    read = {
        "state": CaseState(row["state"]),
        "tried": msgspec.json.decode(row["tried"], type=tuple[Tried, ...]),
        "facts": msgspec.json.decode(row["facts"], type=Facts),
    }
    return SupportCase(**{**row, **read})
