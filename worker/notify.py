"""The sweep that tells firms and clients, as often as they chose, of banks that need somebody.

What is told, and that it is told, are one transaction; it holds the row that says when they last heard.
"""

from typing import Final

from bankfeed.db import Connection
from bankfeed.db import notification as noted
from bankfeed.db.notification import Broken, DueClient
from bankfeed.errors import RefusedData
from bankfeed.health import ConnectionState, describe
from bankfeed.jobs import Wake
from bankfeed.letters import NAMED, Need, write_client_letter, write_firm_letter
from bankfeed.logs import get_logger
from bankfeed.mailing import NewMail, post
from bankfeed.model import CustomerId
from worker.context import Context

FIRMS: Final = 100
CLIENTS: Final = 20  # of one transaction
UNNAMED: Final = "a bank"


async def tell_everybody(context: Context) -> int:
    """Queue the letters that are due now; return how many. Nothing where e-mail is off. Safe to repeat, and to run twice."""
    if not context.settings.smtp_url:
        return 0
    letters, last = 0, CustomerId(0)
    while True:
        async with context.database.queue() as conn:
            firms = await noted.list_firms_to_tell(conn, after_id=last, limit=FIRMS)
        for customer_id in firms:
            letters += await _tell(context, customer_id)
        if len(firms) < FIRMS:
            break
        last = firms[-1]
    if letters:
        context.waker.wake(Wake.MAIL)
        get_logger().info("notifications.queued", mails=letters)
    return letters


async def _tell(context: Context, customer_id: CustomerId) -> int:
    """Tell a firm and its clients; where that is refused, the other firms' turn comes all the same."""
    try:
        return await _tell_firm(context, customer_id) + await _tell_clients(context, customer_id)
    except RefusedData:
        get_logger().exception("notifications.refused", customer_id=customer_id)
        return 0


async def _tell_firm(context: Context, customer_id: CustomerId) -> int:
    async with context.database.tenant(customer_id) as conn:
        due = await noted.lock_due_firm(conn, customer_id)
        if due is None:
            return 0
        broken = await noted.list_broken(conn, customer_id, client_id=None, limit=NAMED)
        letter = write_firm_letter(_needs(broken), count=due.broken, every_hours=due.every_hours)
        mail = NewMail(recipient=due.email, subject=letter.subject, body=letter.body)
        await noted.mark_firm_told(conn, customer_id)
        return await post(conn, context.settings, customer_id, [mail])


async def _tell_clients(context: Context, customer_id: CustomerId) -> int:
    letters = 0
    while True:
        async with context.database.tenant(customer_id) as conn:
            due = await noted.lock_due_clients(conn, customer_id, limit=CLIENTS)
            mails = [await _write_to(conn, customer_id, client) for client in due]
            letters += await post(conn, context.settings, customer_id, mails)
        if len(due) < CLIENTS:
            return letters


async def _write_to(conn: Connection, customer_id: CustomerId, due: DueClient) -> NewMail:
    broken = await noted.list_broken(conn, customer_id, client_id=due.client_id, limit=NAMED)
    await noted.mark_client_told(conn, customer_id, due.client_id)
    letter = write_client_letter(_needs(broken), count=due.broken, firm=due.firm, every_hours=due.every_hours)
    return NewMail(recipient=due.email, subject=letter.subject, body=letter.body, client_id=due.client_id)


def _needs(broken: tuple[Broken, ...]) -> tuple[Need, ...]:
    return tuple(
        Need(
            client=each.client,
            bank=each.bank or UNNAMED,
            since_at=each.broken_since,
            meaning=describe(
                ConnectionState(each.state), each.status_code, is_received=each.is_received, repeats=each.code_repeats
            ),
        )
        for each in broken
    )
