"""Settings of all processes, read once from BANKFEED_* variables. The only place that looks at the environment.

Every problem is reported at once, each in one sentence that says what was expected and what came; unknown names are
refused, because a misspelt setting that is silently ignored is worse than a process that does not start.
"""

import dataclasses
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from bankfeed.errors import SettingsError
from bankfeed.failpoints import Failpoint, read_failpoint
from bankfeed.links import Signer
from bankfeed.night import Night, read_night
from bankfeed.people import clean_email, is_email
from bankfeed.sealing import Sealer, read_keys

PREFIX = "BANKFEED_"
ROOT = Path(__file__).parents[1]
FOREIGN_PREFIXES = ("BANKFEED_FINBANK_", "BANKFEED_TEST_")  # read by the sandbox bank and by the tests


class Secret:
    """A text that prints as ***; `reveal()` is the only way to it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***" if self._text else "''"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def whole(low: int, high: int) -> Callable[[str], int]:
    """Read a whole number within bounds, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,9}", text.strip()) or not low <= int(text) <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Read one word of a closed list."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError("one of " + ", ".join(words))
        return text

    return read


def url_of(*schemes: str) -> Callable[[str], str]:
    """Read a URL with one of the schemes and a host, or nothing."""

    def read(text: str) -> str:
        try:
            parts = urlsplit(text)
            is_good = not text or (parts.scheme in schemes and bool(parts.hostname or parts.path))
            _ = parts.port
        except ValueError:
            is_good = False
        if not is_good:
            raise ValueError("a URL like " + " or ".join(f"{scheme}://host:port/..." for scheme in schemes))
        return text

    return read


def secret_url_of(*schemes: str) -> Callable[[str], Secret]:
    """Read a URL that carries a password."""
    read_url = url_of(*schemes)
    return lambda text: Secret(read_url(text))


def mail_server(text: str) -> Secret:
    """Read the URL of a mail server, or nothing."""
    url = secret_url_of("smtp", "smtps")(text)
    parts = urlsplit(text)
    if text and (not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment):
        raise ValueError("a URL like smtp://user:password@host:587 or smtps://user:password@host:465")
    return url


def mail_address(text: str) -> str:
    """Read an e-mail address, or nothing."""
    address = clean_email(text)
    if address and not is_email(address):
        raise ValueError("an e-mail address like bankfeed@firm.example")
    return address


def sealing_keys(text: str) -> Secret:
    """Read the keys that seal secrets at rest, or nothing."""
    read_keys(text)
    return Secret(text)


def folder(text: str) -> Path:
    """Read a folder; a relative one is beside the checkout's files, wherever the command is called."""
    if not text.strip():
        raise ValueError("a folder")
    return ROOT / Path(text).expanduser()


