"""`bankfeed send-event`: post a file to an ingress as a source's sender would."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bankfeed.db import Database
from bankfeed.db.source import Source, find_source
from bankfeed.door import find_address, send, sign
from bankfeed.errors import SettingsError
from bankfeed.runenv import get_environ
from bankfeed.settings import Settings

USUAL_SOURCE = "ledgersync"
WEBHOOKS = "/webhooks/"


def run_send(file: Path, *, url: str | None, slug: str | None) -> int:
    """Send one event and print the answer; return 0 where it was accepted, else 1.

    An address whose path holds its secret needs nothing else; for the others the source is looked up in the database.

    Raises:
        SettingsError: There is no such file or source, or nothing says where to look.
        Unavailable: Nobody answers.
    """
    body = _read(file)
    path = _check_url(url)
    if url is not None and slug is None and path.startswith(WEBHOOKS):
        named, _, secret = path.removeprefix(WEBHOOKS).strip("/").partition("/")
        if secret:
            return asyncio.run(_send(url, body, {}))
        slug = named
    return asyncio.run(_send_as_source(body, url=url, slug=slug or USUAL_SOURCE))


async def _send_as_source(body: bytes, *, url: str | None, slug: str) -> int:
    environ = get_environ()
    settings = Settings.for_command({**environ, "BANKFEED_POOL_CONNECTIONS": "1"})
    source = await _find(settings, slug)
    if not source.secrets:
        raise SettingsError(f"the source {slug!r} has no key to sign with")
    base = url if url is not None else f"http://{_reached(settings.host)}:{settings.port}"
    is_full = url is not None and WEBHOOKS in url and source.verifier != "path"
    address = base if is_full else find_address(base.partition(WEBHOOKS)[0].rstrip("/"), slug, source)
    return await _send(address, body, sign(source, body, address=address, txpush_pattern=settings.txpush_pattern))


async def _send(address: str, body: bytes, headers: dict[str, str]) -> int:
    answer = await send(address, body, headers)
    print(f"{answer.status} {answer.body.strip()}")  # noqa: T201 - what the command is for
    return 0 if answer.is_accepted else 1


async def _find(settings: Settings, slug: str) -> Source:
    database = await Database.connect(settings)
    try:
        async with database.queue() as conn:
            source = await find_source(conn, slug)
    finally:
        await database.close()
    if source is None:
        raise SettingsError(f"expected --source to name a source of the database, got {slug!r}")
    return source


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror}") from error


def _check_url(url: str | None) -> str:
    """Return the path of an address that can be sent to."""
    if url is None:
        return ""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good:
        raise SettingsError(f"expected --to to be a URL like http://127.0.0.1:8780, got {url!r}")
    return parts.path


def _reached(host: str) -> str:
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - recognised, not listened on
    return f"[{host}]" if ":" in host else host
