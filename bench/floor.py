"""`python -m bench.floor PORT`: the floor of ingress: aiohttp reads a body, orjson parses it, and the answer is 200."""

import sys

import orjson
import uvloop
from aiohttp import web

from bankfeed.runtime import listen, wait_for_stop


async def receive(request: web.Request) -> web.Response:
    """Answer 200 to any JSON."""
    orjson.loads(await request.read())
    return web.json_response({"status": "OK"})


async def readyz(_: web.Request) -> web.Response:
    """Say that it runs."""
    return web.Response(text="ready\n")


async def main(port: int) -> None:
    """Serve until stopped, with the same runner as the product."""
    app = web.Application()
    app.router.add_post("/webhooks/{source}/{secret}", receive)
    app.router.add_get("/readyz", readyz)
    runner = await listen(app, host="127.0.0.1", port=port, port_setting="the port")
    await wait_for_stop()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
