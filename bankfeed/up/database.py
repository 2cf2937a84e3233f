"""Make the database ready: roles, schema, the platform's two sources. Postgres is ours, or one that settings name.

The processes connect as bankfeed_app and bankfeed_queue, whoever loads the schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from bankfeed.db import Connection, Database
from bankfeed.db.owner import (
    NotAllowed,
    can_connect,
    connect_owner,
    list_missing_roles,
    set_password,
    upsert_database,
    upsert_owner,
)
from bankfeed.db.schema import load_schema
from bankfeed.db.source import Source, find_source, upsert_platform_source
from bankfeed.errors import SettingsError
from bankfeed.local import LocalPostgres
from bankfeed.settings import LocalSettings, Settings
from bankfeed.up.keys import Keys

OWNER: Final = "bankfeed_owner"
DATABASE: Final = "bankfeed"
APP: Final = "bankfeed_app"
QUEUE: Final = "bankfeed_queue"
ROLES: Final = (APP, QUEUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """The database, as each of the two roles that serve."""

    app: str
    queue: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The platform's doors. `finicity` is the feed itself; `ledgersync` speaks its ids and is known by its path."""

    finicity: Source
    ledgersync: Source


async def prepare_local(postgres: LocalPostgres, keys: Keys) -> Urls:
    """Make everything in our own Postgres. Safe to repeat."""
    password = keys.get("owner_password")
    async with connect_owner(postgres.url()) as conn:
        await upsert_owner(conn, role=OWNER, password=password)
        await upsert_database(conn, name=DATABASE, owner=OWNER)
    async with connect_owner(postgres.url(OWNER, DATABASE, password)) as conn:
        await _load(conn, keys, own_roles=ROLES)
    return _with_kept_passwords(postgres.url(database=DATABASE), keys)


async def prepare_given(settings: Settings, local: LocalSettings, keys: Keys) -> Urls:
    """Make what is missing in the Postgres that the settings name, as far as they name an owner. Safe to repeat.

    Raises:
        SettingsError: What is missing cannot be made with these settings; the text says which to set.
    """
    app, queue = settings.database_url.reveal(), settings.queue_database_url.reveal()
    owner = local.owner_database_url.reveal() or ("" if queue else app)
    if owner:
        await _load_as_owner(owner, keys)
    if queue and not app:
        raise SettingsError("expected BANKFEED_DATABASE_URL to be set, with the role bankfeed_app")
    if queue:
        return Urls(app=app, queue=queue)
    urls = _with_kept_passwords(owner, keys)
    await _require_password(APP, urls.app)
    await _require_password(QUEUE, urls.queue)
    return urls


async def get_sources(database: Database) -> Sources:
    """Return the two sources. Raises SettingsError where an owner has still to make them."""
    async with database.queue() as conn:
        finicity, ledgersync = await find_source(conn, "finicity"), await find_source(conn, "ledgersync")
    if finicity is None or ledgersync is None or not (finicity.secrets and ledgersync.secrets):
        raise SettingsError(
            "the database has no sources named finicity and ledgersync yet, and bankfeed_app and bankfeed_queue may not "
            "make them: start once with BANKFEED_OWNER_DATABASE_URL set to the role that owns the tables"
        )
    return Sources(finicity=finicity, ledgersync=ledgersync)


async def _load_as_owner(url: str, keys: Keys) -> None:
    try:
        async with connect_owner(url) as conn:
            missing = await list_missing_roles(conn, ROLES)
            await _load(conn, keys, own_roles=missing)
    except NotAllowed as error:
        raise SettingsError(
            f"the schema cannot be loaded: {error}; set BANKFEED_DATABASE_URL to a role that may create roles and tables, "
            f"or BANKFEED_DATABASE_URL to one of {APP} and BANKFEED_QUEUE_DATABASE_URL to one of {QUEUE}"
        ) from error


async def _load(conn: Connection, keys: Keys, *, own_roles: Sequence[str]) -> None:
    """Load the schema and make the sources, in one transaction; `own_roles` get the passwords that we keep."""
    passwords = {role: keys.get(f"{role}_password") for role in own_roles}
    async with conn.transaction():
        await load_schema(conn)
        for role, password in passwords.items():
            await set_password(conn, role=role, password=password)
        await _make_sources(conn, keys)


async def _make_sources(conn: Connection, keys: Keys) -> None:
    """Make the sources that are missing; those that are there keep their keys, and so their addresses."""
    finicity, ledgersync = await find_source(conn, "finicity"), await find_source(conn, "ledgersync")
    if finicity is not None and finicity.secrets:
        finicity_id = finicity.id
    else:
        finicity_id = await upsert_platform_source(
            conn,
            slug="finicity",
            connector="finicity",
            dialect="finicity",
            verifier="finicity",
            secrets=[keys.get("partner_secret")],
        )
    if ledgersync is None or not ledgersync.secrets:
        await upsert_platform_source(
            conn,
            slug="ledgersync",
            connector="finicity",
            dialect="ledgersync",
            verifier="path",
            secrets=[keys.get("ledgersync_path")],
            bound_to=finicity_id,
        )


def _with_kept_passwords(url: str, keys: Keys) -> Urls:
    app, queue = (with_role(url, role, keys.get(f"{role}_password")) for role in ROLES)
    return Urls(app=app, queue=queue)


def with_role(url: str, role: str, password: str) -> str:
    """Return a database's URL as another role.

    >>> with_role("postgresql://me:old@db.example:5433/books?sslmode=require&user=me", "you", "p@ss")
    'postgresql://you:p%40ss@db.example:5433/books?sslmode=require'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [(name, text) for name, text in parse_qsl(parts.query) if name not in ("user", "password")]
    netloc = f"{quote(role, safe='')}:{quote(password, safe='')}@{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, urlencode(query), ""))


async def _require_password(role: str, url: str) -> None:
    if not await can_connect(url):
        raise SettingsError(
            f"the role {role} was there before, and its password is not known here; set BANKFEED_DATABASE_URL to a URL "
            f"of {APP} and BANKFEED_QUEUE_DATABASE_URL to one of {QUEUE} (and BANKFEED_OWNER_DATABASE_URL to the URL "
            "that you gave, so that the schema is loaded)"
        )
