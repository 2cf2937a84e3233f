"""What every benchmark stands on: the servers of this run, and fresh databases with the product's roles."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg

from bankfeed.db.schema import load_schema
from bankfeed.local import LocalPostgres, LocalRedis
from bankfeed.sealing import KEY_BYTES, write_key
from bankfeed.settings import Settings

CHECKOUT = Path(__file__).parents[1]
HOST = "127.0.0.1"
START_S = 30.0
STOP_S = 10.0
PASSWORD = "benchmarks only"  # noqa: S105 - of a Postgres that lives for minutes, on loopback
TEMPLATE = "bankfeed_template"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The servers, a folder for files, and where progress is told."""

    folder: Path
    postgres: LocalPostgres
    redis: LocalRedis
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """One database, as each role that a benchmark needs."""

    superuser: str
    owner: str
    environ: Mapping[str, str]

    @property
    def settings(self) -> Settings:
        """Settings of a process on this database."""
        return Settings.for_process(self.environ)


async def lay_ground(ground: Ground) -> None:
    """Make the template database: the schema, loaded by an owner who is no superuser, and the two roles."""
    conn = await asyncpg.connect(ground.postgres.url())
    await conn.execute(f"CREATE ROLE bankfeed_owner LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
    await conn.execute(f"CREATE DATABASE {TEMPLATE} OWNER bankfeed_owner")
    await conn.close()
    owner = await asyncpg.connect(ground.postgres.url("bankfeed_owner", TEMPLATE, PASSWORD))
    await load_schema(owner)
    for role in ("bankfeed_app", "bankfeed_queue"):
        await owner.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    await owner.close()


@asynccontextmanager
async def fresh_database(ground: Ground) -> AsyncIterator[Urls]:
    """Make a database with the schema and nothing in it, and drop it afterwards."""
    name = f"bench_{uuid4().hex[:12]}"
    url = ground.postgres.url
    conn = await asyncpg.connect(url())
    await conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER bankfeed_owner")
    try:
        yield Urls(
            superuser=url(database=name),
            owner=url("bankfeed_owner", name, PASSWORD),
            environ={
                "BANKFEED_DATABASE_URL": url("bankfeed_app", name, PASSWORD),
                "BANKFEED_QUEUE_DATABASE_URL": url("bankfeed_queue", name, PASSWORD),
                "BANKFEED_REDIS_URL": ground.redis.url(),
                "BANKFEED_SECRET_KEYS": write_key("bench", bytes(KEY_BYTES)),
            },
        )
    finally:
        await conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await conn.close()


@asynccontextmanager
async def running(
    ground: Ground, module: str, *words: str, port: int, environ: Mapping[str, str]
) -> AsyncIterator[Any]:
    """Run `python -m MODULE WORDS` until its /readyz answers 200, and stop it afterwards; yield the process.

    Its output goes to a file; where it does not become ready the error shows the last of it.
    """
    log = ground.folder / f"{module}-{port}.log"
    bare = {name: text for name, text in os.environ.items() if not name.startswith("BANKFEED_")}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *words, cwd=CHECKOUT, env={**bare, **environ}, stdout=output, stderr=output
        )
    try:
        await _wait_until_ready(process, port, log)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _wait_until_ready(process: Any, port: int, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_S
    async with aiohttp.ClientSession() as session:
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            try:
                async with session.get(f"http://{HOST}:{port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
    raise RuntimeError(f"a process did not become ready; its last words:\n{_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
