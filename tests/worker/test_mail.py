"""E-mail: each letter to a real mail server, tried for a day, and neither lost nor told of."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from bankfeed.db import Database
from bankfeed.db import mail as rows
from bankfeed.jobs import Waker
from bankfeed.mailing import NewMail, post
from bankfeed.settings import Secret, Settings
from tests.mailbox import Mailbox, open_mailbox
from tests.seed import Tenant, make_sources, make_tenant
from worker import mail as lane
from worker.context import Context
from worker.lane import Lane
from worker.mail import MOST_TRIES, STALE_HOURS, take_mail, wait_s
from worker.mail_server import MailServer, NotSent, write_message
from worker.sweep import Sweeper

ANN, SENDER = "ann@client.example", "bankfeed@firm.example"
SUBJECT, BODY = "Your bank FinBank needs you", "Hello Ann,\n\nSchön, dass Sie da sind. ∞\n.\nBankfeed\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A worker that sends, and the mailbox that it sends to."""

    context: Context
    mailbox: Mailbox
    server: MailServer
    tenant: Tenant
    superuser: asyncpg.Connection

    async def post(self, count: int = 1, **changed: Any) -> int:
        """Queue letters to Ann."""
        new: dict[str, Any] = {
            "recipient": ANN,
            "subject": SUBJECT,
            "body": BODY,
            "client_id": self.tenant.client_id,
        } | changed
        async with self.context.database.tenant(self.tenant.customer_id) as conn:
            return await post(conn, self.context.settings, self.tenant.customer_id, [NewMail(**new)] * count)

    async def send(self) -> None:
        """Try everything that is due."""
        while await take_mail(self.context, self.server):
            pass

    async def make_due(self) -> None:
        """Let the time come of what waits."""
        await self.superuser.execute("UPDATE mails SET due_at = now() WHERE state = 'waiting'")

    async def facts(self, *columns: str) -> tuple[Any, ...]:
        """Return some columns of the only letter."""
        row = await self.row()
        return tuple(row[column] for column in columns)

    async def row(self) -> Any:
        """Return the only letter."""
        [row] = await self.superuser.fetch(
            "SELECT *, state::text AS state, extract(epoch FROM due_at - now())::float8 AS due_s FROM mails"
        )
        return row


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server without encryption."""
    async with open_mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def office(
    database: Database, settings: Settings, owner: asyncpg.Connection, superuser: asyncpg.Connection, mailbox: Mailbox
) -> AsyncIterator[Office]:
    """A worker with one firm, whose mail goes to the mailbox."""
    settings = replace(settings, smtp_url=Secret(mailbox.url), mail_from=SENDER)
    context = Context(database=database, connectors={}, waker=Waker(None), settings=settings)
    tenant = await make_tenant(database, await make_sources(owner))
    server = MailServer.from_settings(settings)
    yield Office(context=context, mailbox=mailbox, server=server, tenant=tenant, superuser=superuser)
    await server.close()


# ------------------------------------------------------------------------------------------------ sent


async def test_a_letter_arrives_once_as_it_was_written(office: Office) -> None:
    """Its words and addresses; an id by which a copy is known; then what it said is forgotten."""
    assert 1 == await office.post()
    created_at = (await office.row())["created_at"]
    await office.send()
    [message] = office.mailbox.messages
    assert [ANN] == office.mailbox.recipients
    assert (ANN, SUBJECT) == (message["To"], message["Subject"])
    assert BODY == message.get_content().replace("\r\n", "\n")
    assert (f"Bankfeed <{SENDER}>", "auto-generated") == (message["From"], message["Auto-Submitted"])
    assert created_at.replace(microsecond=0) == message["Date"].datetime
    row = await office.row()
    assert f"<{row['customer_id']}-{row['id']}@firm.example>" == message["Message-ID"]
    assert ("sent", 1, "", "", "", None) == tuple(
        row[name] for name in ("state", "tries", "reason", "subject", "body", "lease_token")
    )


async def test_nothing_is_queued_where_mail_is_off_or_the_address_is_none(office: Office) -> None:
    """Without a mail server nothing is written down; nor for a client whose e-mail is a mere name."""
    off = replace(office.context.settings, smtp_url=Secret(""))
    async with office.context.database.tenant(office.tenant.customer_id) as conn:
        assert 0 == await post(conn, off, office.tenant.customer_id, [NewMail(recipient=ANN, subject="s", body="b")])
    for recipient in ("", "ann", "ann@firm", f"{ANN}, {SENDER}", f"{ANN}\r\nBcc: {SENDER}", "änn@client.example"):
        assert 0 == await office.post(recipient=recipient)
    assert 0 == await office.superuser.fetchval("SELECT count(*) FROM mails")


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x00"])
async def test_no_name_writes_a_header(ending: str, office: Office) -> None:
    """Whatever ends a line somewhere is a space in a subject."""
    await office.post(subject=f"Ann{ending}Bcc: eve@x.example{ending}{ending}Body", body=f"one{ending}two\x00")
    await office.send()
    [message] = office.mailbox.messages
    assert ("Ann Bcc: eve@x.example Body", None) == (message["Subject"], message["Bcc"])
    assert [ANN] == office.mailbox.recipients


@pytest.mark.parametrize(
    "broken", [{"subject": "Ann\nBcc: eve@x.example"}, {"recipient": f"{ANN}\nBcc: eve@x.example"}]
)
async def test_a_row_that_would_write_one_is_not_sent(broken: dict[str, str], office: Office) -> None:
    """What somebody put into the table otherwise is refused once more where the header is written."""
    await office.post()
    [(column, text)] = broken.items()
    await office.superuser.execute(f"UPDATE mails SET {column} = $1", text)  # noqa: S608 - of the two above
    await office.send()
    row = await office.row()
    assert ("failed", "its address or subject is not of one line") == (row["state"], row["reason"])
    assert [] == office.mailbox.tries


async def test_one_letter_at_a_time_in_each_slot(office: Office) -> None:
    """A mail server that takes its time holds up as many letters as there are slots, and all arrive in the end."""
    office.mailbox.hold = asyncio.Event()
    await office.post(count=6)
    mails = Lane("mail", lambda: take_mail(office.context, office.server), slots=4)
    starts = [mails.start() for _ in range(6)]
    assert 4 == sum(start is not None for start in starts)
    async with asyncio.timeout(10):
        while office.mailbox.busy < 4:
            await asyncio.sleep(0.01)
        office.mailbox.hold.set()
        await asyncio.gather(*(start for start in starts if start is not None))
    assert (4, 6) == (office.mailbox.most_busy, len({message["Message-ID"] for message in office.mailbox.messages}))


# ------------------------------------------------------------------------------------------------ not sent


async def test_what_is_refused_for_now_is_tried_again_under_the_same_id(office: Office) -> None:
    """A minute later, then ever later; with the reason meanwhile."""
    office.mailbox.answers = ["451 4.3.0 greylisted"]
    await office.post()
    await office.send()
    row = await office.row()
    assert ("waiting", 1, "the letter was refused: 451") == (row["state"], row["tries"], row["reason"])
    assert wait_s(1) - 5 < row["due_s"] <= wait_s(1)
    await office.make_due()
    await office.send()
    first, second = office.mailbox.tries
    assert first["Message-ID"] == second["Message-ID"]
    assert ("sent", 2, "") == await office.facts("state", "tries", "reason")


@pytest.mark.parametrize(
    ("refused", "answers", "reason"),
    [
        ({ANN: f"550 5.1.1 <{ANN}> no such user"}, [], "the recipient was refused: 550"),
        ({}, [f"554 5.7.1 {ANN}: FinBank is spam"], "the letter was refused: 554"),
    ],
)
async def test_what_is_refused_for_good_is_given_up_and_told_of_nowhere(
    refused: dict[str, str], answers: list[str], reason: str, office: Office
) -> None:
    """At once, with a reason that has the server's number and none of its words; the log has ids."""
    office.mailbox.refused, office.mailbox.answers = refused, answers
    await office.post()
    with capture_logs() as logs:
        await office.send()
    row = await office.row()
    assert ("failed", 1, reason, "") == (row["state"], row["tries"], row["reason"], row["body"])
    [line] = [each for each in logs if each["event"] == "mail.tried"]
    assert ("failed", row["id"], reason) == (line["outcome"], line["mail_id"], line["reason"])
    assert not any(word in str(logs) for word in (ANN, "FinBank", "Hello"))


