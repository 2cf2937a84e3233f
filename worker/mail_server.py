"""One letter to the mail server: signed in, encrypted where it leaves what the operator trusts, bounded in time.

Nothing of what the server says is kept but its number: it likes to repeat addresses.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import aiosmtplib

from bankfeed.addresses import Network, is_listed
from bankfeed.db.mail import ClaimedMail, MailContent
from bankfeed.settings import Settings
from worker.resolver import Resolver

LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PORTS: Final = {"smtp": 587, "smtps": 465}
QUIT_S: Final = 2.0
MAIL_SLOTS: Final = 4
FOR_GOOD: Final = 500  # RFC 5321, 4.2.1: from here on the server says that trying again does not help


class NoEncryption(aiosmtplib.SMTPException):
    """The mail server offers no encryption where there has to be some."""

    def __init__(self) -> None:
        super().__init__("no STARTTLS")


class NotSent(Exception):
    """The mail server has not taken a letter; the text says why. `is_final`: it will not take it later either."""

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


def write_message(claimed: ClaimedMail, content: MailContent, *, sender: str) -> bytes:
    """Write a letter as it goes over the wire, the same at every try.

    By its Message-ID (RFC 5322, 3.6.4) a receiver knows a second copy. Raises ValueError for an address or subject of
    several lines.
    """
    message = EmailMessage(policy=WIRE.clone(cte_type="7bit"))
    message["From"] = f"Bankfeed <{sender}>"
    message["To"] = content.recipient
    message["Subject"] = content.subject
    message["Date"] = format_datetime(content.created_at)
    message["Message-ID"] = f"<{claimed.customer_id}-{claimed.id}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834, 5: no answering machine answers it
    message.set_content(content.body)
    return message.as_bytes()


class MailServer:
    """The mail server of BANKFEED_SMTP_URL. In the `plain` networks a connection may stay in plain text."""

    def __init__(self, url: str, *, sender: str, plain: Sequence[Network] = LOOPBACK) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.sender = sender
        self._host = parts.hostname
        self._port = parts.port or PORTS[parts.scheme]
        self._is_tls = parts.scheme == "smtps"
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "")
        self._plain = tuple(plain)
        self._resolver = Resolver(threads=2 * MAIL_SLOTS)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make it from settings that name one."""
        return cls(settings.smtp_url.reveal(), sender=settings.mail_from, plain=(*LOOPBACK, *settings.outbound_allow))

    async def close(self) -> None:
        """Look nothing up any more."""
        await self._resolver.close()

    async def send(self, recipient: str, message: bytes, *, limit_s: float) -> None:
        """Send a message to one address; return when the server has taken it. Raises NotSent."""
        try:
            async with asyncio.timeout(limit_s):
                await self._send(recipient, message, limit_s=limit_s)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise _explain(error) from None

    async def _send(self, recipient: str, message: bytes, *, limit_s: float) -> None:
        client = await self._connect(limit_s=limit_s)
        try:
            if self._user is not None:
                await client.login(self._user, self._password)
            await client.sendmail(self.sender, [recipient], message)
            with suppress(aiosmtplib.SMTPException, OSError):  # it has been taken, whatever comes now
                await client.quit(timeout=QUIT_S)
        finally:
            client.close()

    async def _connect(self, *, limit_s: float) -> aiosmtplib.SMTP:
        """Connect to the first of the server's addresses that answers, encrypted where it has to be."""
        addresses = [found["host"] for found in await self._resolver.resolve(self._host, self._port, socket.AF_UNSPEC)]
        for address in addresses:
            client = aiosmtplib.SMTP(
                hostname=self._host if self._is_tls else address,
                port=self._port,
                use_tls=self._is_tls,
                start_tls=False,
                timeout=limit_s,
                local_hostname=self.sender.partition("@")[2],
            )
            try:
                await client.connect()
            except aiosmtplib.SMTPConnectError:
                if address == addresses[-1]:
                    raise
                continue
            try:
                await self._encrypt(client, is_plain=is_listed(ip_address(address.partition("%")[0]), self._plain))
            except BaseException:
                client.close()
                raise
            return client
        raise OSError("no address")

    async def _encrypt(self, client: aiosmtplib.SMTP, *, is_plain: bool) -> None:
        """Encrypt what is not encrypted yet: always, where plain text may not go; else where the server offers it.

        Where plain text may go, so may what is encrypted for whoever answers there: certificates of such places name nobody.
        """
        if self._is_tls:
            return
        await client.ehlo()
        if is_plain and not client.supports_extension("starttls"):
            return
        if not client.supports_extension("starttls"):
            raise NoEncryption
        await client.starttls(server_hostname=self._host, validate_certs=not is_plain)


_REFUSALS: Final = {
    aiosmtplib.SMTPSenderRefused: "the sender was refused",
    aiosmtplib.SMTPAuthenticationError: "user and password were refused",
}
_TROUBLES: Final = (
    (NoEncryption, "the mail server does not offer STARTTLS, and is in no network that may do without"),
    (ssl.SSLError, "the mail server's certificate is not to be trusted"),
    (TimeoutError, "the mail server did not answer in time"),
    (OSError, "the mail server cannot be reached, or hung up"),
)


def _explain(error: Exception) -> NotSent:
    """Say in a few words why a letter was not taken, without what the server says of it."""
    match error:
        case aiosmtplib.SMTPRecipientsRefused(recipients=[refused, *_]):
            return NotSent(f"the recipient was refused: {refused.code}", is_final=refused.code >= FOR_GOOD)
        case aiosmtplib.SMTPDataError(code=code):
            return NotSent(f"the letter was refused: {code}", is_final=code >= FOR_GOOD)
        case aiosmtplib.SMTPResponseException(code=code):
            return NotSent(f"{_REFUSALS.get(type(error), 'the mail server refused')}: {code}")
    causes = (error, error.__cause__)
    for kind, words in _TROUBLES:
        if any(isinstance(cause, kind) for cause in causes):
            return NotSent(words)
    return NotSent(f"the mail server cannot be used: {type(error).__name__}")
