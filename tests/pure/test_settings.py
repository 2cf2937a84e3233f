"""Settings: every problem at once, unknown names refused, secrets never printed."""

import dataclasses
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from bankfeed.errors import SettingsError
from bankfeed.sealing import write_key
from bankfeed.settings import LocalSettings, Secret, Settings, describe

ROOT = Path(__file__).parents[2]
URL = "postgresql://bankfeed_app:tell-nobody@db.internal:5432/bankfeed"
DATABASES = {"BANKFEED_DATABASE_URL": URL, "BANKFEED_QUEUE_DATABASE_URL": URL}
KEY = write_key("k1", b"tell-nobody-of-these-32-bytes---")
REQUIRED = {**DATABASES, "BANKFEED_SECRET_KEYS": KEY}
WHOLE_NUMBERS = [
    ("BANKFEED_PORT", 1, 65535),
    ("BANKFEED_WORKER_PORT", 1, 65535),
    ("BANKFEED_PLAID_S", 1, 30),
    ("BANKFEED_LEASE_S", 3, 3600),
    ("BANKFEED_SWEEP_S", 1, 3600),
    ("BANKFEED_GRACE_S", 1, 3600),
    ("BANKFEED_REFRESH_SLOTS", 1, 1000),
    ("BANKFEED_DELIVERY_SLOTS", 1, 1000),
    ("BANKFEED_HISTORY_DAYS", 1, 730),
    ("BANKFEED_REFRESH_DAYS", 15, 180),
    ("BANKFEED_BANK_REFRESH_S", 10, 900),
    ("BANKFEED_UPDATE_HOURS", 1, 168),
    ("BANKFEED_INSTITUTION_SLOTS", 1, 1000),
    ("BANKFEED_LISTED_CLIENTS", 1, 10_000),
    ("BANKFEED_BODY_BYTES", 1024, 262_144),
    ("BANKFEED_BODY_S", 1, 120),
    ("BANKFEED_WAITING_EVENTS", 1, 100_000),
    ("BANKFEED_POOL_CONNECTIONS", 1, 200),
    ("BANKFEED_STATEMENT_CACHE", 0, 1000),
    ("BANKFEED_DATABASE_S", 1, 600),
    ("BANKFEED_ATTEMPT_S", 1, 60),
    ("BANKFEED_TOKEN_HOURS", 1, 720),
    ("BANKFEED_CALLS_PER_MINUTE", 1, 1_000_000),
    ("BANKFEED_ERASE_DAYS", 0, 365),
    ("BANKFEED_AUDIT_DAYS", 30, 3_650),
    ("BANKFEED_INBOX_DAYS", 14, 730),
    ("BANKFEED_OUTBOX_DAYS", 14, 730),
]


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ(environ)
    return str(raised.value)


def test_nothing_set_gives_the_defaults() -> None:
    """An empty environment is every default, as it is written in the declaration."""
    settings = Settings.from_environ({})
    assert (8780, "json", 60, ()) == (settings.port, settings.log_format, settings.lease_s, settings.outbound_allow)
    assert not settings.database_url


def test_every_default_is_one_that_could_be_set() -> None:
    """Naming every setting with its default changes nothing."""
    said = {name: field.metadata["default"] for name, field in Settings.names().items()}
    assert Settings.from_environ({}) == Settings.from_environ(said)


def test_every_problem_is_reported_at_once() -> None:
    """Each problem is one line that says what was expected and what came."""
    lines = refusal(
        {
            "BANKFEED_PORT": "eighty",
            "BANKFEED_LOG_FORMAT": "xml",
            "BANKFEED_FINICITY_URL": "ftp://bank",
            "BANKFEED_OUTBOUND_ALLOW": "10.0.0.0/40",
            "BANKFEED_PROT": "8780",
        }
    ).splitlines()
    assert [
        "unknown setting BANKFEED_PROT; see deploy/settings.env",
        "expected BANKFEED_PORT to be an integer from 1 to 65535, got 'eighty'",
        "expected BANKFEED_LOG_FORMAT to be one of json, console, got 'xml'",
        "expected BANKFEED_FINICITY_URL to be a URL like https://host:port/... or http://host:port/..., got 'ftp://bank'",
        "expected BANKFEED_OUTBOUND_ALLOW to be networks like 10.0.0.0/8,127.0.0.0/8, got '10.0.0.0/40'",
    ] == lines


def test_other_peoples_variables_are_left_alone() -> None:
    """Names without our prefix, and those of the sandbox bank and of the tests, are no unknown settings."""
    environ = {"PATH": "/bin", "BANKFEED_FINBANK_SEED": "1", "BANKFEED_TEST_POSTGRES": "x", "BANKFEED_DATA": "/data"}
    assert 8780 == Settings.from_environ(environ).port