async def test_the_last_try_is_a_day_after_the_first(office: Office) -> None:
    """A mail server that is away for longer than that gets no more of it."""
    assert 24 <= sum(wait_s(tries) for tries in range(1, MOST_TRIES)) / 3600 < 26
    await office.post()
    await office.superuser.execute("UPDATE mails SET tries = $1", MOST_TRIES - 1)
    office.mailbox.answers = ["421 closing"]
    await office.send()
    assert ("failed", MOST_TRIES) == await office.facts("state", "tries")


async def test_what_nobody_sent_for_days_is_sent_no_more(office: Office) -> None:
    """Where mail was off, or no worker ran, old news does not come in a flood."""
    await office.post()
    await office.superuser.execute("UPDATE mails SET created_at = now() - make_interval(hours => $1)", STALE_HOURS + 1)
    await office.send()
    assert ("failed", []) == ((await office.row())["state"], office.mailbox.tries)


async def test_who_was_locked_meanwhile_gets_no_letter(office: Office) -> None:
    """The mail server hears nothing of it, and the row says why."""
    await office.post()
    await office.superuser.execute("UPDATE clients SET locked_at = now()")
    with capture_logs() as logs:
        await office.send()
    assert ("failed", lane.UNWANTED, "") == await office.facts("state", "reason", "body")
    assert [("unwanted", "info")] == [(each["outcome"], each["log_level"]) for each in logs if "outcome" in each]
    assert [] == office.mailbox.tries


