"""`python -m bench.asking`: the load generator that asks: GETs of the paths in a file, in turn, with a token, at an even pace.

As with bench.pace a request's time counts from when it was due. It prints one line of JSON, the fields of `Load`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
import uvloop

from bench.load import HOST, Load
from bench.pace import PacedRun, run_paced

MOST = 10_000_000  # the time is over long before


class AskingRun(PacedRun):
    """One run over some paths, which begin anew where they end."""

    def __init__(self, paths: Sequence[str], *, token: str, rate: float) -> None:
        super().__init__("/", first=0, most=MOST, rate=rate)
        self._requests = [_make_request(*path.split(), token=token) for path in paths]

    def take_request(self) -> bytes | None:
        """Return the next request, None where no more may leave."""
        if super().take_request() is None:
            return None
        return self._requests[self.next % len(self._requests)]


def _make_request(path: str, own: str = "", *, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {own or token}\r\n\r\n".encode()


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="bench.asking", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--paths", type=Path, required=True, help="a file with a path a line, and its token if any")
    parser.add_argument("--token", default="", help="for paths without one")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--warm-s", type=float, default=1.0)
    parser.add_argument("--measured-s", type=float, default=5.0)
    asked = parser.parse_args()

    async def start() -> Load:
        run = AskingRun(asked.paths.read_text().splitlines(), token=asked.token, rate=asked.rate)
        return await run_paced(run, asked.port, warm_s=asked.warm_s, measured_s=asked.measured_s)

    print(orjson.dumps(asdict(uvloop.run(start()))).decode())


if __name__ == "__main__":
    main()
