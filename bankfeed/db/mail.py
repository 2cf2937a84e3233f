"""E-mail: committed with what it tells of, claimed by lease, and tried until it is sent or given up.

What a letter says is forgotten when it has ended: its row goes on saying to whom, when, and why not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bankfeed.db.case import CaseId
from bankfeed.db.database import Connection
from bankfeed.model import ClientId, CustomerId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMail:
    """A letter to one address. `client_id` is whom it is about, and with whom it is erased; None: the firm as a whole.

    `case_id` is the support case that it tells of, None where it is of none.
    """

    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    body: str = field(repr=False)
    client_id: ClientId | None = None
    case_id: CaseId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMail:
    """A letter that this worker may try to send; `tries` failed before."""

    customer_id: CustomerId
    id: int
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MailContent:
    """A letter as it is sent. `is_stale`: nobody was there to send it for so long that it has nothing to say any more.

    `is_unwanted`: its client was deleted meanwhile, or was locked and it is to the client; see `find_content`.
    """

    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    body: str = field(repr=False)
    created_at: datetime
    is_stale: bool
    is_unwanted: bool


async def insert_mails(conn: Connection, customer_id: CustomerId, mails: Sequence[NewMail]) -> None:
    """Queue letters, due at once, with the transaction that they tell of; see bankfeed/mailing.py, which asks first."""
    await conn.execute(
        """
        INSERT INTO mails (customer_id, client_id, case_id, recipient, subject, body)
        SELECT $1, m.client_id, m.case_id, m.recipient, m.subject, m.body
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[])
            WITH ORDINALITY AS m (client_id, case_id, recipient, subject, body, position)
        ORDER BY m.position
        """,
        customer_id,
        [mail.client_id for mail in mails],
        [mail.case_id for mail in mails],
        [mail.recipient for mail in mails],
        [mail.subject for mail in mails],
        [mail.body for mail in mails],
    )


async def update_waiting(conn: Connection, customer_id: CustomerId, mail: NewMail) -> bool:
    """Let the letter about a case that waits say what is true now; False where none does, or somebody is sending it.

    It is as old as what it says and has all its tries again; when it is due stays. Whoever calls has locked the case.
    """
    is_there = await conn.fetchval(
        """
        UPDATE mails SET subject = $5, body = $6, created_at = now(), tries = 0, reason = ''
        WHERE customer_id = $1 AND state = 'waiting' AND lease_token IS NULL AND id = (
            SELECT max(id) FROM mails WHERE customer_id = $1 AND client_id = $2 AND case_id = $3 AND recipient = $4
              AND state = 'waiting' AND lease_token IS NULL)
        RETURNING true
        """,
        customer_id,
        mail.client_id,
        mail.case_id,
        mail.recipient,
        mail.subject,
        mail.body,
    )
    return bool(is_there)


async def claim_mail(conn: Connection, *, token: UUID, lease_s: float) -> ClaimedMail | None:
    """Claim the letter that is due the longest, as the queue role; None where none is due.

    A claim moves the due time to the lease's end, where an abandoned one is due again. It is not a try.
    """
    row = await conn.fetchrow(
        """
        WITH due AS (
            SELECT customer_id, id FROM mails WHERE state = 'waiting' AND due_at <= now()
            ORDER BY due_at, customer_id, id LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE mails m SET lease_token = $1, lease_until = now() + make_interval(secs => $2),
            due_at = now() + make_interval(secs => $2)
        FROM due WHERE m.customer_id = due.customer_id AND m.id = due.id
        RETURNING m.customer_id, m.id, m.tries
        """,
        token,
        lease_s,
    )
    return ClaimedMail(**row) if row else None


async def find_content(
    conn: Connection, customer_id: CustomerId, mail_id: int, *, token: UUID, stale_hours: int
) -> MailContent | None:
    """Return what a claimed letter says; None where the claim is lost.

    Nobody wants it of a client that was deleted. A client that was locked gets none, while the firm hears of its case.
    """
    row = await conn.fetchrow(
        """
        SELECT m.recipient, m.subject, m.body, m.created_at, m.created_at < now() - make_interval(hours => $4) AS is_stale,
               cl.deleted_at IS NOT NULL
                 OR cl.locked_at IS NOT NULL AND coalesce(s.opened_by LIKE 'client:%', true) AS is_unwanted
        FROM mails m
        LEFT JOIN clients cl ON cl.customer_id = $1 AND cl.id = m.client_id
        LEFT JOIN support_cases s ON s.customer_id = $1 AND s.id = m.case_id
        WHERE m.customer_id = $1 AND m.id = $2 AND m.state = 'waiting' AND m.lease_token = $3
        """,
        customer_id,
        mail_id,
        token,
        stale_hours,
    )
    return MailContent(**row) if row else None


async def mark_sent(conn: Connection, customer_id: CustomerId, mail_id: int, *, token: UUID) -> bool:
    """Note that the mail server has taken a letter, and forget what it says. False where the claim is lost."""
    done = await conn.fetchval(
        """
        UPDATE mails SET state = 'sent', finished_at = now(), tries = tries + 1, reason = '', subject = '', body = '',
            lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 RETURNING true
        """,
        customer_id,
        mail_id,
        token,
    )
    return bool(done)


async def mark_waiting(
    conn: Connection, customer_id: CustomerId, mail_id: int, *, token: UUID, delay_s: float, reason: str
) -> bool:
    """Count a try that failed; the letter is due again after a delay. False where the claim is lost."""
    done = await conn.fetchval(
        """
        UPDATE mails SET tries = tries + 1, reason = $5, lease_token = NULL, lease_until = NULL,
            due_at = now() + make_interval(secs => $4)
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 RETURNING true
        """,
        customer_id,
        mail_id,
        token,
        delay_s,
        reason,
    )
    return bool(done)


async def mark_failed(conn: Connection, customer_id: CustomerId, mail_id: int, *, token: UUID, reason: str) -> bool:
    """Give a letter up after the try that was its last, and forget what it says. False where the claim is lost."""
    done = await conn.fetchval(
        """
        UPDATE mails SET state = 'failed', finished_at = now(), tries = tries + 1, reason = $4, subject = '', body = '',
            lease_token = NULL, lease_until = NULL
        WHERE customer_id = $1 AND id = $2 AND state = 'waiting' AND lease_token = $3 RETURNING true
        """,
        customer_id,
        mail_id,
        token,
        reason,
    )
    return bool(done)


async def give_back(conn: Connection, claimed: ClaimedMail, *, token: UUID) -> None:
    """Give a letter back, due at once, as the queue role. Safe to repeat."""
    await conn.execute(
        """
        UPDATE mails SET lease_token = NULL, lease_until = NULL, due_at = now()
        WHERE customer_id = $1 AND id = $2 AND lease_token = $3
        """,
        claimed.customer_id,
        claimed.id,
        token,
    )


async def delete_old_mails(conn: Connection, *, days: int, limit: int) -> int:
    """Delete some letters that ended so many days ago, as the queue role; return how many, fewer than `limit` at the end."""
    rows = await conn.fetch(
        """
        WITH old AS (
            SELECT customer_id, id FROM mails WHERE finished_at < now() - make_interval(days => $1)
            ORDER BY finished_at, customer_id, id LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        DELETE FROM mails m USING old WHERE m.customer_id = old.customer_id AND m.id = old.id RETURNING m.id
        """,
        days,
        limit,
    )
    return len(rows)
