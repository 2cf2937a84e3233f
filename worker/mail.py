"""The mail lane: one letter at a time, until the mail server has taken it or a day of tries is over.

No transaction is open while the server is talked to. A worker that dies after the server took a letter and before that was
written sends it once more, under the same Message-ID. Neither addresses nor words of a letter are logged.
"""

import asyncio
from typing import Final
from uuid import UUID, uuid4

from bankfeed import metrics
from bankfeed.db import mail
from bankfeed.db.mail import ClaimedMail, MailContent
from bankfeed.logs import get_logger
from worker.context import Context
from worker.mail_server import MailServer, NotSent, write_message

MOST_TRIES: Final = 14  # some twenty-four hours
FIRST_WAIT_S: Final = 60
LONGEST_WAIT_S: Final = 4 * 3600
TRY_S: Final = 30.0
LEASE_SHARE: Final = 0.8  # the rest is for what is read before and written after
STALE_HOURS: Final = 72
UNWANTED: Final = "its client was locked or deleted meanwhile"


async def take_mail(context: Context, server: MailServer) -> bool:
    """Claim the letter that is due the longest and try to send it; False where none was due."""
    token = uuid4()
    async with context.database.queue_statement() as conn:
        claimed = await mail.claim_mail(conn, token=token, lease_s=context.settings.lease_s)
    if claimed is None:
        return False
    try:
        await _try(context, server, claimed, token)
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(context, claimed, token))
        raise
    return True


def wait_s(tries: int) -> int:
    """Return the seconds to wait after so many tries (1 and up): doubling from a minute, at most four hours.

    >>> [wait_s(tries) for tries in (1, 2, 8, 9, 13)]
    [60, 120, 7680, 14400, 14400]
    """
    return min(FIRST_WAIT_S << min(tries - 1, 8), LONGEST_WAIT_S)


async def _try(context: Context, server: MailServer, claimed: ClaimedMail, token: UUID) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        content = await mail.find_content(conn, claimed.customer_id, claimed.id, token=token, stale_hours=STALE_HOURS)
    if content is None:
        return
    if content.is_unwanted:
        await _note_unwanted(context, claimed, token)
        return
    try:
        await _send(context, server, claimed, content)
    except NotSent as error:
        await _note_failed(context, claimed, token, error)
    else:
        await _note_sent(context, claimed, token)


async def _send(context: Context, server: MailServer, claimed: ClaimedMail, content: MailContent) -> None:
    if content.is_stale:
        raise NotSent(f"it waited for more than {STALE_HOURS} hours", is_final=True)
    try:
        message = write_message(claimed, content, sender=server.sender)
    except ValueError:
        raise NotSent("its address or subject is not of one line", is_final=True) from None
    await server.send(content.recipient, message, limit_s=min(TRY_S, context.settings.lease_s * LEASE_SHARE))


async def _note_sent(context: Context, claimed: ClaimedMail, token: UUID) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        is_ours = await mail.mark_sent(conn, claimed.customer_id, claimed.id, token=token)
    _note(claimed, "sent" if is_ours else "lost", reason="")


async def _note_unwanted(context: Context, claimed: ClaimedMail, token: UUID) -> None:
    async with context.database.tenant(claimed.customer_id) as conn:
        is_ours = await mail.mark_failed(conn, claimed.customer_id, claimed.id, token=token, reason=UNWANTED)
    _note(claimed, "unwanted" if is_ours else "lost", reason=UNWANTED)


async def _note_failed(context: Context, claimed: ClaimedMail, token: UUID, error: NotSent) -> None:
    tries, reason = claimed.tries + 1, str(error)
    is_last = error.is_final or tries >= MOST_TRIES
    async with context.database.tenant(claimed.customer_id) as conn:
        if is_last:
            is_ours = await mail.mark_failed(conn, claimed.customer_id, claimed.id, token=token, reason=reason)
        else:
            is_ours = await mail.mark_waiting(
                conn, claimed.customer_id, claimed.id, token=token, delay_s=wait_s(tries), reason=reason
            )
    outcome = "failed" if is_last else "later"
    _note(claimed, outcome if is_ours else "lost", reason=reason)


def _note(claimed: ClaimedMail, outcome: str, *, reason: str) -> None:
    metrics.MAILS.labels(outcome).inc()
    log = get_logger().error if outcome == "failed" else get_logger().info
    log(
        "mail.tried",
        customer_id=claimed.customer_id,
        mail_id=claimed.id,
        tries=claimed.tries + 1,
        outcome=outcome,
        reason=reason,
    )


async def _give_back(context: Context, claimed: ClaimedMail, token: UUID) -> None:
    async with context.database.queue() as conn:
        await mail.give_back(conn, claimed, token=token)
