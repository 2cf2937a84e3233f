"""Removals: what is to be deleted at the aggregator, claimed by lease until it answers that it is gone.

The row holds all that the aggregator has to be told, because what it was made for may be erased before it is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bankfeed.db.database import Connection
from bankfeed.db.deletion import reopen_connections
from bankfeed.model import ClientId, CustomerId, SourceId


class RemovalKind(StrEnum):
    """What is deleted at the aggregator."""

    ACCOUNT = "account"
    LOGIN = "login"
    CUSTOMER = "customer"


class RemovalState(StrEnum):
    """How far a removal has come."""

    WAITING = "waiting"
    GONE = "gone"
    GIVEN_UP = "given_up"
    WITHDRAWN = "withdrawn"
    """It was added again, or its client restored, before the aggregator was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRemoval:
    """One thing to delete; `ref` is the account's or the login's, "" for the customer itself."""

    source_id: SourceId
    kind: RemovalKind
    customer_ref: str
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRemoval:
    """A removal that this worker may try; `tries` failed before."""

    customer_id: CustomerId
    id: int
    kind: RemovalKind
    connector: str
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalTarget:
    """What the aggregator calls it."""

    customer_ref: str
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalLine:
    """A removal as people look at it; `due_at` is when it is tried next, while it waits."""

    id: int
    client_id: ClientId
    kind: RemovalKind
    state: RemovalState
    tries: int
    reason: str
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None


async def insert_removals(
    conn: Connection, customer_id: CustomerId, client_id: ClientId, removals: Sequence[NewRemoval]
) -> int:
    """Note what is to be deleted at the aggregator; return how much of it was not noted before."""
    rows = await conn.fetch(
        """
        INSERT INTO removals (customer_id, client_id, source_id, kind, aggregator_customer_id, aggregator_ref)
        SELECT $1, $2, u.source_id, u.kind, u.customer_ref, u.ref
        FROM unnest($3::bigint[], $4::removal_kind[], $5::text[], $6::text[]) WITH ORDINALITY
             AS u (source_id, kind, customer_ref, ref, n)
        WHERE NOT EXISTS (SELECT FROM removals r WHERE r.customer_id = $1 AND r.client_id = $2 AND r.state = 'waiting'
                          AND r.source_id = u.source_id AND r.kind = u.kind AND r.aggregator_ref = u.ref
                          AND r.aggregator_customer_id = u.customer_ref)
        ORDER BY u.n RETURNING id
        """,
        customer_id,
        client_id,
        [each.source_id for each in removals],
        [each.kind for each in removals],
        [each.customer_ref for each in removals],
        [each.ref for each in removals],
    )
    return len(rows)


async def claim_removal(conn: Connection, *, token: UUID, lease_s: float) -> ClaimedRemoval | None:
    """Claim the removal that is due the longest, as the queue role; None where none is due.

    A claim moves the due time to the lease's end, where an abandoned one is due again. It is not a try.
    """
    row = await conn.fetchrow(
        """
        WITH due AS (
            SELECT customer_id, id FROM removals WHERE state = 'waiting' AND due_at <= now()
            ORDER BY due_at, customer_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE removals r SET lease_token = $1, lease_until = now() + make_interval(secs => $2),
            due_at = now() + make_interval(secs => $2)
        FROM due, sources s
        WHERE r.customer_id = due.customer_id AND r.id = due.id AND s.id = r.source_id
        RETURNING r.customer_id, r.id, r.kind, s.connector, r.tries
        """,
        token,
        lease_s,
    )
    return ClaimedRemoval(**{**row, "kind": RemovalKind(row["kind"])}) if row else None


async def find_target(
    conn: Connection, customer_id: CustomerId, removal_id: int, *, token: UUID
) -> RemovalTarget | None:
    """Return what the aggregator calls a claimed removal; None where the claim is lost, or it is withdrawn, now at the latest.

    What is restored or added again after this look, while the aggregator is told, is deleted there all the same: a call
    cannot be taken back. Then it ends as gone, and what was restored stays closed; or a refresh finds nothing of it.
    """
    if await _mark_kept(conn, customer_id, removal_id, token=token):
        return None
    row = await conn.fetchrow(
        """
        SELECT aggregator_customer_id AS customer_ref, aggregator_ref AS ref FROM removals
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3
        """,
        customer_id,
        removal_id,
        token,
    )
    return RemovalTarget(**row) if row else None


async def mark_gone(conn: Connection, customer_id: CustomerId, removal_id: int, *, token: UUID) -> bool:
    """Note that the aggregator no longer has it; a customer that is gone enrols nobody. False where the claim is lost."""
    done = await conn.fetchval(
        """
        WITH gone AS (
            UPDATE removals SET state = 'gone', finished_at = now(), tries = tries + 1, reason = '', lease_token = NULL,
                lease_until = NULL
            WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3
            RETURNING source_id, kind, aggregator_customer_id
        ), left_over AS (
            DELETE FROM enrolments e USING gone
            WHERE e.customer_id = $1 AND gone.kind = 'customer' AND e.source_id = gone.source_id
              AND e.aggregator_customer_id = gone.aggregator_customer_id
        )
        SELECT true FROM gone
        """,
        customer_id,
        removal_id,
        token,
    )
    return bool(done)


