"""How soon a search of institutions is answered: 15,000 of them, one real ingress process, a token, a steady pace.

What is typed is what people type: beginnings of names, growing letter by letter, and names with letters swapped, missing or
wrong. The floor is the same road to one institution by its id: the token found, the transaction, the audit line, the answer.
"""

import asyncio
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from statistics import median
from urllib.parse import quote

import aiohttp
import asyncpg
import orjson

from bankfeed.db import Database
from bankfeed.db.institution import upsert_institutions
from bankfeed.model import ListedInstitution
from bench.ground import CHECKOUT, HOST, Ground, Urls, fresh_database, running
from bench.ingress import free_port
from bench.institutions import make_entries, misspell
from bench.load import Load
from bench.results import Benchmark, Result

INSTITUTIONS = 15_000
PAGE = 20  # what a list under a search field shows
RATE = 50.0  # requests a second: as many as fifty people who type without a pause
TYPED = 2_000
RUNS = 3
WARM_S, MEASURED_S = 2.0, 8.0
MOST_P99_MS = 20.0
BATCH = 1_000
TOKEN = "bft_sandbox_of-a-benchmark"  # noqa: S105 - of a database that lives for minutes
PREFIX = "/api/v1/institutions"


async def measure(ground: Ground, benchmark: Benchmark, _: float) -> Result:
    """Ask for one by its id and for searches in turn. Raises where an answer was refused, or a search finds nothing."""
    port = free_port()
    async with fresh_database(ground) as urls:
        await _fill(urls)
        environ = {**urls.environ, "BANKFEED_PORT": str(port), "BANKFEED_CALLS_PER_MINUTE": "1000000"}
        async with running(ground, "ingress", port=port, environ=environ):
            ids = await _find_ids(port)
            single = _write(ground, "by-id.txt", [f"{PREFIX}/{each}" for each in ids])
            search = _write(ground, "searches.txt", [_make_path(text) for text in make_typed(TYPED)])
            floors, loads = [], []
            for n in range(1, RUNS + 1):
                floors.append(await _ask(port, single))
                loads.append(await _ask(port, search))
                _say(ground, n, floors[-1], loads[-1])
    p99_ms = median(load.p99_ms for load in loads)
    return Result(
        name=benchmark.name,
        value=p99_ms,
        unit=f"ms p99 at {RATE:g}/s",
        size=benchmark.size,
        floor=median(load.p99_ms for load in floors),
        floor_text="ms one by id",
        target=f"p99 <= {MOST_P99_MS:g} ms",
        ok=p99_ms <= MOST_P99_MS,
    )


def make_typed(size: int) -> list[str]:
    """Return so many texts as they are typed, the same ones every time: half of them grow, half hold slips."""
    rng = random.Random(5)
    names = [entry.name for entry in make_entries(INSTITUTIONS)]
    typed: list[str] = []
    while len(typed) < size:
        name = rng.choice(names)
        typed += [name[:letters].lower() for letters in range(1, min(len(name), 12) + 1, 2)]
        typed += [misspell(rng.choice(names), rng).lower() for _ in range(6)]
    return typed[:size]


async def _fill(urls: Urls) -> None:
    """Note the institutions, and a customer with somebody signed in."""
    database = await Database.connect(urls.settings)
    listed = [
        ListedInstitution(
            ref=str(each.id),
            name=each.name,
            url=each.url,
            sign_in_url=f"{each.url}/in",
            phone="1-208-555-0132",
            status="online" if each.is_online else "offline",
            is_sandbox=True,
        )
        for each in make_entries(INSTITUTIONS)
    ]
    for first in range(0, len(listed), BATCH):
        async with database.app() as conn:
            await upsert_institutions(conn, connector="finicity", listed=listed[first : first + BATCH])
    await database.close()
    conn = await asyncpg.connect(urls.superuser)
    await conn.execute(
        """
        WITH customer AS (
            INSERT INTO customers (name) VALUES ('Firm') RETURNING id
        ), person AS (
            INSERT INTO users (customer_id, email, password_hash)
            SELECT id, 'owner@firm.example', '$argon2id$of-nothing' FROM customer RETURNING customer_id, id
        )
        INSERT INTO sessions (customer_id, token_sha256, user_id, expires_at) SELECT customer_id, $1, id, $2 FROM person
        """,
        sha256(TOKEN.encode()).digest(),
        datetime.now(UTC) + timedelta(days=1),
    )
    await conn.close()


async def _find_ids(port: int) -> list[int]:
    """Find some ids. Raises where the search does not find what it should."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"http://{HOST}:{port}{_make_path('wels fargo')}") as first,
        session.get(f"http://{HOST}:{port}{PREFIX}?limit=1000") as many,
    ):
        found, listed = (await first.json())["institutions"], (await many.json())["institutions"]
    if not found or found[0]["name"] != "Wells Fargo" or len(listed) != BATCH:
        raise RuntimeError(f"expected Wells Fargo to be found among {INSTITUTIONS}, got {found[:1]}")
    return [each["id"] for each in listed]


def _make_path(text: str) -> str:
    return f"{PREFIX}?limit={PAGE}&search={quote(text)}"


def _write(ground: Ground, name: str, paths: Sequence[str]) -> Path:
    file = ground.folder / name
    file.write_text("\n".join(paths))
    return file


async def _ask(port: int, paths: Path) -> Load:
    options = {
        "--port": port,
        "--paths": paths,
        "--token": TOKEN,
        "--rate": RATE,
        "--warm-s": WARM_S,
        "--measured-s": MEASURED_S,
    }
    words = [str(word) for pair in options.items() for word in pair]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.asking", *words, stdout=asyncio.subprocess.PIPE, cwd=CHECKOUT
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    load = Load(**orjson.loads(said))
    if load.refused or not load.accepted:
        raise RuntimeError(f"expected answers of 200 only, got {load.refused} others and {load.accepted} of these")
    return load


def _say(ground: Ground, n: int, floor: Load, load: Load) -> None:
    ground.say(
        f"  run {n}: one by id p50 {floor.p50_ms:.1f} ms, p99 {floor.p99_ms:.1f} ms; "
        f"searches p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms"
    )


BENCHMARKS = (
    Benchmark(
        name="api.institutions",
        text="a search among 15,000 institutions, answered at the API",
        size=f"{INSTITUTIONS:,} institutions, {RATE:g} searches/s, median of {RUNS} x {MEASURED_S:g} s",
        measure=measure,
    ),
)
