"""The sandbox's mailbox: a mail server that delivers nothing and keeps the latest letters in memory, to be looked at."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

KEPT: Final = 200
MOST_BYTES: Final = 1_048_576
MAX_TEXT_CHARS: Final = 20_000
IDLE_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One letter as it came in."""

    at: datetime
    sender: str
    recipients: tuple[str, ...]
    subject: str
    text: str
    message_id: str


@dataclass(slots=True)
class Mailbox:
    """The latest letters, the newest first: at most 200, of at most 1 MiB each."""

    letters: deque[Letter] = field(default_factory=lambda: deque(maxlen=KEPT))

    async def handle_DATA(self, _: Any, __: Any, envelope: "Envelope") -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a letter, and say so to who sends it."""
        message = message_from_bytes(envelope.original_content or b"", policy=default)
        assert isinstance(message, EmailMessage)
        self.letters.appendleft(
            Letter(
                at=datetime.now(UTC),
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                subject=str(message["Subject"] or ""),
                text=_read_text(message)[:MAX_TEXT_CHARS],
                message_id=str(message["Message-ID"] or ""),
            )
        )
        return "250 kept"

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Open its door, for anybody on this machine. Raises OSError where the port is taken."""
        from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - installed where everything runs on one machine

        return await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, hostname="finbank", data_size_limit=MOST_BYTES, timeout=IDLE_S), host, port
        )


def _read_text(message: EmailMessage) -> str:
    """Return the plain text of a letter, "" where it has none that can be read."""
    part = message.get_body(("plain",))
    try:
        return "" if part is None else "\n".join(str(part.get_content()).splitlines())
    except (KeyError, LookupError, ValueError):  # a charset or encoding that nobody knows
        return ""
