"""The history of transactions: which pull or act changed a row, by which rule, and how the row was before."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from bankfeed.db.database import Connection
from bankfeed.db.transaction import Written, list_rows
from bankfeed.model import AccountId, ActId, CustomerId, Known, PullId, TransactionId
from bankfeed.reconcile import ChangeKind, Rule
from bankfeed.reconcile.changes import ActKind, Step
from bankfeed.reconcile.undo import Lived


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What makes a change: a pull or an act, one of both, and when."""

    at: datetime
    pull_id: PullId | None = None
    act_id: ActId | None = None


async def insert_changes(
    conn: Connection,
    customer_id: CustomerId,
    cause: Cause,
    changed: Sequence[tuple[TransactionId, Written]],
) -> None:
    """Keep how rows were before, in one statement; of one whose values are erased nothing is kept."""
    await conn.execute(
        """
        INSERT INTO transaction_changes (customer_id, pull_id, act_id, at, transaction_id, change_no, kind, rule, before)
        SELECT $1, $2, $3, $4, u.transaction_id, u.change_no, u.kind, u.rule, convert_from(u.before, 'UTF8')::jsonb
        FROM unnest($5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bytea[])
             AS u (transaction_id, change_no, kind, rule, before)
        """,
        customer_id,
        cause.pull_id,
        cause.act_id,
        cause.at,
        [transaction_id for transaction_id, _ in changed],
        [row.change_no for _, row in changed],
        [row.change.kind for _, row in changed],
        [row.change.rule for _, row in changed],
        [_encode_before(row) for _, row in changed],
    )


async def erase_changes(conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]) -> None:
    """Forget how rows were: their values are erased."""
    await conn.execute(
        """
        UPDATE transaction_changes SET before = NULL
        WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[]) AND before IS NOT NULL
        """,
        customer_id,
        list(ids),
    )


async def list_lived(
    conn: Connection, customer_id: CustomerId, account_id: AccountId, ids: Sequence[TransactionId]
) -> tuple[Lived, ...]:
    """Read rows of an account with all their steps, in order of id."""
    rows = await list_rows(conn, customer_id, account_id, ids)
    steps: dict[int, list[Step]] = defaultdict(list)
    for step in await _fetch_steps(conn, customer_id, ids):
        steps[step["transaction_id"]].append(_read_step(step))
    return tuple(Lived(row=row, steps=tuple(steps[row.id or 0])) for row in rows)


async def _fetch_steps(conn: Connection, customer_id: CustomerId, ids: Sequence[TransactionId]) -> Sequence[Any]:
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT t.id AS transaction_id, 0::bigint AS change_no, p.at, 'added' AS kind, t.first_rule AS rule,
               t.first_pull_id AS pull_id, NULL::bigint AS act_id, NULL::jsonb AS before
        FROM transactions t JOIN pulls p ON p.customer_id = $1 AND p.id = t.first_pull_id
        WHERE t.customer_id = $1 AND t.id = ANY ($2::bigint[])
        UNION ALL
        SELECT transaction_id, change_no, at, kind, rule, pull_id, act_id, before
        FROM transaction_changes WHERE customer_id = $1 AND transaction_id = ANY ($2::bigint[])
        ORDER BY transaction_id, change_no
        """,
        customer_id,
        list(ids),
    )
    return rows


async def list_changed_ids(conn: Connection, customer_id: CustomerId, cause: Cause) -> tuple[TransactionId, ...]:
    """List the rows that an act, or a pull, changed."""
    rows = await conn.fetch(
        """
        SELECT DISTINCT transaction_id FROM transaction_changes
        WHERE customer_id = $1 AND (pull_id = $2 OR act_id = $3) ORDER BY transaction_id
        """,
        customer_id,
        cause.pull_id,
        cause.act_id,
    )
    return tuple(row["transaction_id"] for row in rows)


async def list_joined_ids(
    conn: Connection, customer_id: CustomerId, step: Step, *, into: TransactionId
) -> tuple[TransactionId, ...]:
    """List the rows that were joined into another one by what made that step."""
    rows = await conn.fetch(
        """
        SELECT t.id FROM transaction_changes c JOIN transactions t ON t.customer_id = $1 AND t.id = c.transaction_id
        WHERE c.customer_id = $1 AND (c.pull_id = $2 OR c.act_id = $3) AND c.kind = 'merged' AND t.merged_into = $4
        ORDER BY t.id
        """,
        customer_id,
        step.pull_id,
        step.act_id,
        into,
    )
    return tuple(row["id"] for row in rows)


def _encode_before(row: Written) -> bytes | None:
    if row.change.before is None or row.known.fingerprint:
        return None
    return msgspec.json.encode(row.change.before)


def _read_step(row: Any) -> Step:
    """Read a step; a rule and an act may go by the same word, and only a re-link is a rule that an act follows."""
    is_rule = row["pull_id"] is not None or row["rule"] == Rule.RELINKED
    return Step(
        change_no=row["change_no"],
        at=row["at"],
        kind=ChangeKind(row["kind"]),
        rule=Rule(row["rule"]) if is_rule else ActKind(row["rule"]),
        before=None if row["before"] is None else msgspec.json.decode(row["before"], type=Known),
        pull_id=row["pull_id"],
        act_id=row["act_id"],
    )
