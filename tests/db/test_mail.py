"""Letters in Postgres: who does not want one any more when it is sent."""

from uuid import uuid4

import asyncpg
import pytest

from bankfeed.db import mail
from bankfeed.db.mail import MailContent, NewMail
from tests.db.made import LEASE_S, Ground

LOCKED, DELETED = "locked_at = now()", "deleted_at = now(), erase_at = now()"


async def read(ground: Ground) -> MailContent:
    """Claim the letter that is due and read what it says."""
    token, customer_id = uuid4(), ground.tenant.customer_id
    async with ground.database.queue() as conn:
        claimed = await mail.claim_mail(conn, token=token, lease_s=LEASE_S)
    assert claimed is not None
    async with ground.app() as conn:
        content = await mail.find_content(conn, customer_id, claimed.id, token=token, stale_hours=1)
    assert content is not None
    return content


@pytest.mark.parametrize(
    ("change", "opened_by", "is_unwanted"),
    [
        (LOCKED, None, True),
        (LOCKED, "client:1", True),
        (LOCKED, "user:1", False),
        (DELETED, None, True),
        (DELETED, "client:1", True),
        (DELETED, "user:1", True),
        ("locked_at = NULL", None, False),
    ],
)
async def test_nobody_wants_a_letter_of_who_was_locked_or_deleted(
    ground: Ground,
    superuser: asyncpg.Connection,
    change: str,
    opened_by: str | None,
    is_unwanted: bool,  # noqa: FBT001 - a case's value
) -> None:
    """A locked client gets none, while the firm hears of a case that it opened about it; of a deleted one nobody hears."""
    tenant = ground.tenant
    case_id = None
    if opened_by is not None:
        case_id = await superuser.fetchval(
            """
            INSERT INTO support_cases (customer_id, client_id, connection_id, reason, opened_by)
            VALUES ($1, $2, $3, 'r', $4) RETURNING id
            """,
            tenant.customer_id,
            tenant.client_id,
            ground.connection_id,
            opened_by,
        )
    letter = NewMail(recipient="a@b.example", subject="s", body="b", client_id=tenant.client_id, case_id=case_id)
    async with ground.app() as conn:
        await mail.insert_mails(conn, tenant.customer_id, [letter])
    await superuser.execute(f"UPDATE clients SET {change}")  # noqa: S608 - of the words above
    assert is_unwanted == (await read(ground)).is_unwanted


async def test_a_firms_own_letter_is_of_no_client(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Whatever becomes of its clients, it is sent."""
    async with ground.app() as conn:
        await mail.insert_mails(
            conn, ground.tenant.customer_id, [NewMail(recipient="a@b.example", subject="s", body="b")]
        )
    await superuser.execute(f"UPDATE clients SET {DELETED}")  # noqa: S608 - of the words above
    assert not (await read(ground)).is_unwanted
