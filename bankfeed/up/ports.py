"""Ports: free before anything starts, answering before anything goes on."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from bankfeed.errors import SettingsError, Unavailable
from bankfeed.local.server import HOST, free_port
from bankfeed.settings import LocalSettings, Settings
from bankfeed.up.environ import Person

FREE_LIMIT_S: Final = 1.0  # what a killed run left behind is gone by then
READY_LIMIT_S: Final = 30.0
POLL_S: Final = 0.05
PROBE: Final = aiohttp.ClientTimeout(total=2)


def check_ports(settings: Settings, local: LocalSettings) -> None:
    """Refuse ports that are taken, all at once. Raises SettingsError naming the settings."""
    wanted = (
        (settings.host, settings.port, "BANKFEED_PORT"),
        (settings.host, settings.worker_port, "BANKFEED_WORKER_PORT"),
        (HOST, local.finbank_port, "BANKFEED_FINBANK_PORT"),
    )
    if len({port for _, port, _ in wanted} | {local.listen_port}) < len(wanted) + 1:
        raise SettingsError(
            "expected BANKFEED_PORT, BANKFEED_WORKER_PORT, BANKFEED_FINBANK_PORT and BANKFEED_LISTEN_PORT to differ"
        )
    deadline = time.monotonic() + FREE_LIMIT_S
    while taken := [(port, name) for host, port, name in wanted if not _is_free(port, host)]:
        if time.monotonic() > deadline:
            raise SettingsError("\n".join(f"port {port} is taken; set {name} to a free port" for port, name in taken))
        time.sleep(POLL_S)


def pick_port(wanted: int) -> int:
    """Return the port that is wanted, for 0 a free one. Raises SettingsError where it is taken."""
    if (port := free_port(wanted)) is None:
        raise SettingsError(f"port {wanted} is taken; set BANKFEED_FINBANK_SMTP_PORT to a free port")
    return port


async def wait_until_ready(person: Person, *, check: Callable[[], None]) -> None:
    """Wait until every process answers its probe; `check` raises where waiting is in vain. Raises Unavailable."""
    probes = (f"{person.finbank_url}/healthz", f"{person.ingress_url}/readyz", f"{person.worker_url}/readyz")
    deadline = time.monotonic() + READY_LIMIT_S
    async with aiohttp.ClientSession(timeout=PROBE, trust_env=False) as session:
        for probe in probes:
            while not await _answers(session, probe):
                check()
                if time.monotonic() > deadline:
                    raise Unavailable(f"{probe} has not answered within {READY_LIMIT_S:.0f} s")
                await asyncio.sleep(POLL_S)


def _is_free(port: int, host: str) -> bool:
    try:
        return free_port(port, host=host) is not None
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; see BANKFEED_HOST and the port's setting"
        ) from error


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
