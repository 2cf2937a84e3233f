"""What each process is started with: the person's own settings, and on top what only this start knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bankfeed.errors import SettingsError
from bankfeed.settings import PREFIX, LocalSettings, Settings
from bankfeed.up.database import Sources, Urls
from bankfeed.up.keys import Keys, new_secret_key, new_signing_secret

LOOPBACK: Final = "127.0.0.0/8,::1/128"
EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not listened on
USUAL: Final = {
    "BANKFEED_GRACE_S": "3",  # Ctrl-C stops everything within seconds
    "BANKFEED_LEASE_S": "15",  # what a kill -9 left unfinished is taken up again soon
    "BANKFEED_REGISTRATION": "open",  # whoever tries the API begins with POST /register
}
MAIL_FROM: Final = "sandbox@bankfeed.example"
PARTNER_ID: Final = "2445583946651"
OF_FINBANK: Final = "BANKFEED_FINBANK_"
NOT_HERE: Final = (
    "BANKFEED_FINICITY_URL",
    "BANKFEED_FINICITY_PARTNER_ID",
    "BANKFEED_FINICITY_PARTNER_SECRET",
    "BANKFEED_FINICITY_APP_KEY",
    "BANKFEED_FINICITY_WIDGET",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The settings that a person started `bankfeed up` with, and the environment they were read from."""

    environ: Mapping[str, str]
    settings: Settings
    local: LocalSettings

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Person":
        """Read both kinds of settings. Raises SettingsError with every problem once."""
        problems: list[str] = []
        for kind in (Settings, LocalSettings):
            try:
                kind.from_environ(environ)
            except SettingsError as error:
                problems += str(error).splitlines()
        problems += [
            f"expected {name} not to be set: `bankfeed up` runs with Finbank" for name in NOT_HERE if environ.get(name)
        ]
        if problems:
            raise SettingsError("\n".join(dict.fromkeys(problems)))
        return cls(environ=environ, settings=Settings.from_environ(environ), local=LocalSettings.from_environ(environ))

    @property
    def ingress_url(self) -> str:
        """Where ingress is reached from this machine."""
        return f"http://{self._reached_host}:{self.settings.port}"

    @property
    def worker_url(self) -> str:
        """Where the worker's probes are reached from this machine."""
        return f"http://{self._reached_host}:{self.settings.worker_port}"

    @property
    def finbank_url(self) -> str:
        """Where Finbank is reached."""
        return f"http://127.0.0.1:{self.local.finbank_port}"

    @property
    def mailbox_url(self) -> str:
        """Where e-mail can be read."""
        return f"{self.finbank_url}/finbank/mailbox"

    @property
    def listen_url(self) -> str:
        """Where `bankfeed listen` is reached."""
        return f"http://127.0.0.1:{self.local.listen_port}/"

    @property
    def _reached_host(self) -> str:
        host = "127.0.0.1" if self.settings.host in EVERYWHERE else self.settings.host
        return f"[{host}]" if ":" in host else host


def desk_url(person: Person, keys: Keys) -> str:
    """Return where a person breaks and mends the pretend banks; who has the address is let in."""
    return f"{person.finbank_url}/finbank/desk/{keys.get('desk_key')}"


def listen_secret(person: Person, keys: Keys) -> str:
    """Return the secret of the endpoint that `bankfeed listen` answers for."""
    return person.local.listen_secret.reveal() or keys.get("listen_secret", new_signing_secret)


def secret_keys(person: Person, keys: Keys) -> str:
    """Return what seals secrets at rest: the person's own keys, else one that is made once."""
    return person.settings.secret_keys.reveal() or keys.get("secret_key", new_secret_key)


