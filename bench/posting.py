"""`python -m bench.posting`: the floor of deliveries: an aiohttp client that only posts, and records nothing.

It posts the bodies in a file, a line each, to the sink's endpoints in turn, so many at once, in a process of its own with the
event loop that the worker has. Its headers are a delivery's in number and length, but signed by nobody. The sink knows how fast
that was.
"""

import argparse
import asyncio
from pathlib import Path

import aiohttp
import uvloop

from bankfeed import __version__
from bench.load import HOST

HEADERS = {
    "User-Agent": f"Bankfeed/{__version__}",
    "Content-Type": "application/json",
    "webhook-id": "00000000-0000-4000-8000-000000000000",
    "webhook-timestamp": "1780000000",
    "webhook-signature": f"v1,{'A' * 43}= v1a,{'A' * 86}==",
}


async def post_all(port: int, bodies: list[bytes], *, at_once: int, endpoints: int) -> None:
    """Post each body once. Raises where an answer is not 200."""
    numbered = iter(enumerate(bodies))
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:

        async def post() -> None:
            for n, body in numbered:
                url = f"http://{HOST}:{port}/to/{n % endpoints + 1}"
                async with http.post(url, data=body, headers=HEADERS) as answer:
                    await answer.read()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(post())


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="bench.posting", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a file with a body a line")
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--endpoints", type=int, required=True)
    asked = parser.parse_args()
    bodies = asked.bodies.read_bytes().splitlines()
    uvloop.run(post_all(asked.port, bodies, at_once=asked.at_once, endpoints=asked.endpoints))


if __name__ == "__main__":
    main()