async def test_a_worker_that_is_killed_loses_nothing(office: Office) -> None:
    """Taken by the server and not written down: sent once more, and known by its id. The dead worker's claim writes nothing."""
    await office.post()
    token = uuid4()
    async with office.context.database.queue() as conn:
        claimed = await rows.claim_mail(conn, token=token, lease_s=60)
    assert claimed is not None
    async with office.context.database.tenant(claimed.customer_id) as conn:
        content = await rows.find_content(conn, claimed.customer_id, claimed.id, token=token, stale_hours=1)
    assert content is not None
    await office.server.send(ANN, write_message(claimed, content, sender=SENDER), limit_s=10)
    assert not await take_mail(office.context, office.server)
    await office.make_due()
    assert await take_mail(office.context, office.server)
    first, second = office.mailbox.messages
    assert first["Message-ID"] == second["Message-ID"]
    async with office.context.database.tenant(claimed.customer_id) as conn:
        assert not await rows.mark_failed(conn, claimed.customer_id, claimed.id, token=token, reason="late")
        assert not await rows.mark_sent(conn, claimed.customer_id, claimed.id, token=token)
        assert not await rows.mark_waiting(conn, claimed.customer_id, claimed.id, token=token, delay_s=1, reason="late")
    assert ("sent", "") == await office.facts("state", "reason")


async def test_a_shutdown_gives_the_letter_back(office: Office) -> None:
    """It was no try, and is due at once."""
    office.mailbox.hold = asyncio.Event()
    await office.post()
    trying = asyncio.create_task(take_mail(office.context, office.server))
    async with asyncio.timeout(10):
        while not office.mailbox.busy:
            await asyncio.sleep(0.01)
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    row = await office.row()
    assert ("waiting", 0, None, True) == (row["state"], row["tries"], row["lease_token"], row["due_s"] <= 0)
    office.mailbox.hold.set()