def test_a_process_needs_both_databases_and_keys() -> None:
    """Without its required settings a process does not start, and hears of all of them at once."""
    with pytest.raises(SettingsError) as raised:
        Settings.for_process({})
    assert [
        "expected BANKFEED_DATABASE_URL to be set",
        "expected BANKFEED_QUEUE_DATABASE_URL to be set",
        "expected BANKFEED_SECRET_KEYS to be set",
    ] == str(raised.value).splitlines()
    assert URL == Settings.for_process(REQUIRED).database_url.reveal()


@pytest.mark.parametrize(
    "url", ["smtp://a%40b:c@mail.firm.example:587", "smtps://mail.firm.example", "smtp://[::1]:25"]
)
def test_a_mail_server_needs_a_sender(url: str) -> None:
    """Whoever may send has to say in whose name, and both are off by default."""
    given = {**REQUIRED, "BANKFEED_SMTP_URL": url}
    with pytest.raises(SettingsError, match="expected BANKFEED_MAIL_FROM to be set, because BANKFEED_SMTP_URL is"):
        Settings.for_process(given)
    settings = Settings.for_process({**given, "BANKFEED_MAIL_FROM": "Feeds@Firm.example"})
    assert (url, "feeds@firm.example") == (settings.smtp_url.reveal(), settings.mail_from)
    assert not Settings.for_process(REQUIRED).smtp_url


@pytest.mark.parametrize(
    "url", ["https://mail", "smtp:///mail", "smtp://user:tell-nobody@", "smtp://a:tell-nobody#1@mail"]
)
def test_a_mail_server_that_cannot_be_one_is_refused_without_its_password(url: str) -> None:
    """The refusal says what one looks like, and repeats nothing."""
    said = refusal({"BANKFEED_SMTP_URL": url, "BANKFEED_MAIL_FROM": "firm"})
    assert "expected BANKFEED_SMTP_URL to be a URL like smtp" in said
    assert "expected BANKFEED_MAIL_FROM to be an e-mail address like bankfeed@firm.example, got 'firm'" in said
    assert "tell-nobody" not in said


def test_a_command_that_opens_no_secret_needs_no_keys() -> None:
    """It needs both databases all the same; keys that are set are read, and refused where they cannot be used."""
    assert URL == Settings.for_command(DATABASES).database_url.reveal()
    with pytest.raises(SettingsError, match="expected BANKFEED_QUEUE_DATABASE_URL to be set"):
        Settings.for_command({"BANKFEED_DATABASE_URL": URL})
    with pytest.raises(SettingsError, match="expected BANKFEED_SECRET_KEYS to be keys like"):
        Settings.for_command({**DATABASES, "BANKFEED_SECRET_KEYS": "k1"})


def test_the_first_key_seals() -> None:
    """The keys become what seals: the first of the list, with a nonce of its own each time."""
    sealer = Settings.from_environ({"BANKFEED_SECRET_KEYS": f"{KEY}, {write_key('k0', bytes(32))}"}).sealer()
    sealed = {sealer.seal("text", of="tests") for _ in range(2)}
    assert 2 == len(sealed)
    assert {"sealed:k1:"} == {each[:10] for each in sealed}


