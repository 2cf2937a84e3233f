"""A mail server in the test process, which keeps what it takes and refuses what a test wants refused."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass(slots=True)
class Mailbox:
    """What the server took. `answers` go out first, one a letter; `refused` are addresses with their answers.

    `tries` counts letters that were offered; `logins` say user, password, and whether they came encrypted. While `hold` is
    not set, nothing is answered; `most_busy` is how many letters waited at once.
    """

    port: int = 0
    tries: list[EmailMessage] = field(default_factory=list)
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    busy: int = 0
    most_busy: int = 0

    @property
    def url(self) -> str:
        """Where it listens, in plain text."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:  # noqa: N802
        """Take an address, or refuse it as the test said."""
        if answer := self.refused.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a letter, once the test lets it."""
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.tries.append(message)
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.busy -= 1
        if self.answers:
            return self.answers.pop(0)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def check_login(self, server: SMTP, _: Session, __: Envelope, ___: str, login: Any) -> AuthResult:
        """Take any user whose password is right."""
        assert isinstance(login, LoginPassword)
        assert server.transport is not None
        is_encrypted = server.transport.get_extra_info("sslcontext") is not None
        self.logins.append((login.login.decode(), login.password.decode(), is_encrypted))
        return AuthResult(success=login.password == b"right", handled=False)


@asynccontextmanager
async def open_mailbox(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Mailbox]:
    """Listen on a port of loopback; `starttls` is offered, `tls` is there from the beginning."""
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            mailbox,
            hostname="mail.test",
            tls_context=starttls,
            auth_require_tls=False,
            authenticator=mailbox.check_login,
        ),
        "127.0.0.1",
        0,
        ssl=tls,
    )
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
