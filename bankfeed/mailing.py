"""The door of e-mail: what is posted here is committed with the caller's transaction, and sent by the worker."""

from collections.abc import Sequence

from bankfeed.db import Connection
from bankfeed.db.mail import NewMail, insert_mails, update_waiting
from bankfeed.letters import one_line, plain_text
from bankfeed.model import CustomerId
from bankfeed.people import clean_email, is_email
from bankfeed.settings import Settings

__all__ = ["NewMail", "post"]


async def post(conn: Connection, settings: Settings, customer_id: CustomerId, mails: Sequence[NewMail]) -> int:
    """Queue letters in the caller's transaction; return how many. None where e-mail is off.

    A recipient that is no e-mail address, '' among them, gets none: what is kept of a client may be anything. One about a case
    takes the place of the one that still waits.
    """
    if not settings.smtp_url:
        return 0
    fit = [
        NewMail(
            recipient=clean_email(mail.recipient),
            subject=one_line(mail.subject),
            body=plain_text(mail.body),
            client_id=mail.client_id,
            case_id=mail.case_id,
        )
        for mail in mails
        if is_email(clean_email(mail.recipient))
    ]
    new = [mail for mail in fit if mail.case_id is None or not await update_waiting(conn, customer_id, mail)]
    if new:
        await insert_mails(conn, customer_id, new)
    return len(fit)