@pytest.mark.parametrize("text", ["tell-nobody", "k1:tell-nobody", f"{KEY},{KEY}", f"{KEY}x"])
def test_refused_keys_are_not_repeated(text: str) -> None:
    """A key that cannot be used is as secret as one that can: neither the refusal nor its chain has it."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({"BANKFEED_SECRET_KEYS": text})
    assert (
        "expected BANKFEED_SECRET_KEYS to be keys like name:base64 of 32 bytes, comma-separated, each name and each key once, "
        "got ***" == str(raised.value)
    )
    assert (None, None) == (raised.value.__cause__, raised.value.__context__)


@pytest.mark.parametrize(("name", "low", "high"), WHOLE_NUMBERS)
def test_whole_numbers_are_bounded(name: str, low: int, high: int) -> None:
    """Both bounds are allowed, one beyond is refused."""
    field = name.removeprefix("BANKFEED_").lower()
    assert [low, high] == [getattr(Settings.from_environ({name: str(n)}), field) for n in (low, high)]
    for beyond in (low - 1, high + 1):
        assert f"expected {name} to be an integer from {low} to {high}, got '{beyond}'" == refusal({name: str(beyond)})


@pytest.mark.parametrize("text", ["*", "app.firm.example", "https://app.firm.example/path", "https://a.example b"])
def test_origins_are_as_browsers_write_them(text: str) -> None:
    """An origin is a scheme and a host; a star would let every page in."""
    assert "expected BANKFEED_CORS_ORIGINS to be origins like" in refusal({"BANKFEED_CORS_ORIGINS": text})
    good = "https://app.firm.example, http://localhost:3000"
    assert ("https://app.firm.example", "http://localhost:3000") == Settings.from_environ(
        {"BANKFEED_CORS_ORIGINS": good}
    ).cors_origins


@pytest.mark.parametrize(
    "text", ["", "{body}{host}", "{content_type}{host}{body}{body}", "{content_type}{host}{body}{secret}"]
)
def test_a_pattern_has_each_part_once(text: str) -> None:
    """What TxPUSH signs is made of three parts, each once; a part that is missing would be left unproven."""
    expected = "expected BANKFEED_TXPUSH_PATTERN to be a text with {content_type}, {host}, {body}, each once"
    assert f"{expected}, got {text!r}" == refusal({"BANKFEED_TXPUSH_PATTERN": text})
    good = "{host}|{content_type}|{body}"
    assert good == Settings.from_environ({"BANKFEED_TXPUSH_PATTERN": good}).txpush_pattern


def test_every_whole_number_is_tested() -> None:
    """The table above leaves out no setting."""
    assert {name for name, _, _ in WHOLE_NUMBERS} == {
        name for name, field in Settings.names().items() if field.type is int
    }


@pytest.mark.parametrize("text", ["", " ", "8e3", "80.0", "--80", "²", "9" * 5000, "eighty", "0x50"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    """Whatever was written, the sentence is the same."""
    assert f"expected BANKFEED_PORT to be an integer from 1 to 65535, got {text!r}" == refusal({"BANKFEED_PORT": text})


@pytest.mark.parametrize("cls", [Settings, LocalSettings])
def test_what_is_secret_is_declared_so(cls: type[Settings] | type[LocalSettings]) -> None:
    """A URL with a password, a key and a secret are of the type that prints as ***."""
    for field in dataclasses.fields(cls):
        is_told = field.name.endswith(
            ("database_url", "redis_url", "smtp_url", "secret", "key", "keys", "password", "token")
        )
        assert is_told == (field.type is Secret), field.name


def test_secrets_never_print() -> None:
    """Neither settings nor a secret show it, however they are printed."""
    settings = Settings.from_environ({**REQUIRED, "BANKFEED_FINICITY_PARTNER_SECRET": "tell-nobody"})
    secret = settings.finicity_partner_secret
    printed = [
        repr(settings),
        str(settings),
        repr(secret),
        str(secret),
        f"{secret}",
        repr(dataclasses.asdict(settings)),
        repr(settings.sealer()),
        repr(vars(settings.sealer())),
    ]
    assert not [text for text in printed if "tell-nobody" in text or KEY[3:] in text]
    assert ["***", "''"] == [repr(secret), repr(Secret(""))]
    assert "tell-nobody" == secret.reveal()


@pytest.mark.parametrize("url", ["mysql://u:tell-nobody@h/d", "postgresql://u:tell-nobody@h:99999/d", "tell-nobody"])
def test_a_refused_url_is_not_repeated(url: str) -> None:
    """The text of a refusal holds no password, nor does the error's chain."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({"BANKFEED_DATABASE_URL": url})
    assert str(raised.value).startswith("expected BANKFEED_DATABASE_URL to be a URL like postgres://host:port/... or")
    assert str(raised.value).endswith("got ***")
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_networks_are_read() -> None:
    """Networks are separated by commas; blanks and empty places do not count."""
    settings = Settings.from_environ({"BANKFEED_OUTBOUND_ALLOW": "10.0.0.0/8, fd00::/8,"})
    assert (ip_network("10.0.0.0/8"), ip_network("fd00::/8")) == settings.outbound_allow


def test_the_settings_file_is_what_the_code_says() -> None:
    """deploy/settings.env has every setting with its sentence and its default; `python -m bankfeed.settings` makes it."""
    made = subprocess.run(
        [sys.executable, "-m", "bankfeed.settings"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert describe() == made.stdout == (ROOT / "deploy/settings.env").read_text()


def test_the_settings_file_can_be_used() -> None:
    """Its lines, read as an environment, are every setting with its default."""
    lines = [line for line in describe().splitlines() if line and not line.startswith("#")]
    environ = dict(line.split("=", 1) for line in lines)
    assert environ.keys() == Settings.names().keys() | LocalSettings.names().keys()
    assert Settings.from_environ({}) == Settings.from_environ(environ)