async def mark_waiting(
    conn: Connection, customer_id: CustomerId, removal_id: int, *, token: UUID, delay_s: float, reason: str
) -> RemovalState | None:
    """Count a try that failed; it is due again after a delay. Return how it stands now, None where the claim is lost.

    Withdrawn is what is not deleted here any more. The try may have reached the aggregator: the next refresh finds out.
    """
    if await _mark_kept(conn, customer_id, removal_id, token=token):
        return RemovalState.WITHDRAWN
    done = await conn.fetchval(
        """
        UPDATE removals SET tries = tries + 1, reason = $5, lease_token = NULL, lease_until = NULL,
            due_at = now() + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 RETURNING true
        """,
        customer_id,
        removal_id,
        token,
        delay_s,
        reason,
    )
    return RemovalState.WAITING if done else None


async def mark_given_up(
    conn: Connection, customer_id: CustomerId, removal_id: int, *, token: UUID, reason: str
) -> RemovalState | None:
    """Count the last try that failed; from here on a person has to look. Returns what mark_waiting does."""
    if await _mark_kept(conn, customer_id, removal_id, token=token):
        return RemovalState.WITHDRAWN
    done = await conn.fetchval(
        """
        UPDATE removals SET state = 'given_up', finished_at = now(), tries = tries + 1, reason = $4, lease_token = NULL,
            lease_until = NULL
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 RETURNING true
        """,
        customer_id,
        removal_id,
        token,
        reason,
    )
    return RemovalState.GIVEN_UP if done else None


async def _mark_kept(conn: Connection, customer_id: CustomerId, removal_id: int, *, token: UUID) -> bool:
    """Withdraw a claimed removal of what is not deleted here any more; True where it was.

    The logins of a restored client are asked for again. What is kept is locked first, so that who deletes it once more
    either is seen here, or finds nothing that waits and notes it anew.
    """
    row = await conn.fetchrow(
        """
        UPDATE removals r SET state = 'withdrawn', finished_at = now(), lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 AND CASE kind
            WHEN 'customer' THEN EXISTS (
                SELECT FROM clients c WHERE c.customer_id = $1 AND c.id = r.client_id AND c.deleted_at IS NULL FOR SHARE)
            WHEN 'login' THEN EXISTS (
                SELECT FROM connections c WHERE c.customer_id = $1 AND c.source_id = r.source_id
                  AND c.aggregator_login_id = r.aggregator_ref AND c.deleted_at IS NULL FOR SHARE)
            WHEN 'account' THEN EXISTS (
                SELECT FROM accounts a WHERE a.customer_id = $1 AND a.source_id = r.source_id
                  AND a.aggregator_id = r.aggregator_ref AND a.adopted_into IS NULL AND a.deleted_at IS NULL FOR SHARE)
        END RETURNING client_id, source_id, kind::text
        """,
        customer_id,
        removal_id,
        token,
    )
    if row is not None and row["kind"] == RemovalKind.CUSTOMER:
        await reopen_connections(conn, customer_id, row["client_id"], [row["source_id"]])
    return row is not None


async def give_back(conn: Connection, claimed: ClaimedRemoval, *, token: UUID) -> None:
    """Give a removal back untried, due at once, as the queue role. Safe to repeat."""
    await conn.execute(
        """
        UPDATE removals SET lease_token = NULL, lease_until = NULL, due_at = now()
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3
        """,
        claimed.customer_id,
        claimed.id,
        token,
    )


async def mark_withdrawn(
    conn: Connection, customer_id: CustomerId, *, source_id: SourceId, login_ref: str, account_refs: Sequence[str]
) -> bool:
    """Take back what was not tried yet of a login and of accounts that were added again; True where the login's was.

    One that is being tried just now may still reach the aggregator; the next refresh then finds what is left.
    """
    kinds = await conn.fetch(
        """
        UPDATE removals SET state = 'withdrawn', finished_at = now(), lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND source_id = $2 AND state = 'waiting'
          AND ((kind = 'login' AND aggregator_ref = $3) OR (kind = 'account' AND aggregator_ref = ANY ($4::text[])))
        RETURNING kind::text
        """,
        customer_id,
        source_id,
        login_ref,
        list(account_refs),
    )
    return "login" in [row["kind"] for row in kinds]


async def mark_client_withdrawn(conn: Connection, customer_id: CustomerId, client_id: ClientId) -> tuple[SourceId, ...]:
    """Take back the removal of a restored client where nobody is trying it; return the sources that still have it.

    What is being tried just now ends by itself: as gone, or withdrawn by whoever looks at it next (see find_target).
    """
    rows = await conn.fetch(
        """
        UPDATE removals SET state = 'withdrawn', finished_at = now(), lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND client_id = $2 AND state = 'waiting' AND kind = 'customer'
          AND (lease_token IS NULL OR lease_until <= now())
        RETURNING source_id
        """,
        customer_id,
        client_id,
    )
    return tuple(row["source_id"] for row in rows)


async def list_removals(
    conn: Connection,
    customer_id: CustomerId,
    *,
    client_id: ClientId | None,
    state: RemovalState | None,
    before_id: int | None,
    limit: int,
) -> tuple[RemovalLine, ...]:
    """List removals, the latest first, those before an id; None is any, or from the latest on."""
    rows = await conn.fetch(
        """
        SELECT id, client_id, kind, state, tries, reason, due_at, created_at, finished_at FROM removals
        WHERE customer_id = $1 AND ($2::bigint IS NULL OR client_id = $2) AND ($3::removal_state IS NULL OR state = $3)
          AND id < coalesce($4::bigint, 9223372036854775807)
        ORDER BY id DESC LIMIT $5
        """,
        customer_id,
        client_id,
        state,
        before_id,
        limit,
    )
    return tuple(
        RemovalLine(**{**row, "kind": RemovalKind(row["kind"]), "state": RemovalState(row["state"])}) for row in rows
    )