def networks(text: str) -> tuple[Network, ...]:
    """Read a comma-separated list of networks in CIDR notation; empty is none."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("networks like 10.0.0.0/8,127.0.0.0/8") from None


def origins(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of origins, as browsers write them; empty is none."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not all(re.fullmatch(r"https?://[a-z0-9.:-]+", part) for part in parts):
        raise ValueError("origins like https://app.firm.example,https://books.firm.example")
    return parts


def pattern_of(*names: str) -> Callable[[str], str]:
    """Read a text that holds each name once, in braces."""

    def read(text: str) -> str:
        if sorted(re.findall(r"\{(.*?)\}", text)) != sorted(names):
            raise ValueError("a text with " + ", ".join(f"{{{name}}}" for name in names) + ", each once")
        return text

    return read


def setting(read: Callable[[str], Any], default: str, text: str) -> Any:
    """Declare one setting: how it is read, its default as written in the environment, and a sentence about it."""
    return dataclasses.field(metadata={"read": read, "default": default, "text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """What the classes below share: reading themselves from an environment."""

    @classmethod
    def names(cls) -> dict[str, dataclasses.Field[Any]]:
        """Map each environment name to its field."""
        return {PREFIX + field.name.upper(): field for field in dataclasses.fields(cls)}

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read every setting. Raises SettingsError that lists every problem, one a line."""
        problems = [f"unknown setting {name}; see deploy/settings.env" for name in sorted(_unknown(environ))]
        values: dict[str, Any] = {}
        for name, field in cls.names().items():
            text = environ.get(name, field.metadata["default"])
            try:
                values[field.name] = field.metadata["read"](text)
            except ValueError as error:
                shown = "***" if "Secret" in str(field.type) else repr(text)
                problems.append(f"expected {name} to be {error}, got {shown}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EnvironmentSettings):
    """What ingress and worker run with."""

    REQUIRED_BY_COMMANDS: ClassVar = ("database_url", "queue_database_url")
    REQUIRED: ClassVar = (*REQUIRED_BY_COMMANDS, "secret_keys")

    database_url: Secret = setting(
        secret_url_of("postgres", "postgresql"), "", "Postgres, as the role bankfeed_app (or a role made like it)."
    )
    queue_database_url: Secret = setting(
        secret_url_of("postgres", "postgresql"), "", "The same database, as the role bankfeed_queue."
    )
    redis_url: Secret = setting(
        secret_url_of("redis", "rediss", "unix"), "", "Redis for wake-ups; without it the sweeps do all the work."
    )
    secret_keys: Secret = setting(
        sealing_keys,
        "",
        "Keys that seal endpoints' secrets, as name:base64 of 32 bytes; the first seals, all open. `bankfeed secrets new-key`.",
    )
    environment: str = setting(
        one_of("sandbox", "live"),
        "sandbox",
        "What this deployment is: a sandbox links pretend banks only, live never does; neither takes the other's tokens.",
    )
    host: str = setting(str, "127.0.0.1", "Address that ingress and the worker's probes listen on.")
    port: int = setting(whole(1, 65535), "8780", "Port of ingress.")
    worker_port: int = setting(whole(1, 65535), "8781", "Port of the worker's probes and metrics.")
    log_format: str = setting(one_of("json", "console"), "json", "How log lines are written.")

    finicity_url: str = setting(url_of("https", "http"), "https://api.finicity.com", "The aggregator's API.")
    finicity_partner_id: str = setting(str, "", "Partner id at the aggregator.")
    finicity_partner_secret: Secret = setting(Secret, "", "Partner secret at the aggregator.")
    finicity_app_key: Secret = setting(Secret, "", "App key at the aggregator.")
    finicity_customer_kind: str = setting(
        one_of("testing", "active"), "testing", "Whether clients become testing or (billable) active customers there."
    )
    finicity_card_sign: str = setting(
        one_of("holder", "inverted"),
        "holder",
        "How card and loan amounts arrive: holder = a purchase is negative, inverted = a purchase is positive.",
    )
    finicity_widget: str = setting(
        one_of("own", "theirs"),
        "theirs",
        "Whose widget links banks: theirs is Finicity Connect, own is Bankfeed's, for aggregators that answer the legacy"
        " interactive calls, as Finbank does.",
    )

    txpush_pattern: str = setting(
        pattern_of("content_type", "host", "body"),
        "{content_type}{host}{body}",
        "What Finicity's TxPUSH signs (body: its Base64); order and separators are documented nowhere, so verify them.",
    )
    plaid_url: str = setting(
        url_of("https", "http"),
        "https://production.plaid.com",
        "Plaid's API, which gives out the keys of its webhooks.",
    )
    plaid_client_id: str = setting(str, "", "Client id at Plaid; its webhooks are 503 without it.")
    plaid_secret: Secret = setting(Secret, "", "Secret at Plaid, of the same environment as the URL.")
    plaid_s: int = setting(whole(1, 30), "3", "Seconds that Plaid may take to give out a key.")

    lease_s: int = setting(
        whole(3, 3600), "60", "Seconds that a claim of events or of a connection lasts unless renewed."
    )
    sweep_s: int = setting(whole(1, 3600), "5", "Seconds between sweeps, which do all the work when Redis is away.")
    grace_s: int = setting(whole(1, 3600), "25", "Seconds that work in progress may take after SIGTERM.")
    refresh_slots: int = setting(whole(1, 1000), "16", "Refreshes at a time in one worker.")
    delivery_slots: int = setting(whole(1, 1000), "500", "Deliveries at a time in one worker.")
    history_days: int = setting(whole(1, 730), "180", "Days of history asked for when an account is new.")
    refresh_days: int = setting(whole(15, 180), "30", "Days re-read at each refresh; institutions change up to 15.")
    bank_refresh_s: int = setting(
        whole(10, 900), "180", "Seconds that the aggregator may take to ask a bank; it goes on when that is over."
    )
    update_hours: int = setting(
        whole(1, 168),
        "30",
        "Hours until a connection is pulled although no event came; 30 let each keep its own moment of the night.",
    )
    night: Night = setting(
        read_night,
        "01:00-06:00",
        "Hours of an institution's own clock in which its connections are pulled by schedule.",
    )
    institution_slots: int = setting(whole(1, 1000), "8", "Refreshes at a time at one institution, of all workers.")
    listed_clients: int = setting(
        whole(1, 10_000), "100", "Clients whose accounts are listed, at most, to find an unknown account id."
    )

    body_bytes: int = setting(whole(1024, 262_144), "262144", "Largest webhook body.")
    body_s: int = setting(whole(1, 120), "10", "Seconds that a webhook body may take to arrive.")
    waiting_events: int = setting(whole(1, 100_000), "2000", "Events waiting for a commit before ingress says 503.")
    pool_connections: int = setting(whole(1, 200), "10", "Postgres connections of each pool of a process.")
    statement_cache: int = setting(whole(0, 1000), "200", "Prepared statements a connection keeps; 0 for PgBouncer.")
    database_s: int = setting(whole(1, 600), "30", "Seconds that one statement may take.")

    attempt_s: int = setting(
        whole(1, 60), "15", "Seconds that one delivery attempt may take; its claim lasts 10 s longer."
    )
    outbound_allow: tuple[Network, ...] = setting(
        networks, "", "Private networks that endpoints may be in; a plain http URL is accepted there only."
    )
    smtp_url: Secret = setting(
        mail_server,
        "",
        "Mail server, smtp://user:password@host:587 or smtps://...:465; empty sends no e-mail. smtp:// has to offer STARTTLS,"
        " but on this machine and in BANKFEED_OUTBOUND_ALLOW.",
    )
    mail_from: str = setting(mail_address, "", "Address that e-mail is from; needed where BANKFEED_SMTP_URL is set.")
    registration: str = setting(
        one_of("open", "closed"),
        "closed",
        "Whether anybody may register; else `bankfeed customers add` makes customers.",
    )
    token_hours: int = setting(whole(1, 720), "12", "Hours that a token lasts.")
    calls_per_minute: int = setting(
        whole(1, 1_000_000), "1200", "API requests a minute of one token or key, in each ingress."
    )
    cors_origins: tuple[str, ...] = setting(
        origins, "", "Origins whose pages may call the API from a browser, comma-separated; none by default."
    )
    public_url: str = setting(
        url_of("https", "http"),
        "",
        "Where people reach ingress, as https://feeds.firm.example: widget addresses begin so; empty is as each request came.",
    )
    widget_frames: tuple[str, ...] = setting(
        origins, "", "Origins whose pages may hold the widget in a frame, comma-separated; none by default."
    )
    trusted_proxies: tuple[Network, ...] = setting(
        networks, "", "Networks of the proxies before ingress, whose X-Forwarded-For is believed."
    )
    erase_days: int = setting(whole(0, 365), "30", "Days until all of a deleted client is erased.")
    audit_days: int = setting(whole(30, 3650), "730", "Days that the audit log is kept.")
    inbox_days: int = setting(whole(14, 730), "30", "Days that inbound events are kept.")
    outbox_days: int = setting(whole(14, 730), "90", "Days that events, deliveries and attempts are kept.")
    failpoint: tuple[Failpoint, int] | None = setting(
        read_failpoint, "", "For tests of faults only: where the process kills itself, as NAME:N; see failpoints.py."
    )

    def signer(self) -> Signer:
        """Make what signs addresses."""
        return Signer(read_keys(self.secret_keys.reveal()))

    def sealer(self) -> Sealer:
        """Make what seals and opens secrets at rest."""
        return Sealer(read_keys(self.secret_keys.reveal()), random_bytes=os.urandom)

    @classmethod
    def for_process(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings of a process that cannot run without Postgres and the keys. Raises SettingsError."""
        return cls._with(cls.REQUIRED, environ)

    @classmethod
    def for_command(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings of a command that needs Postgres and opens no secret. Raises SettingsError."""
        return cls._with(cls.REQUIRED_BY_COMMANDS, environ)

    @classmethod
    def _with(cls, required: tuple[str, ...], environ: Mapping[str, str]) -> Self:
        settings = cls.from_environ(environ)
        missing = [f"expected {PREFIX}{name.upper()} to be set" for name in required if not getattr(settings, name)]
        if settings.smtp_url and not settings.mail_from:
            missing.append(f"expected {PREFIX}MAIL_FROM to be set, because {PREFIX}SMTP_URL is")
        if missing:
            raise SettingsError("\n".join(missing))
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings(EnvironmentSettings):
    """What the `bankfeed` command adds: running everything on one machine, and loading the schema."""

    owner_database_url: Secret = setting(
        secret_url_of("postgres", "postgresql"), "", "Postgres, as the role that loads the schema and makes sources."
    )
    data: Path = setting(folder, ".bankfeed", "Folder of the local Postgres, Redis and Finbank, and of run.env.")
    postgres_port: int = setting(whole(0, 65535), "0", "Port of the local Postgres; 0 picks a free one.")
    postgres_bin: str = setting(str, "", "Folder of Postgres programs to use instead of the ones found.")
    redis_port: int = setting(whole(0, 65535), "0", "Port of the local Redis; 0 picks a free one.")
    finbank_port: int = setting(whole(1, 65535), "8790", "Port of Finbank, the sandbox bank.")
    listen_port: int = setting(whole(1, 65535), "8799", "Port of `bankfeed listen`.")
    listen_secret: Secret = setting(Secret, "", "Secret of the endpoint that `bankfeed listen` answers for.")
    finbank_smtp_port: int = setting(
        whole(0, 65535), "0", "Port where Finbank's mailbox takes e-mail; 0 picks a free one."
    )
    finbank_day_s: int = setting(whole(1, 86_400), "20", "Seconds that a bank day lasts in the demo.")
    finbank_dialect: str = setting(
        one_of("ledgersync", "finicity", "none"), "ledgersync", "Whose webhooks Finbank sends."
    )


def process_environ() -> dict[str, str]:
    """Return a copy of this process's environment, to start others with."""
    return dict(os.environ)


def _unknown(environ: Mapping[str, str]) -> set[str]:
    known = Settings.names().keys() | LocalSettings.names().keys()
    return {
        name
        for name in environ
        if name.startswith(PREFIX) and name not in known and not name.startswith(FOREIGN_PREFIXES)
    }


def describe() -> str:
    """Return every setting with its sentence and its default, as an environment file: what deploy/settings.env is."""
    parts = [
        "# Every setting with its default, made by `python -m bankfeed.settings`. A misspelt name is refused.",
        *(_describe_class(cls) for cls in (Settings, LocalSettings)),
    ]
    return "\n\n".join(parts) + "\n"


def _describe_class(cls: type[EnvironmentSettings]) -> str:
    required = getattr(cls, "REQUIRED", ())
    entries = [
        f"# {field.metadata['text']}{' Required.' * (field.name in required)}\n{name}={field.metadata['default']}"
        for name, field in cls.names().items()
    ]
    return "\n\n".join([f"# ---- {cls.__doc__}", *entries])


if __name__ == "__main__":
    sys.stdout.write(describe())