async def test_a_server_that_hangs_holds_up_no_slot_for_long(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try has an end, and ends before its lease does."""
    monkeypatch.setattr(lane, "TRY_S", 0.2)
    office.mailbox.hold = asyncio.Event()
    await office.post()
    async with asyncio.timeout(10):
        await take_mail(office.context, office.server)
    assert "the mail server did not answer in time" == (await office.row())["reason"]
    office.mailbox.hold.set()


async def test_old_letters_are_forgotten(office: Office) -> None:
    """Thirty days after their end; what waits stays."""
    await office.post(count=3)
    await office.superuser.execute(
        """
        UPDATE mails SET state = CASE WHEN id < 3 THEN 'sent' ELSE 'waiting' END::mail_state,
            finished_at = CASE id WHEN 1 THEN now() - interval '30 days 1 minute' WHEN 2 THEN now() - interval '29 days' END
        """
    )
    await Sweeper(office.context, ())._forget_mails()
    assert [2, 3] == [row["id"] for row in await office.superuser.fetch("SELECT id FROM mails ORDER BY id")]


# ------------------------------------------------------------------------------------------------ encryption


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate for localhost that nobody trusts unless told to."""

    path: Path
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return Certificate(path=path, context=context)


async def send_by(url: str, **networks: Any) -> str:
    """Send a letter; return "sent", or why not."""
    server = MailServer(url, sender=SENDER, **networks)
    try:
        await server.send(ANN, b"Subject: s\r\n\r\nb\r\n", limit_s=10)
    except NotSent as error:
        return str(error)
    finally:
        await server.close()
    return "sent"


@pytest.mark.parametrize(
    ("offers", "is_trusted", "url", "networks", "outcome", "is_encrypted"),
    [
        ("nothing", False, "smtp://ann:right@localhost:{}", {}, "sent", False),
        ("nothing", False, "smtp://ann:right@localhost:{}", {"plain": ()}, "offer STARTTLS", None),
        ("starttls", True, "smtp://ann:right@localhost:{}", {"plain": ()}, "sent", True),
        ("starttls", False, "smtp://ann:right@localhost:{}", {"plain": ()}, "certificate", None),
        ("starttls", True, "smtp://ann:right@127.0.0.1:{}", {"plain": ()}, "certificate", None),
        ("starttls", False, "smtp://ann:right@localhost:{}", {}, "sent", True),
        ("tls", True, "smtps://ann:right@localhost:{}", {}, "sent", True),
        ("tls", False, "smtps://ann:right@localhost:{}", {}, "certificate", None),
    ],
)
async def test_a_password_goes_encrypted_or_not_at_all(
    offers: str,
    is_trusted: bool,  # noqa: FBT001 - a case's value
    url: str,
    networks: dict[str, Any],
    outcome: str,
    is_encrypted: bool | None,  # noqa: FBT001
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond this machine and the operator's networks: STARTTLS or TLS, with a certificate for that name, before anything."""
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    contexts = {offers: certificate.context} if offers != "nothing" else {}
    async with open_mailbox(**contexts) as mailbox:
        said = await send_by(url.format(mailbox.port), **networks)
        assert outcome in said
        assert ([("ann", "right", is_encrypted)] if said == "sent" else []) == mailbox.logins
        assert (said == "sent") == bool(mailbox.messages)


async def test_a_wrong_password_is_the_operators_to_mend(mailbox: Mailbox) -> None:
    """It is tried again, and the reason says what was refused; user and password may hold any letter."""
    assert "user and password were refused: 535" == await send_by(f"smtp://a%40b:wr%3Ang@127.0.0.1:{mailbox.port}")
    assert ("a@b", "wr:ng") in [login[:2] for login in mailbox.logins]


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    """Refused connections and names that mean nothing are no end."""
    assert "the mail server cannot be reached, or hung up" == await send_by("smtp://127.0.0.1:1")
    assert "the mail server cannot be reached, or hung up" == await send_by("smtp://mail.invalid:25")
