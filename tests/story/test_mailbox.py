"""Finbank's mailbox: what is sent there is kept for a while and shown as text."""

from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from bankfeed.sandbox.api.mailbox import MAILBOX
from bankfeed.sandbox.app import Finbank, start
from bankfeed.sandbox.clock import Pace
from bankfeed.sandbox.mailbox import KEPT, MOST_BYTES
from bankfeed.sandbox.settings import FinbankSettings
from tests.finbank import free_port

EVIL = "<script>alert(1)</script>"


@pytest.fixture
async def finbank(tmp_path: Path) -> AsyncIterator[tuple[Finbank, int]]:
    """A Finbank that takes e-mail, and the port where it does."""
    port = free_port()
    settings = FinbankSettings(
        data=tmp_path, partner_secret="s", app_key="a", control_token="c", port=0, smtp_port=port, clock=Pace.MANUAL
    )
    running = await start(settings)
    yield running, port
    await running.close()


async def send(port: int, *messages: EmailMessage | bytes) -> None:
    """Send letters over one connection."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
        for message in messages:
            content = message if isinstance(message, bytes) else message.as_bytes()
            await client.sendmail("a@firm.example", ["b@firm.example"], content)


def write(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["Message-ID"] = "<1-1@firm.example>"
    message.set_content(text)
    return message


async def read(running: Finbank) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/finbank/mailbox.json") as answer:
        mails: list[dict[str, Any]] = (await answer.json())["mails"]
        return mails


async def test_a_letter_is_read_without_signing_in(finbank: tuple[Finbank, int]) -> None:
    """As a program reads it: addresses, subject, text, whatever the letters."""
    running, port = finbank
    assert [] == await read(running)
    await send(port, write("Ihre Bank braucht Sie (jetzt)", "Grüße\n\nAnn\n"))
    [mail] = await read(running)
    assert ("a@firm.example", ["b@firm.example"], "Ihre Bank braucht Sie (jetzt)", "<1-1@firm.example>") == (
        mail["from"],
        mail["to"],
        mail["subject"],
        mail["messageId"],
    )
    assert "Grüße\n\nAnn" == mail["text"]


async def test_a_letter_is_text_on_the_page(finbank: tuple[Finbank, int]) -> None:
    """Nothing in it is markup, and the browser would run none."""
    running, port = finbank
    await send(port, write(EVIL, EVIL))
    async with aiohttp.ClientSession() as session, session.get(f"{running.url}/finbank/mailbox") as answer:
        page = await answer.text()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert EVIL not in page
    assert 2 == page.count("&lt;script&gt;alert(1)&lt;/script&gt;")


async def test_what_is_kept_is_bounded(finbank: tuple[Finbank, int]) -> None:
    """The latest letters, of a bounded size; fifty of them are shown, the newest first."""
    running, port = finbank
    await send(port, *(write(str(number), "") for number in range(KEPT + 5)))
    assert (KEPT, [str(KEPT + 4 - n) for n in range(50)]) == (
        len(running.runner.app[MAILBOX].letters),
        [mail["subject"] for mail in await read(running)],
    )
    with pytest.raises(aiosmtplib.SMTPResponseException):
        await send(port, b"Subject: big\r\n\r\n" + b"0123456789\r\n" * (MOST_BYTES // 10))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no header at all",
        b"Subject: =?x-none?q?a?=\r\nContent-Type: text/plain; charset=x-none\r\n\r\n\xff",
        b"Content-Type: multipart/mixed\r\n\r\n--",
        b"Content-Type: text/html\r\n\r\n<b>",
    ],
)
async def test_what_is_no_letter_is_kept_as_far_as_it_can_be_read(content: bytes, finbank: tuple[Finbank, int]) -> None:
    """A mailbox for trying things out does not choke on what is tried."""
    running, port = finbank
    await send(port, content)
    assert 1 == len(await read(running))


async def test_there_is_none_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Port 0 takes no e-mail."""
    settings = FinbankSettings(
        data=tmp_path, partner_secret="s", app_key="a", control_token="c", port=0, clock=Pace.MANUAL
    )
    running = await start(settings)
    try:
        assert (None, []) == (running.mail_server, await read(running))
    finally:
        await running.close()
