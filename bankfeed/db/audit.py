"""The audit log: who did and who read what, when, from where. Written with what it tells of, and never changed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.model import CustomerId

FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One thing that was done. `actor` is user:<id>, key:<id> or system; `target` is ids, never values."""

    id: int
    at: datetime
    actor: str
    action: str
    target: str
    remote: str
    request_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which lines are wanted; None is any. `target` is how a target begins; `since` is included, `until` is not."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def insert_audit(
    conn: Connection,
    customer_id: CustomerId,
    *,
    actor: str,
    action: str,
    target: str,
    remote: str,
    request_id: UUID | None,
) -> None:
    """Add a line, in the transaction of what it tells of."""
    await conn.execute(
        """
        INSERT INTO audit_log (customer_id, actor, action, target, remote, request_id)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        customer_id,
        actor,
        action,
        target,
        remote,
        request_id,
    )


async def list_audit(
    conn: Connection,
    customer_id: CustomerId,
    wanted: AuditFilter,
    *,
    before: tuple[datetime, int] | None,
    limit: int,
) -> tuple[AuditLine, ...]:
    """List lines, newest first, those before the line with this time and id; None is from the newest on.

    The bounds are never NULL: under row-level security no coalesce() becomes an index's condition, because Postgres does
    not know it to be leakproof.
    """
    rows = await conn.fetch(
        """
        SELECT id, at, actor, action, target, remote, request_id FROM audit_log
        WHERE customer_id = $1
          AND (at, id) < ($2, $3)
          AND ($4::text IS NULL OR actor = $4)
          AND ($5::text IS NULL OR action = $5)
          AND ($6::text IS NULL OR starts_with(target, $6))
          AND at >= $7 AND at < $8
        ORDER BY at DESC, id DESC LIMIT $9
        """,
        customer_id,
        *(before or (LAST, 0)),
        wanted.actor,
        wanted.action,
        wanted.target,
        wanted.since or FIRST,
        wanted.until or LAST,
        limit,
    )
    return tuple(AuditLine(**row) for row in rows)
