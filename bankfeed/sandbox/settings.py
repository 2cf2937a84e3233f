"""Finbank's settings, read from BANKFEED_FINBANK_* in one place, every problem reported at once."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from bankfeed.errors import SettingsError
from bankfeed.sandbox.clock import Pace, utc

PREFIX = "BANKFEED_FINBANK_"
KEY = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)


class DialectName(StrEnum):
    """Which webhooks Finbank sends."""

    LEDGERSYNC = "ledgersync"
    FINICITY = "finicity"
    NONE = "none"


class When(StrEnum):
    """After which aggregations the bank announces: those that changed something, or all."""

    CHANGES = "changes"
    ALWAYS = "always"


class SharesName(StrEnum):
    """How odd the bank is: as reconcile.md estimates, or without oddities (the scripted movements stay)."""

    DOCUMENTED = "documented"
    CALM = "calm"


class CardSign(StrEnum):
    """The sign a card purchase has on the wire: the sources conflict, so both can be had."""

    NEGATIVE = "negative"
    POSITIVE = "positive"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinbankSettings:
    """What one Finbank process is started with. `start_at` is bank time at the very first start, None for real time.

    `day_s` is the length of a bank day in real seconds at the fast pace. `history_days` is how much history a newly
    linked account brings, `served_days` how far back the bank lists. `slow_s` is how long the slow user of FinBank's
    table waits for accounts, in real seconds. `smtp_port` is where its mailbox takes e-mail, 0 for nowhere.
    `desk_key` ends the address of the page on which a person breaks and mends banks; "" is no such page.
    """

    data: Path
    partner_secret: str = field(repr=False)
    app_key: str = field(repr=False)
    control_token: str = field(repr=False)
    desk_key: str = field(default="", repr=False)
    partner_id: str = "2445583946651"
    host: str = "127.0.0.1"
    port: int = 8790
    smtp_port: int = 0
    seed: int = 1
    clock: Pace = Pace.FAST
    day_s: float = 20.0
    start_at: datetime | None = None
    history_days: int = 90
    served_days: int = 180
    slow_s: float = 70.0
    shares: SharesName = SharesName.DOCUMENTED
    card_purchases: CardSign = CardSign.NEGATIVE
    dialect: DialectName = DialectName.NONE
    announce: When = When.CHANGES
    txpush: bool = False
    ledgersync_url: str = field(default="", repr=False)  # its path holds the shared secret
    finicity_url: str = ""


def settings_from_environment() -> FinbankSettings:
    """Read the settings of this process; see `read_settings`."""
    return read_settings(os.environ)


def read_settings(environ: Mapping[str, str]) -> FinbankSettings:
    """Read the settings from an environment; names without the prefix are not looked at.

    Raises:
        SettingsError: one line for every problem.
    """
    given = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX)}
    problems = [
        f"expected one of Finbank's settings, got {PREFIX}{name}" for name in sorted(given.keys() - READERS.keys())
    ]
    values: dict[str, object] = {}
    for name, (expected, read) in READERS.items():
        try:
            if name in given:
                values[FIELDS.get(name, name.lower())] = read(given[name])
        except ValueError:
            shown = "***" if name in SECRETS else repr(given[name])
            problems.append(f"expected {PREFIX}{name} to be {expected}, got {shown}")
    problems += _missing(given)
    if problems:
        raise SettingsError("\n".join(problems))
    return FinbankSettings(**values)  # type: ignore[arg-type]  # READERS gives each field its type


def _missing(given: Mapping[str, str]) -> list[str]:
    needed = (*NEEDED, *URL_OF.get(given.get("DIALECT", ""), ()))
    return [f"expected {PREFIX}{name} to be set" for name in needed if name not in given]


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _key(text: str) -> str:
    if not KEY.fullmatch(text):
        raise ValueError
    return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return read


def _seconds(text: str) -> float:
    if not 0.05 <= float(text) <= 86_400:
        raise ValueError
    return float(text)


def _yes_or_no(text: str) -> bool:
    if text.lower() not in {"true", "1", "false", "0"}:
        raise ValueError
    return text.lower() in {"true", "1"}


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError
    return text


NEEDED = ("DATA", "PARTNER_SECRET", "APP_KEY", "CONTROL_TOKEN")
URL_OF = {"ledgersync": ("LEDGERSYNC_URL",), "finicity": ("FINICITY_URL",)}
SECRETS = {"PARTNER_SECRET", "APP_KEY", "CONTROL_TOKEN", "DESK_KEY", "LEDGERSYNC_URL"}
FIELDS = {"START": "start_at"}
READERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "HOST": ("a host name or address", _text),
    "PORT": ("an integer from 0 to 65535", _integer(0, 65_535)),
    "SMTP_PORT": ("an integer from 0 to 65535", _integer(0, 65_535)),
    "DATA": ("a folder", lambda text: Path(_text(text))),
    "SEED": ("an integer from 0 to 1000000000", _integer(0, 10**9)),
    "CLOCK": ("real, fast or manual", Pace),
    "DAY_S": ("seconds from 0.05 to 86400", _seconds),
    "START": ("an instant such as 2026-03-01T06:00:00Z", utc),
    "HISTORY_DAYS": ("an integer from 1 to 730", _integer(1, 730)),
    "SERVED_DAYS": ("an integer from 1 to 730", _integer(1, 730)),
    "SLOW_S": ("seconds from 0.05 to 86400", _seconds),
    "SHARES": ("documented or calm", SharesName),
    "CARD_PURCHASES": ("negative or positive", CardSign),
    "DIALECT": ("ledgersync, finicity or none", DialectName),
    "ANNOUNCE": ("changes or always", When),
    "TXPUSH": ("true or false", _yes_or_no),
    "LEDGERSYNC_URL": ("an http or https URL", _url),
    "FINICITY_URL": ("an http or https URL", _url),
    "PARTNER_ID": ("text", _text),
    "PARTNER_SECRET": ("text", _text),
    "APP_KEY": ("text", _text),
    "CONTROL_TOKEN": ("text", _text),
    "DESK_KEY": ("16 to 200 letters, digits, - and _", _key),
}