def product_environ(person: Person, keys: Keys, urls: Urls, *, redis_url: str, partner_secret: str) -> dict[str, str]:
    """Return the settings of ingress, worker and the commands in another terminal."""
    known = Settings.names()
    own = {name: text for name, text in person.environ.items() if name in known}
    allow = ",".join(part for part in (own.get("BANKFEED_OUTBOUND_ALLOW", ""), LOOPBACK) if part)
    return {
        **USUAL,
        **own,
        "BANKFEED_DATABASE_URL": urls.app,
        "BANKFEED_QUEUE_DATABASE_URL": urls.queue,
        "BANKFEED_REDIS_URL": redis_url,
        "BANKFEED_SECRET_KEYS": secret_keys(person, keys),
        "BANKFEED_HOST": person.settings.host,
        "BANKFEED_PORT": str(person.settings.port),
        "BANKFEED_WORKER_PORT": str(person.settings.worker_port),
        "BANKFEED_LOG_FORMAT": "json",
        "BANKFEED_FINICITY_URL": person.finbank_url,
        "BANKFEED_FINICITY_PARTNER_ID": PARTNER_ID,
        "BANKFEED_FINICITY_PARTNER_SECRET": partner_secret,
        "BANKFEED_FINICITY_APP_KEY": keys.get("app_key"),
        "BANKFEED_FINICITY_WIDGET": "own",
        "BANKFEED_OUTBOUND_ALLOW": allow,
    }


def mail_environ(person: Person, smtp_port: int) -> dict[str, str]:
    """Return the settings that send e-mail to Finbank's mailbox; none where the person named a mail server."""
    if person.settings.smtp_url:
        return {}
    sender = person.settings.mail_from or MAIL_FROM
    return {"BANKFEED_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}", "BANKFEED_MAIL_FROM": sender}


def finbank_environ(
    person: Person, keys: Keys, sources: Sources, *, ledgersync_address: str, finicity_address: str, smtp_port: int
) -> dict[str, str]:
    """Return the settings of Finbank; a person's own BANKFEED_FINBANK_* count where they are not ours to say."""
    return {
        "BANKFEED_FINBANK_CLOCK": "fast",
        **{name: text for name, text in person.environ.items() if name.startswith(OF_FINBANK)},
        "BANKFEED_FINBANK_HOST": "127.0.0.1",
        "BANKFEED_FINBANK_PORT": str(person.local.finbank_port),
        "BANKFEED_FINBANK_SMTP_PORT": str(smtp_port),
        "BANKFEED_FINBANK_DATA": str(finbank_folder(person)),
        "BANKFEED_FINBANK_DAY_S": str(person.local.finbank_day_s),
        "BANKFEED_FINBANK_DIALECT": person.local.finbank_dialect,
        "BANKFEED_FINBANK_PARTNER_ID": PARTNER_ID,
        "BANKFEED_FINBANK_PARTNER_SECRET": sources.finicity.secrets[0],
        "BANKFEED_FINBANK_APP_KEY": keys.get("app_key"),
        "BANKFEED_FINBANK_CONTROL_TOKEN": keys.get("control_token"),
        "BANKFEED_FINBANK_DESK_KEY": keys.get("desk_key"),
        "BANKFEED_FINBANK_LEDGERSYNC_URL": ledgersync_address,
        "BANKFEED_FINBANK_FINICITY_URL": finicity_address,
    }


def command_environ(person: Person, keys: Keys, product: Mapping[str, str]) -> dict[str, str]:
    """Return what run.env says: the product's settings, and those of `bankfeed listen` and of who drives Finbank."""
    return {
        **product,
        "BANKFEED_LISTEN_PORT": str(person.local.listen_port),
        "BANKFEED_LISTEN_SECRET": listen_secret(person, keys),
        "BANKFEED_FINBANK_PORT": str(person.local.finbank_port),
        "BANKFEED_FINBANK_CONTROL_TOKEN": keys.get("control_token"),
    }


def process_environ_of(person: Person, settings: Mapping[str, str]) -> dict[str, str]:
    """Return a whole environment: all that is not Bankfeed's, and these settings."""
    foreign = {name: text for name, text in person.environ.items() if not name.startswith(PREFIX)}
    return {**foreign, "PYTHONUNBUFFERED": "1", **settings}


def finbank_folder(person: Person) -> Path:
    """Return where Finbank keeps its book."""
    return person.local.data / "finbank"
