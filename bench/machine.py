"""On what was measured: the machine, the commit, and how long one commit of Postgres takes here."""

import os
import platform
import re
import subprocess
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import asyncpg

from bench.ground import Ground

COMMITS = 200


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to judge the figures."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def find_commit() -> str:
    """Return the commit of this checkout, with a + where files differ from it; "" where there is none."""
    command = ("git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip()


async def measure_commit_ms(ground: Ground) -> float:
    """Return the median time of a transaction of one row, in ms: what no durable answer can be faster than."""
    conn = await asyncpg.connect(ground.postgres.url())
    await conn.execute("CREATE TABLE commits (n int PRIMARY KEY)")
    times_ms = []
    for n in range(COMMITS):
        began = perf_counter()
        await conn.execute("INSERT INTO commits VALUES ($1)", n)
        times_ms.append((perf_counter() - began) * 1000)
    await conn.execute("DROP TABLE commits")
    await conn.close()
    return median(times_ms)
